//! The relay of a core: a raw io_uring loop that owns every established tunnel. Nothing here knows HTTP, routing or
//! configuration files.
//!
//! ```text
//!  edge ──Tunnel──► mailbox ─┐
//!  kernel ──completions──► turn ──events──► tunnel (two ends, two halves: pure)
//!  kernel ◄──operations── turn ◄──actions──┘      ├── half   frames, what waits, back-pressure
//!                          ├── timer wheel        └── end    operations in flight, TLS, closing
//!                          └── shelf   memory and counters that all tunnels share
//! ```

pub mod drain;
mod end;
mod half;
pub mod handover;
pub mod listing;
pub mod mailbox;
mod pings;
pub mod policy;
#[cfg(test)]
mod real;
mod report;
mod shelf;
#[cfg(test)]
mod simulation;
mod tunnel;
mod turn;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use handover::{Endpoint, Tunnel};
pub use mailbox::{Permit, RelayHandle};

use crate::observe::access_log::AccessLog;
use crate::observe::metrics::RelayMetrics;
use crate::uring::kernel::{KernelRing, Size};
use listing::Listing;
use mailbox::{Command, Mailbox};
use shelf::Bounds;
use turn::{LINGER, LINGER_BYTES_MAX, Relay, Setup};

/// The bounds of one relay, as the configuration gives them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub tunnels_max: usize,
    pub buffer_bytes: usize,
    pub half_bytes_max: usize,
    pub spill_bytes_max: usize,
    pub slow_consumer: Duration,
    pub close_grace: Duration,
    /// Most tunnels taken over in one turn, so that a burst of newcomers does not delay the messages of those inside.
    pub adopt_per_turn: usize,
    /// Between two lines of the access log about an open tunnel; zero for none.
    pub report_every: Duration,
}

/// A relay that can be talked to and does not run yet.
pub struct Prepared {
    mailbox: Mailbox,
    limits: Limits,
    metrics: Arc<RelayMetrics>,
    log: AccessLog,
}

/// Prepares a relay. The handle works at once; [`Prepared::run`] is for the relay's own thread.
pub fn prepare(
    limits: Limits,
    metrics: Arc<RelayMetrics>,
    log: AccessLog,
) -> io::Result<(RelayHandle, Prepared)> {
    let (handle, mailbox) = mailbox::mailbox(limits.tunnels_max)?;
    Ok((
        handle,
        Prepared {
            mailbox,
            limits,
            metrics,
            log,
        },
    ))
}

impl Prepared {
    /// Relays until it is told to stop and everything is at rest. `ready` is called once the ring stands.
    pub fn run(self, ready: impl FnOnce()) -> io::Result<()> {
        let Self {
            mailbox: Mailbox { commands, wake },
            limits,
            metrics,
            log,
        } = self;
        let size = Size {
            sockets_max: limits.tunnels_max.saturating_mul(2),
            buffer_bytes: limits.buffer_bytes,
        };
        let ring = KernelRing::new(size, wake)?;
        let setup = Setup {
            bounds: bounds(&limits),
            spill_bytes_max: limits.spill_bytes_max,
            metrics,
            log,
            mask: Box::new(mask),
            report_every: limits.report_every,
        };
        let mut relay = Relay::new(ring, setup, now());
        ready();
        let mut adopt_per_turn = limits.adopt_per_turn;
        let (mut busy, mut stopping) = (false, false);
        while !(stopping && relay.is_empty()) {
            relay.sleep(busy || relay.is_walking())?;
            busy |= relay.work(now());
            if !busy {
                continue;
            }
            let commands_max = adopt_per_turn;
            for _ in 0..commands_max {
                match commands.try_recv() {
                    Ok(Command::Adopt(tunnel)) => relay.adopt(*tunnel),
                    Ok(Command::Drain(order)) => relay.drain(order),
                    Ok(Command::Change(changes, orders)) => relay.change(changes, orders),
                    Ok(Command::Limit(limits)) => {
                        adopt_per_turn = limits.adopt_per_turn;
                        relay.limit(bounds(&limits));
                        relay.report_every(limits.report_every);
                    }
                    Ok(Command::List(question, reply)) => relay.list(Listing::new(question, reply)),
                    Ok(Command::End { id, code, reply }) => drop(reply.send(relay.end(id, code))),
                    Ok(Command::Stop) => {
                        relay.stop();
                        stopping = true;
                    }
                    Err(_) => {
                        busy = false;
                        break;
                    }
                }
            }
            relay.drive();
        }
        Ok(())
    }
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        half_bytes_max: limits.half_bytes_max,
        slow_consumer: limits.slow_consumer,
        close_grace: limits.close_grace,
        linger: LINGER,
        linger_bytes_max: LINGER_BYTES_MAX,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a relay reads the clock, once per turn"
)]
fn now() -> Instant {
    Instant::now()
}

/// A fresh masking key from the strong source that RFC 6455 §5.3 asks for.
fn mask() -> [u8; 4] {
    let mut key = [0; 4];
    if aws_lc_rs::rand::fill(&mut key).is_err() {
        // The frame is well-formed with any key, and it carries nothing secret.
        tracing::warn!("no random numbers for a masking key");
    }
    key
}

//! Counters with one writer each, read by whoever scrapes: no lock, no read-modify-write on the data path.
#![forbid(unsafe_code)]

mod by;
mod histogram;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use by::{
    ByClass, ByEnd, ByReason, ByStatus, ByTls, CLASSES, CLOSE_CODES, CloseCodes, ENDS,
    RarelyByReason, TLS_HANDSHAKES,
};
pub use histogram::{Batches, Bytes, Histogram, Lifetimes, Scale, Waits};

use crate::close::Side;

/// A number that only one thread writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call this: a plain load and store, no locked instruction.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` from a number that goes up and down.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one edge thread counts.
#[derive(Debug, Default)]
pub struct EdgeMetrics {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections open on the edge (not yet handed to the relay).
    pub connections: Counter,
    /// TLS handshakes completed, with clients and with backends.
    pub tls_clients: ByTls,
    pub tls_backends: ByTls,
    /// Opening handshakes answered with 101 and handed to the relay.
    pub upgraded: Counter,
    /// Opening handshakes that got no tunnel, by reason.
    pub not_upgraded: ByReason,
    /// Connections and requests of any kind that got another end than they wanted, by reason.
    pub refused: ByReason,
    /// Times that accepting was paused because no descriptor was left.
    pub accept_pauses: Counter,
    /// Connects that found no local port.
    pub ports_exhausted: Counter,
    /// Names that were not looked up, because too many waited already.
    pub dns_overloads: Counter,
    /// Calls that were no upgrades.
    pub calls: ByStatus,
    /// Calls that were asked on a connection that another had left.
    pub backends_reused: Counter,
    /// Connections to backends that wait for a call.
    pub backends_idle: Counter,
    /// Bytes held in head buffers.
    pub head_bytes: Counter,
    /// From the first byte of a request head to its 101.
    pub handshake: Histogram<Waits>,
}

/// What the thread that resolves names counts.
#[derive(Debug, Default)]
pub struct DnsMetrics {
    pub found: Counter,
    pub not_found: Counter,
    pub duration: Histogram<Waits>,
}

/// What the control thread counts of reloads.
#[derive(Debug, Default)]
pub struct ReloadMetrics {
    /// Reloads that took effect: what runs is the one so many after that of the start.
    pub generation: Counter,
    pub successes: Counter,
    pub failures: Counter,
    /// 1 if the latest one failed.
    pub failed_last: Counter,
    /// When what runs was loaded, in seconds since 1970.
    pub loaded_at: Counter,
}

impl ReloadMetrics {
    /// Counts a configuration that was swapped in at `now`, in seconds since 1970, and says its number.
    pub fn succeeded(&self, now: u64) -> u64 {
        self.successes.add(1);
        self.failed_last.set(0);
        self.loaded_at.set(now);
        self.generation.add(1);
        self.generation.value()
    }

    /// Counts one that was not, and says the number of what goes on.
    pub fn failed(&self) -> u64 {
        self.failures.add(1);
        self.failed_last.set(1);
        self.generation.value()
    }
}

/// What one relay thread counts. Directions are named by their source.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    pub tunnels: Counter,
    pub opened: Counter,
    pub closed: ByEnd,
    /// From the 101 to the end, of tunnels that have ended.
    pub lifetime: Histogram<Lifetimes>,
    pub from_client: DirectionMetrics,
    pub from_backend: DirectionMetrics,
    /// Receives that found no provided buffer.
    pub no_buffers: Counter,
    pub buffers: Counter,
    pub buffers_free: Counter,
    pub spill_bytes: Counter,
    pub cq_overflows: Counter,
    /// Completions of each turn of the loop.
    pub turns: Histogram<Batches>,
    /// Timers that fired, and those that are set.
    pub timers: Counter,
    pub timers_set: Counter,
}

impl RelayMetrics {
    /// What came from `source`.
    pub fn from(&self, source: Side) -> &DirectionMetrics {
        match source {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }
}

/// What came from one side, and what was done about it.
#[derive(Debug, Default)]
pub struct DirectionMetrics {
    pub bytes: Counter,
    pub messages: Counter,
    pub sizes: Histogram<Bytes>,
    pub pings: Counter,
    pub pongs: Counter,
    /// From a ping passing towards this side to its pong coming back.
    pub round_trip: Histogram<Waits>,
    /// Close frames that came from this side, and those of ours that went to it.
    pub closes: CloseCodes,
    pub closes_sent: CloseCodes,
    /// Times that this side was not received from any more, because the other did not keep up.
    pub pauses: Counter,
    /// Tunnels in which that is so now.
    pub paused: Counter,
}

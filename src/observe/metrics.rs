//! Counters with one writer each, read by whoever scrapes: no lock, no read-modify-write on the data path.
#![forbid(unsafe_code)]

mod by;
mod histogram;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use by::{ByClass, ByEnd, ByReason, CLASSES, CLOSE_CODES, CloseCodes, ENDS, RarelyByReason};
pub use histogram::{BOUNDS, Histogram};

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
    pub tls_handshakes: Counter,
    pub tls_resumptions: Counter,
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
    /// Calls that were no upgrades, by the class of their status.
    pub calls: ByClass,
    /// Calls that were asked on a connection that another had left.
    pub backends_reused: Counter,
    /// Connections to backends that wait for a call.
    pub backends_idle: Counter,
    /// Bytes held in head buffers.
    pub head_bytes: Counter,
    /// From the first byte of a request head to its 101.
    pub handshake: Histogram,
}

/// What the control thread counts of reloads.
#[derive(Debug, Default)]
pub struct ReloadMetrics {
    /// Reloads that took effect: what runs is the one so many after that of the start.
    pub generation: Counter,
    pub successes: Counter,
    pub failures: Counter,
}

impl ReloadMetrics {
    /// Counts a configuration that was swapped in, and says its number.
    pub fn succeeded(&self) -> u64 {
        self.successes.add(1);
        self.generation.add(1);
        self.generation.value()
    }

    /// Counts one that was not, and says the number of what goes on.
    pub fn failed(&self) -> u64 {
        self.failures.add(1);
        self.generation.value()
    }
}

/// What one relay thread counts. Directions are named by their source.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    pub tunnels: Counter,
    pub opened: Counter,
    pub closed: ByEnd,
    pub from_client: DirectionMetrics,
    pub from_backend: DirectionMetrics,
    /// Receives that found no provided buffer.
    pub no_buffers: Counter,
    /// Times a half stopped receiving because its peer did not keep up.
    pub paused: Counter,
    pub buffers_free: Counter,
    pub spill_bytes: Counter,
    pub cq_overflows: Counter,
    pub turns: Counter,
    pub completions: Counter,
    pub timers: Counter,
}

#[derive(Debug, Default)]
pub struct DirectionMetrics {
    pub bytes: Counter,
    pub messages: Counter,
    pub pings: Counter,
    pub pongs: Counter,
    pub closes: CloseCodes,
}

//! Counters with one writer each, read by whoever scrapes: no lock, no read-modify-write on the data path.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::close::LABELS;

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

/// Counts by `CloseReason`.
#[derive(Debug)]
pub struct ByReason([Counter; LABELS.len()]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ByReason {
    pub fn count(&self, reason: crate::close::CloseReason) {
        if let Some(counter) = self.0.get(reason.index()) {
            counter.add(1);
        }
    }

    /// Label and value, in the order of `LABELS`.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        LABELS
            .iter()
            .copied()
            .zip(self.0.iter().map(Counter::value))
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
    /// Handshakes answered with 101 and handed to the relay.
    pub upgraded: Counter,
    /// Requests that got another end, by reason.
    pub refused: ByReason,
    /// Times that accepting was paused because no descriptor was left.
    pub accept_pauses: Counter,
    /// Connects that found no local port.
    pub ports_exhausted: Counter,
    /// Connects to backends that were tried, and those that failed.
    pub connects: Counter,
    pub connects_failed: Counter,
    /// Bytes held in head buffers.
    pub head_bytes: Counter,
}

/// What one relay thread counts. Directions are named by their source.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    pub tunnels: Counter,
    pub opened: Counter,
    pub closed: ByReason,
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

/// Close codes seen, in the few classes that keep labels bounded.
#[derive(Debug, Default)]
pub struct CloseCodes([Counter; CLOSE_CODES.len()]);

/// The values of the `code` label: those that RFC 6455 §7.4.1 and its registry name, absence, and the ranges for others.
pub const CLOSE_CODES: [&str; 18] = [
    "none",
    "1000",
    "1001",
    "1002",
    "1003",
    "1007",
    "1008",
    "1009",
    "1010",
    "1011",
    "1012",
    "1013",
    "1014",
    "1015",
    "3000-3999",
    "4000-4999",
    "1xxx",
    "other",
];

impl CloseCodes {
    pub fn count(&self, code: Option<u16>) {
        let index = match code {
            None => 0,
            Some(code @ 1000..=1003) => usize::from(code - 999),
            Some(code @ 1007..=1015) => usize::from(code - 1002),
            Some(3000..=3999) => 14,
            Some(4000..=4999) => 15,
            Some(1004..=1006 | 1016..=1999) => 16,
            Some(_) => 17,
        };
        if let Some(counter) = self.0.get(index) {
            counter.add(1);
        }
    }

    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLOSE_CODES
            .iter()
            .copied()
            .zip(self.0.iter().map(Counter::value))
    }
}

//! Counters with one writer each, read by whoever scrapes: no lock, no read-modify-write on the data path.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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

/// The values of the `status` label: the classes of RFC 9110 §15, and calls that got no answer.
pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts by the class of a status.
#[derive(Debug, Default)]
pub struct ByClass([Counter; CLASSES.len()]);

impl ByClass {
    pub fn count(&self, status: Option<u16>) {
        // Whoever invents a class above the fifth counts as an error of a server.
        let class = status.map_or(0, |status| usize::from(status / 100).clamp(1, 5));
        if let Some(counter) = self.0.get(class) {
            counter.add(1);
        }
    }

    /// Label and value, in the order of `CLASSES`.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLASSES
            .iter()
            .copied()
            .zip(self.0.iter().map(Counter::value))
    }
}

/// Durations, counted in buckets that never change, so that workers can be summed.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what lies above the last.
    buckets: [Counter; BOUNDS.len() + 1],
    nanoseconds: Counter,
}

/// Upper bounds of the buckets, as durations and as the values of the `le` label, in seconds.
pub const BOUNDS: [(Duration, &str); 14] = [
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(5), "5"),
    (Duration::from_secs(30), "30"),
];

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let bucket = BOUNDS.iter().take_while(|(bound, _)| duration > *bound);
        if let Some(counter) = self.buckets.get(bucket.count()) {
            counter.add(1);
        }
        // 584 years of handshakes fit.
        self.nanoseconds
            .add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Observations in each bucket alone, in the order of `BOUNDS`, then those above the last.
    pub fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        self.buckets.each_ref().map(Counter::value)
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.value())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_their_labels_are_seconds() {
        assert!(BOUNDS.is_sorted_by(|a, b| a.0 < b.0));
        for (bound, label) in BOUNDS {
            assert_eq!(bound.as_secs_f64(), label.parse::<f64>().unwrap());
        }
    }

    #[test]
    fn observation_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts = histogram.counts();
        assert_eq!(counts[..3], [2, 1, 0]);
        assert_eq!(counts[12..], [0, 1, 1]);
        assert_eq!(histogram.sum(), Duration::from_micros(60_000_502));
    }

    #[test]
    fn statuses_fall_into_their_classes() {
        let classes = ByClass::default();
        for status in [
            None,
            Some(101),
            Some(200),
            Some(299),
            Some(404),
            Some(599),
            Some(600),
        ] {
            classes.count(status);
        }
        let counts: Vec<_> = classes.values().map(|(_, n)| n).collect();
        assert_eq!(counts, [1, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn close_codes_fall_under_their_labels() {
        for (code, label) in [
            (None, "none"),
            (Some(1000), "1000"),
            (Some(1003), "1003"),
            (Some(1005), "1xxx"),
            (Some(1007), "1007"),
            (Some(1015), "1015"),
            (Some(3000), "3000-3999"),
            (Some(4321), "4000-4999"),
            (Some(5000), "other"),
            (Some(0), "other"),
        ] {
            let codes = CloseCodes::default();
            codes.count(code);
            let counted: Vec<_> = codes.values().filter(|(_, n)| *n > 0).collect();
            assert_eq!(counted, [(label, 1)], "{code:?}");
        }
    }
}

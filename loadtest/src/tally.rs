//! What workers count; added up over workers and time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::Failures;
use crate::latency::Latency;

/// Counts are of the measured window, unless said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Echoes and pushes that came, and messages sent one way.
    pub(crate) messages: u64,
    /// Their payload.
    pub(crate) bytes: u64,
    /// Messages that a proxy in between passed on for them and for slow readers: an echo is two, there and back.
    pub(crate) relayed: u64,
    /// The same count in warm-up and drain, for the screen.
    pub(crate) messages_outside: u64,
    /// Churn: connections that went all the way from connect to the server's end.
    pub(crate) connections: u64,
    /// Pushes that slow readers got, were not given, and slow readers that the server gave up. That is its right, so
    /// they are no errors.
    pub(crate) slow_messages: u64,
    pub(crate) slow_missed: u64,
    pub(crate) slow_ended: u64,
    /// One-way connections whose server gave no receipt, so that nobody knows what arrived.
    pub(crate) unverified: u64,
    /// Of messages, or of connections in a storm.
    pub(crate) latency: Latency,
    /// From connect to the 101, all the time.
    pub(crate) handshake: Latency,
    pub(crate) ping: Latency,
    /// By when the storm was due, which is the same for all workers.
    pub(crate) recoveries: BTreeMap<Instant, Recovery>,
    pub(crate) failures: Failures,
}

/// How a storm ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Those whose connections are all back. It is over when they are as many as there are workers.
    pub(crate) workers: usize,
    /// From the drop until the last of these was back.
    pub(crate) took: Duration,
}

impl Recovery {
    pub(crate) fn merge(&mut self, other: Self) {
        self.workers += other.workers;
        self.took = self.took.max(other.took);
    }
}

impl Tally {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            messages: 0,
            bytes: 0,
            relayed: 0,
            messages_outside: 0,
            connections: 0,
            slow_messages: 0,
            slow_missed: 0,
            slow_ended: 0,
            unverified: 0,
            latency: Latency::new()?,
            handshake: Latency::new()?,
            ping: Latency::new()?,
            recoveries: BTreeMap::new(),
            failures: Failures::default(),
        })
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.relayed += other.relayed;
        self.messages_outside += other.messages_outside;
        self.connections += other.connections;
        self.slow_messages += other.slow_messages;
        self.slow_missed += other.slow_missed;
        self.slow_ended += other.slow_ended;
        self.unverified += other.unverified;
        self.latency.merge(&other.latency);
        self.handshake.merge(&other.handshake);
        self.ping.merge(&other.ping);
        for (due, recovery) in &other.recoveries {
            self.recoveries.entry(*due).or_default().merge(*recovery);
        }
        self.failures.merge(&other.failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_over_when_its_slowest_worker_has_recovered() {
        let first = crate::clock::now();
        let second = first + Duration::from_secs(5);
        let recovered = |due: Instant, milliseconds: u64| {
            let mut tally = Tally::new().unwrap();
            let recovery = Recovery {
                workers: 1,
                took: Duration::from_millis(milliseconds),
            };
            tally.recoveries.insert(due, recovery);
            tally
        };
        let mut total = Tally::new().unwrap();
        for tally in [
            recovered(first, 10),
            recovered(second, 7),
            recovered(first, 30),
        ] {
            total.merge(&tally);
        }
        let outcome: Vec<_> = total.recoveries.values().copied().collect();
        let expected = [(2, 30), (1, 7)].map(|(workers, milliseconds)| Recovery {
            workers,
            took: Duration::from_millis(milliseconds),
        });
        assert_eq!(outcome, expected);
    }
}

//! What workers count; added up over workers and time.

use std::time::Duration;

use crate::error::Failures;
use crate::latency::Latency;

/// Counts are of the measured window, unless said otherwise.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Echoes and pushes that came, and messages sent one way.
    pub(crate) messages: u64,
    /// Their payload.
    pub(crate) bytes: u64,
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
    /// Storms: from the drop until everybody was back.
    pub(crate) recoveries: Vec<Duration>,
    pub(crate) failures: Failures,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            messages: 0,
            bytes: 0,
            messages_outside: 0,
            connections: 0,
            slow_messages: 0,
            slow_missed: 0,
            slow_ended: 0,
            unverified: 0,
            latency: Latency::new()?,
            handshake: Latency::new()?,
            ping: Latency::new()?,
            recoveries: Vec::new(),
            failures: Failures::default(),
        })
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.messages_outside += other.messages_outside;
        self.connections += other.connections;
        self.slow_messages += other.slow_messages;
        self.slow_missed += other.slow_missed;
        self.slow_ended += other.slow_ended;
        self.unverified += other.unverified;
        self.latency.merge(&other.latency);
        self.handshake.merge(&other.handshake);
        self.ping.merge(&other.ping);
        self.recoveries.extend_from_slice(&other.recoveries);
        self.failures.merge(&other.failures);
    }
}

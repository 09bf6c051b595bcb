//! Masking keys and handshake keys: unpredictable enough for a load test (SplitMix64), and cheap.

use std::hash::{BuildHasher, Hasher, RandomState};

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by the randomness that std's hash maps have from the system.
    pub(crate) fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// For what two processes must agree on.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn masking_key(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.next_u64().to_le_bytes();
        [a, b, c, d]
    }

    /// The nonce behind a `Sec-WebSocket-Key` (RFC 6455 §4.1).
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let pair = u128::from(self.next_u64()) << 64 | u128::from(self.next_u64());
        pair.to_le_bytes()
    }
}

/// SplitMix64's finalizer: neighbouring numbers come out unlike each other.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

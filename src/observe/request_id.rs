//! The name of a request: on every answer, towards the backend and in every log line.
#![forbid(unsafe_code)]

use std::fmt;

use aws_lc_rs::rand;
use serde::{Serialize, Serializer};

/// 128 bits, written as 32 lower-case hexadecimal digits (spec 2.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// The text form, for writing into a head without allocating.
    pub fn hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        for (digits, byte) in text.chunks_exact_mut(2).zip(self.0) {
            for (digit, nibble) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = match nibble {
                    0..=9 => b'0' + nibble,
                    _ => b'a' + nibble - 10,
                };
            }
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Random bytes of one id; the two before them name the worker.
const RANDOM_BYTES: usize = 14;
/// Ids drawn at once: one call of the generator costs about as much as thirty ids' worth of bytes.
const BATCH_IDS: usize = 64;

/// The source of one worker's ids.
///
/// ```text
///  2 bytes   14 bytes
/// ┌────────┬──────────────────────────────────────┐
/// │ worker │ random, its end XORed with a sequence│
/// └────────┴──────────────────────────────────────┘
/// ```
/// The randomness makes ids unique over restarts and machines and keeps callers from guessing each other's. The
/// sequence takes nothing from it, and keeps ids of one process apart even if the generator should fail.
#[derive(Debug)]
pub struct RequestIds {
    worker: u16,
    sequence: u64,
    batch: [u8; RANDOM_BYTES * BATCH_IDS],
}

impl RequestIds {
    pub fn new(worker: u16) -> Self {
        Self {
            worker,
            sequence: 0,
            batch: [0; RANDOM_BYTES * BATCH_IDS],
        }
    }

    /// The id of a new request.
    pub fn draw(&mut self) -> RequestId {
        let position = usize::try_from(self.sequence).unwrap_or(0) % BATCH_IDS;
        if position == 0 && rand::fill(&mut self.batch).is_err() {
            tracing::warn!("no randomness for request ids: they can be guessed");
        }
        let mut random = [0; RANDOM_BYTES];
        let mut drawn = self.batch.chunks_exact(RANDOM_BYTES);
        if let Some(bytes) = drawn.nth(position) {
            random.copy_from_slice(bytes);
        }
        let id = compose(self.worker, random, self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        id
    }
}

fn compose(worker: u16, random: [u8; RANDOM_BYTES], sequence: u64) -> RequestId {
    let mut value = [0; 16];
    let (head, tail) = value.split_at_mut(2);
    head.copy_from_slice(&worker.to_be_bytes());
    tail.copy_from_slice(&random);
    let mixed = u128::from_be_bytes(value) ^ u128::from(sequence);
    RequestId(mixed.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hex_and_display_agree() {
        let id = RequestId([
            0x00, 0x09, 0x0a, 0x0f, 0x10, 0x9f, 0xa0, 0xff, 1, 2, 3, 4, 5, 6, 7, 8,
        ]);
        assert_eq!(id.to_string(), "00090a0f109fa0ff0102030405060708");
        assert_eq!(id.hex(), *id.to_string().as_bytes());
    }

    #[test]
    fn ids_name_their_worker_and_never_repeat() {
        let mut ids = RequestIds::new(0x00ab);
        let drawn: HashSet<_> = (0..10_000).map(|_| ids.draw()).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(drawn.iter().all(|id| id.to_string().starts_with("00ab")));
    }

    #[test]
    fn two_sources_share_no_id() {
        let (mut one, mut other) = (RequestIds::new(3), RequestIds::new(3));
        let drawn: HashSet<_> = (0..1_000)
            .flat_map(|_| [one.draw(), other.draw()])
            .collect();
        assert_eq!(drawn.len(), 2_000);
    }

    #[test]
    fn without_randomness_ids_still_differ() {
        let ids: HashSet<_> = (0..100)
            .map(|sequence| compose(1, [0; RANDOM_BYTES], sequence))
            .collect();
        assert_eq!(ids.len(), 100);
    }
}

//! What the tunnels of one relay share: memory to copy into, spare batches, limits, counters, and the time of the turn.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::buffer::{Batch, OwnedPool, Piece};
use crate::observe::metrics::RelayMetrics;
use crate::uring::Memory;

/// A point in time, in steps of [`Tick::STEP`] since the relay began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    /// Timers fire at most two steps late: one for the stamp, which was rounded down, and one for the clock.
    pub(super) const STEP: Duration = Duration::from_millis(25);

    /// Steps are whole fractions of a second, so that no division is wider than 32 bits: this runs for every message.
    const PER_SECOND: u64 = 40;
    const STEP_NANOS: u32 = 25_000_000;

    /// The tick that `time` after the beginning falls into.
    pub(super) fn at(time: Duration) -> Self {
        let steps =
            time.as_secs() * Self::PER_SECOND + u64::from(time.subsec_nanos() / Self::STEP_NANOS);
        Self(u32::try_from(steps).unwrap_or(u32::MAX))
    }

    /// The first tick at which `time` has passed for certain since a moment stamped with this one.
    pub(super) fn after(self, time: Duration) -> Self {
        let steps = time.as_secs().saturating_mul(Self::PER_SECOND)
            + u64::from(time.subsec_nanos().div_ceil(Self::STEP_NANOS));
        Self(
            self.0
                .saturating_add(u32::try_from(steps).unwrap_or(u32::MAX))
                .saturating_add(1),
        )
    }
}

/// The bounds that every tunnel of a relay lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes that one direction may hold before its source has to wait.
    pub(super) half_bytes_max: usize,
    pub(super) slow_consumer: Duration,
    pub(super) close_grace: Duration,
    /// How long input is discarded after a last message, and how much of it.
    pub(super) linger: Duration,
    pub(super) linger_bytes_max: usize,
}

/// What all tunnels of a relay draw from.
pub(super) struct Shelf {
    pub(super) owned: OwnedPool,
    pub(super) batches: Batches,
    pub(super) bounds: Bounds,
    pub(super) metrics: std::sync::Arc<RelayMetrics>,
    /// The time of the turn, finer than a tick: to measure with, not to act upon.
    pub(super) now: Instant,
    /// Draws the key that masks a Close frame to a backend (RFC 6455 §5.3). Given, so that this module draws nothing.
    pub(super) mask: Box<dyn FnMut() -> [u8; 4] + Send>,
    /// Small plaintexts are put together here before they become one TLS record.
    pub(super) scratch: Vec<u8>,
}

/// Empty batches for reuse.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "the boxes move into the ring and back; a batch itself is too large to copy"
)]
pub(super) struct Batches(Vec<Box<Batch>>);

impl Batches {
    /// More than this many are not worth keeping.
    const SPARE_MAX: usize = 1024;

    pub(super) fn take(&mut self) -> Box<Batch> {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, batch: Box<Batch>) {
        debug_assert!(batch.is_empty());
        if self.0.len() < Self::SPARE_MAX {
            self.0.push(batch);
        }
    }
}

/// What a tunnel may touch while it handles one event.
pub(super) struct Context<'a, M> {
    pub(super) memory: &'a mut M,
    pub(super) shelf: &'a mut Shelf,
    pub(super) now: Tick,
}

impl<M: Memory> Context<'_, M> {
    pub(super) fn bytes<'b>(&'b self, piece: &'b Piece) -> &'b [u8] {
        match piece {
            Piece::Segment(segment) => self.memory.bytes(segment),
            Piece::Owned(owned) => owned.as_slice(),
        }
    }

    pub(super) fn release(&mut self, piece: Piece) {
        match piece {
            Piece::Segment(segment) => self.memory.release(segment),
            Piece::Owned(owned) => self.shelf.owned.give(owned),
        }
    }

    /// Releases all pieces of a batch, and keeps the batch.
    pub(super) fn discard(&mut self, mut batch: Box<Batch>) {
        while let Some(piece) = batch.pop() {
            self.release(piece);
        }
        self.shelf.batches.give(batch);
    }

    /// Copies what waits in provided buffers into one right-sized piece of our own, so that no large buffer is pinned by
    /// little, and no crowd of small pieces is kept.
    pub(super) fn spill(&mut self, batch: &mut Batch) {
        if !batch.has_segments() {
            return;
        }
        let mut copy = self.shelf.owned.take(batch.bytes());
        while let Some(piece) = batch.pop() {
            copy.extend(self.bytes(&piece));
            self.release(piece);
        }
        batch.push(Piece::Owned(copy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_never_early() {
        assert_eq!(
            Tick::STEP * u32::try_from(Tick::PER_SECOND).unwrap(),
            Duration::from_secs(1)
        );
        assert_eq!(Tick::STEP, Duration::from_nanos(Tick::STEP_NANOS.into()));
        for millis in [1, 24, 25, 26, 999, 1000, 60_000] {
            let (time, stamp) = (
                Duration::from_millis(millis),
                Tick::at(Duration::from_millis(1999)),
            );
            let due = Tick::STEP * stamp.after(time).0;
            assert!(due >= Duration::from_millis(1999) + time);
            assert!(due <= Duration::from_millis(1999) + time + 2 * Tick::STEP);
        }
    }
}

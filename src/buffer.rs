//! Who holds which bytes: the account of the provided buffers, and a pool of right-sized owned ones.
//!
//! The memory of provided buffers belongs to the ring; this is only the bookkeeping, and knows no addresses.
//! ```text
//!            buffer 7                 live = 3 (a, b, c), filled = 212
//!   ┌──────┬──────┬──────┬ ─ ─ ─ ┐
//!   │ a    │ b    │ c    │ free  │   the kernel appends to an incremental buffer until it says the buffer is retired;
//!   └──────┴──────┴──────┴ ─ ─ ─ ┘   it is provided again when it is retired and nobody holds a piece of it
//! ```
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Received bytes: a piece of one provided buffer. Whoever holds it gives it back through [`Account::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "send it, spill it or give it back"]
pub struct Segment {
    buffer: u16,
    start: u32,
    len: u32,
}

impl Segment {
    pub fn buffer(&self) -> u16 {
        self.buffer
    }

    pub fn start(&self) -> usize {
        self.start as usize
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops the first `n` bytes from what this segment names.
    pub fn skip(&mut self, n: usize) {
        let n = clamp(n).min(self.len);
        self.start += n;
        self.len -= n;
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(clamp(n));
    }
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug, Default)]
struct Provided {
    /// Bytes the kernel has filled.
    filled: u32,
    /// Segments somebody holds.
    live: u32,
    /// The kernel will append no more.
    retired: bool,
}

/// The account of one ring's provided buffers.
#[derive(Debug)]
pub struct Account {
    buffers: Vec<Provided>,
    /// Buffers that are neither retired nor held by anyone, counting the one being filled.
    free: usize,
}

impl Account {
    /// `count` buffers, all provided.
    pub fn new(count: u16) -> Self {
        Self {
            buffers: vec![Provided::default(); usize::from(count)],
            free: usize::from(count),
        }
    }

    /// Notes `len` bytes that the kernel put into `buffer`; `more` says that it will go on filling it.
    pub fn receive(&mut self, buffer: u16, len: u32, more: bool) -> Segment {
        let Some(provided) = self.buffers.get_mut(usize::from(buffer)) else {
            debug_assert!(false, "the kernel named a buffer that was never provided");
            return Segment {
                buffer,
                start: 0,
                len: 0,
            };
        };
        assert!(
            !provided.retired,
            "a retired buffer was filled: another tunnel's bytes would be overwritten"
        );
        let segment = Segment {
            buffer,
            start: provided.filled,
            len,
        };
        provided.filled += len;
        provided.live += 1;
        if !more {
            provided.retired = true;
            self.free -= 1;
        }
        segment
    }

    /// Takes a segment back. `Some` is a buffer nobody uses any more: it has to be provided again.
    pub fn release(&mut self, segment: Segment) -> Option<u16> {
        let provided = self.buffers.get_mut(usize::from(segment.buffer))?;
        debug_assert!(provided.live > 0, "a segment came back twice");
        provided.live -= 1;
        if !provided.retired || provided.live > 0 {
            return None;
        }
        *provided = Provided::default();
        self.free += 1;
        Some(segment.buffer)
    }

    /// All buffers.
    pub fn count(&self) -> usize {
        self.buffers.len()
    }

    /// Buffers the kernel may still fill.
    pub fn free(&self) -> usize {
        self.free
    }

    /// Less than a quarter is left: what is held should be copied out.
    pub fn is_low(&self) -> bool {
        self.free * 4 < self.buffers.len()
    }

    /// Segments held by anyone.
    pub fn live(&self) -> usize {
        self.buffers
            .iter()
            .map(|provided| provided.live as usize)
            .sum()
    }
}

/// Bytes in memory of our own.
#[derive(Debug, Default)]
pub struct Owned {
    bytes: Vec<u8>,
    start: usize,
    /// The capacity that the pool has counted.
    counted: usize,
}

impl Owned {
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the first `n` bytes.
    pub fn skip(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.start.saturating_add(n));
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// The vector itself, to be appended to.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// Owned buffers by size class, reused without going to the allocator, bounded in total.
///
/// The bound is soft by one turn: taking never fails, but a relay that finds the pool over its bound stops receiving,
/// and what can still arrive then is at most what the provided buffers hold.
#[derive(Debug)]
pub struct OwnedPool {
    free: [Vec<Vec<u8>>; CLASSES.len()],
    taken_bytes: usize,
    bytes_max: usize,
}

/// A Close frame or a held frame header; a small message; a TLS record; several records.
const CLASSES: [usize; 4] = [256, 4 << 10, (16 << 10) + 512, (64 << 10) + 2048];

/// Smallest buffers made at the start: plain messages need one only now and then, for a header cut in two.
const READY: usize = 64;

/// Spare memory kept per class for reuse; beyond it buffers go back to the allocator.
const SPARE_BYTES_MAX: usize = 1 << 20;

impl OwnedPool {
    pub fn new(bytes_max: usize) -> Self {
        let [smallest, ..] = CLASSES;
        let ready = std::iter::repeat_with(|| Vec::with_capacity(smallest)).take(READY);
        let free = [ready.collect(), Vec::new(), Vec::new(), Vec::new()];
        Self {
            free,
            taken_bytes: 0,
            bytes_max,
        }
    }

    /// An empty buffer that holds `capacity` bytes without growing.
    pub fn take(&mut self, capacity: usize) -> Owned {
        let bytes = match CLASSES.iter().position(|&class| class >= capacity) {
            Some(class) => self
                .free
                .get_mut(class)
                .and_then(Vec::pop)
                .unwrap_or_else(|| {
                    Vec::with_capacity(CLASSES.get(class).copied().unwrap_or(capacity))
                }),
            None => Vec::with_capacity(capacity),
        };
        self.adopt(bytes)
    }

    /// A buffer holding a copy of `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) -> Owned {
        let mut owned = self.take(bytes.len());
        owned.bytes.extend_from_slice(bytes);
        owned
    }

    /// Counts `bytes`, which were collected elsewhere, as taken.
    pub fn adopt(&mut self, bytes: Vec<u8>) -> Owned {
        let counted = bytes.capacity();
        self.taken_bytes += counted;
        Owned {
            bytes,
            start: 0,
            counted,
        }
    }

    /// Counts what a buffer has grown by since it was taken.
    pub fn settle(&mut self, owned: &mut Owned) {
        self.taken_bytes += owned.bytes.capacity() - owned.counted;
        owned.counted = owned.bytes.capacity();
    }

    pub fn give(&mut self, owned: Owned) {
        let Owned {
            mut bytes, counted, ..
        } = owned;
        self.taken_bytes -= counted;
        let Some(class) = CLASSES.iter().position(|&class| class == bytes.capacity()) else {
            return;
        };
        let Some(free) = self.free.get_mut(class) else {
            return;
        };
        if (free.len() + 1) * bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            free.push(bytes);
        }
    }

    pub fn taken_bytes(&self) -> usize {
        self.taken_bytes
    }

    /// No more should be received for those who hold something.
    pub fn is_full(&self) -> bool {
        self.taken_bytes >= self.bytes_max
    }

    /// There is room again, with some distance to the bound.
    pub fn has_room(&self) -> bool {
        self.taken_bytes < self.bytes_max / 4 * 3
    }
}

/// Bytes on their way out.
#[derive(Debug)]
#[must_use = "send it or give it back"]
pub enum Piece {
    Segment(Segment),
    Owned(Owned),
}

impl Piece {
    pub fn len(&self) -> usize {
        match self {
            Self::Segment(segment) => segment.len(),
            Self::Owned(owned) => owned.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn skip(&mut self, n: usize) {
        match self {
            Self::Segment(segment) => segment.skip(n),
            Self::Owned(owned) => owned.skip(n),
        }
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        match self {
            Self::Segment(segment) => segment.truncate(n),
            Self::Owned(owned) => owned.truncate(n),
        }
    }
}

/// Pieces in the order they are to be sent: what waits in a half, and what one send has in flight.
#[derive(Debug, Default)]
pub struct Batch {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

impl Batch {
    pub fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    pub fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// Puts a piece back in front of all others.
    pub fn unpop(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.pieces.push_front(piece);
    }

    /// Moves everything from `other` behind what is here.
    pub fn append(&mut self, other: &mut Self) {
        self.bytes += other.bytes;
        other.bytes = 0;
        self.pieces.append(&mut other.pieces);
    }

    /// Notes that the first `n` bytes were sent, and returns a piece that is done with; call it until it returns `None`.
    pub fn advance(&mut self, n: &mut usize) -> Option<Piece> {
        let front = self.pieces.front_mut()?;
        let step = front.len().min(*n);
        *n -= step;
        self.bytes -= step;
        if step < front.len() {
            front.skip(step);
            return None;
        }
        self.pieces.pop_front()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// How many pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What holding this batch costs, in bytes: a piece is not free, however little it names.
    pub fn cost(&self) -> usize {
        self.bytes + self.pieces.len() * size_of::<Piece>()
    }

    pub fn has_segments(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Segment(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn incremental_buffer_returns_after_retirement_and_last_release() {
        let mut account = Account::new(2);
        let a = account.receive(0, 10, true);
        let b = account.receive(0, 20, false);
        assert_eq!((b.start(), b.len()), (10, 20));
        assert_eq!(account.free(), 1);
        assert_eq!(account.release(b), None);
        assert_eq!(account.release(a), Some(0));
        assert_eq!((account.free(), account.live()), (2, 0));
    }

    #[test]
    fn held_segments_do_not_bring_an_open_buffer_back() {
        let mut account = Account::new(1);
        let a = account.receive(0, 10, true);
        assert_eq!(account.release(a), None);
        assert_eq!(account.receive(0, 5, true).start(), 10);
    }

    #[test]
    fn batch_advances_over_piece_borders() {
        let mut pool = OwnedPool::new(1 << 20);
        let mut batch = Batch::default();
        batch.push(Piece::Owned(pool.copy(b"hello")));
        batch.push(Piece::Owned(pool.copy(b" world")));
        let mut sent = 7;
        let mut done = 0;
        while let Some(piece) = batch.advance(&mut sent) {
            done += 1;
            if let Piece::Owned(owned) = piece {
                pool.give(owned);
            }
        }
        assert_eq!((done, sent, batch.bytes(), batch.len()), (1, 0, 4, 1));
    }

    #[test]
    fn pool_reuses_and_counts() {
        let mut pool = OwnedPool::new(600);
        let a = pool.take(100);
        let b = pool.take(200);
        assert_eq!(pool.taken_bytes(), 512);
        assert!(!pool.is_full());
        let c = pool.take(1);
        assert!(pool.is_full());
        for owned in [a, b, c] {
            pool.give(owned);
        }
        assert_eq!(pool.taken_bytes(), 0);
        assert!(pool.has_room());
    }

    proptest! {
        /// Against a set of held segments: every buffer comes back exactly once, when it is retired and free.
        #[test]
        fn account_matches_a_naive_oracle(ops in prop::collection::vec((0u8..3, any::<prop::sample::Index>()), 1..200)) {
            let mut account = Account::new(4);
            let mut provided = vec![0u16, 1, 2, 3];
            let mut held = Vec::new();
            for (op, index) in ops {
                match op {
                    0 | 1 if !provided.is_empty() => {
                        let buffer = provided[0];
                        if op == 1 {
                            provided.remove(0);
                        }
                        held.push(account.receive(buffer, 7, op == 0));
                    }
                    _ if !held.is_empty() => {
                        let segment = held.swap_remove(index.index(held.len()));
                        let buffer = segment.buffer();
                        let expected = !provided.contains(&buffer) && held.iter().all(|other| other.buffer() != buffer);
                        let returned = account.release(segment);
                        prop_assert_eq!(returned.is_some(), expected);
                        provided.extend(returned);
                    }
                    _ => {}
                }
                prop_assert_eq!(account.free(), provided.len());
                prop_assert_eq!(account.live(), held.len());
            }
            for segment in held {
                let returned = account.release(segment);
                provided.extend(returned);
            }
            prop_assert_eq!(account.free(), 4);
        }
    }
}

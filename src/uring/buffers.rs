//! The memory of provided buffers, and the ring through which the kernel is told which of them are free.
//!
//! ```text
//!  entries (one page or more, shared)            memory (count x size, private)
//!  ┌─────────────┬─────────────┬── ─ ─           ┌─────────────┬─────────────┬── ─ ─
//!  │addr len bid │addr len bid │                 │ buffer 0    │ buffer 1    │
//!  └─────────────┴─────────────┴── ─ ─           └─────────────┴─────────────┴── ─ ─
//!        ▲ the kernel takes at its head; we append at `tail` and publish it once per turn
//! ```

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::{BufRingEntry, IOU_PBUF_RING_INC};

/// The buffer group all receives of a ring draw from.
pub(super) const GROUP: u16 = 0;

/// A mapping of our own, unmapped on drop.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping that `new` made, and nobody else unmaps it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The provided buffers of one ring.
pub(super) struct Buffers {
    memory: Mapping,
    entries: Mapping,
    count: u16,
    size: u32,
    /// Entries ever appended, modulo 2^16; published by [`Buffers::publish`].
    tail: u16,
    /// The kernel appends to a buffer until it is full, instead of taking a whole one per receive.
    incremental: bool,
}

impl Buffers {
    /// Maps and registers `total` bytes of buffers: large ones where the kernel can fill them bit by bit, else small ones.
    pub(super) fn register(submitter: &Submitter<'_>, total: usize) -> io::Result<Self> {
        let incremental = Self::with_size(submitter, total, INCREMENTAL_SIZE, IOU_PBUF_RING_INC);
        match incremental {
            Ok(buffers) => Ok(buffers),
            // Before Linux 6.12 the flag is unknown.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::with_size(submitter, total, WHOLE_SIZE, 0)
            }
            Err(error) => Err(error),
        }
    }

    fn with_size(
        submitter: &Submitter<'_>,
        total: usize,
        size: u32,
        flags: u32,
    ) -> io::Result<Self> {
        let count = (total / size as usize).clamp(2, 1 << 15);
        // The kernel wants a power of two; round down, since the operator gave a bound.
        let count = 1u16 << count.ilog2();
        let memory = Mapping::new(usize::from(count) * size as usize)?;
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let flags = u16::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: `entries` is a page-aligned mapping of `count` entries. It lives as long as this value, which the ring's
        // owner drops only after the ring itself, so the kernel never outlives it.
        unsafe {
            submitter.register_buf_ring_with_flags(
                entries.start.as_ptr() as u64,
                count,
                GROUP,
                flags,
            )?;
        }
        let mut buffers = Self {
            memory,
            entries,
            count,
            size,
            tail: 0,
            incremental: flags != 0,
        };
        for buffer in 0..count {
            buffers.provide(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// Appends `buffer` to what the kernel may fill, once published.
    pub(super) fn provide(&mut self, buffer: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        let start = self.address(buffer);
        // SAFETY: `index` is below `count`, the number of entries in the mapping.
        let entry = unsafe {
            self.entries
                .start
                .as_ptr()
                .cast::<BufRingEntry>()
                .add(index)
        };
        // SAFETY: the entry lies in our mapping and is aligned. The kernel reads entries from its head up to the published
        // tail only; at most `count` buffers exist, so this one, beyond the tail, is not among them.
        let entry = unsafe { &mut *entry };
        entry.set_addr(start as u64);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was provided since the last call.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the tail in the mapping is ours alone to write"
    )]
    pub(super) fn publish(&mut self) {
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the start of a registered ring, whose first entry holds the tail in its reserved field.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is an aligned 16-bit word that the kernel reads with acquire order and only we write.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// `len` bytes at `start` of `buffer`, which have been received and are held by a segment.
    pub(super) fn bytes(&self, buffer: u16, start: usize, len: usize) -> &[u8] {
        let start = self.checked(buffer, start, len);
        // SAFETY: `checked` proved the range to lie in the mapping, which is initialised (zero pages). The kernel writes only
        // behind what it has filled, and a segment names filled bytes, so nobody writes them while the slice lives.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the borrow of the whole is what makes the slice exclusive"
    )]
    pub(super) fn bytes_mut(&mut self, buffer: u16, start: usize, len: usize) -> &mut [u8] {
        let start = self.checked(buffer, start, len);
        // SAFETY: as in `bytes`; and the segment is borrowed mutably by our caller, and not in flight, so the bytes are its own.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    fn checked(&self, buffer: u16, start: usize, len: usize) -> *mut u8 {
        assert!(
            buffer < self.count && start + len <= self.size as usize,
            "a segment beyond its buffer"
        );
        // SAFETY: the assertion keeps `start` within the buffer, and the buffer within the mapping.
        unsafe { self.address(buffer).add(start) }
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        debug_assert!(buffer < self.count);
        // SAFETY: `buffer` is below `count`, and the mapping is `count * size` bytes long.
        unsafe {
            self.memory
                .start
                .as_ptr()
                .add(usize::from(buffer) * self.size as usize)
        }
    }
}

/// Large enough for bulk (buffer size decides its cost), small enough that one slow reader pins little of the whole.
const INCREMENTAL_SIZE: u32 = 128 << 10;

/// Without incremental filling, every receive takes a whole buffer, however little it brings. A 4 KiB message with its
/// frame header should fit into one.
const WHOLE_SIZE: u32 = 8 << 10;

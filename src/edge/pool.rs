//! Buffers for heads and pieces of bodies: in few sizes, used again, counted, and bounded together.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::observe::metrics::EdgeMetrics;
use crate::proto::head::HeadLimits;

/// Nearly every head fits the first; the third has room for one read of a body. The last one is worked out from the
/// limits.
const SIZES: [usize; 4] = [4 << 10, 16 << 10, 32 << 10, 64 << 10];
const CLASSES: usize = SIZES.len() + 1;

/// How many empty buffers of each class wait for their next use.
const SPARES: [usize; CLASSES] = [64, 8, 8, 2, 1];

/// Method, version, line ends and blanks beside the target and the fields; and one TLS record, which is handed out whole.
const SLACK: usize = 20 << 10;

/// Most memory that heads, and pieces of bodies, of one core hold at a time: 16,000 small heads, or 350 of the largest,
/// or 2,000 readers that do not keep up.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Why a buffer can't take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The largest size is used up.
    Buffer,
    /// All buffers of the core together have reached their bound.
    Pool,
}

/// The buffers of one core.
pub(super) struct Pool {
    sizes: [usize; CLASSES],
    spares: RefCell<[Vec<Vec<u8>>; CLASSES]>,
    held: Cell<usize>,
    held_max: usize,
    metrics: Arc<EdgeMetrics>,
}

impl Pool {
    pub(super) fn new(
        limits: &HeadLimits,
        early_bytes_max: usize,
        metrics: Arc<EdgeMetrics>,
    ) -> Self {
        let [small, middle, piece, large] = SIZES;
        let head = limits.target_bytes_max + limits.fields_bytes_max;
        let largest = (head.max(early_bytes_max) + SLACK).max(large);
        Self {
            sizes: [small, middle, piece, large, largest],
            spares: RefCell::default(),
            held: Cell::new(0),
            held_max: HELD_BYTES_MAX.max(largest),
            metrics,
        }
    }

    /// An empty buffer, which holds no memory until something is put into it.
    pub(super) fn buffer(self: &Rc<Self>) -> Buffer {
        Buffer {
            bytes: Vec::new(),
            class: None,
            pool: Rc::clone(self),
        }
    }

    /// The smallest class with room for `len` bytes.
    fn class_for(&self, len: usize) -> Option<usize> {
        self.sizes.iter().position(|size| *size >= len)
    }

    fn take(&self, class: usize) -> Result<Vec<u8>, Full> {
        let size = self.size(class);
        let held = self.held.get() + size;
        if held > self.held_max {
            return Err(Full::Pool);
        }
        self.hold(held);
        let spare = self.spares.borrow_mut().get_mut(class).and_then(Vec::pop);
        Ok(spare.unwrap_or_else(|| Vec::with_capacity(size)))
    }

    fn give_back(&self, class: usize, mut bytes: Vec<u8>) {
        self.hold(self.held.get().saturating_sub(self.size(class)));
        let wanted = SPARES.get(class).copied().unwrap_or(0);
        if let Some(spares) = self.spares.borrow_mut().get_mut(class)
            && spares.len() < wanted
        {
            bytes.clear();
            spares.push(bytes);
        }
    }

    fn size(&self, class: usize) -> usize {
        self.sizes.get(class).copied().unwrap_or(0)
    }

    fn hold(&self, bytes: usize) {
        self.held.set(bytes);
        self.metrics.head_bytes.set(bytes as u64);
    }
}

/// Bytes that were received, in memory of a pool.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// `None` while it holds no memory.
    class: Option<usize>,
    pool: Rc<Pool>,
}

impl Buffer {
    /// Appends all of `bytes`, or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let len = self.bytes.len() + bytes.len();
        let class = self.pool.class_for(len).ok_or(Full::Buffer)?;
        if self.class.is_none_or(|current| current < class) {
            self.grow(class)?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn grow(&mut self, class: usize) -> Result<(), Full> {
        let mut larger = self.pool.take(class)?;
        larger.extend_from_slice(&self.bytes);
        self.release();
        self.bytes = larger;
        self.class = Some(class);
        Ok(())
    }

    /// Drops the first `len` bytes; what follows moves to the front. An empty buffer gives its memory back.
    pub(super) fn consume(&mut self, len: usize) {
        if len >= self.bytes.len() {
            self.release();
        } else {
            self.bytes.drain(..len);
        }
    }

    fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Some(class) = self.class.take() {
            self.pool.give_back(class, bytes);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> (Rc<Pool>, Arc<EdgeMetrics>) {
        let limits = HeadLimits {
            target_bytes_max: 32 << 10,
            field_bytes_max: 32 << 10,
            fields_bytes_max: 128 << 10,
        };
        let metrics = Arc::new(EdgeMetrics::default());
        let pool = Pool::new(&limits, 16 << 10, Arc::clone(&metrics));
        (Rc::new(pool), metrics)
    }

    #[test]
    fn a_buffer_grows_by_class_and_keeps_its_bytes() {
        let (pool, metrics) = pool();
        let mut buffer = pool.buffer();
        assert_eq!(metrics.head_bytes.value(), 0);
        buffer.append(b"begin").unwrap();
        assert_eq!(metrics.head_bytes.value(), 4 << 10);
        buffer.append(&[b'x'; 5000]).unwrap();
        assert_eq!(metrics.head_bytes.value(), 16 << 10);
        assert!(buffer.starts_with(b"beginxxx"));
        drop(buffer);
        assert_eq!(metrics.head_bytes.value(), 0);
    }

    #[test]
    fn an_empty_buffer_holds_nothing() {
        let (pool, metrics) = pool();
        let mut buffer = pool.buffer();
        buffer.append(b"one two").unwrap();
        buffer.consume(4);
        assert_eq!(&*buffer, b"two");
        buffer.consume(3);
        assert!(buffer.is_empty());
        assert_eq!(metrics.head_bytes.value(), 0);
    }

    #[test]
    fn the_largest_size_and_the_pool_are_bounds() {
        let (pool, metrics) = pool();
        let mut buffer = pool.buffer();
        assert_eq!(buffer.append(&vec![0; 1 << 20]), Err(Full::Buffer));
        let mut others = Vec::new();
        let refused = loop {
            let mut other = pool.buffer();
            match other.append(&[0; 64 << 10]) {
                Ok(()) => others.push(other),
                Err(full) => break full,
            }
        };
        assert_eq!(refused, Full::Pool);
        assert_eq!(metrics.head_bytes.value(), 64 << 20);
        drop(others);
        assert_eq!(metrics.head_bytes.value(), 0);
        buffer.append(b"room again").unwrap();
    }

    #[test]
    fn buffers_are_used_again() {
        let (pool, _) = pool();
        let mut buffer = pool.buffer();
        buffer.append(b"x").unwrap();
        let address = buffer.as_ptr();
        drop(buffer);
        let mut buffer = pool.buffer();
        buffer.append(b"y").unwrap();
        assert_eq!(buffer.as_ptr(), address);
        assert_eq!(&*buffer, b"y");
    }
}

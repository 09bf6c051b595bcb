//! How many client connections the process has, tunnels included, and how many it may have.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The count that all workers share. It is touched when a connection comes and when it goes, never for a message.
#[derive(Clone, Debug)]
pub struct Connections {
    open: Arc<AtomicUsize>,
    max: Arc<AtomicUsize>,
}

/// One connection's place, given up when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Connections {
    pub fn new(max: usize) -> Self {
        Self {
            open: Arc::default(),
            max: Arc::new(AtomicUsize::new(max)),
        }
    }

    /// Lets in up to `max` from now on. Those inside stay, however many they are.
    pub fn limit(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// A place for a newcomer, if there is one.
    pub fn enter(&self) -> Option<Place> {
        let max = self.max.load(Relaxed);
        let enter = |open: usize| (open < max).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, enter).ok()?;
        Some(Place(Arc::clone(&self.open)))
    }

    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let connections = Connections::new(2);
        let first = connections.enter();
        let second = connections.enter();
        assert!(first.is_some() && second.is_some());
        assert!(connections.enter().is_none());
        drop(first);
        assert_eq!(connections.open(), 1);
        assert!(connections.enter().is_some());
        connections.limit(1);
        drop(second);
        let last = connections.enter();
        assert!(last.is_some());
        assert!(connections.enter().is_none());
    }
}

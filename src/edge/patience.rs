//! How long a backend is waited for: only while it is the backend whose turn it is.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use monoio::time::{Instant, timeout_at};

/// The time a backend has for its next word, shared by who sends to it and who hears it.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// Since when the backend has had all it needs to go on; `None` while the client keeps both of us waiting.
    since: Cell<Option<Instant>>,
}

/// The backend let its time pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expired;

impl Patience {
    /// Runs from now on.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: Cell::new(Some(Instant::now())),
        }
    }

    /// It is the backend's turn, from now on.
    pub(super) fn restart(&self) {
        self.since.set(Some(Instant::now()));
    }

    /// It is the client's turn.
    pub(super) fn pause(&self) {
        self.since.set(None);
    }

    /// The backend has said something: if it is its turn, its time begins again.
    pub(super) fn renew(&self) {
        if self.since.get().is_some() {
            self.restart();
        }
    }

    /// Runs `work`, which waits for the backend, for as long as that may take.
    pub(super) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Expired> {
        let mut work = pin!(work);
        loop {
            let since = self.since.get().unwrap_or_else(Instant::now);
            if let Ok(done) = timeout_at(since + self.limit, work.as_mut()).await {
                return Ok(done);
            }
            // The turn may have changed, and begun again, since then.
            let expired = |since: Instant| since + self.limit <= Instant::now();
            if self.since.get().is_some_and(expired) {
                return Err(Expired);
            }
        }
    }
}

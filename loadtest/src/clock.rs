//! The only place that asks what time it is.

use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A span of time on the clock, its end excluded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Window {
    pub(crate) fn new(start: Instant, length: Duration) -> Self {
        let end = start + length;
        Self { start, end }
    }

    pub(crate) fn contains(&self, at: Instant) -> bool {
        self.start <= at && at < self.end
    }

    pub(crate) fn seconds(&self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }
}

//! The only place that asks what time it is.

use std::time::{Duration, Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds of a clock that all processes of a machine share, unlike `Instant`, which cannot be sent.
pub(crate) fn shared_nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let rest = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// For the stamp of a log, and nothing else.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
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
}

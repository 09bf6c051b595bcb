//! Calls by a group's debugging domain: so many a day (spec 2.1).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The count of one group, shared by all workers and kept over reloads. Days are those of UTC.
#[derive(Debug)]
pub struct DebugCalls {
    /// The day since 1970 in the upper half, its calls in the lower.
    count: AtomicU64,
    per_day: u32,
}

impl DebugCalls {
    pub fn new(per_day: u32) -> Self {
        Self {
            count: AtomicU64::new(0),
            per_day,
        }
    }

    /// Counts a call; false if the day has had all of its calls.
    pub fn take(&self, now: SystemTime) -> bool {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = since.as_secs() / DAY.as_secs();
        let next = |count: u64| {
            let calls = if count >> 32 == day {
                count & u64::from(u32::MAX)
            } else {
                0
            };
            (calls < u64::from(self.per_day)).then_some((day << 32) | (calls + 1))
        };
        self.count.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_so_many_calls() {
        let calls = DebugCalls::new(2);
        let first = UNIX_EPOCH + DAY * 20_000;
        let taken: Vec<bool> = (0..3).map(|_| calls.take(first)).collect();
        assert_eq!(taken, [true, true, false]);
        assert!(calls.take(first + DAY), "the next day has its own");
    }
}

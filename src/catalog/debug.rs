//! Calls by a group's debugging domain: so many a day (spec 2.1).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The counts of all groups, which live longer than a catalog: a reload gives nobody further calls.
#[derive(Debug, Default)]
pub(super) struct DebugQuotas {
    counts: HashMap<String, Arc<AtomicU64>>,
}

impl DebugQuotas {
    /// The count of a group, against a limit that is the catalog's own.
    pub(super) fn calls(&mut self, group: &str, per_day: u32) -> Arc<DebugCalls> {
        let count = self.counts.entry(group.to_owned()).or_default();
        Arc::new(DebugCalls {
            count: Arc::clone(count),
            per_day,
        })
    }

    /// Forgets the groups that no catalog has any more.
    pub(super) fn prune(&mut self) {
        self.counts.retain(|_, count| Arc::strong_count(count) > 1);
    }
}

/// The count of one group, shared by all workers and kept over reloads. Days are those of UTC.
#[derive(Debug)]
pub struct DebugCalls {
    /// The day since 1970 in the upper half, its calls in the lower.
    count: Arc<AtomicU64>,
    per_day: u32,
}

impl DebugCalls {
    pub fn new(per_day: u32) -> Self {
        Self {
            count: Arc::default(),
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

    /// Calls a day.
    pub fn per_day(&self) -> u32 {
        self.per_day
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

    #[test]
    fn a_group_keeps_its_count_as_long_as_a_catalog_has_it() {
        let now = UNIX_EPOCH + DAY * 20_000;
        let mut quotas = DebugQuotas::default();
        let old = quotas.calls("a", 1);
        assert!(old.take(now));
        quotas.prune();
        let new = quotas.calls("a", 2);
        assert!(new.take(now) && !new.take(now), "the limit is the new one");
        assert!(quotas.calls("b", 1).take(now), "another group has its own");
        drop((old, new));
        quotas.prune();
        assert!(quotas.counts.is_empty());
    }
}

//! Lines about tunnels that live long: each tunnel has one due after every interval of its life, and a turn makes a few.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::shelf::Tick;
use crate::timer::Wheel;

/// Lines made in one turn: some microseconds each. What is due beyond them comes in the turns that follow at once.
pub(super) const REPORTS_PER_TURN: usize = 8;

/// When each tunnel's next line is due.
pub(super) struct Reports {
    wheel: Wheel,
    /// Zero: never.
    every: Duration,
}

impl Reports {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            wheel: Wheel::new(0, 0),
            every,
        }
    }

    /// Whether the interval is another from now on; then every tunnel has to `begin` again.
    pub(super) fn change(&mut self, every: Duration) -> bool {
        let changed = self.every != every;
        self.every = every;
        changed
    }

    /// The next line about the tunnel of `slot` is due an interval from now.
    pub(super) fn begin(&mut self, slot: u32, now: Tick) {
        if self.every.is_zero() {
            self.wheel.cancel(slot);
        } else {
            let due = now.after(self.every);
            self.wheel.schedule(slot, u64::from(due.0));
        }
    }

    pub(super) fn end(&mut self, slot: u32) {
        self.wheel.cancel(slot);
    }

    /// A tunnel whose line is due. It has to `begin` again.
    pub(super) fn pop(&mut self, now: Tick) -> Option<u32> {
        self.wheel.pop(u64::from(now.0))
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        self.wheel.next_tick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(reports: &mut Reports, now: u32) -> Vec<u32> {
        std::iter::from_fn(|| reports.pop(Tick(now))).collect()
    }

    #[test]
    fn a_line_is_due_after_each_interval() {
        let mut reports = Reports::new(Duration::from_secs(1));
        reports.begin(3, Tick(0));
        reports.begin(4, Tick(20));
        reports.begin(5, Tick(20));
        reports.end(5);
        // 40 ticks a second, and one for the moment that was rounded down.
        assert!(due(&mut reports, 40).is_empty());
        assert_eq!(due(&mut reports, 41), [3]);
        reports.begin(3, Tick(41));
        assert_eq!(due(&mut reports, 61), [4]);
        assert_eq!(due(&mut reports, 82), [3]);
    }

    #[test]
    fn lines_end_when_there_is_no_interval_any_more() {
        let mut reports = Reports::new(Duration::from_secs(1));
        reports.begin(1, Tick(0));
        assert!(!reports.change(Duration::from_secs(1)));
        assert!(reports.change(Duration::ZERO));
        reports.begin(1, Tick(10));
        assert!(due(&mut reports, 1000).is_empty());
        assert_eq!(reports.next_tick(), None);
    }
}

//! An open loop's timetable: event `i` is due at the start plus `i` intervals, whatever became of those before it.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    rate: f64,
    next: u64,
}

impl Schedule {
    /// `rate` events a second.
    pub(crate) fn new(start: Instant, rate: f64) -> Self {
        Self {
            start,
            rate,
            next: 0,
        }
    }

    pub(crate) fn next_due(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.next as f64 / self.rate)
    }

    /// The number and due time of the next event, if it is due.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let (number, due) = (self.next, self.next_due());
        if now < due {
            return None;
        }
        self.next += 1;
        Some((number, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_missed_by_a_stall_are_due_at_their_own_times() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(start, 1000.0);
        let stall = start + Duration::from_millis(50);
        let due: Vec<_> = std::iter::from_fn(|| schedule.poll(stall)).collect();
        assert_eq!(due.len(), 51);
        for (number, due) in due {
            assert_eq!(due, start + Duration::from_millis(number));
        }
        assert_eq!(schedule.next_due(), start + Duration::from_millis(51));
    }
}

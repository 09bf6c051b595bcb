//! What happened second by second. Workers say which second they counted, so that none has what another one lacks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::latency::Latency;
use crate::tally::Tally;

/// A run of hours keeps its totals, but not every second.
const INTERVALS_MAX: usize = 3_600;

/// The number of the second that `now` is in.
pub(crate) fn second_of(begun: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(begun).as_secs()
}

pub(crate) fn begin_of(begun: Instant, second: u64) -> Instant {
    begun + Duration::from_secs(second)
}

/// A second of the run; the last one may be shorter.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Its begin and length in seconds, since the run began.
    pub(crate) begin: f64,
    pub(crate) length: f64,
    pub(crate) messages: u64,
    /// Connections.
    pub(crate) opened: u64,
    /// p50 and p99 in microseconds.
    pub(crate) latency: Option<(f64, f64)>,
    /// Its latencies, which take two hundred times the room unpacked.
    pub(crate) packed: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Timeline {
    begun: Instant,
    /// Seconds that some worker is still counting.
    pending: BTreeMap<u64, Tally>,
    /// By worker, the second that it is counting.
    counting: Vec<u64>,
    intervals: Vec<Interval>,
}

impl Timeline {
    pub(crate) fn new(begun: Instant, workers: usize) -> Self {
        Self {
            begun,
            pending: BTreeMap::new(),
            counting: vec![0; workers],
            intervals: Vec::new(),
        }
    }

    /// What `worker` counted in `second`, before it went on to count `next`.
    pub(crate) fn add(
        &mut self,
        worker: usize,
        second: u64,
        next: u64,
        tally: &Tally,
    ) -> Result<(), String> {
        match self.pending.get_mut(&second) {
            Some(pending) => pending.merge(tally),
            None => drop(self.pending.insert(second, tally.clone())),
        }
        if let Some(place) = self.counting.get_mut(worker) {
            *place = next;
        }
        let behind = self.counting.iter().copied().min().unwrap_or(next);
        while let Some(entry) = self.pending.first_entry()
            && *entry.key() < behind
        {
            let (second, tally) = entry.remove_entry();
            self.keep(second, 1.0, &tally)?;
        }
        Ok(())
    }

    /// The newest second that all have counted.
    pub(crate) fn last(&self) -> Option<&Interval> {
        self.intervals.last()
    }

    /// Everything, when nobody counts any more.
    pub(crate) fn finish(mut self, now: Instant) -> Result<Vec<Interval>, String> {
        for (second, tally) in std::mem::take(&mut self.pending) {
            let begin = begin_of(self.begun, second);
            let length = now.saturating_duration_since(begin).as_secs_f64().min(1.0);
            self.keep(second, length, &tally)?;
        }
        Ok(self.intervals)
    }

    fn keep(&mut self, second: u64, length: f64, tally: &Tally) -> Result<(), String> {
        if self.intervals.len() == INTERVALS_MAX {
            return Ok(());
        }
        let latency = Some(&tally.latency).filter(|latency| !latency.is_empty());
        self.intervals.push(Interval {
            begin: second as f64,
            length: length.max(f64::EPSILON),
            messages: tally.messages + tally.messages_outside,
            opened: tally.handshake.histogram().len(),
            latency: latency
                .map(|latency| (latency.microseconds_at(0.5), latency.microseconds_at(0.99))),
            packed: latency.map(Latency::pack).transpose()?,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(messages: u64) -> Tally {
        let mut tally = Tally::new().unwrap();
        tally.messages = messages;
        tally
    }

    #[test]
    fn a_second_is_kept_when_its_slowest_worker_has_counted_it() {
        let begun = crate::clock::now();
        let mut timeline = Timeline::new(begun, 2);
        timeline.add(0, 0, 0, &counted(1)).unwrap();
        timeline.add(0, 0, 1, &counted(10)).unwrap();
        timeline.add(0, 1, 2, &counted(100)).unwrap();
        assert!(timeline.last().is_none());
        timeline.add(1, 0, 1, &counted(5)).unwrap();
        assert_eq!(timeline.last().map(|interval| interval.messages), Some(16));

        timeline.add(1, 1, 1, &counted(7)).unwrap();
        let end = begun + Duration::from_millis(1500);
        let intervals = timeline.finish(end).unwrap();
        let seen: Vec<_> = intervals
            .iter()
            .map(|interval| (interval.begin, interval.length, interval.messages))
            .collect();
        assert_eq!(seen, [(0.0, 1.0, 16), (1.0, 0.5, 107)]);
    }

    #[test]
    fn latencies_come_back_as_they_were_packed() {
        let mut tally = Tally::new().unwrap();
        tally.latency.record(Duration::from_millis(3));
        let mut timeline = Timeline::new(crate::clock::now(), 1);
        timeline.add(0, 0, 1, &tally).unwrap();
        let packed = timeline.last().and_then(|interval| interval.packed.clone());
        let latency = Latency::unpack(&packed.unwrap()).unwrap();
        assert_eq!(latency.histogram(), tally.latency.histogram());
    }
}

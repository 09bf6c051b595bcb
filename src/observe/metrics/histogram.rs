//! Histograms with bounds that never change, so that workers can be summed.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::Counter;
use crate::proto::frame::{SIZE_BOUNDS, Sizes};

/// What a histogram observes, in whole units, and where its buckets end.
pub trait Scale {
    /// The upper bounds of the buckets, rising; at most `BOUNDS_MAX`. Above the last there is one more bucket.
    const BOUNDS: &'static [u64];
    /// Units in one of the metric's own, which is a second, a byte, or one of whatever is counted.
    const PER_ONE: u64;
}

/// Bounds of the finest scale.
const BOUNDS_MAX: usize = 14;

const NANOS: u64 = 1_000_000_000;
const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

/// Times that somebody waits, from a quarter of a millisecond to half a minute.
#[derive(Debug)]
pub struct Waits;

impl Scale for Waits {
    const BOUNDS: &'static [u64] = &[
        250 * MICRO,
        500 * MICRO,
        MILLI,
        2_500 * MICRO,
        5 * MILLI,
        10 * MILLI,
        25 * MILLI,
        50 * MILLI,
        100 * MILLI,
        250 * MILLI,
        500 * MILLI,
        NANOS,
        5 * NANOS,
        30 * NANOS,
    ];
    const PER_ONE: u64 = NANOS;
}

/// How long tunnels live, from a second to a week.
#[derive(Debug)]
pub struct Lifetimes;

impl Scale for Lifetimes {
    const BOUNDS: &'static [u64] = &[
        NANOS,
        10 * NANOS,
        60 * NANOS,
        5 * 60 * NANOS,
        15 * 60 * NANOS,
        3_600 * NANOS,
        4 * 3_600 * NANOS,
        12 * 3_600 * NANOS,
        24 * 3_600 * NANOS,
        7 * 24 * 3_600 * NANOS,
    ];
    const PER_ONE: u64 = NANOS;
}

/// Sizes of messages in bytes, in the classes of the frame scanner.
#[derive(Debug)]
pub struct Bytes;

impl Scale for Bytes {
    const BOUNDS: &'static [u64] = &SIZE_BOUNDS;
    const PER_ONE: u64 = 1;
}

/// How many things came at once.
#[derive(Debug)]
pub struct Batches;

impl Scale for Batches {
    const BOUNDS: &'static [u64] = &[0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];
    const PER_ONE: u64 = 1;
}

/// Observations by bucket, and their sum.
pub struct Histogram<S> {
    buckets: [Counter; BOUNDS_MAX + 1],
    /// In units of the scale. 584 years of nanoseconds fit.
    sum: Counter,
    scale: PhantomData<S>,
}

impl<S> Default for Histogram<S> {
    fn default() -> Self {
        Self {
            buckets: Default::default(),
            sum: Counter::default(),
            scale: PhantomData,
        }
    }
}

impl<S: Scale> fmt::Debug for Histogram<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.counts()).finish()
    }
}

impl<S: Scale> Histogram<S> {
    pub fn observe(&self, value: u64) {
        let bucket = S::BOUNDS.iter().take_while(|bound| value > **bound);
        if let Some(counter) = self.buckets.get(bucket.count()) {
            counter.add(1);
        }
        self.sum.add(value);
    }

    /// Observations in each bucket alone, in the order of the bounds, then those above the last.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        let used = self.buckets.iter().take(S::BOUNDS.len() + 1);
        used.map(Counter::value)
    }

    /// What all observations add up to, in units of the scale.
    pub fn sum(&self) -> u64 {
        self.sum.value()
    }
}

impl Histogram<Waits> {
    pub fn observe_time(&self, time: Duration) {
        self.observe(nanos(time));
    }
}

impl Histogram<Lifetimes> {
    pub fn observe_time(&self, time: Duration) {
        self.observe(nanos(time));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram<Bytes> {
    /// Adds what a scan has put into classes already.
    pub fn add(&self, sizes: &Sizes) {
        for (bucket, n) in self.buckets.iter().zip(sizes.classes) {
            if n > 0 {
                bucket.add(u64::from(n));
            }
        }
        self.sum.add(sizes.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_fit() {
        fn check<S: Scale>() {
            assert!(S::BOUNDS.is_sorted_by(|a, b| a < b));
            assert!(S::BOUNDS.len() <= BOUNDS_MAX);
        }
        check::<Waits>();
        check::<Lifetimes>();
        check::<Bytes>();
        check::<Batches>();
    }

    #[test]
    fn observation_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::<Waits>::default();
        for micros in [0, 250, 251, 30_000_000, 30_000_001] {
            histogram.observe_time(Duration::from_micros(micros));
        }
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!(counts[..3], [2, 1, 0]);
        assert_eq!(counts[12..], [0, 1, 1]);
        assert_eq!(histogram.sum(), 60_000_502_000);
    }

    #[test]
    fn classes_of_the_scanner_are_the_buckets() {
        let histogram = Histogram::<Bytes>::default();
        let mut sizes = Sizes::default();
        sizes.classes[0] = 3;
        sizes.classes[SIZE_BOUNDS.len()] = 1;
        sizes.bytes = 1 << 30;
        histogram.add(&sizes);
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!((counts[0], counts.last(), counts.len()), (3, Some(&1), 11));
        assert_eq!(histogram.sum(), 1 << 30);
    }
}

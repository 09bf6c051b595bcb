//! Histograms with bounds that never change, so that workers can be summed.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Counter;

/// Durations, counted in buckets that never change, so that workers can be summed.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what lies above the last.
    buckets: [Counter; BOUNDS.len() + 1],
    nanoseconds: Counter,
}

/// Upper bounds of the buckets, as durations and as the values of the `le` label, in seconds.
pub const BOUNDS: [(Duration, &str); 14] = [
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(5), "5"),
    (Duration::from_secs(30), "30"),
];

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let bucket = BOUNDS.iter().take_while(|(bound, _)| duration > *bound);
        if let Some(counter) = self.buckets.get(bucket.count()) {
            counter.add(1);
        }
        // 584 years of handshakes fit.
        self.nanoseconds
            .add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Observations in each bucket alone, in the order of `BOUNDS`, then those above the last.
    pub fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        self.buckets.each_ref().map(Counter::value)
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_their_labels_are_seconds() {
        assert!(BOUNDS.is_sorted_by(|a, b| a.0 < b.0));
        for (bound, label) in BOUNDS {
            assert_eq!(bound.as_secs_f64(), label.parse::<f64>().unwrap());
        }
    }

    #[test]
    fn observation_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts = histogram.counts();
        assert_eq!(counts[..3], [2, 1, 0]);
        assert_eq!(counts[12..], [0, 1, 1]);
        assert_eq!(histogram.sum(), Duration::from_micros(60_000_502));
    }
}

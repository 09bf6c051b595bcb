//! Latencies in nanoseconds, kept to three digits.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::Report;

/// Anything slower is recorded as this.
const LONGEST: Duration = Duration::from_secs(60);
const DIGITS: u8 = 3;

#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Result<Self, String> {
        let longest = nanoseconds(LONGEST);
        Histogram::new_with_bounds(1, longest, DIGITS)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanoseconds(latency));
    }

    /// Adds the usual percentiles as `<name>_p50_us` and so on.
    pub(crate) fn report(&self, name: &str, report: &mut Report) {
        for (label, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            report.add(
                format!("{name}_{label}_us"),
                microseconds(self.0.value_at_quantile(quantile)),
            );
        }
        report.add(format!("{name}_max_us"), microseconds(self.0.max()));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

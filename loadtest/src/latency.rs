//! Latencies in nanoseconds, kept to three digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::report::Report;

/// Anything slower is recorded as this.
const LONGEST: Duration = Duration::from_secs(600);
/// What need not be told apart. Ten times as fine as the clock is on most machines would only make histograms large.
const FINEST: Duration = Duration::from_nanos(128);
const DIGITS: u8 = 3;
/// Of the latency-by-percentile chart, evenly spaced over the number of nines.
const CURVE_POINTS_PER_NINE: u32 = 8;

#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Result<Self, String> {
        Histogram::new_with_bounds(nanoseconds(FINEST), nanoseconds(LONGEST), DIGITS)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanoseconds(latency));
    }

    /// Adds what `other` has recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Histograms of the same bounds always fit into each other.
        self.0.add(&other.0).ok();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    pub(crate) fn microseconds_at(&self, quantile: f64) -> f64 {
        microseconds(self.0.value_at_quantile(quantile))
    }

    /// In the format of HDR logs.
    pub(crate) fn pack(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, String> {
        Deserializer::new()
            .deserialize(&mut &bytes[..])
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Adds the usual percentiles as `<name>_p50_us` and so on.
    pub(crate) fn report(&self, name: &str, report: &mut Report) {
        if self.is_empty() {
            return;
        }
        report.add(format!("{name}_mean_us"), self.0.mean() / 1e3);
        for (label, quantile) in [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("p9999", 0.9999),
        ] {
            report.add(format!("{name}_{label}_us"), self.microseconds_at(quantile));
        }
        report.add(format!("{name}_max_us"), microseconds(self.0.max()));
    }

    /// (Number of nines, microseconds): 0.99 has two nines. As far out as there are values to tell quantiles apart.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let nines_max = (self.0.len().max(1) as f64).log10();
        let steps = 7 * CURVE_POINTS_PER_NINE;
        (0..=steps)
            .map(|step| f64::from(step) / f64::from(CURVE_POINTS_PER_NINE))
            .take_while(|nines| *nines <= nines_max)
            .map(|nines| (nines, self.microseconds_at(1.0 - 10_f64.powf(-nines))))
            .collect()
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_is_like_recording_in_one() {
        let (mut whole, mut left, mut right) = (
            Latency::new().unwrap(),
            Latency::new().unwrap(),
            Latency::new().unwrap(),
        );
        for micros in 1..=1000 {
            let latency = Duration::from_micros(micros);
            whole.record(latency);
            if micros % 3 == 0 {
                &mut left
            } else {
                &mut right
            }
            .record(latency);
        }
        left.merge(&right);
        assert_eq!(left.histogram(), whole.histogram());
        let p99 = left.microseconds_at(0.99);
        assert!((989.0..=991.0).contains(&p99), "{p99}");
    }

    #[test]
    fn a_curve_ends_where_the_values_do() {
        let mut latency = Latency::new().unwrap();
        for _ in 0..1000 {
            latency.record(Duration::from_micros(10));
        }
        let curve = latency.curve();
        assert_eq!(curve.last().map(|point| point.0), Some(3.0));
    }
}

//! How values are spread over an axis, and what is written beside it.

use crate::screen;

/// Marks on an axis, about.
const TICKS: f64 = 5.0;
/// Most marks of any axis.
const TICKS_MAX: usize = 32;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// From zero, or from below it.
    Linear,
    /// Microseconds, with marks at powers of ten.
    Time,
    /// The number of nines of a percentile: 2 is 99 %.
    Nines,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    min: f64,
    max: f64,
}

impl Axis {
    pub(super) fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (min, max) = match scale {
            Scale::Linear => (low.min(0.0), high.max(0.0)),
            // Whole powers of ten, and never the logarithm of nothing.
            Scale::Time => (power_of(low).floor(), power_of(high).ceil()),
            Scale::Nines => (0.0, high),
        };
        let max = if max > min { max } else { min + 1.0 };
        Self { scale, min, max }
    }

    /// With the mark above the highest value, so that a line does not run along the upper edge.
    pub(super) fn rounded_up(self) -> Self {
        match self.scale {
            Scale::Linear => {
                let step = self.step();
                Self {
                    max: (self.max / step).ceil() * step,
                    ..self
                }
            }
            Scale::Time | Scale::Nines => self,
        }
    }

    /// From 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Time => power_of(value),
            Scale::Linear | Scale::Nines => value,
        };
        ((value - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }

    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let step = self.step();
        let mut ticks = Vec::new();
        let mut at = (self.min / step).ceil() * step;
        while at <= self.max + step * 1e-9 && ticks.len() < TICKS_MAX {
            ticks.push(match self.scale {
                Scale::Linear => (at, short(at)),
                Scale::Time => (10_f64.powf(at), whole_time(10_f64.powf(at))),
                Scale::Nines => (at, nines(at)),
            });
            at += step;
        }
        ticks
    }

    fn step(&self) -> f64 {
        match self.scale {
            Scale::Linear => round_step((self.max - self.min) / TICKS),
            Scale::Time | Scale::Nines => 1.0,
        }
    }
}

fn power_of(value: f64) -> f64 {
    value.max(1e-3).log10()
}

/// 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = match step / power {
        times if times <= 1.0 => 1.0,
        times if times <= 2.0 => 2.0,
        times if times <= 5.0 => 5.0,
        _ => 10.0,
    };
    times * power
}

pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e9 => format!("{}G", trim(value / 1e9)),
        size if size >= 1e6 => format!("{}M", trim(value / 1e6)),
        size if size >= 1e3 => format!("{}k", trim(value / 1e3)),
        _ => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Without the digits of `screen::time` behind the point, which are noughts.
fn whole_time(microseconds: f64) -> String {
    match microseconds {
        time if time < 1.0 => format!("{} ns", trim(time * 1e3)),
        time => screen::time(time).replace(".00", ""),
    }
}

fn nines(nines: f64) -> String {
    match nines {
        nines if nines < 0.5 => "0 %".to_owned(),
        nines if nines < 1.5 => "90 %".to_owned(),
        nines if nines < 2.5 => "99 %".to_owned(),
        nines => format!("99.{} %", "9".repeat(count(nines - 2.0))),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "nines are few, and a float's `as` saturates"
)]
fn count(nines: f64) -> usize {
    nines.round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn axes_have_round_marks() {
        let check = |scale, values: &[f64], expected: &[&str]| {
            assert_eq!(labels(Axis::over(scale, values.iter().copied())), expected);
        };
        check(Scale::Linear, &[3.0, 97.0], &["0", "20", "40", "60", "80"]);
        check(
            Scale::Linear,
            &[0.0],
            &["0", "0.2", "0.4", "0.6", "0.8", "1"],
        );
        check(
            Scale::Linear,
            &[-30.0, 10.0],
            &["-30", "-20", "-10", "0", "10"],
        );
        check(
            Scale::Time,
            &[30.0, 4000.0],
            &["10 us", "100 us", "1 ms", "10 ms"],
        );
        check(Scale::Time, &[0.5], &["100 ns", "1 us"]);
        check(
            Scale::Nines,
            &[4.2],
            &["0 %", "90 %", "99 %", "99.9 %", "99.99 %"],
        );
    }

    #[test]
    fn a_rounded_axis_ends_at_a_mark() {
        let axis = Axis::over(Scale::Linear, [3.0, 97.0].into_iter()).rounded_up();
        assert_eq!(labels(axis).last().map(String::as_str), Some("100"));
        assert!((axis.place(100.0) - 1.0).abs() < 1e-9);
    }
}

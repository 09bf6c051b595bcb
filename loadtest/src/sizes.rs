//! How long messages are: one size, or a distribution from which each message draws its own.

use std::str::FromStr;

use crate::random::mix;

/// Above it a message would not fit into the memory of a small machine many times over.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sizes {
    Fixed(usize),
    /// Both ends included, all equally likely.
    Uniform {
        min: usize,
        max: usize,
    },
    /// Each size with its weight.
    Weighted(Vec<(usize, u32)>),
    /// Many small ones and a long tail, cut at sixteen times the mean.
    Exponential {
        mean: usize,
    },
}

impl Sizes {
    /// The size of message `tag`, always the same: whoever checks an echo knows it without having kept it.
    pub(crate) fn of(&self, tag: u64) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform { min, max } => {
                let span = (max - min) as u64 + 1;
                min + usize::try_from(mix(tag) % span).unwrap_or_default()
            }
            Self::Weighted(sizes) => {
                let total: u64 = sizes.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut left = mix(tag) % total.max(1);
                for (size, weight) in sizes {
                    match left.checked_sub(u64::from(*weight)) {
                        Some(rest) => left = rest,
                        None => return *size,
                    }
                }
                0
            }
            Self::Exponential { mean } => {
                // 53 bits, so that the fraction is in (0, 1].
                let fraction = ((mix(tag) >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
                let drawn = -fraction.ln() * *mean as f64;
                whole(drawn).min(self.max())
            }
        }
    }

    pub(crate) fn max(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Uniform { max: size, .. } => *size,
            Self::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or(0),
            Self::Exponential { mean } => mean.saturating_mul(16).min(MESSAGE_BYTES_MAX),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's `as` saturates, and the caller has a bound"
)]
fn whole(number: f64) -> usize {
    number as usize
}

const HELP: &str =
    "bytes as 64, 64..4096 (uniform), 64:90,65536:10 (weighted) or exp:512 (exponential)";

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("{HELP}, each up to {MESSAGE_BYTES_MAX}"))
    }
}

fn parse(text: &str) -> Option<Sizes> {
    if let Some(mean) = text.strip_prefix("exp:") {
        return Some(Sizes::Exponential { mean: size(mean)? });
    }
    if let Some((min, max)) = text.split_once("..") {
        let (min, max) = (size(min)?, size(max)?);
        return (min <= max).then_some(Sizes::Uniform { min, max });
    }
    if text.contains(':') {
        let sizes = text.split(',').map(|part| {
            let (bytes, weight) = part.split_once(':')?;
            Some((
                size(bytes)?,
                weight.parse().ok().filter(|weight| *weight > 0)?,
            ))
        });
        return sizes.collect::<Option<_>>().map(Sizes::Weighted);
    }
    size(text).map(Sizes::Fixed)
}

/// Bytes, also as 4KiB or 1MiB.
fn size(text: &str) -> Option<usize> {
    let (digits, unit) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1024),
        (_, Some(digits)) => (digits, 1024 * 1024),
        _ => (text, 1),
    };
    let bytes = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (bytes <= MESSAGE_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let check = |text: &str, expected: Option<Sizes>| {
            assert_eq!(text.parse().ok(), expected, "{text}");
        };
        check("64", Some(Sizes::Fixed(64)));
        check("4KiB", Some(Sizes::Fixed(4096)));
        check("1MiB", Some(Sizes::Fixed(1 << 20)));
        check("1..9", Some(Sizes::Uniform { min: 1, max: 9 }));
        check(
            "64:9,4KiB:1",
            Some(Sizes::Weighted(vec![(64, 9), (4096, 1)])),
        );
        check("exp:512", Some(Sizes::Exponential { mean: 512 }));
        for text in [
            "",
            "-1",
            "9..1",
            "64:0",
            "64:",
            "exp:",
            "65MiB",
            "99999999999999999999MiB",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn draws_stay_in_their_range_and_have_the_mean_asked_for() {
        let check = |text: &str, mean: f64| {
            let sizes: Sizes = text.parse().unwrap();
            let drawn: Vec<_> = (0..100_000).map(|tag| sizes.of(tag)).collect();
            assert!(drawn.iter().all(|size| *size <= sizes.max()));
            let sum: usize = drawn.iter().sum();
            let actual = sum as f64 / drawn.len() as f64;
            assert!((actual / mean - 1.0).abs() < 0.05, "{text}: {actual}");
        };
        check("64", 64.0);
        check("100..300", 200.0);
        check("100:3,500:1", 200.0);
        check("exp:512", 512.0);
    }
}

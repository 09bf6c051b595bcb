//! Readers of flags' values that several commands share.

use std::time::Duration;

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("a whole number from 1".to_owned()),
    }
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a number a second from 0.001 to 1e9".to_owned()),
    }
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share from 0 to 1".to_owned()),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("ms") => 1e-3,
        Some("" | "s") => 1.0,
        Some("m") => 60.0,
        Some("h") => 3600.0,
        _ => return Err("a number with ms, s, m or h".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "a number with ms, s, m or h".to_owned())?;
    match number * unit {
        seconds @ 0.0..=86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("at most 24h".to_owned()),
    }
}

/// A time between two events, which must not be nothing.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if interval >= Duration::from_millis(1) => Ok(interval),
        _ => Err("at least 1ms".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let check = |text, expected| assert_eq!(duration(text).ok(), expected, "{text}");
        check("500ms", Some(Duration::from_millis(500)));
        check("5s", Some(Duration::from_secs(5)));
        check("1.5", Some(Duration::from_millis(1500)));
        check("2m", Some(Duration::from_secs(120)));
        for text in ["", "s", "5 days", "-1s", "25h", "nan"] {
            check(text, None);
        }
        assert!(interval("0s").is_err());
    }
}

//! Numbers as a person reads them.

use std::time::Duration;

/// For what is not known.
pub(super) const NONE: &str = "-";

/// `9876`, `12.3k`, `4.56M`.
pub(super) fn count(value: f64) -> String {
    if value < 10_000.0 {
        return format!("{value:.0}");
    }
    scaled(value, 1000.0, &["", "k", "M", "G", "T"])
}

/// As `count`, with a decimal where little happens.
pub(super) fn rate(value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(value) if value > 0.0 && value < 10.0 => format!("{value:.1}"),
        Some(value) => count(value),
    }
}

/// `512B`, `1.25MiB`.
pub(super) fn bytes(value: Option<f64>) -> String {
    value.map_or_else(
        || NONE.to_owned(),
        |value| scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
    )
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let whole = value < step;
    for larger in units {
        if value < step * 0.9995 {
            break;
        }
        value /= step;
        unit = larger;
    }
    match value {
        value if whole => format!("{value:.0}{unit}"),
        value if value < 10.0 => format!("{value:.2}{unit}"),
        value if value < 100.0 => format!("{value:.1}{unit}"),
        value => format!("{value:.0}{unit}"),
    }
}

/// `340us`, `1.2ms`, `3.4s`.
pub(super) fn time(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => NONE.to_owned(),
        Some(time) if time < 1.0 => format!("{:.0}us", time * 1e3),
        Some(time) if time < 1000.0 => format!("{time:.1}ms"),
        Some(time) => format!("{:.1}s", time / 1e3),
    }
}

/// `42s`, `3m12s`, `5h02m`, `12d03h`.
pub(super) fn span(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_three_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (9999.0, "9999"),
            (10_000.0, "10.0k"),
            (999_499.0, "999k"),
            (999_600.0, "1.00M"),
            (4_560_000.0, "4.56M"),
        ] {
            assert_eq!(count(value), expected);
        }
        for (value, expected) in [
            (None, "-"),
            (Some(0.0), "0"),
            (Some(0.25), "0.2"),
            (Some(10.4), "10"),
        ] {
            assert_eq!(rate(value), expected);
        }
        for (value, expected) in [
            (Some(1023.0), "1023B"),
            (Some(1024.0), "1.00KiB"),
            (Some(1_310_720.0), "1.25MiB"),
        ] {
            assert_eq!(bytes(value), expected);
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (value, expected) in [
            (None, "-"),
            (Some(0.34), "340us"),
            (Some(1.25), "1.2ms"),
            (Some(3400.0), "3.4s"),
        ] {
            assert_eq!(time(value), expected);
        }
        for (seconds, expected) in [
            (59, "59s"),
            (192, "3m12s"),
            (18_120, "5h02m"),
            (1_047_600, "12d03h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}

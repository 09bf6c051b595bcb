//! Durations and sizes as a person writes them: `60s`, `200ms`, `128KiB`.

use std::time::Duration;

/// Units of time, in microseconds, longest first.
const TIME: [(&str, u64); 5] = [
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units of size, in bytes. Binary: spec 6.1 counts so.
const SIZE: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

pub fn parse_duration(text: &str) -> Option<Duration> {
    scaled(text, &TIME).map(Duration::from_micros)
}

pub fn parse_size(text: &str) -> Option<u64> {
    scaled(text, &SIZE)
}

pub fn format_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    formatted(micros, &TIME, "s")
}

pub fn format_size(bytes: u64) -> String {
    formatted(bytes, &SIZE, "B")
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// With the largest unit that leaves no rest.
fn formatted(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    match units
        .iter()
        .find(|(_, scale)| amount != 0 && amount.is_multiple_of(*scale))
    {
        Some((unit, scale)) => format!("{}{unit}", amount / scale),
        None => format!("0{zero}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_and_written() {
        for (text, micros) in [
            ("60s", Some(60_000_000)),
            ("200ms", Some(200_000)),
            ("5 m", Some(300_000_000)),
            ("100us", Some(100)),
            ("1h", Some(3_600_000_000)),
            ("0s", Some(0)),
            ("60", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1d", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(
                parse_duration(text),
                micros.map(Duration::from_micros),
                "{text}"
            );
        }
        for (text, bytes) in [
            ("128KiB", Some(131_072)),
            ("4MiB", Some(4 << 20)),
            ("1GiB", Some(1 << 30)),
            ("7B", Some(7)),
            ("4MB", None),
            ("4", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        for (micros, text) in [
            (90_000_000, "90s"),
            (300_000_000, "5m"),
            (1_500, "1500us"),
            (0, "0s"),
        ] {
            assert_eq!(format_duration(Duration::from_micros(micros)), text);
        }
        assert_eq!(format_size(12 << 20), "12MiB");
        assert_eq!(format_size(1025), "1025B");
    }
}

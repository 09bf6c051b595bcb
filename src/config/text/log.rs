//! `[log]`: the program's messages, and the lines about tunnels and calls.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Reader, set};
use crate::config::{AccessFormat, AccessLog, LogFormat};
use crate::document::{Complaints, Item, Table};

const LEVELS: [(&str, &str); 5] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const ACCESS_FORMATS: [(&str, AccessFormat); 3] = [
    ("json", AccessFormat::Json),
    ("apig", AccessFormat::Apig),
    ("apig_json", AccessFormat::ApigJson),
];

/// Zero is for none.
const INTERVALS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);
const INTERVAL_MIN: Duration = Duration::from_secs(1);

const SECRETS_MAX: usize = 64;

impl Reader {
    pub(super) fn log(&mut self, table: &mut Table<'_>) {
        let access =
            table
                .take("access")
                .and_then(|item| match item.text(&mut self.complaints)? {
                    "stdout" => Some(AccessLog::Stdout),
                    "off" => Some(AccessLog::Off),
                    _ => self.path(&item).map(AccessLog::File),
                });
        let complaints = &mut self.complaints;
        let level = table
            .take("level")
            .and_then(|item| item.choice(&LEVELS, complaints));
        let format = table
            .take("format")
            .and_then(|item| item.choice(&FORMATS, complaints));
        let lines = table
            .take("queue_lines_max")
            .and_then(|item| item.count(16..=1 << 20, complaints));
        let access_format = table
            .take("access_format")
            .and_then(|item| item.choice(&ACCESS_FORMATS, complaints));
        let open = table
            .take("access_open")
            .and_then(|item| item.boolean(complaints));
        let interval = table
            .take("access_interval")
            .and_then(|item| interval(&item, complaints));
        let secrets = table
            .take("access_secrets")
            .map(|item| secrets(&item, complaints));
        let log = &mut self.draft.config.log;
        set(&mut log.level, level.map(str::to_owned));
        set(&mut log.format, format);
        set(&mut log.queue_lines_max, lines);
        set(&mut log.access, access);
        set(&mut log.access_format, access_format);
        set(&mut log.access_open, open.map(Some));
        set(&mut log.access_interval, interval);
        set(&mut log.access_secrets, secrets);
    }
}

fn interval(item: &Item<'_>, complaints: &mut Complaints) -> Option<Duration> {
    let interval = item.duration(INTERVALS, complaints)?;
    if interval.is_zero() || interval >= INTERVAL_MIN {
        return Some(interval);
    }
    complaints.error(
        &item.place(complaints),
        format!("a line every {interval:?} for each tunnel is more than a log is for"),
        "write 1s or more, or 0s for none",
    );
    None
}

fn secrets(item: &Item<'_>, complaints: &mut Complaints) -> Vec<String> {
    let items = item.list(complaints);
    if items.len() > SECRETS_MAX {
        complaints.error(
            &item.place(complaints),
            format!("{} names are too many", items.len()),
            format!("list {SECRETS_MAX} at most"),
        );
    }
    let name = |item: &Item<'_>| item.text_of(1..=128, complaints).map(str::to_owned);
    items.iter().filter_map(name).collect()
}

//! The files of a run: its figures, its latencies second by second, and its charts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::clock;
use crate::report::Report;
use crate::run::{Interval, Seen};
use crate::svg::{LineChart, Scale, Series};

/// HDR logs give the maximum of an interval in milliseconds; we record nanoseconds.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

pub(crate) fn write(directory: &Path, seen: &Seen, report: &Report) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    write_file(
        directory,
        "report.json",
        format!("{:#}\n", report.to_json()).as_bytes(),
    )?;
    if !seen.tally.latency.is_empty() {
        write_file(directory, "latency.hlog", &log(seen)?)?;
    }
    let charts = [
        ("latency.svg", latency_chart(seen)),
        ("timeline.svg", timeline_chart(seen)),
        ("connections.svg", connections_chart(seen)),
        ("memory.svg", memory_chart(seen)),
    ];
    for (name, chart) in charts {
        if let Some(text) = chart.draw() {
            write_file(directory, name, text.as_bytes())?;
        }
    }
    Ok(())
}

pub(crate) fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = directory.join(name);
    fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// As HdrHistogram's other tools read it.
fn log(seen: &Seen) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let length = seen
        .intervals
        .last()
        .map_or(0.0, |interval| interval.seconds);
    let now = clock::wall();
    let begun = now
        .checked_sub(Duration::from_secs_f64(length))
        .unwrap_or(now);
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment(&format!(
            "ringgate-loadtest {}, latency in nanoseconds",
            seen.plan.scenario
        ))
        .with_start_time(begun)
        .with_base_time(begun)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND);
    let mut writer = builder
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| error.to_string())?;
    for interval in measured(seen) {
        let start = Duration::from_secs_f64((interval.seconds - interval.length).max(0.0));
        let length = Duration::from_secs_f64(interval.length);
        writer
            .write_histogram(interval.tally.latency.histogram(), start, length, None)
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(bytes)
}

fn measured(seen: &Seen) -> impl Iterator<Item = &Interval> {
    seen.intervals
        .iter()
        .filter(|interval| !interval.tally.latency.is_empty())
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series {
        name: name.to_owned(),
        points,
    }
}

fn latency_chart(seen: &Seen) -> LineChart {
    let kinds = [
        ("latency", &seen.tally.latency),
        ("handshake", &seen.tally.handshake),
        ("ping", &seen.tally.ping),
    ];
    let curves = kinds.iter().filter(|(_, latency)| !latency.is_empty());
    LineChart {
        title: format!("{}: latency by percentile", seen.plan.scenario),
        x: ("percentile", Scale::Nines),
        y: ("us", Scale::Log),
        series: curves
            .map(|(name, latency)| series(name, latency.curve()))
            .collect(),
    }
}

fn timeline_chart(seen: &Seen) -> LineChart {
    let rate = seen.intervals.iter().map(|interval| {
        let tally = &interval.tally;
        let events = tally.messages + tally.messages_outside + tally.connections;
        (
            interval.seconds,
            events as f64 / interval.length.max(f64::EPSILON),
        )
    });
    LineChart {
        title: format!("{}: events a second over time", seen.plan.scenario),
        x: ("seconds", Scale::Linear),
        y: ("a second", Scale::Linear),
        series: vec![series("messages and connections", rate.collect())],
    }
}

fn connections_chart(seen: &Seen) -> LineChart {
    let open = seen
        .moments
        .iter()
        .map(|moment| (moment.seconds, moment.open as f64));
    LineChart {
        title: format!("{}: open connections over time", seen.plan.scenario),
        x: ("seconds", Scale::Linear),
        y: ("connections", Scale::Linear),
        series: vec![series("open", open.collect())],
    }
}

/// While connections are opened: memory against their number.
fn memory_chart(seen: &Seen) -> LineChart {
    let mebibytes = |bytes: u64| bytes as f64 / 1_048_576.0;
    let (mut resident, mut slabs) = (Vec::new(), Vec::new());
    for moment in &seen.moments {
        let Some(cost) = moment.cost else {
            continue;
        };
        let open = moment.open as f64;
        resident.push((open, mebibytes(cost.memory.resident)));
        slabs.extend(
            cost.kernel
                .socket_slabs
                .map(|bytes| (open, mebibytes(bytes))),
        );
    }
    LineChart {
        title: format!("{}: memory over connections", seen.plan.scenario),
        x: ("connections", Scale::Linear),
        y: ("MiB", Scale::Linear),
        series: vec![
            series("resident, of the observed", resident),
            series("socket slabs, of the machine", slabs),
        ],
    }
}

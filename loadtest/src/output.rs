//! The files of a run: its figures, its latencies second by second, and its charts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::clock;
use crate::latency::Latency;
use crate::observe::Cost;
use crate::report::Report;
use crate::run::Seen;
use crate::svg::{LineChart, Scale, Series};
use crate::timeline::Interval;

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
        .map_or(0.0, |interval| interval.begin + interval.length);
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
    for interval in &seen.intervals {
        let Some(packed) = &interval.packed else {
            continue;
        };
        let latency = Latency::unpack(packed)?;
        let start = Duration::from_secs_f64(interval.begin);
        let length = Duration::from_secs_f64(interval.length);
        writer
            .write_histogram(latency.histogram(), start, length, None)
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(bytes)
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series {
        name: name.to_owned(),
        points,
    }
}

/// What was run.
fn subtitle(seen: &Seen) -> String {
    let plan = &seen.plan;
    let mut text = plan.scenario.to_owned();
    if let Some(name) = plan.loop_name() {
        text += &format!(", {name} loop");
    }
    let threads = if seen.threads == 1 {
        "thread"
    } else {
        "threads"
    };
    text + &format!(
        ", {} connections, {} {threads}",
        plan.roles.len(),
        seen.threads
    )
}

fn latency_chart(seen: &Seen) -> LineChart {
    let kinds = [
        ("latency", &seen.tally.latency),
        ("handshake", &seen.tally.handshake),
        ("ping", &seen.tally.ping),
    ];
    let curves = kinds.iter().filter(|(_, latency)| !latency.is_empty());
    LineChart {
        title: "Latency by percentile".to_owned(),
        subtitle: subtitle(seen),
        x: ("percentile", Scale::Nines),
        y: ("", Scale::Time),
        series: curves
            .map(|(name, latency)| series(name, latency.curve()))
            .collect(),
    }
}

fn timeline_chart(seen: &Seen) -> LineChart {
    let rate = |count: fn(&Interval) -> u64| -> Vec<_> {
        if seen.intervals.iter().all(|interval| count(interval) == 0) {
            return Vec::new();
        }
        // A second is drawn at its middle.
        let points = seen.intervals.iter().map(|interval| {
            let middle = interval.begin + interval.length / 2.0;
            (middle, count(interval) as f64 / interval.length)
        });
        points.collect()
    };
    LineChart {
        title: "Rate over time".to_owned(),
        subtitle: subtitle(seen),
        x: ("seconds", Scale::Linear),
        y: ("a second", Scale::Linear),
        series: vec![
            series("messages", rate(|interval| interval.messages)),
            series("connections opened", rate(|interval| interval.opened)),
        ],
    }
}

fn connections_chart(seen: &Seen) -> LineChart {
    let open = seen
        .moments
        .iter()
        .map(|moment| (moment.seconds, moment.open as f64));
    LineChart {
        title: "Open connections over time".to_owned(),
        subtitle: subtitle(seen),
        x: ("seconds", Scale::Linear),
        y: ("connections", Scale::Linear),
        series: vec![series("open", open.collect())],
    }
}

/// Memory against connections while these are opened. What there was before is subtracted: the socket slabs are the whole
/// machine's, and would dwarf the rest.
fn memory_chart(seen: &Seen) -> LineChart {
    let opening = seen.moments.iter().take_while(|moment| !moment.loaded);
    let costs: Vec<_> = opening
        .filter_map(|moment| Some((moment.open as f64, moment.cost?)))
        .collect();
    let grown = |value: fn(&Cost) -> Option<u64>| -> Vec<_> {
        let before = costs.first().and_then(|(_, cost)| value(cost));
        let points = costs.iter().filter_map(|(open, cost)| {
            let bytes = value(cost)? as f64 - before? as f64;
            Some((*open, bytes / 1_048_576.0))
        });
        points.collect()
    };
    LineChart {
        title: "Memory over connections".to_owned(),
        subtitle: subtitle(seen),
        x: ("connections", Scale::Linear),
        y: ("MiB more than before", Scale::Linear),
        series: vec![
            series(
                "resident, of the observed",
                grown(|cost| Some(cost.memory.resident)),
            ),
            series(
                "socket slabs, of the machine",
                grown(|cost| cost.kernel.socket_slabs),
            ),
        ],
    }
}

//! The idle scenario: connections are opened, perhaps used once, and held; what counts is the memory they take.

use std::time::Duration;

use crate::cli::IdleOptions;
use crate::clock;
use crate::fleet::{Fleet, expect_echo};
use crate::lane::Step;
use crate::observe::{Memory, Observer};
use crate::report::Report;
use crate::{Outcome, descriptors};

const TOUCH_BYTES: usize = 64;
/// How long the echoes of `--touch` may take.
const TOUCH_MAX: Duration = Duration::from_secs(10);
/// Connections touched at a time.
const TOUCH_BATCH: usize = 64;

pub(crate) fn run(options: IdleOptions) -> Result<Outcome, String> {
    descriptors::ensure(options.connections)?;
    let target = options.load.target()?;
    let observer = Observer::new(options.load.observe);
    let before = observer.sample()?;
    let mut fleet = Fleet::new(
        target,
        options.load.sources,
        options.connections,
        TOUCH_BYTES,
    )
    .map_err(|error| error.to_string())?;
    fleet.open_all(options.load.open_rate)?;
    if options.touch {
        touch(&mut fleet)?;
    }
    hold(&mut fleet, options.load.duration)?;
    let after = observer.sample()?;

    let mut report = Report::new("idle");
    report.add("connections", fleet.len());
    if let Some((before, after)) = before.zip(after) {
        before.memory.report("before", &mut report);
        after.memory.report("after", &mut report);
        report_growth(before.memory, after.memory, fleet.len(), &mut report);
    }
    report.add_failures(&fleet.failures);
    Ok(Outcome::new(report, &fleet.failures))
}

/// One echo on each connection, some at a time: a burst over all would measure how much a proxy buffers at its peak.
fn touch(fleet: &mut Fleet) -> Result<(), String> {
    let end = clock::now() + TOUCH_MAX;
    for first in (0..fleet.len()).step_by(TOUCH_BATCH) {
        for slot in first..fleet.len().min(first + TOUCH_BATCH) {
            fleet.send(slot, clock::now());
        }
        while fleet.outstanding() > 0 {
            if clock::now() > end {
                return Err(format!("{} echoes did not come", fleet.outstanding()));
            }
            turn(fleet, Duration::from_millis(10))?;
        }
    }
    Ok(())
}

fn hold(fleet: &mut Fleet, length: Duration) -> Result<(), String> {
    let end = clock::now() + length;
    loop {
        let left = end.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Ok(());
        }
        turn(fleet, left)?;
    }
}

fn turn(fleet: &mut Fleet, timeout: Duration) -> Result<(), String> {
    fleet
        .turn(Some(timeout), &mut |_, _, step: Step, _| expect_echo(step))
        .map_err(|error| error.to_string())
}

fn report_growth(before: Memory, after: Memory, pairs: usize, report: &mut Report) {
    let growth = |before: u64, after: u64| (after as f64 - before as f64) / pairs as f64;
    report.add(
        "rss_bytes_per_pair",
        growth(before.resident, after.resident),
    );
    report.add(
        "pss_bytes_per_pair",
        growth(before.proportional, after.proportional),
    );
    report.add(
        "anonymous_bytes_per_pair",
        growth(before.anonymous, after.anonymous),
    );
}

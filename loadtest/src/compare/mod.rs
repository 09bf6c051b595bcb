//! Several proxies side by side: each started afresh for each measurement, pinned as told, in turns within each round,
//! so that no proxy always has the quieter moment.

mod bench;
mod child;
mod file;
mod process;
mod results;
mod scratch;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::cli::CompareOptions;
use crate::output::write_file;
use crate::run::end_on_signals;

use bench::Bench;
use file::fill;
use process::said;
use results::Case;

pub(crate) use child::become_child;

/// Says whether everything could be measured and went without errors.
pub(crate) fn run(options: &CompareOptions) -> Result<bool, String> {
    // Children are groups of their own, which a terminal's Ctrl-C does not reach: they end with the bench.
    let stop = Arc::new(AtomicBool::new(false));
    end_on_signals(&stop)?;
    let bench = Bench::prepare(options, Arc::clone(&stop))?;
    let cases = bench.measure()?;
    let tables: Vec<_> = cases.iter().map(|case| case.table(&bench.names)).collect();
    let tables = tables.join("\n");
    println!("{tables}");
    if let Some(directory) = &options.out {
        write(&bench, directory, &cases, &tables)?;
    }
    if stop.load(Ordering::Relaxed) {
        return Err("interrupted; what was measured until then is above".to_owned());
    }
    Ok(cases.iter().all(|case| case.failures.is_empty()))
}

/// The results as files.
fn write(bench: &Bench, directory: &Path, cases: &[Case], tables: &str) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let results = json!({
        "environment": environment(bench),
        "rounds": bench.file.rounds,
        "seconds": bench.file.seconds,
        "cases": cases.iter().map(|case| case.json(&bench.names)).collect::<Vec<_>>(),
    });
    write_file(
        directory,
        "results.json",
        format!("{results:#}\n").as_bytes(),
    )?;
    write_file(directory, "tables.md", tables.as_bytes())?;
    for (name, scheme) in [("ws", ", ws"), ("wss", ", wss")] {
        let (chosen, _): (Vec<_>, Vec<_>) =
            cases.iter().partition(|case| case.title.ends_with(scheme));
        if let Some(chart) = results::chart(&chosen, &bench.names) {
            write_file(directory, &format!("compare-{name}.svg"), chart.as_bytes())?;
        }
    }
    Ok(())
}

/// What the figures depend on.
fn environment(bench: &Bench) -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let versions: serde_json::Map<_, _> = bench
        .file
        .proxies
        .iter()
        .map(|proxy| {
            let words: Vec<_> = proxy
                .version
                .iter()
                .map(|word| fill(word, "ws", &bench.values))
                .collect();
            (proxy.name.clone(), said(&words).into())
        })
        .collect();
    json!({
        "kernel": kernel.trim(),
        "cpu": model.map(|text| text.trim_start_matches([' ', '\t', ':'])),
        "cores": thread::available_parallelism().map_or(0, usize::from),
        "versions": versions,
        "backend_processes": bench.backend.pids().split(',').count(),
    })
}

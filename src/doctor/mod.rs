//! `ringgate doctor`: what will break on this host at that many connections, and how to mend it. It changes nothing.
//!
//! `host` reads `/proc` and `/sys`, `plan` is what they are held against, and there is a file for each area of checks, which
//! gives `finding`s. A file that is missing makes a finding that says so, never a failure of the program.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::expect_used))]

mod backends;
mod certificates;
mod cpu;
mod descriptors;
mod finding;
mod host;
mod memory;
mod network;
mod plan;
mod ports;
mod rings;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::catalog::{self, Catalog};
use crate::cli::Color;
use crate::commands;
use crate::config::Config;
use crate::document::Complaint;
use backends::Depth;
use finding::{Area, Finding, Level, Report};
use host::Host;
use plan::Plan;

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Doctor {
    /// The configuration file. Default: /etc/ringgate/ringgate.toml, or the host alone where there is none
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How many client connections there are to be. Default: as many as the configuration and the descriptor limit allow
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    connections: Option<u64>,

    /// How many new connections a second there are to be. Default: all of them within a minute
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accept_rate: Option<u64>,

    /// Ask every backend for an upgrade, and close it again. Without it they are only connected to
    #[arg(long)]
    probe: bool,

    /// Take the limits of this process, such as a ringgate that runs as a service, and not those of this shell
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Read proc and sys below this directory: where a container has those of its host
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    /// Exit with 1 for warnings too
    #[arg(long)]
    strict: bool,

    /// For people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

const AFTER_HELP: &str = "\
Levels:
  ok       it holds
  unknown  the host does not say (an old kernel, a container without /sys)
  warn     it works, and will hurt
  fail     it will break at that many connections, and how

Exit codes:
  0  no failure
  1  a failure, or with --strict a warning
  2  the command line is wrong";

const DEFAULT_FILE: &str = "/etc/ringgate/ringgate.toml";

/// Looks, tells, and says with the exit code how bad it is.
pub fn run(doctor: &Doctor) -> ExitCode {
    let report = examine(doctor);
    let bearable = if doctor.strict {
        Level::Unknown
    } else {
        Level::Warn
    };
    let code = if report.worst() > bearable {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    let text = match doctor.format {
        Format::Text => report.text(commands::is_coloured(Color::Auto, &io::stdout())),
        Format::Json => format!("{:#}\n", report.json()),
    };
    commands::print(&text, code)
}

fn examine(doctor: &Doctor) -> Report {
    let host = Host::new(&doctor.root, doctor.pid);
    let (config, catalog, mut findings) = configuration(doctor.config.as_deref());
    findings.extend(doctor.pid.and_then(|pid| process(&host, pid)));
    let plan = Plan::new(
        config,
        catalog.as_ref(),
        &host,
        doctor.connections,
        doctor.accept_rate,
    );
    let depth = if doctor.probe {
        Depth::Upgrade
    } else {
        Depth::Connect
    };
    findings.extend(descriptors::examine(&host, &plan));
    findings.extend(ports::examine(&host, &plan));
    findings.extend(memory::examine(&host, &plan));
    findings.extend(rings::examine(&host, &plan));
    findings.extend(cpu::examine(&host, &plan));
    findings.extend(network::examine(&host, &plan));
    findings.extend(certificates::examine(
        &plan,
        &crate::sys::clock_state(),
        crate::call::stream::roots(None).ok().as_ref(),
        crate::config::certificates::now(),
    ));
    findings.extend(backends::examine(&plan, depth));
    Report {
        kernel: host.kernel_release(),
        connections: plan.connections,
        workers: plan.cores.len(),
        findings,
    }
}

/// Whose limits were asked for has to be there.
fn process(host: &Host, pid: u32) -> Option<Finding> {
    host.of_process("limits").is_none().then(|| {
        Area::Configuration.fail(
            format!("--pid {pid}"),
            "there is no such process",
            "give that of a running one: systemctl show -p MainPID ringgate",
        )
    })
}

/// As much of the configuration as can be had: what is wrong with it does not hide what is wrong with the host.
fn configuration(file: Option<&Path>) -> (Config, Option<Catalog>, Vec<Finding>) {
    const AREA: Area = Area::Configuration;
    let path = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let subject = path.display().to_string();
    if file.is_none() && !path.exists() {
        let says = "is not there: the host is looked at with built-in defaults, and no listener, certificate or backend";
        return (Config::base(), None, vec![AREA.unknown(subject, says)]);
    }
    match catalog::load(path) {
        Ok(loaded) => {
            let says = crate::document::plural(loaded.catalog.apis().len(), "API");
            let mut findings = vec![AREA.ok(subject, says)];
            findings.extend(loaded.warnings.iter().map(complaint));
            (loaded.config, Some(loaded.catalog), findings)
        }
        Err(report) => {
            let findings = report.complaints.iter().map(complaint).collect();
            (Config::open(path).config, None, findings)
        }
    }
}

fn complaint(complaint: &Complaint) -> Finding {
    let subject = if complaint.line == 0 {
        complaint.file.to_string()
    } else {
        format!("{}:{}", complaint.file, complaint.line)
    };
    let says = if complaint.key.is_empty() {
        complaint.problem.clone()
    } else {
        format!("{}: {}", complaint.key, complaint.problem)
    };
    if complaint.is_error() {
        Area::Configuration.fail(subject, says, &*complaint.remedy)
    } else {
        Area::Configuration.warn(subject, says, &*complaint.remedy)
    }
}

//! A bare WebSocket load generator and its echo backend. Modules in reading order: the scenarios (`echo`, `idle`,
//! `storm`) over a `fleet` of checked connections (`lane`, `payload`) that each speak WebSocket (`client`, `handshake`,
//! `frame`) over a socket (`transport`, `tls`, `poller`); what is measured (`schedule`, `latency`, `observe`, `report`);
//! and the `backend`.
#![forbid(unsafe_code)]

mod cli;

mod echo;
mod idle;
mod storm;

mod fleet;
mod lane;
mod payload;

mod client;
mod frame;
mod handshake;
mod poller;
mod target;
mod tls;
mod transport;

mod error;
mod latency;
mod observe;
mod report;
mod schedule;

mod backend;

mod clock;
mod descriptors;
mod random;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Command, Options};
use crate::error::Failures;
use crate::report::Report;

/// A run that took place: what to print, and whether everything in it went well.
#[derive(Debug)]
pub(crate) struct Outcome {
    report: Report,
    clean: bool,
}

impl Outcome {
    pub(crate) fn new(report: Report, failures: &Failures) -> Self {
        Self {
            report,
            clean: failures.total() == 0,
        }
    }
}

/// 0: all went well; 1: it ran, and errors were counted; 2: it could not run.
fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("ringgate-loadtest: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool, String> {
    let (json, outcome) = match command {
        Command::Backend(options) => return backend::run(&options).map(|()| true),
        Command::Echo(options) => (options.load.json, echo::run(options)?),
        Command::Idle(options) => (options.load.json, idle::run(options)?),
        Command::Storm(options) => (options.load.json, storm::run(options)?),
    };
    outcome
        .report
        .print(json)
        .map_err(|error| error.to_string())?;
    Ok(outcome.clean)
}

//! WebSocket load: a generator, the backend behind what is tested, and a harness that compares proxies. In reading
//! order: the flags (`cli`) become a `plan` of `role`s; `run` starts a `conductor` and, on each core, a `worker`, whose
//! `fleet` of checked connections (`lane`, `inbound`, `payload`) each speak WebSocket (`client`, `handshake`, `frame`) over
//! a socket (`transport`, `tls`, `poller`); what is counted (`board`, `tally`, `timeline`, `latency`, `observe`) becomes a
//! `report`, files (`output`) and charts (`svg`). `backend` and `compare` stand for themselves.
#![deny(unsafe_code)]

mod cli;
mod values;

mod conductor;
mod plan;
mod role;
mod run;
mod worker;

mod board;
mod fleet;
mod inbound;
mod lane;
mod payload;
mod sizes;

mod addresses;
mod client;
mod frame;
mod handshake;
mod poller;
#[expect(unsafe_code, reason = "the one socket option that no safe library has")]
mod sockopt;
mod target;
mod tls;
mod transport;

mod digest;
mod error;
mod latency;
mod observe;
mod output;
mod report;
mod schedule;
mod screen;
mod summary;
mod svg;
mod tally;
mod timeline;

mod backend;
mod compare;

mod clock;
mod descriptors;
mod random;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Command, LoadOptions, Options};
use crate::plan::Plan;

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

/// Says whether everything went well.
fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Backend(options) => backend::run(&options).map(|()| true),
        Command::Compare(options) => compare::run(&options),
        Command::Child(options) => Err(compare::become_child(&options)),
        Command::Echo(options) => load(options.connections, || Plan::echo(&options), &options.load),
        Command::Push(options) => load(options.connections, || Plan::push(&options), &options.load),
        Command::OneWay(options) => load(
            options.connections,
            || Plan::one_way(&options),
            &options.load,
        ),
        Command::Idle(options) => load(options.connections, || Plan::idle(&options), &options.load),
        Command::Churn(options) => load(options.clients, || Plan::churn(&options), &options.load),
        Command::Storm(options) => {
            load(options.connections, || Plan::storm(&options), &options.load)
        }
        Command::Slow(options) => load(options.connections, || Plan::slow(&options), &options.load),
        Command::Mixed(options) => {
            load(options.connections, || Plan::mixed(&options), &options.load)
        }
    }
}

fn load(
    connections: usize,
    plan: impl FnOnce() -> Plan,
    options: &LoadOptions,
) -> Result<bool, String> {
    // Before a plan that would list them all.
    descriptors::ensure(connections)?;
    let seen = run::run(plan(), options)?;
    let report = summary::summarize(&seen);
    if let Some(directory) = &options.out {
        output::write(directory, &seen, &report)?;
    }
    report
        .print(options.json)
        .map_err(|error| error.to_string())?;
    Ok(seen.tally.failures.total() == 0)
}

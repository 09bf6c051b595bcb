//! What the tests share: the program as a child process, peers of several makes, and waiting without sleeping blindly.

pub(crate) mod backend;
pub(crate) mod browser;
pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod echo;
pub(crate) mod frame;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod scrape;
pub(crate) mod settings;
pub(crate) mod system_calls;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Generous: machines that run tests are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Both ways to reach the program; most tests hold for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Plain, Transport::Tls];

/// Asks until `check` says yes. For what gives no event to wait for.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !check() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Raises this process's soft limit to its hard one, where the tool for it is at hand.
pub(crate) fn raise_descriptor_limit() {
    let id = std::process::id().to_string();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = files.unwrap().split_whitespace().nth(4).unwrap();
    // Without the tool the limit may do as it is.
    Command::new("prlimit")
        .args(["--pid", &id, &format!("--nofile={hard}:")])
        .status()
        .ok();
}

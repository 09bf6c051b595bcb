//! Peers in Python: `websockets` as client and server, and whatever else a test brings a script for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::DEADLINE;
use super::program::{Ringgate, output_of, read_lines};

/// Whether `websockets` is there.
pub(crate) fn available() -> bool {
    available_with("websockets.sync.client")
}

/// Whether Python can import these modules, with commas between them.
pub(crate) fn available_with(modules: &str) -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", &format!("import {modules}")]);
    require(python, &format!("python3 cannot import {modules}"))
}

/// Whether `probe` runs well. Where `RINGGATE_REQUIRE_PEERS` is 1, as in CI, it is a failure if it does not.
pub(crate) fn require(mut probe: Command, lack: &str) -> bool {
    let found = probe
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let required = std::env::var("RINGGATE_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(found || !required, "{lack}");
    if !found {
        eprintln!("skipped: {lack}");
    }
    found
}

pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/peers")
        .join(name)
}

/// A server process, which prints its port, and then a JSON line for whatever it has to tell.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// One on `websockets`: it echoes text and binary, offers permessage-deflate, and tells of each conversation's end.
    pub(crate) fn start() -> Self {
        Self::start_script("server.py")
    }

    pub(crate) fn start_script(name: &str) -> Self {
        let mut child = Command::new("python3")
            .arg(script(name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let port = lines.recv_timeout(DEADLINE).unwrap().parse().unwrap();
        Self {
            child,
            lines,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// What the server says of its next conversation to end.
    pub(crate) fn conversation(&self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Ends the process without a word to its peers.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs the client on `websockets` in one of its modes to its end, and returns what it printed.
pub(crate) fn client(mode: &str, url: &str, authority: Option<&PathBuf>) -> Value {
    run_client("client.py", mode, url, authority)
}

/// The same with the client `name`, which trusts the program's certificate.
pub(crate) fn converse(name: &str, mode: &str, url: &str, program: &Ringgate) -> Value {
    let authority = program.workspace.certificate.certificate.clone();
    let authority = url.starts_with("https:").then_some(authority);
    run_client(name, mode, url, authority.as_ref())
}

fn run_client(name: &str, mode: &str, url: &str, authority: Option<&PathBuf>) -> Value {
    let mut command = Command::new("python3");
    command.arg(script(name)).args([mode, url]);
    if let Some(authority) = authority {
        command.arg(authority);
    }
    let output = output_of(&mut command);
    assert_eq!(output.code, Some(0), "{name} {mode}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

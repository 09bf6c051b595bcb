//! Processes of a comparison: started on their cores, and ended with their children, and nothing else, on the way out.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock;

const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
}

impl Process {
    pub(super) fn start(
        name: &str,
        words: &[String],
        cores: &[usize],
        log: Option<&Path>,
    ) -> Result<Self, String> {
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| format!("{name}: no command"))?;
        let mut command = Command::new(program);
        // A group of its own, so that ending it reaches what it left behind and only that.
        command
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0);
        match log {
            Some(path) => {
                let fail = |error: std::io::Error| format!("{}: {error}", path.display());
                let file = File::create(path).map_err(fail)?;
                command.stderr(file.try_clone().map_err(fail)?).stdout(file);
            }
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let child = on_cores(cores, || command.spawn())
            .and_then(|spawned| spawned)
            .map_err(|error| format!("{name}: {program}: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// The process and all that came from it: nginx's master and workers count as one.
    pub(super) fn pids(&self) -> String {
        let mut pids = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(path).unwrap_or_default();
            pids.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
            next += 1;
        }
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        pids.join(",")
    }

    pub(super) fn first_line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().ok_or("no output")?;
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(|error| format!("{}: {error}", self.name))?;
        Ok(line.trim().to_owned())
    }

    /// Waits until somebody listens.
    pub(super) fn await_port(&mut self, port: u16, log: &Path) -> Result<(), String> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let end = clock::now() + START_MAX;
        while clock::now() < end {
            if let Some(status) = self.status()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!(
                    "{} ended with {status}: {}",
                    self.name,
                    said.trim()
                ));
            }
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            thread::park_timeout(POLL);
        }
        Err(format!("{} does not listen", self.name))
    }

    fn status(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for its end and gives what it printed.
    pub(super) fn output(mut self) -> Result<Output, String> {
        let read = |stream: Option<&mut dyn std::io::Read>| {
            let mut bytes = Vec::new();
            stream
                .map_or(Ok(0), |stream| stream.read_to_end(&mut bytes))
                .map(|_| bytes)
        };
        let fail = |error: std::io::Error| error.to_string();
        // Its errors are few, so that it is never blocked on them while its report is read.
        let stdout = read(self.child.stdout.as_mut().map(|stream| stream as _)).map_err(fail)?;
        let stderr = read(self.child.stderr.as_mut().map(|stream| stream as _)).map_err(fail)?;
        let status = self.child.wait().map_err(fail)?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return;
        };
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_process(pid, Signal::TERM).ok();
            let end = clock::now() + STOP_MAX;
            while clock::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                thread::park_timeout(POLL);
            }
        }
        // Best effort: most often the group is empty by now.
        kill_process_group(pid, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Children inherit where their parent may run.
fn on_cores<T>(cores: &[usize], act: impl FnOnce() -> T) -> std::io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    for core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(*core);
    }
    sched_setaffinity(None, &set)?;
    let done = act();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

pub(super) fn free_port() -> Result<u16, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

/// What a command prints, in one line; `None` if it is not there.
pub(super) fn said(words: &[String]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .map(|line| line.trim().to_owned())
}

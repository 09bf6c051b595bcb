//! Processes of a comparison: started on their cores, and ended with their children, and nothing else, on the way out.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock;

const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(1);
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

    /// Waits until a request is answered, with whatever: a master listens before it has the workers that do the work.
    pub(super) fn await_answer(
        &mut self,
        port: u16,
        log: &Path,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let end = clock::now() + START_MAX;
        while clock::now() < end {
            check_going(stop)?;
            if let Some(status) = self.status()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!(
                    "{} ended with {status}: {}",
                    self.name,
                    said.trim()
                ));
            }
            if is_answering(address) {
                return Ok(());
            }
            thread::park_timeout(POLL);
        }
        Err(format!("{} does not answer", self.name))
    }

    fn status(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for its end and gives what it printed; ends it if `stop` is set before.
    pub(super) fn output(mut self, stop: &AtomicBool) -> Result<Output, String> {
        // Both at once: whoever waits for one while the other is full waits for ever.
        let stdout = self.child.stdout.take().map(read_all);
        let stderr = self.child.stderr.take().map(read_all);
        let status = loop {
            check_going(stop)?;
            match self.status()? {
                Some(status) => break status,
                None => thread::park_timeout(POLL),
            }
        };
        let printed = |reader: Option<Reader>| match reader.map(Reader::join) {
            None => Ok(Vec::new()),
            Some(Ok(read)) => read.map_err(|error| error.to_string()),
            Some(Err(_)) => Err("a reader panicked".to_owned()),
        };
        Ok(Output {
            status,
            stdout: printed(stdout)?,
            stderr: printed(stderr)?,
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

/// Whether something is sent in return for a request, or the connection ended, as one for TLS should be.
fn is_answering(address: SocketAddr) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(request)?;
        stream.read(&mut [0; 64])
    };
    ask().is_ok()
}

type Reader = thread::JoinHandle<std::io::Result<Vec<u8>>>;

/// It ends with the process whose output it reads, so nobody has to wait for it.
fn read_all(mut stream: impl Read + Send + 'static) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes)
    })
}

/// An error once the comparison is to end.
fn check_going(stop: &AtomicBool) -> Result<(), String> {
    match stop.load(Ordering::Relaxed) {
        true => Err("interrupted".to_owned()),
        false => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let words = ["sh", "-c", script].map(str::to_owned);
        let cores: Vec<_> = {
            let set = sched_getaffinity(None).unwrap();
            (0..CpuSet::MAX_CPU)
                .filter(|core| set.is_set(*core))
                .collect()
        };
        Process::start("shell", &words, &cores, None).unwrap()
    }

    #[test]
    fn neither_full_pipe_blocks_the_other() {
        // Each more than the 64 KiB that a pipe holds.
        let process = shell("head -c 200000 /dev/zero >&2; head -c 300000 /dev/zero; exit 3");
        let output = process.output(&AtomicBool::new(false)).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (300_000, 200_000)
        );
    }

    #[test]
    fn a_stop_ends_the_process_and_what_came_from_it() {
        let mut process = shell("sleep 1000 & echo $!; wait");
        let grandchild = process.first_line().unwrap();
        assert_eq!(
            process.output(&AtomicBool::new(true)).unwrap_err(),
            "interrupted"
        );
        // A kill is carried out soon, and whoever adopted the process may not have reaped it yet.
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        let looks = (0..1000).take_while(|_| !is_gone());
        assert!(looks.map(|_| thread::park_timeout(POLL)).count() < 1000);
    }
}

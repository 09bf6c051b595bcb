//! The program as a child process: started on free ports, awaited until ready, ended by its id.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::certificate::Certificate;
use super::client::Client;
use super::settings::Settings;
use super::{DEADLINE, Transport, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_ringgate");

/// A directory of its own, with a certificate in it.
#[derive(Debug)]
pub(crate) struct Workspace {
    dir: TempDir,
    pub(crate) certificate: Certificate,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificate = Certificate::create(dir.path());
        Self { dir, certificate }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A file for its owner alone.
    pub(crate) fn write_secret(&self, name: &str, text: &str) {
        let path = self.write(name, text);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// A running ringgate. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Ringgate {
    child: Child,
    pub(crate) workspace: Workspace,
    pub(crate) listeners: Vec<Listener>,
    /// Where the admin listener is on loopback, if it is.
    pub(crate) page: Option<SocketAddr>,
    lines: Receiver<String>,
    log: RefCell<Vec<Value>>,
    errors: Arc<Mutex<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
}

impl Ringgate {
    /// `ringgate proxy` to these backends, on one listener on a free port of 127.0.0.1.
    pub(crate) fn proxy(transport: Transport, backends: &[SocketAddr]) -> Self {
        Self::proxy_with(transport, backends, &[])
    }

    pub(crate) fn proxy_with(
        transport: Transport,
        backends: &[SocketAddr],
        options: &[&str],
    ) -> Self {
        let backends: Vec<_> = backends.iter().map(|at| format!("ws://{at}")).collect();
        let mut arguments = vec!["proxy"];
        for backend in &backends {
            arguments.extend(["--backend", backend]);
        }
        if !options.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        arguments.extend(["--cores", "0"]);
        arguments.extend(options);
        let workspace = Workspace::new();
        let socket = workspace.path("admin.sock");
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--admin-socket").arg(socket);
        if transport == Transport::Tls {
            let Certificate {
                certificate, key, ..
            } = &workspace.certificate;
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        Self::start(command, workspace)
    }

    /// `ringgate run` with these settings.
    pub(crate) fn run(settings: &Settings) -> Self {
        Self::run_in(Workspace::new(), settings, |_| {})
    }

    /// The same in this workspace, with the command as `prepare` leaves it.
    pub(crate) fn run_in(
        workspace: Workspace,
        settings: &Settings,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let file = settings.write(&workspace);
        let mut command = Command::new(BINARY);
        command.arg("run").arg("-c").arg(file);
        prepare(&mut command);
        Self::start(command, workspace)
    }

    /// `ringgate run` with at most so many descriptors.
    pub(crate) fn run_within(descriptors: u32, settings: &Settings) -> Self {
        let workspace = Workspace::new();
        let file = settings.write(&workspace);
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors}; exec \"$0\" run -c \"$1\"");
        command.args(["-c", &script, BINARY]).arg(file);
        Self::start(command, workspace)
    }

    pub(crate) fn start(mut command: Command, workspace: Workspace) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("NO_COLOR", "1")
            .spawn()
            .unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let errors = collect(child.stderr.take().unwrap());
        let mut program = Self {
            child,
            workspace,
            listeners: Vec::new(),
            page: None,
            lines,
            log: RefCell::default(),
            errors,
        };
        program.await_ready();
        program
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("not ready, and stderr says:\n{}", self.errors());
            };
            if let Some(url) = line.strip_prefix("listening on ") {
                self.listeners.push(Listener::parse(url.trim()));
            }
            if let Some(url) = line.strip_prefix("status page on http://") {
                self.page = url.trim_end_matches('/').parse().ok();
            }
            if line == "ready" {
                return;
            }
        }
    }

    /// The first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners.first().unwrap().address
    }

    pub(crate) fn listener(&self, transport: Transport) -> &Listener {
        let found = self.listeners.iter().find(|l| l.transport == transport);
        found.unwrap()
    }

    /// A connection to the first listener, TLS established where it speaks it.
    pub(crate) fn connect(&self) -> Client {
        self.connect_to(self.listeners.first().unwrap())
    }

    pub(crate) fn connect_to(&self, listener: &Listener) -> Client {
        match listener.transport {
            Transport::Plain => Client::plain(listener.address),
            Transport::Tls => Client::tls(listener.address, self.workspace.certificate.client()),
        }
    }

    /// The first line of the access log that fits, among those written so far and those to come.
    pub(crate) fn log_line(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let fits = |line: &Value| line["event"] == event && fits(line);
        if let Some(line) = self.log.borrow().iter().find(|line| fits(line)) {
            return line.clone();
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(text) = self.lines.recv_timeout(left) else {
                panic!("no {event} line among {:#?}", self.log.borrow());
            };
            let Ok(line) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            self.log.borrow_mut().push(line.clone());
            if fits(&line) {
                return line;
            }
        }
    }

    /// The line about the end of some tunnel.
    pub(crate) fn tunnel_close(&self) -> Value {
        self.log_line("tunnel_close", |_| true)
    }

    /// Status, head and body of a GET on the admin socket.
    pub(crate) fn admin(&self, path: &str) -> (u16, String, String) {
        self.admin_raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    pub(crate) fn admin_raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = UnixStream::connect(self.admin_socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.workspace.path("admin.sock")
    }

    /// The value of one series, 0 where it is absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, _, body) = self.admin("/metrics");
        let found = body.lines().find_map(|line| line.strip_prefix(series));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// The same, asked of whoever has this socket; 0 where nobody answers.
    pub(crate) fn metric_at(&self, socket: &Path, series: &str) -> f64 {
        let asked = || {
            let mut stream = UnixStream::connect(socket).ok()?;
            stream.set_read_timeout(Some(DEADLINE)).ok()?;
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            let found = text.lines().find_map(|line| line.strip_prefix(series));
            found?.trim().parse().ok()
        };
        asked().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn await_metric(&self, series: &str, value: f64) {
        eventually(&format!("{series} is {value}"), || {
            (self.metric(series) - value).abs() < f64::EPSILON
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Time on the CPU so far, in clock ticks of the kernel (a hundredth of a second).
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in brackets may hold spaces; utime and stime are the 12th and 13th field behind it.
        let fields = stat.rsplit_once(')').unwrap().1;
        let fields: Vec<_> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Lowers the program's limit so that it can open only `count` more descriptors.
    pub(crate) fn leave_descriptors(&self, count: usize) {
        let id = self.child.id();
        let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
        let limit = open + count;
        let status = Command::new("prlimit")
            .arg(format!("--pid={id}"))
            .arg(format!("--nofile={limit}:{limit}"))
            .status()
            .unwrap();
        assert!(status.success(), "prlimit");
    }

    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }
}

impl Drop for Ringgate {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            // What stopped it, or why it hung up, is in the access log and in how it ended.
            eprintln!("--- ringgate before it was killed: {ended:?} ---");
            for line in self.log.take() {
                eprintln!("{line}");
            }
            while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
                eprintln!("{line}");
            }
            eprintln!("--- stderr of ringgate ---\n{}", self.errors());
        }
    }
}

impl Listener {
    fn parse(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let address = rest.split('/').next().unwrap();
        Self {
            transport: match scheme {
                "ws" => Transport::Plain,
                "wss" => Transport::Tls,
                other => panic!("unknown scheme {other}"),
            },
            address: address.parse().unwrap(),
        }
    }

    /// For ordinary calls.
    pub(crate) fn http_url(&self, path: &str) -> String {
        self.url(path).replacen("ws", "http", 1)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = match self.transport {
            Transport::Plain => "ws",
            Transport::Tls => "wss",
        };
        format!("{scheme}://{}{path}", self.address)
    }
}

/// Output of a command that ends by itself.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end in `dir`.
pub(crate) fn command(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(dir);
    command.env("NO_COLOR", "1");
    output_of(&mut command)
}

/// Runs any command to its end.
pub(crate) fn output_of(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let (sender, ended) = channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(2 * DEADLINE) else {
        send_signal(id, "KILL");
        panic!("{command:?} did not end");
    };
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Sends a signal by name, such as `TERM`.
fn send_signal(id: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &id.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -s {name}");
}

pub(crate) fn read_lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn collect(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut buf) {
            let piece = String::from_utf8_lossy(&buf[..n]);
            shared.lock().unwrap().push_str(&piece);
        }
    });
    text
}

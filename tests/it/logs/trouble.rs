//! Full disks, stuck pipes, rotation: nothing waits for a log.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::support::DEADLINE;
use crate::support::client::Client;

/// Tunnels through which every message comes back.
struct Echoing(Vec<Client>);

impl Echoing {
    fn new(program: &Ringgate) -> Self {
        let open = |_| {
            let mut client = program.connect();
            client.upgrade("/hello");
            client
        };
        Self((0..3).map(open).collect())
    }

    fn check(&mut self) {
        for client in &mut self.0 {
            client.send(masked(TEXT, b"still here"));
            assert_eq!(client.read_frame().payload, b"still here");
        }
    }
}

const DROPPED: &str = "ringgate_access_log_lines_dropped_total ";

/// Makes calls, whose lines are as long as they can be, until lines are dropped; tunnels go on meanwhile.
fn call_until_dropped(program: &Ringgate, tunnels: &mut Echoing) {
    let path = format!("/{}", "x".repeat(2000));
    let calls = request(
        &format!("GET {path} HTTP/1.1"),
        &[("Host", "127.0.0.1"), ("User-Agent", &"y".repeat(2000))],
    );
    let mut client = program.connect();
    let deadline = Instant::now() + DEADLINE;
    while program.metric(DROPPED) == 0.0 {
        assert!(Instant::now() < deadline, "no line was dropped");
        for _ in 0..20 {
            assert_eq!(client.ask(&calls).status, 404);
        }
        tunnels.check();
    }
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let backend = backend();
    let settings = Settings::hello(backend.address).with("[log]\naccess = \"/dev/full\"");
    let mut program = Ringgate::run(&settings);
    let mut tunnels = Echoing::new(&program);
    tunnels.check();
    program.await_metric(DROPPED, 3.0);
    assert_eq!(call(&program).0.status, 200);
    program.await_metric(DROPPED, 4.0);
    tunnels.check();
    assert!(program.errors().contains("No space left on device"));
    // The operator moves the log to another disk: not one tunnel notices.
    self::settings(backend.address, "").write(&program.workspace);
    program.signal("HUP");
    program.await_metric("ringgate_config_generation", 1.0);
    call(&program);
    assert_eq!(json(&lines(&access_log(&program), 1)[0])["event"], "call");
    tunnels.check();
    eventually("the loss is told", || {
        program.errors().contains("lines were dropped")
    });
    program.signal("INT");
    assert_eq!(program.wait().code(), Some(0));
}

fn fifo(workspace: &Workspace) -> PathBuf {
    let path = workspace.path("access.log");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success(), "mkfifo");
    path
}

/// What waits in a FIFO, and what comes until `enough`.
fn drain(path: &Path, mut enough: impl FnMut(&str) -> bool) -> String {
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .unwrap();
    let mut bytes = Vec::new();
    eventually("the lines in the FIFO", || {
        // It ends with what there is for now.
        reader.read_to_end(&mut bytes).ok();
        enough(&String::from_utf8_lossy(&bytes))
    });
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_and_nothing_else() {
    let backend = backend();
    let workspace = Workspace::new();
    let path = fifo(&workspace);
    let settings = settings(backend.address, "queue_lines_max = 64");
    let program = Ringgate::run_in(workspace, &settings, |_| {});
    let mut tunnels = Echoing::new(&program);
    call_until_dropped(&program, &mut tunnels);
    let asked = Instant::now();
    assert_eq!(program.admin("/readyz").0, 200);
    assert!(asked.elapsed() < DEADLINE);
    // Somebody reads after all: what waited comes, whole, and then what is new.
    drain(&path, |text| text.lines().count() >= 20);
    let (answer, _) = call(&program);
    let id = answer.request_id().to_owned();
    let text = drain(&path, |text| text.contains(&id) && text.ends_with('\n'));
    for line in text.lines().skip(1) {
        json(line);
    }
    tunnels.check();
    eventually("the loss is told", || {
        program.errors().contains("lines were dropped")
    });
    let dropped = program.metric(DROPPED);
    call(&program);
    assert!(
        (program.metric(DROPPED) - dropped).abs() < 0.5,
        "no more of them"
    );
}

#[test]
fn the_end_does_not_wait_for_a_pipe_that_nobody_reads() {
    let backend = backend();
    let workspace = Workspace::new();
    fifo(&workspace);
    let settings = settings(backend.address, "queue_lines_max = 64");
    let mut program = Ringgate::run_in(workspace, &settings, |_| {});
    let mut tunnels = Echoing::new(&program);
    call_until_dropped(&program, &mut tunnels);
    program.signal("INT");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn the_end_does_not_wait_for_standard_streams_that_nobody_reads() {
    let backend = backend();
    let workspace = Workspace::new();
    // Neither does anybody read standard error.
    let log = "[log]\nqueue_lines_max = 16\nlevel = \"debug\"";
    let file = Settings::hello(backend.address).with(log).write(&workspace);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringgate"))
        .args(["run", "-c"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut address: Option<SocketAddr> = None;
    let mut line = String::new();
    while line != "ready\n" {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "not ready");
        let found = line.trim().strip_prefix("listening on ws://");
        address = address.or_else(|| found.map(|found| found.parse().unwrap()));
    }
    // A pipe has room for 64 KiB.
    let calls = request(
        &format!("GET /{} HTTP/1.1", "x".repeat(900)),
        &[("Host", "127.0.0.1")],
    );
    let mut client = Client::plain(address.unwrap());
    for _ in 0..200 {
        assert_eq!(client.ask(&calls).status, 404);
    }
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.unwrap().success(), "kill");
    let mut status = None;
    eventually("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
fn a_rotation_loses_no_line_and_leaves_the_old_file_alone() {
    let backend = backend();
    let program = Ringgate::run(&settings(backend.address, ""));
    let (path, moved) = (access_log(&program), program.workspace.path("access.log.1"));
    call(&program);
    lines(&path, 1);
    fs::rename(&path, &moved).unwrap();
    // Until it is told, the program writes where it wrote.
    call(&program);
    assert_eq!(lines(&moved, 2).len(), 2);
    program.signal("USR1");
    eventually("the new file, before any line", || path.exists());
    call(&program);
    assert_eq!(lines(&path, 1).len(), 1);
    assert_eq!(lines(&moved, 2).len(), 2);
}

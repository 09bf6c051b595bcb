//! The real binary against its own backend, directly and through servers with faults.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::Value;

mod peers;

const BINARY: &str = env!("CARGO_BIN_EXE_ringgate-loadtest");

/// A backend process, ended with the test.
struct Backend {
    process: Child,
    address: SocketAddr,
}

impl Backend {
    fn start(listen: &str) -> Self {
        let mut process = Command::new(BINARY)
            .args(["backend", "--listen", listen, "--threads", "2"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        let address = address.parse().unwrap();
        Self { process, address }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn load(scenario: &str, url: &str, flags: &[&str]) -> Output {
    Command::new(BINARY)
        .args([scenario, "--url", url])
        .args(flags)
        .output()
        .unwrap()
}

/// The report of a run that ends with `status`.
fn report(scenario: &str, url: &str, flags: &[&str], status: i32) -> Value {
    let output = load(scenario, url, flags);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Forwards every connection to `backend`; `fault` sees each run of bytes that comes back behind the 101, and ends the
/// connection by returning false.
fn forward(backend: SocketAddr, fault: fn(&mut Vec<u8>) -> bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(backend).unwrap();
            let up = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || pump(up.0, up.1, |_| true));
            thread::spawn(move || {
                let mut head = true;
                pump(server, client, move |bytes| {
                    std::mem::take(&mut head) || fault(bytes)
                });
            });
        }
    });
    url
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut fault: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut buf = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buf) {
        let mut bytes = buf[..len].to_vec();
        if !fault(&mut bytes) || to.write_all(&bytes).is_err() {
            break;
        }
    }
    // Either side may be gone already.
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

/// A TLS front for `backend` that handles one connection at a time in each of its threads.
fn terminate_tls(backend: SocketAddr) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for client in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let server = TcpStream::connect(backend).unwrap();
            thread::spawn(move || relay_tls(tls, client.unwrap(), server));
        }
    });
    url
}

/// Both directions in turn, each given a moment: enough for a test.
fn relay_tls(mut tls: ServerConnection, mut client: TcpStream, mut server: TcpStream) {
    let moment = Some(Duration::from_millis(1));
    client.set_read_timeout(moment).unwrap();
    server.set_read_timeout(moment).unwrap();
    let mut buf = [0; 4096];
    loop {
        match Stream::new(&mut tls, &mut client).read(&mut buf) {
            Ok(len @ 1..) => server.write_all(&buf[..len]).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return,
        }
        match server.read(&mut buf) {
            Ok(len @ 1..) => Stream::new(&mut tls, &mut client)
                .write_all(&buf[..len])
                .unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => {
                tls.send_close_notify();
                tls.write_tls(&mut client).unwrap();
                return;
            }
        }
    }
}

const SHORT: [&str; 4] = ["--duration", "300ms", "--warm-up", "100ms"];

#[test]
fn a_closed_loop_counts_and_observes() {
    let backend = Backend::start("127.0.0.1:0");
    let pid = backend.process.id().to_string();
    let flags = [&SHORT[..], &["--connections", "20", "--observe", &pid]].concat();
    let report = report(
        "echo",
        &format!("ws://{}/hello", backend.address),
        &flags,
        0,
    );
    assert_eq!(report["errors"], 0);
    assert!(report["messages"].as_u64().unwrap() > 100, "{report}");
    assert!(report["latency_p50_us"].as_f64().unwrap() > 0.0);
    assert!(report["cpu_us_per_relayed_message"].as_f64().unwrap() > 0.0);
    assert!(report["after_rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn messages_of_any_size_come_back_over_ipv6_too() {
    let backend = Backend::start("[::1]:0");
    let url = format!("ws://{}/", backend.address);
    for size in ["0", "1", "7", "125", "126", "65535", "65536", "3000000"] {
        let flags = [&SHORT[..], &["--connections", "3", "--size", size]].concat();
        let report = report("echo", &url, &flags, 0);
        assert!(report["messages"].as_u64().unwrap() > 0, "{size}: {report}");
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let backend = Backend::start("127.0.0.1:0");
    let url = format!("ws://{}/", backend.address);
    let flags = [
        "--duration",
        "1s",
        "--warm-up",
        "100ms",
        "--rate",
        "500",
        "--connections",
        "7",
    ];
    let report = report("echo", &url, &flags, 0);
    let messages = report["messages"].as_u64().unwrap();
    // Those that a busy machine echoes after the end are missing.
    assert!((400..=510).contains(&messages), "{report}");
}

#[test]
fn a_stall_is_felt_by_every_message_that_was_due_in_it() {
    let backend = Backend::start("127.0.0.1:0");
    let url = forward(backend.address, |_| {
        thread::park_timeout(Duration::from_millis(400));
        true
    });
    let flags = [
        "--duration",
        "1s",
        "--warm-up",
        "0s",
        "--rate",
        "50",
        "--connections",
        "1",
    ];
    let report = report("echo", &url, &flags, 0);
    // A closed loop would say 400 ms for each; by the clock, messages queue up behind one another.
    assert!(
        report["latency_p99_us"].as_f64().unwrap() > 500_000.0,
        "{report}"
    );
}

#[test]
fn a_known_delay_is_seen_and_the_figures_agree_with_one_another() {
    const DELAY: Duration = Duration::from_millis(50);
    const CONNECTIONS: f64 = 8.0;
    let backend = Backend::start("127.0.0.1:0");
    let url = forward(backend.address, |_| {
        thread::park_timeout(DELAY);
        true
    });
    let flags = ["--duration", "1s", "--connections", "8"];
    let report = report("echo", &url, &flags, 0);
    let figure = |name: &str| report[name].as_f64().unwrap();
    assert!(figure("latency_p50_us") >= 50_000.0, "{report}");
    // Little's law: in a closed loop there are as many messages on their way as connections, however fast the machine is.
    let on_their_way = figure("messages_per_second") * figure("latency_mean_us") / 1e6;
    assert!(
        (on_their_way / CONNECTIONS - 1.0).abs() < 0.25,
        "{on_their_way}: {report}"
    );
}

#[test]
fn ctrl_c_ends_early_with_a_report_even_while_connections_are_opened() {
    let backend = Backend::start("127.0.0.1:0");
    let directory = tempfile::tempdir().unwrap();
    let pid = backend.process.id().to_string();
    let mut process = Command::new(BINARY)
        .args(["idle", "--url", &format!("ws://{}/", backend.address)])
        .args(["--connections", "500", "--open-rate", "20"])
        .args(["--observe", &pid, "--out"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It opens one at once, and needs 25 s for all.
    let descriptors = format!("/proc/{pid}/fd");
    let begun = count(&descriptors);
    eventually(|| count(&descriptors) > begun + 2);
    signal(process.id(), Signal::INT);
    let mut output = String::new();
    let mut stdout = process.stdout.take().unwrap();
    stdout.read_to_string(&mut output).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["interrupted"], true);
    let open = report["connections"].as_u64().unwrap();
    assert!((2..500).contains(&open), "{report}");
    assert!(report["rss_bytes_per_connection"].is_f64(), "{report}");
    assert!(directory.path().join("memory.svg").exists());
}

#[test]
fn a_comparison_that_is_killed_leaves_nobody_behind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("scenarios.toml");
    let proxy = "[[proxies]]\nname = \"sleeper\"\nstart = [\"sleep\", \"1000\"]\n";
    let scenario = "[[scenarios]]\nname = \"a, b\"\nschemes = [\"ws\"]\nload = [\"idle\"]\n\
                    figures = { seconds = \"s\" }\nchart = \"seconds\"\n";
    let head = "rounds = 1\nseconds = 1.0\n[pin]\nproxy = [0]\nload = [0]\nbackend = [0]\n";
    std::fs::write(&file, format!("{head}{proxy}{scenario}")).unwrap();
    let mut comparison = Command::new(BINARY)
        .arg("compare")
        .arg(&file)
        // A name with a comma is one name.
        .args(["--scenario", "a, b"])
        .env("TMPDIR", directory.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = comparison.id();
    let children = || {
        let path = format!("/proc/{id}/task/{id}/children");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    // The backend, and the proxy, which never answers.
    eventually(|| children().split_whitespace().count() == 2);
    let children = children();
    eventually(|| name_of(children.split_whitespace().nth(1).unwrap()) == "sleep");
    comparison.kill().unwrap();
    comparison.wait().unwrap();
    for child in children.split_whitespace() {
        eventually(|| name_of(child).is_empty());
    }
}

/// What a process runs; nothing if it has ended, though nobody may have reaped it yet.
fn name_of(pid: &str) -> String {
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split('\0').next().unwrap_or_default().to_owned()
}

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits until it is so, for a while.
fn eventually(is_so: impl Fn() -> bool) {
    let looks = (0..2000).take_while(|_| !is_so());
    let waited = looks.map(|_| thread::park_timeout(Duration::from_millis(10)));
    assert!(waited.count() < 2000, "it never was");
}

#[test]
fn idle_connections_are_held_and_touched() {
    let backend = Backend::start("127.0.0.1:0");
    let pid = backend.process.id().to_string();
    let flags = [
        "--connections",
        "300",
        "--touch",
        "--duration",
        "200ms",
        "--observe",
        &pid,
    ];
    let sources = ["--sources", "127.0.0.1,127.0.0.2"];
    let flags = [&flags[..], &sources].concat();
    let report = report("idle", &format!("ws://{}/", backend.address), &flags, 0);
    assert_eq!(report["connections"], 300);
    assert!(report["anonymous_bytes_per_connection"].is_f64());
}

#[test]
fn churn_opens_and_closes_plain_and_tls() {
    let backend = Backend::start("127.0.0.1:0");
    for url in [
        format!("ws://{}/", backend.address),
        terminate_tls(backend.address),
    ] {
        let report = report(
            "churn",
            &url,
            &["--clients", "4", "--duration", "500ms", "--warm-up", "0s"],
            0,
        );
        assert!(
            report["connections"].as_u64().unwrap() > 0,
            "{url}: {report}"
        );
        assert!(report["handshake_p50_us"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn tls_echoes_are_checked_too() {
    let backend = Backend::start("127.0.0.1:0");
    let flags = [&SHORT[..], &["--connections", "2", "--size", "40000"]].concat();
    let report = report("echo", &terminate_tls(backend.address), &flags, 0);
    assert!(report["messages"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn a_wrong_byte_is_an_error() {
    let backend = Backend::start("127.0.0.1:0");
    let url = forward(backend.address, |bytes| {
        *bytes.last_mut().unwrap() ^= 1;
        true
    });
    let flags = [&SHORT[..], &["--connections", "3"]].concat();
    let report = report("echo", &url, &flags, 1);
    assert_eq!(report["errors_by_kind"]["mismatch"], 3, "{report}");
}

#[test]
fn a_server_that_ends_the_connection_is_an_error_and_its_echo_lost() {
    let backend = Backend::start("127.0.0.1:0");
    let url = forward(backend.address, |_| false);
    let flags = [&SHORT[..], &["--connections", "3"]].concat();
    let report = report("echo", &url, &flags, 1);
    assert_eq!(report["errors_by_kind"]["ended"], 3, "{report}");
    assert_eq!(report["errors_by_kind"]["lost"], 3, "{report}");
}

#[test]
fn what_cannot_run_says_why() {
    let check = |url: &str, flags: &[&str], expected: &str| {
        let output = load("echo", url, flags);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{error}");
    };
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("ws://{closed}/");
    // Of all, not of those of one thread.
    check(&url, &["--connections", "9"], "0 of 9 connections opened");
    check(&url, &[], "refused");
    check(
        &url,
        &["--observe", "4294967295"],
        "there is no process 4294967295 to observe",
    );
    check("http://127.0.0.1/", &[], "not a ws:// or wss:// URL");
    check(
        "ws://127.0.0.1/",
        &["--connections", "2000000000"],
        "need 2000000032 descriptors",
    );
}

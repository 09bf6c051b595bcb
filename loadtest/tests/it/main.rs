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
    check(&format!("ws://{closed}/"), &[], "refused");
    check("http://127.0.0.1/", &[], "not a ws:// or wss:// URL");
    check(
        "ws://127.0.0.1/",
        &["--connections", "2000000000"],
        "need 2000000032 descriptors",
    );
}

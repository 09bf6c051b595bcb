//! Against somebody else's WebSocket library: as the server under load, and as a client of the backend.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::{Backend, report};

const STALL: Duration = Duration::from_secs(1);
/// From the upgrade to the stall: well within what is measured.
const BEFORE_STALL: Duration = Duration::from_millis(700);

/// A server that upgrades and then says nothing. Gives its URL.
fn keep_silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
            thread::spawn(move || while socket.read().is_ok() {});
        }
    });
    url
}

/// An echo server that stalls once in each connection if it is told to. Gives its URL.
fn serve(stalls: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || echo(tungstenite::accept(stream).unwrap(), stalls));
        }
    });
    url
}

/// Until the client is gone.
#[expect(clippy::disallowed_methods, reason = "the server's own clock")]
fn echo(mut socket: WebSocket<TcpStream>, mut stalls: bool) {
    let begun = Instant::now();
    while let Ok(message) = socket.read() {
        if stalls && begun.elapsed() > BEFORE_STALL {
            stalls = false;
            thread::park_timeout(STALL);
        }
        let is_data = message.is_text() || message.is_binary();
        if is_data && socket.send(message).is_err() {
            break;
        }
    }
}

/// How many latencies in the HDR log of an echo run with `flags` are above half of the stall, and how many there are.
fn count_slow(flags: &[&str]) -> (u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let load = ["--connections", "1", "--warm-up", "0s", "--out", out];
    report("echo", &serve(true), &[&load[..], flags].concat(), 0);
    let log = fs::read_to_string(directory.path().join("latency.hlog")).unwrap();
    let half = u64::try_from((STALL / 2).as_nanos()).unwrap();
    let (mut slow, mut all) = (0, 0);
    let rows = log
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    for row in rows {
        let bytes = STANDARD.decode(row.rsplit(',').next().unwrap()).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        slow += histogram.count_between(half, u64::MAX);
        all += histogram.len();
    }
    (slow, all)
}

#[test]
fn a_stall_of_one_second_is_felt_by_half_a_second_of_an_open_loop() {
    let (slow, all) = count_slow(&["--duration", "2500ms", "--rate", "100"]);
    assert_eq!(all, 250);
    // 100 messages were due in it; the earlier half of them waited for more than half of it.
    assert!(slow >= 45, "{slow}");
}

#[test]
fn a_stall_of_one_second_is_felt_by_one_message_of_a_closed_loop() {
    let (slow, all) = count_slow(&["--duration", "2500ms"]);
    assert!(all > 100, "{all}");
    // One, and another if this machine itself is slow.
    assert!((1..=3).contains(&slow), "{slow}");
}

#[test]
fn silence_is_an_error_of_every_connection() {
    let url = keep_silent();
    let times = ["--duration", "300ms", "--warm-up", "0s"];
    let check = |scenario: &str, flags: &[&str], kind: &str| {
        let report = report(scenario, &url, &[&times[..], flags].concat(), 1);
        assert_eq!(report["errors_by_kind"][kind], 3, "{report}");
    };
    check("echo", &["--connections", "3"], "lost");
    check("push", &["--connections", "3", "--push-rate", "20"], "lost");
    check("churn", &["--clients", "3"], "timed_out");
}

#[test]
fn messages_of_both_kinds_come_back_from_tungstenite() {
    let url = serve(false);
    for kind in ["text", "binary"] {
        let flags = ["--connections", "3", "--kind", kind, "--size", "0..70000"];
        let times = ["--duration", "300ms", "--warm-up", "0s"];
        let pings = ["--ping-interval", "50ms"];
        let flags = [&flags[..], &times, &pings].concat();
        let report = report("echo", &url, &flags, 0);
        assert!(report["messages"].as_u64().unwrap() > 0, "{report}");
        assert!(report["ping_p50_us"].is_f64(), "{report}");
    }
}

#[test]
fn the_backend_echoes_what_tungstenite_sends() {
    let backend = Backend::start("127.0.0.1:0");
    let stream = TcpStream::connect(backend.address).unwrap();
    let url = format!("ws://{}/", backend.address);
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let messages = [
        Message::text(""),
        Message::text("h\u{e4}llo"),
        Message::binary(vec![7; 70_000]),
    ];
    for message in messages {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    socket.send(Message::Ping("p".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("p".into()));
    socket.close(None).unwrap();
    let Message::Close(answer) = socket.read().unwrap() else {
        panic!("no Close in answer");
    };
    assert!(answer.is_none_or(|frame| frame.code == CloseCode::Normal));
}

//! Signals, and the way out.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::frame::{BINARY, CLOSE, TEXT, close, encode, masked, unmasked};
use crate::support::program::{Ringgate, Workspace};
use crate::support::settings::Settings;
use crate::support::{TRANSPORTS, Transport, eventually};

/// Answers a Close in kind; hands out its code, and whether the program then hung up.
fn polite() -> Backend<(Option<u16>, bool)> {
    Backend::start(|mut peer| {
        peer.accept();
        (peer.echo(), peer.is_closed())
    })
}

/// Opens tunnels that have carried a message, so that both ends know of them.
fn tunnels(program: &Ringgate, count: usize) -> Vec<Client> {
    let open = |_| {
        let mut client = program.connect();
        client.upgrade("/");
        client.send(masked(TEXT, b"x"));
        client.read_frame();
        client
    };
    (0..count).map(open).collect()
}

#[test]
fn term_closes_every_tunnel_with_1001_and_exits_with_0() {
    for (transport, signal) in TRANSPORTS.into_iter().zip(["TERM", "QUIT"]) {
        let backend = polite();
        let mut program = Ringgate::proxy(transport, &[backend.address]);
        let mut clients = tunnels(&program, 10);
        program.signal(signal);
        for client in &mut clients {
            assert_eq!(client.read_frame().close_code(), Some(1001));
            client.send(masked(CLOSE, &close(1001, "")));
            client.assert_closed();
        }
        for _ in &clients {
            assert_eq!(backend.result(), (Some(1001), true));
        }
        let line = program.tunnel_close();
        assert_eq!(line["reason"], "drained");
        assert_eq!(line["blame"], "proxy");
        assert_eq!(program.wait().code(), Some(0));
    }
}

#[test]
fn a_drain_for_a_restart_says_1012_and_cuts_no_message() {
    let backend = polite();
    let settings = Settings::hello(backend.address)
        .with("[drain]\ncause = \"restart\"\nover = \"1s\"\nlimit = \"60s\"\n[timeouts]\nclose_grace = \"60s\"");
    let mut program = Ringgate::run(&settings);
    let open = |number: usize| {
        let mut client = program.connect();
        client.upgrade("/hello");
        client.send(masked(TEXT, b"x"));
        client.read_frame();
        // Every other one is in the middle of a message when its turn comes.
        let message = encode(0x80 | BINARY, &[7; 2_000], true);
        let cut = if number.is_multiple_of(2) {
            900
        } else {
            message.len()
        };
        let (now, later) = message.split_at(cut);
        client.send(now);
        (client, later.to_vec())
    };
    let mut clients: Vec<_> = (0..100).map(open).collect();
    program.signal("TERM");
    for (client, later) in &mut clients {
        client.send(&*later);
        // The echo comes before the Close or not at all, and never in part.
        let mut frame = client.read_frame();
        if frame.opcode == BINARY {
            assert_eq!(frame.payload, [7; 2_000]);
            frame = client.read_frame();
        }
        assert_eq!(frame.close_code(), Some(1012));
        client.send(masked(CLOSE, &close(1012, "")));
        client.assert_closed();
    }
    for _ in &clients {
        assert_eq!(backend.result(), (Some(1012), true));
    }
    assert_eq!(program.wait().code(), Some(0));
    assert!(program.errors().contains("drained"), "{}", program.errors());
}

#[test]
fn probes_learn_of_a_stop_before_the_listeners_close() {
    let backend = polite();
    let settings = Settings::hello(backend.address).with("[drain]\nnotice = \"60s\"");
    let mut program = Ringgate::run(&settings);
    program.signal("TERM");
    eventually("readyz says 503", || program.admin("/readyz").0 == 503);
    // Who comes meanwhile is served as ever.
    let mut client = program.connect();
    client.upgrade("/hello");
    client.send(masked(TEXT, b"x"));
    assert_eq!(client.read_frame().payload, b"x");
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    client.rest();
}

#[test]
fn the_supervisor_hears_of_readiness_and_of_the_end() {
    let backend = polite();
    let settings = Settings::hello(backend.address);
    let workspace = Workspace::new();
    let path = workspace.path("notify.sock");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor
        .set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    let hear = || {
        let mut text = [0; 4096];
        let len = supervisor.recv(&mut text).unwrap();
        String::from_utf8(text[..len].to_vec()).unwrap()
    };
    let mut program = Ringgate::run_in(workspace, &settings, |command| {
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", "100000");
    });
    assert!(hear().contains("READY=1\nSTATUS=serving"));
    for _ in 0..3 {
        assert_eq!(hear().trim(), "WATCHDOG=1");
    }
    program.signal("TERM");
    let told = std::iter::repeat_with(hear).find(|text| !text.contains("WATCHDOG"));
    assert!(told.unwrap().contains("STOPPING=1\nSTATUS=draining"));
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn idle_program_ends_at_once() {
    for signal in ["TERM", "INT", "QUIT"] {
        let mut program = Ringgate::proxy(Transport::Plain, &[polite().address]);
        let sent = Instant::now();
        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0), "{signal}");
        assert!(sent.elapsed() < Duration::from_secs(5), "{signal}");
        assert!(
            !program.admin_socket().exists(),
            "{signal}: the admin socket is removed"
        );
    }
}

#[test]
fn drain_waits_no_longer_than_its_limit() {
    // A backend and clients that never react to a Close.
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.read_frame();
        peer.send(unmasked(TEXT, b"x"));
        peer.read_frame();
        peer.is_closed()
    });
    let settings = Settings::hello(backend.address)
        .with("[drain]\nlimit = \"300ms\"\n[timeouts]\nclose_grace = \"60s\"");
    let mut program = Ringgate::run(&settings);
    let mut client = program.connect();
    client.upgrade("/hello");
    client.send(masked(TEXT, b"x"));
    client.read_frame();
    let sent = Instant::now();
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    assert!(sent.elapsed() >= Duration::from_millis(300));
    assert!(backend.result());
    client.rest();
}

#[test]
fn close_waits_for_the_end_of_a_frame() {
    let backend = polite();
    for transport in TRANSPORTS {
        let settings = Settings::hello(backend.address).with("[timeouts]\nclose_grace = \"10s\"");
        let program = Ringgate::run(&settings);
        let mut client = program.connect_to(program.listener(transport));
        client.upgrade("/hello");
        // The first half of a frame is with the backend when the drain begins.
        let message = encode(0x80 | BINARY, &[7; 20_000], true);
        let (half, rest) = message.split_at(message.len() / 2);
        client.send(half);
        program.await_metric(
            "ringgate_tunnel_bytes_total{side=\"client\"}",
            half.len() as f64,
        );
        program.signal("TERM");
        assert_eq!(client.read_frame().close_code(), Some(1001));
        client.send(rest);
        client.send(masked(CLOSE, &close(1001, "")));
        // The backend got the whole message and then the Close: its echo counts them.
        assert_eq!(backend.result().0, Some(1001), "{transport:?}");
        client.rest();
    }
}

#[test]
fn nobody_is_let_in_during_a_drain() {
    let backend = polite();
    let settings = Settings::hello(backend.address)
        .with("[timeouts]\nclose_grace = \"10s\"\n[drain]\nlimit = \"20s\"");
    let mut program = Ringgate::run(&settings);
    let mut client = program.connect();
    client.upgrade("/hello");
    assert_eq!(program.admin("/readyz").0, 200);
    program.signal("TERM");
    assert_eq!(client.read_frame().close_code(), Some(1001));
    // The client has not answered, so the program is still there.
    assert_eq!(program.admin("/readyz").0, 503);
    assert_eq!(program.admin("/livez").0, 200);
    let address = program.address();
    eventually("connections are refused", || {
        TcpStream::connect(address).is_err()
    });
    client.send(masked(CLOSE, &close(1001, "")));
    client.assert_closed();
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn second_signal_cuts_a_drain_short() {
    for second in ["TERM", "INT"] {
        let backend = Backend::start(|mut peer| {
            peer.accept();
            peer.read_close();
            peer.is_closed()
        });
        let settings = Settings::hello(backend.address)
            .with("[timeouts]\nclose_grace = \"60s\"\n[drain]\nlimit = \"60s\"");
        let mut program = Ringgate::run(&settings);
        let mut client = program.connect();
        client.upgrade("/hello");
        program.signal("TERM");
        assert_eq!(client.read_frame().close_code(), Some(1001));
        assert!(program.is_running());
        program.signal(second);
        assert_eq!(program.wait().code(), Some(0), "{second}");
    }
}

#[test]
fn hangup_is_survived() {
    let backend = polite();
    let mut program = Ringgate::proxy(Transport::Plain, &[backend.address]);
    let mut client = tunnels(&program, 1).remove(0);
    program.signal("HUP");
    eventually("the message about it", || {
        program.errors().contains("nothing to reload")
    });
    client.send(masked(TEXT, b"still here"));
    assert_eq!(client.read_frame().payload, b"still here");
    assert!(program.is_running());
}

#[test]
fn log_file_is_reopened() {
    let backend = polite();
    let settings = Settings::hello(backend.address).with("[log]\naccess = \"access.log\"");
    let program = Ringgate::run(&settings);
    let (path, moved) = (
        program.workspace.path("access.log"),
        program.workspace.path("moved.log"),
    );
    let lines = |path: &std::path::Path| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let mut first = program.connect();
    first.upgrade("/hello");
    eventually("a line in the file", || lines(&path) == 1);
    std::fs::rename(&path, &moved).unwrap();
    program.signal("USR1");
    eventually("the message about it", || {
        program.errors().contains("reopened")
    });
    let mut second = program.connect();
    second.upgrade("/hello");
    eventually("a line in the new file", || lines(&path) == 1);
    assert_eq!(lines(&moved), 1);
}

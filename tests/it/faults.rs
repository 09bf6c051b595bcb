//! What goes wrong on either side, the bounds, and that neighbours notice nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::backend::{Backend, Peer};
use crate::support::client::{Client, reset, upgrade};
use crate::support::frame::{self, TEXT, masked};
use crate::support::program::Ringgate;
use crate::support::python::{self, Server};
use crate::support::settings::{Route, Settings};
use crate::support::{DEADLINE, TRANSPORTS, Transport, eventually};

/// The API's timeout in these tests.
const SHORT: Duration = Duration::from_millis(300);

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

/// A backend that says only `answer` and then waits for the program to leave.
fn stalling(answer: &'static str) -> Backend<bool> {
    Backend::start(move |mut peer: Peer| {
        peer.request();
        peer.send(answer);
        peer.is_closed()
    })
}

#[test]
fn backend_that_does_not_answer_is_a_504() {
    for answer in [
        "",
        "HTTP/1.",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let backend = stalling(answer);
        let program = Ringgate::run(&Settings::hello(backend.address).with_timeout(300));
        for transport in TRANSPORTS {
            let mut client = program.connect_to(program.listener(transport));
            let asked = Instant::now();
            let refused = client.ask(upgrade("/hello", &[]));
            refused.assert_error(504, "APIG.0203", "Backend timeout");
            assert!(asked.elapsed() >= SHORT, "{answer:?}");
            assert!(
                backend.result(),
                "{answer:?}: the backend's connection stays"
            );
        }
        program.await_metric(
            "ringgate_requests_refused_total{reason=\"answer_timeout\"}",
            2.0,
        );
    }
}

#[test]
fn client_that_leaves_during_the_handshake_takes_the_backend_along() {
    let backend = stalling("");
    let program = Ringgate::run(&Settings::hello(backend.address));
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let before = backend.asked();
        client.send(upgrade("/hello", &[]));
        eventually("the backend is asked", || backend.asked() > before);
        drop(client);
        // At once, and not after the API's timeout of a minute.
        assert!(backend.result());
    }
    program.await_metric(
        "ringgate_requests_refused_total{reason=\"client_gone\"}",
        2.0,
    );
    program.await_metric("ringgate_connections ", 0.0);
}

#[test]
fn silent_clients_are_let_go() {
    let backend = echoing();
    let settings = Settings::hello(backend.address).with("[timeouts]\nhandshake = \"300ms\"");
    let program = Ringgate::run(&settings);

    // Neither a TLS handshake nor a request ever comes.
    for transport in TRANSPORTS {
        let mut client = Client::plain(program.listener(transport).address);
        let opened = Instant::now();
        client.rest();
        assert!(opened.elapsed() >= SHORT / 2, "{transport:?}");
    }
    // Half of a TLS record.
    let mut client = Client::plain(program.listener(Transport::Tls).address);
    client.send([22, 3, 1, 2, 0, 1]);
    client.rest();

    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        client.send("GET /hello HTTP/1.1\r\nHost: 127.0");
        client
            .answer()
            .assert_error(408, "APIG.0201", "API request error");
        client.assert_closed();
    }
    program.await_metric("ringgate_connections ", 0.0);
    program.await_metric(
        "ringgate_requests_refused_total{reason=\"tls_handshake_timeout\"}",
        2.0,
    );
}

#[test]
fn drip_of_bytes_does_not_prolong_a_handshake() {
    let backend = echoing();
    let settings = Settings::hello(backend.address).with("[timeouts]\nhandshake = \"300ms\"");
    let program = Ringgate::run(&settings);
    let mut client = program.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nA: ");
    let begun = Instant::now();
    // A byte every now and then, until the program has had enough.
    while client.write_all(b"x").is_ok() && begun.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() < DEADLINE);
}

#[test]
fn garbage_instead_of_tls_ends_the_connection() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = Client::plain(program.listener(Transport::Tls).address);
    client.send(upgrade("/hello", &[]));
    client.rest();
    program.await_metric(
        "ringgate_requests_refused_total{reason=\"client_tls_failed\"}",
        1.0,
    );
    program.await_metric("ringgate_connections ", 0.0);
}

#[test]
fn reset_of_the_client_ends_the_backend() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.read_frame();
        peer.is_closed()
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        client.send(masked(TEXT, b"last words"));
        eventually("the words have passed", || {
            program.metric("ringgate_messages_total{side=\"client\"}") > 0.0
        });
        client.reset();
        assert!(backend.result(), "{transport:?}");
        let line = program.tunnel_close();
        assert_eq!(line["reason"], "io", "{line}");
        assert_eq!(line["blame"], "client", "{line}");
        program.await_metric("ringgate_tunnels ", 0.0);
    }
}

#[test]
fn reset_of_the_backend_ends_the_client() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.read_frame();
        reset(&peer.socket);
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        client.send(masked(TEXT, b"last words"));
        client.assert_closed();
        let line = program.tunnel_close();
        assert_eq!(line["reason"], "io", "{line}");
        assert_eq!(line["blame"], "backend", "{line}");
    }
}

#[test]
fn killed_backend_takes_its_own_tunnels_only() {
    if !python::available() {
        return;
    }
    for transport in TRANSPORTS {
        let mut doomed = Server::start();
        let other = echoing();
        let mut route = Route::hello(other.address);
        (route.name, route.path) = ("API02", "/other");
        let program = Ringgate::run(&Settings::new(vec![Route::hello(doomed.address), route]));
        let listener = program.listener(transport);
        let open = |path: &str| {
            let mut client = program.connect_to(listener);
            client.upgrade(path);
            client
        };
        let mut neighbours: Vec<_> = (0..5).map(|_| open("/other")).collect();
        let mut victims: Vec<_> = (0..20).map(|_| open("/hello")).collect();
        // Load: much is on its way in both directions when the backend dies.
        for victim in &mut victims {
            victim.send(masked(frame::BINARY, &[1; 50_000]));
        }
        doomed.kill();
        for victim in &mut victims {
            victim.rest();
        }
        for neighbour in &mut neighbours {
            neighbour.send(masked(TEXT, b"fine"));
            assert_eq!(neighbour.read_frame().payload, b"fine");
        }
        drop(victims);
        program.await_metric("ringgate_tunnels ", 5.0);
        let refused = program.connect_to(listener).ask(upgrade("/hello", &[]));
        refused.assert_error(502, "APIG.0202", "Backend unavailable");
        drop(neighbours);
        program.await_metric("ringgate_tunnels ", 0.0);
    }
}

#[test]
fn connection_limit_is_a_503_and_spares_those_inside() {
    let backend = echoing();
    let settings = Settings::hello(backend.address).with("[limits]\nconnections_max = 3");
    let program = Ringgate::run(&settings);
    let plain = program.listener(Transport::Plain);
    let mut inside: Vec<_> = (0..3).map(|_| program.connect_to(plain)).collect();
    for client in &mut inside {
        client.upgrade("/hello");
    }
    let refused = program.connect_to(plain).answer();
    refused.assert_error(503, "APIG.0601", "Service unavailable");
    // On a TLS listener an answer would cost a handshake.
    Client::plain(program.listener(Transport::Tls).address).assert_closed();
    for client in &mut inside {
        client.send(masked(TEXT, b"fine"));
        assert_eq!(client.read_frame().payload, b"fine");
    }
    program.await_metric(
        "ringgate_requests_refused_total{reason=\"connection_limit\"}",
        2.0,
    );

    inside.pop();
    program.await_metric("ringgate_connections ", 2.0);
    let mut next = program.connect_to(plain);
    next.upgrade("/hello");
}

#[test]
fn descriptors_that_run_out_come_back() {
    const DESCRIPTORS: u32 = 150;
    let backend = echoing();
    let program = Ringgate::run_within(DESCRIPTORS, &Settings::hello(backend.address));
    let plain = program.listener(Transport::Plain);
    let mut served = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..DESCRIPTORS {
        let Some((client, open)) = try_upgrade(plain.address) else {
            continue;
        };
        if open { &mut served } else { &mut refused }.push(client);
    }
    assert!(served.len() > 10, "{} served", served.len());
    assert!(
        served.len() < 75,
        "{} served with two descriptors each",
        served.len()
    );

    // It does not spin while it can't accept.
    let before = program.cpu_ticks();
    std::thread::sleep(Duration::from_millis(500));
    let spent = program.cpu_ticks() - before;
    assert!(spent < 25, "{spent} ticks of 50");
    for client in &mut served {
        client.send(masked(TEXT, b"fine"));
        assert_eq!(client.read_frame().payload, b"fine");
    }

    drop((served, refused));
    let mut again = None;
    eventually("new clients are served again", || {
        again = try_upgrade(plain.address).filter(|(_, open)| *open);
        again.is_some()
    });
}

#[test]
fn lack_of_descriptors_is_told_before_the_101() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let plain = program.listener(Transport::Plain);
    let mut inside = program.connect_to(plain);
    inside.upgrade("/hello");

    program.leave_descriptors(5);
    let answers = (0..20).filter_map(|_| try_upgrade(plain.address));
    let (open, refused): (Vec<_>, Vec<_>) = answers.partition(|(_, open)| *open);
    assert!(!refused.is_empty(), "{} were let in", open.len());
    for (mut client, _) in open {
        client.send(masked(TEXT, b"fine"));
        assert_eq!(client.read_frame().payload, b"fine");
    }
    inside.send(masked(TEXT, b"fine"));
    assert_eq!(inside.read_frame().payload, b"fine");
    assert!(program.metric("ringgate_requests_refused_total{reason=\"connection_limit\"}") > 0.0);
    for reason in ["io", "connect_failed"] {
        let series = format!("ringgate_requests_refused_total{{reason=\"{reason}\"}}");
        assert!(program.metric(&series) < 1.0, "{reason}");
    }
}

/// A client that asks for a tunnel, and whether it got one; nothing if it was hung up on.
fn try_upgrade(address: std::net::SocketAddr) -> Option<(Client, bool)> {
    let mut socket = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(upgrade("/hello", &[]).as_bytes()).ok()?;
    let mut status = [0; 12];
    socket.read_exact(&mut status).ok()?;
    let open = status.ends_with(b"101");
    if open {
        crate::support::client::read_head(&mut socket).ok()?;
    }
    Some((Client::Plain(socket), open))
}

#[test]
fn slow_consumer_is_let_go_and_the_other_side_told() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        // More than every buffer on the way takes; the program stops reading at some point.
        let flood = frame::unmasked(frame::BINARY, &vec![1; 64 << 20]);
        peer.socket.write_all(&flood).is_err() || peer.read_close() == Some(1008)
    });
    let settings = Settings::hello(backend.address).with("[timeouts]\nslow_consumer = \"500ms\"");
    let program = Ringgate::run(&settings);
    let mut client = program.connect();
    client.upgrade("/hello");
    // The client reads nothing.
    let line = program.tunnel_close();
    assert_eq!(line["reason"], "slow_consumer", "{line}");
    assert_eq!(line["blame"], "client", "{line}");
    assert!(backend.result());
}

#[test]
fn early_bytes_are_bounded() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.is_closed()
    });
    // Behind bytes that nobody takes, the kernel cannot tell that the client has left: the API's timeout does.
    let settings = Settings::hello(backend.address)
        .with("[limits]\nearly_bytes_max = \"4KiB\"")
        .with_timeout(2000);
    let program = Ringgate::run(&settings);
    let mut client = program.connect();
    client.send(upgrade("/hello", &[]));
    client
        .socket()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // What the program does not take stays in the sockets' buffers: the client has to wait, or is refused.
    let frame = masked(frame::BINARY, &vec![1; 1 << 20]);
    let written = (0..64)
        .take_while(|_| client.write_all(&frame).is_ok())
        .count();
    assert!(written < 64, "64 MiB went somewhere");
    assert!(program.metric("ringgate_head_buffer_bytes ") < 1e6);
    drop(client);
    assert!(backend.result());
}

#[test]
fn connection_storm_leaves_nothing_behind() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    for transport in TRANSPORTS {
        for n in 0..100 {
            let mut client = program.connect_to(program.listener(transport));
            match n % 4 {
                0 => client.reset(),
                1 => drop(client),
                2 => {
                    client.upgrade("/hello");
                    client.reset();
                }
                _ => {
                    client.upgrade("/hello");
                    drop(client);
                }
            }
        }
    }
    program.await_metric("ringgate_connections ", 0.0);
    program.await_metric("ringgate_tunnels ", 0.0);
    program.await_metric("ringgate_relay_spill_bytes ", 0.0);
    program.await_metric("ringgate_head_buffer_bytes ", 0.0);
}

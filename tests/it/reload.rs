//! Reloads: what is served changes, and no open tunnel notices.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::backend::Backend;
use crate::support::certificate::Certificate;
use crate::support::client::{self, Client};
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::{Output, Ringgate, command};
use crate::support::settings::{Route, Settings};
use crate::support::{Transport, eventually, raise_descriptor_limit};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        // Ten thousand sockets are not opened before the first of them has been silent for long.
        peer.socket.set_read_timeout(None).unwrap();
        peer.accept();
        peer.echo()
    })
}

fn open(program: &Ringgate, path: &str) -> Client {
    let mut client = program.connect();
    client.upgrade(path);
    client
}

fn assert_echoes(client: &mut Client) {
    client.send(masked(TEXT, b"still here"));
    assert_eq!(client.read_frame().payload, b"still here");
}

/// Writes other settings and has the program read them.
fn reload(program: &Ringgate, settings: &Settings) -> Output {
    settings.write(&program.workspace);
    let directory = program.workspace.path("");
    command(&["reload", "-c", "ringgate.toml"], &directory)
}

fn renamed(backend: SocketAddr) -> Settings {
    Settings::new(vec![Route {
        name: "API02",
        path: "/other",
        ..Route::hello(backend)
    }])
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn other_apis_are_served_and_open_tunnels_live_on() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut old = open(&program, "/hello");
    renamed(backend.address).write(&program.workspace);
    program.signal("HUP");
    program.await_metric("ringgate_config_generation", 1.0);
    assert_echoes(&mut old);
    let mut new = open(&program, "/other");
    assert_echoes(&mut new);
    let mut gone = program.connect();
    assert_eq!(gone.ask(client::upgrade("/hello", &[])).status, 404);
    assert!(program.errors().contains("reloaded: 1 APIs"));
}

#[test]
fn a_mistake_changes_nothing_and_is_told_to_who_asked() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = open(&program, "/hello");
    let wrong = renamed(backend.address).with("[timeouts]\nhandshake = \"soon\"");
    let answer = reload(&program, &wrong);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("timeouts.handshake"), "{answer:?}");
    assert!(answer.stderr.contains("ringgate.toml:"), "{answer:?}");
    program.await_metric("ringgate_config_reloads_total{result=\"failure\"}", 1.0);
    assert_echoes(&mut client);
    let mut same = open(&program, "/hello");
    assert_echoes(&mut same);
    // What was set aside at the start stays.
    let cores = Settings::hello(backend.address).with("[limits]\nrelay_buffer_bytes = \"8MiB\"");
    let answer = reload(&program, &cores);
    assert!(answer.stderr.contains("without a restart"), "{answer:?}");
    assert_eq!(
        reload(&program, &Settings::hello(backend.address)).code,
        Some(0)
    );
}

#[test]
fn a_shorter_idle_timeout_reaches_open_tunnels() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = open(&program, "/hello");
    let shorter = Settings::hello(backend.address).with_timeout(300);
    assert_eq!(reload(&program, &shorter).code, Some(0));
    assert_eq!(client.read_frame().close_code(), Some(1001));
    client.send(masked(CLOSE, &close(1001, "")));
    assert_eq!(program.tunnel_close()["reason"], "idle");
}

#[test]
fn tunnels_of_an_api_that_went_are_drained_where_asked() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = open(&program, "/hello");
    let drained =
        renamed(backend.address).with("[reload]\nremoved_apis = \"drain\"\nover = \"0s\"");
    assert_eq!(reload(&program, &drained).code, Some(0));
    assert_eq!(client.read_frame().close_code(), Some(1001));
    client.send(masked(CLOSE, &close(1001, "")));
    assert_eq!(program.tunnel_close()["reason"], "drained");
}

#[test]
fn new_connections_see_a_new_certificate() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let listener = program.listener(Transport::Tls).address;
    let mut old = Client::tls(listener, program.workspace.certificate.client());
    old.upgrade("/hello");
    let renewed = Certificate::create(&program.workspace.path(""));
    assert_eq!(
        reload(&program, &Settings::hello(backend.address)).code,
        Some(0)
    );
    // It trusts the new one alone.
    let mut new = Client::tls(listener, renewed.client());
    new.upgrade("/hello");
    assert_echoes(&mut new);
    assert_echoes(&mut old);
}

#[test]
fn listeners_come_and_go() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = open(&program, "/hello");
    let before = program.address();
    let moved = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let address: &'static str = moved.to_string().leak();
    let settings = Settings {
        listeners: vec![(Transport::Plain, address)],
        ..Settings::hello(backend.address)
    };
    assert_eq!(reload(&program, &settings).code, Some(0));
    let mut new = Client::plain(moved);
    new.upgrade("/hello");
    assert_echoes(&mut new);
    eventually("the old listener is closed", || {
        TcpStream::connect(before).is_err()
    });
    assert_echoes(&mut client);
    // The same address with another meaning: TLS.
    let settings = Settings {
        listeners: vec![(Transport::Tls, address)],
        ..Settings::hello(backend.address)
    };
    assert_eq!(reload(&program, &settings).code, Some(0));
    let mut tls = Client::tls(moved, program.workspace.certificate.client());
    tls.upgrade("/hello");
    assert_echoes(&mut tls);
    assert_echoes(&mut new);
    // What somebody else has can't be had, and nothing changes.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: &'static str = taken.local_addr().unwrap().to_string().leak();
    let settings = Settings {
        listeners: vec![(Transport::Plain, address)],
        ..Settings::hello(backend.address)
    };
    let answer = reload(&program, &settings);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("cannot listen on"), "{answer:?}");
    assert_echoes(&mut tls);
}

/// Small here; `RINGGATE_SOAK=9900x1000 cargo test reloads_while -- --nocapture` has as many sockets as 20,000 descriptors
/// allow, two a tunnel in the program and in the test alike, and a thousand reloads.
#[test]
fn reloads_while_sockets_echo_close_none() {
    raise_descriptor_limit();
    let soak = std::env::var("RINGGATE_SOAK").unwrap_or_else(|_| "100x30".to_owned());
    let (sockets, reloads) = soak.split_once('x').unwrap();
    let (sockets, reloads): (usize, usize) = (sockets.parse().unwrap(), reloads.parse().unwrap());
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut clients: Vec<_> = (0..sockets).map(|_| open(&program, "/hello")).collect();
    let fds = program.metric("ringgate_process_open_fds");
    let memory = || program.metric("ringgate_process_resident_memory_bytes") / 1024.0 / 1024.0;
    let (mut before, mut slowest) = (memory(), Duration::ZERO);
    for number in 0..reloads {
        let settings = Settings::hello(backend.address)
            .with_timeout(50_000 + u32::try_from(number % 2).unwrap());
        settings.write(&program.workspace);
        program.signal("HUP");
        for client in clients.iter_mut().skip(number % 7).step_by(7) {
            let sent = Instant::now();
            assert_echoes(client);
            slowest = slowest.max(sent.elapsed());
        }
        let wanted = f64::from(u32::try_from(number + 1).unwrap());
        program.await_metric("ringgate_config_reloads_total{result=\"success\"}", wanted);
        // What the first reloads take is kept for the others.
        if number == reloads / 5 {
            before = memory();
        }
    }
    let after = memory();
    println!(
        "{sockets} sockets, {reloads} reloads: slowest echo {slowest:?}, memory {before:.1} MiB after a fifth of them, \
         {after:.1} MiB at the end"
    );
    for client in &mut clients {
        assert_echoes(client);
    }
    let opened = f64::from(u32::try_from(sockets).unwrap());
    program.await_metric("ringgate_tunnels ", opened);
    assert_eq!(program.metric("ringgate_tunnels_opened_total "), opened);
    assert!(
        after < before + 16.0,
        "memory grew from {before} to {after} MiB"
    );
    eventually("descriptors are what they were", || {
        program.metric("ringgate_process_open_fds") <= fds
    });
}

//! What a reload means for open tunnels whose API changed, moved or went: kept, or drained as the configuration says.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::client::{Client, upgrade, upgrade_but};
use crate::support::eventually;
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::{Output, Ringgate, command};
use crate::support::settings::{Route, Settings};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

/// API01 on /one and API02 on /two.
fn two(backend: SocketAddr) -> Vec<Route> {
    let route = |name, path| Route {
        name,
        path,
        ..Route::hello(backend)
    };
    vec![route("API01", "/one"), route("API02", "/two")]
}

fn open(program: &Ringgate, path: &str) -> Client {
    let mut client = program.connect();
    client.upgrade(path);
    client.send(masked(TEXT, b"x"));
    client.read_frame();
    client
}

fn assert_echoes(client: &mut Client) {
    client.send(masked(TEXT, b"still here"));
    assert_eq!(client.read_frame().payload, b"still here");
}

/// Reads the Close that ends the tunnel, and answers it.
fn assert_told(client: &mut Client, code: u16) {
    assert_eq!(client.read_frame().close_code(), Some(code));
    client.send(masked(CLOSE, &close(code, "")));
    client.assert_closed();
}

fn reload(program: &Ringgate, settings: &Settings) -> Output {
    settings.write(&program.workspace);
    let output = command(
        &["reload", "-c", "ringgate.toml"],
        &program.workspace.path(""),
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    output
}

fn drains(program: &Ringgate) -> Vec<Value> {
    let (_, _, body) = program.admin("/v1/drains");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["drains"].as_array().unwrap().clone()
}

#[test]
fn tunnels_of_a_changed_api_are_kept_unless_it_says_otherwise() {
    let backend = echoing();
    let with = |timeout| {
        let routes = two(backend.address);
        Settings::new(routes).with_timeout(timeout).with(
            "[[apis]]\nname = \"API02\"\nwhen_changed = { over = \"0s\", cause = \"restart\" }",
        )
    };
    let program = Ringgate::run(&with(50_000));
    let (mut kept, mut drained) = (open(&program, "/one"), open(&program, "/two"));
    reload(&program, &with(40_000));
    assert_told(&mut drained, 1012);
    assert_echoes(&mut kept);
    // The new version is served all the same.
    assert_echoes(&mut open(&program, "/two"));
    let drain = &drains(&program)[0];
    assert_eq!(drain["which"], "changed APIs: DEFAULT:API02");
    assert_eq!(drain["ordered_by"], "reload");
    // What does not change the definition changes nothing: lines that move, a description, the same values.
    let mut moved = with(40_000);
    moved.routes.reverse();
    reload(&program, &moved);
    assert_echoes(&mut kept);
    assert_eq!(drains(&program).len(), 1);
}

#[test]
fn apis_and_backends_that_went_have_endings_of_their_own() {
    let (here, there) = (echoing(), echoing());
    let more = "[reload]\nremoved_apis = { over = \"0s\" }\nremoved_backends = { over = \"0s\", cause = \"restart\" }\n";
    let program = Ringgate::run(&Settings::new(two(here.address)).with(more));
    let (mut moved, mut gone) = (open(&program, "/one"), open(&program, "/two"));
    let mut routes = two(there.address);
    routes.truncate(1);
    reload(&program, &Settings::new(routes).with(more));
    assert_told(&mut moved, 1012);
    assert_told(&mut gone, 1001);
    assert_echoes(&mut open(&program, "/one"));
    let mut which: Vec<_> = drains(&program)
        .iter()
        .map(|drain| drain["which"].as_str().unwrap().to_owned())
        .collect();
    which.sort();
    let expected = [
        "removed APIs: DEFAULT:API02",
        "removed backends: DEFAULT:API01",
    ];
    assert_eq!(which, expected);
}

#[test]
fn what_an_api_said_of_itself_holds_once_it_is_gone() {
    let backend = echoing();
    let rules = "[[apis]]\nname = \"API02\"\nwhen_removed = { over = \"0s\" }";
    let program = Ringgate::run(&Settings::new(two(backend.address)).with(rules));
    let (mut kept, mut drained) = (open(&program, "/one"), open(&program, "/two"));
    let other = Route {
        name: "API03",
        path: "/three",
        ..Route::hello(backend.address)
    };
    reload(&program, &Settings::new(vec![other]));
    assert_told(&mut drained, 1001);
    assert_echoes(&mut kept);
}

#[test]
fn a_tunnel_that_was_left_behind_hears_of_later_reloads() {
    let (here, there) = (echoing(), echoing());
    let program = Ringgate::run(&Settings::hello(here.address));
    let mut client = open(&program, "/hello");
    // The API goes, comes back elsewhere, and then has another timeout.
    let other = Route {
        name: "API09",
        path: "/nine",
        ..Route::hello(here.address)
    };
    reload(&program, &Settings::new(vec![other]));
    reload(&program, &Settings::hello(there.address));
    assert_echoes(&mut client);
    reload(&program, &Settings::hello(there.address).with_timeout(300));
    assert_told(&mut client, 1001);
    assert_eq!(program.tunnel_close()["reason"], "idle");
}

#[test]
fn the_drain_of_a_reload_is_watched_and_cancelled() {
    let backend = echoing();
    let routes = two(backend.address);
    let program = Ringgate::run(&Settings::new(routes));
    let mut clients: Vec<_> = (0..3).map(|_| open(&program, "/two")).collect();
    let mut routes = two(backend.address);
    routes.truncate(1);
    let more = "[reload]\nremoved_apis = { notice = \"1h\", over = \"2h\", limit = \"3h\" }";
    reload(&program, &Settings::new(routes).with(more));
    eventually("the drain has its tunnels", || {
        drains(&program)[0]["open"] == 3
    });
    clients.remove(0);
    eventually("one has left by itself", || {
        let drain = &drains(&program)[0];
        drain["left_by_themselves"] == 1 && drain["open"] == 2 && drain["waiting"] == 2
    });
    let drain = &drains(&program)[0];
    let left = drain["time_left_ms"].as_u64().unwrap();
    assert!((1..=3 * 3_600_000).contains(&left), "{drain}");
    let directory = program.workspace.path("");
    let cancelled = command(
        &["drain", "--cancel", "1", "-c", "ringgate.toml"],
        &directory,
    );
    assert!(cancelled.stdout.contains("cancelled"), "{cancelled:?}");
    for client in &mut clients {
        assert_echoes(client);
    }
}

#[test]
fn every_setting_that_can_change_does_for_those_who_come_then() {
    let backend = echoing();
    let settings = Settings::hello(backend.address);
    let program = Ringgate::run(&settings.clone().with("[timeouts]\nhandshake = \"1h\""));
    let mut old = open(&program, "/hello");
    let more = r#"
[limits]
connections_max = 2
[timeouts]
handshake = "2s"
[[domains]]
name = "ws.example.com"
group = "DEFAULT"
[log]
level = "debug"
"#;
    reload(&program, &settings.with(more));
    // Whoever says nothing is hung up on.
    program.connect().rest();
    let request = upgrade_but("/hello", "Host", Some("ws.example.com"));
    assert_eq!(program.connect().ask(request).status, 101);
    // The limit of connections counts the old one.
    let ask = || {
        let mut client = program.connect();
        (client.ask(upgrade("/hello", &[])).status, client)
    };
    let mut second = None;
    eventually("a second is let in", || {
        let (status, client) = ask();
        second = (status == 101).then_some(client);
        second.is_some()
    });
    assert_eq!(ask().0, 503);
    assert_echoes(&mut old);
    // And what cannot.
    let fixed = Settings::hello(backend.address)
        .with("[limits]\nearly_bytes_max = \"1KiB\"\nconnections_max = 1000000");
    fixed.write(&program.workspace);
    let answer = command(
        &["reload", "-c", "ringgate.toml"],
        &program.workspace.path(""),
    );
    assert_eq!(answer.code, Some(1));
    for key in ["limits.early_bytes_max", "limits.connections_max"] {
        let complaint = format!("{key}: cannot change");
        assert!(answer.stderr.contains(&complaint), "{answer:?}");
    }
}

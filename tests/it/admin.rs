//! The admin socket of the running program.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::frame::{CLOSE, PING, TEXT, close, masked};
use crate::support::program::{Ringgate, command};
use crate::support::settings::Settings;
use crate::support::{TRANSPORTS, Transport};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

#[test]
fn probes_answer() {
    let program = Ringgate::proxy(Transport::Plain, &[echoing().address]);
    for (path, status, body) in [
        ("/livez", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/nothing", 404, "Not Found\n"),
    ] {
        let (answered, head, text) = program.admin(path);
        assert_eq!((answered, text.as_str()), (status, body), "{path}");
        assert!(head.contains("Connection: close"), "{head}");
    }
    let (status, head, body) = program.admin_raw("HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("Content-Length: 3"), "{head}");
    assert_eq!(
        program
            .admin_raw("DELETE /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            .0,
        405
    );
    let mode = std::fs::metadata(program.admin_socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn metrics_follow_what_happens() {
    let backend = echoing();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        client.send(masked(TEXT, b"hello"));
        client.read_frame();
        client.send(masked(PING, b""));
        client.read_frame();
        let tls = if transport == Transport::Tls {
            1.0
        } else {
            0.0
        };
        for (series, value) in [
            ("ringgate_workers ", 1.0),
            ("ringgate_connections_accepted_total ", 1.0),
            ("ringgate_connections ", 1.0),
            ("ringgate_edge_connections ", 0.0),
            ("ringgate_tunnels ", 1.0),
            ("ringgate_tunnels_opened_total ", 1.0),
            ("ringgate_handshakes_total{result=\"success\"}", 1.0),
            (
                "ringgate_tls_handshakes_total{side=\"client\",version=\"1.3\",resumed=\"false\"}",
                tls,
            ),
            ("ringgate_handshake_duration_seconds_count ", 1.0),
            ("ringgate_messages_total{side=\"client\"}", 1.0),
            ("ringgate_messages_total{side=\"backend\"}", 1.0),
            ("ringgate_pings_total{side=\"client\"}", 1.0),
            ("ringgate_tunnel_bytes_total{side=\"client\"}", 11.0 + 6.0),
            ("ringgate_tunnel_bytes_total{side=\"backend\"}", 7.0 + 2.0),
        ] {
            program.await_metric(series, value);
        }
        client.send(masked(CLOSE, &close(4321, "")));
        client.read_frame();
        drop(client);
        for (series, value) in [
            ("ringgate_tunnels ", 0.0),
            ("ringgate_connections ", 0.0),
            (
                "ringgate_tunnels_closed_total{reason=\"finished\",side=\"client\"}",
                1.0,
            ),
            (
                "ringgate_close_frames_total{side=\"client\",code=\"4000-4999\"}",
                1.0,
            ),
            (
                "ringgate_close_frames_total{side=\"backend\",code=\"4000-4999\"}",
                1.0,
            ),
            ("ringgate_access_log_lines_dropped_total ", 0.0),
        ] {
            program.await_metric(series, value);
        }
        assert!(program.metric("ringgate_relay_turn_completions_count ") > 0.0);
        assert!(program.metric("ringgate_relay_turn_completions_sum ") > 0.0);
        assert!(program.metric("ringgate_relay_buffers_free ") > 0.0);
        assert!(program.metric("ringgate_process_resident_memory_bytes ") > 0.0);
        assert!(program.metric("ringgate_process_open_fds ") > 3.0);
    }
}

#[test]
fn socket_of_a_living_program_is_not_taken() {
    let program = Ringgate::run(&Settings::hello(echoing().address));
    let dir = program.workspace.path("");
    let second = command(&["run", "-c", "ringgate.toml"], &dir);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("admin.sock"), "{}", second.stderr);
    assert_eq!(program.admin("/livez").0, 200);
}

/// Status and JSON of a request to the admin API.
fn ask(program: &Ringgate, method: &str, path: &str) -> (u16, Value) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (status, _, body) = program.admin_raw(&request);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

#[test]
fn open_tunnels_are_listed_with_what_they_carried() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut clients: Vec<_> = (0..3).map(|_| program.connect()).collect();
    for client in &mut clients {
        client.upgrade("/hello");
        client.send(masked(TEXT, b"hello"));
        client.read_frame();
    }
    let (status, all) = ask(&program, "GET", "/v1/tunnels");
    assert_eq!((status, &all["total"]), (200, &3.into()));
    let tunnel = &all["tunnels"][0];
    assert_eq!(tunnel["api"], "API01");
    assert_eq!(tunnel["backend"], backend.address.to_string());
    assert_eq!(tunnel["from_client"]["messages"], 1);
    assert_eq!(tunnel["from_backend"]["bytes"], 7);
    assert_eq!(tunnel["closing"], false);
    let id = tunnel["id"].as_str().unwrap();
    let (status, one) = ask(&program, "GET", &format!("/v1/tunnels/{id}"));
    assert_eq!((status, &one["client"]), (200, &tunnel["client"]));
    for (query, total) in [
        ("api=API01&group=DEFAULT", 3),
        ("api=other", 0),
        ("client=127.0.0.1&limit=1", 3),
        ("backend=127.0.0.1:1", 0),
        ("older_than=1h", 0),
        ("sort=bytes&offset=2", 3),
    ] {
        let (status, found) = ask(&program, "GET", &format!("/v1/tunnels?{query}"));
        assert_eq!((status, &found["total"]), (200, &total.into()), "{query}");
    }
    for query in ["colour=red", "sort=colour", "client=me", "limit=-1"] {
        let (status, found) = ask(&program, "GET", &format!("/v1/tunnels?{query}"));
        assert_eq!(status, 400, "{query}");
        assert!(found["error"].is_string(), "{found}");
    }
}

#[test]
fn one_tunnel_is_closed_with_a_code() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut kept = program.connect();
    kept.upgrade("/hello");
    let mut client = program.connect();
    client.upgrade("/hello");
    let local = client.socket().local_addr().unwrap().to_string();
    program.await_metric("ringgate_tunnels ", 2.0);
    let (_, all) = ask(&program, "GET", "/v1/tunnels");
    let tunnels = all["tunnels"].as_array().unwrap();
    let tunnel = tunnels
        .iter()
        .find(|tunnel| tunnel["client"] == local.as_str());
    let id = tunnel.unwrap()["id"].as_str().unwrap();
    let path = format!("/v1/tunnels/{id}");
    assert_eq!(ask(&program, "DELETE", &format!("{path}?code=1005")).0, 400);
    assert_eq!(ask(&program, "DELETE", &format!("{path}?code=1008")).0, 202);
    assert_eq!(client.read_frame().close_code(), Some(1008));
    client.send(masked(CLOSE, &close(1008, "")));
    client.assert_closed();
    assert_eq!(backend.result(), Some(1008));
    assert_eq!(program.tunnel_close()["reason"], "ordered");
    assert_eq!(ask(&program, "DELETE", &path).0, 404);
    kept.send(masked(TEXT, b"still here"));
    assert_eq!(kept.read_frame().payload, b"still here");
}

#[test]
fn a_drain_is_ordered_watched_and_cancelled() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut clients: Vec<_> = (0..4).map(|_| program.connect()).collect();
    for client in &mut clients {
        client.upgrade("/hello");
    }
    program.await_metric("ringgate_tunnels", 4.0);
    assert_eq!(ask(&program, "POST", "/v1/drains").0, 400);
    assert_eq!(ask(&program, "POST", "/v1/drains?all&api=API01").0, 400);
    let (status, slow) = ask(&program, "POST", "/v1/drains?api=API01&over=10h");
    assert_eq!((status, &slow["drain"]), (202, &1.into()));
    assert_eq!(ask(&program, "DELETE", "/v1/drains/1").1["cancelled"], true);
    let (status, _) = ask(
        &program,
        "POST",
        &format!(
            "/v1/drains?backend={}&over=0s&cause=restart",
            backend.address
        ),
    );
    assert_eq!(status, 202);
    for client in &mut clients {
        assert_eq!(client.read_frame().close_code(), Some(1012));
        client.send(masked(CLOSE, &close(1012, "")));
    }
    program.await_metric("ringgate_tunnels", 0.0);
    let (_, drains) = ask(&program, "GET", "/v1/drains");
    assert_eq!(drains["drains"][1]["closed"], 4);
    assert_eq!(drains["drains"][1]["waiting"], 0);
    // Who comes afterwards is not concerned.
    let mut client = program.connect();
    client.upgrade("/hello");
    client.send(masked(TEXT, b"x"));
    assert_eq!(client.read_frame().payload, b"x");
    assert_eq!(ask(&program, "PUT", "/v1/drains").0, 405);
    assert_eq!(ask(&program, "GET", "/v1/nothing").0, 404);
}

#[test]
fn the_commands_say_what_the_api_says() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let directory = program.workspace.path("");
    let run = |arguments: &[&str]| command(arguments, &directory);
    let mut client = program.connect();
    client.upgrade("/hello");
    program.await_metric("ringgate_tunnels", 1.0);
    let file = ["-c", "ringgate.toml"];
    let listed = run(&[&["tunnels"], &file[..]].concat());
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("DEFAULT:API01"), "{listed:?}");
    assert!(listed.stdout.ends_with("1 tunnel, 1 shown\n"), "{listed:?}");
    let json = run(&[&["tunnels", "--json"], &file[..]].concat());
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let id = json["tunnels"][0]["id"].as_str().unwrap();

    let closed = run(&[&["close", id, "--code", "1008"], &file[..]].concat());
    assert_eq!(closed.code, Some(0), "{closed:?}");
    assert_eq!(client.read_frame().close_code(), Some(1008));
    let again = run(&["close", "00", "--socket", "admin.sock"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("request id"), "{again:?}");

    let drained = run(&[&["drain", "--all", "--over", "1s"], &file[..]].concat());
    assert_eq!(drained.code, Some(0), "{drained:?}");
    let shown = run(&[&["drain"], &file[..]].concat());
    assert!(
        shown.stdout.starts_with("drain 1: all over 1s"),
        "{shown:?}"
    );
    let cancelled = run(&[&["drain", "--cancel", "1"], &file[..]].concat());
    assert!(cancelled.stdout.contains("cancelled"), "{cancelled:?}");
    let nobody = run(&["tunnels", "--socket", "nobody.sock"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(
        nobody.stderr.contains("is the program running?"),
        "{nobody:?}"
    );
}

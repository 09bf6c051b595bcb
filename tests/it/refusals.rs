//! Requests that get no tunnel, and the answer to each (spec 2.5, 2.10, 5).

use crate::support::TRANSPORTS;
use crate::support::Transport::{Plain, Tls};
use crate::support::backend::{Backend, refusing};
use crate::support::client::{KEY, UPGRADE, request, upgrade, upgrade_but};
use crate::support::program::Ringgate;
use crate::support::settings::{Route, Settings};

const NOT_PUBLISHED: &str = "The API does not exist or has not been published in the environment";

/// A program whose one API must never reach its backend.
fn program() -> Ringgate {
    Ringgate::run(&Settings::hello(refusing()))
}

#[test]
fn unknown_api_is_a_404() {
    let program = program();
    for transport in TRANSPORTS {
        let ask = |asked: String| program.connect_to(program.listener(transport)).ask(asked);
        ask(upgrade("/nothing", &[])).assert_error(404, "APIG.0101", NOT_PUBLISHED);
        // Paths are matched exactly, and their case counts.
        for path in ["/hello/", "/hello/x", "/Hello", "/"] {
            ask(upgrade(path, &[])).assert_error(404, "APIG.0101", NOT_PUBLISHED);
        }
        // Published in RELEASE only.
        ask(upgrade("/hello", &[("X-Stage", "TEST")])).assert_error(
            404,
            "APIG.0101",
            NOT_PUBLISHED,
        );
        // A host that leads to no group.
        ask(upgrade_but("/hello", "Host", Some("api.example.com"))).assert_error(
            404,
            "APIG.0101",
            NOT_PUBLISHED,
        );
        // An upgrade is a GET (RFC 6455 §4.2.1), so only an ordinary call can miss the method.
        let other_method = request("DELETE /hello HTTP/1.1", &[("Host", "127.0.0.1")]);
        ask(other_method).assert_error(404, "APIG.0101", "The API does not exist");
        let other_method = upgrade("/hello", &[]).replace("GET ", "POST ");
        ask(other_method).assert_error(400, "APIG.0201", "API request error");
    }
}

#[test]
fn wrong_scheme_is_named() {
    let mut https = Route::hello(refusing());
    https.schemes = &["https"];
    let mut http = Route::hello(refusing());
    (http.name, http.path, http.schemes) = ("API02", "/plain", &["http"]);
    let program = Ringgate::run(&Settings::new(vec![https, http]));
    for (transport, path, supported) in [(Plain, "/hello", "HTTPS"), (Tls, "/plain", "HTTP")] {
        let mut client = program.connect_to(program.listener(transport));
        let message = format!("The following protocol is supported: {supported}");
        client
            .ask(upgrade(path, &[]))
            .assert_error(400, "APIG.0607", &message);
    }
}

/// Spec 1.6: an opening handshake is a GET, so that it can't be carried to a backend that is asked with another method.
#[test]
fn upgrade_towards_another_method_is_a_400() {
    let mut route = Route::hello(refusing());
    route.backend_method = "POST";
    let program = Ringgate::run(&Settings::new(vec![route]));
    for transport in [Plain, Tls] {
        let mut client = program.connect_to(program.listener(transport));
        client
            .ask(upgrade("/hello", &[]))
            .assert_error(400, "APIG.0201", "API request error");
    }
    program.await_metric(
        "ringgate_requests_refused_total{reason=\"no_upgrade\"}",
        2.0,
    );
}

#[test]
fn other_version_is_told_the_one_we_speak() {
    let program = program();
    for version in [Some("8"), Some("14"), None] {
        let asked = upgrade_but("/hello", "Sec-WebSocket-Version", version);
        let answer = program.connect().ask(asked);
        answer.assert_error(426, "APIG.0201", "API request error");
        assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
    }
}

#[test]
fn broken_handshakes_are_400s() {
    let program = program();
    let key = |value| upgrade_but("/hello", "Sec-WebSocket-Key", value);
    let cases = [
        ("no key", key(None)),
        ("short key", key(Some("AAAA"))),
        ("no base64", key(Some("!!!!IHNhbXBsZSBub25jZQ=="))),
        ("two keys", upgrade("/hello", &[("Sec-WebSocket-Key", KEY)])),
        (
            "HTTP/1.0",
            upgrade("/hello", &[]).replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("no connection", upgrade_but("/hello", "Connection", None)),
        (
            "connection without token",
            upgrade_but("/hello", "Connection", Some("keep-alive")),
        ),
        ("a body", upgrade("/hello", &[("Content-Length", "5")])),
        (
            "a chunked body",
            upgrade("/hello", &[("Transfer-Encoding", "chunked")]),
        ),
    ];
    for (name, asked) in cases {
        let mut client = program.connect();
        let answer = client.ask(asked);
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        answer.assert_error(400, "APIG.0201", "API request error");
        client.assert_closed();
    }
}

#[test]
fn unhygienic_requests_are_400s() {
    let program = program();
    let ordinary = |line: &str, fields: &[(&str, &str)]| {
        request(line, &[&[("Host", "127.0.0.1")], fields].concat())
    };
    let cases = [
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
        (
            "no version",
            request("GET /hello", &[("Host", "127.0.0.1")]),
        ),
        (
            "HTTP/2",
            request("GET /hello HTTP/2.0", &[("Host", "127.0.0.1")]),
        ),
        ("CONNECT", ordinary("CONNECT example.com:443 HTTP/1.1", &[])),
        (
            "two lengths",
            ordinary(
                "POST /hello HTTP/1.1",
                &[("Content-Length", "1"), ("Content-Length", "2")],
            ),
        ),
        (
            "length and coding",
            ordinary(
                "POST /hello HTTP/1.1",
                &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            ),
        ),
        (
            "coding in HTTP/1.0",
            ordinary("POST /hello HTTP/1.0", &[("Transfer-Encoding", "chunked")]),
        ),
        (
            "two hosts",
            ordinary("GET /hello HTTP/1.1", &[("Host", "127.0.0.1")]),
        ),
        ("no host", request("GET /hello HTTP/1.1", &[])),
        (
            "blank in host",
            request("GET /hello HTTP/1.1", &[("Host", "a b")]),
        ),
        (
            "blank in name",
            ordinary("GET /hello HTTP/1.1", &[("A b", "c")]),
        ),
        (
            "blank before colon",
            ordinary("GET /hello HTTP/1.1", &[("A ", "c")]),
        ),
        (
            "folded line",
            ordinary("GET /hello HTTP/1.1", &[("A", "b\r\n c")]),
        ),
        (
            "NUL in value",
            ordinary("GET /hello HTTP/1.1", &[("A", "b\0c")]),
        ),
        ("bare CR", ordinary("GET /hello HTTP/1.1", &[("A", "b\rc")])),
        ("above the root", upgrade("/../hello", &[])),
    ];
    for (name, asked) in cases {
        let answer = program.connect().ask(asked);
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        answer.assert_error(400, "APIG.0201", "API request error");
    }
}

#[test]
fn large_requests_are_refused_by_what_is_large() {
    let program = program();
    for transport in TRANSPORTS {
        let ask = |asked: String| program.connect_to(program.listener(transport)).ask(asked);
        let long = "x".repeat(33 * 1024);
        ask(upgrade(&format!("/{long}"), &[])).assert_error(
            414,
            "APIG.0201",
            "Request URI too large",
        );
        ask(upgrade("/hello", &[("A", &long)])).assert_error(
            494,
            "APIG.0201",
            "Request headers too large",
        );
        let many = "x".repeat(16 * 1024);
        let fields = vec![("A", many.as_str()); 9];
        ask(upgrade("/hello", &fields)).assert_error(494, "APIG.0201", "Request headers too large");
        let body = [("Host", "127.0.0.1"), ("Content-Length", "12582913")];
        ask(request("POST /hello HTTP/1.1", &body)).assert_error(
            413,
            "APIG.0201",
            "Request entity too large",
        );
    }
}

#[test]
fn what_is_just_within_the_limits_is_served() {
    let backend = Backend::start(|mut peer| {
        let request = peer.accept();
        peer.echo();
        request.len()
    });
    let program = Ringgate::run(&Settings::hello(backend.address));
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let query = "q".repeat(32 * 1024 - 16);
        let value = "v".repeat(31 * 1024);
        let fields = vec![("A", value.as_str()); 3];
        let answer = client.ask(upgrade(&format!("/hello?{query}"), &fields));
        assert_eq!(answer.status, 101, "{answer:?}");
        drop(client);
        assert!(backend.result() > 4 * 31 * 1024);
    }
}

#[test]
fn unreachable_backend_is_a_502() {
    let program = program();
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let answer = client.ask(upgrade("/hello", &[]));
        answer.assert_error(502, "APIG.0202", "Backend unavailable");
        let id = answer.request_id();
        let line = program.log_line("refused", |line| line["id"] == id);
        assert_eq!(line["reason"], "connect_failed");
        assert_eq!(line["status"], 502);
        assert_eq!(line["blame"], "backend");
    }
}

#[test]
fn unknown_name_is_a_500() {
    let mut route = Route::hello(refusing());
    route.backend = "no-such-name.invalid:80".into();
    let program = Ringgate::run(&Settings::new(vec![route]));
    let answer = program.connect().ask(upgrade("/hello", &[]));
    answer.assert_error(500, "APIG.0605", "Domain name resolution failed");
}

#[test]
fn connection_goes_on_after_a_refused_call() {
    let program = program();
    let mut client = program.connect();
    let ordinary = request("GET /nothing HTTP/1.1", &[("Host", "127.0.0.1")]);
    let first = client.ask(&ordinary);
    first.assert_error(404, "APIG.0101", NOT_PUBLISHED);
    let second = client.ask(&ordinary);
    second.assert_error(404, "APIG.0101", NOT_PUBLISHED);
    assert_ne!(first.request_id(), second.request_id());
    let last = client.ask(request(
        "GET /nothing HTTP/1.1",
        &[("Host", "127.0.0.1"), ("Connection", "close")],
    ));
    last.assert_error(404, "APIG.0101", NOT_PUBLISHED);
    client.assert_closed();
}

#[test]
fn refusals_are_counted_by_reason() {
    let program = program();
    program.connect().ask(upgrade("/nothing", &[]));
    program.connect().ask(upgrade("/hello", &[]));
    program.connect().ask(request(
        "GET /hello HTTP/1.1",
        &[UPGRADE[0], ("Expect", "tea")],
    ));
    for (reason, count) in [
        ("no_route", 1.0),
        ("connect_failed", 1.0),
        ("bad_expectation", 1.0),
        ("no_method", 0.0),
    ] {
        let series = format!("ringgate_requests_refused_total{{reason=\"{reason}\"}}");
        program.await_metric(&series, count);
    }
}

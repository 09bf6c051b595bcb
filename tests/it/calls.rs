//! Ordinary HTTP calls from end to end: what the backend is asked, what the client is answered, and what becomes of both
//! connections (RFC 9110 and 9112 for an intermediary).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;

use crate::support::backend::{Backend, Peer, refusing};
use crate::support::client::{Answer, Client, field, read_head, request};
use crate::support::program::Ringgate;
use crate::support::settings::Settings;
use crate::support::{TRANSPORTS, Transport};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request with a `Host`, and these fields.
fn call(line: &str, fields: &[(&str, &str)]) -> String {
    request(line, &[&[("Host", "edge.example")], fields].concat())
}

fn get(path: &str) -> String {
    call(&format!("GET {path} HTTP/1.1"), &[])
}

/// Answers every request of a connection that has no body with `answer`. Returns the requests.
fn answering(answer: &'static str) -> Backend<Vec<String>> {
    Backend::start(move |mut peer| {
        let mut requests = Vec::new();
        while let Ok(head) = read_head(&mut peer.socket) {
            requests.push(head);
            peer.send(answer);
        }
        requests
    })
}

/// Answers one request with `answer` and closes.
fn answering_once(answer: impl Into<Vec<u8>>) -> Backend<()> {
    let answer = answer.into();
    Backend::start(move |mut peer| {
        peer.request();
        peer.send(&answer);
    })
}

fn program(backend: &Backend<impl Send + 'static>) -> Ringgate {
    Ringgate::proxy(Transport::Plain, &[backend.address])
}

impl Peer {
    fn read_bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything up to and with `end`.
    fn read_to(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.read_bytes(1));
        }
        bytes
    }

    /// Whatever still comes until the program has closed, in whatever way.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("still open"),
            _ => rest,
        }
    }
}

#[test]
fn call_is_passed_on_and_answered() {
    let backend = answering(OK);
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        let fields = [
            ("Connection", "keep-alive, X-Hop, Cookie"),
            ("X-Hop", "1"),
            ("Cookie", "a=b"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Apig-AppCode", "secret"),
            ("X-Request-Id", "mine"),
        ];
        let answer = client.ask(call("DELETE /a/b?c=d%20e HTTP/1.1", &fields));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.field("Server"), Some("api-gateway"));
        assert!(answer.field("Date").is_some(), "{answer:?}");
        assert_eq!(answer.field("Connection"), None);
        let id = answer.request_id().to_owned();

        let line = program.log_line("call", |line| line["id"] == id);
        for (name, value) in [
            ("reason", "answered"),
            ("blame", "nobody"),
            ("method", "DELETE"),
            ("backend", &backend.address.to_string()),
        ] {
            assert_eq!(line[name], value, "{line}");
        }
        assert_eq!(line["status"], 200);
        assert_eq!(line["bytes_from_backend"], 2);
        program.await_metric("ringgate_calls_total{status=\"200\"}", 1.0);
        drop(program);

        let asked = backend.result().remove(0);
        assert!(
            asked.starts_with("DELETE /a/b?c=d%20e HTTP/1.1\r\n"),
            "{asked}"
        );
        let authority = backend.address.to_string();
        for (name, value) in [
            ("Host", Some(authority.as_str())),
            ("X-Forwarded-Host", Some("edge.example")),
            ("X-Forwarded-For", Some("203.0.113.9, 127.0.0.1")),
            ("X-Request-Id", Some(id.as_str())),
            ("Cookie", Some("a=b")),
            ("Connection", None),
            ("X-Hop", None),
            ("Upgrade", None),
            ("TE", None),
            ("X-Apig-AppCode", None),
            ("Content-Length", None),
            ("Transfer-Encoding", None),
        ] {
            assert_eq!(field(&asked, name), value, "{name} in {asked}");
        }
    }
}

#[test]
fn both_connections_are_used_again() {
    let backend = answering(OK);
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let before = backend.connections();
        let mut client = program.connect();
        for _ in 0..3 {
            assert_eq!(client.ask(get("/")).text(), "ok");
        }
        // Another client gets the same one.
        assert_eq!(program.connect().ask(get("/")).text(), "ok");
        assert_eq!(backend.connections(), before + 1);
        program.await_metric("ringgate_idle_backend_connections_reused_total", 3.0);
        program.await_metric("ringgate_idle_backend_connections ", 1.0);
    }
}

#[test]
fn pipelined_calls_are_answered_in_their_order() {
    let backend = Backend::start(|mut peer| {
        while let Ok(head) = read_head(&mut peer.socket) {
            let path = head.split(' ').nth(1).unwrap();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            ));
        }
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        // One of HTTP/1.0 ends the connection, whatever follows it.
        let mut client = program.connect();
        client.send(get("/0") + &call("GET /x HTTP/1.0", &[]) + &get("/1"));
        assert_eq!(client.answer().text(), "/0");
        assert_eq!(client.answer().text(), "/x");
        client.assert_closed();

        let mut client = program.connect();
        client.send((0..50).map(|n| get(&format!("/{n}"))).collect::<String>());
        for n in 0..50 {
            assert_eq!(client.answer().text(), format!("/{n}"));
        }
    }
}

/// Reads a request and what follows it up to `!`, which is the last byte of every body here, and then its framing.
fn recording() -> Backend<(String, Vec<u8>)> {
    Backend::start(|mut peer| {
        let head = peer.request();
        let end: &[u8] = if field(&head, "Transfer-Encoding").is_some() {
            b"\r\n\r\n"
        } else {
            b"!"
        };
        let body = peer.read_to(end);
        peer.send(OK);
        (head, body)
    })
}

#[test]
fn request_bodies_arrive_as_they_were_sent() {
    let backend = recording();
    let long = format!("{}!", "x".repeat(300_000));
    let length = ("Content-Length", long.len().to_string());
    let cases = [
        (("Content-Length", "6".to_owned()), "hello!".to_owned()),
        (length, long.clone()),
        (
            ("Transfer-Encoding", "chunked".to_owned()),
            "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n".to_owned(),
        ),
        (
            ("Transfer-Encoding", "chunked".to_owned()),
            format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
        ),
    ];
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        for ((name, value), body) in &cases {
            for cut in [0, 1, body.len() / 2, body.len() - 1] {
                let mut client = program.connect();
                let (first, rest) = body.split_at(cut);
                client.send(call("POST / HTTP/1.1", &[(name, value)]) + first);
                client.send(rest);
                assert_eq!(client.answer().text(), "ok");
                let (head, arrived) = backend.result();
                assert_eq!(field(&head, name), Some(value.as_str()));
                assert!(arrived == body.as_bytes(), "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn next_call_begins_where_a_body_ends() {
    let backend = Backend::start(|mut peer| {
        let head = peer.request();
        let len = field(&head, "Content-Length").unwrap().parse().unwrap();
        let body = peer.read_bytes(len);
        peer.send(OK);
        let next = peer.request();
        peer.send(OK);
        (body, next)
    });
    let program = program(&backend);
    let mut client = program.connect();
    let post = call("POST /one HTTP/1.1", &[("Content-Length", "5")]);
    client.send(format!("{post}12345{}", get("/two")));
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(client.answer().text(), "ok");
    let (body, next) = backend.result();
    assert_eq!(body, b"12345");
    assert!(next.starts_with("GET /two HTTP/1.1\r\n"), "{next}");
}

/// What follows the head, up to the end of the connection.
fn raw_answer(program: &Ringgate, asked: &str) -> (String, Vec<u8>) {
    let mut client = program.connect();
    client.send(asked);
    let head = read_head(&mut client).unwrap();
    (head, client.rest())
}

#[test]
fn answers_are_framed_for_the_client_that_asks() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let chunks = "3\r\nhel\r\n2;x\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    let old = "HTTP/1.0 200 OK\r\n\r\nhello";
    let own_chunk = "5\r\nhello\r\n0\r\n\r\n";
    let (coded, plain) = (Some("chunked"), None);
    for (answer, version, coding, len, expected) in [
        (length, "1.1", plain, Some("5"), "hello"),
        (length, "1.0", plain, Some("5"), "hello"),
        (&chunked, "1.1", coded, None, chunks),
        (&chunked, "1.0", plain, None, "hello"),
        (until_close, "1.1", coded, None, own_chunk),
        (until_close, "1.0", plain, None, "hello"),
        (old, "1.1", coded, None, own_chunk),
    ] {
        let backend = answering_once(answer);
        for transport in TRANSPORTS {
            let program = Ringgate::proxy(transport, &[backend.address]);
            let line = format!("GET / HTTP/{version}");
            let (head, body) = raw_answer(&program, &call(&line, &[("Connection", "close")]));
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(
                field(&head, "Transfer-Encoding"),
                coding,
                "{answer} {version}"
            );
            assert_eq!(field(&head, "Content-Length"), len, "{answer} {version}");
            assert_eq!(
                String::from_utf8(body).unwrap(),
                expected,
                "{answer} {version}"
            );
        }
    }
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    for (method, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Some("5"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            None,
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
            Some("5"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
    ] {
        let backend = answering(answer);
        let program = program(&backend);
        let mut client = program.connect();
        for _ in 0..2 {
            client.send(call(&format!("{method} / HTTP/1.1"), &[]));
            let head = read_head(&mut client).unwrap();
            assert_eq!(field(&head, "Content-Length"), length, "{method} {answer}");
        }
        assert_eq!(backend.connections(), 1, "{method} {answer}");
    }
}

#[test]
fn connection_of_http_1_0_stays_only_if_asked_and_possible() {
    let fixed = answering(OK);
    let program = program(&fixed);
    let mut client = program.connect();
    for _ in 0..2 {
        let answer = client.ask(call("GET / HTTP/1.0", &[("Connection", "keep-alive")]));
        assert_eq!(answer.field("Connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "ok");
    }
    let answer = client.ask(call("GET / HTTP/1.0", &[]));
    assert_eq!(answer.field("Connection"), Some("close"));
    client.assert_closed();

    let backend = answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let program = Ringgate::proxy(Transport::Plain, &[backend.address]);
    let mut client = program.connect();
    let answer = client.ask(call("GET / HTTP/1.0", &[("Connection", "keep-alive")]));
    assert_eq!(answer.field("Connection"), Some("close"));
}

#[test]
fn cut_answer_never_looks_complete() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nrubbish\r\n",
    ] {
        let backend = answering_once(answer);
        for (transport, version) in [
            (Transport::Plain, "1.1"),
            (Transport::Tls, "1.1"),
            (Transport::Plain, "1.0"),
        ] {
            let program = Ringgate::proxy(transport, &[backend.address]);
            let mut client = program.connect();
            client.send(call(&format!("GET / HTTP/{version}"), &[]));
            // What it got breaks off, unless the fault was seen before anything was sent.
            if let Ok(answer) = Answer::read(&mut client) {
                assert_eq!(answer.status, 502, "{answer:?}");
            }
            let line = program.log_line("call", |_| true);
            assert_ne!(line["reason"], "answered", "{line}");
            assert_eq!(line["blame"], "backend");
        }
    }
}

#[test]
fn answers_that_are_none_are_502s() {
    for answer in [
        "",
        "rubbish\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let backend = answering_once(answer);
        let program = program(&backend);
        let mut client = program.connect();
        let refused = client.ask(get("/"));
        refused.assert_error(502, "APIG.0202", "Backend unavailable");
        // It was not the client's fault: its connection goes on.
        client
            .ask(get("/"))
            .assert_error(502, "APIG.0202", "Backend unavailable");
    }
}

#[test]
fn too_large_a_body_is_a_413() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.rest()
    });
    let settings =
        Settings::hello(backend.address).with("[limits]\nrequest_body_bytes_max = \"100KiB\"");
    let program = Ringgate::run(&settings);
    let fields = [("Host", "127.0.0.1"), ("Content-Length", "102401")];
    let mut client = program.connect();
    let answer = client.ask(request("GET /hello HTTP/1.1", &fields));
    answer.assert_error(413, "APIG.0201", "Request entity too large");
    client.assert_closed();
    assert_eq!(backend.connections(), 0);

    let fields = [("Host", "127.0.0.1"), ("Transfer-Encoding", "chunked")];
    let mut client = program.connect();
    client.send(request("GET /hello HTTP/1.1", &fields));
    let chunk = format!("ffff\r\n{}\r\n", "x".repeat(0xffff));
    client.send(&chunk);
    client.send(chunk.get(..60_000).unwrap());
    let answer = client.answer();
    answer.assert_error(413, "APIG.0201", "Request entity too large");
    drop(client);
    assert!(!backend.result().ends_with(b"0\r\n\r\n"));
    program.await_metric(
        "ringgate_requests_refused_total{reason=\"body_too_large\"}",
        2.0,
    );
}

#[test]
fn broken_body_is_a_400_and_never_completed() {
    let backend = Backend::start(|mut peer| {
        // A fault that is seen at once leaves the backend without even the head.
        read_head(&mut peer.socket).ok();
        peer.rest()
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        for rest in [
            "x\r\n",
            "5\nhello",
            "5 \r\nhello\r\n",
            "3\r\nabcd\r\n",
            "-1\r\n",
            "0\r\nA b: c\r\n\r\n",
        ] {
            let mut client = program.connect();
            client.send(call("POST / HTTP/1.1", &[("Transfer-Encoding", "chunked")]));
            client.send("2\r\nab\r\n");
            client.send(rest);
            client
                .answer()
                .assert_error(400, "APIG.0201", "API request error");
            client.assert_closed();
            let arrived = backend.result();
            assert!(!arrived.ends_with(b"0\r\n\r\n"), "{rest:?}: {arrived:?}");
        }
    }
}

#[test]
fn body_that_stops_coming_is_a_400() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.rest()
    });
    // The backend's own time does not run while the client keeps it waiting.
    let options = ["--idle-timeout", "1s"];
    let program = Ringgate::proxy_with(Transport::Plain, &[backend.address], &options);
    let mut client = program.connect();
    client.send(call("POST / HTTP/1.1", &[("Content-Length", "5")]) + "abc");
    client
        .answer()
        .assert_error(400, "APIG.0201", "API request error");
    client.assert_closed();
    assert_eq!(backend.result(), b"abc");
    program.log_line("call", |line| line["reason"] == "request_body_timeout");
}

#[test]
fn expectation_is_the_backends_to_meet() {
    let expecting = |version: &str| {
        call(
            &format!("POST / HTTP/{version}"),
            &[("Content-Length", "4"), ("Expect", "100-continue")],
        )
    };
    // It is met.
    let backend = Backend::start(|mut peer| {
        let head = peer.request();
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = peer.read_bytes(4);
        peer.send(OK);
        (field(&head, "Expect").map(str::to_owned), body)
    });
    let program = Ringgate::proxy(Transport::Plain, &[backend.address]);
    let mut client = program.connect();
    client.send(expecting("1.1"));
    assert_eq!(
        read_head(&mut client).unwrap(),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("body");
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(
        backend.result(),
        (Some("100-continue".to_owned()), b"body".to_vec())
    );
    // A client that does not wait is served all the same; one of HTTP/1.0 sees no 100.
    client.send(expecting("1.1") + "body");
    let first = read_head(&mut client).unwrap();
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    assert_eq!(client.answer().text(), "ok");
    let mut old = program.connect();
    old.send(expecting("1.0") + "body");
    assert_eq!(old.answer().text(), "ok");

    // It is not: the answer comes at once, and the connection ends, since the body may come or not.
    let backend = answering_once("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    let program = Ringgate::proxy(Transport::Plain, &[backend.address]);
    let mut client = program.connect();
    let answer = client.ask(expecting("1.1"));
    assert_eq!(
        (answer.status, answer.field("Connection")),
        (401, Some("close"))
    );
    client.assert_closed();

    // There is no other.
    let other = call("GET / HTTP/1.1", &[("Expect", "tea")]);
    program
        .connect()
        .ask(other)
        .assert_error(417, "APIG.0201", "API request error");
}

#[test]
fn interim_answers_reach_those_who_understand_them() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        peer.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n",
        );
        peer.send(OK);
    });
    let program = program(&backend);
    let mut client = program.connect();
    client.send(get("/"));
    let hints = read_head(&mut client).unwrap();
    assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    let mut old = program.connect();
    assert_eq!(old.ask(call("GET / HTTP/1.0", &[])).text(), "ok");
}

#[test]
fn early_answer_reaches_a_client_that_still_sends() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
        peer.rest().len()
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.send(call("POST / HTTP/1.1", &[("Content-Length", "1000000")]));
        client.send(vec![b'x'; 10_000]);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
        assert_eq!(answer.field("Connection"), Some("close"));
        drop(client);
        assert!(
            backend.result() < 1_000_000,
            "the request was not completed"
        );
    }
}

/// Sends every chunk back as it comes, through buffers that are far smaller than the whole.
#[test]
fn both_directions_flow_at_once() {
    const PIECE: usize = 50_000;
    const PIECES: u8 = 200;
    let backend = Backend::start(|mut peer| {
        peer.request();
        let total = PIECE * usize::from(PIECES);
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"
        ));
        let mut left = total;
        let mut buf = [0; 10_000];
        while left > 0 {
            let len = peer.socket.read(&mut buf).unwrap();
            assert!(len > 0, "cut");
            peer.send(buf.get(..len).unwrap());
            left -= len;
        }
    });
    let program = program(&backend);
    let client = program.connect();
    let mut sending = client.socket().try_clone().unwrap();
    let length = (PIECE * usize::from(PIECES)).to_string();
    let head = call("POST / HTTP/1.1", &[("Content-Length", &length)]);
    let sender = thread::spawn(move || {
        sending.write_all(head.as_bytes()).unwrap();
        for n in 0..PIECES {
            sending.write_all(&[n; PIECE]).unwrap();
        }
    });
    let mut client = client;
    let answer = client.answer();
    sender.join().unwrap();
    assert_eq!(answer.body.len(), PIECE * usize::from(PIECES));
    for (n, piece) in (0..PIECES).zip(answer.body.chunks(PIECE)) {
        assert!(piece.iter().all(|byte| *byte == n), "piece {n}");
    }
}

#[test]
fn slow_reader_holds_the_backend_up_and_not_our_memory() {
    const TOTAL: usize = 64 << 20;
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"
        ));
        peer.socket.write_all(&vec![b'x'; TOTAL]).unwrap();
    });
    let program = program(&backend);
    let mut client = program.connect();
    client.send(get("/"));
    read_head(&mut client).unwrap();
    let mut left = TOTAL;
    let mut buf = vec![0; 64 << 10];
    let mut most = 0.0_f64;
    while left > 0 {
        let len = client.read(&mut buf).unwrap();
        assert!(len > 0, "cut");
        left -= len;
        if left.is_multiple_of(7) {
            most = most.max(program.metric("ringgate_head_buffer_bytes"));
        }
    }
    assert!(most <= f64::from(1 << 20), "{most} bytes");
    backend.result();
}

#[test]
fn events_flow_at_once_and_without_end() {
    let (go_on, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::start(move |mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while told.lock().unwrap().recv().is_ok() {
            peer.send("data: x\n\n");
        }
    });
    let program = program(&backend);
    let mut client = program.connect();
    client.send(call("GET / HTTP/1.0", &[]));
    read_head(&mut client).unwrap();
    for _ in 0..5 {
        go_on.send(()).unwrap();
        let mut event = [0; 9];
        client.read_exact(&mut event).unwrap();
        assert_eq!(&event, b"data: x\n\n");
    }
}

#[test]
fn stale_connection_is_replaced_where_that_is_safe() {
    // Each connection serves one request; the second is read and not answered.
    let backend = Backend::start(|mut peer| {
        let first = peer.request();
        peer.send(OK);
        let second = read_head(&mut peer.socket).ok();
        (first, second)
    });
    let program = program(&backend);
    let mut client = program.connect();
    assert_eq!(client.ask(get("/1")).status, 200);
    assert_eq!(client.ask(get("/2")).status, 200);
    assert_eq!(backend.connections(), 2);
    // The second connection is stale by the time of this one, which may not be sent twice.
    let post = call("POST /3 HTTP/1.1", &[("Content-Length", "0")]);
    let answer = client.ask(post);
    answer.assert_error(502, "APIG.0202", "Backend unavailable");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn connection_that_its_backend_closed_is_not_used() {
    let backend = answering_once(OK);
    let program = program(&backend);
    let mut client = program.connect();
    for n in 1..4 {
        // Even what may not be repeated gets through: the close is seen before anything is sent.
        let post = call("POST / HTTP/1.1", &[("Content-Length", "0")]);
        assert_eq!(client.ask(post).status, 200);
        backend.result();
        assert_eq!(backend.connections(), n);
    }
}

#[test]
fn connection_is_not_kept_where_its_state_is_in_doubt() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ] {
        let backend = answering(answer);
        let program = program(&backend);
        let mut client = program.connect();
        for _ in 0..2 {
            assert_eq!(client.ask(get("/")).text(), "ok", "{answer}");
        }
        assert_eq!(backend.connections(), 2, "{answer}");
    }
}

#[test]
fn idle_connections_are_closed_in_the_end() {
    let backend = answering_once(OK);
    let program = program(&backend);
    assert_eq!(program.connect().ask(get("/")).status, 200);
    backend.result();
    // Nobody uses it again, and its descriptor does not stay.
    program.await_metric("ringgate_idle_backend_connections ", 0.0);
}

#[test]
fn next_member_is_asked_as_often_as_the_method_allows() {
    let backend = answering(OK);
    let members = [refusing(), backend.address];
    let program = Ringgate::proxy(Transport::Plain, &members);
    let mut client = program.connect();
    for _ in 0..4 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    let post = call("POST / HTTP/1.1", &[("Content-Length", "2")]) + "ok";
    let mut statuses: Vec<_> = (0..2).map(|_| client.ask(&post).status).collect();
    statuses.sort_unstable();
    // `POST` is never retried: every other one meets the member that refuses.
    assert_eq!(statuses, [200, 502]);
}

#[test]
fn client_that_leaves_takes_the_backends_connection_along() {
    let (reached, asked) = channel();
    let backend = Backend::start(move |mut peer| {
        let head = peer.request();
        if head.starts_with("GET /streaming") {
            peer.send("HTTP/1.1 200 OK\r\n\r\nsome");
        }
        reached.send(()).unwrap();
        peer.is_closed()
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        for path in ["/waiting", "/streaming"] {
            let mut client = program.connect();
            client.send(get(path));
            asked.recv().unwrap();
            if path == "/streaming" {
                read_head(&mut client).unwrap();
            }
            client.reset();
            assert!(backend.result(), "{path}");
            program.log_line("call", |line| line["reason"] == "client_gone");
        }
    }
}

#[test]
fn truncated_request_is_never_completed() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.rest()
    });
    let program = program(&backend);
    for (coding, sent) in [
        (("Content-Length", "10"), "hello"),
        (("Transfer-Encoding", "chunked"), "5\r\nhello\r\n"),
    ] {
        let mut client = program.connect();
        client.send(call("POST / HTTP/1.1", &[coding]) + sent);
        client.socket().shutdown(Shutdown::Write).unwrap();
        assert_eq!(backend.result(), sent.as_bytes());
    }
}

#[test]
fn silent_backend_is_a_504() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.is_closed()
    });
    let options = ["--idle-timeout", "300ms"];
    for transport in TRANSPORTS {
        let program = Ringgate::proxy_with(transport, &[backend.address], &options);
        let mut client = program.connect();
        client
            .ask(get("/"))
            .assert_error(504, "APIG.0203", "Backend timeout");
        assert!(backend.result());
        // The client's connection goes on.
        client
            .ask(get("/"))
            .assert_error(504, "APIG.0203", "Backend timeout");
        assert!(backend.result());
    }
}

#[test]
fn backend_that_stops_within_its_answer_is_given_up() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        peer.is_closed()
    });
    let options = ["--idle-timeout", "300ms"];
    let program = Ringgate::proxy_with(Transport::Plain, &[backend.address], &options);
    let mut client = program.connect();
    client.send(get("/"));
    assert!(Answer::read(&mut client).is_err());
    assert!(backend.result());
    let line = program.log_line("call", |_| true);
    assert_eq!(line["reason"], "answer_body_timeout");
}

#[test]
fn debugging_client_is_told_how_long_things_took() {
    let backend = answering(
        "HTTP/1.1 200 OK\r\nX-Apig-Latency: 99999\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n",
    );
    let program = program(&backend);
    let mut client = program.connect();
    let answer = client.ask(get("/"));
    assert_eq!(answer.field("X-Apig-Latency"), None);
    answer.request_id();
    let answer = client.ask(call("GET / HTTP/1.1", &[("X-Apig-Mode", "debug")]));
    for name in ["X-Apig-Latency", "X-Apig-Upstream-Latency"] {
        let took: u32 = answer.field(name).unwrap().parse().unwrap();
        assert!(took < 60_000, "{name}: {took}");
    }
    let settings = Settings::hello(backend.address);
    let program = Ringgate::run(&settings);
    let lost = call("GET /lost HTTP/1.1", &[("X-Apig-Mode", "debug")]);
    let answer = program.connect().ask(lost);
    assert_eq!(answer.status, 404);
    assert!(answer.field("X-Apig-Latency").is_some());
    assert_eq!(answer.field("X-Apig-Upstream-Latency"), None);
}

#[test]
fn refused_call_leaves_the_connection_to_the_next() {
    let backend = answering(OK);
    let program = Ringgate::run(&Settings::hello(backend.address));
    let host = ("Host", "127.0.0.1");
    let mut client = program.connect();
    // Its small body is there already, and is passed over.
    let lost = request("POST /lost HTTP/1.1", &[host, ("Content-Length", "4")]) + "body";
    assert_eq!(client.ask(lost).status, 404);
    assert_eq!(
        client.ask(request("GET /hello HTTP/1.1", &[host])).status,
        200
    );
    let head = request("HEAD /lost HTTP/1.1", &[host]);
    client.send(head);
    let head = read_head(&mut client).unwrap();
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert_eq!(
        client.ask(request("GET /hello HTTP/1.1", &[host])).status,
        200
    );
    // A body that is not there would have to be waited for.
    let lost = request("POST /lost HTTP/1.1", &[host, ("Content-Length", "4")]);
    let answer = client.ask(lost);
    assert_eq!(
        (answer.status, answer.field("Connection")),
        (404, Some("close"))
    );
    client.assert_closed();
}

/// The definition says `GET`, whatever the client's method is called.
#[test]
fn backend_is_asked_with_the_method_of_its_definition() {
    let mut settings = Settings::hello(refusing());
    let backend = answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for route in &mut settings.routes {
        route.backend = backend.address.to_string();
        route.backend_method = "HEAD";
    }
    let program = Ringgate::run(&settings);
    let mut client = program.connect();
    for _ in 0..2 {
        let answer = client.ask(request("GET /hello?a=b HTTP/1.1", &[("Host", "127.0.0.1")]));
        // A client that asked with GET must not wait for what an answer to HEAD only describes.
        assert_eq!(
            (answer.status, answer.field("Content-Length")),
            (200, Some("0"))
        );
    }
    drop(program);
    let asked = backend.result();
    assert!(
        asked
            .iter()
            .all(|head| head.starts_with("HEAD /?a=b HTTP/1.1\r\n")),
        "{asked:?}"
    );
}

#[test]
fn calls_in_progress_are_finished_before_the_end() {
    let (reached, asked) = channel();
    let (go_on, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::start(move |mut peer| {
        peer.request();
        reached.send(()).unwrap();
        told.lock().unwrap().recv().unwrap();
        peer.send(OK);
    });
    let mut program = program(&backend);
    let mut client = program.connect();
    client.send(get("/"));
    asked.recv().unwrap();
    program.signal("TERM");
    // The listener is closed when it refuses.
    crate::support::eventually("nobody is let in", || {
        std::net::TcpStream::connect(program.address()).is_err()
    });
    go_on.send(()).unwrap();
    let answer = client.answer();
    assert_eq!(
        (answer.text().as_str(), answer.field("Connection")),
        ("ok", Some("close"))
    );
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn endless_answer_ends_with_the_drain() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nsome");
        peer.is_closed()
    });
    let settings = Settings::hello(backend.address).with("[drain]\nlimit = \"300ms\"");
    let mut program = Ringgate::run(&settings);
    let mut client: Client = program.connect();
    client.send(request("GET /hello HTTP/1.1", &[("Host", "127.0.0.1")]));
    read_head(&mut client).unwrap();
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    assert!(backend.result());
    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
}

#[test]
fn one_path_leads_to_the_path_of_the_backend() {
    let backend = answering(OK);
    for (url, expected) in [
        (
            format!("ws://{}", backend.address),
            "GET /?a=b HTTP/1.1\r\n",
        ),
        (
            format!("ws://{}/deep/er", backend.address),
            "GET /deep/er?a=b HTTP/1.1\r\n",
        ),
    ] {
        let options = ["--path", "/hello", "--backend", url.as_str()];
        let program = Ringgate::proxy_with(Transport::Plain, &[], &options);
        let mut client = program.connect();
        assert_eq!(client.ask(get("/hello?a=b")).status, 200);
        assert_eq!(client.ask(get("/other")).status, 404);
        drop(program);
        let asked = backend.result().remove(0);
        assert!(asked.starts_with(expected), "{asked}");
    }
}

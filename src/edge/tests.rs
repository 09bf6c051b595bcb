//! The pure parts, over bytes: the heads that go to backends and clients.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use monoio::time::Instant;
use proptest::prelude::*;

use super::answer::{Framing, Latency, Persistence, Reply, ordinary_head, switching_head};
use super::forward::{Forwarded, Purpose, request_head};
use super::request::Request;
use super::{Began, Origin, Peer};
use crate::catalog::{Backend, Cors, Destination, Member, Mock, Outgoing};
use crate::close::CloseReason;
use crate::config::{ForwardedFor, Forwarding, HostSent, Scheme};
use crate::observe::request_id::RequestId;
use crate::proto::head::{HeadLimits, ResponseHead, Version, parse_request, parse_response};

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 32 << 10,
    field_bytes_max: 32 << 10,
    fields_bytes_max: 128 << 10,
};
const ID: RequestId = RequestId([0xab; 16]);
const ID_TEXT: &str = "abababababababababababababababab";
const ID_FIELD: &str = "X-Request-Id: abababababababababababababababab\r\n";

const RULES: Forwarding = Forwarding {
    forwarded_for: ForwardedFor::Append,
    host: HostSent::Backend,
    strip_gateway_fields: true,
};

fn peer(scheme: Scheme) -> Peer {
    Peer {
        client: SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 50_000),
        inbound: SocketAddr::new(IpAddr::from([198, 51, 100, 1]), 443),
        scheme,
        origin: Origin::Kernel,
    }
}

fn heard(text: &str) -> Request {
    let head = parse_request(text.as_bytes(), &LIMITS).unwrap().unwrap();
    let facts = head.check(text.as_bytes()).unwrap();
    let began = Began {
        id: ID,
        at: Instant::now(),
    };
    let client = IpAddr::from([192, 0, 2, 1]);
    Request {
        began,
        head,
        facts,
        client,
    }
}

/// What a test says of a request's way, the rest being usual.
struct Way<'a> {
    method: &'a [u8],
    purpose: Purpose,
    rules: Forwarding,
    target: &'a str,
    set: &'a [(&'a str, &'a str)],
    removed: &'a [&'a str],
}

const UPGRADE: Way<'_> = Way {
    method: b"GET",
    purpose: Purpose::Upgrade,
    rules: RULES,
    target: "/?a=1",
    set: &[],
    removed: &[],
};

const CALL: Way<'_> = Way {
    purpose: Purpose::Call,
    ..UPGRADE
};

impl Way<'_> {
    fn try_head(&self, text: &str) -> Result<String, CloseReason> {
        let backend = Backend {
            mapping: Default::default(),
            destination: Destination::Mock(Mock {
                status: 200,
                headers: Vec::new(),
                body: String::new(),
            }),
        };
        let set = self.set.iter();
        let outgoing = Outgoing {
            backend: &backend,
            target: self.target.as_bytes().to_vec(),
            set: set
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            removed: self.removed.iter().map(|name| (*name).to_owned()).collect(),
        };
        let forwarded = Forwarded {
            request: &heard(text),
            buf: text.as_bytes(),
            peer: &peer(Scheme::Https),
            rules: self.rules,
            outgoing: &outgoing,
            method: self.method,
            purpose: self.purpose,
        };
        let head = request_head(&forwarded, &Member::new(Scheme::Http, "10.0.0.7", 9000))?;
        Ok(String::from_utf8(head).unwrap())
    }

    fn head(&self, text: &str) -> String {
        self.try_head(text).unwrap()
    }
}

fn forward(text: &str) -> String {
    UPGRADE.head(text)
}

/// A request with `fields` between those of a plain handshake.
fn handshake(fields: &str) -> String {
    format!(
        "GET /hello?a=1 HTTP/1.1\r\nHost: edge.example\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

#[test]
fn a_handshake_is_rewritten_for_its_backend() {
    let text = handshake("Connection: keep-alive, Upgrade\r\nCookie: a=b\r\nX-Own: 1\r\n");
    let expected = format!(
        "GET /?a=1 HTTP/1.1\r\n\
         Host: 10.0.0.7:9000\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: a=b\r\n\
         X-Own: 1\r\n\
         X-Forwarded-For: 192.0.2.1\r\n\
         X-Real-IP: 192.0.2.1\r\n\
         X-Forwarded-Proto: https\r\n\
         X-Forwarded-Port: 443\r\n\
         X-Forwarded-Host: edge.example\r\n\
         {ID_FIELD}\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         \r\n"
    );
    assert_eq!(forward(&text), expected);
}

#[test]
fn what_a_client_claims_about_itself_is_replaced() {
    let head = forward(&handshake(
        "Connection: Upgrade\r\nX-Request-Id: mine\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: gopher\r\n\
         X-Forwarded-Host: bank\r\nX-Forwarded-Port: 1\r\nX-Stage: TEST\r\nX-Apig-AppCode: secret\r\n\
         X-Forwarded-For: 203.0.113.9\r\nx-forwarded-for: 203.0.113.10\r\nContent-Length: 0\r\n",
    ));
    for absent in [
        "mine",
        "1.1.1.1",
        "gopher",
        "bank",
        "Port: 1\r\n",
        "TEST",
        "secret",
        "Content-Length",
    ] {
        assert!(!head.contains(absent), "{absent}");
    }
    let appended = "X-Forwarded-For: 203.0.113.9, 203.0.113.10, 192.0.2.1\r\n";
    assert!(head.contains(appended), "{head}");
    assert_eq!(head.matches(ID_TEXT).count(), 1);
}

#[test]
fn hop_by_hop_fields_end_here() {
    let head = forward(&handshake(
        "Connection: Upgrade, X-Secret-Hop\r\nX-Secret-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
         Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nTrailer: X-T\r\n",
    ));
    for absent in ["Secret-Hop", "Keep-Alive", "TE:", "Proxy-", "Trailer"] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    assert_eq!(head.matches("Connection:").count(), 1);
    assert_eq!(head.matches("Upgrade:").count(), 1);
}

#[test]
fn a_connection_field_without_end_is_refused() {
    let names: Vec<_> = (0..1000).map(|n| format!("x-{n}")).collect();
    let text = handshake(&format!("Connection: Upgrade, {}\r\n", names.join(",")));
    assert!(UPGRADE.try_head(&text).is_err());
    assert!(CALL.try_head(&text).is_err());
}

/// Fields that decide about access or make the handshake one, in some spelling.
fn protected() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "Authorization",
        "Cookie",
        "Origin",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    ]);
    (names, any::<u32>()).prop_map(|(name, seed)| {
        let spell = |(at, c): (usize, char)| match seed >> (at % 32) & 1 {
            0 => c.to_ascii_lowercase(),
            _ => c.to_ascii_uppercase(),
        };
        name.chars().enumerate().map(spell).collect()
    })
}

proptest! {
    #[test]
    fn connection_never_removes_a_protected_field(
        named in prop::collection::vec(protected(), 1..6),
        sent in protected(),
    ) {
        let fields = format!("Connection: Upgrade, {}\r\n{sent}: canary\r\n", named.join(" , "));
        let head = forward(&handshake(&fields));
        let field = format!("\r\n{sent}: canary\r\n");
        prop_assert!(head.contains(&field));
        let forwarded_for = head.contains("\r\nX-Forwarded-For: 192.0.2.1\r\n");
        prop_assert!(forwarded_for);
    }

    /// Whatever fields a client sends, what the backend reads is one head with one of each of ours.
    #[test]
    fn what_is_forwarded_is_one_head(
        fields in prop::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,20}", "[ -~]{0,40}"), 0..20),
    ) {
        let text: String = fields
            .iter()
            .filter(|(name, _)| {
                let name = name.to_ascii_lowercase();
                !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "connection")
            })
            .map(|(name, value)| format!("{name}: {}\r\n", value.trim()))
            .collect();
        let head = forward(&handshake(&format!("Connection: Upgrade\r\n{text}")));
        let parsed = parse_request(head.as_bytes(), &LIMITS).unwrap().unwrap();
        prop_assert_eq!(parsed.len, head.len());
        for name in ["host", "connection", "upgrade", "x-request-id", "x-real-ip", "x-forwarded-for"] {
            prop_assert_eq!(parsed.values(head.as_bytes(), name).count(), 1, "{}", name);
        }
    }
}

fn answered(text: &str) -> ResponseHead {
    parse_response(text.as_bytes(), &LIMITS).unwrap().unwrap()
}

#[test]
fn a_101_keeps_the_backends_fields_and_names_the_request() {
    let text = "HTTP/1.1 101 Whatever\r\nServer: own\r\nUpgrade: WebSocket\r\nConnection: upgrade, X-Hop\r\n\
                X-Hop: 1\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Request-Id: theirs\r\n\
                X-Apig-Latency: 1\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n";
    let out = switching_head(&answered(text), text.as_bytes(), &reply(Version::Http11)).unwrap();
    let expected = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Server: own\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Set-Cookie: a=b\r\n\
         {ID_FIELD}\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         \r\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

fn reply(version: Version) -> Reply {
    Reply {
        id: ID,
        version,
        is_head: false,
        cors: None,
        latency: None,
        date: UNIX_EPOCH,
    }
}

/// The head that the client gets, without its status line and the fields that every one has.
fn ordinary(text: &str, reply: &Reply, persistence: Persistence) -> String {
    let head = answered(text);
    let length = head.body(text.as_bytes(), false).unwrap();
    let framing = Framing::new(head.status, length, reply);
    let out = ordinary_head(&head, text.as_bytes(), reply, framing, persistence).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_ordinary_answer_keeps_what_is_end_to_end() {
    let text = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\
                Keep-Alive: timeout=5\r\nContent-Type: text/plain\r\nX-Apig-Latency: 7\r\n\r\n";
    let expected = format!(
        "HTTP/1.1 403 Forbidden\r\n\
         Content-Type: text/plain\r\n\
         Server: api-gateway\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         {ID_FIELD}\
         Transfer-Encoding: chunked\r\n\
         Connection: close\r\n\
         \r\n"
    );
    assert_eq!(
        ordinary(text, &reply(Version::Http11), Persistence::Close),
        expected
    );
}

#[test]
fn one_field_at_most_says_where_an_answer_ends() {
    let (new, old) = (reply(Version::Http11), reply(Version::Http10));
    let asked_with_head = Reply {
        is_head: true,
        ..new
    };
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, sent, reply, expected) in [
        (200, length, new, length),
        (200, length, old, length),
        (200, chunked, new, chunked),
        (200, chunked, old, ""),
        (200, "", new, chunked),
        (200, "", old, ""),
        (200, length, asked_with_head, length),
        (200, chunked, asked_with_head, ""),
        (304, length, new, length),
        (204, length, new, ""),
    ] {
        let text = format!("HTTP/1.1 {status} X\r\n{sent}\r\n");
        let head = ordinary(&text, &reply, Persistence::KeepAlive);
        let framing: String = head
            .split_inclusive("\r\n")
            .filter(|line| line.starts_with("Content-Length") || line.starts_with("Transfer-"))
            .collect();
        assert_eq!(framing, expected, "{status} {sent} {reply:?}");
    }
}

#[test]
fn a_debugging_client_is_told_how_long_things_took() {
    let debugging = Reply {
        latency: Some(Latency {
            total: Duration::from_millis(12),
            upstream: Some(Duration::from_micros(7_900)),
        }),
        ..reply(Version::Http11)
    };
    let text = "HTTP/1.1 204 X\r\n\r\n";
    let head = ordinary(text, &debugging, Persistence::KeepAlive);
    let fields = "X-Apig-Latency: 12\r\nX-Apig-Upstream-Latency: 7\r\n";
    assert!(head.contains(fields), "{head}");
}

#[test]
fn a_backend_that_speaks_of_other_origins_speaks_alone() {
    let cors = Reply {
        cors: Some(Cors::Simple),
        ..reply(Version::Http11)
    };
    for (sent, expected) in [
        ("", "Access-Control-Allow-Origin: *\r\n"),
        (
            "Access-Control-Allow-Origin: https://a.example\r\n",
            "Access-Control-Allow-Origin: https://a.example\r\n",
        ),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{sent}Content-Length: 0\r\n\r\n");
        let head = ordinary(&text, &cors, Persistence::KeepAlive);
        assert!(head.contains(expected), "{head}");
        assert_eq!(head.matches("Access-Control").count(), 1, "{head}");
    }
}

fn call(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: edge.example\r\n{fields}\r\n")
}

#[test]
fn a_calls_body_is_announced_once_and_by_us() {
    let post = Way {
        method: b"POST",
        ..CALL
    };
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (way, fields, expected) in [
        (&CALL, "", ""),
        (&post, "", "Content-Length: 0\r\n"),
        (&post, "content-length: 5\r\n", length),
        (&CALL, "CONTENT-LENGTH: 05\r\n", length),
        (&post, "transfer-encoding: CHUNKED\r\n", chunked),
    ] {
        let head = way.head(&call("POST /", fields));
        let end = format!("{ID_FIELD}{expected}\r\n");
        assert!(head.ends_with(&end), "{fields}: {head}");
        for name in ["content-length", "transfer-encoding"] {
            let count = head.to_lowercase().matches(name).count();
            assert_eq!(
                count,
                expected.to_lowercase().matches(name).count(),
                "{head}"
            );
        }
        assert!(!head.contains("Connection"), "{head}");
    }
}

#[test]
fn no_parameter_frames_or_breaks_a_request() {
    let set = [
        ("Content-Length", "9"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("X-Kept", "1"),
    ];
    let way = Way { set: &set, ..CALL };
    let head = way.head(&call("GET /", ""));
    for absent in ["Content-Length", "encoding", "Connection", "Upgrade"] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    assert!(head.contains("\r\nX-Kept: 1\r\n"), "{head}");
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\0b"] {
        let set = [("X-A", value)];
        let way = Way { set: &set, ..CALL };
        let outcome = way.try_head(&call("GET /", ""));
        assert_eq!(outcome, Err(CloseReason::BadParameter), "{value:?}");
    }
    for target in ["/a b", "/a\r\nX: 1", "/\0", ""] {
        let outcome = Way { target, ..CALL }.try_head(&call("GET /", ""));
        assert_eq!(outcome, Err(CloseReason::BadParameter), "{target:?}");
    }
}

#[test]
fn parameters_take_the_place_of_the_clients_fields() {
    let way = Way {
        set: &[
            ("X-Own", "new"),
            ("host", "other.example"),
            ("X-Real-IP", "10.1.1.1"),
        ],
        removed: &["X-Gone"],
        ..CALL
    };
    let head = way.head(&call("GET /", "X-Own: old\r\nx-gone: 1\r\nX-Stays: 1\r\n"));
    assert!(head.contains("\r\nHost: other.example\r\n"), "{head}");
    assert!(head.contains("\r\nX-Own: new\r\n"), "{head}");
    assert!(head.contains("\r\nX-Stays: 1\r\n"), "{head}");
    assert_eq!(head.matches("X-Real-IP").count(), 1, "{head}");
    assert!(!head.contains("old") && !head.contains("gone"), "{head}");
}

#[test]
fn settings_decide_about_host_and_forwarded_for() {
    let way = Way {
        rules: Forwarding {
            forwarded_for: ForwardedFor::Replace,
            host: HostSent::Client,
            strip_gateway_fields: false,
        },
        ..CALL
    };
    let head = way.head(&call(
        "GET /",
        "X-Forwarded-For: 203.0.113.9\r\nX-Stage: TEST\r\nX-Apig-AppCode: a\r\n",
    ));
    assert!(head.contains("\r\nHost: edge.example\r\n"), "{head}");
    assert!(
        head.contains("\r\nX-Forwarded-For: 192.0.2.1\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nX-Stage: TEST\r\n"), "{head}");
    assert!(head.contains("\r\nX-Apig-AppCode: a\r\n"), "{head}");
    assert!(!head.contains("X-Forwarded-Host"), "{head}");
}

#[test]
fn an_expectation_is_passed_on_where_there_is_a_body_to_wait_with() {
    let expect = "Expect: 100-Continue\r\n";
    let with_body = call("POST /", &format!("{expect}Content-Length: 5\r\n"));
    assert!(
        CALL.head(&with_body)
            .contains("\r\nExpect: 100-continue\r\n")
    );
    let old = with_body.replace("HTTP/1.1", "HTTP/1.0");
    for text in [call("GET /", expect), old] {
        assert!(!CALL.head(&text).contains("Expect"), "{text}");
    }
}

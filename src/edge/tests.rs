//! The pure parts, over bytes: the heads that go to backends and clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use monoio::time::Instant;
use proptest::prelude::*;

use super::answer::{ordinary_head, switching_head};
use super::forward::request_head;
use super::request::Request;
use super::{Began, Peer};
use crate::catalog::{BackendPath, HttpBackend, Member, Method};
use crate::close::CloseReason;
use crate::config::Scheme;
use crate::observe::request_id::RequestId;
use crate::proto::body::BodyLength;
use crate::proto::head::{HeadLimits, ResponseHead, parse_request, parse_response};
use crate::relay::policy::TunnelPolicy;

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 32 << 10,
    field_bytes_max: 32 << 10,
    fields_bytes_max: 128 << 10,
};
const ID: RequestId = RequestId([0xab; 16]);
const ID_TEXT: &str = "abababababababababababababababab";
const ID_FIELD: &str = "X-Request-Id: abababababababababababababababab\r\n";

fn backend(path: BackendPath) -> HttpBackend {
    let policy = TunnelPolicy {
        api: "API01".to_owned(),
        group: "DEFAULT".to_owned(),
        environment: "RELEASE".to_owned(),
        idle_timeout: Duration::from_secs(60),
        idle_end: Default::default(),
        frames: Default::default(),
        message_bytes_max: 0,
    };
    HttpBackend {
        members: vec![Member::new(Scheme::Http, "10.0.0.7", 9000)],
        method: Method::Get,
        path,
        timeout: Duration::from_secs(60),
        retry_count: -1,
        policy: Arc::new(policy),
    }
}

fn peer(scheme: Scheme) -> Peer {
    Peer {
        client: SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 50_000),
        inbound: SocketAddr::new(IpAddr::from([198, 51, 100, 1]), 443),
        scheme,
    }
}

fn heard(text: &str) -> Request {
    let head = parse_request(text.as_bytes(), &LIMITS).unwrap().unwrap();
    let facts = head.check(text.as_bytes()).unwrap();
    let began = Began {
        id: ID,
        at: Instant::now(),
    };
    Request { began, head, facts }
}

fn try_forward(text: &str, path: BackendPath) -> Result<String, CloseReason> {
    let backend = backend(path);
    let member = backend.members.first().unwrap();
    let request = heard(text);
    let peer = peer(Scheme::Https);
    let head = request_head(&request, text.as_bytes(), &peer, &backend, member)?;
    Ok(String::from_utf8(head).unwrap())
}

fn forward(text: &str) -> String {
    try_forward(text, BackendPath::Fixed("/".to_owned())).unwrap()
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
fn a_proxied_path_is_the_clients_own() {
    let text = handshake("Connection: Upgrade\r\n");
    let head = try_forward(&text, BackendPath::Same).unwrap();
    assert!(head.starts_with("GET /hello?a=1 HTTP/1.1\r\n"));
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
    assert!(try_forward(&text, BackendPath::Same).is_err());
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
    let out = switching_head(&answered(text), text.as_bytes(), ID).unwrap();
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

#[test]
fn another_answer_keeps_its_framing_and_closes() {
    let text = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\
                Keep-Alive: timeout=5\r\nContent-Type: text/plain\r\n\r\n";
    let head = answered(text);
    let length = head.body(text.as_bytes(), false).unwrap();
    assert_eq!(length, BodyLength::Chunked);
    let out = ordinary_head(&head, text.as_bytes(), ID, length).unwrap();
    let expected = format!(
        "HTTP/1.1 403 Forbidden\r\n\
         Content-Type: text/plain\r\n\
         Server: api-gateway\r\n\
         {ID_FIELD}\
         Transfer-Encoding: chunked\r\n\
         Connection: close\r\n\
         \r\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

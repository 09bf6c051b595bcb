//! The lines as JSON: one object a line, with an `event` that says what it is about.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::facts::{
    ApiNames, Asked, Caller, RequestEnd, RequestKind, SoFar, TunnelFacts, TunnelRequest, Upstream,
};
use super::texts::Texts;
use crate::close::{CloseReason, Side};
use crate::config::Scheme;
use crate::observe::request_id::RequestId;
use crate::observe::utc::Utc;

#[derive(Serialize)]
pub(super) struct TunnelOpen<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
    #[serde(flatten)]
    request: Option<RequestFields>,
    #[serde(flatten)]
    upstream: Option<UpstreamFields>,
}

impl<'a> TunnelOpen<'a> {
    pub(super) fn new(facts: &'a TunnelFacts, texts: &Texts) -> Self {
        let request = facts.request.as_deref();
        Self {
            time: Utc(facts.opened_at),
            event: "tunnel_open",
            tunnel: TunnelFields::new(facts),
            request: request.map(|TunnelRequest { asked, caller, .. }| {
                RequestFields::new(&asked.asked(), caller, texts)
            }),
            upstream: request.map(|request| UpstreamFields::new(&request.upstream)),
        }
    }
}

#[derive(Serialize)]
pub(super) struct TunnelProgress<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
    #[serde(flatten)]
    so_far: SoFarFields,
}

impl<'a> TunnelProgress<'a> {
    pub(super) fn new(facts: &'a TunnelFacts, so_far: &SoFar) -> Self {
        Self {
            time: at(facts, so_far),
            event: "tunnel_progress",
            tunnel: TunnelFields::new(facts),
            so_far: SoFarFields::new(so_far),
        }
    }
}

#[derive(Serialize)]
pub(super) struct TunnelClose<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
    #[serde(flatten)]
    why: Why,
    #[serde(flatten)]
    so_far: SoFarFields,
}

impl<'a> TunnelClose<'a> {
    pub(super) fn new(facts: &'a TunnelFacts, reason: CloseReason, so_far: &SoFar) -> Self {
        Self {
            time: at(facts, so_far),
            event: "tunnel_close",
            tunnel: TunnelFields::new(facts),
            why: Why::new(reason),
            so_far: SoFarFields::new(so_far),
        }
    }
}

/// The wall clock may have been set since; the duration was measured on one that is not.
fn at(facts: &TunnelFacts, so_far: &SoFar) -> Utc {
    Utc(facts.opened_at + so_far.duration)
}

/// A call, or a refusal.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    time: Utc,
    event: &'static str,
    id: RequestId,
    api: Option<&'a str>,
    group: Option<&'a str>,
    environment: Option<&'a str>,
    scheme: &'static str,
    client: SocketAddr,
    backend: Option<SocketAddr>,
    status: Option<u16>,
    #[serde(flatten)]
    why: Why,
    duration_ms: Millis,
    bytes_from_client: u64,
    bytes_from_backend: u64,
    bytes_sent: u64,
    #[serde(flatten)]
    request: Option<RequestFields>,
    #[serde(flatten)]
    upstream: UpstreamFields,
}

impl<'a> Request<'a> {
    pub(super) fn new(end: &'a RequestEnd<'a>, texts: &Texts) -> Self {
        let (event, scheme) = match (end.kind, end.scheme) {
            (RequestKind::Call, Scheme::Http) => ("call", "http"),
            (RequestKind::Call, Scheme::Https) => ("call", "https"),
            (RequestKind::Refusal, scheme) => ("refused", websocket(scheme)),
        };
        let name = |of: fn(&ApiNames<'a>) -> &'a str| end.api.as_ref().map(of);
        Self {
            time: Utc(end.at),
            event,
            id: end.id,
            api: name(|names| names.api),
            group: name(|names| names.group),
            environment: name(|names| names.environment),
            scheme,
            client: end.client,
            backend: end.upstream.address,
            status: end.status,
            why: Why::new(end.reason),
            duration_ms: Millis(end.duration),
            bytes_from_client: end.bytes.body_received,
            bytes_from_backend: end.bytes.body_from_backend,
            bytes_sent: end.bytes.head_sent + end.bytes.body_sent,
            request: end
                .asked
                .as_ref()
                .map(|asked| RequestFields::new(asked, &end.caller, texts)),
            upstream: UpstreamFields::new(&end.upstream),
        }
    }
}

#[derive(Serialize)]
struct TunnelFields<'a> {
    id: RequestId,
    api: &'a str,
    group: &'a str,
    environment: &'a str,
    scheme: &'static str,
    client: SocketAddr,
    backend: SocketAddr,
    status: u16,
    handshake_ms: Millis,
}

impl<'a> TunnelFields<'a> {
    fn new(facts: &'a TunnelFacts) -> Self {
        let ApiNames {
            api,
            group,
            environment,
        } = facts.names();
        Self {
            id: facts.id,
            api,
            group,
            environment,
            scheme: websocket(facts.scheme),
            client: facts.client,
            backend: facts.backend,
            status: 101,
            handshake_ms: Millis(facts.handshake),
        }
    }
}

#[derive(Serialize)]
struct Why {
    reason: &'static str,
    detail: String,
    blame: &'static str,
}

impl Why {
    fn new(reason: CloseReason) -> Self {
        Self {
            reason: reason.label(),
            detail: format!("{reason:?}"),
            blame: reason.blame().label(),
        }
    }
}

#[derive(Serialize)]
struct SoFarFields {
    duration_ms: Millis,
    bytes_from_client: u64,
    bytes_from_backend: u64,
    messages_from_client: u64,
    messages_from_backend: u64,
    close_code_client: Option<u16>,
    close_code_backend: Option<u16>,
    closed_by: Option<&'static str>,
}

impl SoFarFields {
    fn new(so_far: &SoFar) -> Self {
        let SoFar {
            duration,
            from_client,
            from_backend,
            closed_by,
        } = so_far;
        Self {
            duration_ms: Millis(*duration),
            bytes_from_client: from_client.bytes,
            bytes_from_backend: from_backend.bytes,
            messages_from_client: from_client.messages,
            messages_from_backend: from_backend.messages,
            close_code_client: from_client.close_code,
            close_code_backend: from_backend.close_code,
            closed_by: closed_by.map(Side::label),
        }
    }
}

#[derive(Serialize)]
struct RequestFields {
    client_ip: IpAddr,
    method: String,
    host: String,
    target: String,
    protocol: &'static str,
    user_agent: Option<String>,
    forwarded_for: Option<String>,
}

impl RequestFields {
    fn new(asked: &Asked<'_>, caller: &Caller, texts: &Texts) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let present = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(texts.plain(bytes)));
        Self {
            client_ip: caller.ip,
            method: text(texts.plain(asked.method)),
            host: text(texts.plain(asked.host)),
            target: text(texts.target(asked.path, asked.query)),
            protocol: asked.protocol,
            user_agent: present(asked.user_agent),
            forwarded_for: present(&asked.forwarded_for),
        }
    }
}

#[derive(Serialize)]
struct UpstreamFields {
    connect_ms: Option<Millis>,
    answer_ms: Option<Millis>,
}

impl UpstreamFields {
    fn new(upstream: &Upstream) -> Self {
        Self {
            connect_ms: upstream.connect.map(Millis),
            answer_ms: upstream.header.map(Millis),
        }
    }
}

fn websocket(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "ws",
        Scheme::Https => "wss",
    }
}

/// Milliseconds with three decimals.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.as_secs_f64() * 1e6).round() / 1e3)
    }
}

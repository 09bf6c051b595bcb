//! The lines as JSON: one object a line, with an `event` that says what it is about.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::facts::{CallEnd, Refusal, TunnelEnd, TunnelFacts};
use crate::close::Side;
use crate::config::Scheme;
use crate::observe::request_id::RequestId;
use crate::observe::utc::Utc;

#[derive(Serialize)]
pub(super) struct TunnelOpen<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
}

impl<'a> TunnelOpen<'a> {
    pub(super) fn new(facts: &'a TunnelFacts) -> Self {
        Self {
            time: Utc(facts.opened_at),
            event: "tunnel_open",
            tunnel: TunnelFields::from(facts),
        }
    }
}

#[derive(Serialize)]
pub(super) struct TunnelClose<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
    reason: &'static str,
    detail: String,
    blame: &'static str,
    duration_ms: Millis,
    bytes_from_client: u64,
    bytes_from_backend: u64,
    messages_from_client: u64,
    messages_from_backend: u64,
    close_code_client: Option<u16>,
    close_code_backend: Option<u16>,
    closed_by: Option<&'static str>,
}

impl<'a> TunnelClose<'a> {
    pub(super) fn new(facts: &'a TunnelFacts, end: &TunnelEnd) -> Self {
        TunnelClose {
            // The wall clock may have been set in between; the duration was measured on one that is not.
            time: Utc(facts.opened_at + end.duration),
            event: "tunnel_close",
            tunnel: TunnelFields::from(facts),
            reason: end.reason.label(),
            detail: format!("{:?}", end.reason),
            blame: end.reason.blame().label(),
            duration_ms: Millis(end.duration),
            bytes_from_client: end.from_client.bytes,
            bytes_from_backend: end.from_backend.bytes,
            messages_from_client: end.from_client.messages,
            messages_from_backend: end.from_backend.messages,
            close_code_client: end.from_client.close_code,
            close_code_backend: end.from_backend.close_code,
            closed_by: end.closed_by.map(Side::label),
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
    handshake_ms: Millis,
}

impl<'a> From<&'a TunnelFacts> for TunnelFields<'a> {
    fn from(facts: &'a TunnelFacts) -> Self {
        Self {
            id: facts.id,
            api: &facts.policy.api,
            group: &facts.policy.group,
            environment: &facts.policy.environment,
            scheme: scheme(facts.scheme),
            client: facts.client,
            backend: facts.backend,
            handshake_ms: Millis(facts.handshake),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Refused {
    time: Utc,
    event: &'static str,
    id: RequestId,
    scheme: &'static str,
    client: SocketAddr,
    status: Option<u16>,
    reason: &'static str,
    detail: String,
    blame: &'static str,
    duration_ms: Millis,
}

impl Refused {
    pub(super) fn new(refusal: &Refusal) -> Self {
        Self {
            time: Utc(refusal.at),
            event: "refused",
            id: refusal.id,
            scheme: scheme(refusal.scheme),
            client: refusal.client,
            status: refusal.status,
            reason: refusal.reason.label(),
            detail: format!("{:?}", refusal.reason),
            blame: refusal.reason.blame().label(),
            duration_ms: Millis(refusal.duration),
        }
    }
}

#[derive(Serialize)]
pub(super) struct CallLine<'a> {
    time: Utc,
    event: &'static str,
    id: RequestId,
    api: &'a str,
    group: &'a str,
    environment: &'a str,
    method: &'a str,
    scheme: &'static str,
    client: SocketAddr,
    backend: Option<SocketAddr>,
    status: Option<u16>,
    reason: &'static str,
    detail: String,
    blame: &'static str,
    duration_ms: Millis,
    bytes_from_client: u64,
    bytes_from_backend: u64,
}

impl<'a> CallLine<'a> {
    pub(super) fn new(end: &CallEnd<'a>) -> Self {
        Self {
            time: Utc(end.at),
            event: "call",
            id: end.id,
            api: end.api,
            group: end.group,
            environment: end.environment,
            method: end.method,
            scheme: match end.scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            },
            client: end.client,
            backend: end.backend,
            status: end.status,
            reason: end.reason.label(),
            detail: format!("{:?}", end.reason),
            blame: end.reason.blame().label(),
            duration_ms: Millis(end.duration),
            bytes_from_client: end.bytes_from_client,
            bytes_from_backend: end.bytes_from_backend,
        }
    }
}

fn scheme(scheme: Scheme) -> &'static str {
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

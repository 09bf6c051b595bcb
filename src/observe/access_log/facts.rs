//! What is known of tunnels, calls and refusals: what a line is made of, whatever its format.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::close::{CloseReason, Side};
use crate::config::Scheme;
use crate::observe::request_id::RequestId;
use crate::relay::policy::TunnelPolicy;

/// What is known of a tunnel from its first moment on.
#[derive(Clone, Debug)]
pub struct TunnelFacts {
    pub id: RequestId,
    pub policy: Arc<TunnelPolicy>,
    /// The protocol the client came by.
    pub scheme: Scheme,
    pub client: SocketAddr,
    pub backend: SocketAddr,
    pub opened_at: SystemTime,
    /// From the first byte of the request head to the 101.
    pub handshake: Duration,
}

/// What is known of a tunnel when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct TunnelEnd {
    pub reason: CloseReason,
    /// From the 101 to the end.
    pub duration: Duration,
    pub from_client: Traffic,
    pub from_backend: Traffic,
    /// The side whose Close frame came first, if one did.
    pub closed_by: Option<Side>,
}

/// What one side sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
    /// The code of its Close frame: 1005 for a Close without one (RFC 6455 §7.1.5), `None` without a Close.
    pub close_code: Option<u16>,
}

/// A request that got an answer other than 101, or none.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub id: RequestId,
    pub reason: CloseReason,
    pub scheme: Scheme,
    pub client: SocketAddr,
    /// The status that was sent.
    pub status: Option<u16>,
    pub at: SystemTime,
    /// From the first byte of the request head to the answer.
    pub duration: Duration,
}

/// A call for an API that was known, however it went.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd<'a> {
    pub id: RequestId,
    pub api: &'a str,
    pub group: &'a str,
    pub environment: &'a str,
    pub method: &'a str,
    pub scheme: Scheme,
    pub client: SocketAddr,
    /// The last one that was asked.
    pub backend: Option<SocketAddr>,
    /// The status that was sent.
    pub status: Option<u16>,
    pub reason: CloseReason,
    /// Of the bodies, framing included.
    pub bytes_from_client: u64,
    pub bytes_from_backend: u64,
    pub at: SystemTime,
    /// From the first byte of the request head to the end of the answer.
    pub duration: Duration,
}

//! What is known of tunnels, calls and refusals: what a line is made of, whatever its format.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::close::{CloseReason, Side};
use crate::config::Scheme;
use crate::observe::request_id::RequestId;
use crate::relay::policy::TunnelPolicy;

/// The most of one text of a request, in bytes, that is kept for a line.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// Texts that a tunnel keeps of its request.
const TEXTS: usize = 6;

/// The most that a tunnel keeps for its lines, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = TEXTS * (TEXT_BYTES_MAX + 1) + 256;

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
    /// Its request, for as long as a line needs it.
    pub request: Option<Box<TunnelRequest>>,
}

/// What the lines about a tunnel say of its request.
#[derive(Clone, Debug)]
pub struct TunnelRequest {
    pub asked: AskedBuf,
    pub caller: Caller,
    pub upstream: Upstream,
    /// Of the request's head, and of the 101 that answered it.
    pub head_bytes: u64,
    pub answer_bytes: u64,
}

/// What a tunnel has been up to at some moment.
#[derive(Clone, Copy, Debug)]
pub struct SoFar {
    /// Since the 101.
    pub duration: Duration,
    pub from_client: Traffic,
    pub from_backend: Traffic,
    /// The side whose Close frame came first, if one did.
    pub closed_by: Option<Side>,
}

impl SoFar {
    /// Of a tunnel that has just opened.
    pub(super) fn nothing() -> Self {
        Self {
            duration: Duration::ZERO,
            from_client: Traffic::default(),
            from_backend: Traffic::default(),
            closed_by: None,
        }
    }
}

/// What one side sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
    /// The code of its Close frame: 1005 for a Close without one (RFC 6455 §7.1.5), `None` without a Close.
    pub close_code: Option<u16>,
}

/// A request that became no tunnel, at its end.
#[derive(Clone, Debug)]
pub struct RequestEnd<'a> {
    pub kind: RequestKind,
    pub id: RequestId,
    pub reason: CloseReason,
    pub scheme: Scheme,
    pub client: SocketAddr,
    pub caller: Caller,
    /// What was asked, as far as it was understood.
    pub asked: Option<Asked<'a>>,
    pub api: Option<ApiNames<'a>>,
    pub upstream: Upstream,
    /// The status that was sent.
    pub status: Option<u16>,
    pub bytes: Bytes,
    pub at: SystemTime,
    /// From the first byte of the request head to the end of the answer.
    pub duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// An ordinary call, for an API that was known.
    Call,
    /// An upgrade that was refused, or what was not even understood.
    Refusal,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// By `routing.client_address` (spec 2.9).
    pub ip: IpAddr,
    /// What a PROXY protocol header said, if there was one.
    pub introduced: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
pub struct ApiNames<'a> {
    pub api: &'a str,
    pub group: &'a str,
    pub environment: &'a str,
}

/// How the last backend that was asked dealt with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    pub scheme: Option<Scheme>,
    pub address: Option<SocketAddr>,
    pub status: Option<u16>,
    /// From the beginning of the attempt: to the connection, to the answer's head, to its last byte.
    pub connect: Option<Duration>,
    pub header: Option<Duration>,
    pub response: Option<Duration>,
    /// All attempts together.
    pub all: Option<Duration>,
}

/// What went over the client's and the backend's connection for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub head_received: u64,
    /// Of the bodies, framing included.
    pub body_received: u64,
    pub body_from_backend: u64,
    pub head_sent: u64,
    pub body_sent: u64,
}

/// The texts of a request as they came. They are cut and rid of secrets where a line is made.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    pub method: &'a [u8],
    pub host: &'a [u8],
    pub path: &'a [u8],
    /// What follows the `?`; empty for none.
    pub query: &'a [u8],
    /// `HTTP/1.1`.
    pub protocol: &'static str,
    pub user_agent: &'a [u8],
    pub forwarded_for: Cow<'a, [u8]>,
    /// Path and query that the backend was asked for; empty if it was not.
    pub upstream_target: &'a [u8],
}

/// The texts of an opening handshake, in one allocation.
#[derive(Clone, Debug)]
pub struct AskedBuf {
    text: Box<[u8]>,
    /// Where each ends.
    ends: [u16; TEXTS],
}

impl AskedBuf {
    pub fn new(asked: &Asked<'_>) -> Self {
        let Asked {
            host,
            path,
            query,
            user_agent,
            forwarded_for,
            upstream_target,
            ..
        } = asked;
        let mut text = Vec::new();
        let texts = [
            host,
            path,
            query,
            user_agent,
            &**forwarded_for,
            upstream_target,
        ];
        let ends = texts.map(|part| {
            // One byte too many says that it was cut.
            text.extend(part.iter().take(TEXT_BYTES_MAX + 1));
            u16::try_from(text.len()).unwrap_or(u16::MAX)
        });
        Self {
            text: text.into_boxed_slice(),
            ends,
        }
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        let mut start = 0;
        let [
            host,
            path,
            query,
            user_agent,
            forwarded_for,
            upstream_target,
        ] = self.ends.map(|end| {
            let end = usize::from(end);
            let part = self.text.get(start..end).unwrap_or_default();
            start = end;
            part
        });
        Asked {
            // RFC 6455 §4.1.
            method: b"GET",
            protocol: "HTTP/1.1",
            host,
            path,
            query,
            user_agent,
            forwarded_for: forwarded_for.into(),
            upstream_target,
        }
    }
}

const _: () = assert!(TEXTS * (TEXT_BYTES_MAX + 1) < u16::MAX as usize);

impl TunnelFacts {
    pub(super) fn names(&self) -> ApiNames<'_> {
        ApiNames {
            api: &self.policy.api,
            group: &self.policy.group,
            environment: &self.policy.environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were_up_to_their_bound() {
        let long = vec![b'x'; 5000];
        let asked = Asked {
            host: b"a",
            path: &long,
            query: b"",
            user_agent: b"agent",
            forwarded_for: b"192.0.2.1"[..].into(),
            upstream_target: b"/?a=b",
            ..Asked::default()
        };
        let kept = AskedBuf::new(&asked);
        let back = kept.asked();
        assert_eq!((back.host, back.query), (&b"a"[..], &b""[..]));
        assert_eq!(back.path.len(), TEXT_BYTES_MAX + 1);
        assert_eq!(back.user_agent, b"agent");
        assert_eq!(*back.forwarded_for, b"192.0.2.1"[..]);
        assert_eq!(back.upstream_target, b"/?a=b");
    }
}

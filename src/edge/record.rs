//! What the access log is told of a request: noted step by step, and put together at its end.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use monoio::time::Instant;

use super::Peer;
use super::request::Request;
use crate::catalog::{Api, Member};
use crate::close::CloseReason;
use crate::observe::access_log::{
    ApiNames, Asked, AskedBuf, Bytes, Caller, RequestEnd, RequestKind, TunnelRequest, Upstream,
};
use crate::observe::series::Series;
use crate::proto::head::Version;

/// What is not in the request itself.
#[derive(Default)]
pub(super) struct Record {
    pub(super) api: Option<Arc<Api>>,
    /// Where a call is counted, once a backend is asked.
    pub(super) series: Option<Arc<Series>>,
    /// Path and query that the backend was asked for.
    pub(super) target: Vec<u8>,
    /// Of the bodies, framing included.
    pub(super) from_client: u64,
    pub(super) from_backend: u64,
    pub(super) sent: Sent,
    upstream: Upstream,
    /// When the attempt that is under way began.
    attempt: Option<Instant>,
}

/// Bytes that the client was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) head: u64,
    pub(super) body: u64,
}

impl Sent {
    /// Of a whole answer.
    pub(super) fn of(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
        let (head, body) = answer.split_at(end.map_or(answer.len(), |end| end + 4));
        Self {
            head: head.len() as u64,
            body: body.len() as u64,
        }
    }
}

impl Record {
    /// `member` is asked. What is known of one before it makes way.
    pub(super) fn attempt(&mut self, member: &Member) {
        self.finish();
        let literal = member.host.parse::<IpAddr>();
        self.upstream = Upstream {
            scheme: Some(member.scheme),
            address: literal.ok().map(|ip| SocketAddr::new(ip, member.port)),
            all: self.upstream.all,
            ..Upstream::default()
        };
        self.attempt = Some(Instant::now());
    }

    /// It has accepted us, or had already.
    pub(super) fn connected(&mut self, address: SocketAddr) {
        self.upstream.address = Some(address);
        self.upstream.connect = self.attempt.map(|began| began.elapsed());
    }

    /// Its answer's head was complete at this moment.
    pub(super) fn answered(&mut self, status: u16, at: Instant) {
        self.upstream.status = Some(status);
        self.upstream.header = self.attempt.map(|began| at - began);
    }

    /// The attempt is over.
    pub(super) fn finish(&mut self) {
        if let Some(began) = self.attempt.take() {
            let took = began.elapsed();
            self.upstream.response = Some(took);
            self.upstream.all = Some(self.upstream.all.unwrap_or(Duration::ZERO) + took);
        }
    }

    /// The end of a request that became no tunnel.
    pub(super) fn end<'a>(
        &'a mut self,
        (request, buf): (&'a Request, &'a [u8]),
        peer: &Peer,
        reason: CloseReason,
        status: Option<u16>,
    ) -> RequestEnd<'a> {
        self.finish();
        let api = self.api.as_deref();
        RequestEnd {
            caller: caller(request, peer),
            asked: Some(asked(request, buf, &self.target)),
            api: api.map(|api| ApiNames {
                api: &api.name,
                group: &api.group,
                environment: &api.environment,
            }),
            upstream: self.upstream,
            bytes: Bytes {
                head_received: request.head.len as u64,
                body_received: self.from_client,
                body_from_backend: self.from_backend,
                head_sent: self.sent.head,
                body_sent: self.sent.body,
            },
            ..request
                .began
                .end(peer, RequestKind::Refusal, reason, status)
        }
    }

    /// The request of a tunnel, whose 101 has been sent.
    pub(super) fn into_tunnel(
        mut self,
        request: &Request,
        buf: &[u8],
        peer: &Peer,
    ) -> Box<TunnelRequest> {
        self.finish();
        Box::new(TunnelRequest {
            asked: AskedBuf::new(&asked(request, buf, &self.target)),
            caller: caller(request, peer),
            upstream: self.upstream,
            head_bytes: request.head.len as u64,
            answer_bytes: self.sent.head,
        })
    }
}

fn caller(request: &Request, peer: &Peer) -> Caller {
    Caller {
        ip: request.client,
        introduced: peer.introduced(),
    }
}

fn asked<'a>(request: &'a Request, buf: &'a [u8], target: &'a [u8]) -> Asked<'a> {
    let head = &request.head;
    let first = |name| head.values(buf, name).next().unwrap_or_default();
    Asked {
        method: head.method.of(buf),
        host: request.facts.host.map_or(&[], |host| host.of(buf)),
        path: request.facts.path_of(buf),
        query: request.facts.query.map_or(&[], |query| query.of(buf)),
        protocol: match head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        },
        user_agent: first("user-agent"),
        forwarded_for: forwarded_for(head.values(buf, "x-forwarded-for")),
        upstream_target: target,
    }
}

/// RFC 9110 §5.3: several fields of one name are one list.
fn forwarded_for<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Cow<'a, [u8]> {
    let mut list = Cow::Borrowed(values.next().unwrap_or_default());
    for value in values {
        let list = list.to_mut();
        list.extend_from_slice(b", ");
        list.extend_from_slice(value);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_head_and_body() {
        for (answer, head, body) in [
            (&b""[..], 0, 0),
            (b"HTTP/1.1 200 OK\r\n\r\n", 19, 0),
            (b"HTTP/1.1 200 OK\r\n\r\nbody", 19, 4),
        ] {
            assert_eq!(Sent::of(answer), Sent { head, body });
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        let list = |values: &[&'static [u8]]| forwarded_for(values.iter().copied()).into_owned();
        assert_eq!(list(&[]), b"");
        assert_eq!(list(&[b"a"]), b"a");
        assert_eq!(list(&[b"a, b", b"c"]), b"a, b, c");
    }
}

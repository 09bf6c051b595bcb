//! Answers of our own: the errors of the gateway (spec 5.1), and what mocks say.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io::Write;
use std::str;
use std::time::SystemTime;

use monoio::time::timeout;

use super::answer::{self, Latency, Persistence, put_persistence};
use super::connection::Client;
use super::fields::{FRAMING, is_one_of, put};
use super::phrase::reason_phrase;
use super::record::{Record, Sent};
use super::request::Request;
use super::route::Wrong;
use super::stream::Stream;
use super::{Began, Edge, Peer, wall_clock};
use crate::catalog::{Api, Context, Cors, RELEASE, Rendered, ResponseSet};
use crate::close::{CloseReason, GatewayError};
use crate::observe::access_log::{Bytes, RequestEnd};
use crate::observe::request_id::RequestId;
use crate::observe::utc::HttpDate;
use crate::proto::head::Version;

/// The status that the cloud has for a head with too much in it (spec 6.1).
const HEAD_TOO_LARGE: u16 = 494;

/// How an answer of our own ends, and what it says about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) persistence: Persistence,
    pub(super) version: Version,
    pub(super) body: Body,
    pub(super) latency: Option<Latency>,
    pub(super) date: SystemTime,
}

/// RFC 9110 §9.3.2: the answer to HEAD says how long its body would be, and has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Sent,
    Left,
}

impl Body {
    pub(super) fn for_method(method: &[u8]) -> Self {
        if method == b"HEAD" {
            Self::Left
        } else {
            Self::Sent
        }
    }
}

impl Last {
    /// An answer after which the connection closes.
    pub(super) fn with_body(date: SystemTime) -> Self {
        Self {
            persistence: Persistence::Close,
            version: Version::Http11,
            body: Body::Sent,
            latency: None,
            date,
        }
    }
}

/// What is known of a request that gets an answer of our own, as far as it was understood.
#[derive(Clone, Copy, Default)]
pub(super) struct Known<'a> {
    pub(super) request: Option<(&'a Request, &'a [u8])>,
    pub(super) api: Option<&'a Api>,
    pub(super) responses: Option<&'a ResponseSet>,
}

/// Refuses a client whose request was not understood, and ends its connection.
pub(super) async fn last(edge: &Edge, client: Client, began: Began, reason: CloseReason) {
    let told = tell(edge, &client, began.id, reason, Known::default()).await;
    let (status, sent) = told.unwrap_or_default();
    let bytes = Bytes {
        head_sent: sent.head,
        body_sent: sent.body,
        ..Bytes::default()
    };
    edge.refused(&RequestEnd {
        bytes,
        ..began.refusal(&client.peer, reason, status)
    });
    if status.is_some() {
        client.stream.close(&edge.scratch).await;
    }
}

/// Refuses a request for an upgrade. What the client sent behind it is never read as another request.
pub(super) async fn upgrade(
    edge: &Edge,
    client: Client,
    (request, buf): (&Request, &[u8]),
    wrong: &Wrong,
    mut record: Record,
) {
    let known = Known {
        request: Some((request, buf)),
        ..wrong.known()
    };
    let told = tell(edge, &client, request.began.id, wrong.reason, known).await;
    let status;
    (status, record.sent) = told.unwrap_or_default();
    edge.refused(&record.end((request, buf), &client.peer, wrong.reason, status));
    if status.is_some() {
        client.stream.close(&edge.scratch).await;
    }
}

/// Answers with what `reason` has for those who still listen. The status, and what it took, if all of it was sent.
async fn tell(
    edge: &Edge,
    client: &Client,
    id: RequestId,
    reason: CloseReason,
    known: Known<'_>,
) -> Option<(Option<u16>, Sent)> {
    let error = reason.answer()?;
    let rendered = render(edge, &error, id, &client.peer, known);
    let last = Last::with_body(wall_clock());
    let mut answer = Vec::new();
    write(&mut answer, &rendered, id, last, extra_for(&error));
    let written = send(edge, &client.stream, &answer).await;
    written.then(|| (Some(rendered.status), Sent::of(&answer)))
}

/// Whether the client took all of the answer.
pub(super) async fn send(edge: &Edge, client: &Stream, answer: &[u8]) -> bool {
    let sending = client.write(answer);
    matches!(
        timeout(edge.live().config.timeouts.handshake, sending).await,
        Ok(Ok(()))
    )
}

/// `error` in the form that the API, or its group, has for it.
pub(super) fn render(
    edge: &Edge,
    error: &GatewayError,
    id: RequestId,
    peer: &Peer,
    known: Known<'_>,
) -> Rendered {
    let mut error = *error;
    if error.status == HEAD_TOO_LARGE {
        error.status = edge.live().config.limits.head_too_large_status;
    }
    let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
    let id = id.hex();
    let mut context = Context {
        api: known.api,
        request_id: text(&id),
        stage: RELEASE,
        source_ip: peer.client.ip().to_canonical(),
        method: "",
        path: "",
        query: None,
    };
    if let Some((request, buf)) = known.request {
        let stage = request.head.values(buf, "x-stage").next();
        context.stage = stage.map_or(RELEASE, text);
        context.source_ip = request.client;
        context.method = text(request.head.method.of(buf));
        context.path = text(request.facts.path_of(buf));
        context.query = request.facts.query.map(|query| text(query.of(buf)));
    }
    match known.responses {
        Some(responses) => responses.render(&error, &context),
        None => ResponseSet::default().render(&error, &context),
    }
}

/// Appends the built-in answer for `error` to `out`.
pub(super) fn write_error(out: &mut Vec<u8>, error: &GatewayError, id: RequestId, last: Last) {
    let hex = id.hex();
    let context = Context {
        api: None,
        request_id: str::from_utf8(&hex).unwrap_or_default(),
        stage: RELEASE,
        source_ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
        method: "",
        path: "",
        query: None,
    };
    let rendered = ResponseSet::default().render(error, &context);
    write(out, &rendered, id, last, extra_for(error));
}

/// RFC 9110 §15.5.22: 426 says what to upgrade to, and RFC 6455 §4.2.2 which version.
pub(super) fn extra_for(error: &GatewayError) -> Extra {
    if error.status == 426 {
        Extra::Upgrade
    } else {
        Extra::None
    }
}

/// Fields that only some answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    Upgrade,
    /// Spec 7.9.
    Cors(Option<Cors>),
}

/// Appends a complete answer to `out`.
pub(super) fn write(
    out: &mut Vec<u8>,
    rendered: &Rendered,
    id: RequestId,
    last: Last,
    extra: Extra,
) {
    let status = rendered.status;
    let head = write!(
        out,
        "HTTP/1.1 {status} {reason}\r\nServer: api-gateway\r\nDate: {date}\r\n",
        reason = reason_phrase(status),
        date = HttpDate(last.date),
    );
    debug_assert!(head.is_ok(), "writing to a vector does not fail");
    // RFC 9110 §8.6, §15.3.5, §15.3.6, §15.4.5: these have no body whatever a template says.
    let body: &[u8] = match status {
        204 | 205 | 304 => b"",
        _ => &rendered.body,
    };
    if !body.is_empty() {
        put_line(out, "Content-Type", &rendered.content_type);
    }
    for (name, value) in &rendered.headers {
        if !is_ours(name.as_bytes()) {
            put_line(out, name, value);
        }
    }
    if !matches!(status, 204 | 304) {
        put(out, b"Content-Length", body.len().to_string().as_bytes());
    }
    put(out, b"X-Request-Id", &id.hex());
    if let Some(latency) = &last.latency {
        latency.put(out);
    }
    put_extra(out, rendered, last, extra);
    out.extend_from_slice(b"\r\n");
    if last.body == Body::Sent {
        out.extend_from_slice(body);
    }
}

fn put_extra(out: &mut Vec<u8>, rendered: &Rendered, last: Last, extra: Extra) {
    match extra {
        // It ends the connection: what follows was meant for a tunnel.
        Extra::Upgrade => out.extend_from_slice(
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n",
        ),
        Extra::Cors(cors) => {
            let names = rendered.headers.iter().map(|(name, _)| name.as_bytes());
            super::cors::put_for(out, cors, names);
            put_persistence(out, last.persistence, last.version);
        }
        Extra::None => put_persistence(out, last.persistence, last.version),
    }
}

/// A field of an operator's, unless it would be more than one.
fn put_line(out: &mut Vec<u8>, name: &str, value: &str) {
    let breaks = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
    if !name.as_bytes().iter().any(breaks) && !value.as_bytes().iter().any(breaks) {
        put(out, name.as_bytes(), value.as_bytes());
    }
}

/// Fields that no template writes.
fn is_ours(name: &[u8]) -> bool {
    is_one_of(name, &FRAMING)
        || is_one_of(name, &[b"content-type", b"date", b"server"])
        || answer::is_ours(name)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::close::Deadline;
    use crate::proto::handshake::HandshakeError;
    use crate::proto::head::HeadError;

    const ID: RequestId = RequestId([0xab; 16]);

    fn answer(reason: CloseReason, persistence: Persistence, body: Body) -> String {
        let mut out = Vec::new();
        let last = Last {
            persistence,
            body,
            ..Last::with_body(UNIX_EPOCH)
        };
        write_error(&mut out, &reason.answer().unwrap(), ID, last);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_error_looks_as_the_gateway_writes_it() {
        assert_eq!(
            answer(CloseReason::NoRoute, Persistence::KeepAlive, Body::Sent),
            "HTTP/1.1 404 Not Found\r\n\
             Server: api-gateway\r\n\
             Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Type: application/json\r\n\
             Content-Length: 156\r\n\
             X-Request-Id: abababababababababababababababab\r\n\
             \r\n\
             {\"error_msg\":\"The API does not exist or has not been published in the environment\",\
             \"error_code\":\"APIG.0101\",\"request_id\":\"abababababababababababababababab\"}"
        );
    }

    #[test]
    fn an_unknown_version_is_told_the_right_one() {
        let text = answer(
            CloseReason::BadHandshake(HandshakeError::Version),
            Persistence::Close,
            Body::Sent,
        );
        assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(text.contains("\r\nUpgrade: websocket\r\n"));
        assert!(text.contains("\r\nConnection: Upgrade, close\r\n"));
    }

    #[test]
    fn the_answer_to_head_has_a_length_and_no_body() {
        let whole = answer(CloseReason::NoMethod, Persistence::Close, Body::Sent);
        let head = answer(CloseReason::NoMethod, Persistence::Close, Body::Left);
        assert!(head.ends_with("\r\n\r\n") && whole.starts_with(&head));
        assert!(head.contains("\r\nConnection: close\r\n"));
    }

    #[test]
    fn a_status_without_a_body_gets_none_whatever_its_template_says() {
        for (status, length) in [(204, false), (205, true), (304, false)] {
            let rendered = Rendered {
                status,
                content_type: "text/plain".to_owned(),
                headers: vec![("X-Own".to_owned(), "1".to_owned())],
                body: b"body".to_vec(),
            };
            let mut out = Vec::new();
            write(
                &mut out,
                &rendered,
                ID,
                Last::with_body(UNIX_EPOCH),
                Extra::None,
            );
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with("\r\n\r\n"), "{text}");
            assert!(text.contains("\r\nX-Own: 1\r\n"), "{text}");
            assert_eq!(text.contains("\r\nContent-Length: 0\r\n"), length, "{text}");
            assert!(!text.contains("Content-Type"), "{text}");
        }
    }

    #[test]
    fn a_template_cannot_break_or_frame_the_head() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let rendered = Rendered {
            status: 400,
            content_type: "text/plain\r\nX-Evil: 1".to_owned(),
            headers: vec![
                field("Content-Length", "99"),
                field("transfer-encoding", "chunked"),
                field("Connection", "keep-alive"),
                field("X-Request-Id", "theirs"),
                field("X-A", "1\r\nX-Evil: 1"),
                field("X-Kept", "yes"),
            ],
            body: b"body".to_vec(),
        };
        let mut out = Vec::new();
        write(
            &mut out,
            &rendered,
            ID,
            Last::with_body(UNIX_EPOCH),
            Extra::None,
        );
        let text = String::from_utf8(out).unwrap();
        for absent in ["99", "chunked", "keep-alive", "theirs", "Evil"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
        assert!(text.contains("\r\nX-Kept: yes\r\n"), "{text}");
    }

    #[test]
    fn every_answer_has_a_reason_phrase() {
        for reason in [
            CloseReason::TimedOut(Deadline::RequestHead),
            CloseReason::TimedOut(Deadline::Answer),
            CloseReason::BadHead(HeadError::TargetTooLong),
            CloseReason::BadHead(HeadError::FieldTooLong),
            CloseReason::BadTarget,
            CloseReason::BodyTooLarge,
            CloseReason::NoMethod,
            CloseReason::NoPermit,
            CloseReason::NameNotResolved,
            CloseReason::BackendGone,
        ] {
            let status = reason.answer().unwrap().status;
            assert_ne!(reason_phrase(status), "", "{status}");
        }
    }
}

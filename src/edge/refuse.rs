//! Answers of our own: the errors of the gateway (spec 5.1).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io::Write;
use std::time::SystemTime;

use monoio::time::timeout;

use super::connection::Client;
use super::request::Request;
use super::{Began, Edge, wall_clock};
use crate::close::{CloseReason, GatewayError};
use crate::observe::request_id::RequestId;
use crate::observe::utc::HttpDate;
use crate::proto::head::Version;

/// How an answer ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    connection: Connection,
    body: Body,
    date: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    KeepAlive,
    Close,
}

/// RFC 9110 §9.3.2: the answer to HEAD says how long its body would be, and has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Sent,
    Left,
}

impl Last {
    /// An answer after which the connection closes.
    pub(super) fn with_body(date: SystemTime) -> Self {
        Self {
            connection: Connection::Close,
            body: Body::Sent,
            date,
        }
    }
}

/// Refuses what `client` asked for, and ends its connection. What it sent behind its request is never read as another.
pub(super) async fn last(edge: &Edge, mut client: Client, began: Began, reason: CloseReason) {
    let Some(error) = reason.answer() else {
        edge.refused(began.refusal(client.peer, reason, None));
        return;
    };
    let mut answer = Vec::new();
    write_error(&mut answer, &error, began.id, Last::with_body(wall_clock()));
    let written = send(edge, &mut client, &answer).await;
    edge.refused(began.refusal(client.peer, reason, written.then_some(error.status)));
    if written {
        client.stream.close(&edge.scratch).await;
    }
}

/// Refuses a call that asked for no upgrade. The client is given back where its next request can be told apart.
pub(super) async fn call(
    edge: &Edge,
    mut client: Client,
    request: &Request,
    buf: &[u8],
    reason: CloseReason,
) -> Option<Client> {
    let Some(error) = reason.answer() else {
        edge.refused(request.began.refusal(client.peer, reason, None));
        return None;
    };
    let facts = &request.facts;
    let reusable = facts.keep_alive
        && facts.body.is_empty()
        && request.head.version == Version::Http11
        && !edge.stopping.get();
    let end = Last {
        connection: if reusable {
            Connection::KeepAlive
        } else {
            Connection::Close
        },
        body: if request.head.method.of(buf) == b"HEAD" {
            Body::Left
        } else {
            Body::Sent
        },
        date: wall_clock(),
    };
    let mut answer = Vec::new();
    write_error(&mut answer, &error, request.began.id, end);
    let written = send(edge, &mut client, &answer).await;
    let status = written.then_some(error.status);
    edge.refused(request.began.refusal(client.peer, reason, status));
    if written && reusable {
        return Some(client);
    }
    if written {
        client.stream.close(&edge.scratch).await;
    }
    None
}

/// Whether the client took all of the answer.
async fn send(edge: &Edge, client: &mut Client, answer: &[u8]) -> bool {
    let sending = client.stream.write(answer);
    matches!(
        timeout(edge.config.timeouts.handshake, sending).await,
        Ok(Ok(()))
    )
}

/// Appends a complete answer to `out`.
pub(super) fn write_error(out: &mut Vec<u8>, error: &GatewayError, id: RequestId, last: Last) {
    let GatewayError {
        status,
        code,
        message,
        ..
    } = error;
    // The order of the members as live gateways have it (spec U39). None of the values needs escaping.
    let body = format!(r#"{{"error_msg":"{message}","error_code":"{code}","request_id":"{id}"}}"#);
    let connection = match (last.connection, status) {
        // RFC 9110 §15.5.22: 426 says what to upgrade to, and RFC 6455 §4.2.2 which version. It ends the connection.
        (_, 426) => {
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n"
        }
        (Connection::Close, _) => "Connection: close\r\n",
        (Connection::KeepAlive, _) => "",
    };
    let head = write!(
        out,
        "HTTP/1.1 {status} {reason}\r\n\
         Server: api-gateway\r\n\
         Date: {date}\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {len}\r\n\
         X-Request-Id: {id}\r\n\
         {connection}\r\n",
        reason = reason_phrase(*status),
        date = HttpDate(last.date),
        len = body.len(),
    );
    debug_assert!(head.is_ok(), "writing to a vector does not fail");
    if last.body == Body::Sent {
        out.extend_from_slice(body.as_bytes());
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        // Not registered; the cloud uses it (spec 6.1).
        494 => "Request Header Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::close::Deadline;
    use crate::proto::handshake::HandshakeError;
    use crate::proto::head::HeadError;

    const ID: RequestId = RequestId([0xab; 16]);

    fn answer(reason: CloseReason, connection: Connection, body: Body) -> String {
        let mut out = Vec::new();
        let date = UNIX_EPOCH;
        let last = Last {
            connection,
            body,
            date,
        };
        write_error(&mut out, &reason.answer().unwrap(), ID, last);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_error_looks_as_the_gateway_writes_it() {
        assert_eq!(
            answer(CloseReason::NoRoute, Connection::KeepAlive, Body::Sent),
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
            Connection::Close,
            Body::Sent,
        );
        assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(text.contains("\r\nUpgrade: websocket\r\n"));
        assert!(text.contains("\r\nConnection: Upgrade, close\r\n"));
    }

    #[test]
    fn the_answer_to_head_has_a_length_and_no_body() {
        let whole = answer(CloseReason::NotAnUpgrade, Connection::Close, Body::Sent);
        let head = answer(CloseReason::NotAnUpgrade, Connection::Close, Body::Left);
        assert!(head.ends_with("\r\n\r\n") && whole.starts_with(&head));
        assert!(head.contains("\r\nConnection: close\r\n"));
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

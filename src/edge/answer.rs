//! The backend's answer: its head is read past interim answers, and becomes a 101 to the client or an ordinary response.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io::Write;
use std::time::Duration;

use monoio::time::timeout;

use super::Edge;
use super::connection::Client;
use super::fields::{Named, TooMany, has_prefix, is_one_of, put};
use super::pool::Buffer;
use super::stream::{Received, Stream, StreamError};
use crate::close::{CloseReason, Deadline};
use crate::observe::request_id::RequestId;
use crate::proto::body::{BodyLength, BodyScanner};
use crate::proto::handshake::AnswerError;
use crate::proto::head::{HeadSeeker, ResponseHead, resume_response};

/// Interim answers that are passed over (RFC 9110 §15.2) before a backend is taken for broken.
const INTERIM_MAX: usize = 8;

/// Fields that a backend can't set (spec 2.8).
const GATEWAY_PREFIX: &[u8] = b"x-apig-";
const ADDED_BYTES: usize = 256;

/// A complete answer head, at the front of what was received from the backend.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) buf: Buffer,
}

/// Why there is no answer, and whether another member may be asked instead (spec U20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The backend closed before its first byte.
    Nothing,
    Broken(CloseReason),
}

/// Reads the head of the final answer, which for an upgrade may be a 101.
pub(super) async fn read(edge: &Edge, backend: &mut Stream) -> Result<Answer, NoAnswer> {
    let mut buf = edge.pool.buffer();
    let mut seeker = HeadSeeker::response();
    let mut interim = 0;
    loop {
        let parsed = resume_response(&mut seeker, &buf, &edge.config.limits.head);
        match parsed.map_err(|_| not_http())? {
            Some(head) if head.status == 101 || head.status >= 200 => {
                return Ok(Answer { head, buf });
            }
            Some(head) => {
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(not_http());
                }
                buf.consume(head.len);
                seeker = HeadSeeker::response();
            }
            None => receive(edge, backend, &mut buf, interim).await?,
        }
    }
}

async fn receive(
    edge: &Edge,
    backend: &mut Stream,
    buf: &mut Buffer,
    interim: usize,
) -> Result<(), NoAnswer> {
    let began = interim > 0 || !buf.is_empty();
    match backend.read(&edge.scratch, buf).await {
        Ok(Received::Bytes) => Ok(()),
        Err(StreamError::Full(_)) => Err(NoAnswer::Broken(CloseReason::NoHeadRoom)),
        Ok(Received::End) | Err(_) if began => Err(NoAnswer::Broken(CloseReason::BackendGone)),
        Ok(Received::End) | Err(_) => Err(NoAnswer::Nothing),
    }
}

fn not_http() -> NoAnswer {
    NoAnswer::Broken(CloseReason::BadAnswer(AnswerError::NotHttp))
}

/// The client's 101, from the backend's in `buf`.
pub(super) fn switching_head(
    head: &ResponseHead,
    buf: &[u8],
    id: RequestId,
) -> Result<Vec<u8>, CloseReason> {
    let mut out = Vec::with_capacity(head.len + ADDED_BYTES);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    // RFC 9110 §8.6: a 1xx has no length, whatever the backend says.
    put_end_to_end(&mut out, head, buf, id, &[b"content-length"])?;
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    Ok(out)
}

/// The head of an ordinary answer, after which the client's connection closes. Its body is relayed with the framing it
/// has, so that the field that names the framing stays.
pub(super) fn ordinary_head(
    head: &ResponseHead,
    buf: &[u8],
    id: RequestId,
    length: BodyLength,
) -> Result<Vec<u8>, CloseReason> {
    let mut out = Vec::with_capacity(head.len + ADDED_BYTES);
    let written = write!(out, "HTTP/1.1 {} ", head.status);
    debug_assert!(written.is_ok(), "writing to a vector does not fail");
    out.extend_from_slice(head.reason.of(buf));
    out.extend_from_slice(b"\r\n");
    // RFC 9110 §8.6: a 204 has no length, whatever the backend says; some clients would wait for that many bytes.
    let left_out: &[&[u8]] = if head.status == 204 {
        &[b"content-length"]
    } else {
        &[]
    };
    put_end_to_end(&mut out, head, buf, id, left_out)?;
    if length == BodyLength::Chunked {
        put(&mut out, b"Transfer-Encoding", b"chunked");
    }
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(out)
}

fn put_end_to_end(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    buf: &[u8],
    id: RequestId,
    left_out: &[&[u8]],
) -> Result<(), CloseReason> {
    let named = Named::new(head.tokens(buf, "connection"))
        .map_err(|TooMany| CloseReason::BadAnswer(AnswerError::Connection))?;
    let mut has_server = false;
    for field in &head.fields {
        let name = field.name.of(buf);
        if named.is_hop_by_hop(name) || is_ours(name) || is_one_of(name, left_out) {
            continue;
        }
        has_server |= name.eq_ignore_ascii_case(b"server");
        put(out, name, field.value.of(buf));
    }
    if !has_server {
        put(out, b"Server", b"api-gateway");
    }
    put(out, b"X-Request-Id", &id.hex());
    Ok(())
}

fn is_ours(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"x-request-id") || has_prefix(name, GATEWAY_PREFIX)
}

/// How relaying an ordinary answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relayed {
    Whole,
    /// Nothing has been sent to the client yet.
    Refused(CloseReason),
    /// The client has part of it, and must not take that for the whole.
    Broken(CloseReason),
}

/// Relays an answer that is no 101, body and all (spec 1.6.6).
pub(super) async fn relay(
    edge: &Edge,
    client: &mut Client,
    backend: &mut Stream,
    answer: Answer,
    id: RequestId,
    pause_max: Duration,
) -> Relayed {
    let Answer { head, mut buf } = answer;
    let out = head
        .body(&buf, false)
        .map_err(|_| CloseReason::BadAnswer(AnswerError::NotHttp))
        .and_then(|length| Ok((length, ordinary_head(&head, &buf, id, length)?)));
    let (length, out) = match out {
        Ok(out) => out,
        Err(reason) => return Relayed::Refused(reason),
    };
    buf.consume(head.len);
    let mut scanner = BodyScanner::new(length);
    let mut unsent = out;
    if let Err(reason) = take_body(&mut buf, &mut scanner, &mut unsent) {
        return Relayed::Refused(reason);
    }
    loop {
        let outcome = timeout(
            pause_max,
            relay_piece(edge, client, backend, &mut buf, &mut scanner, &mut unsent),
        );
        match outcome.await {
            Ok(Ok(Piece::More)) => {}
            Ok(Ok(Piece::Last)) => return Relayed::Whole,
            Ok(Err(reason)) => return Relayed::Broken(reason),
            Err(_) => return Relayed::Broken(CloseReason::TimedOut(Deadline::AnswerBody)),
        }
    }
}

enum Piece {
    More,
    Last,
}

/// Moves what belongs to the body from `buf` to the end of `unsent`.
fn take_body(
    buf: &mut Buffer,
    scanner: &mut BodyScanner,
    unsent: &mut Vec<u8>,
) -> Result<(), CloseReason> {
    let of_body = scanner.scan(buf);
    let of_body = of_body.map_err(|_| CloseReason::BadAnswer(AnswerError::NotHttp))?;
    unsent.extend_from_slice(buf.get(..of_body).unwrap_or_default());
    buf.consume(usize::MAX);
    Ok(())
}

/// Sends on what is there, and receives the next piece.
async fn relay_piece(
    edge: &Edge,
    client: &mut Client,
    backend: &mut Stream,
    buf: &mut Buffer,
    scanner: &mut BodyScanner,
    unsent: &mut Vec<u8>,
) -> Result<Piece, CloseReason> {
    let written = client.stream.write(unsent).await;
    written.map_err(|_| CloseReason::ClientGone)?;
    unsent.clear();
    if scanner.is_complete() {
        return Ok(Piece::Last);
    }
    // Not tried first: a backend that is always ready would keep everybody else of this core waiting.
    let received = match backend.readable().await {
        Ok(()) => backend.read(&edge.scratch, buf).await,
        Err(error) => Err(error),
    };
    match received {
        Ok(Received::Bytes) => take_body(buf, scanner, unsent).map(|()| Piece::More),
        Ok(Received::End) if scanner.is_complete_at_eof() => Ok(Piece::Last),
        Err(StreamError::Full(_)) => Err(CloseReason::NoHeadRoom),
        Ok(Received::End) | Err(_) => Err(CloseReason::BackendGone),
    }
}

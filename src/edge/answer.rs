//! The backend's answer: its head is read, and written anew as the client is to have it.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io::Write;
use std::time::{Duration, SystemTime};

use super::fields::{Named, TooMany, has_prefix, is_one_of, put};
use super::pool::Buffer;
use super::stream::{Received, Stream, StreamError};
use super::{Edge, cors};
use crate::catalog::Cors;
use crate::close::CloseReason;
use crate::observe::request_id::RequestId;
use crate::observe::utc::HttpDate;
use crate::proto::body::BodyLength;
use crate::proto::handshake::AnswerError;
use crate::proto::head::{HeadSeeker, ResponseHead, Version, resume_response};

/// Interim answers (RFC 9110 §15.2) before a backend is taken for broken.
const INTERIM_MAX: usize = 8;

/// Fields that a backend can't set (spec 2.8).
const GATEWAY_PREFIX: &[u8] = b"x-apig-";
const ADDED_BYTES: usize = 256;

/// A complete head of a final answer, at the front of what was received from the backend.
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

/// Reads one answer's heads: interim ones, then the final one.
pub(super) struct Reader {
    buf: Buffer,
    interim: usize,
}

impl Reader {
    pub(super) fn new(edge: &Edge) -> Self {
        Self {
            buf: edge.pool.buffer(),
            interim: 0,
        }
    }

    /// The next head, at the front of `received`. One that `is_interim` has to be passed over before the next call.
    pub(super) async fn head(
        &mut self,
        edge: &Edge,
        backend: &Stream,
    ) -> Result<ResponseHead, NoAnswer> {
        let mut seeker = HeadSeeker::response();
        loop {
            let parsed = resume_response(&mut seeker, &self.buf, &edge.live().config.limits.head);
            match parsed.map_err(|_| not_http())? {
                Some(head) => {
                    self.interim += usize::from(is_interim(&head));
                    if self.interim > INTERIM_MAX {
                        return Err(not_http());
                    }
                    return Ok(head);
                }
                None => self.receive(edge, backend).await?,
            }
        }
    }

    async fn receive(&mut self, edge: &Edge, backend: &Stream) -> Result<(), NoAnswer> {
        let began = self.interim > 0 || !self.buf.is_empty();
        match backend.next(&edge.scratch, &mut self.buf).await {
            Ok(Received::Bytes) => Ok(()),
            Err(StreamError::Full(_)) => Err(NoAnswer::Broken(CloseReason::NoHeadRoom)),
            Ok(Received::End) | Err(_) if began => Err(NoAnswer::Broken(CloseReason::BackendGone)),
            Ok(Received::End) | Err(_) => Err(NoAnswer::Nothing),
        }
    }

    pub(super) fn received(&self) -> &[u8] {
        &self.buf
    }

    pub(super) fn pass_over(&mut self, interim: &ResponseHead) {
        self.buf.consume(interim.len);
    }

    pub(super) fn into_answer(self, head: ResponseHead) -> Answer {
        Answer {
            head,
            buf: self.buf,
        }
    }
}

/// Whether another answer follows this one (RFC 9110 §15.2). After a 101 what follows is no HTTP.
pub(super) fn is_interim(head: &ResponseHead) -> bool {
    head.status < 200 && head.status != 101
}

fn not_http() -> NoAnswer {
    NoAnswer::Broken(CloseReason::BadAnswer(AnswerError::NotHttp))
}

/// What the client's side of an answer depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) id: RequestId,
    pub(super) version: Version,
    /// The client asked with HEAD: no body follows, whatever the head says.
    pub(super) is_head: bool,
    /// What the call is to CORS, if the API has that on (spec 7.9).
    pub(super) cors: Option<Cors>,
    /// Present if the client asked for it (spec 2.8).
    pub(super) latency: Option<Latency>,
    pub(super) date: SystemTime,
}

/// The times that a debugging client is told (spec 2.8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    /// From the request's first byte to the answer's head.
    pub(super) total: Duration,
    /// The part of it after the request was sent to the backend; `None` where there was none.
    pub(super) upstream: Option<Duration>,
}

impl Latency {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let total = self.total.as_millis();
        put(out, b"X-Apig-Latency", total.to_string().as_bytes());
        if let Some(upstream) = self.upstream {
            let upstream = upstream.as_millis();
            put(
                out,
                b"X-Apig-Upstream-Latency",
                upstream.to_string().as_bytes(),
            );
        }
    }
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    KeepAlive,
    Close,
}

/// How the client is told where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is neither a body nor a length (RFC 9110 §8.6: 1xx and 204).
    Bare,
    /// There is no body, and the backend's length, if it gave one, says what there would have been: HEAD and 304.
    Described,
    Length(u64),
    /// As the backend sends it.
    Chunked,
    /// What ends with the backend's connection, in chunks of ours.
    Rechunked,
    /// For clients that know no chunks: what is in them, and the end of the connection.
    Decoded,
    UntilClose,
}

impl Framing {
    /// RFC 9112 §6.3, for a client of `reply.version`.
    pub(super) fn new(status: u16, length: BodyLength, reply: &Reply) -> Self {
        match (length, reply.version) {
            _ if status == 204 => Self::Bare,
            _ if status == 304 || reply.is_head => Self::Described,
            (BodyLength::None, _) => Self::Length(0),
            (BodyLength::Length(length), _) => Self::Length(length),
            (BodyLength::Chunked, Version::Http11) => Self::Chunked,
            (BodyLength::Chunked, Version::Http10) => Self::Decoded,
            (BodyLength::UntilClose, Version::Http11) => Self::Rechunked,
            (BodyLength::UntilClose, Version::Http10) => Self::UntilClose,
        }
    }

    pub(super) fn has_body(self) -> bool {
        !matches!(self, Self::Bare | Self::Described)
    }

    /// Whether only the end of the connection ends the body.
    pub(super) fn ends_connection(self) -> bool {
        matches!(self, Self::Decoded | Self::UntilClose)
    }
}

/// The client's 101, from the backend's in `buf`.
pub(super) fn switching_head(
    head: &ResponseHead,
    buf: &[u8],
    reply: &Reply,
) -> Result<Vec<u8>, CloseReason> {
    let mut out = Vec::with_capacity(head.len + ADDED_BYTES);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    // RFC 9110 §8.6: a 1xx has no length, whatever the backend says.
    put_end_to_end(&mut out, head, buf, Framing::Bare)?;
    put_own(&mut out, reply);
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    Ok(out)
}

/// An interim answer for the client (RFC 9110 §15.2), from the backend's in `buf`.
pub(super) fn interim_head(head: &ResponseHead, buf: &[u8]) -> Result<Vec<u8>, CloseReason> {
    let mut out = Vec::with_capacity(head.len);
    put_status(&mut out, head, buf);
    put_end_to_end(&mut out, head, buf, Framing::Bare)?;
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// The head of an ordinary answer, with one way to tell where its body ends.
pub(super) fn ordinary_head(
    head: &ResponseHead,
    buf: &[u8],
    reply: &Reply,
    framing: Framing,
    persistence: Persistence,
) -> Result<Vec<u8>, CloseReason> {
    let mut out = Vec::with_capacity(head.len + ADDED_BYTES);
    put_status(&mut out, head, buf);
    let seen = put_end_to_end(&mut out, head, buf, framing)?;
    if !seen.server {
        put(&mut out, b"Server", b"api-gateway");
    }
    if !seen.date {
        let written = write!(out, "Date: {}\r\n", HttpDate(reply.date));
        debug_assert!(written.is_ok(), "writing to a vector does not fail");
    }
    let names = head.fields.iter().map(|field| field.name.of(buf));
    cors::put_for(&mut out, reply.cors, names);
    put_own(&mut out, reply);
    match framing {
        Framing::Length(length) => {
            put(&mut out, b"Content-Length", length.to_string().as_bytes());
        }
        Framing::Chunked | Framing::Rechunked => put(&mut out, b"Transfer-Encoding", b"chunked"),
        Framing::Bare | Framing::Described | Framing::Decoded | Framing::UntilClose => {}
    }
    put_persistence(&mut out, persistence, reply.version);
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// RFC 9112 §9.3: what is not said anyway.
pub(super) fn put_persistence(out: &mut Vec<u8>, persistence: Persistence, version: Version) {
    match (persistence, version) {
        (Persistence::Close, _) => put(out, b"Connection", b"close"),
        (Persistence::KeepAlive, Version::Http10) => put(out, b"Connection", b"keep-alive"),
        (Persistence::KeepAlive, Version::Http11) => {}
    }
}

fn put_status(out: &mut Vec<u8>, head: &ResponseHead, buf: &[u8]) {
    let written = write!(out, "HTTP/1.1 {} ", head.status);
    debug_assert!(written.is_ok(), "writing to a vector does not fail");
    out.extend_from_slice(head.reason.of(buf));
    out.extend_from_slice(b"\r\n");
}

/// The fields of spec 2.8 that only we can give.
fn put_own(out: &mut Vec<u8>, reply: &Reply) {
    put(out, b"X-Request-Id", &reply.id.hex());
    if let Some(latency) = &reply.latency {
        latency.put(out);
    }
}

/// Fields of the backend's that need not be added.
#[derive(Default)]
struct Seen {
    server: bool,
    date: bool,
}

fn put_end_to_end(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    buf: &[u8],
    framing: Framing,
) -> Result<Seen, CloseReason> {
    let named = Named::new(head.tokens(buf, "connection"))
        .map_err(|TooMany| CloseReason::BadAnswer(AnswerError::Connection))?;
    let mut seen = Seen::default();
    for field in &head.fields {
        let name = field.name.of(buf);
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        if named.is_hop_by_hop(name)
            || is_ours(name)
            || (is_length && framing != Framing::Described)
        {
            continue;
        }
        seen.server |= name.eq_ignore_ascii_case(b"server");
        seen.date |= name.eq_ignore_ascii_case(b"date");
        put(out, name, field.value.of(buf));
    }
    Ok(seen)
}

pub(super) fn is_ours(name: &[u8]) -> bool {
    is_one_of(name, &[b"x-request-id"]) || has_prefix(name, GATEWAY_PREFIX)
}

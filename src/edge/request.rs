//! Hearing a request: its head is collected under deadlines, parsed in place, and held against the rules.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::net::IpAddr;

use monoio::time::{Instant, timeout, timeout_at};

use super::connection::Client;
use super::pool::{Buffer, Full};
use super::stream::{Received, Stream, StreamError};
use super::{Began, Edge, route};
use crate::close::{CloseReason, Deadline};
use crate::proto::head::{
    HeadError, HeadLimits, HeadSeeker, RequestFacts, RequestHead, resume_request,
};

/// A request whose head keeps the rules. Its spans refer to the buffer it was heard in.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) began: Began,
    pub(super) head: RequestHead,
    pub(super) facts: RequestFacts,
    /// Whose request it is (spec 2.9).
    pub(super) client: IpAddr,
}

impl Request {
    /// Whether it asks to be told how long things took (spec 2.8).
    pub(super) fn is_debugging(&self, buf: &[u8]) -> bool {
        let mut modes = self.head.values(buf, "x-apig-mode");
        modes.any(|mode| mode.eq_ignore_ascii_case(b"debug"))
    }
}

/// What came of waiting for a request.
#[derive(Debug)]
pub(super) enum Heard {
    Request(Request),
    /// The client left, or kept silent for too long, between two requests: no fault, and no answer.
    Nothing,
    Wrong(Began, CloseReason),
}

/// Waits for the next request, which `buf` may already hold. `first` is the deadline of a connection's first one, which
/// runs from its accept; later ones have a time for each, from their first byte.
pub(super) async fn hear(
    edge: &Edge,
    client: &Client,
    buf: &mut Buffer,
    first: Option<Instant>,
) -> Heard {
    if buf.is_empty() {
        match wait_for_first_byte(edge, client, buf, first).await {
            Ok(()) => {}
            Err(heard) => return heard,
        }
    }
    let began = Began::now(edge);
    let deadline = first.unwrap_or_else(|| began.at + edge.live().config.timeouts.handshake);
    let live = edge.live();
    let limits = &live.config.limits.head;
    let collected = timeout_at(deadline, collect(edge, &client.stream, buf, limits)).await;
    let outcome = match collected {
        Ok(outcome) => outcome,
        Err(_) => Err(CloseReason::TimedOut(Deadline::RequestHead)),
    };
    match outcome {
        Ok((head, facts)) => understood(edge, client, buf, began, head, facts),
        Err(reason) => Heard::Wrong(began, reason),
    }
}

fn understood(
    edge: &Edge,
    client: &Client,
    buf: &[u8],
    began: Began,
    head: RequestHead,
    facts: RequestFacts,
) -> Heard {
    let client = route::client_address(edge, &client.peer, &head, buf);
    Heard::Request(Request {
        began,
        head,
        facts,
        client,
    })
}

async fn wait_for_first_byte(
    edge: &Edge,
    client: &Client,
    buf: &mut Buffer,
    first: Option<Instant>,
) -> Result<(), Heard> {
    let read = match first {
        Some(deadline) => timeout_at(deadline, client.stream.read(&edge.scratch, buf)).await,
        None => {
            let _idle = Idle::new(edge);
            let reading = client.stream.next(&edge.scratch, buf);
            timeout(edge.live().config.timeouts.keep_alive, reading).await
        }
    };
    match read {
        Ok(Ok(Received::Bytes)) => Ok(()),
        Ok(Ok(Received::End) | Err(StreamError::Io(_))) => Err(Heard::Nothing),
        Ok(Err(error)) => Err(Heard::Wrong(Began::now(edge), broken(error))),
        // Whoever has said nothing is not told anything either.
        Err(_) => {
            if first.is_some() {
                let reason = CloseReason::TimedOut(Deadline::RequestHead);
                edge.refused(&Began::now(edge).refusal(&client.peer, reason, None));
            }
            Err(Heard::Nothing)
        }
    }
}

/// Marks a connection that is between two requests.
struct Idle<'a>(&'a Edge);

impl<'a> Idle<'a> {
    fn new(edge: &'a Edge) -> Self {
        edge.idle.set(edge.idle.get() + 1);
        Self(edge)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.idle.set(self.0.idle.get().saturating_sub(1));
    }
}

async fn collect(
    edge: &Edge,
    stream: &Stream,
    buf: &mut Buffer,
    limits: &HeadLimits,
) -> Result<(RequestHead, RequestFacts), CloseReason> {
    let mut seeker = HeadSeeker::request();
    loop {
        let parsed = resume_request(&mut seeker, buf, limits).map_err(CloseReason::BadHead)?;
        if let Some(head) = parsed {
            let facts = head.check(buf).map_err(CloseReason::BadHead)?;
            return Ok((head, facts));
        }
        match stream.read(&edge.scratch, buf).await {
            Ok(Received::Bytes) => {}
            Ok(Received::End) => return Err(CloseReason::ClientGone),
            Err(error) => return Err(broken(error)),
        }
    }
}

/// What an error on the client's connection means for its request.
pub(super) fn broken(error: StreamError) -> CloseReason {
    match error {
        StreamError::Io(_) => CloseReason::ClientGone,
        StreamError::Tls => CloseReason::ClientTlsFailed,
        StreamError::Full(full) => no_room(full),
    }
}

fn no_room(full: Full) -> CloseReason {
    match full {
        Full::Buffer => CloseReason::BadHead(HeadError::FieldsTooLong),
        Full::Pool => CloseReason::NoHeadRoom,
    }
}

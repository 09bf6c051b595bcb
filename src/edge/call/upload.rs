//! The body of a request on its way to the backend: piece by piece, as far as the client has sent it and no further.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use crate::close::CloseReason;
use crate::edge::Edge;
use crate::edge::pool::Buffer;
use crate::edge::request::Request;
use crate::proto::body::{BodyLength, BodyScanner};

/// What the client has sent behind the head of its request, and where in it the body ends.
///
/// ```text
///   incoming:  | scanned: on its way to the backend | not looked at: body, or the next requests |
/// ```
pub(super) struct Upload {
    scanner: BodyScanner,
    pub(super) incoming: Buffer,
    /// Bytes at the front of `incoming` that belong to the body and are being sent.
    scanned: usize,
    /// Of the body, framing included.
    bytes: u64,
    /// Of what the body says.
    data: u64,
    data_max: u64,
}

impl Upload {
    /// Of a request whose head stands at the front of `received`.
    pub(super) fn new(
        edge: &Edge,
        request: &Request,
        received: &[u8],
    ) -> Result<Self, CloseReason> {
        let mut incoming = edge.pool.buffer();
        let behind = received.get(request.head.len..).unwrap_or_default();
        if !behind.is_empty() {
            let kept = incoming.append(behind);
            kept.map_err(|_| CloseReason::NoHeadRoom)?;
        }
        Ok(Self {
            scanner: BodyScanner::new(BodyLength::from(request.facts.body)),
            incoming,
            scanned: 0,
            bytes: 0,
            data: 0,
            data_max: edge.live().config.limits.request_body_bytes_max,
        })
    }

    /// Finds the next piece of the body in what has come.
    pub(super) fn scan(&mut self) -> Result<(), CloseReason> {
        self.advance();
        let mut data = 0;
        let scanned = self
            .scanner
            .decode(&self.incoming, &mut |bytes| data += bytes.len());
        self.scanned = scanned.map_err(CloseReason::BadBody)?;
        self.bytes = self.bytes.saturating_add(self.scanned as u64);
        self.data = self.data.saturating_add(data as u64);
        if self.data > self.data_max {
            return Err(CloseReason::BodyTooLarge);
        }
        Ok(())
    }

    /// The piece that `scan` has found.
    pub(super) fn piece(&self) -> &[u8] {
        self.incoming.get(..self.scanned).unwrap_or_default()
    }

    /// The piece has been sent.
    pub(super) fn advance(&mut self) {
        if self.scanned > 0 {
            self.incoming.consume(self.scanned);
            self.scanned = 0;
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.scanner.is_complete()
    }

    /// Whether a backend may have got some of it: it is not kept, and can't be sent to another.
    pub(super) fn has_started(&self) -> bool {
        self.bytes > 0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Passes over the rest of a body that nobody wants, if it has come already. False if it has not.
    pub(super) fn skip_rest(&mut self) -> bool {
        self.is_complete() || (self.scan().is_ok() && self.is_complete())
    }

    /// What the client sent behind the body.
    pub(super) fn into_rest(mut self) -> Buffer {
        self.advance();
        self.incoming
    }
}

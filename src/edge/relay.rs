//! Passing an answer on to the client, body and all, piece by piece.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::cell::Cell;
use std::io::Write;

use monoio::time::timeout;

use super::Edge;
use super::answer::{Answer, Framing};
use super::patience::{Expired, Patience};
use super::pool::Buffer;
use super::record::Sent;
use super::stream::{Received, Stream, StreamError};
use crate::close::{CloseReason, Deadline, Side};
use crate::proto::body::{BodyLength, BodyScanner};
use crate::proto::handshake::AnswerError;

/// The ends of an answer's way.
pub(super) struct Relay<'a> {
    pub(super) edge: &'a Edge,
    pub(super) client: &'a Stream,
    pub(super) backend: &'a Stream,
    pub(super) patience: &'a Patience,
    pub(super) progress: &'a Progress,
}

/// How far an answer has got, for whoever has to end it halfway.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The client has part of it, or may have.
    pub(super) begun: Cell<bool>,
    /// Bytes of the body that came from the backend, framing included.
    pub(super) bytes: Cell<u64>,
    /// Bytes that the client took, and how many of them were heads.
    sent: Cell<u64>,
    heads: Cell<u64>,
}

impl Progress {
    /// What the client was sent.
    pub(super) fn sent(&self) -> Sent {
        let head = self.heads.get().min(self.sent.get());
        Sent {
            head,
            body: self.sent.get() - head,
        }
    }
}

fn add(sum: &Cell<u64>, bytes: usize) {
    sum.set(sum.get().saturating_add(bytes as u64));
}

/// An answer that the client has all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// The backend has sent this answer and not a byte more, and goes on listening as far as that tells.
    pub(super) backend_is_clean: bool,
}

impl Relay<'_> {
    /// Sends `out`, the answer's head as the client is to have it, and the body of `length` in the form of `framing`.
    pub(super) async fn run(
        &self,
        answer: Answer,
        out: Vec<u8>,
        length: BodyLength,
        framing: Framing,
    ) -> Result<Whole, CloseReason> {
        let Answer { head, mut buf } = answer;
        buf.consume(head.len);
        add(&self.progress.heads, out.len());
        if !framing.has_body() {
            self.send(&out).await?;
            let is_empty = matches!(length, BodyLength::None | BodyLength::Length(0));
            return Ok(Whole {
                backend_is_clean: is_empty && buf.is_empty(),
            });
        }
        let mut passing = Passing::new(self.edge, length, framing);
        let mut unsent_head = out;
        loop {
            let taken = passing.take(&buf)?;
            self.count(taken);
            let piece = passing.piece(&buf, taken);
            if unsent_head.is_empty() {
                self.send(piece).await?;
            } else {
                unsent_head.extend_from_slice(piece);
                self.send(&unsent_head).await?;
                unsent_head = Vec::new();
            }
            passing.clear();
            buf.consume(taken);
            if passing.scanner.is_complete() {
                return Ok(Whole {
                    backend_is_clean: buf.is_empty(),
                });
            }
            if !self.receive(&mut buf, &passing.scanner).await? {
                self.send(passing.end()).await?;
                return Ok(Whole {
                    backend_is_clean: false,
                });
            }
        }
    }

    /// The next bytes of the body; false if the end of the connection is its end.
    async fn receive(&self, buf: &mut Buffer, scanner: &BodyScanner) -> Result<bool, CloseReason> {
        self.patience.renew();
        let reading = self.backend.next(&self.edge.scratch, buf);
        match self.patience.wait(reading).await {
            Err(Expired) => Err(CloseReason::TimedOut(Deadline::AnswerBody)),
            Ok(Ok(Received::Bytes)) => Ok(true),
            Ok(Ok(Received::End))
                if scanner.is_complete_at_eof() && self.backend.has_ended_properly() =>
            {
                Ok(false)
            }
            Ok(Err(StreamError::Full(_))) => Err(CloseReason::NoHeadRoom),
            Ok(Ok(Received::End) | Err(_)) => Err(CloseReason::BackendGone),
        }
    }

    /// Sends the head of an interim answer.
    pub(super) async fn send_interim(&self, head: &[u8]) -> Result<(), CloseReason> {
        add(&self.progress.heads, head.len());
        self.send(head).await
    }

    /// Sends to a client that may be slow, but has to take some of it.
    async fn send(&self, bytes: &[u8]) -> Result<(), CloseReason> {
        self.progress.begun.set(true);
        let sending = self.client.write(bytes);
        match timeout(self.edge.live().config.timeouts.slow_consumer, sending).await {
            Ok(Ok(())) => {
                add(&self.progress.sent, bytes.len());
                Ok(())
            }
            Ok(Err(_)) => Err(CloseReason::ClientGone),
            Err(_) => Err(CloseReason::SlowConsumer(Side::Client)),
        }
    }

    fn count(&self, bytes: usize) {
        add(&self.progress.bytes, bytes);
    }
}

/// A body on its way, and how its pieces look to the client.
struct Passing {
    scanner: BodyScanner,
    framing: Framing,
    /// The piece that is on its way, where it does not look as it came.
    framed: Buffer,
}

impl Passing {
    fn new(edge: &Edge, length: BodyLength, framing: Framing) -> Self {
        Self {
            scanner: BodyScanner::new(length),
            framing,
            framed: edge.pool.buffer(),
        }
    }

    /// How many of `bytes` belong to the body.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, CloseReason> {
        let Self {
            scanner,
            framing,
            framed,
        } = self;
        let mut full = false;
        let mut keep = |bytes: &[u8]| full |= framed.append(bytes).is_err();
        let taken = match framing {
            Framing::Decoded => scanner.decode(bytes, &mut keep),
            Framing::Rechunked if !bytes.is_empty() => {
                let mut size = Vec::with_capacity(16);
                let written = write!(size, "{:x}\r\n", bytes.len());
                debug_assert!(written.is_ok(), "writing to a vector does not fail");
                for part in [&size, bytes, b"\r\n"] {
                    keep(part);
                }
                scanner.scan(bytes)
            }
            _ => scanner.scan(bytes),
        };
        if full {
            return Err(CloseReason::NoHeadRoom);
        }
        taken.map_err(|_| CloseReason::BadAnswer(AnswerError::NotHttp))
    }

    /// What the client gets of the first `taken` of `bytes`.
    fn piece<'a>(&'a self, bytes: &'a [u8], taken: usize) -> &'a [u8] {
        match self.framing {
            Framing::Decoded | Framing::Rechunked => &self.framed,
            _ => bytes.get(..taken).unwrap_or_default(),
        }
    }

    /// What ends a body that ended with the backend's connection.
    fn end(&self) -> &'static [u8] {
        match self.framing {
            Framing::Rechunked => b"0\r\n\r\n",
            _ => b"",
        }
    }

    fn clear(&mut self) {
        self.framed.consume(usize::MAX);
    }
}

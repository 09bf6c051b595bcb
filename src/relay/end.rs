//! One socket of a tunnel: which operations are in flight on it, how far its closing has come, and its TLS if it has one.
#![forbid(unsafe_code)]

use super::half::Half;
use super::shelf::{Context, Shelf};
use crate::buffer::{Batch, Owned, Piece};
use crate::tls::{TlsError, TlsSession};
use crate::uring::{Fd, Memory};

pub(super) struct End {
    pub(super) fd: Fd,
    pub(super) tls: Option<Box<TlsEnd>>,
    pub(super) receive: Operation,
    pub(super) send: Operation,
    pub(super) cancels_in_flight: u8,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) life: Life,
    /// The peer is to see a reset instead of an orderly end.
    pub(super) reset: bool,
    /// Before the write side is shut down, the peer's Close is waited for.
    pub(super) awaits_answer: bool,
    /// There was no room to receive into.
    pub(super) starved: bool,
    /// Bytes discarded since input lost its meaning.
    pub(super) discarded_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    None,
    InFlight,
    Cancelling,
}

/// What is done with what comes from this socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Relayed,
    Discarded,
    Ended,
}

/// How far the closing of the direction into this socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Open,
    /// Nothing will be added to what waits; then comes the shutdown.
    Finishing,
    Shut,
}

/// TigerBeetle calls these steps terminate, join and close: new work stops, what is in flight comes to rest, the
/// descriptor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Open,
    Leaving,
    Closed,
}

impl End {
    pub(super) fn new(fd: Fd, tls: Option<Box<TlsSession>>) -> Self {
        Self {
            fd,
            tls: tls.map(|session| Box::new(TlsEnd::new(*session))),
            receive: Operation::None,
            send: Operation::None,
            cancels_in_flight: 0,
            input: Input::Relayed,
            output: Output::Open,
            life: Life::Open,
            reset: false,
            awaits_answer: false,
            starved: false,
            discarded_bytes: 0,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.receive == Operation::None
            && self.send == Operation::None
            && self.cancels_in_flight == 0
    }

    pub(super) fn leave(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Leaving;
        }
    }

    /// Nothing will be added to what is on its way into this socket.
    pub(super) fn finish(&mut self) {
        if self.output == Output::Open {
            self.output = Output::Finishing;
        }
    }

    /// Its TLS has bytes of its own to send: tickets, key updates, alerts.
    pub(super) fn has_records(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.records.is_empty())
    }

    /// What the next send takes from `half`, sealed where this socket speaks TLS.
    pub(super) fn outgoing<M: Memory>(
        &mut self,
        half: &mut Half,
        cx: &mut Context<'_, M>,
    ) -> Result<Option<Box<Batch>>, TlsError> {
        let Some(tls) = &mut self.tls else {
            return Ok(half.take_all(cx));
        };
        if let Some(unsent) = half.take_unsent() {
            return Ok(Some(unsent));
        }
        let waiting = half.take_waiting();
        if waiting.is_none() && tls.records.is_empty() {
            return Ok(None);
        }
        let mut waiting = waiting.unwrap_or_else(|| cx.shelf.batches.take());
        let sealed = tls.seal(&mut waiting, cx);
        if waiting.is_empty() {
            cx.shelf.batches.give(waiting);
        } else {
            half.put_back(waiting);
        }
        let mut batch = cx.shelf.batches.take();
        batch.push(Piece::Owned(sealed?));
        Ok(Some(batch))
    }
}

/// TLS on one socket. What it holds is freed whenever it is empty.
pub(super) struct TlsEnd {
    /// In place, and so in memory of the relay's: what the edge allocated during the handshake goes back whole.
    session: TlsSession,
    /// Ciphertext that is not a whole record yet.
    partial: Vec<u8>,
    /// Records that the session itself has to send, before any other.
    records: Vec<u8>,
    /// The peer said close_notify.
    pub(super) peer_closed: bool,
    /// We said close_notify.
    notified: bool,
}

/// Plaintext for one send: a few records' worth.
const SEAL_BYTES_MAX: usize = 64 << 10;

/// Pieces up to this size are put together into one record; larger ones are sealed where they lie.
const COALESCE_BYTES_MAX: usize = 4 << 10;

/// Most plaintext of one record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 << 10;

impl TlsEnd {
    fn new(session: TlsSession) -> Self {
        Self {
            session,
            partial: Vec::new(),
            records: Vec::new(),
            peer_closed: false,
            notified: false,
        }
    }

    /// Opens the records in `piece`, and returns their plaintext in memory of our own. With an error come the records
    /// before the bad one.
    pub(super) fn open<M: Memory>(
        &mut self,
        mut piece: Piece,
        cx: &mut Context<'_, M>,
    ) -> (Owned, Result<(), TlsError>) {
        let mut plain = cx.shelf.owned.take(piece.len());
        let result = if self.partial.is_empty() {
            let input = match &mut piece {
                Piece::Segment(segment) => cx.memory.bytes_mut(segment),
                Piece::Owned(owned) => owned.as_mut_slice(),
            };
            let opened =
                self.session
                    .open(input, &mut |bytes| plain.extend(bytes), &mut self.records);
            opened.inspect(|opened| {
                self.partial
                    .extend_from_slice(input.get(opened.consumed..).unwrap_or_default());
            })
        } else {
            self.partial.extend_from_slice(cx.bytes(&piece));
            let opened = self.session.open(
                &mut self.partial,
                &mut |bytes| plain.extend(bytes),
                &mut self.records,
            );
            opened.inspect(|opened| {
                self.partial.drain(..opened.consumed);
            })
        };
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        cx.release(piece);
        cx.shelf.owned.settle(&mut plain);
        (
            plain,
            result.map(|opened| self.peer_closed |= opened.peer_closed),
        )
    }

    /// Seals what waits, as much as one send should take, behind the session's own records.
    fn seal<M: Memory>(
        &mut self,
        waiting: &mut Batch,
        cx: &mut Context<'_, M>,
    ) -> Result<Owned, TlsError> {
        let bytes = waiting.bytes().min(SEAL_BYTES_MAX);
        // A record adds 5 bytes of header, 16 of tag and 1 of type, or 8 of nonce on TLS 1.2.
        let overhead = 32 * (waiting.len() + bytes / RECORD_BYTES_MAX + 1);
        let mut sealed = cx.shelf.owned.take(self.records.len() + bytes + overhead);
        sealed.extend(&self.records);
        self.records = Vec::new();
        let mut taken = 0;
        let mut result = Ok(());
        while taken < SEAL_BYTES_MAX && result.is_ok() {
            let Some(piece) = waiting.pop() else { break };
            taken += piece.len();
            let Shelf { scratch, .. } = &mut *cx.shelf;
            let small = scratch.len() + piece.len() <= COALESCE_BYTES_MAX;
            if small {
                let bytes = match &piece {
                    Piece::Segment(segment) => cx.memory.bytes(segment),
                    Piece::Owned(owned) => owned.as_slice(),
                };
                scratch.extend_from_slice(bytes);
            } else {
                result = self.seal_scratch(&mut sealed, cx);
                result =
                    result.and_then(|()| self.session.seal(cx.bytes(&piece), sealed.bytes_mut()));
            }
            cx.release(piece);
        }
        result = result.and_then(|()| self.seal_scratch(&mut sealed, cx));
        cx.shelf.scratch.clear();
        cx.shelf.owned.settle(&mut sealed);
        match result {
            Ok(()) => Ok(sealed),
            Err(error) => {
                cx.shelf.owned.give(sealed);
                Err(error)
            }
        }
    }

    fn seal_scratch<M: Memory>(
        &mut self,
        sealed: &mut Owned,
        cx: &mut Context<'_, M>,
    ) -> Result<(), TlsError> {
        let scratch = &mut cx.shelf.scratch;
        if scratch.is_empty() {
            return Ok(());
        }
        let result = self.session.seal(scratch, sealed.bytes_mut());
        scratch.clear();
        result
    }

    /// Queues close_notify, once. `true` when there is now something to send.
    pub(super) fn notify(&mut self) -> bool {
        if std::mem::replace(&mut self.notified, true) {
            return false;
        }
        self.session.close_notify(&mut self.records);
        !self.records.is_empty()
    }

    /// The keys are nearly used up: the tunnel has to end before they are (RFC 5246, AES-GCM: 2^24 records).
    pub(super) fn is_used_up(&self) -> bool {
        self.session.records_left_low()
    }
}

//! One direction of a tunnel: what came from its source, what the frame scanner saw of it, and what waits for its
//! destination. It holds nothing while it is idle.
#![forbid(unsafe_code)]

use super::pings::Pings;
use super::policy::FrameMode;
use super::shelf::{Context, Shelf, Tick};
use crate::buffer::{Batch, Piece};
use crate::close::Side;
use crate::observe::series::RelaySeries;
use crate::proto::frame::{FrameError, FrameScanner, Masking, Tally, close_frame};
use crate::proto::handshake::Extensions;
use crate::uring::Memory;

pub(super) struct Half {
    scanner: FrameScanner,
    /// Received and not yet given to a send, as plaintext.
    waiting: Option<Box<Batch>>,
    /// What a send gave back unsent; it goes before anything that waits. Ciphertext where the destination speaks TLS.
    unsent: Option<Box<Batch>>,
    /// Bytes in the send that is in flight.
    in_flight_bytes: usize,
    /// When the destination last accepted a byte, or the first byte began to wait.
    pub(super) progress: Tick,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    /// The Close that the source sent: `None` until then, `Some(None)` for one without a code.
    pub(super) close: Option<Option<u16>>,
    /// A Close of ours that waits for a frame boundary.
    ours: Option<OurClose>,
    mode: FrameMode,
    /// The source is not received from, because the destination does not keep up.
    paused: bool,
    /// The send in flight pins provided buffers that are running out: what comes back of it is copied.
    spilling: bool,
}

/// A Close frame of ours. The masking key is given by whoever may draw random numbers (RFC 6455 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OurClose {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) mask: Option<[u8; 4]>,
}

/// What a half has to know of its tunnel when bytes come in.
pub(super) struct Account<'a> {
    pub(super) message_bytes_max: u64,
    /// Where the tunnel's API and backend are counted.
    pub(super) series: &'a RelaySeries,
    pub(super) pings: &'a mut Pings,
}

/// What happens to bytes after they were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Forward,
    /// They are only looked at, for the answer to our Close.
    Discard,
}

impl Half {
    pub(super) fn new(masking: Masking, extensions: Extensions, mode: FrameMode) -> Self {
        Self {
            scanner: FrameScanner::new(masking, extensions),
            waiting: None,
            unsent: None,
            in_flight_bytes: 0,
            progress: Tick(0),
            bytes: 0,
            messages: 0,
            close: None,
            ours: None,
            mode,
            paused: false,
            spilling: false,
        }
    }

    /// Takes in what the source sent. An error means that the source broke the rules, and that everything before the
    /// offending frame is on its way.
    pub(super) fn take_in<M: Memory>(
        &mut self,
        mut piece: Piece,
        source: Side,
        fate: Fate,
        account: Account<'_>,
        cx: &mut Context<'_, M>,
    ) -> Result<(), FrameError> {
        let len = piece.len();
        self.bytes += len as u64;
        cx.shelf.metrics.from(source).bytes.add(len as u64);
        account.series.from(source).bytes.add(len as u64);
        if self.mode == FrameMode::Opaque {
            self.forward(piece, fate, cx);
            return Ok(());
        }
        let mut tally = Tally::default();
        let scan = self
            .scanner
            .scan(cx.bytes(&piece), account.message_bytes_max, &mut tally);
        self.count(&tally, source, account, cx.shelf);
        if !scan.held.as_slice().is_empty() {
            let held = Piece::Owned(cx.shelf.owned.copy(scan.held.as_slice()));
            self.forward(held, fate, cx);
        }
        match (scan.violation, self.mode) {
            (Some(_), FrameMode::Observe) => {
                // From here on the bytes mean nothing to us; they go on unseen, those of the broken header first.
                let held = Piece::Owned(cx.shelf.owned.copy(self.scanner.held()));
                self.forward(held, fate, cx);
                self.mode = FrameMode::Opaque;
                self.forward(piece, fate, cx);
                Ok(())
            }
            (violation, _) => {
                piece.truncate(scan.forward);
                self.forward(piece, fate, cx);
                violation.map_or(Ok(()), Err)
            }
        }
    }

    fn count(&mut self, tally: &Tally, source: Side, account: Account<'_>, shelf: &Shelf) {
        let metrics = shelf.metrics.from(source);
        if tally.messages > 0 {
            let messages = u64::from(tally.messages);
            self.messages += messages;
            metrics.messages.add(messages);
            metrics.sizes.add(&tally.sizes);
            account.series.from(source).messages.add(messages);
        }
        if tally.pings > 0 {
            metrics.pings.add(u64::from(tally.pings));
            account.pings.pass(source, shelf.now);
        }
        if tally.pongs > 0 {
            metrics.pongs.add(u64::from(tally.pongs));
            if let Some(time) = account.pings.answer(source, shelf.now) {
                metrics.round_trip.observe_time(time);
            }
        }
        if let Some(code) = tally.close {
            self.close = Some(code);
            metrics.closes.count(code);
        }
    }

    fn forward<M: Memory>(&mut self, piece: Piece, fate: Fate, cx: &mut Context<'_, M>) {
        if fate == Fate::Discard || piece.is_empty() {
            cx.release(piece);
            return;
        }
        if self.queued_bytes() == 0 {
            self.progress = cx.now;
        }
        let batches = &mut cx.shelf.batches;
        self.waiting
            .get_or_insert_with(|| batches.take())
            .push(piece);
    }

    /// A complete Close frame went through in this direction.
    pub(super) fn close_seen(&self) -> bool {
        self.close.is_some()
    }

    /// Has a Close of ours sent in this direction as soon as a frame boundary is reached.
    pub(super) fn close_with(&mut self, ours: OurClose) {
        self.ours = Some(ours);
    }

    pub(super) fn has_pending_close(&self) -> bool {
        self.ours.is_some()
    }

    pub(super) fn give_up_close(&mut self) {
        self.ours = None;
    }

    /// Puts our Close behind what waits, if it may stand there, and says its code when it was put.
    pub(super) fn place_close<M: Memory>(&mut self, cx: &mut Context<'_, M>) -> Option<u16> {
        if !self.scanner.at_boundary() {
            return None;
        }
        let ours = self.ours.take()?;
        let frame = close_frame(ours.code, ours.reason, ours.mask);
        let piece = Piece::Owned(cx.shelf.owned.copy(frame.as_slice()));
        self.forward(piece, Fate::Forward, cx);
        Some(ours.code)
    }

    /// Close frames of ours cannot stand in this direction: it is not looked at, or a Close went through already.
    pub(super) fn takes_no_close(&self) -> bool {
        self.mode == FrameMode::Opaque || self.close_seen()
    }

    /// Bytes that the destination has not accepted yet.
    pub(super) fn queued_bytes(&self) -> usize {
        let bytes = |batch: &Option<Box<Batch>>| batch.as_ref().map_or(0, |batch| batch.bytes());
        bytes(&self.waiting) + bytes(&self.unsent) + self.in_flight_bytes
    }

    /// There is something to give to a send.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some() || self.unsent.is_some()
    }

    /// Whether the source has to wait for the destination: from its full share on, until half of it has gone. Pieces count
    /// as well as bytes, or a sender of single bytes could have a thousandfold kept.
    pub(super) fn is_paused(&mut self, share: usize) -> bool {
        let cost = |batch: &Option<Box<Batch>>| batch.as_ref().map_or(0, |batch| batch.cost());
        let held = cost(&self.waiting) + cost(&self.unsent) + self.in_flight_bytes;
        self.paused = held > if self.paused { share / 2 } else { share };
        self.paused
    }

    pub(super) fn was_paused(&self) -> bool {
        self.paused
    }

    /// What an earlier send left over, and only that.
    pub(super) fn take_unsent(&mut self) -> Option<Box<Batch>> {
        self.unsent.take()
    }

    pub(super) fn take_waiting(&mut self) -> Option<Box<Batch>> {
        self.waiting.take()
    }

    /// Puts back what did not fit into one send.
    pub(super) fn put_back(&mut self, waiting: Box<Batch>) {
        debug_assert!(self.waiting.is_none());
        self.waiting = Some(waiting);
    }

    /// Everything that can go out, for a destination that takes it as it is.
    pub(super) fn take_all<M: Memory>(&mut self, cx: &mut Context<'_, M>) -> Option<Box<Batch>> {
        let Some(mut batch) = self.unsent.take() else {
            return self.waiting.take();
        };
        if let Some(mut waiting) = self.waiting.take() {
            batch.append(&mut waiting);
            cx.shelf.batches.give(waiting);
        }
        Some(batch)
    }

    pub(super) fn sending(&mut self, bytes: usize) {
        self.in_flight_bytes = bytes;
    }

    /// Takes back what a send is done with; `n` bytes of it were accepted.
    pub(super) fn sent<M: Memory>(
        &mut self,
        mut n: usize,
        mut batch: Box<Batch>,
        cx: &mut Context<'_, M>,
    ) {
        self.in_flight_bytes = 0;
        if n > 0 {
            self.progress = cx.now;
        }
        while let Some(piece) = batch.advance(&mut n) {
            cx.release(piece);
        }
        if batch.is_empty() {
            cx.shelf.batches.give(batch);
        } else {
            if self.spilling {
                cx.spill(&mut batch);
            }
            self.unsent = Some(batch);
        }
        self.spilling = false;
    }

    /// Copies what waits out of the provided buffers. `true` when the send in flight should be cancelled for the same.
    pub(super) fn spill<M: Memory>(&mut self, cx: &mut Context<'_, M>) -> bool {
        for batch in [&mut self.waiting, &mut self.unsent].into_iter().flatten() {
            cx.spill(batch);
        }
        let begin = self.in_flight_bytes > 0 && !self.spilling;
        self.spilling |= begin;
        begin
    }

    #[cfg(test)]
    pub(super) fn held_segments(&self) -> usize {
        let batches = [&self.waiting, &self.unsent].into_iter().flatten();
        let pieces = batches.flat_map(|batch| batch.iter());
        pieces
            .filter(|piece| matches!(piece, Piece::Segment(_)))
            .count()
    }

    /// Gives back everything that waits.
    pub(super) fn clear<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        self.ours = None;
        for batch in [self.waiting.take(), self.unsent.take()]
            .into_iter()
            .flatten()
        {
            cx.discard(batch);
        }
    }
}

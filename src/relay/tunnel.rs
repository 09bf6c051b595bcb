//! An upgraded pair of connections, as pure state: bytes, completions and the time go in, actions come out.
//!
//! ```text
//!                    ┌─ half from the client ─────────────►┐
//!   client end ──────┤                                     ├────── backend end
//!                    └◄──────────── half from the backend ─┘
//!
//!   Open ──our own end: a Close waits for its boundary──► Boundary ──► Answer ──► Linger ──► both ends leave
//!    │ └──closing handshake complete──────────────────────────────────►┘          ▲
//!    └──a transport failed: what it sent is flushed to the other side─────────────┘
//! ```
//! Each stage after `Open` has a deadline of its own, so no tunnel outlives its end by more than three of them.
#![forbid(unsafe_code)]

mod ending;
mod poll;

use std::sync::Arc;
use std::time::Duration;

use super::end::{End, Input, Life, Operation};
use super::half::{Account, Fate, Half};
use super::pings::Pings;
use super::policy::TunnelPolicy;
use super::shelf::{Context, Tick};
use crate::buffer::{Batch, Piece, Segment};
use crate::close::{CloseReason, Errno, Side};
use crate::observe::series::RelaySeries;
use crate::proto::frame::Masking;
use crate::proto::handshake::Extensions;
use crate::tls::TlsSession;
use crate::uring::{Fd, Memory};

pub(super) use poll::{Action, Reset};

pub(super) struct Tunnel {
    client: End,
    backend: End,
    from_client: Half,
    from_backend: Half,
    policy: Arc<TunnelPolicy>,
    /// Where its API and backend are counted.
    series: Arc<RelaySeries>,
    pings: Pings,
    stage: Stage,
    reason: Option<CloseReason>,
    /// Who sent the first Close frame, if anybody but us.
    first_close: Option<Side>,
    /// When a byte was last relayed.
    active: Tick,
    /// When the current stage ends.
    stage_ends: Tick,
    /// When the relay will look at this tunnel again; `None` when that has to be worked out anew.
    due: Option<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// Our Close frames wait for frame boundaries.
    Boundary,
    /// The closing handshake is under way, or complete and nobody has closed yet.
    Answer,
    /// Both directions are shut or given up; input is discarded until it ends.
    Linger,
}

/// What each side brought along when its tunnel was made.
pub(super) struct Start {
    pub(super) fd: Fd,
    pub(super) tls: Option<Box<TlsSession>>,
}

impl Tunnel {
    pub(super) fn new(
        client: Start,
        backend: Start,
        extensions: Extensions,
        policy: Arc<TunnelPolicy>,
        series: Arc<RelaySeries>,
        now: Tick,
    ) -> Self {
        Self {
            client: End::new(client.fd, client.tls),
            backend: End::new(backend.fd, backend.tls),
            from_client: Half::new(Masking::Required, extensions, policy.frames),
            from_backend: Half::new(Masking::Forbidden, extensions, policy.frames),
            policy,
            series,
            pings: Pings::default(),
            stage: Stage::Open,
            reason: None,
            first_close: None,
            active: now,
            stage_ends: now,
            due: None,
        }
    }

    /// The bytes that came before the relay had the sockets, in the order they came in.
    pub(super) fn begin<M: Memory>(&mut self, side: Side, early: Early, cx: &mut Context<'_, M>) {
        let plaintext = Piece::Owned(cx.shelf.owned.adopt(early.plaintext));
        self.take_in(side, plaintext, cx);
        let ciphertext = Piece::Owned(cx.shelf.owned.adopt(early.ciphertext));
        if ciphertext.is_empty() {
            cx.release(ciphertext);
        } else {
            self.handle_bytes(side, ciphertext, cx);
        }
        if early.eof {
            if let Some(tls) = &mut self.end_mut(side).tls {
                tls.peer_closed = true;
            }
            self.handle_eof(side, cx);
        }
    }

    /// Other rules hold from now on; how frames are looked at stays as it was at the start.
    pub(super) fn live_by(&mut self, policy: Arc<TunnelPolicy>) {
        self.policy = policy;
    }

    /// Why the tunnel ends.
    pub(super) fn reason(&self) -> CloseReason {
        self.reason.unwrap_or(CloseReason::Finished)
    }

    /// How long nothing has been relayed, to a tick.
    pub(super) fn idle_at(&self, now: Tick) -> Duration {
        Tick::STEP * now.0.saturating_sub(self.active.0)
    }

    /// It is on its way out.
    pub(super) fn is_closing(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Where its API and backend are counted.
    pub(super) fn series(&self) -> &RelaySeries {
        &self.series
    }

    /// Who sent the first Close frame, if anybody but us.
    pub(super) fn first_close(&self) -> Option<Side> {
        self.first_close
    }

    pub(super) fn half(&self, source: Side) -> &Half {
        match source {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }

    fn half_mut(&mut self, source: Side) -> &mut Half {
        match source {
            Side::Client => &mut self.from_client,
            Side::Backend => &mut self.from_backend,
        }
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    /// A segment came from `side`. Whoever holds something already waits when memory is used up.
    pub(super) fn handle_segment<M: Memory>(
        &mut self,
        side: Side,
        segment: Segment,
        cx: &mut Context<'_, M>,
    ) {
        if cx.shelf.owned.is_full() && self.half(side).queued_bytes() > 0 {
            self.end_mut(side).starved = true;
        }
        self.handle_bytes(side, Piece::Segment(segment), cx);
    }

    /// Bytes came from `side`, in plain or as TLS records.
    fn handle_bytes<M: Memory>(&mut self, side: Side, piece: Piece, cx: &mut Context<'_, M>) {
        let end = self.end_mut(side);
        if end.input == Input::Ended || end.life != Life::Open {
            cx.release(piece);
            return;
        }
        let Some(tls) = &mut end.tls else {
            self.take_in(side, piece, cx);
            return;
        };
        let (plain, result) = tls.open(piece, cx);
        let (peer_closed, used_up) = (tls.peer_closed, tls.is_used_up());
        self.take_in(side, Piece::Owned(plain), cx);
        if result.is_err() {
            self.break_off(side, CloseReason::Tls(side), cx);
        } else if peer_closed {
            self.handle_eof(side, cx);
        } else if used_up {
            self.end_with(CloseReason::TlsKeysUsedUp(side), cx);
        }
    }

    fn take_in<M: Memory>(&mut self, side: Side, piece: Piece, cx: &mut Context<'_, M>) {
        if piece.is_empty() {
            cx.release(piece);
            return;
        }
        let end = self.end_mut(side);
        let fate = match end.input {
            Input::Relayed => Fate::Forward,
            Input::Discarded | Input::Ended => Fate::Discard,
        };
        if fate == Fate::Discard {
            end.discarded_bytes += piece.len();
        }
        self.active = cx.now;
        let half = match side {
            Side::Client => &mut self.from_client,
            Side::Backend => &mut self.from_backend,
        };
        let account = Account {
            message_bytes_max: self.policy.message_bytes_max,
            series: &self.series,
            pings: &mut self.pings,
        };
        let result = half.take_in(piece, side, fate, account, cx);
        if let (Err(error), Fate::Forward) = (result, fate) {
            self.end_with(CloseReason::BadFrame(side, error), cx);
        }
        if self.first_close.is_none() && self.stage == Stage::Open && self.half(side).close_seen() {
            self.first_close = Some(side);
        }
        self.place_closes(cx);
        if self.stage == Stage::Open
            && self.from_client.close_seen()
            && self.from_backend.close_seen()
        {
            // RFC 6455 §7.1.1: the server closes first. It has the time of a stage to do so.
            self.enter(Stage::Answer, cx);
        }
    }

    /// `side` will send no more.
    pub(super) fn handle_eof<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) {
        let closed = self.half(side).close_seen();
        let end = self.end_mut(side);
        let truncated = end.tls.as_ref().is_some_and(|tls| !tls.peer_closed);
        if end.input == Input::Ended {
            return;
        }
        end.input = Input::Ended;
        if truncated && !closed && self.stage == Stage::Open {
            self.break_off(side, CloseReason::Truncated(side), cx);
            return;
        }
        let looked_at = !self.from_client.takes_no_close() && !self.from_backend.takes_no_close();
        if looked_at {
            // Nobody has said a word of closing. The other side may still end the tunnel for a reason of its own.
            self.reason = self.reason.or(Some(CloseReason::EndOfStream(side)));
        }
        // No boundary will be reached any more in this direction.
        self.half_mut(side).give_up_close();
        self.end_mut(side.other()).finish();
    }

    /// There was no provided buffer for `side`. It waits until [`Tunnel::feed`].
    pub(super) fn handle_no_buffers(&mut self, side: Side) {
        self.end_mut(side).starved = true;
    }

    /// There are buffers again.
    pub(super) fn feed(&mut self, side: Side) {
        self.end_mut(side).starved = false;
    }

    /// The receive of `side` is over, or it failed.
    pub(super) fn handle_receive_over(&mut self, side: Side) {
        self.end_mut(side).receive = Operation::None;
    }

    pub(super) fn handle_cancelled(&mut self, side: Side) {
        let end = self.end_mut(side);
        debug_assert!(end.cancels_in_flight > 0);
        end.cancels_in_flight = end.cancels_in_flight.saturating_sub(1);
    }

    /// The send into `side` is over.
    pub(super) fn handle_sent<M: Memory>(
        &mut self,
        side: Side,
        result: Result<usize, Errno>,
        batch: Box<Batch>,
        cx: &mut Context<'_, M>,
    ) {
        self.end_mut(side).send = Operation::None;
        let failed = match result {
            Ok(_) | Err(Errno(libc::ECANCELED)) => None,
            Err(errno) => Some(errno),
        };
        let n = result.unwrap_or(0);
        if n > 0 {
            self.active = cx.now;
        }
        self.half_mut(side.other()).sent(n, batch, cx);
        if self.end(side).life != Life::Open {
            self.half_mut(side.other()).clear(cx);
        } else if let Some(errno) = failed {
            self.handle_failure(side, errno, cx);
        }
    }

    /// The transport of `side` failed.
    pub(super) fn handle_failure<M: Memory>(
        &mut self,
        side: Side,
        errno: Errno,
        cx: &mut Context<'_, M>,
    ) {
        self.break_off(side, CloseReason::Io(side, errno), cx);
    }

    /// The time given by [`Action::Wake`] has come.
    pub(super) fn handle_time<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        self.due = None;
        if self.stage == Stage::Open {
            self.judge_silence(cx);
        } else if cx.now >= self.stage_ends {
            self.leave_stage(cx);
        }
    }

    /// Provided buffers run out: what waits is copied, and the send in flight into `side` asked back.
    pub(super) fn spill<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) -> bool {
        let cancel = self.half_mut(side.other()).spill(cx);
        let end = self.end_mut(side);
        if cancel && end.send == Operation::InFlight {
            end.send = Operation::Cancelling;
            end.cancels_in_flight += 1;
            return true;
        }
        false
    }

    #[cfg(test)]
    pub(super) fn held_segments(&self) -> usize {
        self.from_client.held_segments() + self.from_backend.held_segments()
    }

    pub(super) fn is_starved(&self, side: Side) -> bool {
        self.end(side).starved
    }
}

/// What one side sent before its 101 was on its way.
pub(super) struct Early {
    pub(super) plaintext: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) eof: bool,
}

// An idle plain pair may cost 1 KiB with everything around it.
const _: () = assert!(size_of::<Tunnel>() <= 512);

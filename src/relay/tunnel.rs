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

use std::sync::Arc;

use super::end::{End, Input, Life, Operation, Output};
use super::half::{Fate, Half, OurClose};
use super::policy::{IdleEnd, TunnelPolicy};
use super::shelf::{Bounds, Context, Tick};
use crate::buffer::{Batch, Piece, Segment};
use crate::close::{CloseReason, Errno, Side};
use crate::proto::frame::Masking;
use crate::proto::handshake::Extensions;
use crate::tls::TlsSession;
use crate::uring::{Fd, Memory};

pub(super) struct Tunnel {
    client: End,
    backend: End,
    from_client: Half,
    from_backend: Half,
    policy: Arc<TunnelPolicy>,
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

/// What the relay is to do next for a tunnel.
#[derive(Debug)]
pub(super) enum Action {
    Receive(Side, Fd),
    CancelReceive(Side),
    Send(Side, Fd, Box<Batch>),
    CancelSend(Side),
    Shutdown(Fd),
    Close(Fd, Reset),
    /// Look again at this time, instead of any earlier given one.
    Wake(Tick),
    /// Nothing is in flight and both sockets are closed: the slot is free.
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    Yes,
    No,
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
        now: Tick,
    ) -> Self {
        Self {
            client: End::new(client.fd, client.tls),
            backend: End::new(backend.fd, backend.tls),
            from_client: Half::new(Masking::Required, extensions, policy.frames),
            from_backend: Half::new(Masking::Forbidden, extensions, policy.frames),
            policy,
            stage: Stage::Open,
            reason: None,
            first_close: None,
            active: now,
            stage_ends: now,
            due: None,
        }
    }

    /// Why the tunnel ends; both directions simply ended where nothing else was said.
    pub(super) fn reason(&self) -> CloseReason {
        self.reason.unwrap_or(CloseReason::Finished)
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

    // ---- Events ----

    /// Bytes came from `side`.
    pub(super) fn handle_bytes<M: Memory>(
        &mut self,
        side: Side,
        piece: Piece,
        cx: &mut Context<'_, M>,
    ) {
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
        let result = half.take_in(piece, side, fate, &self.policy, cx);
        if let (Err(error), Fate::Forward) = (result, fate) {
            self.end_with(CloseReason::BadFrame(side, error), cx);
        }
        if self.first_close.is_none() && self.reason.is_none() && self.half(side).close_seen() {
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

    /// Ends the tunnel politely, for a reason of ours: a Close to each side, at the next frame boundary into it.
    pub(super) fn end_with<M: Memory>(&mut self, reason: CloseReason, cx: &mut Context<'_, M>) {
        if self.stage != Stage::Open {
            return;
        }
        self.reason = Some(reason);
        if reason == CloseReason::Idle && self.policy.idle_end == IdleEnd::Disconnect {
            self.disconnect(cx);
            return;
        }
        self.enter(Stage::Boundary, cx);
        for side in [Side::Client, Side::Backend] {
            self.close_towards(side, reason, cx);
        }
        self.place_closes(cx);
    }

    fn close_towards<M: Memory>(
        &mut self,
        side: Side,
        reason: CloseReason,
        cx: &mut Context<'_, M>,
    ) {
        let Some(code) = reason.close_code(side) else {
            self.abandon(side, cx);
            return;
        };
        if self.end(side).output != Output::Open {
            return;
        }
        if self.half(side.other()).takes_no_close() {
            self.finish(side);
            return;
        }
        // RFC 6455 §5.1: only what goes to a server is masked.
        let mask = (side == Side::Backend).then(|| (cx.shelf.mask)());
        self.half_mut(side.other()).close_with(OurClose {
            code,
            reason: reason.text(),
            mask,
        });
    }

    /// Closes both transports without a Close frame (spec U4): what waits is flushed, then close_notify, then the end.
    fn disconnect<M: Memory>(&mut self, cx: &Context<'_, M>) {
        for side in [Side::Client, Side::Backend] {
            let end = self.end_mut(side);
            end.input = Input::Ended;
            end.finish();
        }
        self.enter(Stage::Linger, cx);
    }

    /// Ends the tunnel at once.
    pub(super) fn end_now<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        self.reason = self.reason.or(Some(CloseReason::Drained));
        self.stage = Stage::Linger;
        for side in [Side::Client, Side::Backend] {
            self.depart(side, cx);
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

    // ---- Ends ----

    /// One transport cannot go on. What it sent before still reaches the other side, which then is closed.
    fn break_off<M: Memory>(&mut self, side: Side, reason: CloseReason, cx: &mut Context<'_, M>) {
        let shaken = self.from_client.close_seen() && self.from_backend.close_seen();
        // After the closing handshake a reset is only an impolite goodbye.
        self.reason = self.reason.or(Some(if shaken {
            CloseReason::Finished
        } else {
            reason
        }));
        let has_alert = self.end(side).has_records();
        if has_alert {
            self.half_mut(side.other()).clear(cx);
            self.end_mut(side).input = Input::Ended;
            self.finish(side);
        } else {
            self.depart(side, cx);
        }
        let other = side.other();
        self.half_mut(side).give_up_close();
        self.end_mut(other).input = Input::Ended;
        self.end_mut(other).finish();
        if self.stage < Stage::Linger {
            self.enter(Stage::Linger, cx);
        }
    }

    /// The slow side is reset.
    fn abandon<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) {
        self.end_mut(side).reset = true;
        self.depart(side, cx);
        self.half_mut(side).give_up_close();
    }

    /// Nothing more is received from or sent to `side`.
    fn depart<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) {
        let end = self.end_mut(side);
        end.input = Input::Ended;
        end.output = Output::Shut;
        end.leave();
        self.half_mut(side.other()).clear(cx);
    }

    /// What waits for `side` is the last it gets; what the other side still sends has no destination.
    fn finish(&mut self, side: Side) {
        self.end_mut(side).finish();
        let source = self.end_mut(side.other());
        if source.input == Input::Relayed {
            source.input = Input::Discarded;
        }
    }

    /// Our Close frames go in where a boundary has been reached.
    fn place_closes<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        if self.stage != Stage::Boundary {
            return;
        }
        for side in [Side::Client, Side::Backend] {
            if self.half_mut(side.other()).place_close(cx) {
                self.end_mut(side).awaits_answer = true;
                self.finish(side);
            }
        }
        if !self.from_client.has_pending_close() && !self.from_backend.has_pending_close() {
            self.enter(Stage::Answer, cx);
        }
    }

    fn enter<M: Memory>(&mut self, stage: Stage, cx: &Context<'_, M>) {
        let Bounds {
            close_grace,
            linger,
            ..
        } = cx.shelf.bounds;
        self.stage = stage;
        self.stage_ends = cx.now.after(if stage == Stage::Linger {
            linger
        } else {
            close_grace
        });
        self.due = None;
    }

    fn leave_stage<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        match self.stage {
            Stage::Open => {}
            Stage::Boundary => {
                self.from_client.give_up_close();
                self.from_backend.give_up_close();
                self.finish(Side::Client);
                self.finish(Side::Backend);
                self.enter(Stage::Answer, cx);
            }
            Stage::Answer => {
                for side in [Side::Client, Side::Backend] {
                    self.finish(side);
                    self.end_mut(side).awaits_answer = false;
                }
                self.enter(Stage::Linger, cx);
            }
            Stage::Linger => {
                for side in [Side::Client, Side::Backend] {
                    self.depart(side, cx);
                }
            }
        }
    }

    // ---- Time ----

    /// Ends the tunnel if a side does not take what waits for it, or if nothing was relayed for too long.
    fn judge_silence<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        if let Some((side, due)) = self.slowest(cx.shelf.bounds) {
            // While bytes wait for a side, only its slowness is judged.
            if cx.now >= due {
                self.end_with(CloseReason::SlowConsumer(side), cx);
            }
        } else if cx.now >= self.active.after(self.policy.idle_timeout) {
            self.end_with(CloseReason::Idle, cx);
        }
    }

    /// The side that has made bytes wait the longest, and when that is too long.
    fn slowest(&self, bounds: Bounds) -> Option<(Side, Tick)> {
        [Side::Client, Side::Backend]
            .into_iter()
            .filter(|side| self.half(side.other()).queued_bytes() > 0)
            .map(|side| {
                (
                    side,
                    self.half(side.other()).progress.after(bounds.slow_consumer),
                )
            })
            .min_by_key(|(_, due)| *due)
    }

    fn next_look(&self, bounds: Bounds) -> Tick {
        match (self.stage, self.slowest(bounds)) {
            (Stage::Open, Some((_, due))) => due,
            (Stage::Open, None) => self.active.after(self.policy.idle_timeout),
            _ => self.stage_ends,
        }
    }

    // ---- Actions ----

    /// The next thing to do, until there is nothing. Ask after every event.
    pub(super) fn poll<M: Memory>(&mut self, cx: &mut Context<'_, M>) -> Option<Action> {
        for side in [Side::Client, Side::Backend] {
            let action = match self.end(side).life {
                Life::Open => self.poll_open(side, cx),
                Life::Leaving => self.poll_leaving(side),
                Life::Closed => None,
            };
            if action.is_some() {
                return action;
            }
        }
        if self.client.life == Life::Closed && self.backend.life == Life::Closed {
            self.from_client.clear(cx);
            self.from_backend.clear(cx);
            return Some(Action::Free);
        }
        if self.stage == Stage::Answer && self.is_shut(Side::Client) && self.is_shut(Side::Backend)
        {
            self.enter(Stage::Linger, cx);
        }
        self.poll_time(cx)
    }

    fn is_shut(&self, side: Side) -> bool {
        self.end(side).output == Output::Shut
    }

    fn poll_open<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) -> Option<Action> {
        if let Some(action) = self.poll_send(side, cx) {
            return Some(action);
        }
        if let Some(action) = self.poll_receive(side, cx) {
            return Some(action);
        }
        let linger_bytes_max = cx.shelf.bounds.linger_bytes_max;
        let end = self.end_mut(side);
        let over = end.input == Input::Ended || end.discarded_bytes > linger_bytes_max;
        if end.output == Output::Shut && over {
            end.input = Input::Ended;
            end.leave();
            return self.poll_leaving(side);
        }
        None
    }

    fn poll_send<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) -> Option<Action> {
        let (end, half, answered) = match side {
            Side::Client => (
                &mut self.client,
                &mut self.from_backend,
                self.from_client.close_seen(),
            ),
            Side::Backend => (
                &mut self.backend,
                &mut self.from_client,
                self.from_backend.close_seen(),
            ),
        };
        if end.send != Operation::None || end.output == Output::Shut {
            return None;
        }
        if half.is_waiting() || end.has_records() {
            return match end.outgoing(half, cx) {
                Ok(batch) => {
                    let batch = batch?;
                    half.sending(batch.bytes());
                    end.send = Operation::InFlight;
                    Some(Action::Send(side, end.fd, batch))
                }
                Err(_) => {
                    self.break_off(side, CloseReason::Tls(side), cx);
                    None
                }
            };
        }
        let answered = answered || !end.awaits_answer || end.input == Input::Ended;
        if end.output != Output::Finishing || !answered {
            return None;
        }
        if end.tls.as_mut().is_some_and(|tls| tls.notify()) {
            return self.poll_send(side, cx);
        }
        end.output = Output::Shut;
        Some(Action::Shutdown(end.fd))
    }

    fn poll_receive<M: Memory>(&mut self, side: Side, cx: &Context<'_, M>) -> Option<Action> {
        let was_paused = self.half(side).was_paused();
        let paused = self
            .half_mut(side)
            .is_paused(cx.shelf.bounds.half_bytes_max);
        if paused && !was_paused {
            cx.shelf.metrics.paused.add(1);
        }
        let end = self.end_mut(side);
        let wanted = end.input != Input::Ended && !paused && !end.starved;
        match (end.receive, wanted) {
            (Operation::None, true) => {
                end.receive = Operation::InFlight;
                Some(Action::Receive(side, end.fd))
            }
            (Operation::InFlight, false) => {
                end.receive = Operation::Cancelling;
                end.cancels_in_flight += 1;
                Some(Action::CancelReceive(side))
            }
            _ => None,
        }
    }

    fn poll_leaving(&mut self, side: Side) -> Option<Action> {
        let end = self.end_mut(side);
        if end.receive == Operation::InFlight {
            end.receive = Operation::Cancelling;
            end.cancels_in_flight += 1;
            return Some(Action::CancelReceive(side));
        }
        if end.send == Operation::InFlight {
            end.send = Operation::Cancelling;
            end.cancels_in_flight += 1;
            return Some(Action::CancelSend(side));
        }
        if !end.is_at_rest() {
            return None;
        }
        end.life = Life::Closed;
        end.tls = None;
        Some(Action::Close(
            end.fd,
            if end.reset { Reset::Yes } else { Reset::No },
        ))
    }

    /// Moves the look only where it has to come earlier: activity alone re-arms nothing.
    fn poll_time<M: Memory>(&mut self, cx: &Context<'_, M>) -> Option<Action> {
        let next = self.next_look(cx.shelf.bounds);
        if self.due.is_some_and(|due| due <= next) {
            return None;
        }
        self.due = Some(next);
        Some(Action::Wake(next))
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

    /// Segments arrive one at a time from the relay.
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

// Four per KiB, so that an idle plain pair stays far below the 1 KiB promised for it.
const _: () = assert!(size_of::<Tunnel>() <= 512);

//! How a tunnel ends: politely for a reason of ours, or because a transport cannot go on; and the stages in between.
#![forbid(unsafe_code)]

use super::super::end::{Input, Output};
use super::super::half::OurClose;
use super::super::policy::IdleEnd;
use super::super::shelf::{Bounds, Context, Tick};
use super::{Stage, Tunnel};
use crate::close::{CloseReason, Side};
use crate::uring::Memory;

impl Tunnel {
    /// Ends the tunnel politely, for a reason of ours: a Close to each side, at the next frame boundary into it.
    pub(in crate::relay) fn end_with<M: Memory>(
        &mut self,
        reason: CloseReason,
        cx: &mut Context<'_, M>,
    ) {
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

    pub(super) fn close_towards<M: Memory>(
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
    pub(super) fn disconnect<M: Memory>(&mut self, cx: &Context<'_, M>) {
        for side in [Side::Client, Side::Backend] {
            let end = self.end_mut(side);
            end.input = Input::Ended;
            end.finish();
        }
        self.enter(Stage::Linger, cx);
    }

    /// Ends the tunnel at once, for this reason if it has none yet.
    pub(in crate::relay) fn end_now<M: Memory>(
        &mut self,
        reason: CloseReason,
        cx: &mut Context<'_, M>,
    ) {
        self.reason = self.reason.or(Some(reason));
        self.stage = Stage::Linger;
        for side in [Side::Client, Side::Backend] {
            self.depart(side, cx);
        }
    }

    /// One transport cannot go on. What it sent before still reaches the other side, which then is closed.
    pub(super) fn break_off<M: Memory>(
        &mut self,
        side: Side,
        reason: CloseReason,
        cx: &mut Context<'_, M>,
    ) {
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
    pub(super) fn abandon<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) {
        self.end_mut(side).reset = true;
        self.depart(side, cx);
        self.half_mut(side).give_up_close();
    }

    /// Nothing more is received from or sent to `side`.
    pub(super) fn depart<M: Memory>(&mut self, side: Side, cx: &mut Context<'_, M>) {
        let end = self.end_mut(side);
        end.input = Input::Ended;
        end.output = Output::Shut;
        end.leave();
        self.half_mut(side.other()).clear(cx);
    }

    /// What waits for `side` is the last it gets; what the other side still sends has no destination.
    pub(super) fn finish(&mut self, side: Side) {
        self.end_mut(side).finish();
        let source = self.end_mut(side.other());
        if source.input == Input::Relayed {
            source.input = Input::Discarded;
        }
    }

    /// Our Close frames go in where a boundary has been reached.
    pub(super) fn place_closes<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
        if self.stage != Stage::Boundary {
            return;
        }
        for side in [Side::Client, Side::Backend] {
            let half = self.half_mut(side.other());
            if half.has_pending_close() && half.close_seen() {
                // The boundary came with a Close of the sender's own. RFC 6455 §5.5.1: no frame follows it.
                half.give_up_close();
                self.finish(side);
            } else if let Some(code) = half.place_close(cx) {
                cx.shelf.metrics.from(side).closes_sent.count(Some(code));
                self.end_mut(side).awaits_answer = true;
                self.finish(side);
            }
        }
        if !self.from_client.has_pending_close() && !self.from_backend.has_pending_close() {
            self.enter(Stage::Answer, cx);
        }
    }

    pub(super) fn enter<M: Memory>(&mut self, stage: Stage, cx: &Context<'_, M>) {
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

    pub(super) fn leave_stage<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
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

    /// Ends the tunnel if a side does not take what waits for it, or if nothing was relayed for too long.
    pub(super) fn judge_silence<M: Memory>(&mut self, cx: &mut Context<'_, M>) {
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
    pub(super) fn slowest(&self, bounds: Bounds) -> Option<(Side, Tick)> {
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
}

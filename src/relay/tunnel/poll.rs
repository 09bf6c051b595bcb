//! What a tunnel wants done next, worked out from its state alone: receive, send, cancel, shut down, close, be woken.
#![forbid(unsafe_code)]

use super::super::end::{Input, Life, Operation, Output};
use super::super::shelf::{Bounds, Context, Tick};
use super::{Stage, Tunnel};
use crate::buffer::Batch;
use crate::close::{CloseReason, Side};
use crate::uring::{Fd, Memory};

/// What the relay is to do next for a tunnel.
#[derive(Debug)]
pub(in crate::relay) enum Action {
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
pub(in crate::relay) enum Reset {
    Yes,
    No,
}

impl Tunnel {
    /// The next thing to do, until there is nothing. Ask after every event.
    pub(in crate::relay) fn poll<M: Memory>(&mut self, cx: &mut Context<'_, M>) -> Option<Action> {
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

    pub(super) fn is_shut(&self, side: Side) -> bool {
        self.end(side).output == Output::Shut
    }

    pub(super) fn poll_open<M: Memory>(
        &mut self,
        side: Side,
        cx: &mut Context<'_, M>,
    ) -> Option<Action> {
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

    pub(super) fn poll_send<M: Memory>(
        &mut self,
        side: Side,
        cx: &mut Context<'_, M>,
    ) -> Option<Action> {
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

    pub(super) fn poll_receive<M: Memory>(
        &mut self,
        side: Side,
        cx: &Context<'_, M>,
    ) -> Option<Action> {
        let was_paused = self.half(side).was_paused();
        let paused = self
            .half_mut(side)
            .is_paused(cx.shelf.bounds.half_bytes_max);
        let metrics = cx.shelf.metrics.from(side);
        match (was_paused, paused) {
            (false, true) => {
                metrics.pauses.add(1);
                metrics.paused.add(1);
            }
            (true, false) => metrics.paused.sub(1),
            _ => {}
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

    pub(super) fn poll_leaving(&mut self, side: Side) -> Option<Action> {
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
    pub(super) fn poll_time<M: Memory>(&mut self, cx: &Context<'_, M>) -> Option<Action> {
        let next = self.next_look(cx.shelf.bounds);
        if self.due.is_some_and(|due| due <= next) {
            return None;
        }
        self.due = Some(next);
        Some(Action::Wake(next))
    }

    pub(super) fn next_look(&self, bounds: Bounds) -> Tick {
        match (self.stage, self.slowest(bounds)) {
            (Stage::Open, Some((_, due))) => due,
            (Stage::Open, None) => self.active.after(self.policy.idle_timeout),
            _ => self.stage_ends,
        }
    }
}

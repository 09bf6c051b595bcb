//! Decides what each step of a connection means for its role, and counts it.

use std::time::{Duration, Instant};

use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::lane::{Lane, Receipt, Scratch, Step};
use crate::role::Role;
use crate::tally::{Recovery, Tally};

/// What a churning connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Opening,
    Echo,
    /// The server's Close in answer to ours.
    Close,
    /// The end: RFC 6455 §7.1.1 has the server close first, which also keeps TIME_WAIT off our ports.
    End,
}

#[derive(Debug)]
pub(crate) struct Board {
    /// `None` until load begins.
    pub(crate) window: Option<Window>,
    /// Closed loop: each echo is followed by the next message.
    pub(crate) answering: bool,
    /// A storm is on, and so many are not back yet since it began.
    pub(crate) storm: Option<(Instant, usize)>,
    /// Our Close is sent on one-way connections, and the server's is due.
    pub(crate) closing: bool,
    pub(crate) opened: usize,
    /// By slot.
    pub(crate) stages: Vec<Stage>,
    /// Churning slots whose connection is over.
    pub(crate) finished: Vec<usize>,
    /// The latest push that was due within the window.
    pub(crate) last_push: Option<u64>,
    pub(crate) tally: Tally,
}

impl Board {
    pub(crate) fn new(slots: usize) -> Result<Self, String> {
        Ok(Self {
            window: None,
            answering: false,
            storm: None,
            closing: false,
            opened: 0,
            stages: vec![Stage::Opening; slots],
            finished: Vec::new(),
            last_push: None,
            tally: Tally::new()?,
        })
    }

    /// An error ends the connection and is counted.
    pub(crate) fn handle(
        &mut self,
        slot: usize,
        lane: &mut Lane,
        step: Step,
        scratch: &mut Scratch,
    ) -> Result<(), ClientError> {
        let now = clock::now();
        if step == Step::Opened {
            self.opened += 1;
            let took = now.saturating_duration_since(lane.started);
            self.tally.handshake.record(took);
        }
        if lane.role == Role::Churn {
            return self.handle_churn(slot, lane, step, now, scratch);
        }
        match step {
            Step::Opened => self.end_storm_for_one(lane.started, now),
            Step::Echoed { due, bytes } => {
                self.count(due, now, bytes, 2);
                if self.answering && lane.role == Role::Echo {
                    lane.send(now, scratch)?;
                }
            }
            Step::Pushed { number, due, bytes } => {
                self.count_push(lane.role, number, due, now, bytes)
            }
            Step::Missed { count } if lane.role == Role::Slow => self.tally.slow_missed += count,
            Step::Missed { count } => self.tally.failures.count_many(&ClientError::Lost, count),
            Step::Ponged { due } => {
                if self.is_measured(due) {
                    self.tally.ping.record(now.saturating_duration_since(due));
                }
            }
            Step::Mismatched => return Err(ClientError::Mismatch),
            Step::Closed { receipt } if self.closing && lane.role == Role::OneWay => {
                self.check_receipt(receipt, lane.expected_receipt());
            }
            Step::Ended if self.closing && lane.role == Role::OneWay => {
                self.finished.push(slot);
            }
            Step::Closed { .. } => return Err(ClientError::Closed),
            Step::Ended => return Err(ClientError::Ended),
        }
        Ok(())
    }

    fn handle_churn(
        &mut self,
        slot: usize,
        lane: &mut Lane,
        step: Step,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<(), ClientError> {
        let Some(stage) = self.stages.get(slot).copied() else {
            return Ok(());
        };
        let next = match (stage, step) {
            (Stage::Opening, Step::Opened) => {
                lane.send(now, scratch)?;
                Stage::Echo
            }
            (Stage::Echo, Step::Echoed { .. }) => {
                lane.send_close(scratch)?;
                Stage::Close
            }
            (Stage::Close, Step::Closed { .. }) => Stage::End,
            (Stage::End, Step::Ended) => {
                self.finished.push(slot);
                self.count_connection(lane.started, now);
                Stage::End
            }
            (_, Step::Closed { .. }) => return Err(ClientError::Closed),
            (_, Step::Ended) => return Err(ClientError::Ended),
            _ => return Err(ClientError::Mismatch),
        };
        if let Some(stage) = self.stages.get_mut(slot) {
            *stage = next;
        }
        Ok(())
    }

    /// Messages count when they come, which is when they have cost what they cost. Latency counts for all that were due,
    /// also when they came late.
    fn count(&mut self, due: Instant, now: Instant, bytes: usize, relayed: u64) {
        self.count_message(now, bytes, relayed);
        if self.is_measured(due) {
            self.tally
                .latency
                .record(now.saturating_duration_since(due));
        }
    }

    /// `relayed` is how often a proxy in between passed it on.
    pub(crate) fn count_message(&mut self, now: Instant, bytes: usize, relayed: u64) {
        if self.is_measured(now) {
            self.tally.messages += 1;
            self.tally.bytes += bytes as u64;
            self.tally.relayed += relayed;
        } else {
            self.tally.messages_outside += 1;
        }
    }

    fn count_connection(&mut self, started: Instant, now: Instant) {
        if self.is_measured(now) {
            self.tally.connections += 1;
        }
        if self.is_measured(started) {
            self.tally
                .latency
                .record(now.saturating_duration_since(started));
        }
    }

    fn count_push(&mut self, role: Role, number: u64, due: u64, now: Instant, bytes: usize) {
        if role == Role::Slow {
            self.tally.slow_messages += 1;
            self.tally.relayed += u64::from(self.is_measured(now));
            return;
        }
        let late = Duration::from_nanos(clock::shared_nanoseconds().saturating_sub(due));
        let due = now.checked_sub(late).unwrap_or(now);
        self.count(due, now, bytes, 1);
        if self.is_measured(due) {
            self.last_push = self.last_push.max(Some(number));
        }
    }

    fn end_storm_for_one(&mut self, begun: Instant, now: Instant) {
        let Some((storm, away)) = &mut self.storm else {
            return;
        };
        // Whoever opened late in the storm before this one is no longer counted.
        if begun != *storm || *away == 0 {
            return;
        }
        *away -= 1;
        let over = *away == 0;
        let took = now.saturating_duration_since(*storm);
        self.tally.latency.record(took);
        if over {
            let recovery = Recovery { workers: 1, took };
            self.tally.recoveries.insert(*storm, recovery);
        }
    }

    fn check_receipt(&mut self, receipt: Option<Receipt>, expected: Receipt) {
        let Some(receipt) = receipt else {
            self.tally.unverified += 1;
            return;
        };
        match expected.messages.checked_sub(receipt.messages) {
            Some(0) if receipt.digest == expected.digest => {}
            Some(0) | None => self.tally.failures.count(&ClientError::Mismatch),
            Some(lost) => self.tally.failures.count_many(&ClientError::Lost, lost),
        }
    }

    pub(crate) fn is_measured(&self, at: Instant) -> bool {
        self.window.is_some_and(|window| window.contains(at))
    }
}

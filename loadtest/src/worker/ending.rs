//! After the load: what is still to come is awaited, and what has not come is counted as lost.

use std::time::{Duration, Instant};

use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::role::Role;

use super::{Timers, Worker};

/// How long echoes may still come after the last message.
const DRAIN: Duration = Duration::from_secs(2);
/// How long pushes of the window may still come; nobody knows how many there will be.
const PUSH_DRAIN: Duration = Duration::from_millis(500);
/// How long the receipts of one-way connections may take.
const RECEIPTS_MAX: Duration = Duration::from_secs(10);

impl Worker {
    /// Waits for what is still to come; what has not come by then is lost.
    pub(super) fn drain(&mut self, end: Instant) -> Result<(), String> {
        // A run that was ended early was measured until now.
        let end = end.min(clock::now());
        self.board.window = self.board.window.map(|window| Window { end, ..window });
        self.board.answering = false;
        self.timers = Timers::default();
        self.drain_churn(end)?;
        if let Some((_, away @ 1..)) = self.board.storm {
            self.fleet
                .failures
                .count_many(&ClientError::TimedOut, away as u64);
        }
        let pushed = self.plan.roles.contains(&Role::Push);
        while self.fleet.outstanding() > 0 && clock::now() < end + DRAIN
            || pushed && clock::now() < end + PUSH_DRAIN
        {
            self.turn(Duration::from_millis(10))?;
        }
        self.count_missing_pushes();
        Ok(())
    }

    /// Lets connections that are under way end; those that do not have taken too long.
    fn drain_churn(&mut self, end: Instant) -> Result<(), String> {
        let mut free = vec![false; self.fleet.len()];
        for slot in &self.free {
            if let Some(place) = free.get_mut(*slot) {
                *place = true;
            }
        }
        let is_under_way =
            |slot: &usize| free.get(*slot) == Some(&false) && self.fleet.lane(*slot).is_some();
        let mut waiting: Vec<_> = self.churners.iter().copied().filter(is_under_way).collect();
        while !waiting.is_empty() && clock::now() < end + DRAIN {
            let mut over = self.fleet.take_failed();
            over.append(&mut self.board.finished);
            waiting.retain(|slot| !over.contains(slot));
            if !waiting.is_empty() {
                self.turn(Duration::from_millis(10))?;
            }
        }
        self.fleet
            .failures
            .count_many(&ClientError::TimedOut, waiting.len() as u64);
        for slot in self.churners.clone() {
            self.fleet.drop_lane(slot);
        }
        Ok(())
    }

    /// A gap shows when the next push comes; at the end there is none, so every connection is held to the latest.
    fn count_missing_pushes(&mut self) {
        let Some(last) = self.board.last_push else {
            self.count_silent_pushers();
            return;
        };
        for slot in 0..self.fleet.len() {
            let lane = self.fleet.lane(slot).filter(|lane| lane.role == Role::Push);
            let Some(lane) = lane else {
                continue;
            };
            // One that never got any push is owed at least this one.
            let next = lane.next_push().unwrap_or(last);
            let missing = last.saturating_add(1).saturating_sub(next);
            self.board
                .tally
                .failures
                .count_many(&ClientError::Lost, missing);
        }
    }

    /// No push at all has come: if the window was long enough for one, each connection lacks at least that.
    fn count_silent_pushers(&mut self) {
        let length = self.board.window.map_or(Duration::ZERO, |window| {
            window.end.saturating_duration_since(window.start)
        });
        if length.as_secs_f64() * self.plan.push_rate < 1.0 {
            return;
        }
        let slots = 0..self.fleet.len();
        let lanes = slots.filter_map(|slot| self.fleet.lane(slot));
        let silent = lanes.filter(|lane| lane.role == Role::Push).count();
        self.fleet
            .failures
            .count_many(&ClientError::Lost, silent as u64);
    }

    /// Closes one-way connections, whose server then says what it got.
    pub(super) fn collect_receipts(&mut self) -> Result<(), String> {
        self.board.closing = true;
        self.board.finished.clear();
        let mut waiting: Vec<usize> = Vec::new();
        for slot in self.senders.clone() {
            let one_way = self.plan.roles.get(slot) == Some(&Role::OneWay);
            if one_way
                && self
                    .fleet
                    .with_lane(slot, |lane, scratch| lane.send_close(scratch))
            {
                waiting.push(slot);
            }
        }
        let end = clock::now() + RECEIPTS_MAX;
        while !waiting.is_empty() && clock::now() < end {
            self.turn(Duration::from_millis(10))?;
            let mut over = self.fleet.take_failed();
            over.append(&mut self.board.finished);
            waiting.retain(|slot| !over.contains(slot));
        }
        self.fleet
            .failures
            .count_many(&ClientError::TimedOut, waiting.len() as u64);
        Ok(())
    }
}

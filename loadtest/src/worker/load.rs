//! The load itself: what is due by the clock is sent, what is free in the closed loop goes on, what ended is replaced.

use std::time::{Duration, Instant};

use crate::board::Stage;
use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::role::Role;
use crate::schedule::Schedule;

use super::{HOUSEKEEPING, POST_INTERVAL, Worker};

/// A churning connection, from connect to end.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// So many failures before the first success mean that there is nothing to measure.
const FAILURES_MAX: u64 = 100;
/// How often slow readers read.
const SLOW_TICK: Duration = Duration::from_millis(20);
/// Messages that a one-way connection sends in a row in the closed loop.
const ONE_WAY_BATCH: usize = 32;

impl Worker {
    pub(super) fn begin(&mut self, window: Window) {
        let now = clock::now();
        let start = window
            .start
            .checked_sub(self.plan.warm_up)
            .unwrap_or(now)
            .max(now);
        // Workers take turns rather than send at the same moments.
        let phase = self.number as f64 / self.workers as f64;
        let schedule =
            |rate: f64| Schedule::new(start + Duration::from_secs_f64(phase / rate), rate);
        let positive = |rate: &f64| *rate > 0.0;
        self.board.window = Some(window);
        self.timers.messages = self.plan.rate.filter(positive).map(schedule);
        self.timers.churn = self.plan.churn_rate.filter(positive).map(schedule);
        let staying = self.fleet.len() - self.churners.len();
        let pings = self
            .plan
            .ping_interval
            .map(|interval| staying as f64 / interval.as_secs_f64());
        self.timers.pings = pings.filter(positive).map(schedule);
        self.timers.slow = (!self.slow.is_empty()).then_some(now);
        self.timers.storm = self.plan.storm_interval.map(|_| window.start);
        self.timers.housekeeping = Some(now);
        if self.plan.rate.is_none() {
            self.board.answering = true;
            self.send_first(now);
        }
        if self.plan.churn_rate.is_none() {
            for slot in self.churners.clone() {
                self.reconnect(slot, now);
            }
        } else {
            self.free.clone_from(&self.churners);
        }
    }

    /// The closed loop's first message on each connection.
    fn send_first(&mut self, now: Instant) {
        for slot in &self.senders {
            if self.plan.roles.get(*slot) == Some(&Role::Echo) {
                self.fleet
                    .with_lane(*slot, |lane, scratch| lane.send(now, scratch).map(drop));
            }
        }
    }

    /// Sends and receives until `end`.
    pub(super) fn drive(&mut self, end: Instant) -> Result<(), String> {
        loop {
            let now = clock::now();
            if now >= end || self.is_stopped() {
                return Ok(());
            }
            self.do_what_is_due(now)?;
            let busy = self.plan.rate.is_none() && self.pump_one_way(now);
            let wake = if busy { now } else { self.timers.next(end) };
            self.turn(wake.saturating_duration_since(clock::now()))?;
            self.replace_finished()?;
            self.post_if_due(now, POST_INTERVAL)?;
        }
    }

    fn do_what_is_due(&mut self, now: Instant) -> Result<(), String> {
        self.send_messages(now);
        self.send_pings(now);
        while let Some((_, due)) = self.timers.churn.as_mut().and_then(|timer| timer.poll(now)) {
            match self.free.pop() {
                Some(slot) => self.reconnect(slot, due),
                None => self.fleet.failures.count(&ClientError::Unsent),
            }
        }
        if self.timers.slow.is_some_and(|due| due <= now) {
            self.timers.slow = Some(now + SLOW_TICK);
            self.read_slowly();
        }
        if let (Some(due), Some(interval)) = (self.timers.storm, self.plan.storm_interval)
            && due <= now
        {
            self.timers.storm = Some(due + interval);
            self.storm(due);
        }
        if self.timers.housekeeping.is_some_and(|due| due <= now) {
            self.timers.housekeeping = Some(now + HOUSEKEEPING);
            self.fleet.expire(|lane| {
                lane.role == Role::Churn
                    && now.saturating_duration_since(lane.started) > CONNECTION_MAX
            });
        }
        Ok(())
    }

    fn send_messages(&mut self, now: Instant) {
        let count = self.senders.len() as u64;
        while let Some((number, due)) = self
            .timers
            .messages
            .as_mut()
            .and_then(|timer| timer.poll(now))
        {
            let index = number
                .checked_rem(count)
                .and_then(|index| usize::try_from(index).ok());
            let Some(slot) = index.and_then(|index| self.senders.get(index)).copied() else {
                return;
            };
            self.send_one(slot, due, now);
        }
    }

    /// Says whether it went.
    fn send_one(&mut self, slot: usize, due: Instant, now: Instant) -> bool {
        if self.fleet.lane(slot).is_none() {
            self.fleet.failures.count(&ClientError::Unsent);
            return false;
        }
        let mut len = 0;
        let sent = self.fleet.with_lane(slot, |lane, scratch| {
            len = lane.send(due, scratch)?;
            Ok(())
        });
        if sent && self.plan.roles.get(slot) == Some(&Role::OneWay) {
            self.board.count_message(now, len, 1);
        }
        sent
    }

    /// Whether there is room for more.
    fn pump_one_way(&mut self, now: Instant) -> bool {
        let mut room = false;
        for index in 0..self.senders.len() {
            let Some(slot) = self.senders.get(index).copied() else {
                continue;
            };
            for _ in 0..ONE_WAY_BATCH {
                let flushed = self
                    .fleet
                    .lane(slot)
                    .is_some_and(|lane| lane.role == Role::OneWay && lane.is_flushed());
                if !flushed || !self.send_one(slot, now, now) {
                    break;
                }
            }
            room |= self
                .fleet
                .lane(slot)
                .is_some_and(|lane| lane.role == Role::OneWay && lane.is_flushed());
        }
        room
    }

    fn send_pings(&mut self, now: Instant) {
        let count = self.fleet.len() as u64;
        while let Some((number, due)) = self.timers.pings.as_mut().and_then(|timer| timer.poll(now))
        {
            let slot = usize::try_from(number % count.max(1)).unwrap_or_default();
            if self.plan.roles.get(slot) != Some(&Role::Churn) {
                self.fleet
                    .with_lane(slot, |lane, scratch| lane.ping(due, scratch));
            }
        }
    }

    fn read_slowly(&mut self) {
        let ticks = SLOW_TICK.as_millis().max(1);
        let bytes = self.plan.slow_bytes_per_second as u128 * ticks / 1000;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).max(1);
        let board = &mut self.board;
        for slot in &self.slow {
            self.fleet
                .tick(*slot, bytes, &mut |slot, lane, step, scratch| {
                    board.handle(slot, lane, step, scratch)
                });
        }
    }

    /// Everybody loses the connection, and everybody comes back at once.
    fn storm(&mut self, due: Instant) {
        if let Some((_, away @ 1..)) = self.board.storm {
            self.fleet
                .failures
                .count_many(&ClientError::TimedOut, away as u64);
        }
        self.board.storm = Some((due, self.fleet.len()));
        for slot in 0..self.fleet.len() {
            self.fleet.drop_lane(slot);
        }
        for slot in 0..self.fleet.len() {
            self.fleet.connect(slot, due);
        }
    }

    /// Puts new connections in place of those that are over, where there should be some.
    fn replace_finished(&mut self) -> Result<(), String> {
        let finished = std::mem::take(&mut self.board.finished);
        self.succeeded |= !finished.is_empty();
        let failed = self.fleet.take_failed();
        let failures = self.failures_so_far + self.fleet.failures.total();
        if !self.succeeded && !self.churners.is_empty() && failures >= FAILURES_MAX {
            let error = self
                .fleet
                .failures
                .first()
                .unwrap_or("see the errors counted");
            return Err(format!("no connection succeeded: {error}"));
        }
        let now = clock::now();
        for slot in finished.into_iter().chain(failed) {
            match self.plan.roles.get(slot) {
                Some(Role::Churn) if self.timers.churn.is_some() => self.free.push(slot),
                Some(Role::Churn) => self.reconnect(slot, now),
                Some(Role::Slow) => self.board.tally.slow_ended += 1,
                Some(_) => {
                    if let Some((begun, _)) = self.board.storm {
                        self.fleet.connect(slot, begun);
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn reconnect(&mut self, slot: usize, started: Instant) {
        if let Some(stage) = self.board.stages.get_mut(slot) {
            *stage = Stage::Opening;
        }
        self.fleet.connect(slot, started);
    }
}

//! Before the load: connections are opened at a bounded rate and touched, and the start is awaited.

use std::time::Duration;

use crate::clock::{self, Window};
use crate::role::Role;

use super::{GivenUp, POST_INTERVAL, Worker};

/// Connections being opened at a time, over all workers: below the accept backlog of any server.
const OPENING_MAX: usize = 128;
/// Without any connection getting open for so long, opening has failed.
const OPENING_STALL: Duration = Duration::from_secs(10);
/// Connections touched at a time: a burst over all would measure how much a proxy buffers at its peak.
const TOUCH_BATCH: usize = 64;
const TOUCH_MAX: Duration = Duration::from_secs(10);
const OPENING_POST_INTERVAL: Duration = Duration::from_millis(200);

impl Worker {
    /// Opens every connection that is to stay, and gives up at the first that fails.
    pub(super) fn open(&mut self) -> Result<(), GivenUp> {
        let slots: Vec<_> = (0..self.plan.roles.len())
            .filter(|slot| self.plan.roles.get(*slot) != Some(&Role::Churn))
            .collect();
        let at_a_time = (OPENING_MAX / self.workers).max(1);
        let begin = clock::now();
        let (mut started, mut last_opened, mut opened_at) = (0, 0, begin);
        while self.board.opened < slots.len() && !self.is_stopped() {
            let now = clock::now();
            let allowed = 1.0 + now.duration_since(begin).as_secs_f64() * self.plan.open_rate;
            while let Some(slot) = slots.get(started)
                && started < self.board.opened + at_a_time
                && (started as f64) < allowed
            {
                self.fleet.connect(*slot, now);
                started += 1;
            }
            self.turn(Duration::from_millis(1))?;
            let opened = self.board.opened;
            if let Some(error) = self.fleet.failures.first() {
                return Err(GivenUp::NotOpened(error.to_owned()));
            }
            self.post_if_due(now, OPENING_POST_INTERVAL)?;
            if opened > last_opened {
                (last_opened, opened_at) = (opened, now);
            } else if now.duration_since(opened_at) > OPENING_STALL {
                let seconds = OPENING_STALL.as_secs();
                return Err(GivenUp::NotOpened(format!("none within {seconds} s")));
            }
        }
        Ok(())
    }

    pub(super) fn touch(&mut self) -> Result<(), String> {
        let end = clock::now() + TOUCH_MAX;
        for first in (0..self.fleet.len()).step_by(TOUCH_BATCH) {
            let now = clock::now();
            for slot in first..self.fleet.len().min(first + TOUCH_BATCH) {
                self.fleet
                    .with_lane(slot, |lane, scratch| lane.send(now, scratch).map(drop));
            }
            while self.fleet.outstanding() > 0 && !self.is_stopped() {
                if clock::now() > end {
                    return Err(format!("{} echoes did not come", self.fleet.outstanding()));
                }
                self.turn(Duration::from_millis(10))?;
            }
        }
        Ok(())
    }

    /// Holds until all workers are ready; `None` if the run was given up before.
    pub(super) fn await_window(&mut self) -> Result<Option<Window>, String> {
        loop {
            if let Some(window) = self.orders.window.get() {
                return Ok(Some(*window));
            }
            if self.is_stopped() {
                return Ok(None);
            }
            self.turn(Duration::from_millis(2))?;
            self.post_if_due(clock::now(), POST_INTERVAL)?;
        }
    }
}

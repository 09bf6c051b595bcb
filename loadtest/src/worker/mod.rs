//! One thread of load: opens its connections, sends by the clock or by the echo, drains, and reports as it goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::board::{Board, Stage};
use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::fleet::{Fleet, Setup};
use crate::plan::Plan;
use crate::role::Role;
use crate::schedule::Schedule;
use crate::tally::Tally;

/// Connections being opened at a time, over all workers: below the accept backlog of any server.
const OPENING_MAX: usize = 128;
/// Without any connection getting open for so long, opening has failed.
const OPENING_STALL: Duration = Duration::from_secs(10);
/// Connections touched at a time: a burst over all would measure how much a proxy buffers at its peak.
const TOUCH_BATCH: usize = 64;
const TOUCH_MAX: Duration = Duration::from_secs(10);
/// How long echoes may still come after the last message.
const DRAIN: Duration = Duration::from_secs(2);
/// How long pushes of the window may still come; nobody knows how many there will be.
const PUSH_DRAIN: Duration = Duration::from_millis(500);
/// How long the receipts of one-way connections may take.
const RECEIPTS_MAX: Duration = Duration::from_secs(10);
/// A churning connection, from connect to end.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// So many failures before the first success mean that there is nothing to measure.
const FAILURES_MAX: u64 = 100;
const POST_INTERVAL: Duration = Duration::from_secs(1);
const OPENING_POST_INTERVAL: Duration = Duration::from_millis(200);
/// How often slow readers read.
pub(crate) const SLOW_TICK: Duration = Duration::from_millis(20);
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// Messages that a one-way connection sends in a row in the closed loop.
const ONE_WAY_BATCH: usize = 32;

/// What the workers are told.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) stop: Arc<AtomicBool>,
    /// When measuring takes place; load begins the warm-up earlier.
    pub(crate) window: OnceLock<Window>,
}

/// What a worker tells.
#[derive(Debug)]
pub(crate) enum Post {
    /// What was counted since the last one, and how many connections are open.
    Counted {
        worker: usize,
        open: usize,
        tally: Box<Tally>,
    },
    /// Every connection is open and, where asked for, touched.
    Ready,
    Failed(String),
    Done,
}

pub(crate) struct Worker {
    number: usize,
    workers: usize,
    plan: Plan,
    fleet: Fleet,
    board: Board,
    orders: Arc<Orders>,
    posts: Sender<Post>,
    post_due: Instant,
    timers: Timers,
    senders: Vec<usize>,
    churners: Vec<usize>,
    slow: Vec<usize>,
    /// Churning slots that the schedule may take.
    free: Vec<usize>,
    succeeded: bool,
    /// Those that were posted already.
    failures_so_far: u64,
}

/// What is done by the clock; `None` is never.
#[derive(Debug, Default)]
struct Timers {
    messages: Option<Schedule>,
    churn: Option<Schedule>,
    pings: Option<Schedule>,
    slow: Option<Instant>,
    storm: Option<Instant>,
    housekeeping: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(
        plan: Plan,
        setup: Setup,
        orders: Arc<Orders>,
        posts: Sender<Post>,
    ) -> Result<Self, String> {
        let slots = |counts: fn(Role) -> bool| -> Vec<usize> {
            let roles = plan.roles.iter().enumerate();
            roles
                .filter(|(_, role)| counts(**role))
                .map(|(slot, _)| slot)
                .collect()
        };
        let (number, workers) = (setup.worker, setup.workers);
        Ok(Self {
            number: usize::try_from(number).unwrap_or_default(),
            workers: usize::try_from(workers).unwrap_or(1),
            fleet: Fleet::new(setup, &plan).map_err(|error| error.to_string())?,
            board: Board::new(plan.roles.len())?,
            orders,
            posts,
            post_due: clock::now(),
            timers: Timers::default(),
            senders: slots(Role::sends),
            churners: slots(|role| role == Role::Churn),
            slow: slots(|role| role == Role::Slow),
            free: Vec::new(),
            succeeded: false,
            failures_so_far: 0,
            plan,
        })
    }

    pub(crate) fn run(mut self) {
        let last = match self.run_phases() {
            Ok(()) => Post::Done,
            Err(error) => Post::Failed(error),
        };
        // Nobody listens any more only if the run was given up.
        self.posts.send(last).ok();
    }

    fn run_phases(&mut self) -> Result<(), String> {
        self.open()?;
        if self.plan.touch {
            self.touch()?;
        }
        self.post()?;
        self.posts.send(Post::Ready).ok();
        let Some(window) = self.await_window()? else {
            return self.post();
        };
        self.begin(window);
        self.drive(window.end)?;
        self.drain(window.end)?;
        self.collect_receipts()?;
        self.board
            .tally
            .failures
            .count_many(&ClientError::Lost, self.fleet.outstanding() as u64);
        self.post()
    }

    /// Opens every connection that is to stay, and gives up at the first that fails.
    fn open(&mut self) -> Result<(), String> {
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
                return Err(format!(
                    "{opened} of {} connections opened, then: {error}",
                    slots.len()
                ));
            }
            self.post_if_due(now, OPENING_POST_INTERVAL)?;
            if opened > last_opened {
                (last_opened, opened_at) = (opened, now);
            } else if now.duration_since(opened_at) > OPENING_STALL {
                return Err(format!(
                    "only {opened} of {} connections opened",
                    slots.len()
                ));
            }
        }
        Ok(())
    }

    fn touch(&mut self) -> Result<(), String> {
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
    fn await_window(&mut self) -> Result<Option<Window>, String> {
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

    fn begin(&mut self, window: Window) {
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
    fn drive(&mut self, end: Instant) -> Result<(), String> {
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

    /// Waits for what is still to come; what has not come by then is lost.
    fn drain(&mut self, end: Instant) -> Result<(), String> {
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
    fn collect_receipts(&mut self) -> Result<(), String> {
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

    fn turn(&mut self, timeout: Duration) -> Result<(), String> {
        let board = &mut self.board;
        // Short enough to notice that the run is to end.
        let timeout = timeout.min(HOUSEKEEPING);
        self.fleet
            .turn(Some(timeout), &mut |slot, lane, step, scratch| {
                board.handle(slot, lane, step, scratch)
            })
            .map_err(|error| error.to_string())
    }

    fn post_if_due(&mut self, now: Instant, interval: Duration) -> Result<(), String> {
        if now < self.post_due {
            return Ok(());
        }
        self.post_due = now + interval;
        self.post()
    }

    fn post(&mut self) -> Result<(), String> {
        let mut tally = std::mem::replace(&mut self.board.tally, Tally::new()?);
        self.failures_so_far += self.fleet.failures.total();
        tally
            .failures
            .merge(&std::mem::take(&mut self.fleet.failures));
        let post = Post::Counted {
            worker: self.number,
            open: self.fleet.open_count(),
            tally: Box::new(tally),
        };
        self.posts.send(post).ok();
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.orders.stop.load(Ordering::Relaxed)
    }
}

impl Timers {
    /// When there is something to do again, at the latest `end`.
    fn next(&self, end: Instant) -> Instant {
        let schedules = [&self.messages, &self.churn, &self.pings];
        let schedules = schedules.into_iter().flatten().map(Schedule::next_due);
        let instants = [self.slow, self.storm, self.housekeeping];
        schedules
            .chain(instants.into_iter().flatten())
            .fold(end, Instant::min)
    }
}

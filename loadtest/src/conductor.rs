//! The main thread of a run: tells the workers when to measure, adds up what they post, watches the processes under test, and
//! keeps the screen.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::clock::{self, Window};
use crate::observe::{Cost, Observer};
use crate::plan::Plan;
use crate::role::Role;
use crate::run::{Moment, Seen};
use crate::screen::{Screen, View};
use crate::tally::Tally;
use crate::timeline::Timeline;
use crate::worker::{GivenUp, Orders, Post};

/// How often the screen is drawn and processes are looked at.
const FRAME: Duration = Duration::from_millis(250);
/// From "all are ready" to the load's begin, so that every worker has heard of it.
const LEAD: Duration = Duration::from_millis(50);
/// An hour of frames: enough for any chart, and a bound on memory.
const MOMENTS_MAX: usize = 14_400;

pub(crate) struct Conductor {
    plan: Plan,
    threads: usize,
    observer: Observer,
    orders: Arc<Orders>,
    screen: Screen,
    begun: Instant,
    /// Connections open, by worker.
    open: Vec<usize>,
    ready: usize,
    done: usize,
    total: Tally,
    timeline: Timeline,
    moments: Vec<Moment>,
    before_taken: bool,
    before: Option<Cost>,
    after: Option<Cost>,
    chart_due: Instant,
    observe_error: Option<String>,
    open_at_end: Option<usize>,
    measured_until: Option<Instant>,
    given_up: Option<GivenUp>,
}

impl Conductor {
    pub(crate) fn new(
        plan: Plan,
        threads: usize,
        observer: Observer,
        orders: Arc<Orders>,
        json: bool,
    ) -> Result<Self, String> {
        let now = orders.begun;
        Ok(Self {
            screen: Screen::new(json),
            plan,
            threads,
            observer,
            orders,
            begun: now,
            open: vec![0; threads],
            ready: 0,
            done: 0,
            total: Tally::new()?,
            timeline: Timeline::new(now, threads),
            moments: Vec::new(),
            before_taken: false,
            before: None,
            after: None,
            chart_due: now,
            observe_error: None,
            open_at_end: None,
            measured_until: None,
            given_up: None,
        })
    }

    /// Until every worker is done, or has given up.
    pub(crate) fn conduct(
        &mut self,
        posts: &Receiver<Post>,
        baseline: Option<Cost>,
    ) -> Result<(), String> {
        let mut next_frame = self.begun;
        self.note_moment(self.begun, baseline);
        while self.done < self.threads {
            let now = clock::now();
            self.order(now);
            if now >= next_frame {
                next_frame = now + FRAME;
                self.draw_frame(now);
            }
            let wake = self
                .next_order()
                .map_or(next_frame, |order| order.min(next_frame));
            match posts.recv_timeout(wake.saturating_duration_since(clock::now())) {
                Ok(post) => self.handle(post)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // Who was stopped has counted more since.
        if self.orders.window.get().is_none() {
            self.open_at_end = Some(self.open_now());
        }
        self.screen.clear();
        match self.given_up.take() {
            None => Ok(()),
            Some(GivenUp::Broken(error)) => Err(error),
            Some(GivenUp::NotOpened(error)) => Err(format!(
                "{} of {} connections opened, then: {error}",
                self.open_now(),
                self.staying(),
            )),
        }
    }

    /// Over all workers.
    fn open_now(&self) -> usize {
        self.open.iter().sum()
    }

    /// Connections that are opened before the load begins.
    fn staying(&self) -> usize {
        let roles = self.plan.roles.iter();
        roles.filter(|role| **role != Role::Churn).count()
    }

    /// What has to be done at its time: to begin, and to look at the processes when measuring begins and ends.
    fn order(&mut self, now: Instant) {
        let stopped = self.is_stopped();
        if self.ready == self.threads && self.orders.window.get().is_none() && !stopped {
            let start = now + LEAD + self.plan.warm_up;
            self.orders
                .window
                .get_or_init(|| Window::new(start, self.plan.duration));
        }
        let Some(window) = self.orders.window.get().copied() else {
            if stopped && self.measured_until.is_none() {
                self.look_at_end(now);
            }
            return;
        };
        if !self.before_taken && now >= window.start {
            self.before = self.sample();
            self.before_taken = true;
        }
        if (now >= window.end || stopped) && self.measured_until.is_none() {
            self.look_at_end(now.min(window.end));
        }
    }

    fn look_at_end(&mut self, now: Instant) {
        self.measured_until = Some(now);
        self.open_at_end = Some(self.open_now());
        self.after = self.sample();
        if !self.before_taken {
            // Ended before measuring began: what there is by now is reported, and no time passed.
            self.before = self.after;
        }
        self.orders.looked_at.store(true, Ordering::Relaxed);
    }

    fn next_order(&self) -> Option<Instant> {
        let window = self.orders.window.get()?;
        match (self.before_taken, self.measured_until) {
            (false, None) => Some(window.start),
            (true, None) => Some(window.end),
            (_, Some(_)) => None,
        }
    }

    fn handle(&mut self, post: Post) -> Result<(), String> {
        match post {
            Post::Counted {
                worker,
                open,
                second,
                next,
                tally,
            } => {
                if let Some(place) = self.open.get_mut(worker) {
                    *place = open;
                }
                self.timeline.add(worker, second, next, &tally)?;
                self.total.merge(&tally);
            }
            Post::Ready => self.ready += 1,
            Post::Done => self.done += 1,
            Post::GaveUp(why) => {
                self.done += 1;
                // Without it the others have nothing to wait for.
                self.orders.stop.store(true, Ordering::Relaxed);
                self.given_up.get_or_insert(why);
            }
        }
        Ok(())
    }

    fn draw_frame(&mut self, now: Instant) {
        if self.moments.len() < MOMENTS_MAX {
            let cost = self.sample_for_chart(now);
            self.note_moment(now, cost);
        }
        let view = self.view(now);
        self.screen.draw(&view);
    }

    /// Looking at memory walks the page tables of the process under test: seldom, once it matters what else it does.
    fn sample_for_chart(&mut self, now: Instant) -> Option<Cost> {
        let interval = match self.orders.window.get() {
            Some(_) => Duration::from_secs(1),
            None => FRAME,
        };
        if now < self.chart_due {
            return None;
        }
        self.chart_due = now + interval;
        self.sample()
    }

    /// A process that is gone ends no run: what the load saw of its end is worth a report.
    fn sample(&mut self) -> Option<Cost> {
        match self.observer.sample() {
            Ok(cost) => cost,
            Err(error) => {
                self.observe_error.get_or_insert(error);
                None
            }
        }
    }

    fn note_moment(&mut self, now: Instant, cost: Option<Cost>) {
        self.moments.push(Moment {
            seconds: now.duration_since(self.begun).as_secs_f64(),
            open: self.open_now(),
            loaded: self.orders.window.get().is_some(),
            cost,
        });
    }

    fn view(&self, now: Instant) -> View {
        let window = self.orders.window.get().copied();
        let last = self.timeline.last();
        let wanted = self.plan.roles.len();
        let open = self.open_now();
        let (phase, progress, left) = match window {
            None => {
                let left = (wanted.saturating_sub(open)) as f64 / self.plan.open_rate;
                ("opening", open as f64 / wanted.max(1) as f64, left)
            }
            Some(window) => {
                let begin = window
                    .start
                    .checked_sub(self.plan.warm_up)
                    .unwrap_or(window.start);
                let all = (window.end - begin).as_secs_f64().max(f64::EPSILON);
                let left = window.end.saturating_duration_since(now).as_secs_f64();
                let phase = match (now < window.start, now < window.end) {
                    (true, _) => "warming up",
                    (_, true) => "measuring",
                    _ => "draining",
                };
                (phase, 1.0 - left / all, left)
            }
        };
        View {
            scenario: self.plan.scenario,
            phase,
            progress,
            seconds_left: left,
            open,
            wanted,
            rate: last.map_or(0.0, |interval| {
                let counts_messages = window.is_some() && interval.messages > 0;
                let events = if counts_messages {
                    interval.messages
                } else {
                    interval.opened
                };
                events as f64 / interval.length
            }),
            latency: last.and_then(|interval| interval.latency),
            errors: self.total.failures.total(),
            interrupted: self.is_stopped(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.orders.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn into_seen(self, baseline: Option<Cost>) -> Result<Seen, String> {
        let window = self.orders.window.get().copied();
        let Some(until) = self.measured_until else {
            return Err("ended before it began".to_owned());
        };
        let start = window.map_or(until, |window| window.start);
        let costs = match (baseline, self.before, self.after) {
            (Some(baseline), Some(before), Some(after)) => Some([baseline, before, after]),
            // A cost of which a part is not known is not known.
            _ => None,
        };
        let interrupted = window.is_none_or(|window| until < window.end);
        Ok(Seen {
            threads: self.threads,
            interrupted,
            open: self.open_at_end.unwrap_or_default(),
            seconds: until.saturating_duration_since(start).as_secs_f64(),
            tally: self.total,
            costs,
            observe_error: self.observe_error,
            moments: self.moments,
            intervals: self.timeline.finish(clock::now())?,
            plan: self.plan,
        })
    }
}

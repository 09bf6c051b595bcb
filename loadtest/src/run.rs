//! A run from the main thread: starts the workers, tells them when to measure, adds up what they post, watches the
//! processes under test, and keeps the screen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::LoadOptions;
use crate::clock::{self, Window};
use crate::fleet::Setup;
use crate::observe::{Cost, Observer};
use crate::plan::Plan;
use crate::screen::{Screen, View};
use crate::tally::Tally;
use crate::worker::{Orders, Post, Worker};

/// How often the screen is drawn and processes are looked at.
const FRAME: Duration = Duration::from_millis(250);
/// From "all are ready" to the load's begin, so that every worker has heard of it.
const LEAD: Duration = Duration::from_millis(50);

/// Everything that was seen of a run.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) plan: Plan,
    pub(crate) threads: usize,
    pub(crate) interrupted: bool,
    /// Connections open when measuring ended.
    pub(crate) open: usize,
    /// Length of what was measured.
    pub(crate) seconds: f64,
    pub(crate) tally: Tally,
    /// Before the first connection; when measuring began and ended.
    pub(crate) costs: Option<[Cost; 3]>,
    pub(crate) observe_error: Option<String>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) intervals: Vec<Interval>,
}

/// The processes under test and the connections at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the run began.
    pub(crate) seconds: f64,
    pub(crate) open: usize,
    pub(crate) cost: Option<Cost>,
}

/// About a second of load.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Its end, since the run began.
    pub(crate) seconds: f64,
    pub(crate) length: f64,
    pub(crate) tally: Tally,
}

pub(crate) fn run(plan: Plan, load: &LoadOptions) -> Result<Seen, String> {
    let target = load.target()?;
    let observer = Observer::new(load.observe.clone());
    let baseline = observer.sample()?;
    let cores = allowed_cores()?;
    let threads = load
        .threads
        .unwrap_or(cores.len())
        .clamp(1, plan.roles.len().max(1));
    let orders = Arc::new(Orders::default());
    catch_signals(&orders.stop)?;
    let (sender, posts) = mpsc::channel();
    let mut handles = Vec::new();
    for number in 0..threads {
        let setup = Setup {
            target: target.clone(),
            source: load.source.clone().unwrap_or_default(),
            destination: load.destination.clone().unwrap_or_default(),
            worker: number as u64,
            workers: threads as u64,
        };
        let (plan, orders, sender) = (
            plan.share(number, threads),
            Arc::clone(&orders),
            sender.clone(),
        );
        let core = (threads > 1)
            .then(|| cores.get(number % cores.len()).copied())
            .flatten();
        handles.push(thread::spawn(move || -> Result<(), String> {
            pin(core);
            Worker::new(plan, setup, orders, sender)?.run();
            Ok(())
        }));
    }
    drop(sender);
    let mut conductor = Conductor::new(plan, threads, observer, orders, load.json)?;
    let outcome = conductor.conduct(&posts, baseline);
    conductor.orders.stop.store(true, Ordering::Relaxed);
    for handle in handles {
        handle
            .join()
            .map_err(|_| "a worker panicked".to_owned())??;
    }
    outcome?;
    conductor.into_seen(baseline)
}

/// The first Ctrl-C ends the run early, the second at once.
fn catch_signals(stop: &Arc<AtomicBool>) -> Result<(), String> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))
            .map_err(|error| error.to_string())?;
    }
    end_on_signals(stop)
}

/// Ctrl-C and SIGTERM set `stop`.
pub(crate) fn end_on_signals(stop: &Arc<AtomicBool>) -> Result<(), String> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn allowed_cores() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(None).map_err(|error| error.to_string())?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Best effort: a thread that wanders is only a little slower.
fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).ok();
    }
}

struct Conductor {
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
    /// What came since the last interval was closed.
    current: Tally,
    current_since: Instant,
    intervals: Vec<Interval>,
    moments: Vec<Moment>,
    before_taken: bool,
    before: Option<Cost>,
    after: Option<Cost>,
    chart_due: Instant,
    observe_error: Option<String>,
    open_at_end: Option<usize>,
    measured_until: Option<Instant>,
}

impl Conductor {
    fn new(
        plan: Plan,
        threads: usize,
        observer: Observer,
        orders: Arc<Orders>,
        json: bool,
    ) -> Result<Self, String> {
        let now = clock::now();
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
            current: Tally::new()?,
            current_since: now,
            intervals: Vec::new(),
            moments: Vec::new(),
            before_taken: false,
            before: None,
            after: None,
            chart_due: now,
            observe_error: None,
            open_at_end: None,
            measured_until: None,
        })
    }

    fn conduct(&mut self, posts: &Receiver<Post>, baseline: Option<Cost>) -> Result<(), String> {
        let mut next_frame = self.begun;
        self.note_moment(self.begun, baseline);
        while self.done < self.threads {
            let now = clock::now();
            self.order(now);
            if now >= next_frame {
                next_frame = now + FRAME;
                self.draw_frame(now)?;
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
        self.close_interval(clock::now())?;
        self.screen.clear();
        Ok(())
    }

    /// What has to be done at its time: to begin, and to look at the processes when measuring begins and ends.
    fn order(&mut self, now: Instant) {
        if self.ready == self.threads && self.orders.window.get().is_none() {
            let start = now + LEAD + self.plan.warm_up;
            self.orders
                .window
                .get_or_init(|| Window::new(start, self.plan.duration));
        }
        let Some(window) = self.orders.window.get().copied() else {
            return;
        };
        if !self.before_taken && now >= window.start {
            self.before = self.sample();
            self.before_taken = true;
        }
        let over = now >= window.end || self.is_stopped();
        if over && self.measured_until.is_none() {
            self.measured_until = Some(now.min(window.end));
            self.open_at_end = Some(self.open.iter().sum());
            self.after = self.sample();
        }
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
                tally,
            } => {
                if let Some(place) = self.open.get_mut(worker) {
                    *place = open;
                }
                self.current.merge(&tally);
                self.total.merge(&tally);
            }
            Post::Ready => self.ready += 1,
            Post::Done => self.done += 1,
            Post::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn draw_frame(&mut self, now: Instant) -> Result<(), String> {
        if now.duration_since(self.current_since) >= Duration::from_secs(1) {
            self.close_interval(now)?;
        }
        if self.moments.len() < MOMENTS_MAX {
            let cost = self.sample_for_chart(now);
            self.note_moment(now, cost);
        }
        let view = self.view(now);
        self.screen.draw(&view);
        Ok(())
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
            open: self.open.iter().sum(),
            cost,
        });
    }

    fn close_interval(&mut self, now: Instant) -> Result<(), String> {
        let tally = std::mem::replace(&mut self.current, Tally::new()?);
        let length = now.duration_since(self.current_since).as_secs_f64();
        self.current_since = now;
        // A run of hours keeps its totals, but not every second.
        if self.intervals.len() < INTERVALS_MAX {
            self.intervals.push(Interval {
                seconds: now.duration_since(self.begun).as_secs_f64(),
                length,
                tally,
            });
        }
        Ok(())
    }

    fn view(&self, now: Instant) -> View {
        let window = self.orders.window.get().copied();
        let last = self.intervals.last();
        let wanted = self.plan.roles.len();
        let open = self.open.iter().sum();
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
                let tally = &interval.tally;
                let events = tally.messages + tally.messages_outside + tally.connections;
                events as f64 / interval.length.max(f64::EPSILON)
            }),
            latency: last
                .filter(|interval| !interval.tally.latency.is_empty())
                .map(|interval| {
                    let latency = &interval.tally.latency;
                    (latency.microseconds_at(0.5), latency.microseconds_at(0.99))
                }),
            errors: self.total.failures.total(),
            interrupted: self.is_stopped(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.orders.stop.load(Ordering::Relaxed)
    }

    fn into_seen(self, baseline: Option<Cost>) -> Result<Seen, String> {
        let start = self.orders.window.get().map(|window| window.start);
        let measured = start.zip(self.measured_until);
        let Some((start, until)) = measured else {
            return Err("ended before anything was measured".to_owned());
        };
        let costs = match (baseline, self.before, self.after) {
            (Some(baseline), Some(before), Some(after)) => Some([baseline, before, after]),
            // A cost of which a part is not known is not known.
            _ => None,
        };
        let interrupted = self
            .orders
            .window
            .get()
            .is_some_and(|window| until < window.end);
        Ok(Seen {
            threads: self.threads,
            interrupted,
            open: self.open_at_end.unwrap_or_default(),
            seconds: until.saturating_duration_since(start).as_secs_f64(),
            tally: self.total,
            costs,
            observe_error: self.observe_error,
            moments: self.moments,
            intervals: self.intervals,
            plan: self.plan,
        })
    }
}

/// An hour of frames, a day of seconds: enough for any chart, and a bound on memory.
const MOMENTS_MAX: usize = 14_400;
const INTERVALS_MAX: usize = 3_600;

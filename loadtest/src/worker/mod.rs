//! One thread of load: opens its connections, sends by the clock or by the echo, drains, and reports as it goes.

mod ending;
mod load;
mod opening;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::fleet::{Fleet, Setup};
use crate::plan::Plan;
use crate::role::Role;
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::timeline::{begin_of, second_of};

const POST_INTERVAL: Duration = Duration::from_secs(1);
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// Walking the page tables of a large process takes a while.
const HOLD_MAX: Duration = Duration::from_secs(2);

/// What the workers are told.
#[derive(Debug)]
pub(crate) struct Orders {
    /// When the run began, from which its seconds count.
    pub(crate) begun: Instant,
    pub(crate) stop: Arc<AtomicBool>,
    /// When measuring takes place; load begins the warm-up earlier.
    pub(crate) window: OnceLock<Window>,
    /// The processes under test were looked at when measuring ended, so that connections may go.
    pub(crate) looked_at: AtomicBool,
}

/// What a worker tells.
#[derive(Debug)]
pub(crate) enum Post {
    /// What was counted since the last one, and how many connections are open.
    Counted {
        worker: usize,
        open: usize,
        /// The second of the run that was counted, and the one that is counted from now on.
        second: u64,
        next: u64,
        tally: Box<Tally>,
    },
    /// Every connection is open and, where asked for, touched.
    Ready,
    GaveUp(GivenUp),
    Done,
}

/// Why a worker gave up.
#[derive(Debug)]
pub(crate) enum GivenUp {
    /// A connection that was to stay could not be opened, for this reason.
    NotOpened(String),
    Broken(String),
}

impl From<String> for GivenUp {
    fn from(error: String) -> Self {
        Self::Broken(error)
    }
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
    /// The second of the run that is counted.
    second: u64,
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

impl Orders {
    pub(crate) fn new(begun: Instant) -> Self {
        Self {
            begun,
            stop: Arc::default(),
            window: OnceLock::new(),
            looked_at: AtomicBool::new(false),
        }
    }
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
            second: 0,
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
            Ok(()) => {
                self.hold();
                Post::Done
            }
            // With what it counted until then.
            Err(why) => Post::GaveUp(self.post().map_or_else(GivenUp::Broken, |()| why)),
        };
        // Nobody listens any more only if the run was given up.
        self.posts.send(last).ok();
    }

    fn run_phases(&mut self) -> Result<(), GivenUp> {
        self.open()?;
        if self.plan.touch {
            self.touch()?;
        }
        self.post()?;
        self.posts.send(Post::Ready).ok();
        let Some(window) = self.await_window()? else {
            return Ok(self.post()?);
        };
        self.begin(window);
        self.drive(window.end)?;
        self.drain(window.end)?;
        self.collect_receipts()?;
        self.board
            .tally
            .failures
            .count_many(&ClientError::Lost, self.fleet.outstanding() as u64);
        Ok(self.post()?)
    }

    /// Keeps the connections until somebody has looked at what they cost.
    fn hold(&mut self) {
        let end = clock::now() + HOLD_MAX;
        while !self.orders.looked_at.load(Ordering::Relaxed) && clock::now() < end {
            if self.turn(Duration::from_millis(2)).is_err() {
                return;
            }
        }
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

    /// Also when a second of the run ends, so that none is counted for another.
    fn post_if_due(&mut self, now: Instant, interval: Duration) -> Result<(), String> {
        if now < self.post_due {
            return Ok(());
        }
        self.post()?;
        let next_second = begin_of(self.orders.begun, self.second + 1);
        self.post_due = (now + interval).min(next_second);
        Ok(())
    }

    fn post(&mut self) -> Result<(), String> {
        let mut tally = std::mem::replace(&mut self.board.tally, Tally::new()?);
        self.failures_so_far += self.fleet.failures.total();
        tally
            .failures
            .merge(&std::mem::take(&mut self.fleet.failures));
        let next = second_of(self.orders.begun, clock::now());
        let post = Post::Counted {
            worker: self.number,
            open: self.fleet.open_count(),
            second: std::mem::replace(&mut self.second, next),
            next,
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

//! Every drain of the process: who ordered it, and how far it is, for the admin API, the log and the supervisor.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monoio::time::sleep;
use serde::Serialize;

use super::supervisor;
use crate::close::DrainCause;
use crate::document::quantity::format_duration;
use crate::relay::drain::{DrainOrder, Pace, Progress};

/// Drains that are remembered, so that their progress can be asked for.
const KNOWN_MAX: usize = 64;

/// How often the supervisor is told how far drains are, and every how many times the log is.
const REPORT: Duration = Duration::from_secs(1);
const LOGGED: u32 = 5;

/// The drains of the process. Clones share them; they belong to the control thread.
#[derive(Clone, Debug, Default)]
pub struct Drains(Rc<RefCell<Book>>);

#[derive(Debug, Default)]
struct Book {
    known: Vec<Drain>,
    last_number: u64,
}

/// Whose wish a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Operator,
    Reload,
    Stop,
}

#[derive(Debug)]
struct Drain {
    number: u64,
    origin: Origin,
    which: String,
    order: Arc<DrainOrder>,
    over: bool,
}

/// A drain as callers of the admin API see it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownDrain {
    drain: u64,
    ordered_by: Origin,
    which: String,
    over: String,
    cause: &'static str,
    /// Tunnels that it is about, and those of them that are open.
    chosen: u64,
    open: u64,
    /// Those that were told to close.
    closed: u64,
    left_by_themselves: u64,
    waiting: u64,
    /// Until the last of those that wait has its turn.
    time_left_ms: u64,
    cancelled: bool,
}

/// Why a drain is not cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCancelled {
    Unknown,
    /// Its listeners are closed, or about to be.
    Stop,
}

impl Drains {
    /// Remembers an order that the relays have been given.
    pub fn add(&self, origin: Origin, which: String, order: Arc<DrainOrder>) -> ShownDrain {
        let mut book = self.0.borrow_mut();
        book.last_number += 1;
        let drain = Drain {
            number: book.last_number,
            origin,
            which,
            order,
            over: false,
        };
        let shown = drain.shown(now());
        tracing::info!(
            drain = shown.drain,
            which = shown.which,
            over = shown.over,
            cause = shown.cause,
            "drain ordered"
        );
        if book.known.len() == KNOWN_MAX {
            let over = book.known.iter().position(|drain| drain.over);
            book.known.remove(over.unwrap_or(0));
        }
        book.known.push(drain);
        shown
    }

    /// The oldest first.
    pub fn list(&self) -> Vec<ShownDrain> {
        let now = now();
        let book = self.0.borrow();
        book.known.iter().map(|drain| drain.shown(now)).collect()
    }

    /// Keeps those whose turn has not come.
    pub fn cancel(&self, number: &str) -> Result<ShownDrain, NotCancelled> {
        let book = self.0.borrow();
        let number = number.parse();
        let is_it = |drain: &&Drain| number == Ok(drain.number);
        let drain = book.known.iter().find(is_it).ok_or(NotCancelled::Unknown)?;
        if drain.origin == Origin::Stop {
            return Err(NotCancelled::Stop);
        }
        drain.order.cancel();
        Ok(drain.shown(now()))
    }

    /// Tells the supervisor and the log how far the drains are, as long as there are any under way. Never ends.
    pub async fn report(&self) -> Infallible {
        let (mut round, mut told) = (0, false);
        loop {
            sleep(REPORT).await;
            round += 1;
            let now = now();
            let lines: Vec<_> = self
                .0
                .borrow_mut()
                .known
                .iter_mut()
                .filter_map(|drain| drain.report(now, round % LOGGED == 0))
                .collect();
            if !lines.is_empty() {
                supervisor::status(&lines.join("; "));
                told = true;
            } else if std::mem::take(&mut told) {
                supervisor::rest();
            }
        }
    }
}

impl Drain {
    /// A line on how far it is, while it is under way.
    fn report(&mut self, now: Instant, log: bool) -> Option<String> {
        if self.over {
            return None;
        }
        let progress = self.order.progress();
        let Progress { closed, left, .. } = progress;
        let (open, waiting) = (progress.open(), progress.waiting());
        let Self { number, which, .. } = self;
        self.over = open == 0 || self.order.is_cancelled();
        if self.over {
            let cancelled = self.order.is_cancelled();
            tracing::info!(
                drain = *number,
                which = *which,
                open,
                closed,
                left,
                cancelled,
                "drain over"
            );
            return None;
        }
        let time_left = format_seconds(self.order.time_left(now));
        if log {
            tracing::info!(
                drain = *number,
                which = *which,
                open,
                closed,
                left,
                waiting,
                time_left,
                "draining"
            );
        }
        Some(format!(
            "draining {which}: {open} open, {closed} told to close, {left} left by themselves, {waiting} waiting, {time_left} left"
        ))
    }

    fn shown(&self, now: Instant) -> ShownDrain {
        let progress = self.order.progress();
        let plan = self.order.plan();
        let time_left = self.order.time_left(now).as_millis();
        ShownDrain {
            drain: self.number,
            ordered_by: self.origin,
            which: self.which.clone(),
            over: match plan.pace {
                Pace::Gentle => "gentle".to_owned(),
                Pace::Over(over) => format_duration(over),
            },
            cause: match plan.cause {
                DrainCause::Stop => "stop",
                DrainCause::Restart => "restart",
            },
            chosen: progress.chosen,
            open: progress.open(),
            closed: progress.closed,
            left_by_themselves: progress.left,
            waiting: progress.waiting(),
            time_left_ms: u64::try_from(time_left).unwrap_or(u64::MAX),
            cancelled: self.order.is_cancelled(),
        }
    }
}

/// To a whole second, upwards: for people.
fn format_seconds(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    format_duration(Duration::from_secs(seconds))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where drains are given their time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::drain::{DrainPlan, Which};

    fn order() -> Arc<DrainOrder> {
        Arc::new(DrainOrder::new(Which::All, DrainPlan::default(), now()))
    }

    #[test]
    fn only_the_last_drains_are_remembered() {
        let drains = Drains::default();
        for _ in 0..KNOWN_MAX + 3 {
            drains.add(Origin::Operator, "all".to_owned(), order());
        }
        let numbers: Vec<_> = drains.list().iter().map(|shown| shown.drain).collect();
        assert_eq!(numbers.len(), KNOWN_MAX);
        assert_eq!((numbers[0], *numbers.last().unwrap()), (4, 67));
    }

    #[test]
    fn a_stop_is_not_taken_back() {
        let drains = Drains::default();
        drains.add(Origin::Stop, "everything".to_owned(), order());
        drains.add(Origin::Reload, "removed APIs".to_owned(), order());
        assert_eq!(drains.cancel("1").unwrap_err(), NotCancelled::Stop);
        assert!(drains.cancel("2").unwrap().cancelled);
        for unknown in ["3", "x", ""] {
            assert_eq!(drains.cancel(unknown).unwrap_err(), NotCancelled::Unknown);
        }
    }
}

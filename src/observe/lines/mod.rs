//! Lines on their way out: a bounded queue, and a thread that writes them. Whoever has a line to write never waits; one
//! that finds no room, or cannot be written, is dropped and counted.
//!
//! ```text
//!  threads ──try_send──► queue: lines and bytes bounded ──► writer: batches ──write──► file, FIFO, standard stream
//!     └──── reopen, move, end ────────────────────────────────┘
//! ```
//! No library does this: those that there are lose count of what a full disk refuses, know no bound in bytes, and wait
//! for a stuck pipe at the end.
#![forbid(unsafe_code)]

mod target;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

pub(crate) use target::Target;
use writer::Writer;

/// What a place in the queue is worth on average: the bound in bytes is this times the bound in lines.
pub(crate) const LINE_BYTES: usize = 1024;

/// Orders that may wait for a writer that is stuck.
const ORDERS_MAX: usize = 64;

/// How long the end of the program waits for lines that have not been written: a pipe may be stuck.
const END_MAX: Duration = Duration::from_secs(1);

/// The way to a writer. Clones lead to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    queue: SyncSender<Vec<u8>>,
    orders: SyncSender<Order>,
    account: Arc<Account>,
}

/// What a writer can be told, beside lines.
#[derive(Debug)]
enum Order {
    /// Open the file of this name anew: a rotation has moved it away.
    Reopen,
    Move(Target),
    End,
}

/// What is in a queue, and what did not come through.
#[derive(Debug)]
struct Account {
    bytes: AtomicUsize,
    bytes_max: usize,
    dropped: AtomicU64,
    /// There is an order whose place among the lines is not known.
    unmarked: AtomicBool,
}

impl Account {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
            dropped: AtomicU64::new(0),
            unmarked: AtomicBool::new(false),
        }
    }
}

/// Keeps a writer at work. Dropping it has what still waits written, as far as that takes no longer than a second.
#[must_use = "lines are written only while this lives"]
#[derive(Debug)]
pub struct Guard {
    lines: Option<Lines>,
    ended: Receiver<()>,
}

impl Lines {
    /// Starts a writer to `target`, for at most `lines_max` lines that wait. `name` is that of its thread, and what
    /// messages about it call it.
    pub(crate) fn start(
        name: &'static str,
        target: Target,
        lines_max: usize,
    ) -> io::Result<(Self, Guard)> {
        let (queue, lines) = sync_channel(lines_max);
        let (orders, told) = sync_channel(ORDERS_MAX);
        let (end, ended) = channel();
        let account = Arc::new(Account::new(lines_max.saturating_mul(LINE_BYTES)));
        let writer = Writer::new(name, target, lines, told, Arc::clone(&account));
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                writer.run();
                drop(end);
            })?;
        let lines = Self {
            queue,
            orders,
            account,
        };
        let guard = Guard {
            lines: Some(lines.clone()),
            ended,
        };
        Ok((lines, guard))
    }

    /// Has `line`, which ends with a newline, written some time.
    pub(crate) fn put(&self, line: Vec<u8>) {
        let len = line.len();
        let waiting = self.account.bytes.fetch_add(len, Relaxed);
        if waiting.saturating_add(len) > self.account.bytes_max
            || self.queue.try_send(line).is_err()
        {
            self.account.bytes.fetch_sub(len, Relaxed);
            self.account.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that found no room or could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.account.dropped.load(Relaxed)
    }

    /// Has the file opened anew.
    pub(crate) fn reopen(&self) {
        self.tell(Order::Reopen);
    }

    /// Has the lines that follow go elsewhere.
    pub(crate) fn move_to(&self, target: Target) {
        self.tell(Order::Move(target));
    }

    fn tell(&self, order: Order) {
        match self.orders.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(order)) => {
                return tracing::error!(?order, "a log that is stuck can't be told anything more");
            }
        }
        // An empty line wakes the writer, and says which lines come before; a full queue has no place for one, and finds
        // it awake.
        if self.queue.try_send(Vec::new()).is_err() {
            self.account.unmarked.store(true, Relaxed);
        }
    }
}

impl Guard {
    /// Of nothing.
    pub(crate) fn none() -> Self {
        Self {
            lines: None,
            ended: channel().1,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(lines) = self.lines.take() else {
            return;
        };
        lines.tell(Order::End);
        // Nothing is ever sent: the other end goes when the writer does. One that is stuck goes with the process.
        let ended = self.ended.recv_timeout(END_MAX);
        debug_assert!(ended.is_err());
    }
}

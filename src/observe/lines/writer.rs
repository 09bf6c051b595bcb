//! The thread that writes.

use std::io::ErrorKind;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Account, Order, Target};

/// What is written at once: beyond this a write costs what its bytes cost.
const BATCH_BYTES: usize = 64 << 10;

/// How often a full pipe is tried again. Orders are heard meanwhile.
const RETRY: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    name: &'static str,
    target: Target,
    lines: Receiver<Vec<u8>>,
    orders: Receiver<Order>,
    account: Arc<Account>,
    /// Whole lines that are to be written next.
    batch: Vec<u8>,
    /// The last write ended within a line.
    torn: bool,
    failing: bool,
    ending: bool,
    /// Losses that a message has told of.
    told: u64,
}

impl Writer {
    pub(super) fn new(
        name: &'static str,
        target: Target,
        lines: Receiver<Vec<u8>>,
        orders: Receiver<Order>,
        account: Arc<Account>,
    ) -> Self {
        Self {
            name,
            target,
            lines,
            orders,
            account,
            batch: Vec::new(),
            torn: false,
            failing: false,
            ending: false,
            told: 0,
        }
    }

    pub(super) fn run(mut self) {
        while !self.ending {
            let Ok(line) = self.lines.recv() else { break };
            self.take(line);
            self.gather();
            self.write();
            if self.account.unmarked.swap(false, Relaxed) {
                self.obey_all();
            }
        }
        while self.gather() {
            self.write();
        }
    }

    /// Fills the batch with what waits. False if there is nothing to write.
    fn gather(&mut self) -> bool {
        while self.batch.len() < BATCH_BYTES
            && let Ok(line) = self.lines.try_recv()
        {
            self.take(line);
        }
        !self.batch.is_empty()
    }

    /// An empty line marks where among the lines an order belongs.
    fn take(&mut self, line: Vec<u8>) {
        if line.is_empty() {
            self.write();
            if let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
        }
        self.account.bytes.fetch_sub(line.len(), Relaxed);
        self.batch.extend_from_slice(&line);
    }

    fn obey_all(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Reopen => match self.target.reopen() {
                Ok(()) => self.torn = false,
                Err(error) => {
                    let path = self.target.path();
                    tracing::warn!(log = self.name, ?path, %error, "not opened anew, the old file goes on");
                }
            },
            Order::Move(target) => {
                self.target = target;
                self.torn = false;
            }
            Order::End => self.ending = true,
        }
    }

    /// Writes the batch, or counts what of it could not be written.
    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = mem::take(&mut self.batch);
        let repaired = mem::take(&mut self.torn);
        if repaired {
            // What follows is a line of its own.
            batch.insert(0, b'\n');
        }
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            match self.target.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.ending => {
                    if let Some(order) = self.wait() {
                        if let Order::Move(_) = order {
                            rest = from_line_start(&batch, rest);
                        }
                        self.obey(order);
                    }
                }
                Err(error) => {
                    self.lose(&batch, rest, repaired);
                    if !mem::replace(&mut self.failing, true) {
                        tracing::error!(log = self.name, %error, "can't be written, its lines are dropped");
                    }
                    break;
                }
            }
        }
        if rest.is_empty() {
            self.failing = false;
            self.tell_of_losses();
        }
        // Kept for the next one, unless it was an unusual one.
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES);
        self.batch = batch;
    }

    /// Waits for a pipe to have room, or for an order.
    fn wait(&self) -> Option<Order> {
        match self.orders.recv_timeout(RETRY) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            // Nobody is left to write for.
            Err(RecvTimeoutError::Disconnected) => Some(Order::End),
        }
    }

    fn lose(&mut self, batch: &[u8], rest: &[u8], repaired: bool) {
        let newlines = rest.iter().filter(|byte| **byte == b'\n').count();
        let untouched = rest.len() == batch.len();
        // The newline that was to end a torn line is no line.
        let lost = newlines - usize::from(untouched && repaired);
        self.account.dropped.fetch_add(lost as u64, Relaxed);
        let (written, _) = batch.split_at(batch.len() - rest.len());
        self.torn = match written.last() {
            None => repaired,
            Some(last) => *last != b'\n',
        };
    }

    /// Once things go well again: during a loss a message of each would be one more line to lose.
    fn tell_of_losses(&mut self) {
        let dropped = self.account.dropped.load(Relaxed);
        let lost = dropped - self.told;
        if lost > 0 && self.account.bytes.load(Relaxed) == 0 {
            self.told = dropped;
            tracing::warn!(log = self.name, lost, "lines were dropped");
        }
    }
}

/// A new place gets the line that is being written from its beginning.
fn from_line_start<'a>(batch: &'a [u8], rest: &[u8]) -> &'a [u8] {
    let (written, _) = batch.split_at(batch.len() - rest.len());
    let end = written.iter().rposition(|byte| *byte == b'\n');
    let start = end.map_or(0, |end| end + 1);
    batch.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let pipe = socket2::Socket::from(OwnedFd::from(pipe));
        pipe.set_nonblocking(true).unwrap();
        let (_queue, lines) = sync_channel(1);
        let (_orders, told) = channel();
        let account = Arc::new(Account::new(0));
        let target = Target::Stream(OwnedFd::from(pipe).into());
        let mut writer = Writer::new("test", target, lines, told, Arc::clone(&account));
        // Nobody waits for a pipe at the end.
        writer.ending = true;
        let line = [vec![b'x'; 99], vec![b'\n']].concat();
        writer.batch = line.repeat(1000);
        writer.write();
        let lost = account.dropped.load(Relaxed);
        let mut piece = vec![0; 100_000];
        let len = reader.read(&mut piece).unwrap();
        assert_eq!(lost, 1000 - len as u64 / 100);
        assert_ne!(len % 100, 0, "a pipe holds a power of two");
        writer.batch = b"next\n".to_vec();
        writer.write();
        let len = reader.read(&mut piece).unwrap();
        assert_eq!(&piece[..len], b"\nnext\n");
        assert_eq!(account.dropped.load(Relaxed), lost);
    }
}

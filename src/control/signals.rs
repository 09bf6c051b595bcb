//! Signals, as messages to the control thread.
//!
//! SIGPIPE needs nothing here: Rust's start-up ignores it, and a write to a gone peer is an error like any other.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::net::UnixStream;

use futures_channel::mpsc::{Receiver, Sender, channel};
use monoio::io::AsyncReadRent;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::low_level::pipe;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGQUIT: close every tunnel with 1001, then end.
    Stop,
    /// SIGINT: end.
    StopNow,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: a rotation has moved the log away.
    ReopenLogs,
}

const MEANINGS: [(i32, Signal); 5] = [
    (SIGTERM, Signal::Stop),
    (SIGQUIT, Signal::Stop),
    (SIGINT, Signal::StopNow),
    (SIGHUP, Signal::Reload),
    (SIGUSR1, Signal::ReopenLogs),
];

/// Signals that nobody has acted on yet may wait; a sixteenth says nothing that the fifteen before it did not.
const WAITING_MAX: usize = 16;

/// Handlers in place, each of which writes a byte into a socket pair of its own: signal-hook writes the same byte
/// whatever the signal.
#[derive(Debug)]
pub struct Signals {
    pairs: Vec<(Signal, UnixStream)>,
}

impl Signals {
    /// Catches signals from here on. Those that come before `listen` wait. Any thread of the process may be
    /// interrupted by them: system calls outside the control thread have to take EINTR.
    pub fn register() -> io::Result<Self> {
        let pairs = MEANINGS.map(|(number, signal)| {
            let (ours, handlers) = UnixStream::pair()?;
            pipe::register(number, handlers)?;
            Ok((signal, ours))
        });
        let pairs = pairs.into_iter().collect::<io::Result<_>>()?;
        Ok(Self { pairs })
    }

    /// Turns to messages what was caught and what will be. On the control thread, inside its runtime.
    pub fn listen(self) -> io::Result<Receiver<Signal>> {
        let (sender, receiver) = channel(WAITING_MAX);
        for (signal, pair) in self.pairs {
            let pair = monoio::net::UnixStream::from_std(pair)?;
            monoio::spawn(forward(signal, pair, sender.clone()));
        }
        Ok(receiver)
    }
}

async fn forward(signal: Signal, mut pair: monoio::net::UnixStream, mut sender: Sender<Signal>) {
    let mut buf = vec![0; 1];
    loop {
        let (read, returned) = pair.read(buf).await;
        match read {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        buf = returned;
        // A full queue holds this signal's like already.
        if sender
            .try_send(signal)
            .is_err_and(|error| error.is_disconnected())
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use monoio::{IoUringDriver, RuntimeBuilder};
    use signal_hook::low_level::raise;

    use super::*;

    /// One test for all, since handlers belong to the process.
    #[test]
    fn signals_become_messages() {
        let signals = Signals::register().unwrap();
        // Caught before anybody listens.
        raise(SIGTERM).unwrap();
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(64)
            .enable_timer()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut messages = signals.listen().unwrap();
            let mut next = async || {
                let limit = Duration::from_secs(10);
                monoio::time::timeout(limit, messages.recv()).await.unwrap()
            };
            assert_eq!(next().await, Ok(Signal::Stop));
            for (number, signal) in MEANINGS {
                raise(number).unwrap();
                assert_eq!(next().await, Ok(signal));
            }
        });
    }
}

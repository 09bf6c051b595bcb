//! JSON lines: one when a tunnel opens, one when it ends, one for each call, one for a request that got neither.
//!
//! Payload, cookies, tokens, paths and query strings never appear here. Neither does the subprotocol: some clients carry
//! a bearer token in it.
#![forbid(unsafe_code)]

mod facts;
mod file;
mod json;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};

use serde::Serialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder};

use super::events::Guard;
use crate::config::{self, Log};
pub use facts::{CallEnd, Refusal, Traffic, TunnelEnd, TunnelFacts};
use file::LogFile;
use json::{CallLine, Refused, TunnelClose, TunnelOpen};

/// Writes the lines. A clone for each thread; nothing here ever blocks: a line that finds the queue full is dropped
/// and counted.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Sink>);

#[derive(Clone, Debug)]
struct Sink {
    queue: RefCell<Queue>,
    dropped: ErrorCounter,
    /// Has a file opened anew: another, or the same if none is named. Absent where lines go to standard output.
    file: Option<Sender<Option<PathBuf>>>,
}

#[derive(Clone, Debug)]
struct Queue {
    writer: NonBlocking,
    /// Kept, so that only the queue's own copy of a line is allocated.
    line: Vec<u8>,
}

impl AccessLog {
    /// Opens what the configuration says. Lines are written as long as the guard lives.
    pub fn open(config: &Log) -> io::Result<(Self, Guard)> {
        match &config.access {
            config::AccessLog::Off => Ok(Self::off()),
            config::AccessLog::Stdout => Ok(Self::start(io::stdout(), config, None)),
            config::AccessLog::File(path) => {
                let (reopen, told) = channel();
                let file = LogFile::open(path, told)?;
                Ok(Self::start(file, config, Some(reopen)))
            }
        }
    }

    /// A log that keeps nothing.
    pub fn off() -> (Self, Guard) {
        (Self(None), Guard::from(None))
    }

    fn start(
        target: impl Write + Send + 'static,
        config: &Log,
        file: Option<Sender<Option<PathBuf>>>,
    ) -> (Self, Guard) {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(config.queue_lines_max.max(1))
            .lossy(true)
            .thread_name("ringgate-access")
            .finish(target);
        let dropped = writer.error_counter();
        let queue = RefCell::new(Queue {
            writer,
            line: Vec::with_capacity(1024),
        });
        let sink = Sink {
            queue,
            dropped,
            file,
        };
        (Self(Some(sink)), Guard::from(Some(guard)))
    }

    pub fn tunnel_open(&self, facts: &TunnelFacts) {
        self.write(|| TunnelOpen::new(facts));
    }

    pub fn tunnel_close(&self, facts: &TunnelFacts, end: &TunnelEnd) {
        self.write(|| TunnelClose::new(facts, end));
    }

    pub fn refused(&self, refusal: &Refusal) {
        self.write(|| Refused::new(refusal));
    }

    pub fn call(&self, end: &CallEnd<'_>) {
        self.write(|| CallLine::new(end));
    }

    /// Lines that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |sink| sink.dropped.dropped_lines() as u64)
    }

    /// Has the file opened anew before its next line, after a rotation moved it away.
    pub fn reopen(&self) {
        self.tell_file(None);
    }

    /// Whether lines can go to `target` without a restart: from one file to another, or where they go now.
    pub fn can_move_to(&self, target: &config::AccessLog) -> bool {
        match (&self.0, target) {
            (None, config::AccessLog::Off) => true,
            (Some(sink), config::AccessLog::Stdout) => sink.file.is_none(),
            (Some(sink), config::AccessLog::File(_)) => sink.file.is_some(),
            (None, _) | (Some(_), config::AccessLog::Off) => false,
        }
    }

    /// Sends lines to another file from the next one on.
    pub fn move_to(&self, target: &config::AccessLog) {
        if let config::AccessLog::File(path) = target {
            self.tell_file(Some(path.clone()));
        }
    }

    fn tell_file(&self, path: Option<PathBuf>) {
        let file = self.0.as_ref().and_then(|sink| sink.file.as_ref());
        if let Some(file) = file {
            // The writer lives as long as its guard; without it nothing is written anyway.
            drop(file.send(path));
        }
    }

    /// `line` is made only if somebody is to read it.
    fn write<T: Serialize>(&self, line: impl FnOnce() -> T) {
        let Some(sink) = &self.0 else { return };
        let mut queue = sink.queue.borrow_mut();
        let Queue { writer, line: text } = &mut *queue;
        text.clear();
        if let Err(error) = serde_json::to_writer(&mut *text, &line()) {
            debug_assert!(false, "a line of plain fields serialises: {error}");
            return;
        }
        text.push(b'\n');
        // A lossy writer takes every line or counts it as dropped.
        let taken = writer.write_all(text);
        debug_assert!(taken.is_ok(), "a lossy writer does not fail");
    }
}

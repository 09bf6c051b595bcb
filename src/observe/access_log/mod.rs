//! The access log: a line when a tunnel opens, now and then while it lives, and when it ends; one for each call, and one
//! for a request that got neither.
//!
//! Payload, cookies and credentials never appear here (`redact` says what else does not). Neither does the subprotocol:
//! some clients carry a bearer token in it.
#![forbid(unsafe_code)]

mod apig;
mod facts;
mod json;
mod redact;
#[cfg(test)]
mod tests;
mod texts;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde::Serialize;

use super::escape::put_escaped;
use super::lines::{Guard, Lines, Target};
use crate::close::CloseReason;
use crate::config::{self, AccessFormat, Log};
use apig::{Record, Style};
pub(crate) use facts::REQUEST_BYTES_MAX;
pub use facts::{
    ApiNames, Asked, AskedBuf, Bytes, Caller, RequestEnd, RequestKind, SoFar, Traffic, TunnelFacts,
    TunnelRequest, Upstream,
};
use texts::Texts;

/// Makes the lines. A clone for each thread; nothing here ever blocks: a line that finds no room, or cannot be written, is
/// dropped and counted.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Sink>);

#[derive(Clone, Debug)]
struct Sink {
    lines: Lines,
    /// Lines lead somewhere.
    on: Arc<AtomicBool>,
    format: AccessFormat,
    /// A tunnel gets a line when it opens.
    opens: bool,
    texts: Arc<Texts>,
}

/// A place for lines that has been opened.
#[derive(Debug)]
pub struct Opened(Target);

impl Opened {
    pub fn open(config: &config::AccessLog) -> io::Result<Self> {
        Ok(Self(match config {
            config::AccessLog::Off => Target::Nowhere,
            config::AccessLog::Stdout => Target::stdout()?,
            config::AccessLog::File(path) => Target::file(path.clone())?,
        }))
    }

    fn is_somewhere(&self) -> bool {
        !matches!(self.0, Target::Nowhere)
    }
}

impl AccessLog {
    /// Opens what the configuration says. Lines are written as long as the guard lives.
    pub fn open(config: &Log) -> io::Result<(Self, Guard)> {
        let opened = Opened::open(&config.access)?;
        let on = Arc::new(AtomicBool::new(opened.is_somewhere()));
        let (lines, guard) = Lines::start("ringgate-access", opened.0, config.queue_lines_max)?;
        let sink = Sink {
            lines,
            on,
            format: config.access_format,
            opens: config.opens_have_lines(),
            texts: Arc::new(Texts::new(&config.access_secrets)),
        };
        Ok((Self(Some(sink)), guard))
    }

    /// A log that keeps nothing.
    pub fn off() -> (Self, Guard) {
        (Self(None), Guard::none())
    }

    /// Whether anybody wants to know.
    pub fn is_on(&self) -> bool {
        self.sink().is_some()
    }

    /// Takes from `facts` what no later line needs, so that the tunnel does not keep it.
    pub fn tunnel_open(&self, facts: &mut TunnelFacts) {
        if let Some(sink) = self.sink().filter(|sink| sink.opens) {
            let so_far = SoFar::nothing();
            match sink.format {
                AccessFormat::Json => sink.put_json(&json::TunnelOpen::new(facts, &sink.texts)),
                _ => sink.put_record(&Record::of_tunnel(facts, &so_far, false)),
            }
        }
        let format = self.0.as_ref().map(|sink| sink.format);
        if matches!(format, None | Some(AccessFormat::Json)) {
            facts.request = None;
        }
    }

    /// A tunnel has been open for another while.
    pub fn tunnel_progress(&self, facts: &TunnelFacts, so_far: &SoFar) {
        let Some(sink) = self.sink() else { return };
        match sink.format {
            AccessFormat::Json => sink.put_json(&json::TunnelProgress::new(facts, so_far)),
            _ => sink.put_record(&Record::of_tunnel(facts, so_far, false)),
        }
    }

    pub fn tunnel_close(&self, facts: &TunnelFacts, reason: CloseReason, so_far: &SoFar) {
        let Some(sink) = self.sink() else { return };
        match sink.format {
            AccessFormat::Json => sink.put_json(&json::TunnelClose::new(facts, reason, so_far)),
            _ => sink.put_record(&Record::of_tunnel(facts, so_far, true)),
        }
    }

    /// A request came to its end that became no tunnel.
    pub fn request(&self, end: &RequestEnd<'_>) {
        let Some(sink) = self.sink() else { return };
        match sink.format {
            AccessFormat::Json => sink.put_json(&json::Request::new(end, &sink.texts)),
            _ => sink.put_record(&Record::of_request(end)),
        }
    }

    /// Lines that found no room or could not be written.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |sink| sink.lines.dropped())
    }

    /// Has the file opened anew, after a rotation moved it away.
    pub fn reopen(&self) {
        if let Some(sink) = &self.0 {
            sink.lines.reopen();
        }
    }

    /// Sends the lines that follow elsewhere.
    pub fn move_to(&self, opened: Opened) {
        if let Some(sink) = &self.0 {
            sink.on.store(opened.is_somewhere(), Relaxed);
            sink.lines.move_to(opened.0);
        }
    }

    fn sink(&self) -> Option<&Sink> {
        self.0.as_ref().filter(|sink| sink.on.load(Relaxed))
    }
}

impl Sink {
    fn put_json(&self, line: &impl Serialize) {
        let Ok(text) = serde_json::to_string(line) else {
            debug_assert!(false, "a line of plain fields serialises");
            return;
        };
        self.put(&text);
    }

    fn put_record(&self, record: &Record<'_>) {
        let style = match self.format {
            AccessFormat::Apig => Style::Text,
            AccessFormat::ApigJson | AccessFormat::Json => Style::Json,
        };
        self.put(&record.write(style, &self.texts));
    }

    /// JSON itself escapes the first 32 characters alone.
    fn put(&self, text: &str) {
        let mut line = String::with_capacity(text.len() + 1);
        put_escaped(&mut line, text, &[]);
        line.push('\n');
        self.lines.put(line.into_bytes());
    }
}

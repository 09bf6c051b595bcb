//! The program's own messages, on standard error: warnings, changes of state, nothing per message or frame.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::escape::put_escaped;
use super::lines::{Guard, Lines, Target};
use crate::config::{Log, LogFormat};

/// Which messages are written, which may change.
#[derive(Clone)]
pub struct Levels(Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>);

impl Levels {
    /// `level` has been checked when the configuration was read.
    pub fn set(&self, level: &str) {
        let set = EnvFilter::try_new(level).is_ok_and(|filter| (self.0)(filter));
        if !set {
            tracing::warn!(level, "log.level could not be changed");
        }
    }
}

/// Why messages could not be set up.
#[derive(Debug, PartialEq, Eq)]
pub enum InitError {
    /// `log.level` is neither a level nor a list of `module=level`.
    Level(String),
    /// Another subscriber is in place already.
    Twice,
    /// No thread, or no descriptor, to write with.
    Io(io::ErrorKind),
}

impl std::fmt::Display for InitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Level(level) => write!(
                f,
                "log.level `{level}` is not one of off, error, warn, info, debug, trace, nor a list like `info,ringgate::edge=debug`"
            ),
            Self::Twice => f.write_str("messages are set up already"),
            Self::Io(kind) => write!(f, "messages cannot be written: {kind}"),
        }
    }
}

impl std::error::Error for InitError {}

/// How many messages did not come through.
#[derive(Clone, Debug)]
pub struct Losses(Lines);

impl Losses {
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}

/// Sends events of every thread to standard error, through a bounded queue and a thread of its own: a terminal or
/// collector that does not read must not hold up a worker.
pub fn init(log: &Log) -> Result<(Levels, Losses, Guard), InitError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|_| InitError::Level(log.level.clone()))?;
    let failed = |error: io::Error| InitError::Io(error.kind());
    let stream = env::var_os("JOURNAL_STREAM");
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
    let journal = stream.is_some_and(|stream| is_journal(&stream, &stderr));
    let coloured = coloured(
        env::var_os("NO_COLOR").as_deref(),
        io::stderr().is_terminal(),
    );
    let target = Target::stderr().map_err(failed)?;
    let (lines, guard) =
        Lines::start("ringgate-events", target, log.queue_lines_max).map_err(failed)?;
    let losses = Losses(lines.clone());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Messages {
            lines,
            journal,
            coloured,
        })
        .with_ansi(coloured);
    let levels = match (log.format, journal) {
        (LogFormat::Text, false) => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|_| InitError::Twice)?;
            Levels(Arc::new(move |filter| handle.reload(filter).is_ok()))
        }
        // The journal knows the time.
        (LogFormat::Text, true) => {
            let builder = builder.without_time().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|_| InitError::Twice)?;
            Levels(Arc::new(move |filter| handle.reload(filter).is_ok()))
        }
        (LogFormat::Json, _) => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|_| InitError::Twice)?;
            Levels(Arc::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    Ok((levels, losses, guard))
}

/// Whether `stderr` is the journal's stream: it may have been redirected since the supervisor said which one that is
/// (systemd.exec(5), `JOURNAL_STREAM`).
fn is_journal(stream: &OsStr, stderr: &File) -> bool {
    let Ok(found) = stderr.metadata() else {
        return false;
    };
    stream.to_str() == Some(&format!("{}:{}", found.dev(), found.ino()))
}

/// Makes a line of each event.
struct Messages {
    lines: Lines,
    /// Each line says its priority, as sd-daemon(3) has it. The journal's native protocol would need a socket of its own,
    /// whose sends wait when the journal does.
    journal: bool,
    coloured: bool,
}

impl<'a> MakeWriter<'a> for Messages {
    type Writer = Message<'a>;

    fn make_writer(&'a self) -> Message<'a> {
        Message {
            to: self,
            level: Level::INFO,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Message<'a> {
        Message {
            to: self,
            level: *event.level(),
        }
    }
}

/// The line of one event, which is written in one piece.
struct Message<'a> {
    to: &'a Messages,
    level: Level,
}

impl Write for Message<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = String::with_capacity(text.len() + 8);
        if self.to.journal {
            line.push_str(priority(self.level));
        }
        // Where there are colours the formatter's are the only ones: it escapes those of values itself.
        let kept: &[char] = if self.to.coloured { &['\x1b'] } else { &[] };
        put_escaped(&mut line, text, kept);
        line.push('\n');
        self.to.lines.put(line.into_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Colours are for terminals, and not where `NO_COLOR` is set and not empty (no-color.org).
fn coloured(no_color: Option<&OsStr>, terminal: bool) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn no_color_is_honoured() {
        assert!(coloured(None, true));
        assert!(coloured(Some(OsStr::new("")), true));
        assert!(!coloured(Some(OsStr::new("1")), true));
        assert!(!coloured(None, false));
    }

    #[test]
    fn only_the_stream_that_was_named_is_the_journal() {
        let file = File::open("/dev/null").unwrap();
        let found = file.metadata().unwrap();
        let named = format!("{}:{}", found.dev(), found.ino());
        assert!(is_journal(OsStr::new(&named), &file));
        assert!(!is_journal(OsStr::new("1:2"), &file));
        assert!(!is_journal(OsStr::new(""), &file));
    }

    #[test]
    fn unknown_level_is_named() {
        let log = Log {
            level: "ringgate=loud".into(),
            ..Config::base().log
        };
        let error = init(&log).map(drop).unwrap_err();
        assert_eq!(error, InitError::Level("ringgate=loud".into()));
        assert!(error.to_string().contains("`ringgate=loud`"));
    }
}

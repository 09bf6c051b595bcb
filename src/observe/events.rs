//! The program's own messages, on standard error: warnings, changes of state, nothing per message or frame.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Keeps a log writer's thread alive; dropping it writes what still waits.
#[must_use = "lines are written only while this lives"]
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held for its drop")] Option<WorkerGuard>);

impl From<Option<WorkerGuard>> for Guard {
    fn from(guard: Option<WorkerGuard>) -> Self {
        Self(guard)
    }
}

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
}

impl std::fmt::Display for InitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Level(level) => write!(
                f,
                "log.level `{level}` is not one of off, error, warn, info, debug, trace, nor a list like `info,ringgate::edge=debug`"
            ),
            Self::Twice => f.write_str("messages are set up already"),
        }
    }
}

impl std::error::Error for InitError {}

/// Sends events of every thread to standard error, through a bounded queue and a thread of its own: a terminal or
/// collector that does not read must not hold up a worker.
pub fn init(log: &Log) -> Result<(Levels, Guard), InitError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|_| InitError::Level(log.level.clone()))?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(log.queue_lines_max.max(1))
        .lossy(true)
        .thread_name("ringgate-events")
        .finish(io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(coloured(
            env::var_os("NO_COLOR").as_deref(),
            io::stderr().is_terminal(),
        ));
    let levels = match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|_| InitError::Twice)?;
            Levels(Arc::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|_| InitError::Twice)?;
            Levels(Arc::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    Ok((levels, Guard(Some(guard))))
}

/// Colours are for terminals, and not where `NO_COLOR` is set and not empty (no-color.org).
fn coloured(no_color: Option<&OsStr>, terminal: bool) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessLog;

    #[test]
    fn no_color_is_honoured() {
        assert!(coloured(None, true));
        assert!(coloured(Some(OsStr::new("")), true));
        assert!(!coloured(Some(OsStr::new("1")), true));
        assert!(!coloured(None, false));
    }

    #[test]
    fn unknown_level_is_named() {
        let log = Log {
            format: LogFormat::Text,
            level: "ringgate=loud".into(),
            access: AccessLog::Off,
            queue_lines_max: 16,
        };
        let error = init(&log).map(drop).unwrap_err();
        assert_eq!(error, InitError::Level("ringgate=loud".into()));
        assert!(error.to_string().contains("`ringgate=loud`"));
    }
}

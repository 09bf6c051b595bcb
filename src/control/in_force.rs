//! What the process serves by now, and how the last attempt to change that went: for whoever asks. Written by a reload, on
//! the control thread, and read there.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use super::reload::Mistakes;
use crate::catalog::Catalog;
use crate::config::{Config, Running};
use crate::snapshot::Snapshot;

/// Complaints that are remembered; the log has all.
pub const COMPLAINTS_MAX: usize = 100;

/// Shared between the reloads and those who ask.
#[derive(Debug)]
pub struct InForce {
    file: Option<PathBuf>,
    running: Running,
    /// Connections that the workers were made for.
    connections_made_for: usize,
    served: RwLock<Served>,
    last_reload: RwLock<Option<LastReload>>,
}

#[derive(Clone, Debug)]
struct Served {
    catalog: Arc<Catalog>,
    since: SystemTime,
}

/// How a reload went.
#[derive(Clone, Debug)]
pub struct LastReload {
    pub at: SystemTime,
    /// What is served, in a line; or what was wrong: the first of the complaints, and how many there were.
    pub outcome: Result<String, (Vec<String>, usize)>,
}

impl InForce {
    /// `file` is what a reload reads again; without one there is none.
    pub fn new(
        file: Option<PathBuf>,
        running: Running,
        catalog: Arc<Catalog>,
        connections_made_for: usize,
    ) -> Self {
        let since = now();
        Self {
            file,
            running,
            connections_made_for,
            served: RwLock::new(Served { catalog, since }),
            last_reload: RwLock::default(),
        }
    }

    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub fn config(&self) -> Arc<Config> {
        self.running.config()
    }

    pub fn catalog(&self) -> Arc<Catalog> {
        self.served().catalog
    }

    /// As `ringgate diff` compares it.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.config(), &self.catalog());
        snapshot.connections_made_for = self.connections_made_for;
        snapshot
    }

    /// When it came into force.
    pub fn since(&self) -> SystemTime {
        self.served().since
    }

    fn served(&self) -> Served {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.clone()
    }

    pub fn last_reload(&self) -> Option<LastReload> {
        let last = self.last_reload.read();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes others for what runs.
    pub fn replace(&self, config: Arc<Config>, catalog: Arc<Catalog>) {
        self.running.set(config);
        let since = now();
        let served = Served { catalog, since };
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
    }

    /// Remembers how a reload went.
    pub fn note(&self, outcome: &Result<String, Mistakes>) {
        let outcome = outcome.clone().map_err(|Mistakes(text)| {
            let first = text.lines().take(COMPLAINTS_MAX).map(str::to_owned);
            (first.collect(), text.lines().count())
        });
        let last = LastReload { at: now(), outcome };
        *self
            .last_reload
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

#[expect(clippy::disallowed_methods, reason = "once a reload")]
fn now() -> SystemTime {
    SystemTime::now()
}

//! A configuration file that is read again while its program runs: what has changed is worked out, opened and handed to the
//! workers; what cannot change without a restart is refused.
#![forbid(unsafe_code)]

mod ending;
mod watching;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::catalog::{self, Carried, Loaded};
use crate::config::{self, Config};
use crate::control::in_force::InForce;
use crate::control::reload::{Mistakes, Next, Source, Swapped};
use crate::edge::{self, Change, Connections, EdgeHandle, Generation, Opened};
use crate::observe::access_log::{self, AccessLog};
use crate::observe::events::Levels;
use crate::relay::RelayHandle;
use crate::snapshot::{Reach, settings};
use crate::tls::Tickets;
use crate::worker;

use ending::Ending;
pub(crate) use ending::ending;
pub use watching::Watching;

/// What runs, as far as a reload is concerned.
pub struct FileSource {
    pub path: PathBuf,
    pub config: Arc<Config>,
    pub catalog: Arc<catalog::Catalog>,
    pub carried: Carried,
    pub listeners: Vec<Listening>,
    pub workers: Vec<(EdgeHandle, RelayHandle)>,
    /// Connections that the workers were made for.
    pub connections_made_for: usize,
    pub connections: Connections,
    pub tickets: Tickets,
    pub access_log: AccessLog,
    pub levels: Levels,
    pub in_force: Arc<InForce>,
    pub watching: Watching,
}

impl Source for FileSource {
    fn prepare(&mut self) -> Result<Next, Mistakes> {
        let read_at = time_of_day();
        let loaded = catalog::load_beside(&self.path, &mut self.carried);
        let (inputs, outcome) = match loaded {
            Ok(loaded) => (loaded.inputs.clone(), self.take(loaded)),
            Err(report) => (report.inputs.clone(), Err(Mistakes(report.to_string()))),
        };
        // A changed `reload.watch` has come into force by now.
        let watch = self.config.reload.watch;
        match outcome {
            Ok(_) => self.watching.follow(watch, inputs, read_at),
            Err(_) => self.watching.go_on(watch, &inputs, read_at),
        }
        outcome
    }
}

/// A listener that runs.
#[derive(Clone, Debug)]
pub struct Listening {
    pub config: config::Listener,
    /// The real one, where port 0 was asked for.
    pub address: SocketAddr,
    /// The supervisor has opened it, and keeps it open.
    pub passed: bool,
}

/// Listeners that come and go.
struct Doors {
    /// One for each worker.
    opened: Vec<Vec<Opened>>,
    closed: Vec<SocketAddr>,
    listeners: Vec<Listening>,
}

impl FileSource {
    /// Itself, with its files watched if they are to be.
    pub fn watched(mut self, read_at: SystemTime) -> Self {
        self.watching.begin(self.config.reload.watch, read_at);
        self
    }

    /// Opens what is new in what was loaded, and has it take the place of what runs.
    fn take(&mut self, loaded: Loaded) -> Result<Next, Mistakes> {
        let Loaded {
            config,
            catalog,
            warnings,
            ..
        } = loaded;
        let fixed = self.changed_for_good(&config);
        if !fixed.is_empty() {
            return Err(Mistakes(fixed.join("\n")));
        }
        let mistake =
            |problem: String| Mistakes(format!("{}: error: {problem}", self.path.display()));
        let generation = Generation {
            tls: self
                .tickets
                .configs(&config)
                .map_err(|error| mistake(error.to_string()))?,
            config: Arc::new(config),
            catalog: Arc::new(catalog),
        };
        let doors = self.doors(&generation.config).map_err(mistake)?;
        let summary = format!(
            "{} APIs, {} warnings",
            generation.catalog.apis().len(),
            warnings.len()
        );
        let access = if generation.config.log.access == self.config.log.access {
            None
        } else {
            let opened = access_log::Opened::open(&generation.config.log.access);
            Some(opened.map_err(|error| mistake(format!("log.access: {error}")))?)
        };
        Ok(self.next(generation, doors, access, summary))
    }

    /// What was set aside or started once: a complaint for each setting of that kind that is another now.
    fn changed_for_good(&self, config: &Config) -> Vec<String> {
        let (old, new) = (settings(&self.config), settings(config));
        let mut fixed: Vec<_> = old
            .into_iter()
            .zip(new)
            .filter(|((_, was, reach), (_, is, _))| *reach == Reach::Restart && was != is)
            .map(|((key, was, _), (_, is, _))| (key, was, is))
            .collect();
        let most = config.limits.connections_max;
        if most > self.connections_made_for {
            let made_for = self.connections_made_for.to_string();
            fixed.push(("limits.connections_max", made_for, most.to_string()));
        }
        let file = self.path.display();
        let said = |value: &String| match value.as_str() {
            "" => "unset".to_owned(),
            value => value.to_owned(),
        };
        fixed
            .iter()
            .map(|(key, was, is)| {
                let (was, is) = (said(was), said(is));
                format!("{file}: error: {key}: cannot change from {was} to {is} without a restart")
            })
            .collect()
    }

    /// Opens what is new, for every worker, before anything is closed.
    fn doors(&self, config: &Config) -> Result<Doors, String> {
        let known = |wanted: &config::Listener| {
            let mut running = self.listeners.iter();
            running.find(|running| running.config == *wanted)
        };
        let goes = |running: &&Listening| !config.listeners.contains(&running.config);
        if let Some(kept) = self.listeners.iter().filter(goes).find(|gone| gone.passed) {
            return Err(format!(
                "the listener on {} cannot change without a restart: the supervisor opened its socket, and keeps it open; \
                 change its socket unit as well",
                kept.address
            ));
        }
        let mut doors = Doors {
            opened: self.workers.iter().map(|_| Vec::new()).collect(),
            closed: Vec::new(),
            listeners: Vec::new(),
        };
        for wanted in &config.listeners {
            if let Some(running) = known(wanted) {
                doors.listeners.push(running.clone());
                continue;
            }
            let problem = |error| format!("cannot listen on {}: {error}", wanted.address);
            let ours = self
                .listeners
                .iter()
                .any(|running| running.address == wanted.address);
            let listener = if ours {
                edge::bind_again(wanted)
            } else {
                edge::bind(wanted)
            };
            let listener = listener.map_err(problem)?;
            let workers = doors.opened.len();
            for (index, of_worker) in doors.opened.iter_mut().enumerate() {
                let opened = listener.open_for_worker(index, workers);
                of_worker.extend(opened.map_err(problem)?);
            }
            doors.listeners.push(Listening {
                config: wanted.clone(),
                address: listener.address(),
                passed: false,
            });
        }
        let closed = self.listeners.iter().filter(goes);
        doors.closed = closed.map(|running| running.address).collect();
        Ok(doors)
    }

    /// Takes the new one for what runs, and says how it comes to run.
    fn next(
        &mut self,
        generation: Generation,
        doors: Doors,
        access: Option<access_log::Opened>,
        summary: String,
    ) -> Next {
        let Doors {
            opened,
            closed,
            listeners,
        } = doors;
        let config = Arc::clone(&generation.config);
        let succession = self.carried.succession(&self.catalog, &generation.catalog);
        let ending = Ending::sort(succession.events, &self.config, &config);
        self.listeners = listeners;
        self.config = Arc::clone(&config);
        self.catalog = Arc::clone(&generation.catalog);
        let (workers, connections) = (self.workers.clone(), self.connections.clone());
        let connections_max = match config.limits.connections_max {
            0 => self.connections_made_for,
            max => max,
        };
        let (access_log, levels) = (self.access_log.clone(), self.levels.clone());
        let limits = worker::relay_limits(&config, self.connections_made_for);
        let in_force = Arc::clone(&self.in_force);
        let swap = move || {
            in_force.replace(Arc::clone(&config), Arc::clone(&generation.catalog));
            let changes = Arc::new(succession.changes);
            let orders: Vec<_> = ending.into_iter().map(Ending::into_order).collect();
            let given: Vec<_> = orders.iter().map(|(_, order)| Arc::clone(order)).collect();
            for ((edge, relay), opened) in workers.iter().zip(opened) {
                relay.limit(limits);
                edge.change(Change::new(&generation, opened, closed.clone()));
                relay.change(Arc::clone(&changes), given.clone());
            }
            connections.limit(connections_max);
            if let Some(opened) = access {
                access_log.move_to(opened);
            }
            levels.set(&config.log.level);
            Swapped {
                drain: config.drain,
                orders,
            }
        };
        Next {
            summary,
            swap: Box::new(swap),
        }
    }
}

/// When something is read: what changes later has not been.
#[expect(
    clippy::disallowed_methods,
    reason = "the times of files are those of the wall clock"
)]
pub fn time_of_day() -> SystemTime {
    SystemTime::now()
}

//! A configuration file that is read again while its program runs: what has changed is worked out, opened and handed to the
//! workers; what cannot change without a restart is refused.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::{self, Carried, Loaded, Succession};
use crate::close::DrainCause;
use crate::config::{self, Config, RemovedApis};
use crate::control::in_force::InForce;
use crate::control::reload::{Mistakes, Next, Source};
use crate::edge::{self, Change, Connections, EdgeHandle, Generation, Opened};
use crate::observe::access_log::{self, AccessLog};
use crate::observe::events::Levels;
use crate::relay::RelayHandle;
use crate::relay::drain::{DrainOrder, Which};
use crate::tls::Tickets;
use crate::worker;

/// What runs, as far as a reload is concerned.
pub struct FileSource {
    pub path: PathBuf,
    pub config: Arc<Config>,
    pub catalog: Arc<catalog::Catalog>,
    pub carried: Carried,
    /// Each listener with its real address, which differs where port 0 was asked for.
    pub listeners: Vec<(config::Listener, SocketAddr)>,
    pub workers: Vec<(EdgeHandle, RelayHandle)>,
    /// Connections that the workers were made for.
    pub connections_made_for: usize,
    pub connections: Connections,
    pub tickets: Tickets,
    pub access_log: AccessLog,
    pub levels: Levels,
    pub in_force: Arc<InForce>,
}

impl Source for FileSource {
    fn prepare(&mut self) -> Result<Next, Mistakes> {
        let loaded = catalog::load_beside(&self.path, &mut self.carried);
        let Loaded {
            config,
            catalog,
            warnings,
        } = loaded.map_err(|report| Mistakes(report.to_string()))?;
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
}

/// Listeners that come and go.
struct Doors {
    /// One for each worker.
    opened: Vec<Vec<Opened>>,
    closed: Vec<SocketAddr>,
    listeners: Vec<(config::Listener, SocketAddr)>,
}

impl FileSource {
    /// What was set aside or started once: a complaint for each setting of that kind that is another now.
    fn changed_for_good(&self, config: &Config) -> Vec<String> {
        let (old, new) = (&*self.config, config);
        let head = |config: &Config| (config.limits.head, config.limits.early_bytes_max);
        let memory = |config: &Config| {
            let limits = &config.limits;
            (limits.relay_buffer_bytes, limits.relay_spill_bytes_max)
        };
        let threads = |config: &Config| config::Workers {
            adopt_per_turn: 0,
            ..config.workers.clone()
        };
        let log = |config: &Config| config::Log {
            level: String::new(),
            access: config::AccessLog::Off,
            access_interval: std::time::Duration::ZERO,
            ..config.log.clone()
        };
        let fixed = [
            (threads(old) != threads(new), "[workers]"),
            (head(old) != head(new), "limits of heads and early bytes"),
            (
                memory(old) != memory(new),
                "limits.relay_buffer_bytes and limits.relay_spill_bytes_max",
            ),
            (
                new.limits.connections_max > self.connections_made_for,
                "a larger limits.connections_max",
            ),
            (
                (&old.admin.socket, old.admin.listen) != (&new.admin.socket, new.admin.listen),
                "admin.socket and admin.listen",
            ),
            (log(old) != log(new), "log.format and log.queue_lines_max"),
        ];
        let file = self.path.display();
        let complaint = |what| format!("{file}: error: {what} cannot change without a restart");
        fixed
            .into_iter()
            .filter(|(changed, _)| *changed)
            .map(|(_, what)| complaint(what))
            .collect()
    }

    /// Opens what is new, for every worker, before anything is closed.
    fn doors(&self, config: &Config) -> Result<Doors, String> {
        let known = |wanted: &config::Listener| {
            let found = self.listeners.iter().find(|(running, _)| running == wanted);
            found.map(|(_, address)| *address)
        };
        let mut doors = Doors {
            opened: self.workers.iter().map(|_| Vec::new()).collect(),
            closed: Vec::new(),
            listeners: Vec::new(),
        };
        for wanted in &config.listeners {
            if let Some(address) = known(wanted) {
                doors.listeners.push((wanted.clone(), address));
                continue;
            }
            let problem = |error| format!("cannot listen on {}: {error}", wanted.address);
            let ours = self
                .listeners
                .iter()
                .any(|(_, address)| *address == wanted.address);
            let listener = if ours {
                edge::bind_again(wanted)
            } else {
                edge::bind(wanted)
            };
            let listener = listener.map_err(problem)?;
            for of_worker in &mut doors.opened {
                of_worker.push(listener.open_for_worker().map_err(problem)?);
            }
            doors.listeners.push((wanted.clone(), listener.address()));
        }
        let goes =
            |(running, _): &&(config::Listener, SocketAddr)| !config.listeners.contains(running);
        doors.closed = self
            .listeners
            .iter()
            .filter(goes)
            .map(|(_, address)| *address)
            .collect();
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
        let succession = Succession::between(&self.catalog, &generation.catalog);
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
            for ((edge, relay), opened) in workers.iter().zip(opened) {
                relay.limit(limits);
                edge.change(Change::new(&generation, opened, closed.clone()));
                relay.change(Arc::clone(&changes));
            }
            if config.reload.removed_apis == RemovedApis::Drain && !succession.gone.is_empty() {
                let which = Which::Under(succession.gone);
                let order = Arc::new(DrainOrder::new(which, config.reload.pace, DrainCause::Stop));
                for (_, relay) in &workers {
                    relay.drain(Arc::clone(&order));
                }
            }
            connections.limit(connections_max);
            if let Some(opened) = access {
                access_log.move_to(opened);
            }
            levels.set(&config.log.level);
            config.drain.clone()
        };
        Next {
            summary,
            swap: Box::new(swap),
        }
    }
}

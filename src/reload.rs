//! A configuration file that is read again while its program runs: what has changed is worked out, opened and handed to the
//! workers; what cannot change without a restart is refused.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::{self, Carried, Event, Loaded};
use crate::config::{self, ApiRules, Config, Fate};
use crate::control::drains;
use crate::control::reload::{Mistakes, Next, Source, Swapped};
use crate::edge::{self, Change, Connections, EdgeHandle, Generation, Opened};
use crate::observe::access_log::AccessLog;
use crate::observe::events::Levels;
use crate::relay::RelayHandle;
use crate::relay::drain::{DrainOrder, DrainPlan, Which};
use crate::relay::policy::{Policies, TunnelPolicy};
use crate::tls::Tickets;
use crate::worker;

/// What runs, as far as a reload is concerned.
pub struct FileSource {
    pub path: PathBuf,
    pub config: Arc<Config>,
    pub catalog: Arc<catalog::Catalog>,
    pub carried: Carried,
    pub listeners: Vec<Running>,
    pub workers: Vec<(EdgeHandle, RelayHandle)>,
    /// Connections that the workers were made for.
    pub connections_made_for: usize,
    pub connections: Connections,
    pub tickets: Tickets,
    pub access_log: AccessLog,
    pub levels: Levels,
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
        Ok(self.next(generation, doors, summary))
    }
}

/// A listener that runs.
#[derive(Clone, Debug)]
pub struct Running {
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
    listeners: Vec<Running>,
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
        let log = |config: &Config| (config.log.format, config.log.queue_lines_max);
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
            (old.admin != new.admin, "[admin]"),
            (
                log(old) != log(new) || !self.access_log.can_move_to(&new.log.access),
                "log.format, log.queue_lines_max and the kind of log.access",
            ),
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
            let mut running = self.listeners.iter();
            running.find(|running| running.config == *wanted)
        };
        let goes = |running: &&Running| !config.listeners.contains(&running.config);
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
            doors.listeners.push(Running {
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
    fn next(&mut self, generation: Generation, doors: Doors, summary: String) -> Next {
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
        let swap = move || {
            let changes = Arc::new(succession.changes);
            let orders: Vec<_> = ending.into_iter().map(Ending::into_order).collect();
            let given: Vec<_> = orders.iter().map(|(_, order)| Arc::clone(order)).collect();
            for ((edge, relay), opened) in workers.iter().zip(opened) {
                relay.limit(limits);
                edge.change(Change::new(&generation, opened, closed.clone()));
                relay.change(Arc::clone(&changes), given.clone());
            }
            connections.limit(connections_max);
            access_log.move_to(&config.log.access);
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

/// Tunnels that a reload ends by one plan, for one reason.
struct Ending {
    event: Event,
    plan: DrainPlan,
    policies: Vec<Arc<TunnelPolicy>>,
}

impl Ending {
    /// Those that are not kept.
    fn sort(events: Vec<(Event, Arc<TunnelPolicy>)>, old: &Config, new: &Config) -> Vec<Self> {
        let mut endings: Vec<Self> = Vec::new();
        for (event, policy) in events {
            let Some((event, plan)) = ending(event, &policy.group, &policy.api, old, new) else {
                continue;
            };
            let same = |known: &&mut Self| known.event == event && known.plan == plan;
            match endings.iter_mut().find(same) {
                Some(known) => known.policies.push(policy),
                None => endings.push(Self {
                    event,
                    plan,
                    policies: vec![policy],
                }),
            }
        }
        endings
    }

    fn into_order(self) -> (String, Arc<DrainOrder>) {
        let mut names: Vec<_> = self
            .policies
            .iter()
            .map(|policy| format!("{}:{}", policy.group, policy.api))
            .collect();
        names.sort_unstable();
        names.dedup();
        let more = match names.len() {
            0..=NAMED_MAX => String::new(),
            count => format!(" and {} more", count - NAMED_MAX),
        };
        names.truncate(NAMED_MAX);
        let which = format!("{}: {}{more}", self.event.label(), names.join(", "));
        let policies = Policies::new(self.policies);
        let order = DrainOrder::new(Which::Under(policies), self.plan, drains::now());
        (which, Arc::new(order))
    }
}

/// APIs that the description of a drain names.
const NAMED_MAX: usize = 3;

/// How the open tunnels of an API end because of what a reload does, and why; `None` if they live on. What is said for the
/// one API counts, and where it is gone, what was said for it before; else what is said for all.
pub(crate) fn ending(
    event: Event,
    group: &str,
    api: &str,
    old: &Config,
    new: &Config,
) -> Option<(Event, DrainPlan)> {
    let rules = new
        .api_rules(group, api)
        .or_else(|| old.api_rules(group, api));
    let own = |of: fn(&ApiRules) -> Option<Fate>| rules.and_then(of);
    let all = &new.reload;
    let fate = match event {
        Event::ApiRemoved => own(|rules| rules.when_removed).unwrap_or(all.removed_apis),
        Event::BackendRemoved => {
            own(|rules| rules.when_backend_removed).unwrap_or(all.removed_backends)
        }
        Event::ApiChanged => own(|rules| rules.when_changed).unwrap_or(all.changed_apis),
    };
    match (fate, event) {
        (Fate::Drain(plan), _) => Some((event, plan)),
        // An API that leads elsewhere has changed.
        (Fate::Keep, Event::BackendRemoved) => ending(Event::ApiChanged, group, api, old, new),
        (Fate::Keep, _) => None,
    }
}

//! What is to be served, as far as a host has to hold it: how many connections, on which cores, to which servers.
#![forbid(unsafe_code)]

use super::host::Host;
use crate::catalog::{BackendPath, Catalog, Destination, Member};
use crate::config::Config;
use crate::proto::head::is_token;

/// What the checks are held against.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) connections: u64,
    /// The cores that get a worker; never empty.
    pub(crate) cores: Vec<usize>,
    /// New connections a second that have to be accepted.
    pub(crate) accept_rate: u64,
    pub(crate) upstreams: Vec<Upstream>,
}

/// One server that APIs lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) member: Member,
    /// How few servers share the traffic of an API that leads here: its largest share is one of so many.
    pub(crate) sharers: usize,
    /// What to ask for in a trial, and the API that asks for it; `None` where no API has a path that can be asked for as it
    /// stands.
    pub(crate) trial: Option<Trial>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) api: String,
    pub(crate) path: String,
}

/// How long a wave of reconnecting clients is spread over, where nobody says how fast they come, in seconds.
const WAVE_SECONDS: u64 = 60;

impl Plan {
    pub(crate) fn new(
        config: Config,
        catalog: Option<&Catalog>,
        host: &Host,
        connections: Option<u64>,
        accept_rate: Option<u64>,
    ) -> Self {
        let mut cores = config.workers.cores.clone();
        if cores.is_empty() {
            cores = host.allowed_cores().unwrap_or_default();
        }
        if cores.is_empty() {
            cores.push(0);
        }
        let connections = connections.unwrap_or_else(|| allowed(&config, cores.len(), host));
        Self {
            connections,
            accept_rate: accept_rate.unwrap_or_else(|| (connections / WAVE_SECONDS).max(1)),
            upstreams: catalog.map(upstreams).unwrap_or_default(),
            config,
            cores,
        }
    }

    pub(crate) fn workers(&self) -> u64 {
        wide(self.cores.len())
    }

    /// Descriptors of the whole process at that many connections: two a tunnel.
    pub(crate) fn descriptors(&self) -> u64 {
        let reserved = crate::program::descriptors_reserved(&self.config, self.cores.len());
        self.connections
            .saturating_mul(2)
            .saturating_add(wide(reserved))
    }
}

/// What the configuration and the descriptor limit allow, as a start would work it out.
fn allowed(config: &Config, workers: usize, host: &Host) -> u64 {
    if config.limits.connections_max > 0 {
        return wide(config.limits.connections_max);
    }
    let reserved = wide(crate::program::descriptors_reserved(config, workers));
    let limit = host
        .limit("Max open files")
        .map_or(1024, |limit| limit.hard);
    (limit.saturating_sub(reserved) / 2).max(1)
}

/// The servers of every API, each once.
fn upstreams(catalog: &Catalog) -> Vec<Upstream> {
    let mut found: Vec<Upstream> = Vec::new();
    let backends = catalog
        .apis()
        .flat_map(|api| api.backends().map(move |backend| (api, backend)));
    for (api, backend) in backends {
        let Destination::Http(backend) = &backend.destination else {
            continue;
        };
        let path = match &backend.path {
            BackendPath::Same => api.path.clone(),
            BackendPath::Template(_) => backend.path.to_string(),
        };
        let trial = trial(&api.name, &path);
        let sharers = backend.members.len();
        for member in &backend.members {
            match found.iter_mut().find(|known| known.member == *member) {
                Some(known) => {
                    known.sharers = known.sharers.min(sharers);
                    known.trial = known.trial.take().or_else(|| trial.clone());
                }
                None => found.push(Upstream {
                    member: member.clone(),
                    sharers,
                    trial: trial.clone(),
                }),
            }
        }
    }
    found
}

/// A path with parameters names no resource until somebody fills them in.
fn trial(api: &str, path: &str) -> Option<Trial> {
    let path = if path.is_empty() { "/" } else { path };
    let literal = path
        .split('/')
        .all(|segment| segment.is_empty() || is_token(segment.as_bytes()) || is_plain(segment));
    literal.then(|| Trial {
        api: api.to_owned(),
        path: path.to_owned(),
    })
}

fn is_plain(segment: &str) -> bool {
    segment
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"{}[]?#".contains(&byte))
}

pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, limits};
    use super::*;

    #[test]
    fn a_path_with_parameters_is_not_tried() {
        for (path, tried) in [
            ("/", Some("/")),
            ("", Some("/")),
            ("/a/b;v=1/", Some("/a/b;v=1/")),
            ("/a/{id}", None),
            ("/a b", None),
        ] {
            let trial = trial("API01", path).map(|trial| trial.path);
            assert_eq!(trial.as_deref(), tried, "{path}");
        }
    }

    #[test]
    fn connections_are_those_that_a_start_would_allow() {
        let fixture =
            Fixture::new().with("proc/self/limits", &limits("Max open files", 1000, 20_000));
        let host = fixture.host();
        let mut config = Config::base();
        config.workers.cores = vec![0];
        let reserved = wide(crate::program::descriptors_reserved(&config, 1));
        let plan = Plan::new(config.clone(), None, &host, None, None);
        assert_eq!(plan.connections, (20_000 - reserved) / 2);
        assert!(plan.descriptors() <= 20_000);
        config.limits.connections_max = 7;
        let plan = Plan::new(config.clone(), None, &host, None, None);
        assert_eq!((plan.connections, plan.accept_rate), (7, 1));
        let plan = Plan::new(config, None, &host, Some(120_000), None);
        assert_eq!((plan.connections, plan.accept_rate), (120_000, 2000));
    }

    #[test]
    fn without_knowledge_there_is_still_a_plan() {
        let plan = Plan::new(Config::base(), None, &Fixture::new().host(), None, None);
        assert_eq!(plan.cores, [0]);
        assert!(plan.connections > 0);
    }
}

//! What runs: groups, APIs, environments and backends as one immutable `Catalog`, built from the configuration and the
//! definitions, and asked by the edge. It knows no bytes, buffers or sockets.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

mod build;
mod carried;
mod client_address;
mod compile;
mod cors;
mod debug;
mod explain;
mod facets;
mod hosts;
mod load;
mod mapping;
mod matcher;
mod member;
mod path;
mod responses;
mod shape;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::close::CloseReason;
use crate::config::{PathEscapes, Scheme};
use crate::observe::book::Book;
use crate::observe::series::Series;
use crate::relay::policy::TunnelPolicy;

pub use crate::definition::{MatchMode, Method, Schemes};
pub use build::Forward;
pub(crate) use build::api_id;
pub use carried::{Carried, Event, Succession};
pub use client_address::client_address;
pub use cors::{Cors, cors_headers};
pub use debug::DebugCalls;
use debug::DebugQuotas;
pub use explain::{Candidate, Explanation, Host, Rule, Verdict};
pub use facets::Facet;
pub use load::{Loaded, Report, check, load, load_beside, load_with_definitions};
pub(crate) use mapping::Policy;
pub use mapping::{BackendPath, Call, MappingError, Outgoing, PathTemplate};
pub use path::{encode_path, normalize};
pub use responses::{Context, Rendered, ResponseSet};

use hosts::Hosts;
use matcher::Group;

/// Everything that is served. Immutable: a reload builds a new one.
#[derive(Debug, Default)]
pub struct Catalog {
    hosts: Hosts,
    groups: Vec<Group>,
    escapes: PathEscapes,
    /// By group, environment, path and method.
    apis: Vec<Arc<Api>>,
    book: Book,
}

impl Catalog {
    /// The API that a request is for (spec 2.1 to 2.5). Allocates only for a path with `%` or dot segments, and for the
    /// values of path parameters.
    pub fn route<'a>(&self, query: &Query<'a>) -> Result<Routed<'a>, Unrouted> {
        let unknown = |error| Unrouted {
            error,
            responses: None,
        };
        let path = normalize(query.path, self.escapes).map_err(unknown)?;
        let found = self.hosts.group(query).map_err(unknown)?;
        let found = found.ok_or_else(|| unknown(RouteError::NoRoute))?;
        let group = self
            .groups
            .get(found.group)
            .ok_or_else(|| unknown(RouteError::NoRoute))?;
        let refused = |error| Unrouted {
            error,
            responses: Some(Arc::clone(&group.responses)),
        };
        let paths = group
            .paths(query.stage.unwrap_or(RELEASE))
            .ok_or_else(|| refused(RouteError::NoRoute))?;
        let hit = paths.find(&path, query.method).map_err(refused)?;
        if let Some(https_only) = hit.api.schemes.refusal(query.scheme) {
            return Err(Unrouted {
                error: RouteError::WrongScheme { https_only },
                responses: Some(Arc::clone(&hit.api.responses)),
            });
        }
        Ok(Routed {
            api: Arc::clone(hit.api),
            debug: found.debug.map(Arc::clone),
            matched: Matched {
                captures: hit.captures,
                remainder: match hit.api.match_mode {
                    MatchMode::Normal => path.len(),
                    MatchMode::Prefix => hit.remainder,
                },
                path,
            },
        })
    }

    /// What tunnels live by: of every API and each of its backends.
    fn policies(&self) -> impl Iterator<Item = &Arc<TunnelPolicy>> {
        let backends = self.apis.iter().flat_map(|api| api.backends());
        backends.filter_map(|backend| match &backend.destination {
            Destination::Http(http) => Some(&http.policy),
            Destination::Mock(_) => None,
        })
    }

    /// Every API by group, environment, path and method: for the start-up message, metrics and listings.
    pub fn apis(&self) -> impl ExactSizeIterator<Item = &Arc<Api>> {
        self.apis.iter()
    }

    /// What is counted by API and backend, over this catalog and those it was built beside.
    pub fn book(&self) -> &Book {
        &self.book
    }
}

/// An API and how the request fits it.
#[derive(Debug)]
pub struct Routed<'a> {
    pub api: Arc<Api>,
    pub matched: Matched<'a>,
    /// Present if the request came by a debugging domain, whose calls of the day are counted there.
    pub debug: Option<Arc<DebugCalls>>,
}

/// How a request's path fits the path of its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'a> {
    /// The normal form in which it was compared.
    pub path: Cow<'a, [u8]>,
    /// The values of the parameters in the API's path, in their order there, as ranges of `path`; never empty.
    pub captures: Vec<Range<usize>>,
    /// Where what follows the prefix of an API with prefix matching begins, slash included; the length of `path` where
    /// nothing does. The slash at the end of a prefix such as `/test/` belongs to what follows.
    pub remainder: usize,
}

/// A request that leads nowhere, and what it is answered with.
#[derive(Debug)]
pub struct Unrouted {
    pub error: RouteError,
    /// Of the API, or else of the group; none where not even the group is known.
    pub responses: Option<Arc<ResponseSet>>,
}

/// The environment of a request without `X-Stage` (spec 2.2).
pub const RELEASE: &str = "RELEASE";

/// The group that answers on addresses (spec 2.1).
pub const DEFAULT_GROUP: &str = "DEFAULT";

/// What the edge knows of a request when it asks for the API.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub scheme: Scheme,
    /// The address and port the client connected to.
    pub inbound: SocketAddr,
    /// The `Host` field as received.
    pub host: &'a str,
    pub method: &'a str,
    /// The request target's path as received, without the query.
    pub path: &'a str,
    /// The value of `X-Stage`, if the request has one.
    pub stage: Option<&'a str>,
}

/// Why a request leads nowhere (spec 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    NoRoute,
    NoMethod,
    WrongScheme {
        https_only: bool,
    },
    /// A host that cannot be one, or a path that climbs above the root or could be read in more ways than one: 400.
    BadTarget,
}

impl From<RouteError> for CloseReason {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NoRoute => Self::NoRoute,
            RouteError::NoMethod => Self::NoMethod,
            RouteError::WrongScheme { https_only } => Self::WrongScheme { https_only },
            RouteError::BadTarget => Self::BadTarget,
        }
    }
}

/// One published API in one environment.
#[derive(Debug)]
pub struct Api {
    /// 32 hexadecimal digits that stay the same over reloads: `$context.apiId`.
    pub id: String,
    pub name: String,
    pub group: String,
    pub environment: String,
    pub method: Method,
    /// As defined; empty where every path is forwarded.
    pub path: String,
    pub match_mode: MatchMode,
    pub schemes: Schemes,
    /// Where calls go that no policy takes.
    pub backend: Backend,
    /// Declared request parameters (spec 2.6).
    pub(crate) parameters: Vec<mapping::Parameter>,
    pub(crate) orchestration: Option<mapping::Orchestration>,
    /// Tried in order before `backend`.
    pub(crate) policies: Vec<mapping::Policy>,
    /// Whether calls get the headers of spec 7.9.
    pub cors: bool,
    pub responses: Arc<ResponseSet>,
    /// Where requests are counted that reach no backend.
    pub series: Arc<Series>,
}

impl Api {
    /// Everywhere that its calls may go: what its policies lead to, in their order, and the default.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        let of_policies = self.policies.iter().map(|policy| &policy.backend);
        of_policies.chain([&self.backend])
    }
}

/// As the start-up message says it: `ws, wss /hello (API01 of DEFAULT in RELEASE) -> ws://192.0.2.20:8080/`.
impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            group,
            environment,
            ..
        } = self;
        let path = if self.path.is_empty() {
            "every path"
        } else {
            &self.path
        };
        write!(
            f,
            "{} {path} ({name} of {group} in {environment}) -> ",
            self.schemes.label()
        )?;
        let backend = match &self.backend.destination {
            Destination::Http(backend) => backend,
            Destination::Mock(mock) => return write!(f, "mock {}", mock.status),
        };
        for (index, member) in backend.members.iter().enumerate() {
            let scheme = if member.scheme == Scheme::Https {
                "wss"
            } else {
                "ws"
            };
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{scheme}://{}", member.authority)?;
        }
        let idle = backend.policy.idle_timeout;
        write!(f, "{}, idle after {idle:?}", backend.path)
    }
}

/// Where calls of an API go.
#[derive(Debug)]
pub struct Backend {
    pub destination: Destination,
    pub(crate) mapping: mapping::Mapping,
}

#[derive(Debug)]
pub enum Destination {
    Http(HttpBackend),
    Mock(Mock),
}

/// Servers that answer.
#[derive(Debug)]
pub struct HttpBackend {
    /// Used in turn; never empty.
    pub members: Vec<Member>,
    /// Where requests to each of them are counted.
    pub series: Vec<Arc<Series>>,
    /// What they are asked with; `Any`: as the client asked.
    pub method: Method,
    pub path: BackendPath,
    /// The backend timeout (spec 1.4): for connecting and again for the answer's head.
    pub timeout: Duration,
    /// -1 to 10 (spec 2.7).
    pub retry_count: i8,
    /// What tunnels to it live by.
    pub policy: Arc<TunnelPolicy>,
}

impl HttpBackend {
    /// Retries after a failure before the first byte of an answer (spec 2.7).
    pub fn retries(&self, method: Method) -> u32 {
        u32::try_from(self.retry_count).unwrap_or_else(|_| u32::from(method.is_idempotent()))
    }

    /// The members over and over, beginning with another one at each turn; with each, where its requests are counted.
    pub fn in_turn(&self, turn: usize) -> impl Iterator<Item = (&Member, &Arc<Series>)> {
        let first = turn.checked_rem(self.members.len()).unwrap_or(0);
        self.members.iter().zip(&self.series).cycle().skip(first)
    }
}

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mock {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// One address that an API leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub scheme: Scheme,
    /// Name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// The value of `Host` towards this member (spec 2.8): the port is left out where it is the scheme's own.
    pub authority: String,
}

#[cfg(test)]
mod tests;

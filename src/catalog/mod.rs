//! What runs: groups, APIs, environments and backends as one immutable `Catalog`, built from the configuration and the
//! definitions, and asked by the edge. It knows no bytes, buffers or sockets.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

mod build;
mod hosts;
mod load;
mod member;
mod path;
mod table;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Scheme;
use crate::relay::policy::TunnelPolicy;

pub use crate::definition::{Method, Schemes};
pub use build::Forward;
pub use load::{Loaded, Report, check, load};
pub use path::normalize;

use hosts::Hosts;
use table::Group;

/// Everything that is served. Immutable: a reload builds a new one.
#[derive(Debug)]
pub struct Catalog {
    hosts: Hosts,
    groups: Vec<Group>,
    /// By group, environment, path and method.
    apis: Vec<Arc<Api>>,
}

impl Catalog {
    /// The API that a request is for (spec 2.1 to 2.5). Allocates only for a path with `%` or dot segments.
    pub fn route(&self, query: &Query<'_>) -> Result<&Arc<Api>, RouteError> {
        let path = normalize(query.path)?;
        let group = self
            .hosts
            .group(query.host, query.inbound)?
            .and_then(|index| self.groups.get(index))
            .ok_or(RouteError::NoRoute)?;
        let paths = group
            .paths(query.stage.unwrap_or(RELEASE))
            .ok_or(RouteError::NoRoute)?;
        let api = paths.api(&path, query.method)?;
        match api.schemes.refusal(query.scheme) {
            None => Ok(api),
            Some(https_only) => Err(RouteError::WrongScheme { https_only }),
        }
    }

    /// Every API by group, environment, path and method: for the start-up message, metrics and listings.
    pub fn apis(&self) -> impl ExactSizeIterator<Item = &Arc<Api>> {
        self.apis.iter()
    }
}

/// The environment of a request without `X-Stage` (spec 2.2).
pub const RELEASE: &str = "RELEASE";

/// The group that answers on addresses (spec 2.1).
pub const DEFAULT_GROUP: &str = "DEFAULT";

/// What the edge knows of a request when it asks for the API.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub scheme: Scheme,
    /// The address the client connected to.
    pub inbound: IpAddr,
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
    /// A host that cannot be one, or a path that climbs above the root: 400.
    BadTarget,
}

/// One published API in one environment.
#[derive(Debug)]
pub struct Api {
    pub method: Method,
    /// As defined; empty where every path is forwarded.
    pub path: String,
    pub schemes: Schemes,
    pub policy: Arc<TunnelPolicy>,
    pub backend: Backend,
    /// The API's backend timeout (spec 1.4): for connecting and again for the answer's head.
    pub timeout: Duration,
    /// Retries after a failure before the first byte of an answer (spec 2.7).
    pub retries: u32,
}

impl Api {
    /// Appends the request target for the backend: its own path and the client's query.
    pub fn target(&self, path: &str, query: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(match &self.backend.path {
            BackendPath::Same => path.as_bytes(),
            BackendPath::Fixed(fixed) => fixed.as_bytes(),
        });
        if let Some(query) = query {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
    }
}

/// As the start-up message says it: `ws, wss /hello (API01 of DEFAULT in RELEASE) -> ws://192.0.2.20:8080/`.
impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TunnelPolicy {
            api,
            group,
            environment,
            idle_timeout,
            ..
        } = &*self.policy;
        let path = if self.path.is_empty() {
            "every path"
        } else {
            &self.path
        };
        write!(
            f,
            "{} {path} ({api} of {group} in {environment}) -> ",
            self.schemes.label()
        )?;
        for (index, member) in self.backend.members.iter().enumerate() {
            let scheme = if member.scheme == Scheme::Https {
                "wss"
            } else {
                "ws"
            };
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{scheme}://{}", member.authority)?;
        }
        match &self.backend.path {
            BackendPath::Same => {}
            BackendPath::Fixed(path) => write!(f, "{path}")?,
        }
        write!(f, ", idle after {idle_timeout:?}")
    }
}

#[derive(Debug)]
pub struct Backend {
    /// Used in turn; never empty.
    pub members: Vec<Member>,
    /// What it is asked with; `Any`: as the client asked.
    pub method: Method,
    pub path: BackendPath,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendPath {
    /// The client's request target as it is.
    Same,
    /// This path, with the client's query.
    Fixed(String),
}

#[cfg(test)]
mod tests;

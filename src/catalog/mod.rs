//! What runs: groups, APIs, environments and backends as one immutable `Catalog`, built from the configuration and the
//! definitions, and asked by the edge. It knows no bytes, buffers or sockets.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Scheme;
use crate::relay::policy::TunnelPolicy;

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
    pub policy: Arc<TunnelPolicy>,
    pub backend: Backend,
    /// The API's backend timeout (spec 1.4): for connecting and again for the answer's head.
    pub timeout: Duration,
    /// Retries after a failure before the first byte of an answer (spec 2.7).
    pub retries: u32,
}

#[derive(Debug)]
pub struct Backend {
    /// Used in turn; never empty.
    pub members: Vec<Member>,
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

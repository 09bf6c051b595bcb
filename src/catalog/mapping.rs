//! What a backend is asked: the request of the client as the API maps it (spec 2.6, 8.10, 8.11).

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::{Api, Backend, BackendPath, Destination, Matched};
use crate::config::Scheme;

/// What the edge knows of a call when it asks where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub scheme: Scheme,
    pub method: &'a str,
    /// The `Host` field as received.
    pub host: &'a str,
    /// The request target as received: the path, and what follows the first `?`.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The fields of the head, names as received.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    pub client: IpAddr,
    /// The address the client connected to.
    pub inbound: SocketAddr,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    pub received_at: SystemTime,
}

/// What the backend is asked.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub backend: &'a Backend,
    /// Path and query; empty for a mock.
    pub target: Vec<u8>,
    /// Fields that take the place of the client's of the same name; `Host` among them overrides every other rule.
    pub set: Vec<(String, Vec<u8>)>,
    /// Names of the client's fields that are not passed on.
    pub removed: Vec<String>,
}

/// Why a call can't be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingError {
    /// The parameter of this name is missing, or not what the API allows, or would lead out of the backend's path.
    Parameter(String),
    NoOrchestrationInput,
    NoOrchestrationMatch,
}

impl Api {
    /// Where `call`, which fits as `matched` says, goes and as what.
    pub fn outgoing<'a>(
        &'a self,
        matched: &Matched<'_>,
        call: &Call<'_>,
    ) -> Result<Outgoing<'a>, MappingError> {
        let _ = matched;
        let mut target = Vec::new();
        if let Destination::Http(http) = &self.backend.destination {
            target.extend_from_slice(match &http.path {
                BackendPath::Same => call.path.as_bytes(),
                BackendPath::Fixed(fixed) => fixed.as_bytes(),
            });
            if let Some(query) = call.query {
                target.push(b'?');
                target.extend_from_slice(query.as_bytes());
            }
        }
        Ok(Outgoing {
            backend: &self.backend,
            target,
            set: Vec::new(),
            removed: Vec::new(),
        })
    }
}

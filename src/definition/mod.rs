//! API definitions: OpenAPI 3.0 and Swagger 2.0 files with `x-apigateway-*` extensions, parsed and checked (spec 3).
//!
//! What exists as an `ApiDefinition` can be served as it was meant. What this version cannot serve or enforce is a
//! complaint and never an API: it fails closed.
#![forbid(unsafe_code)]

mod backend;
mod file;
mod operation;
mod security;
mod syntax;

use std::time::Duration;

use crate::config::{Config, Scheme};
use crate::document::{Complaint, Place};

pub(crate) use syntax::{Piece, is_group_name, is_variable_name, references};

/// One file: APIs of one group.
#[derive(Clone, Debug)]
pub struct Definition {
    pub group: String,
    /// Where they are published.
    pub environments: Vec<String>,
    pub apis: Vec<ApiDefinition>,
    /// Names of APIs that are defined but not served.
    pub left_out: Vec<String>,
}

/// One operation, checked.
#[derive(Clone, Debug)]
pub struct ApiDefinition {
    pub name: String,
    pub place: Place,
    pub method: Method,
    /// As written, `basePath` included.
    pub path: String,
    pub match_mode: MatchMode,
    pub schemes: Schemes,
    pub backend: BackendDefinition,
}

#[derive(Clone, Debug)]
pub struct BackendDefinition {
    pub scheme: Scheme,
    /// `host[:port]`, with variables.
    pub address: Placed,
    /// With variables.
    pub path: Placed,
    pub method: Method,
    pub timeout: Duration,
    /// -1 to 10 (spec 2.7).
    pub retry_count: i8,
}

/// A text that can only be judged once variables have their values, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub text: String,
    pub place: Place,
}

/// The method of an API or of its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
    Head,
    Patch,
    Options,
    /// All of them; at a backend: the client's.
    Any,
}

impl Method {
    const NAMES: [(&'static str, Self); 8] = [
        ("GET", Self::Get),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("DELETE", Self::Delete),
        ("HEAD", Self::Head),
        ("PATCH", Self::Patch),
        ("OPTIONS", Self::Options),
        ("ANY", Self::Any),
    ];

    /// The method of a request; method names are case-sensitive (RFC 9110 §9.1), and `ANY` is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, method)| *known == name && *method != Self::Any)
            .map(|(_, method)| *method)
    }

    pub fn label(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, method)| *method == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether a WebSocket handshake, which is a GET, can pass.
    pub fn takes_get(self) -> bool {
        matches!(self, Self::Get | Self::Any)
    }

    /// Idempotent methods are retried by a retry count of -1 (spec 2.7).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchMode {
    /// The whole path.
    Normal,
    /// `SWA`: the path or a continuation of it at a segment boundary.
    Prefix,
}

/// The schemes that an API answers (spec 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schemes {
    Http,
    Https,
    Both,
}

impl Schemes {
    /// `None` if `scheme` is served; else whether HTTPS is what is.
    pub fn refusal(self, scheme: Scheme) -> Option<bool> {
        match (self, scheme) {
            (Self::Both, _) | (Self::Http, Scheme::Http) | (Self::Https, Scheme::Https) => None,
            (Self::Https, Scheme::Http) => Some(true),
            (Self::Http, Scheme::Https) => Some(false),
        }
    }

    pub(crate) fn of(schemes: &[Scheme]) -> Option<Self> {
        let http = schemes.contains(&Scheme::Http);
        let https = schemes.contains(&Scheme::Https);
        match (http, https) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Http),
            (false, true) => Some(Self::Https),
            (false, false) => None,
        }
    }

    /// As the console has it, and WebSocket URLs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "ws",
            Self::Https => "wss",
            Self::Both => "ws, wss",
        }
    }
}

/// Reads one definition. `file` is the name that complaints give; without a definition there is at least one error.
pub fn parse(
    file: &str,
    text: &str,
    environments: &[String],
    config: &Config,
) -> (Option<Definition>, Vec<Complaint>) {
    file::parse(file, text, environments, config)
}

#[cfg(test)]
mod tests;

//! API definitions: OpenAPI 3.0 and Swagger 2.0 files with `x-apigateway-*` extensions, parsed and checked (spec 3).
//!
//! What exists as an `ApiDefinition` can be served as it was meant. What this version cannot serve or enforce is a
//! complaint and never an API: it fails closed.
#![forbid(unsafe_code)]

mod file;
mod operation;
mod paths;

mod kind;
mod parameter;

mod backend;
mod backend_parameter;
mod channel;
mod http;
mod mock;

mod condition;
mod pattern;
mod policy;

mod responses;
mod template;

mod protection;
mod security;
mod unsupported;

mod extensions;
mod schemes;
mod syntax;

mod export;
mod places;

use std::time::Duration;

use crate::close::ErrorType;
use crate::config::{Config, Scheme};
use crate::document::{Complaint, Place};
use crate::network::Network;

pub use export::{ExportError, OasVersion, Syntax, export};
pub(crate) use syntax::{Piece, is_group_name, is_variable_name, references};

/// One file: APIs of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub group: String,
    /// Where they are published.
    pub environments: Vec<String>,
    pub apis: Vec<ApiDefinition>,
    /// Names of APIs that are defined but not served.
    pub left_out: Vec<String>,
    /// The group's sets of gateway responses as this file has them (spec 5.4).
    pub response_sets: Vec<ResponseSetDefinition>,
}

/// One operation, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiDefinition {
    pub name: String,
    pub description: String,
    pub place: Place,
    pub method: Method,
    /// As written, `basePath` included.
    pub path: String,
    pub match_mode: MatchMode,
    pub schemes: Schemes,
    pub parameters: Vec<RequestParameter>,
    pub backend: BackendDefinition,
    /// Tried in order before `backend` (spec 8.11).
    pub policies: Vec<PolicyDefinition>,
    /// Whether calls get the headers of spec 7.9.
    pub cors: bool,
    /// The set of gateway responses that is used: of `response_sets` here, or of the group.
    pub response_set: Placed,
    /// Sets that the operation itself defines (spec U36).
    pub response_sets: Vec<ResponseSetDefinition>,
}

/// A parameter that a caller may or must send (spec 2.6).
#[derive(Clone, Debug, PartialEq)]
pub struct RequestParameter {
    pub name: String,
    pub location: Location,
    pub kind: ParameterKind,
    pub required: bool,
    /// What is used, and sent on, where the caller sends none.
    pub default: Option<String>,
    /// Whether it is sent on where no backend parameter takes it.
    pub pass_through: bool,
    /// Names of orchestration rules in the order in which they are tried (spec 8.10).
    pub orchestrations: Vec<Placed>,
    pub description: String,
    pub sample: Option<String>,
    pub place: Place,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    Path,
    Query,
    Header,
}

/// What values a parameter may have. A bound of 0 in the file means none (spec 3.1).
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterKind {
    Text {
        /// In characters.
        length_min: Option<u32>,
        length_max: Option<u32>,
        /// Empty: any.
        choices: Vec<String>,
    },
    Number {
        min: Option<f64>,
        max: Option<f64>,
        /// Empty: any.
        choices: Vec<String>,
    },
}

/// Where an API leads.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendDefinition {
    pub destination: DestinationDefinition,
    pub parameters: Vec<BackendParameter>,
}

impl BackendDefinition {
    /// The servers it leads to, if it is no mock.
    pub fn http(&self) -> Option<&HttpDefinition> {
        match &self.destination {
            DestinationDefinition::Http(http) => Some(http),
            DestinationDefinition::Mock(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationDefinition {
    Http(HttpDefinition),
    Mock(MockDefinition),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDefinition {
    pub scheme: Scheme,
    /// `host[:port]`, with variables.
    pub address: Placed,
    /// With variables and `{parameters}`.
    pub path: Placed,
    pub method: Method,
    pub timeout: Duration,
    /// -1 to 10 (spec 2.7).
    pub retry_count: i8,
}

/// An answer of the gateway's own instead of a backend's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MockDefinition {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What a backend gets in place of, or beside, the caller's parameters (spec 2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendParameter {
    pub name: String,
    pub location: Location,
    pub source: ParameterSource,
    pub description: String,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterSource {
    /// A request parameter, by name.
    Request(String),
    Constant(String),
    System(SystemValue),
}

/// What the gateway knows of a call (spec 2.6): `$context.sourceIp` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemValue {
    SourceIp,
    Stage,
    ApiId,
    ApiName,
    /// Always empty: there is no app authentication yet.
    AppId,
    AppName,
    RequestId,
    /// The address the client connected to.
    ServerAddr,
    /// The host the client asked for.
    ServerName,
    /// When the request was received.
    HandleTime,
    ProviderAppId,
}

/// A backend for the calls that meet its conditions (spec 8.11).
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDefinition {
    pub name: String,
    pub effect: Effect,
    pub conditions: Vec<ConditionDefinition>,
    pub backend: BackendDefinition,
    pub place: Place,
}

/// How many of the conditions have to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    All,
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionDefinition {
    pub subject: Subject,
    pub test: Test,
    pub place: Place,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A declared request parameter.
    Parameter(String),
    /// The client's address; its test is `Networks`, and no other subject's is.
    Source,
    RequestPath,
    RequestMethod,
    Cookie(String),
    /// What the orchestration made (spec 8.10), by the name of the mapped parameter.
    Orchestrated(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Exact(String),
    Enum(Vec<String>),
    /// A regular expression that compiles, unanchored.
    Pattern(String),
    Networks(Vec<Network>),
}

/// A set of gateway responses (spec 5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseSetDefinition {
    pub name: String,
    pub responses: Vec<(ErrorType, ResponseDefinition)>,
    pub place: Place,
}

/// What is answered instead of the built-in response of one type. What is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDefinition {
    pub status: Option<u16>,
    /// Media type and template.
    pub bodies: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
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

//! What the operator of the box decides: `ringgate.toml` as text and as the checked `Config`.
//!
//! `text` reads the file without opening any other, so that tests pass strings; `files` opens what it names; `defaults`
//! is the one place of the defaults and their reasons.
#![forbid(unsafe_code)]

pub mod certificates;
pub mod defaults;
mod files;
mod glob;
mod inputs;
mod memory;
mod running;
mod text;
mod token;
mod x509;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::{Complaint, Place};
use crate::network::Network;
use crate::proto::head::HeadLimits;
use crate::relay::drain::{DrainPlan, Pace};
use crate::relay::policy::{FrameMode, IdleEnd};

pub(crate) use files::Opened;
pub use files::{Loaded, Source};
pub use inputs::{Inputs, Stamp};
pub use memory::MemoryBounds;
pub use running::{Fingerprint, Running};
pub use token::{Token, TokenProblem};
pub(crate) use x509::days_since_1970;

/// The protocol a client came by, or a backend is spoken to with: `Http` is `ws`, `Https` is `wss` (spec 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

/// The checked configuration: its existence means that it is right.
#[derive(Clone, Debug)]
pub struct Config {
    pub workers: Workers,
    pub listeners: Vec<Listener>,
    pub tls: Tls,
    pub routing: Routing,
    pub backends: Backends,
    pub forwarding: Forwarding,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// How a stop goes. Its limit is always there.
    pub drain: DrainPlan,
    pub reload: Reload,
    pub admin: Admin,
    pub log: Log,
    pub tunnel: Tunnel,
    pub environments: Vec<Environment>,
    pub definitions: Definitions,
    /// What the operator decides for single APIs.
    pub apis: Vec<ApiRules>,
    /// Of the files that all of this was read from; `None` without a file.
    pub fingerprint: Option<Fingerprint>,
}

impl Config {
    /// Reads the text of a configuration file and checks all of it. Opens nothing: certificates stay empty and no
    /// definition is looked for; `file` is the name that complaints give.
    pub fn from_text(file: &str, text: &str) -> Result<Self, Vec<Complaint>> {
        let draft = text::read(file, text);
        if draft.complaints.iter().any(Complaint::is_error) {
            return Err(draft.complaints);
        }
        Ok(draft.config)
    }

    /// Reads the file at `path` with the certificates and the definition files that it names.
    pub fn load(path: &Path) -> Result<Loaded, Vec<Complaint>> {
        files::open(path).into_result()
    }

    /// Reads as much as can be read, mistakes or not, so that further checks can add their complaints to its own.
    pub(crate) fn open(path: &Path) -> Opened {
        files::open(path)
    }

    /// Every default and nothing to serve yet: no listeners, no certificates.
    pub fn base() -> Self {
        defaults::config()
    }

    /// The rules for one API, if the operator gave any.
    pub fn api_rules(&self, group: &str, api: &str) -> Option<&ApiRules> {
        self.apis
            .iter()
            .find(|rules| rules.group == group && rules.api == api)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// The cores that get a worker; empty means all that the process may use.
    pub cores: Vec<usize>,
    /// Nice value of the edge threads.
    pub edge_nice: i32,
    /// Scheduler slice of the relay threads; zero leaves the kernel's own.
    pub relay_slice: Duration,
    /// Real-time FIFO priority of the relay threads (1 to 99), off by default.
    pub relay_fifo: Option<u8>,
    /// Most tunnels that a relay takes over in one turn.
    pub adopt_per_turn: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub scheme: Scheme,
    /// Who has to begin with a PROXY protocol header, and nobody else may connect. Empty: the protocol is not spoken.
    pub proxy_protocol_from: Vec<Network>,
    /// The address may be one that the box does not have (yet): IP_FREEBIND, for an address that moves between two boxes.
    pub freebind: bool,
    /// The name of the sockets that the supervisor passes for it (`FileDescriptorName=`). Without one they are known by
    /// their address.
    pub socket_name: Option<String>,
}

impl Listener {
    /// For everybody, on an address of the box.
    pub fn plain(address: SocketAddr, scheme: Scheme) -> Self {
        Self {
            address,
            scheme,
            proxy_protocol_from: Vec::new(),
            freebind: false,
            socket_name: None,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The first is the default one, for clients without SNI and for names that match none.
    pub certificates: Vec<Certificate>,
    pub tls13: bool,
}

/// A certificate chain with its key, both read and checked. The names it serves are those of its SAN.
#[derive(Clone)]
pub struct Certificate {
    pub key: std::sync::Arc<rustls::sign::CertifiedKey>,
    pub names: Vec<String>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// Addresses on which group DEFAULT answers beside the listeners' own (spec 2.1): the elastic IP, NAT addresses.
    pub inbound_addresses: Vec<IpAddr>,
    /// Any IP literal as host reaches DEFAULT (spec U9, lenient).
    pub any_address: bool,
    /// Names that lead to groups (spec 2.1).
    pub domains: Vec<Domain>,
    /// Names for trying a group out, each with a number of calls a day (spec 2.1).
    pub debug_domains: Vec<DebugDomain>,
    /// What a percent-escape in a path means (spec 2.4, `api_uri_no_escape`).
    pub path_escapes: PathEscapes,
    pub client_address: ClientAddress,
}

/// Spec 2.4. Either way a path is refused that could leave what it was matched by under another reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathEscapes {
    /// Decoded before matching: `/aa%2Faa` is `/aa/aa`.
    #[default]
    Decoded,
    /// `api_uri_no_escape`: `/aa%2Faa` is one segment.
    Kept,
}

/// Where the address of the client comes from (spec 2.9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// The peer of the connection, or what its PROXY protocol header says.
    #[default]
    Peer,
    /// `real_ip_from_xff`: this element of `X-Forwarded-For`; from the left from 0 on, from the right from -1 on.
    ForwardedFor { index: i32 },
    /// `real_ip_header_getter`: the value of this field.
    Field(String),
}

/// A name bound to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Lower case, no trailing dot; `*.example.com` covers one or more labels (spec U10).
    pub name: String,
    pub group: String,
    pub http: DomainPort,
    pub https: DomainPort,
    pub place: Place,
}

/// On which listeners of one scheme a domain is served (spec 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DomainPort {
    #[default]
    Every,
    Only(u16),
    None,
}

/// A name that leads to a group for a number of calls a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugDomain {
    /// Lower case, no trailing dot.
    pub name: String,
    pub group: String,
    pub calls_per_day: u32,
    pub place: Place,
}

/// An environment that APIs are published in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub name: String,
    /// Group, then variable, then value (spec 2.3).
    pub variables: BTreeMap<String, BTreeMap<String, String>>,
}

/// What becomes of definition files.
#[derive(Clone, Debug)]
pub struct Definitions {
    pub on_unsupported: OnUnsupported,
    /// Longest backend timeout that an API may ask for: the cloud's `backend_timeout` feature.
    pub backend_timeout_max: Duration,
    /// Where a definition has none (spec U19).
    pub retry_count: i8,
    /// Rules by name, which parameters refer to (spec 8.10).
    pub orchestrations: Vec<Orchestration>,
}

/// One rule that makes a new parameter out of a caller's (spec 8.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orchestration {
    pub name: String,
    pub strategy: Strategy,
    /// `None` for a preprocessing rule, whose result is the input of the next one.
    pub target: Option<OrchestrationTarget>,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrchestrationTarget {
    pub name: String,
    pub location: TargetLocation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetLocation {
    Query,
    Header,
}

/// How a rule makes its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The first entry that has the input among its values: values, result.
    List(Vec<(Vec<String>, String)>),
    /// The first entry whose range has the input, bounds included: start, end, result.
    Range(Vec<(u64, u64, String)>),
    /// CRC-32 of the input as a decimal (spec U58).
    Hash,
    /// As `Range`, on the hash.
    HashRange(Vec<(u64, u64, String)>),
    /// The result where the caller sends nothing.
    NoneValue(String),
    /// The result where no other rule applied.
    Default(String),
    /// The first so many characters.
    Head(usize),
    /// The last so many characters.
    Tail(usize),
}

/// What an API means that this version cannot serve as it is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnsupported {
    /// Nothing is loaded.
    Reject,
    /// The API is left out with a warning, everything else is loaded.
    Skip,
}

/// How tunnels are treated where their API says nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    pub frames: FrameMode,
    pub idle_end: IdleEnd,
    /// Most wire bytes of one message, 0 for no limit.
    pub message_bytes_max: u64,
}

/// What the operator decides for one API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRules {
    pub api: String,
    pub group: String,
    /// Protections in its definition that this version cannot enforce, and without which it is served all the same.
    pub insecure_ignore: Vec<Protection>,
    pub tunnel: Tunnel,
    /// What `[reload]` says for all, where it is said for this one.
    pub when_removed: Option<Fate>,
    pub when_backend_removed: Option<Fate>,
    pub when_changed: Option<Fate>,
    pub place: Place,
}

/// A rule of a definition that protects its API or backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// APP, IAM or a custom authorizer.
    Authentication,
    AccessControl,
    RateLimit,
    Plugins,
    /// The client certificate that the backend is to be shown.
    ClientCertificate,
}

impl Protection {
    /// Each with the word that `insecure_ignore` has for it.
    pub(crate) const WORDS: [(&'static str, Self); 5] = [
        ("auth", Self::Authentication),
        ("acl", Self::AccessControl),
        ("ratelimit", Self::RateLimit),
        ("plugins", Self::Plugins),
        ("client_certificate", Self::ClientCertificate),
    ];

    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, protection)| *protection == self)
            .map_or("", |(word, _)| word)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backends {
    /// Local addresses to connect from, used in turn; empty leaves the choice to the kernel.
    pub source_addresses: Vec<IpAddr>,
    /// PEM bundle against which backends' certificates are verified; without one they are not (spec U62).
    pub ca: Option<PathBuf>,
    /// Addresses that no backend may have: 403 (spec 5.2).
    pub denied: Vec<Network>,
    /// Idle connections for further calls, on each core.
    pub idle_connections_max: usize,
    /// How long such a connection is kept.
    pub idle_timeout: Duration,
}

/// How requests are passed on to backends (spec 2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    pub forwarded_for: ForwardedFor,
    pub host: HostSent,
    /// Whether `X-Stage`, `X-Apig-*` and the gateway's credentials are kept from the backend (spec U12, U24).
    pub strip_gateway_fields: bool,
}

/// What becomes of the client's `X-Forwarded-For` (spec U21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFor {
    #[default]
    Append,
    Replace,
}

/// The `Host` that a backend is sent where no backend parameter says another (spec U25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostSent {
    /// The backend's address.
    #[default]
    Backend,
    /// What the client sent.
    Client,
}

/// Bounds. Sizes in bytes, counts per process unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections, tunnels included, over all workers; 0 derives it from the descriptor limit.
    pub connections_max: usize,
    pub head: HeadLimits,
    /// The status of an answer to a head with too much in it: 494 as the cloud has it, or 431 (RFC 6585).
    pub head_too_large_status: u16,
    /// Bytes that may follow a request for an upgrade before its 101.
    pub early_bytes_max: usize,
    pub request_body_bytes_max: u64,
    /// Provided buffers of one relay.
    pub relay_buffer_bytes: usize,
    /// Most bytes a tunnel may hold in one direction before it stops receiving.
    pub half_bytes_max: usize,
    /// Spill, TLS and queued memory of one relay beyond the provided buffers.
    pub relay_spill_bytes_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Accept to the end of the TLS handshake, and to the end of the first request head.
    pub handshake: Duration,
    pub keep_alive: Duration,
    /// The longest a request's body may pause (spec 6.1, `request_body_timeout`).
    pub request_body: Duration,
    pub permit: Duration,
    pub slow_consumer: Duration,
    /// How long a Close of ours waits for a frame boundary, and then for its answer.
    pub close_grace: Duration,
}

/// When a reload happens by itself, and what it means for open tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether a change of any file that the configuration consists of is a reload.
    pub watch: bool,
    /// For tunnels of an API that is not there any more.
    pub removed_apis: Fate,
    /// For tunnels to a backend that their API does not lead to any more.
    pub removed_backends: Fate,
    /// For tunnels of an API whose definition has changed.
    pub changed_apis: Fate,
    /// How the ends of tunnels are spread where nothing else is said.
    pub pace: Pace,
}

/// What becomes of open tunnels when what they were opened by is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// They live on; a changed timeout reaches them.
    #[default]
    Keep,
    Drain(DrainPlan),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket of the admin listener; `None` for none.
    pub socket: Option<PathBuf>,
    /// Loopback address on which the admin listener answers those who have the token; `None` for none.
    pub listen: Option<SocketAddr>,
    /// The file that the token is in. Present where `listen` is.
    pub token_file: Option<PathBuf>,
    /// What is in it, once it has been opened.
    pub token: Option<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of the program's own messages on stderr.
    pub format: LogFormat,
    pub level: String,
    /// Where the lines about tunnels and calls go: standard output, a file, or nowhere.
    pub access: AccessLog,
    pub access_format: AccessFormat,
    /// Whether a tunnel gets a line when it opens; `None` leaves it to the format.
    pub access_open: Option<bool>,
    /// How long a tunnel lives before each further line about it; zero for none.
    pub access_interval: Duration,
    /// Query parameters whose values are secrets, beside those that sound like it.
    pub access_secrets: Vec<String>,
    /// Lines that may wait to be written before further ones are dropped and counted.
    pub queue_lines_max: usize,
}

impl Log {
    /// The cloud writes one line a call.
    pub(crate) fn opens_have_lines(&self) -> bool {
        let of_format = self.access_format == AccessFormat::Json;
        self.access_open.unwrap_or(of_format)
    }
}

/// How the lines about tunnels and calls look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// Objects of our own.
    #[default]
    Json,
    /// The cloud gateway's 54 fields (spec 9.1).
    Apig,
    /// The same under their names.
    ApigJson,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Stdout,
    File(PathBuf),
    Off,
}

impl std::fmt::Display for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Off => f.write_str("off"),
        }
    }
}

//! What the operator of the box decides: `ringgate.toml` as text (`raw`) and as the checked `Config`.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::proto::head::HeadLimits;

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
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub drain: Drain,
    pub admin: Admin,
    pub log: Log,
}

#[derive(Clone, Debug)]
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
}

#[derive(Clone, Debug, Default)]
pub struct Backends {
    /// Local addresses to connect from, used in turn; empty leaves the choice to the kernel.
    pub source_addresses: Vec<IpAddr>,
    /// PEM bundle against which backends' certificates are verified; without one they are not (spec U62).
    pub ca: Option<PathBuf>,
}

/// Bounds. Sizes in bytes, counts per process unless the name says otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections, tunnels included, over all workers; 0 derives it from the descriptor limit.
    pub connections_max: usize,
    pub head: HeadLimits,
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

#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Accept to the end of the TLS handshake, and to the end of the first request head.
    pub handshake: Duration,
    pub keep_alive: Duration,
    pub permit: Duration,
    pub slow_consumer: Duration,
    /// How long a Close of ours waits for a frame boundary, and then for its answer.
    pub close_grace: Duration,
}

#[derive(Clone, Debug)]
pub struct Drain {
    /// What still runs this long after SIGTERM is closed.
    pub limit: Duration,
}

#[derive(Clone, Debug)]
pub struct Admin {
    /// Unix socket of the admin listener; `None` for no admin listener.
    pub socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug)]
pub struct Log {
    /// Form of the program's own messages on stderr.
    pub format: LogFormat,
    pub level: String,
    /// Where the JSON lines about tunnels go: standard output, a file, or nowhere.
    pub access: AccessLog,
    /// Lines that may wait to be written before further ones are dropped and counted.
    pub queue_lines_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Stdout,
    File(PathBuf),
    Off,
}

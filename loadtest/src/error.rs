//! What can go wrong with one connection, and how often it did.

use std::collections::BTreeMap;
use std::{fmt, io};

use crate::frame::FrameError;
use crate::handshake::HandshakeError;

#[derive(Debug)]
pub(crate) enum ClientError {
    Connect(io::Error),
    Io(io::Error),
    Tls(rustls::Error),
    Handshake(HandshakeError),
    Frame(FrameError),
    /// The server sent a Close frame while the conversation was going on.
    Closed,
    /// The server ended the connection without one.
    Ended,
    /// Something arrived with another length, content or order than it was sent with.
    Mismatch,
    /// A message that never came.
    Lost,
    /// A connection that took too long to open, talk or close.
    TimedOut,
    /// More outstanding on a connection than may be, so that a scheduled message was not sent.
    Overrun,
    /// A scheduled message whose connection had failed, or a scheduled connection that no client was free for.
    Unsent,
}

impl ClientError {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Io(_) => "io",
            Self::Tls(_) => "tls",
            Self::Handshake(_) => "handshake",
            Self::Frame(_) => "frame",
            Self::Closed => "closed",
            Self::Ended => "ended",
            Self::Mismatch => "mismatch",
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::Overrun => "overrun",
            Self::Unsent => "unsent",
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "connect: {error}{}", remedy(error)),
            Self::Io(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Handshake(error) => error.fmt(f),
            Self::Frame(error) => write!(f, "bad frame: {error}"),
            Self::Closed => f.write_str("the server sent Close"),
            Self::Ended => f.write_str("the server ended the connection"),
            Self::Mismatch => f.write_str("what arrived differs from what was sent"),
            Self::Lost => f.write_str("a message never came"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Overrun => f.write_str("too much outstanding, a message was not sent"),
            Self::Unsent => f.write_str("nobody was left or free to send what was due"),
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => {
            " (no local port left, or not an address of this host: give several with --source, \
             or widen net.ipv4.ip_local_port_range)"
        }
        io::ErrorKind::ConnectionRefused => " (nothing listens there)",
        _ => "",
    }
}

/// Counts of what went wrong, by kind; the text of the first stands for the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    by_kind: BTreeMap<&'static str, u64>,
    first: Option<String>,
}

impl Failures {
    pub(crate) fn count(&mut self, error: &ClientError) {
        self.count_many(error, 1);
    }

    pub(crate) fn count_many(&mut self, error: &ClientError, times: u64) {
        if times == 0 {
            return;
        }
        *self.by_kind.entry(error.label()).or_default() += times;
        self.first.get_or_insert_with(|| error.to_string());
    }

    /// Adds what `other` has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.by_kind {
            *self.by_kind.entry(kind).or_default() += count;
        }
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }

    pub(crate) fn by_kind(&self) -> &BTreeMap<&'static str, u64> {
        &self.by_kind
    }

    pub(crate) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }
}

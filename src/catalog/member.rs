//! Backend addresses as text: `host`, `host:port`, `[IPv6]:port`, and as URLs.

use std::net::{IpAddr, Ipv6Addr};

use super::Member;
use crate::config::Scheme;

impl Member {
    /// One address; `host` is a name or an address, IPv6 without brackets.
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Self {
        let host_field = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let authority = if port == scheme.port() {
            host_field
        } else {
            format!("{host_field}:{port}")
        };
        Self {
            scheme,
            host: host.to_owned(),
            port,
            authority,
        }
    }

    /// `host:port`, whatever the port; IPv6 addresses in brackets.
    pub fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// Reads `host[:port]`, at most 255 characters (spec 1.3); the port is the scheme's own when absent.
    pub fn from_address(scheme: Scheme, address: &str) -> Option<Self> {
        if address.len() > 255 {
            return None;
        }
        let (host, port) = split(address)?;
        let port = match port {
            None => scheme.port(),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0)?
            }
            Some(_) => return None,
        };
        Some(Self::new(scheme, host, port))
    }

    /// Reads `ws://host:port/path` (also `http`, `wss`, `https`): the member, and the path if the URL has one.
    pub fn from_url(url: &str) -> Option<(Self, Option<&str>)> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = Scheme::named(scheme)?;
        let (address, path) = match rest.find('/') {
            Some(slash) => (rest.get(..slash)?, rest.get(slash..)),
            None => (rest, None),
        };
        if path.is_some_and(|path| {
            !path
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
        }) {
            return None;
        }
        Some((Self::from_address(scheme, address)?, path))
    }
}

fn split(address: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = if rest.is_empty() {
            None
        } else {
            Some(rest.strip_prefix(':')?)
        };
        return Some((host, port));
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    (host.parse::<IpAddr>().is_ok() || is_name(host)).then_some((host, port))
}

/// A name of the kind that is resolved; also single labels, which the box's own network may know.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    // A last label of digits alone would be a broken IPv4 address.
    let numeric_end = host
        .rsplit('.')
        .next()
        .is_none_or(|label| label.bytes().all(|b| b.is_ascii_digit()));
    !numeric_end
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

impl Scheme {
    /// The port of a URL that names none.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// `http` and `ws`, `https` and `wss`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let is = |scheme: &str| name.eq_ignore_ascii_case(scheme);
        if is("http") || is("ws") {
            Some(Self::Http)
        } else if is("https") || is("wss") {
            Some(Self::Https)
        } else {
            None
        }
    }

    /// The scheme of other URLs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The scheme of WebSocket URLs.
    pub fn websocket(self) -> &'static str {
        match self {
            Self::Http => "ws",
            Self::Https => "wss",
        }
    }
}

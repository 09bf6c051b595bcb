//! Host to group: addresses, exact names, wildcards, debugging domains (spec 2.1).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{DebugCalls, Query, RouteError};
use crate::config::{DomainPort, Scheme};

/// Longest name that can be bound (spec 2.1).
const NAME_BYTES_MAX: usize = 255;

/// Which group a host leads to, as an index into the catalog's groups.
#[derive(Debug)]
pub(super) enum Hosts {
    /// Whatever the client calls us: `ringgate proxy`.
    Any(usize),
    Known(Box<Known>),
}

/// Nobody is let in.
impl Default for Hosts {
    fn default() -> Self {
        Self::Known(Box::default())
    }
}

#[derive(Debug, Default)]
pub(super) struct Known {
    /// The group DEFAULT, if it has APIs.
    pub(super) default: Option<usize>,
    pub(super) inbound: HashSet<IpAddr>,
    pub(super) any_address: bool,
    /// Most names have one binding; several differ in their ports.
    pub(super) exact: HashMap<Box<str>, Vec<Binding>>,
    /// `example.com` for `*.example.com`.
    pub(super) wildcard: HashMap<Box<str>, Vec<Binding>>,
    pub(super) debug: HashMap<Box<str>, (usize, Arc<DebugCalls>)>,
}

/// A domain of a group, and on which listeners it is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub(super) group: usize,
    pub(super) http: DomainPort,
    pub(super) https: DomainPort,
}

/// The group that a host leads to, and by what.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) group: usize,
    pub(super) by: By<'a>,
    /// What counts the calls, if the host is a debugging domain.
    pub(super) debug: Option<&'a Arc<DebugCalls>>,
}

/// What decided about a host: for `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By<'a> {
    /// Every host leads to the one group.
    Anything,
    /// An address on which DEFAULT answers.
    Address,
    Domain(&'a str),
    /// `example.com` of `*.example.com`.
    Wildcard(&'a str),
    DebugDomain(&'a str),
}

impl Hosts {
    /// The group for the host of a request; an error for a `Host` field that names no host.
    pub(super) fn group(&self, query: &Query<'_>) -> Result<Option<Found<'_>>, RouteError> {
        let mut lower = [0; NAME_BYTES_MAX];
        let host = Host::parse(query.host, &mut lower).ok_or(RouteError::BadTarget)?;
        Ok(match (self, host) {
            (Self::Any(group), _) => Some(Found::new(*group, By::Anything)),
            (Self::Known(known), Host::Address(address)) => {
                known.of_address(address, query.inbound.ip())
            }
            (Self::Known(known), Host::Name(name)) => known.of_name(name, query),
        })
    }
}

impl<'a> Found<'a> {
    fn new(group: usize, by: By<'a>) -> Self {
        Self {
            group,
            by,
            debug: None,
        }
    }
}

impl Known {
    fn of_address(&self, address: IpAddr, inbound: IpAddr) -> Option<Found<'_>> {
        let ours = self.any_address
            || address == inbound.to_canonical()
            || self.inbound.contains(&address);
        let default = self.default.filter(|_| ours)?;
        Some(Found::new(default, By::Address))
    }

    /// Spec U10: the exact name, else the longest wildcard, which covers one or more labels. A domain that is not served
    /// on the listener of the request does not exist there.
    fn of_name(&self, name: &str, query: &Query<'_>) -> Option<Found<'_>> {
        if let Some((name, group)) = served(&self.exact, name, query) {
            return Some(Found::new(group, By::Domain(name)));
        }
        if let Some((name, (group, calls))) = self.debug.get_key_value(name) {
            return Some(Found {
                group: *group,
                by: By::DebugDomain(name),
                debug: Some(calls),
            });
        }
        name.match_indices('.')
            .filter_map(|(dot, _)| name.get(dot + 1..))
            .find_map(|parent| {
                let (parent, group) = served(&self.wildcard, parent, query)?;
                Some(Found::new(group, By::Wildcard(parent)))
            })
    }
}

/// The name as it is bound, and its group on the listener of the request.
fn served<'a>(
    names: &'a HashMap<Box<str>, Vec<Binding>>,
    name: &str,
    query: &Query<'_>,
) -> Option<(&'a str, usize)> {
    let (name, bindings) = names.get_key_value(name)?;
    let binding = bindings.iter().find(|binding| binding.serves(query))?;
    Some((name, binding.group))
}

impl Binding {
    fn serves(&self, query: &Query<'_>) -> bool {
        let port = match query.scheme {
            Scheme::Http => self.http,
            Scheme::Https => self.https,
        };
        match port {
            DomainPort::Every => true,
            DomainPort::Only(port) => port == query.inbound.port(),
            DomainPort::None => false,
        }
    }
}

/// The host part of a `Host` field.
enum Host<'a> {
    /// Never an IPv6 address that stands for an IPv4 one.
    Address(IpAddr),
    /// Lower case, without a trailing dot.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// RFC 9110 §7.2: `uri-host [ ":" port ]`. The port selects nothing (spec 2.1) but has to be one.
    fn parse(field: &str, lower: &'a mut [u8; NAME_BYTES_MAX]) -> Option<Self> {
        if let Some(rest) = field.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            let address: Ipv6Addr = address.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let name = match field.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return None,
            None => field,
        };
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return None;
        }
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        std::str::from_utf8(lower).ok().map(Self::Name)
    }
}

/// RFC 3986 §3.2.3: digits, also none.
fn is_port(text: &str) -> bool {
    text.len() <= 5
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.is_empty() || text.parse::<u16>().is_ok())
}

/// RFC 3986 §3.2.2, `reg-name`.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte)
}

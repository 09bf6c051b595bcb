//! Host to group: addresses, exact names, wildcards (spec 2.1).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::RouteError;

/// Longest name that can be bound (spec 2.1).
const NAME_BYTES_MAX: usize = 255;

/// Which group a host leads to, as an index into the catalog's groups.
#[derive(Debug)]
pub(super) enum Hosts {
    /// Whatever the client calls us: `ringgate proxy`.
    Any(usize),
    Known(Known),
}

#[derive(Debug, Default)]
pub(super) struct Known {
    /// The group DEFAULT, if it has APIs.
    pub(super) default: Option<usize>,
    pub(super) inbound: HashSet<IpAddr>,
    pub(super) any_address: bool,
    pub(super) exact: HashMap<Box<str>, usize>,
    /// `example.com` for `*.example.com`.
    pub(super) wildcard: HashMap<Box<str>, usize>,
}

impl Hosts {
    /// The group for the `Host` field of a request to `inbound`; an error for a field that names no host.
    pub(super) fn group(&self, host: &str, inbound: IpAddr) -> Result<Option<usize>, RouteError> {
        let mut lower = [0; NAME_BYTES_MAX];
        let host = Host::parse(host, &mut lower).ok_or(RouteError::BadTarget)?;
        Ok(match (self, host) {
            (Self::Any(group), _) => Some(*group),
            (Self::Known(known), Host::Address(address)) => known.of_address(address, inbound),
            (Self::Known(known), Host::Name(name)) => known.of_name(name),
        })
    }
}

impl Known {
    fn of_address(&self, address: IpAddr, inbound: IpAddr) -> Option<usize> {
        let ours = self.any_address
            || address == inbound.to_canonical()
            || self.inbound.contains(&address);
        self.default.filter(|_| ours)
    }

    /// Spec U10: the exact name, else the longest wildcard, which covers one or more labels.
    fn of_name(&self, name: &str) -> Option<usize> {
        if let Some(group) = self.exact.get(name) {
            return Some(*group);
        }
        name.match_indices('.')
            .filter_map(|(dot, _)| name.get(dot + 1..))
            .find_map(|parent| self.wildcard.get(parent))
            .copied()
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

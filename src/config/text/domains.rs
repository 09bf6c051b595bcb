//! Names that lead to groups: domains with their ports, and debugging domains with their calls a day (spec 2.1).

use super::Reader;
use crate::config::{DebugDomain, Domain, DomainPort, Scheme};
use crate::document::{Item, Table, Value};

/// Calls a day by a debugging domain where the file does not say (spec 2.1).
const DEBUG_CALLS_PER_DAY: u32 = 1000;

/// The cloud's word for a protocol that a domain is not served by.
const NOT_SERVED: i64 = -1;

impl Reader {
    pub(super) fn domain(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let name = table.need(
            "name",
            "write name = \"api.example.com\" or \"*.example.com\"",
            complaints,
        );
        let group = table.need(
            "group",
            "write group = \"DEFAULT\", the `info.title` of a definition",
            complaints,
        );
        let group = group.and_then(|item| item.text(complaints));
        let ports = self.ports(table);
        let Some(item) = name else { return };
        let parsed = item.parsed(
            "a domain name, such as \"api.example.com\" or \"*.example.com\"",
            domain_name,
            &mut self.complaints,
        );
        let (Some(name), Some(group), Some((http, https))) = (parsed, group, ports) else {
            return;
        };
        let domain = Domain {
            name,
            group: group.to_owned(),
            http,
            https,
            place: item.place(&self.complaints),
        };
        if !self.is_bound(&domain) {
            self.draft.config.routing.domains.push(domain);
        }
    }

    /// Whether the name is taken: by another group, or on one of the same ports.
    fn is_bound(&mut self, domain: &Domain) -> bool {
        let domains = &self.draft.config.routing.domains;
        let mut same = domains.iter().filter(|known| known.name == domain.name);
        let name = &domain.name;
        let (problem, remedy, code) =
            if let Some(first) = same.clone().find(|known| known.group != domain.group) {
                (
                    format!(
                        "{name} leads to group {} already: {}",
                        first.group, first.place
                    ),
                    "a domain belongs to one group; remove one of them",
                    "APIG.3305",
                )
            } else if let Some(first) = same.find(|known| overlap(known, domain)) {
                (
                    format!("{name} is bound to such a port already: {}", first.place),
                    "bind it once for each port, or remove one of them",
                    "APIG.2050",
                )
            } else {
                return false;
            };
        self.complaints
            .push(domain.place.error(problem, remedy).with_code(code));
        true
    }

    /// `http_port` and `https_port`: both or neither (spec 2.1).
    fn ports(&mut self, table: &mut Table<'_>) -> Option<(DomainPort, DomainPort)> {
        let place = table.place(&self.complaints);
        let (http, https) = (table.take("http_port"), table.take("https_port"));
        let (http, https) = match (http, https) {
            (None, None) => return Some((DomainPort::Every, DomainPort::Every)),
            (Some(http), Some(https)) => (http, https),
            (Some(_), None) | (None, Some(_)) => {
                self.complaints.error(
                    &place,
                    "`http_port` and `https_port` are given both or not at all",
                    "write the other one too, \"off\" where the domain is not served by that protocol",
                );
                return None;
            }
        };
        let ports = (
            self.port(&http, Scheme::Http),
            self.port(&https, Scheme::Https),
        );
        let (Some(http), Some(https)) = ports else {
            return None;
        };
        if (http, https) == (DomainPort::None, DomainPort::None) {
            self.complaints.error(
                &place,
                "with both ports off the domain would be served nowhere",
                "give one of them a listener's port, or remove the domain",
            );
            return None;
        }
        Some((http, https))
    }

    fn port(&mut self, item: &Item<'_>, scheme: Scheme) -> Option<DomainPort> {
        match item.value() {
            Value::Text(text) if text == "off" => return Some(DomainPort::None),
            Value::Integer(NOT_SERVED) => return Some(DomainPort::None),
            Value::Text(text) => {
                let place = item.place(&self.complaints);
                self.complaints.error(
                    &place,
                    format!("\"{text}\" is not a port"),
                    "write a number, such as 8443, or \"off\"",
                );
                return None;
            }
            _ => {}
        }
        let port = item.integer(1..=65535, &mut self.complaints)?;
        let port = u16::try_from(port).ok()?;
        self.has_listener(port, scheme, item)
            .then_some(DomainPort::Only(port))
    }

    fn has_listener(&mut self, port: u16, scheme: Scheme, item: &Item<'_>) -> bool {
        let listeners = self.draft.config.listeners.iter();
        let of_scheme = listeners.filter(|listener| listener.scheme == scheme);
        let mut ports: Vec<u16> = of_scheme.map(|listener| listener.address.port()).collect();
        // Where listeners are wrong, a missing one is no mistake of its own.
        if ports.contains(&port) || !self.listeners_complete {
            return true;
        }
        ports.sort_unstable();
        ports.dedup();
        let name = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let remedy = if ports.is_empty() {
            format!("write \"off\", or add [[listeners]] with protocol = \"{name}\" and this port")
        } else {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            format!(
                "write one of the ports of {name} listeners ({}), or add [[listeners]] with this port",
                ports.join(", ")
            )
        };
        let place = item.place(&self.complaints);
        let problem = format!("no {name} listener has port {port}");
        self.complaints.error(&place, problem, remedy);
        false
    }

    /// One `[[groups]]`: what the operator decides for a whole group.
    pub(super) fn group(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let name = table.need(
            "name",
            "write name = \"DEFAULT\", the `info.title` of a definition",
            complaints,
        );
        let domain = table.need(
            "debug_domain",
            "write debug_domain = \"debug.example.com\", or remove this table",
            complaints,
        );
        let calls = table.take("debug_calls_per_day");
        let calls = match calls {
            Some(item) => item.integer(1..=1_000_000_000, complaints),
            None => Some(i64::from(DEBUG_CALLS_PER_DAY)),
        };
        let group = name.and_then(|item| item.text(complaints));
        let Some(item) = domain else { return };
        let parsed = item.parsed(
            "a domain name without wildcard, such as \"debug.example.com\"",
            |text| domain_name(text).filter(|name| !name.starts_with('*')),
            complaints,
        );
        let calls = calls.and_then(|calls| u32::try_from(calls).ok());
        let (Some(group), Some(name), Some(calls_per_day)) = (group, parsed, calls) else {
            return;
        };
        let debug = DebugDomain {
            name,
            group: group.to_owned(),
            calls_per_day,
            place: item.place(complaints),
        };
        if !self.is_taken(&debug) {
            self.draft.config.routing.debug_domains.push(debug);
        }
    }

    /// Whether the name leads somewhere already, or the group has its table already.
    fn is_taken(&mut self, debug: &DebugDomain) -> bool {
        let routing = &self.draft.config.routing;
        let domains = routing.domains.iter();
        let domains = domains.map(|known| (&known.name, &known.group, &known.place));
        let others = routing.debug_domains.iter();
        let others = others.map(|known| (&known.name, &known.group, &known.place));
        let by_name = domains
            .chain(others.clone())
            .find(|(name, ..)| **name == debug.name);
        let (problem, remedy) = if let Some((name, group, place)) = by_name {
            (
                format!("{name} leads to group {group} already: {place}"),
                "give the group a debug_domain of its own",
            )
        } else if let Some((_, group, place)) = others
            .into_iter()
            .find(|(_, group, _)| **group == debug.group)
        {
            (
                format!("there is a table for group {group} already: {place}"),
                "keep one of them",
            )
        } else {
            return false;
        };
        self.complaints.error(&debug.place, problem, remedy);
        true
    }
}

/// Whether two bindings of one name have a port of one scheme in common.
fn overlap(one: &Domain, other: &Domain) -> bool {
    let shared = |a, b| match (a, b) {
        (DomainPort::None, _) | (_, DomainPort::None) => false,
        (DomainPort::Every, _) | (_, DomainPort::Every) => true,
        (DomainPort::Only(a), DomainPort::Only(b)) => a == b,
    };
    shared(one.http, other.http) || shared(one.https, other.https)
}

/// Spec 2.1, and single labels besides: the operator's own network may know `gateway` or `localhost`.
fn domain_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let address = labels.parse::<std::net::Ipv4Addr>().is_ok();
    let valid = !address
        && name.len() <= 255
        && labels.split('.').count() <= 8
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    valid.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;

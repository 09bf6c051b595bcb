//! Ports: towards each backend a connection takes one of ours, and our listeners need theirs free and allowed.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::finding::{Area, Finding};
use super::host::{Capability, Host};
use super::plan::{Plan, Upstream, wide};

const AREA: Area = Area::Ports;
const RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";

pub(super) fn examine(host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    match Range::of(host) {
        None => findings.push(AREA.unknown(RANGE, "how many connections one backend can have")),
        Some(range) => {
            for upstream in &plan.upstreams {
                findings.push(towards(upstream, plan, &range));
            }
            findings.extend(listeners_in(&range, plan));
        }
    }
    findings.extend(reuse(host, plan));
    findings.extend(privileged(host, plan));
    for address in &plan.config.backends.source_addresses {
        findings.push(source(*address));
    }
    findings
}

/// The ports that the kernel gives to those who connect.
#[derive(Debug)]
struct Range {
    first: u64,
    last: u64,
    reserved: Vec<(u64, u64)>,
}

impl Range {
    fn of(host: &Host) -> Option<Self> {
        let range = host.sysctl_list(RANGE)?;
        let [first, last] = <[u64; 2]>::try_from(range).ok()?;
        if first > last || last > u64::from(u16::MAX) {
            return None;
        }
        let reserved = host.text(&format!("proc/sys/{}", RESERVED.replace('.', "/")));
        Some(Self {
            first,
            last,
            reserved: intervals(&reserved.unwrap_or_default()),
        })
    }

    fn has(&self, port: u64) -> bool {
        let inside = |&(first, last): &(u64, u64)| (first..=last).contains(&port);
        (self.first..=self.last).contains(&port) && !self.reserved.iter().any(inside)
    }

    /// How many ports an address of ours has towards one address and port.
    fn count(&self) -> u64 {
        wide(
            (self.first..=self.last)
                .filter(|port| self.has(*port))
                .count(),
        )
    }
}

/// `8080,9000-9010`
fn intervals(text: &str) -> Vec<(u64, u64)> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        })
        .collect()
}

/// A connection is its two addresses and two ports: towards one backend address, only our address and port can differ.
fn towards(upstream: &Upstream, plan: &Plan, range: &Range) -> Finding {
    let sources = wide(plan.config.backends.source_addresses.len()).max(1);
    let possible = range.count().saturating_mul(sources);
    let share = plan.connections.div_ceil(wide(upstream.sharers.max(1)));
    let subject = format!("to {}", upstream.member.authority);
    let says = format!(
        "{share} connections if all are for its API, and {possible} ports on {}",
        crate::document::plural(usize::try_from(sources).unwrap_or(1), "address"),
    );
    if share > possible {
        let addresses = share.div_ceil(range.count().max(1));
        AREA.fail(
            subject,
            says,
            format!(
                "add addresses to this host and name at least {addresses} in backends.source_addresses, widen {RANGE} \
                 (1024 65535), or spread the API over more backends"
            ),
        )
    } else if share > possible / 10 * 8 {
        AREA.warn(
            subject,
            says,
            format!("ports of closed connections stay taken for a minute: widen {RANGE}, or add source addresses"),
        )
    } else {
        AREA.ok(subject, says)
    }
}

/// A port of the range may be taken by a connection to somewhere just when ringgate starts.
fn listeners_in(range: &Range, plan: &Plan) -> Vec<Finding> {
    let mut ports: Vec<_> = plan
        .config
        .listeners
        .iter()
        .map(|listener| listener.address.port())
        .filter(|port| range.has(u64::from(*port)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let warn = |port: u16| {
        AREA.warn(
            format!("listener port {port}"),
            format!("it lies in {RANGE}: an outgoing connection may hold it when ringgate starts"),
            format!("sysctl -w {RESERVED}={port} (with what is reserved already)"),
        )
    };
    ports.into_iter().map(warn).collect()
}

/// Without reuse, each closed connection keeps its port for a minute (TIME-WAIT), where we closed first.
fn reuse(host: &Host, plan: &Plan) -> Option<Finding> {
    const SUBJECT: &str = "net.ipv4.tcp_tw_reuse";
    if plan.upstreams.is_empty() {
        return None;
    }
    Some(match host.sysctl(SUBJECT) {
        None => AREA.unknown(SUBJECT, "whether ports of closed connections can be used again at once"),
        Some(1) => AREA.ok(SUBJECT, "1: ports of closed connections are used again after a second"),
        Some(value) => AREA.warn(
            SUBJECT,
            format!("{value}: a port that a closed connection had towards a backend is lost for a minute"),
            "sysctl -w net.ipv4.tcp_tw_reuse=1 (safe for those who connect: TCP timestamps tell old from new)",
        ),
    })
}

fn privileged(host: &Host, plan: &Plan) -> Option<Finding> {
    let first_free = host
        .sysctl("net.ipv4.ip_unprivileged_port_start")
        .unwrap_or(1024);
    let listeners = plan.config.listeners.iter();
    let lowest = listeners
        .map(|listener| listener.address.port())
        .filter(|port| *port != 0 && u64::from(*port) < first_free)
        .min()?;
    let subject = format!("listener port {lowest}");
    Some(match host.has(Capability::BindService) {
        Some(true) => AREA.ok(subject, "CAP_NET_BIND_SERVICE is there"),
        Some(false) => AREA.fail(
            subject,
            format!("ports below {first_free} need CAP_NET_BIND_SERVICE, which this process does not have"),
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit (the shipped one has it)",
        ),
        None => AREA.unknown(subject, format!("ports below {first_free} need CAP_NET_BIND_SERVICE")),
    })
}

/// Whether we can connect from an address, tried on a socket that is closed again.
fn source(address: IpAddr) -> Finding {
    let subject = format!("source address {address}");
    match std::net::UdpSocket::bind(SocketAddr::new(address, 0)) {
        Ok(_) => AREA.ok(subject, "is an address of this host"),
        Err(error) => AREA.fail(
            subject,
            format!("cannot be connected from: {error}"),
            "give it to an interface (ip address add), or take it out of backends.source_addresses",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{Fixture, plan, upstream};
    use super::*;

    fn range(text: &str, reserved: &str) -> Fixture {
        Fixture::new()
            .with("proc/sys/net/ipv4/ip_local_port_range", text)
            .with("proc/sys/net/ipv4/ip_local_reserved_ports", reserved)
            .with("proc/sys/net/ipv4/tcp_tw_reuse", "1")
    }

    fn check(connections: u64, sharers: usize, sources: &[&str], expected: Level) {
        let mut plan = plan(connections);
        plan.upstreams = vec![upstream("192.0.2.1:80", sharers)];
        plan.config.backends.source_addresses =
            sources.iter().map(|text| text.parse().unwrap()).collect();
        let fixture = range("32768\t60999", "");
        let finding = examine(&fixture.host(), &plan).remove(0);
        assert_eq!(finding.level, expected, "{connections} {finding:?}");
    }

    #[test]
    fn a_backend_address_takes_as_many_connections_as_there_are_ports() {
        check(20_000, 1, &[], Level::Ok);
        check(28_000, 1, &[], Level::Warn);
        check(28_232, 1, &[], Level::Warn);
        check(28_233, 1, &[], Level::Fail);
        check(50_000, 3, &[], Level::Ok);
        check(
            50_000,
            1,
            &["127.0.0.1", "127.0.0.2", "127.0.0.3"],
            Level::Ok,
        );
    }

    #[test]
    fn reserved_ports_are_no_source_ports() {
        let range = Range::of(&range("1000 1009", "1000,1005-1006,70000").host()).unwrap();
        assert_eq!(range.count(), 7);
        assert!(!range.has(1006) && range.has(1007) && !range.has(999));
    }

    #[test]
    fn nonsense_is_unknown() {
        for text in ["", "5", "9 1", "1 99999999", "a b"] {
            assert!(Range::of(&range(text, "x-,y").host()).is_none(), "{text}");
        }
    }

    #[test]
    fn low_ports_need_a_capability() {
        let mut plan = plan(10);
        plan.config.listeners = vec![super::super::tests::listener("0.0.0.0:443")];
        for (capabilities, level) in [
            ("CapEff:\t0000000000000400", Level::Ok),
            ("CapEff:\t0000000000000000", Level::Fail),
            ("", Level::Unknown),
        ] {
            let fixture = Fixture::new().with("proc/self/status", capabilities);
            assert_eq!(privileged(&fixture.host(), &plan).unwrap().level, level);
        }
        plan.config.listeners = vec![super::super::tests::listener("0.0.0.0:8443")];
        assert_eq!(privileged(&Fixture::new().host(), &plan), None);
    }

    #[test]
    fn listeners_do_not_belong_into_the_range() {
        let mut plan = plan(10);
        plan.config.listeners = vec![super::super::tests::listener("0.0.0.0:40000")];
        let warned = |reserved| {
            let fixture = range("32768 60999", reserved);
            let found = listeners_in(&Range::of(&fixture.host()).unwrap(), &plan);
            found.len()
        };
        assert_eq!((warned(""), warned("40000")), (1, 0));
    }

    #[test]
    fn source_addresses_are_ours() {
        assert_eq!(source("127.0.0.1".parse().unwrap()).level, Level::Ok);
        assert_eq!(source("192.0.2.77".parse().unwrap()).level, Level::Fail);
    }
}

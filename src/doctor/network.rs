//! The network: packets spread over the workers' cores, room for those who wait to be accepted, connection tracking.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::finding::{Area, Finding};
use super::host::{Host, core_list};
use super::plan::Plan;

const AREA: Area = Area::Network;

pub(super) fn examine(host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in interfaces(host, plan) {
        findings.push(spreading(host, plan, &interface));
        findings.extend(interrupts(host, plan, &interface));
    }
    findings.push(backlog(host, plan));
    findings.push(half_open(host, plan));
    findings.push(migration(host));
    findings.push(tracking(host, plan));
    findings
}

/// The interfaces that the listeners' addresses are on; loopback has no queues to look at.
fn interfaces(host: &Host, plan: &Plan) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for listener in &plan.config.listeners {
        let name = match listener.address.ip() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => interface_of(host, address),
            IpAddr::V6(address) if address.is_unspecified() => {
                interface_of(host, Ipv4Addr::UNSPECIFIED)
            }
            IpAddr::V6(address) => interface_of_v6(host, &address.octets()),
        };
        found.extend(name.filter(|name| name != "lo"));
    }
    found
}

/// The route with the longest prefix, and for an address of all interfaces the default one (`/proc/net/route`: addresses
/// in hexadecimal, in the byte order of the machine).
fn interface_of(host: &Host, address: Ipv4Addr) -> Option<String> {
    let address = u32::from_ne_bytes(address.octets());
    let text = host.text("proc/net/route")?;
    let routes = text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let destination = u32::from_str_radix(words.next()?, 16).ok()?;
        let mask = u32::from_str_radix(words.nth(5)?, 16).ok()?;
        (address & mask == destination).then(|| (mask.count_ones(), name.to_owned()))
    });
    routes.max_by_key(|(ones, _)| *ones).map(|(_, name)| name)
}

/// `/proc/net/if_inet6`: the address in hexadecimal, and five words on the interface.
fn interface_of_v6(host: &Host, address: &[u8; 16]) -> Option<String> {
    let wanted: String = address.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = host.text("proc/net/if_inet6")?;
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == wanted).then(|| words.nth(4).map(str::to_owned))?
    })
}

/// Packets are worked on where their queue's interrupt goes, unless RPS hands them on.
fn spreading(host: &Host, plan: &Plan, interface: &str) -> Finding {
    let subject = format!("receive queues of {interface}");
    let base = format!("sys/class/net/{interface}/queues");
    let names = host.names(&base);
    let queues: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("rx-"))
        .collect();
    if queues.is_empty() {
        return AREA.unknown(subject, "how its packets are spread");
    }
    let handed_on = queues.iter().any(|queue| {
        let mask = host
            .text(&format!("{base}/{queue}/rps_cpus"))
            .unwrap_or_default();
        mask.chars().any(|c| c != '0' && c != ',')
    });
    let workers = plan.cores.len();
    let says = format!(
        "{} for {}, RPS {}",
        crate::document::plural(queues.len(), "queue"),
        crate::document::plural(workers, "worker"),
        if handed_on { "on" } else { "off" }
    );
    if queues.len() >= workers || handed_on {
        AREA.ok(subject, says)
    } else {
        AREA.warn(
            subject,
            format!("{says}: the kernel's network work is done by too few cores"),
            format!(
                "tuning/apply nic --interface {interface} --apply (more queues with ethtool -L, or RPS where there are none)"
            ),
        )
    }
}

/// Where all interrupts go to one core, its worker starves.
fn interrupts(host: &Host, plan: &Plan, interface: &str) -> Option<Finding> {
    let device = format!("sys/class/net/{interface}/device");
    // Of virtio devices, the interrupts are the parent's.
    let numbers = [
        format!("{device}/msi_irqs"),
        format!("{device}/../msi_irqs"),
    ]
    .iter()
    .map(|path| host.names(path))
    .find(|names| !names.is_empty())?;
    let mut cores = BTreeSet::new();
    for number in &numbers {
        let at = |name| host.text(&format!("proc/irq/{number}/{name}"));
        let text = at("effective_affinity_list").or_else(|| at("smp_affinity_list"));
        cores.extend(text.and_then(|text| core_list(&text)).unwrap_or_default());
    }
    if cores.is_empty() {
        return None;
    }
    let subject = format!("interrupts of {interface}");
    let says = format!(
        "{} on {}",
        numbers.len(),
        crate::document::plural(cores.len(), "core")
    );
    Some(
        if cores.len() == 1 && plan.cores.len() > 1 && numbers.len() > 2 {
            AREA.warn(
            subject,
            format!("{says}: one core does the work of all"),
            format!("tuning/apply nic --interface {interface} --apply, and keep irqbalance away from them"),
        )
        } else {
            AREA.ok(subject, says)
        },
    )
}

/// Each worker has a queue of its own at each listener; while its edge is busy, that is where newcomers wait.
fn backlog(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "net.core.somaxconn";
    let asked = u64::try_from(crate::edge::BACKLOG).unwrap_or(0);
    let Some(maximum) = host.sysctl(SUBJECT) else {
        return AREA.unknown(SUBJECT, format!("needed: {}", plan.accept_rate));
    };
    let room = maximum.min(asked).saturating_mul(plan.workers());
    let says = format!(
        "{maximum}: room for {room} newcomers, which {} a second fill in {:.1} s",
        plan.accept_rate,
        seconds(room, plan.accept_rate)
    );
    if maximum < asked {
        AREA.warn(
            SUBJECT,
            format!("{says}; ringgate asks for {asked} a worker"),
            format!(
                "sysctl -w {SUBJECT}={}",
                asked.max(plan.accept_rate).next_power_of_two()
            ),
        )
    } else if room < plan.accept_rate {
        AREA.warn(
            SUBJECT,
            format!("{says}: a stall of a second loses clients for a second or more"),
            "more workers, or clients that come back at random times",
        )
    } else {
        AREA.ok(SUBJECT, says)
    }
}

fn seconds(room: u64, rate: u64) -> f64 {
    room as f64 / rate.max(1) as f64
}

fn half_open(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "net.ipv4.tcp_max_syn_backlog";
    // A client a tenth of a second away is half open for that long.
    let needed = (plan.accept_rate / 10).max(1024);
    match host.sysctl(SUBJECT) {
        None => AREA.unknown(SUBJECT, format!("needed: {needed}")),
        Some(maximum) if maximum < needed => AREA.warn(
            SUBJECT,
            format!("{maximum} half-open connections; beyond them the kernel answers with cookies, which forget TCP options"),
            format!("sysctl -w {SUBJECT}={}", needed.next_power_of_two()),
        ),
        Some(maximum) => AREA.ok(SUBJECT, maximum.to_string()),
    }
}

/// A worker's listener that closes resets whoever waits in its queue, unless they may move to another's (Linux 5.14).
fn migration(host: &Host) -> Finding {
    const SUBJECT: &str = "net.ipv4.tcp_migrate_req";
    match host.sysctl(SUBJECT) {
        Some(1) => AREA.ok(
            SUBJECT,
            "1: who waits at a listener that closes moves to another worker's",
        ),
        Some(value) => AREA.warn(
            SUBJECT,
            format!("{value}: who waits at a listener that closes is reset, at a reload or a stop"),
            format!("sysctl -w {SUBJECT}=1"),
        ),
        None => AREA.unknown(
            SUBJECT,
            "what becomes of those who wait at a listener that closes",
        ),
    }
}

/// A firewall that tracks connections has an entry for each, and drops packets when its table is full.
fn tracking(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "net.netfilter.nf_conntrack_max";
    let Some(maximum) = host.sysctl(SUBJECT) else {
        return AREA.ok("connection tracking", "is not loaded");
    };
    let taken = host.sysctl("net.netfilter.nf_conntrack_count").unwrap_or(0);
    let needed = plan.connections.saturating_mul(2).saturating_add(taken);
    let remedy = "exempt the listeners' and backends' ports (tuning/nftables), or raise the table with its hash \
                  (nf_conntrack_buckets)";
    // Without a rule that asks for it nothing is tracked, although the module is there.
    if taken == 0 {
        return AREA.ok(SUBJECT, format!("{maximum}, and nothing is tracked"));
    }
    if maximum < needed {
        AREA.fail(
            SUBJECT,
            format!("{maximum} entries, {taken} of them taken, and {needed} are needed if all is tracked: packets get lost"),
            remedy,
        )
    } else {
        AREA.warn(
            SUBJECT,
            format!(
                "{maximum} entries, enough for {needed}; tracking costs some 320 B a connection and CPU for each packet"
            ),
            remedy,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{Fixture, listener, plan, plan_on};
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_on_the_interface_of_their_route() {
        let fixture = Fixture::new().with("proc/net/route", ROUTES).with(
            "proc/net/if_inet6",
            "fd000000000000000000000000000002 04 40 00 82     eth2\n",
        );
        for (address, expected) in [
            ("0.0.0.0:1", Some("eth0")),
            ("192.0.2.9:1", Some("eth1")),
            ("203.0.113.1:1", Some("eth0")),
            ("127.0.0.1:1", None),
            ("[fd00::2]:1", Some("eth2")),
            ("[fd00::3]:1", None),
            ("[::]:1", Some("eth0")),
        ] {
            let mut plan = plan(1);
            plan.config.listeners = vec![listener(address)];
            let found = interfaces(&fixture.host(), &plan);
            assert_eq!(found.first().map(String::as_str), expected, "{address}");
        }
    }

    #[test]
    fn packets_are_spread_over_the_workers() {
        let queues = "sys/class/net/eth0/queues";
        let one = Fixture::new().with(&format!("{queues}/rx-0/rps_cpus"), "00000000,00000000");
        let host = one.host();
        assert_eq!(spreading(&host, &plan_on(&[0]), "eth0").level, Level::Ok);
        assert_eq!(
            spreading(&host, &plan_on(&[0, 1]), "eth0").level,
            Level::Warn
        );
        let handed_on = one.with(&format!("{queues}/rx-0/rps_cpus"), "00000000,00000003");
        assert_eq!(
            spreading(&handed_on.host(), &plan_on(&[0, 1]), "eth0").level,
            Level::Ok
        );
        assert_eq!(
            spreading(&host, &plan_on(&[0]), "eth9").level,
            Level::Unknown
        );
    }

    #[test]
    fn interrupts_on_one_core_are_named() {
        let mut fixture = Fixture::new();
        for number in ["37", "38", "39"] {
            fixture = fixture
                .with(&format!("sys/class/net/eth0/device/msi_irqs/{number}"), "")
                .with(&format!("proc/irq/{number}/smp_affinity_list"), "0-1")
                .with(&format!("proc/irq/{number}/effective_affinity_list"), "0");
        }
        let level = |fixture: &Fixture, cores: &[usize]| {
            interrupts(&fixture.host(), &plan_on(cores), "eth0").map(|finding| finding.level)
        };
        assert_eq!(level(&fixture, &[0, 1]), Some(Level::Warn));
        assert_eq!(level(&fixture, &[0]), Some(Level::Ok));
        let spread = fixture.with("proc/irq/39/effective_affinity_list", "1");
        assert_eq!(level(&spread, &[0, 1]), Some(Level::Ok));
        assert_eq!(level(&Fixture::new(), &[0, 1]), None);
    }

    #[test]
    fn newcomers_need_room_to_wait() {
        for (somaxconn, rate, level) in [
            ("4096", 1000, Level::Ok),
            ("4096", 5000, Level::Warn),
            ("128", 10, Level::Warn),
            ("", 10, Level::Unknown),
        ] {
            let mut plan = plan(1);
            plan.accept_rate = rate;
            let fixture = Fixture::new().with("proc/sys/net/core/somaxconn", somaxconn);
            assert_eq!(
                backlog(&fixture.host(), &plan).level,
                level,
                "{somaxconn} {rate}"
            );
        }
    }

    #[test]
    fn a_table_that_is_too_small_loses_packets() {
        let tracked = |maximum: &str, taken: &str| {
            let fixture = Fixture::new()
                .with("proc/sys/net/netfilter/nf_conntrack_max", maximum)
                .with("proc/sys/net/netfilter/nf_conntrack_count", taken);
            tracking(&fixture.host(), &plan(100_000)).level
        };
        assert_eq!(tracked("262144", "5"), Level::Warn);
        assert_eq!(tracked("65536", "5"), Level::Fail);
        assert_eq!(tracked("65536", "0"), Level::Ok);
        assert_eq!(tracking(&Fixture::new().host(), &plan(1)).level, Level::Ok);
    }

    #[test]
    fn migration_is_asked_for() {
        for (value, level) in [("1", Level::Ok), ("0", Level::Warn), ("", Level::Unknown)] {
            let fixture = Fixture::new().with("proc/sys/net/ipv4/tcp_migrate_req", value);
            assert_eq!(migration(&fixture.host()).level, level, "{value}");
        }
    }
}

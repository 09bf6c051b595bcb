//! Memory: ringgate's own from the configuration's bounds, the kernel's sockets, and what may be queued in them.
#![forbid(unsafe_code)]

use super::finding::{Area, Finding};
use super::host::Host;
use super::plan::Plan;
use crate::document::quantity::format_size;

const AREA: Area = Area::Memory;
const TCP_MEM: &str = "net.ipv4.tcp_mem";

/// Kernel memory of one idle TCP socket: `TCP` 2,368 B, `sock_inode_cache` 832 B, `filp` 192 B and `dentry` 192 B
/// (/proc/slabinfo of Linux 6.18 on x86-64), and its places in hash tables.
const SOCKET_BYTES: u64 = 4 << 10;

/// The unit of `tcp_mem`, and the least that a socket with something queued is charged with.
const PAGE_BYTES: u64 = 4 << 10;

pub(super) fn examine(host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![total(host, plan), queued(host, plan)];
    findings.extend(orphans(host, plan));
    findings
}

/// What is needed, in bytes.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// Every connection an idle tunnel, every relay's buffers full.
    idle: u64,
    /// Every connection at its dearest, and as much queued in the kernel as it allows.
    most: u64,
    kernel: u64,
}

fn need(host: &Host, plan: &Plan) -> Need {
    let connections = usize::try_from(plan.connections).unwrap_or(usize::MAX);
    let bounds = plan.config.memory_bounds(plan.cores.len(), connections);
    let kernel = plan.connections.saturating_mul(2 * SOCKET_BYTES);
    let queued = host
        .sysctl_list(TCP_MEM)
        .and_then(|pages| pages.last().copied())
        .unwrap_or(0)
        .saturating_mul(PAGE_BYTES);
    let relays = bounds.cores.saturating_mul(bounds.per_relay);
    Need {
        idle: relays
            .saturating_add(bounds.connections.saturating_mul(bounds.per_tunnel))
            .saturating_add(kernel),
        most: bounds.total.saturating_add(kernel).saturating_add(queued),
        kernel,
    }
}

/// The host's memory, or less where a control group has less.
fn available(host: &Host) -> Option<(u64, &'static str)> {
    let text = host.text("proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    let total = kibibytes.saturating_mul(1024);
    let groups = host.cgroup("memory", "memory.max", "memory.limit_in_bytes");
    let least = groups.iter().filter_map(|text| text.parse().ok()).min();
    Some(match least {
        Some(limit) if limit < total => (limit, "its control group"),
        _ => (total, "this host"),
    })
}

fn total(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "memory";
    let Need { idle, most, kernel } = need(host, plan);
    let says = format!(
        "{} with every connection idle ({} of it sockets in the kernel), {} at the most that limits and {TCP_MEM} allow",
        rounded(idle),
        rounded(kernel),
        rounded(most)
    );
    let Some((available, whose)) = available(host) else {
        return AREA.unknown(SUBJECT, says);
    };
    let says = format!("{says}; {whose} has {}", rounded(available));
    if idle > available {
        AREA.fail(
            SUBJECT,
            says,
            "add memory (or raise MemoryMax), or lower limits.connections_max",
        )
    } else if most > available {
        AREA.warn(
            SUBJECT,
            says,
            format!(
                "lower limits.connections_max, limits.fields_bytes_max or limits.relay_spill_bytes_max, or the last number of \
                 {TCP_MEM}, until it fits; or add memory"
            ),
        )
    } else {
        AREA.ok(SUBJECT, says)
    }
}

/// A message to everybody at once is queued at every client's socket, each at least a page.
fn queued(host: &Host, plan: &Plan) -> Finding {
    let pages = host
        .sysctl_list(TCP_MEM)
        .and_then(|pages| <[u64; 3]>::try_from(pages).ok());
    let clients = plan.connections;
    let both = clients.saturating_mul(2);
    let Some([low, pressure, high]) = pages else {
        return AREA.unknown(TCP_MEM, format!("needed: {both} pages"));
    };
    let says = format!("{low} {pressure} {high} pages of 4 KiB");
    let remedy = format!(
        "sysctl -w {TCP_MEM}=\"{} {} {}\" (memory that is only used when something is queued)",
        pressure.max(both) / 4 * 3,
        pressure.max(both),
        high.max(both.saturating_mul(3) / 2)
    );
    if high < clients {
        AREA.fail(
            TCP_MEM,
            format!("{says}: one message to each of {clients} clients at once is more than the kernel queues"),
            remedy,
        )
    } else if pressure < both {
        AREA.warn(
            TCP_MEM,
            format!(
                "{says}: with a page queued at each of {both} sockets the kernel shrinks windows"
            ),
            remedy,
        )
    } else {
        AREA.ok(TCP_MEM, says)
    }
}

/// Sockets that were closed with something unsent belong to nobody; above the limit they are reset.
fn orphans(host: &Host, plan: &Plan) -> Option<Finding> {
    const SUBJECT: &str = "net.ipv4.tcp_max_orphans";
    let maximum = host.sysctl(SUBJECT)?;
    let at_once = plan.connections / 4;
    Some(if maximum < at_once {
        AREA.warn(
            SUBJECT,
            format!("{maximum}: when more clients than that vanish at once, the kernel resets the connections"),
            format!("sysctl -w {SUBJECT}={at_once} (some 4 KiB each while they last)"),
        )
    } else {
        AREA.ok(SUBJECT, maximum.to_string())
    })
}

/// To three digits or so: nobody reads bytes of gibibytes.
fn rounded(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes == u64::MAX {
        "no end".to_owned()
    } else if bytes >= 10 * GIB {
        format_size(bytes / GIB * GIB)
    } else if bytes >= 1 << 20 {
        format_size(bytes >> 20 << 20)
    } else {
        format_size(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{Fixture, plan};
    use super::*;

    fn host(kibibytes: u64, tcp_mem: &str) -> Fixture {
        Fixture::new()
            .with(
                "proc/meminfo",
                &format!("MemTotal:  {kibibytes} kB\nMemFree: 1 kB\n"),
            )
            .with("proc/sys/net/ipv4/tcp_mem", tcp_mem)
    }

    #[test]
    fn idle_connections_have_to_fit() {
        let plan = plan(100_000);
        let idle = need(&host(1, "1 1 1").host(), &plan).idle;
        // A relay, and 4.5 KiB of ours and 8 KiB of the kernel's for each connection.
        assert_eq!(idle, (68 << 20) + 100_000 * (4608 + 8192));
        for (kibibytes, level) in [
            (idle / 1024 - 1, Level::Fail),
            (idle / 1024, Level::Warn),
            (64 << 20, Level::Ok),
        ] {
            let finding = total(&host(kibibytes, "1 1 1").host(), &plan);
            assert_eq!(finding.level, level, "{finding:?}");
        }
    }

    #[test]
    fn a_control_group_may_have_less_than_the_host() {
        let fixture = host(64 << 20, "1 1 1")
            .with("proc/self/cgroup", "0::/system.slice/ringgate.service")
            .with(
                "sys/fs/cgroup/system.slice/ringgate.service/memory.max",
                "max",
            )
            .with("sys/fs/cgroup/system.slice/memory.max", "268435456");
        assert_eq!(
            available(&fixture.host()),
            Some((256 << 20, "its control group"))
        );
        assert_eq!(total(&fixture.host(), &plan(100_000)).level, Level::Fail);
    }

    #[test]
    fn every_client_can_have_a_page_queued() {
        for (tcp_mem, level) in [
            ("150000 200000 300000", Level::Ok),
            ("90000 199999 300000", Level::Warn),
            ("10 20 99999", Level::Fail),
            ("10 20", Level::Unknown),
            ("a lot", Level::Unknown),
        ] {
            let finding = queued(&host(1, tcp_mem).host(), &plan(100_000));
            assert_eq!(finding.level, level, "{tcp_mem}");
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let finding = total(
            &host(1 << 20, "1 1 18446744073709551615").host(),
            &plan(u64::MAX),
        );
        assert_eq!(finding.level, Level::Fail);
    }
}

//! io_uring: whether it may be used, what this kernel has of it, and the locked memory that rings are charged to.
#![forbid(unsafe_code)]

use super::finding::{Area, Finding};
use super::host::{Capability, Host};
use super::plan::Plan;
use crate::document::quantity::format_size;
use crate::uring::probe::{Features, Unavailable, probe_of};

const AREA: Area = Area::IoUring;

/// The oldest kernel that is served on.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// From this kernel on, rings were seen to be charged to the limit of locked memory.
const KERNEL_CHARGING_RINGS: (u32, u32) = (6, 18);

/// What a worker's rings lock, in bytes: the relay's 1,024 submissions of 64 B, its completions (16 B each, as many as
/// sockets, 32 Ki at most), its ring of buffers, and the edge's ring.
const WORKER_LOCKED_BYTES: u64 = (64 << 10) + (512 << 10) + (64 << 10) + (192 << 10);

pub(super) fn examine(host: &Host, plan: &Plan) -> Vec<Finding> {
    let sockets = plan.connections.saturating_mul(2) / plan.workers().max(1);
    let sockets = usize::try_from(sockets).unwrap_or(usize::MAX);
    let tried = probe_of(sockets, plan.config.limits.relay_buffer_bytes);
    let mut findings = vec![kernel(host), sysctl(host, tried.is_ok())];
    findings.extend(trial(&tried));
    findings.push(locked_memory(host, plan));
    findings
}

fn kernel(host: &Host) -> Finding {
    const SUBJECT: &str = "kernel";
    let release = host.kernel_release().unwrap_or_default();
    match host.kernel() {
        None => AREA.unknown(SUBJECT, "its version"),
        Some(version) if version < KERNEL_MIN => AREA.fail(
            SUBJECT,
            format!("Linux {release} lacks what relays rest on"),
            "use Linux 6.1 or later; 6.12 has everything",
        ),
        Some(_) => AREA.ok(SUBJECT, format!("Linux {release}")),
    }
}

/// 0 for everybody, 1 for those in `kernel.io_uring_group`, 2 for nobody (Linux 6.6; before it there is no such setting).
fn sysctl(host: &Host, usable: bool) -> Finding {
    const SUBJECT: &str = "kernel.io_uring_disabled";
    match host.sysctl(SUBJECT) {
        None => AREA.ok(SUBJECT, "is not there: nothing is forbidden"),
        Some(0) => AREA.ok(SUBJECT, "0: everybody may use it"),
        Some(1) if usable => AREA.warn(
            SUBJECT,
            "1: this user may use io_uring, others may not",
            "make the group of the user that ringgate runs as kernel.io_uring_group, or set it to 0",
        ),
        Some(value) => AREA.fail(
            SUBJECT,
            format!("{value}: this user may not use io_uring"),
            "sysctl -w kernel.io_uring_disabled=0",
        ),
    }
}

/// Each feature by name, with the kernel that brought it.
fn trial(tried: &Result<Features, Unavailable>) -> Vec<Finding> {
    match tried {
        Err(error) => vec![AREA.fail(
            "a relay's ring",
            error.to_string(),
            "see there; it was tried as a start would, by this user",
        )],
        Ok(features) => features
            .list()
            .into_iter()
            .map(|(name, found)| {
                if found {
                    AREA.ok(name, "is there")
                } else {
                    AREA.warn(
                        name,
                        "is missing: it works without, at more CPU or memory a message",
                        "use a newer kernel",
                    )
                }
            })
            .collect(),
    }
}

/// The limit is the user's, over all its processes, and CAP_IPC_LOCK is above it.
fn locked_memory(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "locked memory (ulimit -l)";
    let needed = plan.workers().saturating_mul(WORKER_LOCKED_BYTES);
    if host.has(Capability::IpcLock) == Some(true) {
        return AREA.ok(
            SUBJECT,
            format!(
                "no limit with CAP_IPC_LOCK, needed {} otherwise",
                format_size(needed)
            ),
        );
    }
    let Some(limit) = host.limit("Max locked memory") else {
        return AREA.unknown(SUBJECT, format!("needed: {}", format_size(needed)));
    };
    if limit.soft == u64::MAX {
        return AREA.ok(SUBJECT, "no limit");
    }
    let says = format!(
        "the limit is {}, and the rings of {} take up to {}",
        format_size(limit.soft),
        crate::document::plural(plan.cores.len(), "worker"),
        format_size(needed)
    );
    let remedy = "LimitMEMLOCK=infinity in the systemd unit (the shipped one has it), or `ulimit -l unlimited`";
    if limit.soft >= needed {
        AREA.ok(SUBJECT, says)
    } else if host
        .kernel()
        .is_some_and(|kernel| kernel < KERNEL_CHARGING_RINGS)
    {
        AREA.warn(
            SUBJECT,
            format!("{says}, which this kernel may not count and later ones do"),
            remedy,
        )
    } else {
        AREA.fail(SUBJECT, says, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{Fixture, limits, plan};
    use super::*;

    #[test]
    fn old_kernels_fail() {
        for (release, level) in [
            ("6.1.0-31-amd64", Level::Ok),
            ("7.0.1", Level::Ok),
            ("5.15.0", Level::Fail),
            ("6.0.9", Level::Fail),
            ("unknown", Level::Unknown),
        ] {
            let fixture = Fixture::new().with("proc/sys/kernel/osrelease", release);
            assert_eq!(kernel(&fixture.host()).level, level, "{release}");
        }
    }

    #[test]
    fn forbidding_is_told_from_restricting() {
        for (value, usable, level) in [
            ("0", true, Level::Ok),
            ("1", true, Level::Warn),
            ("1", false, Level::Fail),
            ("2", false, Level::Fail),
        ] {
            let fixture = Fixture::new().with("proc/sys/kernel/io_uring_disabled", value);
            assert_eq!(sysctl(&fixture.host(), usable).level, level, "{value}");
        }
        assert_eq!(sysctl(&Fixture::new().host(), true).level, Level::Ok);
    }

    fn locked(kernel: &str, limit: u64, capabilities: &str) -> Level {
        let fixture = Fixture::new()
            .with("proc/sys/kernel/osrelease", kernel)
            .with("proc/self/status", capabilities)
            .with(
                "proc/self/limits",
                &limits("Max locked memory", limit, limit),
            );
        locked_memory(&fixture.host(), &plan(1000)).level
    }

    #[test]
    fn rings_count_as_locked_memory() {
        let none = "CapEff:\t0000000000000000";
        assert_eq!(locked("6.18.0", 8 << 20, none), Level::Ok);
        assert_eq!(locked("6.18.0", 64 << 10, none), Level::Fail);
        assert_eq!(locked("6.1.0", 64 << 10, none), Level::Warn);
        assert_eq!(locked("6.18.0", 0, "CapEff:\t0000000000004000"), Level::Ok);
    }

    #[test]
    fn features_are_named_with_their_kernels() {
        let Ok(tried) = probe_of(2000, 1 << 20) else {
            // Without io_uring nothing else of the program can be tested either.
            return;
        };
        let findings = trial(&Ok(tried));
        assert!(
            findings.iter().all(|f| f.subject.contains("Linux ")),
            "{findings:?}"
        );
    }
}

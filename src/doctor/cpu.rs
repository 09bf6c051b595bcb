//! CPU: a core for each worker, that nobody takes away, that is awake and fast when a message comes.
#![forbid(unsafe_code)]

use super::finding::{Area, Finding};
use super::host::{Capability, Host, core_list};
use super::plan::Plan;
use crate::document::plural;

const AREA: Area = Area::Cpu;

/// A sleep from which waking takes longer than this, in microseconds, shows in the tail of an idle core's messages.
const WAKE_MICROSECONDS_MAX: u64 = 50;

/// The kernel that honours the relays' short slice.
const KERNEL_WITH_SLICES: (u32, u32) = (6, 12);

pub(super) fn examine(host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![cores(host, plan), quota(host, plan)];
    findings.extend(siblings(host, plan));
    findings.extend(scheduling(host, plan));
    findings.extend(governor(host, plan));
    findings.extend(sleeps(host, plan));
    findings
}

fn listed(cores: &[usize]) -> String {
    let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

fn cores(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "cores";
    let workers = plural(plan.cores.len(), "worker");
    let Some(allowed) = host.allowed_cores() else {
        return AREA.unknown(SUBJECT, format!("{workers} on {}", listed(&plan.cores)));
    };
    let missing: Vec<_> = plan
        .cores
        .iter()
        .copied()
        .filter(|core| !allowed.contains(core))
        .collect();
    if missing.is_empty() {
        return AREA.ok(
            SUBJECT,
            format!(
                "{workers} on {}, of {} that may be used",
                listed(&plan.cores),
                allowed.len()
            ),
        );
    }
    AREA.fail(
        SUBJECT,
        format!(
            "workers.cores has {}, which may not be used; allowed: {}",
            listed(&missing),
            listed(&allowed)
        ),
        "correct workers.cores, or the unit's AllowedCPUs and CPUAffinity",
    )
}

/// Where a quota is smaller than what the workers can use, the kernel stops all of them until its period is over.
fn quota(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "CPU quota of the control group";
    let mut least: Option<f64> = None;
    for text in host.cgroup("cpu", "cpu.max", "cpu.cfs_quota_us") {
        let mut words = text.split_whitespace().map(str::parse::<f64>);
        let Some(Ok(quota)) = words.next() else {
            continue;
        };
        // Version 1 has the period in a file of its own; 100 ms is what everybody has.
        let period = words.next().and_then(Result::ok).unwrap_or(100_000.0);
        if quota > 0.0 && period > 0.0 {
            least = Some(least.map_or(quota / period, |least| least.min(quota / period)));
        }
    }
    match least {
        None => AREA.ok(SUBJECT, "none"),
        Some(cpus) if cpus + 0.005 < plan.cores.len() as f64 => AREA.warn(
            SUBJECT,
            format!(
                "{cpus:.2} CPUs for {}: once used up, everything stands still for up to 100 ms",
                plural(plan.cores.len(), "worker")
            ),
            "raise CPUQuota (or the container's cpus), or name fewer cores in workers.cores",
        ),
        Some(cpus) => AREA.ok(SUBJECT, format!("{cpus:.2} CPUs")),
    }
}

/// Two workers on the two threads of one core share its units, and each is slower than alone.
fn siblings(host: &Host, plan: &Plan) -> Option<Finding> {
    let shared: Vec<_> = plan
        .cores
        .iter()
        .filter(|core| {
            let path = format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            let siblings = host.text(&path).and_then(|text| core_list(&text));
            let others = siblings.unwrap_or_default();
            others
                .iter()
                .any(|other| other != *core && plan.cores.contains(other))
        })
        .copied()
        .collect();
    if shared.is_empty() {
        return None;
    }
    Some(AREA.warn(
        "hyper-threads",
        format!("workers on {} share cores with each other", listed(&shared)),
        "name one thread a core in workers.cores, and leave the others to the kernel's network work",
    ))
}

fn scheduling(host: &Host, plan: &Plan) -> Option<Finding> {
    const SUBJECT: &str = "scheduling of relays";
    if let Some(priority) = plan.config.workers.relay_fifo {
        let limit = host.limit("Max realtime priority");
        let allowed = host.has(Capability::SysNice) == Some(true)
            || limit.is_some_and(|limit| limit.soft >= u64::from(priority));
        return Some(if allowed {
            AREA.ok(SUBJECT, format!("real time with priority {priority}"))
        } else {
            AREA.warn(
                SUBJECT,
                format!("workers.relay_fifo is {priority}, and this process may not have it"),
                "AmbientCapabilities=CAP_SYS_NICE or LimitRTPRIO in the systemd unit",
            )
        });
    }
    if plan.config.workers.relay_slice.is_zero() {
        return None;
    }
    let kernel = host.kernel()?;
    Some(if kernel < KERNEL_WITH_SLICES {
        AREA.warn(
            SUBJECT,
            "kernels before 6.12 ignore workers.relay_slice: handshakes delay the messages of open sockets more",
            "use Linux 6.12 or later",
        )
    } else {
        AREA.ok(SUBJECT, "this kernel honours workers.relay_slice")
    })
}

fn governor(host: &Host, plan: &Plan) -> Option<Finding> {
    const SUBJECT: &str = "frequency governor";
    let mut slow = Vec::new();
    let mut seen = false;
    for core in &plan.cores {
        let path = format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        if let Some(governor) = host.text(&path) {
            seen = true;
            if governor != "performance" {
                slow.push((*core, governor));
            }
        }
    }
    let Some((_, governor)) = slow.first() else {
        // Virtual machines have none: their host decides.
        return seen.then(|| AREA.ok(SUBJECT, "performance"));
    };
    let cores: Vec<_> = slow.iter().map(|(core, _)| *core).collect();
    Some(AREA.warn(
        SUBJECT,
        format!(
            "`{governor}` on {}: a message that wakes a core finds it slow",
            listed(&cores)
        ),
        "tuning/apply cpu --apply, or cpupower frequency-set -g performance",
    ))
}

fn sleeps(host: &Host, plan: &Plan) -> Option<Finding> {
    const SUBJECT: &str = "idle states";
    let mut deepest: Option<(u64, String)> = None;
    let mut seen = false;
    for core in &plan.cores {
        let base = format!("sys/devices/system/cpu/cpu{core}/cpuidle");
        for state in host.names(&base) {
            let file = |name: &str| host.text(&format!("{base}/{state}/{name}"));
            let Some(latency) = file("latency").and_then(|text| text.parse().ok()) else {
                continue;
            };
            seen = true;
            let disabled = file("disable").is_some_and(|text| text != "0");
            if !disabled && deepest.as_ref().is_none_or(|(most, _)| latency > *most) {
                deepest = Some((latency, file("name").unwrap_or(state)));
            }
        }
    }
    match deepest {
        Some((latency, name)) if latency > WAKE_MICROSECONDS_MAX => Some(AREA.warn(
            SUBJECT,
            format!("waking a core from {name} takes {latency} us"),
            "tuning/apply cpu --apply disables states of more than 50 us (it costs power)",
        )),
        _ => seen.then(|| AREA.ok(SUBJECT, "none from which waking takes more than 50 us")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{Fixture, plan_on};
    use super::*;

    #[test]
    fn workers_need_cores_that_may_be_used() {
        let fixture = Fixture::new().with("proc/self/status", "Cpus_allowed_list:\t0-3");
        for (wanted, level) in [(vec![0, 3], Level::Ok), (vec![0, 4], Level::Fail)] {
            assert_eq!(cores(&fixture.host(), &plan_on(&wanted)).level, level);
        }
        assert_eq!(
            cores(&Fixture::new().host(), &plan_on(&[0])).level,
            Level::Unknown
        );
    }

    #[test]
    fn a_quota_below_the_workers_throttles() {
        for (group, file, text, level) in [
            (
                "0::/a",
                "sys/fs/cgroup/a/cpu.max",
                "200000 100000",
                Level::Ok,
            ),
            (
                "0::/a",
                "sys/fs/cgroup/a/cpu.max",
                "199000 100000",
                Level::Warn,
            ),
            (
                "0::/a",
                "sys/fs/cgroup/cpu.max",
                "50000 100000",
                Level::Warn,
            ),
            ("0::/a", "sys/fs/cgroup/a/cpu.max", "max 100000", Level::Ok),
            (
                "2:cpu:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us",
                "150000",
                Level::Warn,
            ),
            (
                "2:cpu:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us",
                "-1",
                Level::Ok,
            ),
        ] {
            let fixture = Fixture::new()
                .with("proc/self/cgroup", group)
                .with(file, text);
            assert_eq!(
                quota(&fixture.host(), &plan_on(&[0, 1])).level,
                level,
                "{text}"
            );
        }
    }

    #[test]
    fn two_workers_do_not_share_a_core() {
        let path = "sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
        let fixture = Fixture::new().with(path, "0,2");
        assert!(siblings(&fixture.host(), &plan_on(&[0, 1])).is_none());
        let finding = siblings(&fixture.host(), &plan_on(&[0, 2])).unwrap();
        assert_eq!(finding.level, Level::Warn);
    }

    #[test]
    fn slow_governors_and_deep_sleeps_are_named() {
        let state = "sys/devices/system/cpu/cpu0/cpuidle/state2";
        let deep = Fixture::new()
            .with(
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "powersave",
            )
            .with(&format!("{state}/latency"), "133")
            .with(&format!("{state}/name"), "C6");
        let host = deep.host();
        assert_eq!(governor(&host, &plan_on(&[0])).unwrap().level, Level::Warn);
        let finding = sleeps(&host, &plan_on(&[0])).unwrap();
        assert!(
            finding.level == Level::Warn && finding.says.contains("C6"),
            "{finding:?}"
        );
        let disabled = deep.with(&format!("{state}/disable"), "1");
        assert_eq!(
            sleeps(&disabled.host(), &plan_on(&[0])).unwrap().level,
            Level::Ok
        );
        assert_eq!(sleeps(&Fixture::new().host(), &plan_on(&[0])), None);
    }
}

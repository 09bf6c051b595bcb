//! Descriptors: the process's limits, what the kernel lets a limit be, and what the whole host has.
#![forbid(unsafe_code)]

use super::finding::{Area, Finding};
use super::host::Host;
use super::plan::{Plan, wide};

const AREA: Area = Area::Descriptors;

pub(super) fn examine(host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![
        process_limit(host, plan),
        kernel_maximum(host, plan),
        whole_host(host, plan),
    ];
    findings.extend(own_limit(plan));
    findings
}

/// ringgate's own bound, where the configuration has one.
fn own_limit(plan: &Plan) -> Option<Finding> {
    const SUBJECT: &str = "limits.connections_max";
    let maximum = wide(plan.config.limits.connections_max);
    match maximum {
        0 => None,
        _ if maximum < plan.connections => Some(AREA.fail(
            SUBJECT,
            format!(
                "{maximum}: who comes beyond it gets 503, on TLS listeners a closed connection"
            ),
            format!(
                "set it to {} or more, or leave it out, and the descriptor limit decides",
                plan.connections
            ),
        )),
        _ => Some(AREA.ok(SUBJECT, maximum.to_string())),
    }
}

/// A start raises the soft limit to the hard one, so that the hard one is what counts.
fn process_limit(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "open files (ulimit -n)";
    let needed = plan.descriptors();
    let Some(limit) = host.limit("Max open files") else {
        return AREA.unknown(SUBJECT, format!("needed: {needed}"));
    };
    if limit.hard < needed {
        let possible = plan
            .connections
            .saturating_sub((needed - limit.hard).div_ceil(2));
        return AREA.fail(
            SUBJECT,
            format!(
                "the hard limit is {}, and {needed} are needed: two a connection and a reserve. Newcomers get 503 beyond \
                 {possible}",
                limit.hard
            ),
            format!("LimitNOFILE={needed} in the systemd unit, or `ulimit -n {needed}` as root before the start"),
        );
    }
    AREA.ok(
        SUBJECT,
        format!(
            "hard limit {}, soft limit {} (raised at the start), needed {needed}",
            limit.hard, limit.soft
        ),
    )
}

/// No process's limit can be set above it.
fn kernel_maximum(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "fs.nr_open";
    let needed = plan.descriptors();
    match host.sysctl(SUBJECT) {
        None => AREA.unknown(SUBJECT, format!("needed: {needed}")),
        Some(maximum) if maximum < needed => AREA.fail(
            SUBJECT,
            format!("{maximum} is the most that a process's limit can be, and {needed} are needed"),
            format!("sysctl -w fs.nr_open={}", needed.next_power_of_two()),
        ),
        Some(maximum) => AREA.ok(SUBJECT, format!("{maximum}, needed {needed}")),
    }
}

fn whole_host(host: &Host, plan: &Plan) -> Finding {
    const SUBJECT: &str = "fs.file-max";
    let needed = plan.descriptors();
    let taken = host.sysctl_list("fs.file-nr");
    let taken = taken
        .and_then(|numbers| numbers.first().copied())
        .unwrap_or(0);
    match host.sysctl(SUBJECT) {
        None => AREA.unknown(SUBJECT, format!("needed: {needed}")),
        Some(maximum) if maximum.saturating_sub(taken) < needed => AREA.fail(
            SUBJECT,
            format!("{maximum} for the whole host, {taken} of them taken, and {needed} are needed"),
            format!(
                "sysctl -w fs.file-max={}",
                taken.saturating_add(needed).saturating_mul(2)
            ),
        ),
        Some(maximum) => AREA.ok(
            SUBJECT,
            format!("{maximum}, {taken} of them taken, needed {needed}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{Fixture, limits, plan};
    use super::*;

    fn check(hard: u64, nr_open: u64, file_max: u64, expected: [Level; 3]) {
        let fixture = Fixture::new()
            .with("proc/self/limits", &limits("Max open files", 1024, hard))
            .with("proc/sys/fs/nr_open", &nr_open.to_string())
            .with("proc/sys/fs/file-max", &file_max.to_string())
            .with("proc/sys/fs/file-nr", "1000\t0\t9999");
        let levels: Vec<_> = examine(&fixture.host(), &plan(100_000))
            .iter()
            .map(|finding| finding.level)
            .collect();
        assert_eq!(levels, expected, "{hard} {nr_open} {file_max}");
    }

    #[test]
    fn two_descriptors_a_connection_and_a_reserve_are_needed() {
        use Level::{Fail, Ok};
        let needed = plan(100_000).descriptors();
        assert!((200_001..200_200).contains(&needed), "{needed}");
        check(needed, needed, needed + 1000, [Ok, Ok, Ok]);
        check(needed - 1, needed, needed + 1000, [Fail, Ok, Ok]);
        check(needed, needed - 1, needed + 1000, [Ok, Fail, Ok]);
        check(needed, needed, needed + 999, [Ok, Ok, Fail]);
    }

    #[test]
    fn the_configuration_may_have_a_smaller_bound() {
        let mut plan = plan(100);
        assert_eq!(own_limit(&plan), None);
        for (maximum, level) in [(99, Level::Fail), (100, Level::Ok)] {
            plan.config.limits.connections_max = maximum;
            assert_eq!(own_limit(&plan).unwrap().level, level, "{maximum}");
        }
    }

    #[test]
    fn the_remedy_has_the_number() {
        let fixture =
            Fixture::new().with("proc/self/limits", &limits("Max open files", 1024, 4096));
        let plan = plan(100_000);
        let finding = process_limit(&fixture.host(), &plan);
        let remedy = finding.remedy.unwrap();
        assert!(remedy.contains(&plan.descriptors().to_string()), "{remedy}");
    }
}

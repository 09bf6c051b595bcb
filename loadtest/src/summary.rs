//! Turns what was seen of a run into named figures.

use crate::observe::Cost;
use crate::report::Report;
use crate::role::Role;
use crate::run::Seen;

pub(crate) fn summarize(seen: &Seen) -> Report {
    let plan = &seen.plan;
    let mut report = Report::new(plan.scenario);
    report.add("threads", seen.threads);
    report.add(
        if plan.scenario == "churn" {
            "clients"
        } else {
            "connections_asked"
        },
        plan.roles.len(),
    );
    if plan.scenario != "churn" {
        report.add("connections", seen.open);
    }
    if let Some(name) = plan.loop_name() {
        report.add("loop", name);
    }
    report.add("seconds", seen.seconds);
    if seen.interrupted {
        report.add("interrupted", true);
    }
    add_counts(seen, &mut report);
    seen.tally.latency.report("latency", &mut report);
    seen.tally.handshake.report("handshake", &mut report);
    seen.tally.ping.report("ping", &mut report);
    if let Some(costs) = &seen.costs {
        add_costs(seen, costs, &mut report);
    }
    if let Some(error) = &seen.observe_error {
        report.add("observe_error", error.as_str());
    }
    report.add_failures(&seen.tally.failures);
    report
}

fn add_counts(seen: &Seen, report: &mut Report) {
    let (tally, plan) = (&seen.tally, &seen.plan);
    let per_second = |count: u64| ratio(count as f64, seen.seconds);
    if plan
        .roles
        .iter()
        .any(|role| role.sends() || role.is_pushed_to())
    {
        report.add("messages", tally.messages);
        report.add("messages_per_second", per_second(tally.messages));
        report.add("payload_bytes_per_second", per_second(tally.bytes));
    }
    if plan.has(Role::Churn) {
        report.add(
            if plan.scenario == "churn" {
                "connections"
            } else {
                "churned_connections"
            },
            tally.connections,
        );
        report.add("connections_per_second", per_second(tally.connections));
    }
    if plan.has(Role::Slow) {
        report.add("slow_messages", tally.slow_messages);
        report.add("slow_messages_skipped", tally.slow_missed);
        report.add("slow_connections_ended", tally.slow_ended);
    }
    if plan.has(Role::OneWay) {
        report.add("connections_without_receipt", tally.unverified);
    }
    if plan.storm_interval.is_some() {
        add_storms(seen, report);
    }
}

/// A storm that did not end counts in none of these: the connections it lacks are errors.
fn add_storms(seen: &Seen, report: &mut Report) {
    let ended = seen.tally.recoveries.values();
    let seconds: Vec<_> = ended
        .filter(|recovery| recovery.workers == seen.threads)
        .map(|recovery| recovery.took.as_secs_f64())
        .collect();
    report.add("storms_recovered", seconds.len());
    if seconds.is_empty() {
        return;
    }
    let slowest = seconds.iter().copied().fold(0.0, f64::max);
    report.add("recovery_seconds_max", slowest);
    let reconnects = (seconds.len() * seen.plan.roles.len()) as f64;
    let away = seconds.iter().sum();
    report.add("reconnects_per_second", ratio(reconnects, away));
}

fn add_costs(seen: &Seen, [baseline, before, after]: &[Cost; 3], report: &mut Report) {
    let tally = &seen.tally;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    report.add("cpu_share", ratio(cpu, seen.seconds));
    if tally.relayed > 0 {
        report.add(
            "cpu_us_per_relayed_message",
            ratio(cpu * 1e6, tally.relayed as f64),
        );
    }
    if tally.connections > 0 && tally.relayed == 0 {
        report.add(
            "cpu_us_per_connection",
            ratio(cpu * 1e6, tally.connections as f64),
        );
    }
    baseline.report("before", report);
    after.report("after", report);
    if seen.open == 0 {
        return;
    }
    let growth = |value: fn(&Cost) -> u64| {
        let grown = value(after) as f64 - value(baseline) as f64;
        grown / seen.open as f64
    };
    report.add(
        "rss_bytes_per_connection",
        growth(|cost| cost.memory.resident),
    );
    report.add(
        "pss_bytes_per_connection",
        growth(|cost| cost.memory.proportional),
    );
    report.add(
        "anonymous_bytes_per_connection",
        growth(|cost| cost.memory.anonymous),
    );
    report.add(
        "descriptors_per_connection",
        growth(|cost| cost.descriptors),
    );
    report.add(
        "machine_socket_buffer_bytes_per_connection",
        growth(|cost| cost.kernel.socket_buffers),
    );
    if after.kernel.socket_slabs.is_some() {
        report.add(
            "machine_socket_slab_bytes_per_connection",
            growth(|cost| cost.kernel.socket_slabs.unwrap_or_default()),
        );
    }
}

/// Nothing of nothing is nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

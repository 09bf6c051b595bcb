//! What is the process's own: its build, memory, descriptors, configuration, certificates, names it looks up.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::page::{Name, Page};
use super::{ProcessFacts, Sources};
use crate::config::Config;
use crate::observe::metrics::{DnsMetrics, ReloadMetrics};
use crate::observe::process;
use crate::observe::prometheus::Kind::{Counter, Gauge};

pub(super) fn render(sources: &Sources, workers: usize, page: &mut Page<'_>) {
    let config = sources.running.config();
    render_facts(&sources.facts, &config, workers, page);
    render_resources(page);
    page.single(
        Name(
            "ringgate_access_log_lines_dropped_total",
            Counter,
            "Lines that found the log's queue full, or that could not be written.",
        ),
        sources.access_log.dropped(),
    );
    if let Some(messages) = &sources.messages {
        page.single(
            Name(
                "ringgate_message_lines_dropped_total",
                Counter,
                "The program's own messages that found the queue full, or that could not be written.",
            ),
            messages.dropped(),
        );
    }
    render_configuration(&sources.reloads, &config, page);
    render_certificates(&config, page);
}

fn render_facts(facts: &ProcessFacts, config: &Config, workers: usize, page: &mut Page<'_>) {
    let build = Name(
        "ringgate_build_info",
        Gauge,
        "Always 1; the version is its label.",
    );
    page.family(build).sample(&[("version", facts.version)], 1);
    let started = facts.started_at.duration_since(UNIX_EPOCH);
    page.single(
        Name(
            "ringgate_start_time_seconds",
            Gauge,
            "When the process started, in seconds since 1970.",
        ),
        seconds(started.unwrap_or_default()),
    );
    page.single(
        Name(
            "ringgate_workers",
            Gauge,
            "Workers, one for each core in use.",
        ),
        workers,
    );
    let connections_max = match config.limits.connections_max {
        0 => facts.connections_max,
        max => max.min(facts.connections_max),
    };
    page.single(
        Name(
            "ringgate_connections_limit",
            Gauge,
            "Client connections that are let in, tunnels included.",
        ),
        connections_max,
    );
    page.single(
        Name(
            "ringgate_relay_buffer_limit_bytes",
            Gauge,
            "Provided buffers of all relays.",
        ),
        facts.relay_buffer_bytes * workers,
    );
    page.single(
        Name(
            "ringgate_relay_spill_limit_bytes",
            Gauge,
            "Memory that all relays may use beyond their provided buffers.",
        ),
        facts.relay_spill_bytes_max * workers,
    );
}

fn render_resources(page: &mut Page<'_>) {
    let status = process::memory();
    let read = [
        (
            Name(
                "ringgate_process_resident_memory_bytes",
                Gauge,
                "Resident memory of the process.",
            ),
            status.resident,
        ),
        (
            Name(
                "ringgate_process_virtual_memory_bytes",
                Gauge,
                "Address space of the process.",
            ),
            status.virtual_,
        ),
        (
            Name(
                "ringgate_process_swapped_memory_bytes",
                Gauge,
                "Memory of the process that was swapped out.",
            ),
            status.swapped,
        ),
        (
            Name(
                "ringgate_process_open_fds",
                Gauge,
                "Open descriptors of the process.",
            ),
            process::open_descriptors(),
        ),
        (
            Name(
                "ringgate_process_max_fds",
                Gauge,
                "Descriptors that the process may have open.",
            ),
            process::descriptors_max(),
        ),
    ];
    for (name, number) in read {
        if let Some(number) = number {
            page.single(name, number);
        }
    }
    if let Some(time) = process::cpu_time() {
        let name = Name(
            "ringgate_process_cpu_seconds_total",
            Counter,
            "Time on the CPU, of all threads, user and system.",
        );
        page.single(name, seconds(time));
    }
}

fn render_configuration(reloads: &ReloadMetrics, config: &Config, page: &mut Page<'_>) {
    page.single(
        Name(
            "ringgate_config_generation",
            Gauge,
            "Reloads that took effect since the start.",
        ),
        reloads.generation.value(),
    );
    let mut results = page.family(Name(
        "ringgate_config_reloads_total",
        Counter,
        "Reloads, by what came of them.",
    ));
    results.sample(&[("result", "success")], reloads.successes.value());
    results.sample(&[("result", "failure")], reloads.failures.value());
    page.single(
        Name(
            "ringgate_config_last_reload_successful",
            Gauge,
            "1 unless the latest reload failed; the start counts as one.",
        ),
        1 - reloads.failed_last.value().min(1),
    );
    page.single(
        Name(
            "ringgate_config_last_reload_success_timestamp_seconds",
            Gauge,
            "When what runs was loaded, in seconds since 1970.",
        ),
        reloads.loaded_at.value(),
    );
    if let Some(fingerprint) = config.fingerprint {
        page.single(
            Name(
                "ringgate_config_hash",
                Gauge,
                "Tells configurations apart: 48 bits of a hash over the file and all that it names.",
            ),
            fingerprint.number(),
        );
    }
}

/// Of several certificates for one name, the one that expires first counts.
fn render_certificates(config: &Config, page: &mut Page<'_>) {
    let mut expiries: BTreeMap<String, u64> = BTreeMap::new();
    for certificate in &config.tls.certificates {
        let Some((_, not_after)) = certificate.validity() else {
            continue;
        };
        let address = || certificate.addresses().first().map(ToString::to_string);
        let name = certificate.names.first().cloned().or_else(address);
        let expiry = expiries
            .entry(name.unwrap_or_default())
            .or_insert(not_after);
        *expiry = not_after.min(*expiry);
    }
    let mut family = page.family(Name(
        "ringgate_certificate_expiry_timestamp_seconds",
        Gauge,
        "When a certificate expires, in seconds since 1970, by the first name that it is for.",
    ));
    for (name, expiry) in &expiries {
        family.sample(&[("name", name)], expiry);
    }
}

pub(super) fn render_dns(dns: &DnsMetrics, page: &mut Page<'_>) {
    let mut results = page.family(Name(
        "ringgate_dns_queries_total",
        Counter,
        "Names of backends that the system was asked for, by what it said.",
    ));
    results.sample(&[("result", "found")], dns.found.value());
    results.sample(&[("result", "not_found")], dns.not_found.value());
    page.histogram(
        (
            "ringgate_dns_query_duration_seconds",
            "How long the system took to resolve a name.",
        ),
        &dns.duration,
    );
}

/// Whole microseconds say more than any of these needs, and `f64` writes them without an exponent.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

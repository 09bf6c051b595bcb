use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::close::{CloseReason, Side};
use crate::observe::series::{Core, Key};
use crate::proto::frame::FrameError;

/// Every label there is.
const LABELS: [&str; 15] = [
    "api",
    "backend",
    "class",
    "code",
    "core",
    "environment",
    "group",
    "le",
    "name",
    "reason",
    "result",
    "resumed",
    "side",
    "status",
    "version",
];

fn registry(workers: usize) -> Registry {
    let facts = ProcessFacts {
        version: "1.2.3",
        started_at: UNIX_EPOCH + Duration::from_millis(1_500),
        connections_max: 1000,
        relay_buffer_bytes: 1 << 20,
        relay_spill_bytes_max: 1 << 18,
    };
    let mut registry = Registry::new(Sources {
        facts,
        access_log: AccessLog::off().0,
        messages: None,
        reloads: Arc::default(),
        dns: Arc::default(),
        running: Running::new(Arc::new(Config::base())),
        book: Book::default(),
    });
    for core in 0..workers {
        registry.add_worker(core, Arc::default(), Arc::default());
    }
    registry
}

fn scrape(registry: &Registry) -> HashMap<String, f64> {
    scrape_in(registry, Detail::Sums)
}

/// Samples by name with labels, after checking what the format demands.
fn scrape_in(registry: &Registry, detail: Detail) -> HashMap<String, f64> {
    let mut text = String::new();
    registry.render(detail, &mut text);
    assert!(text.ends_with('\n'));
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let (mut helped, mut current) = ("", ("", ""));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').unwrap().0;
            assert!(families.insert(helped), "family twice: {helped}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            current = kind.split_once(' ').unwrap();
            assert_eq!(current.0, helped, "TYPE without its HELP");
            check_name(current);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            check_series(series, current);
            let value = value.parse().unwrap();
            let twice = samples.insert(series.to_owned(), value);
            assert!(twice.is_none(), "sample twice: {series}");
        }
    }
    assert!(families.len() > 30);
    samples
}

fn check_name((name, kind): (&str, &str)) {
    assert!(name.starts_with("ringgate_"), "{name}");
    assert!(
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
        "{name}"
    );
    assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
    assert!(["counter", "gauge", "histogram"].contains(&kind));
}

fn check_series(series: &str, (family, kind): (&str, &str)) {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let suffix = name.strip_prefix(family).unwrap();
    match kind {
        "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{series}"),
        _ => assert_eq!(suffix, "", "{series}"),
    }
    let labels = labels.strip_suffix('}').unwrap();
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').unwrap();
        assert!(LABELS.contains(&name), "{series}");
        assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'));
    }
}

#[test]
fn output_is_well_formed() {
    let samples = scrape(&registry(2));
    assert_eq!(samples["ringgate_build_info{version=\"1.2.3\"}"], 1.0);
    assert_eq!(samples["ringgate_start_time_seconds"], 1.5);
    assert_eq!(samples["ringgate_workers"], 2.0);
    assert_eq!(
        samples["ringgate_relay_buffer_limit_bytes"],
        f64::from(2 << 20)
    );
    assert!(samples["ringgate_process_resident_memory_bytes"] > 1e5);
    assert!(samples["ringgate_process_open_fds"] > 2.0);
    scrape(&registry(0));
}

#[test]
fn workers_are_summed() {
    let registry = registry(2);
    for (n, worker) in (1..).zip(&registry.workers) {
        let Worker { edge, relay, .. } = worker;
        edge.accepted.add(n);
        edge.connections.add(n);
        edge.refused.count(CloseReason::NoRoute);
        edge.handshake.observe_time(Duration::from_millis(n));
        relay.tunnels.add(10 * n);
        relay.from_client.bytes.add(100 * n);
        relay.from_backend.closes.count(Some(4321));
        relay.closed.count(
            CloseReason::BadFrame(Side::Client, FrameError::Masking),
            None,
        );
    }
    let samples = scrape(&registry);
    for (series, value) in [
        ("ringgate_connections_accepted_total", 3.0),
        ("ringgate_connections", 33.0),
        ("ringgate_edge_connections", 3.0),
        ("ringgate_tunnels", 30.0),
        ("ringgate_requests_refused_total{reason=\"no_route\"}", 2.0),
        (
            "ringgate_tunnels_closed_total{reason=\"bad_frame\",side=\"client\"}",
            2.0,
        ),
        ("ringgate_tunnel_bytes_total{side=\"client\"}", 300.0),
        ("ringgate_tunnel_bytes_total{side=\"backend\"}", 0.0),
        (
            "ringgate_close_frames_total{side=\"backend\",code=\"4000-4999\"}",
            2.0,
        ),
        (
            "ringgate_handshake_duration_seconds_bucket{le=\"0.0005\"}",
            0.0,
        ),
        (
            "ringgate_handshake_duration_seconds_bucket{le=\"0.001\"}",
            1.0,
        ),
        (
            "ringgate_handshake_duration_seconds_bucket{le=\"+Inf\"}",
            2.0,
        ),
        ("ringgate_handshake_duration_seconds_sum", 0.003),
        ("ringgate_handshake_duration_seconds_count", 2.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn cores_are_told_apart_on_request() {
    let registry = registry(2);
    for (n, worker) in (1..).zip(&registry.workers) {
        worker.edge.accepted.add(n);
        worker.relay.from_client.sizes.observe(n);
    }
    let samples = scrape_in(&registry, Detail::Cores);
    for (series, value) in [
        ("ringgate_connections_accepted_total{core=\"0\"}", 1.0),
        ("ringgate_connections_accepted_total{core=\"1\"}", 2.0),
        (
            "ringgate_message_size_bytes_sum{core=\"1\",side=\"client\"}",
            2.0,
        ),
        ("ringgate_workers", 2.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    // Nobody who adds up the cores counts anything twice.
    assert!(!samples.contains_key("ringgate_connections_accepted_total"));
}

#[test]
fn reasons_stand_where_they_belong() {
    let ends = scrape(&registry(1));
    let io = "ringgate_tunnels_closed_total{reason=\"io\",side=\"client\"}";
    assert!(ends.contains_key(io));
    assert!(!ends.contains_key("ringgate_requests_refused_total{reason=\"io\"}"));
    assert!(ends.contains_key("ringgate_requests_refused_total{reason=\"client_gone\"}"));
}

#[test]
fn only_what_was_used_has_series() {
    let registry = registry(1);
    let key = |api: &str, backend: &str| Key {
        group: "DEFAULT".to_owned(),
        environment: "RELEASE".to_owned(),
        api: api.to_owned(),
        backend: backend.to_owned(),
    };
    let used = registry.book().series(key("a\"b", "192.0.2.1:80"));
    let _unused = registry.book().series(key("c", "192.0.2.2:80"));
    let relay = used.relay(Core::ONLY);
    relay.tunnels.add(2);
    relay.closed.count(CloseReason::Idle, None);
    let api = "group=\"DEFAULT\",environment=\"RELEASE\",api=\"a\\\"b\"";
    let samples = scrape(&registry);
    for (series, value) in [
        (format!("ringgate_api_tunnels{{{api}}}"), 2.0),
        (
            format!("ringgate_api_tunnels_closed_total{{{api},reason=\"idle\",side=\"nobody\"}}"),
            1.0,
        ),
        (
            "ringgate_backend_tunnels{backend=\"192.0.2.1:80\"}".to_owned(),
            2.0,
        ),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
    assert!(!samples.keys().any(|series| series.contains("192.0.2.2")));
    assert!(!samples.keys().any(|series| series.contains("api=\"c\"")));
}

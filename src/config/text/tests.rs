use std::time::Duration;

use crate::close::DrainCause;
use crate::config::{
    AccessFormat, AccessLog, ClientAddress, Config, Fate, ForwardedFor, HostSent, LogFormat,
    OnUnsupported, PathEscapes, Protection, Scheme,
};
use crate::document::{Complaint, Severity};
use crate::relay::drain::{DrainPlan, Pace};
use crate::relay::policy::{FrameMode, IdleEnd};

mod mistakes;

const LEAST: &str = r#"
listeners = [{ address = "0.0.0.0:80", protocol = "http" }]
definitions = [{ files = ["a.yaml"] }]
"#;

/// The complaints about the least configuration and `text`.
pub(super) fn complaints(text: &str) -> Vec<Complaint> {
    Config::from_text("ringgate.toml", &format!("{LEAST}{text}"))
        .err()
        .unwrap_or_default()
}

/// One mistake: its line in `text`, column, key, and a part of what is said about it.
pub(super) fn check(text: &str, line: u32, column: u32, key: &str, said: &str) {
    let found = complaints(text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    let complaint = &found[0];
    let at = (complaint.line - 3, complaint.column, complaint.key.as_str());
    assert_eq!(at, (line, column, key), "{complaint}");
    assert!(complaint.to_string().contains(said), "{complaint}");
    assert!(!complaint.remedy.is_empty() && !complaint.problem.is_empty());
    assert_eq!(complaint.severity, Severity::Error);
}

#[test]
fn every_key_is_read() {
    let text = r#"
on_unsupported = "skip"
retry_count_default = 3
[workers]
cores = [0, 2]
edge_nice = -5
relay_slice = "200us"
relay_fifo = 10
adopt_per_turn = 8
[[listeners]]
address = "0.0.0.0:443"
protocol = "wss"
[[listeners]]
address = "[::]:80"
protocol = "http"
proxy_protocol = ["10.0.0.0/8", "2001:db8::7"]
[[certificates]]
certificate = "first.pem"
key = "first.key"
[[certificates]]
certificate = "/etc/second.pem"
key = "second.key"
default = true
[tls]
tls13 = false
[routing]
inbound_addresses = ["203.0.113.10", "2001:db8::1"]
any_address = true
path_escapes = "keep"
client_address = { forwarded_for = -2 }
[[definitions]]
files = ["apis/*.yaml"]
environments = ["RELEASE", "TEST"]
[[environments]]
name = "TEST"
[environments.variables.DEFAULT]
address = "10.0.0.1:80"
[[domains]]
name = "API.example.com."
group = "DEFAULT"
[[domains]]
name = "*.example.com"
group = "other"
[backends]
source_addresses = ["10.0.0.7"]
ca = "ca.pem"
denied = ["169.254.0.0/16"]
idle_connections_max = 0
idle_timeout = "5s"
[forwarding]
forwarded_for = "replace"
host = "client"
strip_gateway_fields = false
[limits]
connections_max = 5000
target_bytes_max = "16KiB"
field_bytes_max = 8192
fields_bytes_max = "64KiB"
head_too_large_status = 431
early_bytes_max = 0
request_body_bytes_max = "1MiB"
relay_buffer_bytes = "8MiB"
half_bytes_max = "64KiB"
relay_spill_bytes_max = "32MiB"
backend_timeout_max = "600s"
[timeouts]
handshake = "5s"
keep_alive = "1m"
request_body = "20s"
permit = "50ms"
slow_consumer = "20s"
close_grace = "500ms"
[drain]
limit = "10s"
[admin]
socket = "/run/ringgate.sock"
[log]
level = "debug"
format = "json"
access = "access.log"
access_format = "apig"
access_open = true
access_interval = "10m"
access_secrets = ["room"]
queue_lines_max = 100
[tunnel]
frames = "observe"
idle_end = "disconnect"
message_bytes_max = "1MiB"
[reload]
watch = true
over = "3s"
removed_apis = "drain"
removed_backends = { over = "5m", notice = "1m", cause = "restart", limit = "10m" }
[[apis]]
name = "API01"
group = "DEFAULT"
when_changed = { limit = "1s" }
insecure_ignore = ["acl", "auth"]
frames = "opaque"
"#;
    let draft = super::read("etc/ringgate.toml", text);
    assert_eq!(draft.complaints, []);
    let config = draft.config;
    assert_eq!(config.definitions.on_unsupported, OnUnsupported::Skip);
    assert_eq!(
        config.definitions.backend_timeout_max,
        Duration::from_secs(600)
    );
    let workers = &config.workers;
    assert_eq!(
        (
            workers.cores.as_slice(),
            workers.edge_nice,
            workers.relay_fifo
        ),
        (&[0, 2][..], -5, Some(10))
    );
    assert_eq!(
        (workers.relay_slice, workers.adopt_per_turn),
        (Duration::from_micros(200), 8)
    );
    assert_eq!(config.listeners[0].scheme, Scheme::Https);
    assert_eq!(config.listeners[1].address.to_string(), "[::]:80");
    assert_eq!(config.listeners[0].proxy_protocol_from, []);
    let networks = ["10.0.0.0/8", "2001:db8::7"].map(|text| text.parse().unwrap());
    assert_eq!(config.listeners[1].proxy_protocol_from, networks);
    // The default one comes first, and relative paths begin where the file stands.
    assert_eq!(
        draft.certificates[0].certificate.to_str(),
        Some("/etc/second.pem")
    );
    assert_eq!(draft.certificates[1].key.to_str(), Some("etc/first.key"));
    assert!(!config.tls.tls13);
    assert_eq!(config.routing.inbound_addresses.len(), 2);
    assert!(config.routing.any_address);
    assert_eq!(
        draft.definitions[0].patterns[0].0.to_str(),
        Some("etc/apis/*.yaml")
    );
    assert_eq!(draft.definitions[0].environments, ["RELEASE", "TEST"]);
    assert_eq!(
        config.environments[0].variables["DEFAULT"]["address"],
        "10.0.0.1:80"
    );
    assert_eq!(config.routing.domains[0].name, "api.example.com");
    assert_eq!(config.routing.domains[1].group, "other");
    assert_eq!(
        config.backends.ca.as_ref().unwrap().to_str(),
        Some("etc/ca.pem")
    );
    assert_eq!(config.backends.source_addresses.len(), 1);
    let proxies: Vec<_> = config.listeners[1]
        .proxy_protocol_from
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["10.0.0.0/8", "2001:db8::7"]);
    assert_eq!(config.definitions.retry_count, 3);
    assert_eq!(config.routing.path_escapes, PathEscapes::Kept);
    assert_eq!(
        config.routing.client_address,
        ClientAddress::ForwardedFor { index: -2 }
    );
    let backends = &config.backends;
    assert_eq!(backends.denied[0].to_string(), "169.254.0.0/16");
    assert_eq!(
        (backends.idle_connections_max, backends.idle_timeout),
        (0, Duration::from_secs(5))
    );
    let forwarding = &config.forwarding;
    assert_eq!(
        (forwarding.forwarded_for, forwarding.host),
        (ForwardedFor::Replace, HostSent::Client)
    );
    assert!(!forwarding.strip_gateway_fields);
    let limits = &config.limits;
    assert_eq!(limits.head_too_large_status, 431);
    assert_eq!(config.timeouts.request_body, Duration::from_secs(20));
    assert_eq!(
        (limits.connections_max, limits.head.target_bytes_max),
        (5000, 16 << 10)
    );
    assert_eq!(
        (limits.head.field_bytes_max, limits.head.fields_bytes_max),
        (8192, 64 << 10)
    );
    assert_eq!(
        (limits.early_bytes_max, limits.request_body_bytes_max),
        (0, 1 << 20)
    );
    assert_eq!(
        (limits.relay_buffer_bytes, limits.half_bytes_max),
        (8 << 20, 64 << 10)
    );
    assert_eq!(limits.relay_spill_bytes_max, 32 << 20);
    let timeouts = &config.timeouts;
    assert_eq!(
        (timeouts.handshake, timeouts.keep_alive),
        (Duration::from_secs(5), Duration::from_secs(60))
    );
    assert_eq!(
        (timeouts.permit, timeouts.slow_consumer),
        (Duration::from_millis(50), Duration::from_secs(20))
    );
    assert_eq!(
        (timeouts.close_grace, config.drain.limit),
        (Duration::from_millis(500), Some(Duration::from_secs(10)))
    );
    assert_eq!(
        config.admin.socket.as_ref().unwrap().to_str(),
        Some("/run/ringgate.sock")
    );
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("debug", LogFormat::Json)
    );
    let reload = config.reload;
    let of_word = DrainPlan {
        pace: Pace::Over(Duration::from_secs(3)),
        ..DrainPlan::default()
    };
    assert!(reload.watch);
    assert_eq!(reload.removed_apis, Fate::Drain(of_word));
    let of_table = DrainPlan {
        notice: Duration::from_secs(60),
        pace: Pace::Over(Duration::from_secs(300)),
        cause: DrainCause::Restart,
        limit: Some(Duration::from_secs(600)),
    };
    assert_eq!(reload.removed_backends, Fate::Drain(of_table));
    assert_eq!(reload.changed_apis, Fate::Keep);
    let of_api = DrainPlan {
        limit: Some(Duration::from_secs(1)),
        ..of_word
    };
    assert_eq!(config.apis[0].when_changed, Some(Fate::Drain(of_api)));
    assert_eq!(config.apis[0].when_removed, None);
    assert_eq!(config.log.access, AccessLog::File("etc/access.log".into()));
    assert_eq!(config.log.queue_lines_max, 100);
    assert_eq!(config.log.access_format, AccessFormat::Apig);
    assert_eq!(config.log.access_open, Some(true));
    assert_eq!(config.log.access_interval, Duration::from_secs(600));
    assert_eq!(config.log.access_secrets, ["room"]);
    assert_eq!(
        (config.tunnel.frames, config.tunnel.idle_end),
        (FrameMode::Observe, IdleEnd::Disconnect)
    );
    let rules = config.api_rules("DEFAULT", "API01").unwrap();
    assert_eq!(
        rules.insecure_ignore,
        [Protection::AccessControl, Protection::Authentication]
    );
    // What the table does not say is as in [tunnel].
    assert_eq!(
        (rules.tunnel.frames, rules.tunnel.message_bytes_max),
        (FrameMode::Opaque, 1 << 20)
    );
    assert!(config.api_rules("DEFAULT", "API02").is_none());
}

#[test]
fn what_the_whole_lacks_is_said() {
    for (text, said) in [
        ("", "there is no listener"),
        (
            "definitions = [{ files = [\"a\"] }]",
            "there is no listener",
        ),
        (
            "listeners = [{ address = \"0.0.0.0:80\", protocol = \"http\" }]",
            "there is no definition",
        ),
        (
            "definitions = [{ files = [\"a\"] }]\nlisteners = [{ address = \"0.0.0.0:80\", protocol = \"https\" }]",
            "an https listener has no certificate",
        ),
        (
            "definitions = [{ files = [\"a\"], environments = [\"TEST\"] }]",
            "there is no environment TEST",
        ),
        (
            "listeners = [{ address = \"0.0.0.0:80\", protocol = \"http\" }, { address = \"0.0.0.0:80\", protocol = \"http\" }]",
            "0.0.0.0:80 is listed twice",
        ),
        (
            "listeners = [{ address = \"0.0.0.0\", protocol = \"http\" }]",
            "an address with port",
        ),
        (
            "listeners = [{ address = \"[::]:81\", protocol = \"http\", proxy_protocol = [] }]",
            "listeners[0].proxy_protocol: with an empty list nobody may connect; list the networks",
        ),
        (
            "listeners = [{ address = \"[::]:81\", protocol = \"http\", proxy_protocol = true }]",
            "listeners[0].proxy_protocol: a boolean is not a list",
        ),
        (
            "listeners = [{ address = \"[::]:81\", protocol = \"http\", proxy_protocol = [\"10.0.0.0/33\"] }]",
            "listeners[0].proxy_protocol[0]: \"10.0.0.0/33\" is not an address or a network",
        ),
    ] {
        let found = Config::from_text("ringgate.toml", text).unwrap_err();
        assert!(
            found.iter().any(|c| c.to_string().contains(said)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "[limits]\nhalf_bytes_max = 1\nnone = 2\n[log]\nlevel = 5\nformat = \"xml\"\n[timeouts]\npermit = \"x\"";
    let keys: Vec<String> = complaints(text)
        .into_iter()
        .map(|complaint| complaint.key)
        .collect();
    assert_eq!(keys.len(), 5);
    for key in [
        "limits.half_bytes_max",
        "limits.none",
        "log.level",
        "log.format",
        "timeouts.permit",
    ] {
        assert!(keys.iter().any(|found| found == key), "{key}: {keys:?}");
    }
}

#[test]
fn what_becomes_of_open_tunnels_is_a_word_or_a_plan() {
    for (text, key) in [
        ("[reload]\nremoved_apis = \"soon\"", "reload.removed_apis"),
        (
            "[reload]\nchanged_apis = { over = \"2d\" }",
            "reload.changed_apis.over",
        ),
        (
            "[reload]\nremoved_backends = { pace = \"1s\" }",
            "reload.removed_backends.pace",
        ),
        (
            "[[apis]]\nname = \"a\"\nwhen_removed = 7",
            "apis[0].when_removed",
        ),
        (
            "[[apis]]\nname = \"a\"\nwhen_changed = { cause = \"age\" }",
            "apis[0].when_changed.cause",
        ),
    ] {
        let found = complaints(text);
        let keys: Vec<_> = found
            .iter()
            .map(|complaint| complaint.key.as_str())
            .collect();
        assert_eq!(keys, [key], "{found:?}");
    }
}

#[test]
fn several_syntax_errors_are_reported_with_their_lines() {
    let found = complaints(
        "[limits]\nhalf_bytes_max = = 1\n[log]\nlevel = \n[admin]\nsocket = \"x\nlast = 1\n",
    );
    let lines: Vec<u32> = found.iter().map(|complaint| complaint.line - 3).collect();
    assert!(
        lines.contains(&2) && lines.contains(&4) && lines.contains(&6),
        "{found:?}"
    );
    // What stands where a value was broken is not judged, and other mistakes still are.
    assert_eq!(
        found
            .iter()
            .filter(|c| !c.key.is_empty())
            .map(|c| c.key.as_str())
            .collect::<Vec<_>>(),
        ["admin.last"]
    );
    let twice = complaints("[log]\nlevel = \"info\"\nlevel = \"warn\"");
    assert!(twice.iter().any(|c| c.line == 6), "{twice:?}");
}

#[test]
fn a_complaint_reads_as_one_line() {
    let found = complaints("[limits]\nhalf_bytes_max = 5");
    assert_eq!(
        found[0].to_string(),
        "ringgate.toml:5:18: error: limits.half_bytes_max: 5B is too small; 4KiB to 1GiB is allowed"
    );
}

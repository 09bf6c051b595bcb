//! Every default and its reason. The README's table is held to `TABLE` by a test, and so is `config`.

use std::time::Duration;

use super::{
    AccessFormat, AccessLog, Admin, Backends, Config, Definitions, Fate, ForwardedFor, Forwarding,
    HostSent, Limits, Log, LogFormat, OnUnsupported, Reload, Routing, Timeouts, Tls, Tunnel,
    Workers,
};
use crate::close::DrainCause;
use crate::proto::head::HeadLimits;
use crate::relay::drain::{DrainPlan, Pace};
use crate::relay::policy::{FrameMode, IdleEnd};

/// Key, default as it would be written (empty: unset), reason.
pub const TABLE: &[(&str, &str, &str)] = &[
    (
        "on_unsupported",
        r#""reject""#,
        "an API that is silently missing is worse than a start that says why",
    ),
    (
        "retry_count_default",
        "-1",
        "a definition that says nothing means retries of idempotent calls",
    ),
    (
        "workers.cores",
        "[]",
        "a worker on every core that the process may use",
    ),
    (
        "workers.edge_nice",
        "5",
        "handshakes give way to open sockets, yet get a quarter of a contended core",
    ),
    (
        "workers.relay_slice",
        r#""100us""#,
        "the shortest slice the kernel takes: a woken relay preempts the edge",
    ),
    (
        "workers.relay_fifo",
        "",
        "real-time priority needs CAP_SYS_NICE and can starve the box, so it is asked for",
    ),
    (
        "workers.adopt_per_turn",
        "4",
        "a storm of new tunnels may not delay those that are open",
    ),
    (
        "tls.tls13",
        "true",
        "the cloud stops at 1.2; 1.3 saves a round trip (off for strict parity)",
    ),
    (
        "routing.inbound_addresses",
        "[]",
        "the box's own addresses count anyway; an elastic IP in front is listed",
    ),
    (
        "routing.any_address",
        "false",
        "an address that is not ours is a mistake or a scan: 404",
    ),
    (
        "routing.path_escapes",
        r#""decode""#,
        "the cloud matches `/aa%2Faa` as `/aa/aa` unless `api_uri_no_escape` is on (\"keep\")",
    ),
    (
        "routing.client_address",
        r#""peer""#,
        "a client can write any field; `{ forwarded_for = -1 }` and `{ field = \"X-Real-IP\" }` are for proxies in front",
    ),
    (
        "backends.source_addresses",
        "[]",
        "the kernel's choice; more addresses mean more ports to one backend",
    ),
    (
        "backends.ca",
        "",
        "private backends have self-signed certificates, and the cloud does not verify them",
    ),
    (
        "backends.denied",
        "[]",
        "the box may reach what its network lets it; networks listed here are answered 403",
    ),
    (
        "backends.idle_connections_max",
        "256",
        "a few hundred concurrent calls a core find an open connection; 0 keeps none",
    ),
    (
        "backends.idle_timeout",
        r#""60s""#,
        "as long as a client's; one that the backend closed meanwhile is retried where that is safe",
    ),
    (
        "forwarding.forwarded_for",
        r#""append""#,
        "backends see the chain of proxies; \"replace\" shows them the client alone",
    ),
    (
        "forwarding.host",
        r#""backend""#,
        "the cloud sends a backend its own address; \"client\" passes on what was asked for",
    ),
    (
        "forwarding.strip_gateway_fields",
        "true",
        "`X-Stage`, `X-Apig-*` and credentials for the gateway are not the backend's",
    ),
    (
        "limits.connections_max",
        "0",
        "derived from the descriptor limit, two a tunnel and a reserve",
    ),
    (
        "limits.target_bytes_max",
        r#""32KiB""#,
        "the cloud's limit of a request target: 414",
    ),
    (
        "limits.field_bytes_max",
        r#""32KiB""#,
        "the cloud's limit of one header: 494",
    ),
    (
        "limits.fields_bytes_max",
        r#""128KiB""#,
        "the cloud's limit of all headers: 494",
    ),
    (
        "limits.head_too_large_status",
        "494",
        "what the cloud answers; 431 is the registered status",
    ),
    (
        "limits.early_bytes_max",
        r#""16KiB""#,
        "a client may speak before the 101, but not much",
    ),
    (
        "limits.request_body_bytes_max",
        r#""12MiB""#,
        "the cloud's `request_body_size`: 413",
    ),
    (
        "limits.relay_buffer_bytes",
        r#""4MiB""#,
        "stays near the cache of one core, shared by its tunnels",
    ),
    (
        "limits.half_bytes_max",
        r#""256KiB""#,
        "one round trip of 20 ms at 100 Mbit/s; above it the sender waits",
    ),
    (
        "limits.relay_spill_bytes_max",
        r#""64MiB""#,
        "250 slow readers at their full share, per core",
    ),
    (
        "limits.backend_timeout_max",
        r#""60s""#,
        "the cloud's `backend_timeout`, which may be raised to 10 minutes",
    ),
    (
        "timeouts.handshake",
        r#""10s""#,
        "three lost packets on a bad mobile link still get through",
    ),
    (
        "timeouts.keep_alive",
        r#""60s""#,
        "what clients that pool connections expect",
    ),
    (
        "timeouts.request_body",
        r#""8s""#,
        "the cloud's `request_body_timeout`: the longest a body may pause",
    ),
    (
        "timeouts.permit",
        r#""100ms""#,
        "a relay without room for that long is overloaded: 503 beats a queue",
    ),
    (
        "timeouts.slow_consumer",
        r#""30s""#,
        "not one byte accepted in that time is a dead reader",
    ),
    (
        "timeouts.close_grace",
        r#""1s""#,
        "a live peer answers a Close within a round trip",
    ),
    (
        "drain.notice",
        r#""0s""#,
        "only a load balancer in front needs time to look away",
    ),
    (
        "drain.over",
        "",
        "unset, 100 tunnels a second on each core, or all within 10 s: no storm of returning clients",
    ),
    (
        "drain.cause",
        r#""stop""#,
        "peers get 1001; \"restart\" gives them 1012",
    ),
    (
        "drain.limit",
        r#""30s""#,
        "below the 90 s after which systemd kills",
    ),
    (
        "reload.watch",
        "false",
        "a half-finished edit is nobody's wish; true reloads whenever one of the files changes",
    ),
    (
        "reload.removed_apis",
        r#""keep""#,
        "nothing that is edited ends an open tunnel; \"drain\" closes those whose API went, \
         `{ over = \"5m\", notice = \"1m\", cause = \"restart\", limit = \"10m\" }` says how",
    ),
    (
        "reload.removed_backends",
        r#""keep""#,
        "the same for those to an address that their API does not lead to any more",
    ),
    (
        "reload.changed_apis",
        r#""keep""#,
        "the same for those whose API is defined otherwise now",
    ),
    ("reload.over", "", "as drain.over, for \"drain\""),
    (
        "admin.socket",
        "",
        "its place is the operator's choice, and so are its permissions",
    ),
    (
        "admin.listen",
        "",
        "a loopback address for browsers and scrapers; every process of the box can reach it, so it wants a token",
    ),
    (
        "admin.token_file",
        "",
        "the token for `admin.listen`; read again at a reload",
    ),
    (
        "log.level",
        r#""info""#,
        "starts, stops and trouble; nothing per connection",
    ),
    ("log.format", r#""text""#, "messages are read by people"),
    (
        "log.access",
        r#""stdout""#,
        "for whatever collects it; or a file, a FIFO, or \"off\"",
    ),
    (
        "log.access_format",
        r#""json""#,
        "every tool reads it; \"apig\" has the cloud gateway's 54 fields, \"apig_json\" the same by name",
    ),
    (
        "log.access_open",
        "",
        "a tunnel has a line when it opens in \"json\", not in the others: the cloud writes one a call",
    ),
    (
        "log.access_interval",
        r#""0s""#,
        "no further lines while a tunnel lives; \"10m\" gives it one every ten minutes",
    ),
    (
        "log.access_secrets",
        "[]",
        "names of query parameters that are hidden beside those that sound secret",
    ),
    (
        "log.queue_lines_max",
        "8192",
        "two seconds of a connect storm; what does not fit is counted",
    ),
    (
        "tunnel.frames",
        r#""strict""#,
        "a broken frame ends at the edge, not in the backend",
    ),
    (
        "tunnel.idle_end",
        r#""close""#,
        "clients learn 1001 rather than guess at 1006",
    ),
    ("tunnel.message_bytes_max", "0", "the cloud has no limit"),
];

/// `TABLE` as values.
pub(super) fn config() -> Config {
    Config {
        workers: Workers {
            cores: Vec::new(),
            edge_nice: 5,
            relay_slice: Duration::from_micros(100),
            relay_fifo: None,
            adopt_per_turn: 4,
        },
        listeners: Vec::new(),
        tls: Tls {
            certificates: Vec::new(),
            tls13: true,
        },
        routing: Routing::default(),
        backends: Backends {
            source_addresses: Vec::new(),
            ca: None,
            denied: Vec::new(),
            idle_connections_max: 256,
            idle_timeout: Duration::from_secs(60),
        },
        forwarding: Forwarding {
            forwarded_for: ForwardedFor::Append,
            host: HostSent::Backend,
            strip_gateway_fields: true,
        },
        limits: Limits {
            connections_max: 0,
            head: HeadLimits {
                target_bytes_max: 32 << 10,
                field_bytes_max: 32 << 10,
                fields_bytes_max: 128 << 10,
            },
            head_too_large_status: 494,
            early_bytes_max: 16 << 10,
            request_body_bytes_max: 12 << 20,
            relay_buffer_bytes: 4 << 20,
            half_bytes_max: 256 << 10,
            relay_spill_bytes_max: 64 << 20,
        },
        timeouts: Timeouts {
            handshake: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            request_body: Duration::from_secs(8),
            permit: Duration::from_millis(100),
            slow_consumer: Duration::from_secs(30),
            close_grace: Duration::from_secs(1),
        },
        drain: DrainPlan {
            notice: Duration::ZERO,
            pace: Pace::Gentle,
            cause: DrainCause::Stop,
            limit: Some(Duration::from_secs(30)),
        },
        reload: Reload {
            watch: false,
            removed_apis: Fate::Keep,
            removed_backends: Fate::Keep,
            changed_apis: Fate::Keep,
            pace: Pace::Gentle,
        },
        admin: Admin {
            socket: None,
            listen: None,
            token_file: None,
            token: None,
        },
        log: Log {
            format: LogFormat::Text,
            level: "info".to_owned(),
            access: AccessLog::Stdout,
            access_format: AccessFormat::Json,
            access_open: None,
            access_interval: Duration::ZERO,
            access_secrets: Vec::new(),
            queue_lines_max: 8192,
        },
        tunnel: Tunnel {
            frames: FrameMode::Strict,
            idle_end: IdleEnd::Close,
            message_bytes_max: 0,
        },
        environments: Vec::new(),
        definitions: Definitions {
            on_unsupported: OnUnsupported::Reject,
            backend_timeout_max: Duration::from_secs(60),
            retry_count: -1,
            orchestrations: Vec::new(),
        },
        apis: Vec::new(),
        fingerprint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the table as a file with every key set.
    fn as_toml() -> String {
        let mut text = String::from(
            "definitions = [{ files = [\"a.yaml\"] }]\nlisteners = [{ address = \"[::]:80\", protocol = \"http\" }]\n",
        );
        for (key, value, _) in TABLE.iter().filter(|(_, value, _)| !value.is_empty()) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }

    #[test]
    fn the_table_says_what_the_values_are() {
        let mut written = Config::from_text("table.toml", &as_toml()).unwrap();
        written.listeners.clear();
        assert_eq!(format!("{written:#?}"), format!("{:#?}", config()));
    }

    #[test]
    fn every_default_has_its_reason() {
        for (key, _, reason) in TABLE {
            assert!(reason.len() > 10, "{key}");
        }
    }
}

//! `GET /v1/config`: the configuration in force, under the keys of `ringgate.toml`. Every value is put here by name, so that
//! no secret shows because somebody added it: keys, the token and the values of variables do not.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::Admin;
use super::http::Answer;
use crate::close::DrainCause;
use crate::config::{
    AccessFormat, AccessLog, ApiRules, Certificate, ClientAddress, Config, Domain, DomainPort,
    Environment, Fate, ForwardedFor, HostSent, Listener, LogFormat, OnUnsupported, PathEscapes,
    Protection, Tunnel,
};
use crate::document::quantity::{format_duration, format_size};
use crate::observe::utc::Utc;
use crate::relay::drain::{DrainPlan, Pace};
use crate::relay::policy::{FrameMode, IdleEnd};

impl Admin {
    pub(super) fn configuration(&self) -> Answer {
        Answer::json(200, &shown(&self.in_force.config()))
    }
}

fn shown(config: &Config) -> Value {
    json!({
        "on_unsupported": match config.definitions.on_unsupported {
            OnUnsupported::Reject => "reject",
            OnUnsupported::Skip => "skip",
        },
        "retry_count_default": config.definitions.retry_count,
        "workers": workers(config),
        "listeners": list(&config.listeners, listener),
        "certificates": list(&config.tls.certificates, certificate),
        "tls": { "tls13": config.tls.tls13 },
        "routing": routing(config),
        "domains": list(&config.routing.domains, domain),
        "groups": list(&config.routing.debug_domains, |domain| json!({
            "name": domain.group,
            "debug_domain": domain.name,
            "debug_calls_per_day": domain.calls_per_day,
        })),
        "backends": backends(config),
        "forwarding": forwarding(config),
        "limits": limits(config),
        "timeouts": timeouts(config),
        "drain": drain(&config.drain),
        "reload": {
            "watch": config.reload.watch,
            "removed_apis": fate(&config.reload.removed_apis),
            "removed_backends": fate(&config.reload.removed_backends),
            "changed_apis": fate(&config.reload.changed_apis),
            "over": over(config.reload.pace),
        },
        "admin": {
            "socket": config.admin.socket.as_deref().map(path),
            "listen": config.admin.listen,
            "token_file": config.admin.token_file.as_deref().map(path),
        },
        "log": log(config),
        "tunnel": Value::Object(tunnel(&config.tunnel)),
        "environments": list(&config.environments, environment),
        "apis": list(&config.apis, rules),
    })
}

fn workers(config: &Config) -> Value {
    let workers = &config.workers;
    json!({
        "cores": workers.cores,
        "edge_nice": workers.edge_nice,
        "relay_slice": format_duration(workers.relay_slice),
        "relay_fifo": workers.relay_fifo,
        "adopt_per_turn": workers.adopt_per_turn,
    })
}

fn listener(listener: &Listener) -> Value {
    json!({
        "address": listener.address,
        "protocol": listener.scheme.label(),
        "proxy_protocol": strings(&listener.proxy_protocol_from),
        "freebind": listener.freebind,
    })
}

/// The names and the time, and nothing of the key.
fn certificate(certificate: &Certificate) -> Value {
    let expires = certificate
        .validity()
        .map(|(_, end)| Utc(UNIX_EPOCH + Duration::from_secs(end)));
    json!({ "names": certificate.names, "not_after": expires })
}

fn routing(config: &Config) -> Value {
    let routing = &config.routing;
    json!({
        "inbound_addresses": routing.inbound_addresses,
        "any_address": routing.any_address,
        "path_escapes": match routing.path_escapes {
            PathEscapes::Decoded => "decode",
            PathEscapes::Kept => "keep",
        },
        "client_address": match &routing.client_address {
            ClientAddress::Peer => json!("peer"),
            ClientAddress::ForwardedFor { index } => json!({ "forwarded_for": index }),
            ClientAddress::Field(name) => json!({ "field": name }),
        },
    })
}

fn domain(domain: &Domain) -> Value {
    let port = |port| match port {
        DomainPort::Every => Value::Null,
        DomainPort::Only(port) => json!(port),
        DomainPort::None => json!("off"),
    };
    json!({
        "name": domain.name,
        "group": domain.group,
        "http_port": port(domain.http),
        "https_port": port(domain.https),
    })
}

fn backends(config: &Config) -> Value {
    let backends = &config.backends;
    json!({
        "source_addresses": backends.source_addresses,
        "ca": backends.ca.as_deref().map(path),
        "denied": strings(&backends.denied),
        "idle_connections_max": backends.idle_connections_max,
        "idle_timeout": format_duration(backends.idle_timeout),
    })
}

fn forwarding(config: &Config) -> Value {
    let forwarding = &config.forwarding;
    json!({
        "forwarded_for": match forwarding.forwarded_for {
            ForwardedFor::Append => "append",
            ForwardedFor::Replace => "replace",
        },
        "host": match forwarding.host {
            HostSent::Backend => "backend",
            HostSent::Client => "client",
        },
        "strip_gateway_fields": forwarding.strip_gateway_fields,
    })
}

fn limits(config: &Config) -> Value {
    let limits = &config.limits;
    let size = |bytes: usize| format_size(bytes as u64);
    json!({
        "connections_max": limits.connections_max,
        "target_bytes_max": size(limits.head.target_bytes_max),
        "field_bytes_max": size(limits.head.field_bytes_max),
        "fields_bytes_max": size(limits.head.fields_bytes_max),
        "head_too_large_status": limits.head_too_large_status,
        "early_bytes_max": size(limits.early_bytes_max),
        "request_body_bytes_max": format_size(limits.request_body_bytes_max),
        "relay_buffer_bytes": size(limits.relay_buffer_bytes),
        "half_bytes_max": size(limits.half_bytes_max),
        "relay_spill_bytes_max": size(limits.relay_spill_bytes_max),
        "backend_timeout_max": format_duration(config.definitions.backend_timeout_max),
    })
}

fn timeouts(config: &Config) -> Value {
    let timeouts = &config.timeouts;
    json!({
        "handshake": format_duration(timeouts.handshake),
        "keep_alive": format_duration(timeouts.keep_alive),
        "request_body": format_duration(timeouts.request_body),
        "permit": format_duration(timeouts.permit),
        "slow_consumer": format_duration(timeouts.slow_consumer),
        "close_grace": format_duration(timeouts.close_grace),
    })
}

/// As it would be written with nothing left to defaults.
fn fate(fate: &Fate) -> Value {
    match fate {
        Fate::Keep => json!("keep"),
        Fate::Drain(plan) => drain(plan),
    }
}

fn drain(drain: &DrainPlan) -> Value {
    json!({
        "notice": format_duration(drain.notice),
        "over": over(drain.pace),
        "cause": match drain.cause {
            DrainCause::Stop => "stop",
            DrainCause::Restart => "restart",
        },
        "limit": drain.limit.map(format_duration),
    })
}

/// Nothing for the pace that nobody chose.
fn over(pace: Pace) -> Option<String> {
    match pace {
        Pace::Gentle => None,
        Pace::Over(time) => Some(format_duration(time)),
    }
}

fn log(config: &Config) -> Value {
    let log = &config.log;
    json!({
        "level": log.level,
        "format": match log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
        "access": match &log.access {
            AccessLog::Stdout => "stdout".to_owned(),
            AccessLog::File(file) => path(file),
            AccessLog::Off => "off".to_owned(),
        },
        "access_format": match log.access_format {
            AccessFormat::Json => "json",
            AccessFormat::Apig => "apig",
            AccessFormat::ApigJson => "apig_json",
        },
        "access_open": log.access_open,
        "access_interval": format_duration(log.access_interval),
        "access_secrets": log.access_secrets,
        "queue_lines_max": log.queue_lines_max,
    })
}

fn tunnel(tunnel: &Tunnel) -> Map<String, Value> {
    let frames = match tunnel.frames {
        FrameMode::Strict => "strict",
        FrameMode::Observe => "observe",
        FrameMode::Opaque => "opaque",
    };
    let idle_end = match tunnel.idle_end {
        IdleEnd::Close => "close",
        IdleEnd::Disconnect => "disconnect",
    };
    Map::from_iter([
        ("frames".to_owned(), json!(frames)),
        ("idle_end".to_owned(), json!(idle_end)),
        (
            "message_bytes_max".to_owned(),
            json!(tunnel.message_bytes_max),
        ),
    ])
}

/// Variables by group, without their values: these may be credentials of backends.
fn environment(environment: &Environment) -> Value {
    let variables = environment.variables.iter();
    let names = variables.map(|(group, variables)| {
        let names: Vec<_> = variables.keys().collect();
        (group.clone(), json!(names))
    });
    json!({ "name": environment.name, "variables": Map::from_iter(names) })
}

fn rules(rules: &ApiRules) -> Value {
    let ignored = rules.insecure_ignore.iter().copied();
    let mut shown = tunnel(&rules.tunnel);
    shown.insert("name".to_owned(), json!(rules.api));
    shown.insert("group".to_owned(), json!(rules.group));
    shown.insert(
        "insecure_ignore".to_owned(),
        ignored.map(Protection::word).collect(),
    );
    for (key, said) in [
        ("when_removed", &rules.when_removed),
        ("when_backend_removed", &rules.when_backend_removed),
        ("when_changed", &rules.when_changed),
    ] {
        shown.insert(key.to_owned(), json!(said.as_ref().map(fate)));
    }
    Value::Object(shown)
}

fn list<T>(items: &[T], show: impl Fn(&T) -> Value) -> Value {
    items.iter().map(show).collect()
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults::TABLE;
    use crate::document::quantity::parse_duration;

    /// A value as it would be written. Of several ways to write a time, the shortest.
    fn plain(text: &str) -> Value {
        if text.is_empty() {
            return Value::Null;
        }
        let value: Value = serde_json::from_str(text).unwrap();
        let time = value.as_str().and_then(parse_duration);
        time.map_or(value, |time| json!(format_duration(time)))
    }

    #[test]
    fn every_setting_is_shown_as_it_would_be_written() {
        let shown = shown(&Config::base());
        for (key, value, _) in TABLE {
            let found = shown.pointer(&format!("/{}", key.replace('.', "/")));
            assert_eq!(found, Some(&plain(value)), "{key}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = Config::base();
        let variables = [("password".to_owned(), "hunter2".to_owned())];
        config.environments.push(Environment {
            name: "TEST".to_owned(),
            variables: [("DEFAULT".to_owned(), variables.into())].into(),
        });
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        config.tls.certificates.push(certificate);
        let text = shown(&config).to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(
            text.contains("password") && text.contains("localhost"),
            "{text}"
        );
        let secret: String = key.lines().skip(1).take(1).collect();
        assert!(!text.contains(&secret), "{text}");
    }
}

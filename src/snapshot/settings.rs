//! Every setting with its value as it is written, and whether a reload can change it.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use crate::close::DrainCause;
use crate::config::{
    AccessFormat, AccessLog, ClientAddress, Config, Fate, ForwardedFor, HostSent, LogFormat,
    OnUnsupported, PathEscapes,
};
use crate::document::quantity::{format_duration, format_size};
use crate::relay::drain::{DrainPlan, Pace};
use crate::relay::policy::{FrameMode, IdleEnd};

/// What it takes to change a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Reload,
    Restart,
}

/// Key, value, reach: the keys of `defaults::TABLE`, to which a test holds it.
pub fn settings(config: &Config) -> Vec<(&'static str, String, Reach)> {
    let mut rows = Vec::new();
    let mut reload = |key, value: String| rows.push((key, value, Reach::Reload));
    let Config {
        workers,
        routing,
        backends,
        forwarding,
        limits,
        timeouts,
        definitions,
        log,
        ..
    } = config;
    reload(
        "on_unsupported",
        match definitions.on_unsupported {
            OnUnsupported::Reject => "reject".to_owned(),
            OnUnsupported::Skip => "skip".to_owned(),
        },
    );
    reload("retry_count_default", definitions.retry_count.to_string());
    reload("workers.adopt_per_turn", workers.adopt_per_turn.to_string());
    reload("tls.tls13", config.tls.tls13.to_string());
    reload(
        "routing.inbound_addresses",
        list(&routing.inbound_addresses),
    );
    reload("routing.any_address", routing.any_address.to_string());
    reload(
        "routing.path_escapes",
        match routing.path_escapes {
            PathEscapes::Decoded => "decode".to_owned(),
            PathEscapes::Kept => "keep".to_owned(),
        },
    );
    reload(
        "routing.client_address",
        match &routing.client_address {
            ClientAddress::Peer => "peer".to_owned(),
            ClientAddress::ForwardedFor { index } => format!("forwarded_for = {index}"),
            ClientAddress::Field(name) => format!("field = {name}"),
        },
    );
    reload(
        "backends.source_addresses",
        list(&backends.source_addresses),
    );
    let ca = backends.ca.as_deref().map(path);
    reload("backends.ca", ca.unwrap_or_default());
    let denied = backends.denied.iter().map(ToString::to_string);
    reload("backends.denied", denied.collect::<Vec<_>>().join(", "));
    reload(
        "backends.idle_connections_max",
        backends.idle_connections_max.to_string(),
    );
    reload(
        "backends.idle_timeout",
        format_duration(backends.idle_timeout),
    );
    reload(
        "forwarding.forwarded_for",
        match forwarding.forwarded_for {
            ForwardedFor::Append => "append".to_owned(),
            ForwardedFor::Replace => "replace".to_owned(),
        },
    );
    reload(
        "forwarding.host",
        match forwarding.host {
            HostSent::Backend => "backend".to_owned(),
            HostSent::Client => "client".to_owned(),
        },
    );
    reload(
        "forwarding.strip_gateway_fields",
        forwarding.strip_gateway_fields.to_string(),
    );
    reload("limits.connections_max", limits.connections_max.to_string());
    reload(
        "limits.head_too_large_status",
        limits.head_too_large_status.to_string(),
    );
    reload(
        "limits.request_body_bytes_max",
        format_size(limits.request_body_bytes_max),
    );
    reload("limits.half_bytes_max", size(limits.half_bytes_max));
    reload(
        "limits.backend_timeout_max",
        format_duration(definitions.backend_timeout_max),
    );
    for (key, time) in [
        ("timeouts.handshake", timeouts.handshake),
        ("timeouts.keep_alive", timeouts.keep_alive),
        ("timeouts.request_body", timeouts.request_body),
        ("timeouts.permit", timeouts.permit),
        ("timeouts.slow_consumer", timeouts.slow_consumer),
        ("timeouts.close_grace", timeouts.close_grace),
        ("drain.notice", config.drain.notice),
    ] {
        reload(key, format_duration(time));
    }
    reload("drain.over", pace(config.drain.pace));
    reload("drain.cause", cause(config.drain.cause).to_owned());
    reload(
        "drain.limit",
        config.drain.limit.map_or_else(String::new, format_duration),
    );
    reload("reload.watch", config.reload.watch.to_string());
    reload("reload.removed_apis", fate(&config.reload.removed_apis));
    reload(
        "reload.removed_backends",
        fate(&config.reload.removed_backends),
    );
    reload("reload.changed_apis", fate(&config.reload.changed_apis));
    reload("reload.over", pace(config.reload.pace));
    let token = config.admin.token_file.as_deref().map(path);
    reload("admin.token_file", token.unwrap_or_default());
    reload("log.access_interval", format_duration(log.access_interval));
    reload("log.level", config.log.level.clone());
    reload(
        "log.access",
        match &config.log.access {
            AccessLog::Stdout => "stdout".to_owned(),
            AccessLog::Off => "off".to_owned(),
            AccessLog::File(file) => path(file),
        },
    );
    reload(
        "tunnel.frames",
        match config.tunnel.frames {
            FrameMode::Strict => "strict".to_owned(),
            FrameMode::Observe => "observe".to_owned(),
            FrameMode::Opaque => "opaque".to_owned(),
        },
    );
    reload(
        "tunnel.idle_end",
        match config.tunnel.idle_end {
            IdleEnd::Close => "close".to_owned(),
            IdleEnd::Disconnect => "disconnect".to_owned(),
        },
    );
    reload(
        "tunnel.message_bytes_max",
        format_size(config.tunnel.message_bytes_max),
    );

    let mut restart = |key, value: String| rows.push((key, value, Reach::Restart));
    restart("workers.cores", list(&workers.cores));
    restart("workers.edge_nice", workers.edge_nice.to_string());
    restart("workers.relay_slice", format_duration(workers.relay_slice));
    let fifo = workers.relay_fifo.map(|priority| priority.to_string());
    restart("workers.relay_fifo", fifo.unwrap_or_default());
    restart(
        "limits.target_bytes_max",
        size(limits.head.target_bytes_max),
    );
    restart("limits.field_bytes_max", size(limits.head.field_bytes_max));
    restart(
        "limits.fields_bytes_max",
        size(limits.head.fields_bytes_max),
    );
    restart("limits.early_bytes_max", size(limits.early_bytes_max));
    restart("limits.relay_buffer_bytes", size(limits.relay_buffer_bytes));
    restart(
        "limits.relay_spill_bytes_max",
        size(limits.relay_spill_bytes_max),
    );
    let socket = config.admin.socket.as_deref().map(path);
    restart("admin.socket", socket.unwrap_or_default());
    let listen = config.admin.listen.map(|address| address.to_string());
    restart("admin.listen", listen.unwrap_or_default());
    restart(
        "log.format",
        match config.log.format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        },
    );
    restart(
        "log.access_format",
        match log.access_format {
            AccessFormat::Json => "json".to_owned(),
            AccessFormat::Apig => "apig".to_owned(),
            AccessFormat::ApigJson => "apig_json".to_owned(),
        },
    );
    let open = log.access_open.map(|open| open.to_string());
    restart("log.access_open", open.unwrap_or_default());
    restart("log.access_secrets", log.access_secrets.join(", "));
    restart(
        "log.queue_lines_max",
        config.log.queue_lines_max.to_string(),
    );
    rows
}

/// `keep`, or how tunnels are drained.
pub(crate) fn fate(fate: &Fate) -> String {
    let Fate::Drain(plan) = fate else {
        return "keep".to_owned();
    };
    let DrainPlan {
        notice,
        pace: spread,
        cause: why,
        limit,
    } = plan;
    let mut text = format!("drain over {}", pace(*spread));
    if *notice != Duration::ZERO {
        text.push_str(&format!(" after {}", format_duration(*notice)));
    }
    if let Some(limit) = limit {
        text.push_str(&format!(", at most {}", format_duration(*limit)));
    }
    if *why == DrainCause::Restart {
        text.push_str(", for a restart");
    }
    text
}

fn pace(pace: Pace) -> String {
    match pace {
        Pace::Gentle => "10s or less".to_owned(),
        Pace::Over(over) => format_duration(over),
    }
}

/// Relative ones begin where their file stands, which may have been named in another way.
fn path(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.as_deref().unwrap_or(path).display().to_string()
}

fn cause(cause: DrainCause) -> &'static str {
    match cause {
        DrainCause::Stop => "stop",
        DrainCause::Restart => "restart",
    }
}

fn size(bytes: usize) -> String {
    format_size(bytes as u64)
}

fn list(items: &[impl Debug]) -> String {
    format!("{items:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults::TABLE;

    #[test]
    fn every_setting_can_be_compared() {
        let rows = settings(&Config::base());
        let mut ours: Vec<_> = rows.iter().map(|(key, ..)| *key).collect();
        let mut known: Vec<_> = TABLE.iter().map(|(key, ..)| *key).collect();
        ours.sort_unstable();
        known.sort_unstable();
        assert_eq!(ours, known, "a setting of `TABLE` belongs here as well");
    }
}

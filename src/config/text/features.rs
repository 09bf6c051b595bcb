//! `[features]`: the cloud's instance features under their own names (spec 6.3), so that an operator can carry them over as
//! they are exported. What ringgate acts on becomes the setting of the same meaning; the rest is said to be without effect.

mod form;

use std::time::Duration;

use form::{Feature, as_switch, entries, entry};

use super::addresses::{addresses, forwarded_for, is_field_name};
use super::settings::TIMES;
use super::{Reader, set};
use crate::config::{ClientAddress, PathEscapes};
use crate::document::{Complaints, Item, Node, Place, Severity, Table, Value};

/// A feature that has a setting of its own: name, section and key of that.
const NATIVE: [(&str, &str, &str); 7] = [
    ("request_body_size", "limits", "request_body_bytes_max"),
    ("request_custom_config", "timeouts", "request_body"),
    ("backend_timeout", "limits", "backend_timeout_max"),
    ("real_ip_from_xff", "routing", "client_address"),
    ("real_ip_header_getter", "routing", "client_address"),
    (
        "default_group_host_trustlist",
        "routing",
        "inbound_addresses",
    ),
    ("api_uri_no_escape", "routing", "path_escapes"),
];

/// Features that need nothing: management only, or done whether they are on or off, as cookie conditions and streaming.
const NOTHING_TO_DO: [&str; 22] = [
    "vpc_name_modifiable",
    "vpc_health_status",
    "policy_cookie_param",
    "sse_strategy",
    // Fixed capabilities: what definitions ask for is judged there.
    "gateway_responses",
    "sign_basic",
    "sign_aes",
    "multi_auth",
    "route",
    "cors",
    "app_quota",
    "app_acl",
    "set_resp_headers",
    "vpc_backup",
    "kafka_log",
    "backend_retry_count",
    "policy_sys_param",
    "breaker",
    "breakerv2",
    "content_type_configurable",
    "rate_limit_plugin",
    "rate_limit_algorithm",
];

/// Features without effect, and what that means.
const NOT_ENFORCED: [(&str, &str); 18] = [
    ("ratelimit", "calls are not throttled by default"),
    ("ratelimit_api_limits", "calls are not throttled by default"),
    ("app_token", "APIs with app authentication are refused"),
    ("app_api_key", "APIs with app authentication are refused"),
    ("app_basic", "APIs with app authentication are refused"),
    ("app_secret", "APIs with app authentication are refused"),
    ("app_jwt", "APIs with app authentication are refused"),
    ("app_route", "on an address only the group DEFAULT answers"),
    ("public_key", "calls to backends are not signed"),
    ("backend_token_allow", "tokens are not passed to backends"),
    (
        "backend_client_certificate",
        "backends are shown no certificate",
    ),
    ("ssl_ciphers", "the TLS library's own choice is offered"),
    ("throttle_strategy", "calls are not throttled"),
    ("custom_log", "the access log has no further fields"),
    (
        "custom_auth_header",
        "APIs with app authentication are refused",
    ),
    ("gzip", "answers are passed on as backends send them"),
    ("lts", "the access log goes where log.access says"),
    (
        "apiclient_first_use_x_hw_id",
        "APIs with app authentication are refused",
    ),
];

const MIB: u64 = 1 << 20;

/// Spec 6.3.
const BODY_BYTES: std::ops::RangeInclusive<u64> = MIB..=9536 * MIB;
const BACKEND_TIMEOUT_MS_MAX: u64 = 600_000;

impl Reader {
    /// After everything else, since a feature may not say again what a setting says. `root` is the whole file.
    pub(super) fn features(&mut self, top: &mut Table<'_>, root: &Node) {
        let Some(item) = top.take("features") else {
            return;
        };
        let mut seen: Vec<(String, Place)> = Vec::new();
        for (name, value, place) in entries(&item, &mut self.complaints) {
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
                let problem = format!("`{name}` is there twice: {first}");
                self.complaints.error(&place, problem, "keep one of them");
                continue;
            }
            let Some(feature) = Feature::read(&name, &value, &place, &mut self.complaints) else {
                continue;
            };
            if feature.on && !self.is_said_twice(&feature, root, &seen) {
                self.feature(&feature);
            }
            if feature.on {
                seen.push((name, place));
            }
        }
    }

    /// Two sources of one value: the feature and its setting, or both features about the client's address.
    fn is_said_twice(&mut self, feature: &Feature, root: &Node, seen: &[(String, Place)]) -> bool {
        let Some((_, section, key)) = NATIVE.iter().find(|(name, ..)| *name == feature.name) else {
            return false;
        };
        let other = seen.iter().find(|(name, _)| {
            NATIVE
                .iter()
                .any(|native| native.0 == name && (native.1, native.2) == (*section, *key))
        });
        let other = match (
            entry(root, section).and_then(|table| entry(table, key)),
            other,
        ) {
            (Some(node), _) => format!("`{section}.{key}` on line {}", node.at.line),
            (None, Some((name, first))) => format!("`{name}` on line {}", first.line),
            (None, None) => return false,
        };
        self.complaints.error(
            &feature.place,
            format!("`{}` and {other} set the same thing", feature.name),
            "keep one of them",
        );
        true
    }

    fn feature(&mut self, feature: &Feature) {
        let value = Item::embedded(&feature.node, &feature.place.key);
        let complaints = &mut self.complaints;
        let config = &mut self.draft.config;
        match feature.name.as_str() {
            "request_body_size" => set(
                &mut config.limits.request_body_bytes_max,
                value.size(BODY_BYTES, complaints),
            ),
            "backend_timeout" => set(
                &mut config.definitions.backend_timeout_max,
                backend_timeout(&value, complaints),
            ),
            "request_custom_config" => set(
                &mut config.timeouts.request_body,
                request_timeout(&value, complaints),
            ),
            "real_ip_from_xff" => set(
                &mut config.routing.client_address,
                from_forwarded_for(&value, complaints),
            ),
            "real_ip_header_getter" => set(
                &mut config.routing.client_address,
                from_field(&value, complaints),
            ),
            "default_group_host_trustlist" => {
                let hosts = member(
                    &value,
                    "hosts",
                    "write hosts = [\"203.0.113.10\"]",
                    complaints,
                );
                let hosts = hosts.map(|hosts| addresses(&hosts, complaints));
                set(&mut config.routing.inbound_addresses, hosts);
            }
            "api_uri_no_escape" => {
                if let Value::Table(_) = value.value()
                    && let Some(mut table) = value.table(complaints)
                {
                    table.take("enable");
                    table.finish(Severity::Error, complaints);
                }
                config.routing.path_escapes = PathEscapes::Kept;
            }
            name => without_effect(name, &feature.place, complaints),
        }
    }
}

fn without_effect(name: &str, place: &Place, complaints: &mut Complaints) {
    if NOTHING_TO_DO.contains(&name) {
        return;
    }
    if let Some((_, meaning)) = NOT_ENFORCED.iter().find(|(known, _)| *known == name) {
        complaints.warning(
            place,
            format!("`{name}` is not enforced by this version: {meaning}"),
            "remove it, or write \"off\", if that is all right",
        );
    }
}

fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

fn names() -> impl Iterator<Item = &'static str> {
    let native = NATIVE.iter().map(|(name, ..)| *name);
    let others = NOT_ENFORCED.iter().map(|(name, _)| *name);
    native.chain(NOTHING_TO_DO).chain(others)
}

/// The value at `key` of a feature's table; other keys are unknown.
fn member<'a>(
    item: &Item<'a>,
    key: &'static str,
    remedy: &str,
    complaints: &mut Complaints,
) -> Option<Item<'a>> {
    let mut table = item.table(complaints)?;
    table.take("enable");
    let value = table.need(key, remedy, complaints);
    table.finish(Severity::Error, complaints);
    value
}

/// `{ max_timeout = 500 }` in milliseconds, as all timeouts of the cloud are.
fn backend_timeout(item: &Item<'_>, complaints: &mut Complaints) -> Option<Duration> {
    let value = match item.value() {
        Value::Table(_) => member(item, "max_timeout", "write max_timeout = 60000", complaints)?,
        _ => item.clone(),
    };
    if let Value::Integer(_) = value.value() {
        let most = i64::try_from(BACKEND_TIMEOUT_MS_MAX).ok()?;
        let ms = value.integer(1..=most, complaints)?;
        return u64::try_from(ms).ok().map(Duration::from_millis);
    }
    let range = Duration::from_millis(1)..=Duration::from_millis(BACKEND_TIMEOUT_MS_MAX);
    value.duration(range, complaints)
}

/// `{ request_body_timeout = 8 }` in seconds, as spec 6.3 gives its default, beside the switch for HTTP/2.
fn request_timeout(item: &Item<'_>, complaints: &mut Complaints) -> Option<Duration> {
    let mut table = item.table(complaints)?;
    table.take("enable");
    let timeout = table.take("request_body_timeout");
    for (key, item) in table.rest() {
        let place = item.place(complaints);
        if !key
            .to_ascii_lowercase()
            .replace(['_', '/'], "")
            .contains("http2")
        {
            let problem = format!("unknown key `{key}`");
            let remedy = "known here: request_body_timeout, and a switch for http2";
            complaints.error(&place, problem, remedy);
        } else if as_switch(item.value()) != Some(false) {
            complaints.warning(
                &place,
                "HTTP/2 is not offered by this version",
                "remove it, or write \"off\", if that is all right",
            );
        }
    }
    let timeout = timeout?;
    match timeout.value() {
        Value::Integer(_) => {
            let seconds = timeout.integer(1..=3600, complaints)?;
            u64::try_from(seconds).ok().map(Duration::from_secs)
        }
        _ => timeout.duration(TIMES, complaints),
    }
}

/// `{ enable = "on", xff_index = -1 }`; that index is the default.
fn from_forwarded_for(item: &Item<'_>, complaints: &mut Complaints) -> Option<ClientAddress> {
    let index = match item.value() {
        Value::Integer(_) => Some(item.clone()),
        value if as_switch(value).is_some() || *value == Value::Null => None,
        _ => {
            let mut table = item.table(complaints)?;
            table.take("enable");
            let index = table.take("xff_index");
            table.finish(Severity::Error, complaints);
            index
        }
    };
    match index {
        Some(index) => forwarded_for(&index, complaints),
        None => Some(ClientAddress::ForwardedFor { index: -1 }),
    }
}

/// `{ enable = "on", header_getter = "header:X-Real-IP" }`.
fn from_field(item: &Item<'_>, complaints: &mut Complaints) -> Option<ClientAddress> {
    let remedy = "write header_getter = \"header:X-Real-IP\"";
    let getter = member(item, "header_getter", remedy, complaints)?;
    getter.parsed(
        "a header such as \"header:X-Real-IP\"",
        |text| {
            let name = text.strip_prefix("header:")?;
            is_field_name(name).then(|| ClientAddress::Field(name.to_owned()))
        },
        complaints,
    )
}

#[cfg(test)]
mod tests;

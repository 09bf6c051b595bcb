//! `ringgate apis`: a table of everything that is served.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{print, show_complaints};
use crate::catalog::{self, Api, DEFAULT_GROUP, Destination, HttpBackend, MatchMode};
use crate::cli::{Apis, Format};
use crate::config::{Config, Domain, DomainPort, Listener, Routing, Scheme};
use crate::document::quantity::format_duration;

pub(crate) fn apis(arguments: &Apis) -> ExitCode {
    let loaded = match catalog::load(&arguments.file.config) {
        Ok(loaded) => loaded,
        Err(report) => {
            show_complaints(&report.complaints);
            eprintln!("ringgate: {}", report.summary());
            return ExitCode::FAILURE;
        }
    };
    show_complaints(&loaded.warnings);
    let rows: Vec<Row<'_>> = loaded
        .catalog
        .apis()
        .map(|api| Row {
            api,
            hosts: hosts(&loaded.config, api),
        })
        .collect();
    let text = match arguments.format {
        Format::Text => as_table(&rows),
        Format::Json => format!("{:#}\n", rows.iter().map(as_json).collect::<Value>()),
    };
    print(&text, ExitCode::SUCCESS)
}

/// One API and what leads to it.
struct Row<'a> {
    api: &'a Api,
    hosts: Vec<String>,
}

/// A heading and what stands below it.
type Column = (&'static str, fn(&Row<'_>) -> String);

/// The last column is not padded, so the one that grows stands there.
const COLUMNS: &[Column] = &[
    ("GROUP", |row| row.api.group.clone()),
    ("ENVIRONMENT", |row| row.api.environment.clone()),
    ("SCHEMES", |row| schemes(row.api).join(",")),
    ("METHOD", |row| row.api.method.label().to_owned()),
    ("PATH", |row| path(row.api).to_owned()),
    ("MATCH", |row| match_mode(row.api).to_owned()),
    ("API", |row| row.api.name.clone()),
    ("BACKEND", |row| match &row.api.backend.destination {
        Destination::Http(http) => urls(http).join(","),
        Destination::Mock(mock) => format!("mock {}", mock.status),
    }),
    ("TIMEOUT", |row| match &row.api.backend.destination {
        Destination::Http(http) => format_duration(http.timeout),
        Destination::Mock(_) => "-".to_owned(),
    }),
    ("HOSTS", |row| {
        if row.hosts.is_empty() {
            "-".to_owned()
        } else {
            row.hosts.join(",")
        }
    }),
];

fn as_table(rows: &[Row<'_>]) -> String {
    let mut lines = vec![
        COLUMNS
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect(),
    ];
    lines.extend(rows.iter().map(|row| {
        COLUMNS
            .iter()
            .map(|(_, cell)| cell(row))
            .collect::<Vec<_>>()
    }));
    let mut widths = vec![0; COLUMNS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (width, cell) in widths.iter().zip(line) {
            // Writing to a string does not fail.
            write!(row, "{cell:width$}  ").ok();
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn as_json(row: &Row<'_>) -> Value {
    let api = row.api;
    let (backends, timeout, mock) = match &api.backend.destination {
        Destination::Http(http) => (urls(http), Some(http.timeout.as_millis()), None),
        Destination::Mock(mock) => (Vec::new(), None, Some(mock.status)),
    };
    json!({
        "group": api.group,
        "environment": api.environment,
        "schemes": schemes(api),
        "method": api.method.label(),
        "path": api.path,
        "match": match_mode(api),
        "name": api.name,
        "id": api.id,
        "cors": api.cors,
        "backends": backends,
        "mock": mock,
        "timeout_ms": timeout.and_then(|ms| u64::try_from(ms).ok()),
        "hosts": row.hosts,
    })
}

fn schemes(api: &Api) -> Vec<&'static str> {
    [(Scheme::Http, "http"), (Scheme::Https, "https")]
        .into_iter()
        .filter(|(scheme, _)| api.schemes.refusal(*scheme).is_none())
        .map(|(_, name)| name)
        .collect()
}

fn path(api: &Api) -> &str {
    if api.path.is_empty() { "*" } else { &api.path }
}

fn match_mode(api: &Api) -> &'static str {
    match api.match_mode {
        MatchMode::Normal => "exact",
        MatchMode::Prefix => "prefix",
    }
}

/// Where an API leads, one URL a member.
fn urls(http: &HttpBackend) -> Vec<String> {
    let path = http.path.to_string();
    http.members
        .iter()
        .map(|member| {
            let scheme = member.scheme.label();
            format!("{scheme}://{}{path}", member.authority)
        })
        .collect()
}

/// The hosts by which clients reach an API: those of its group, on listeners of its schemes.
fn hosts(config: &Config, api: &Api) -> Vec<String> {
    let listeners: Vec<&Listener> = config
        .listeners
        .iter()
        .filter(|listener| api.schemes.refusal(listener.scheme).is_none())
        .collect();
    let mut hosts = Vec::new();
    if listeners.is_empty() {
        return hosts;
    }
    if api.group == DEFAULT_GROUP {
        hosts.extend(addresses(&config.routing, &listeners));
    }
    let routing = &config.routing;
    let domains = routing.domains.iter();
    for domain in domains.filter(|domain| domain.group == api.group) {
        hosts.extend(names(domain, &listeners));
    }
    let debug = routing.debug_domains.iter();
    let debug = debug.filter(|domain| domain.group == api.group);
    hosts.extend(debug.map(|domain| domain.name.clone()));
    hosts
}

fn addresses(routing: &Routing, listeners: &[&Listener]) -> Vec<String> {
    if routing.any_address {
        return vec!["any address".to_owned()];
    }
    let own = listeners.iter().map(|listener| listener.address.ip());
    let mut hosts = Vec::new();
    for address in own.chain(routing.inbound_addresses.iter().copied()) {
        let host = if address.is_unspecified() {
            "own addresses".to_owned()
        } else {
            address.to_string()
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// A domain as it stands in a URL: with the port, where it has one of its own.
fn names(domain: &Domain, listeners: &[&Listener]) -> Vec<String> {
    let mut hosts = Vec::new();
    for (scheme, port) in [(Scheme::Http, domain.http), (Scheme::Https, domain.https)] {
        let mut of_scheme = listeners
            .iter()
            .filter(|listener| listener.scheme == scheme);
        let host = match port {
            DomainPort::Every => of_scheme.next().map(|_| domain.name.clone()),
            DomainPort::Only(port) => of_scheme
                .find(|listener| listener.address.port() == port)
                .map(|_| format!("{}:{port}", domain.name)),
            DomainPort::None => None,
        };
        hosts.extend(host.filter(|host| !hosts.contains(host)));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Schemes;

    #[test]
    fn only_hosts_that_lead_to_an_api_are_listed() {
        let text = r#"
definitions = [{ files = ["a.yaml"] }]
listeners = [
  { address = "0.0.0.0:80", protocol = "http" },
  { address = "127.0.0.1:81", protocol = "http" },
]
domains = [
  { name = "every.b", group = "DEFAULT" },
  { name = "own.b", group = "DEFAULT", http_port = 81, https_port = "off" },
  { name = "other.b", group = "other" },
]
groups = [{ name = "DEFAULT", debug_domain = "debug.b" }]
routing = { inbound_addresses = ["203.0.113.1"] }
"#;
        let mut config = Config::from_text("ringgate.toml", text).unwrap();
        let api = |group: &str, schemes| {
            let mut forward = crate::catalog::Forward {
                members: Vec::new(),
                path: None,
                backend_path: crate::catalog::BackendPath::Same,
                schemes,
                policy: crate::relay::policy::TunnelPolicy {
                    api: "a".to_owned(),
                    group: group.to_owned(),
                    environment: "RELEASE".to_owned(),
                    backend: String::new(),
                    address: String::new(),
                    version: 0,
                    idle_timeout: std::time::Duration::from_secs(1),
                    idle_end: config.tunnel.idle_end,
                    frames: config.tunnel.frames,
                    message_bytes_max: 0,
                },
                timeout: std::time::Duration::from_secs(1),
            };
            forward.path = Some("/".to_owned());
            crate::catalog::Catalog::forward_all(forward).unwrap()
        };
        let of = |config: &Config, catalog: &crate::catalog::Catalog| {
            hosts(config, catalog.apis().next().unwrap())
        };
        let (default, other) = (api("DEFAULT", Schemes::Both), api("other", Schemes::Http));
        let secure = api("DEFAULT", Schemes::Https);
        assert_eq!(
            of(&config, &default),
            [
                "own addresses",
                "127.0.0.1",
                "203.0.113.1",
                "every.b",
                "own.b:81",
                "debug.b"
            ]
        );
        assert_eq!(of(&config, &other), ["other.b"]);
        assert_eq!(of(&config, &secure), [""; 0], "there is no https listener");
        config.routing.any_address = true;
        assert_eq!(of(&config, &default)[0], "any address");
    }
}

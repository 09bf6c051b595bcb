//! `ringgate apis`: a table of everything that is served.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{print, show_complaints};
use crate::catalog::{self, Api, BackendPath, DEFAULT_GROUP, Destination, HttpBackend, MatchMode};
use crate::cli::{Apis, Format};
use crate::config::{Config, DomainPort, Routing, Scheme};
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
            hosts: hosts(&loaded.config, &api.group),
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
    let path = match &http.path {
        BackendPath::Same => "",
        BackendPath::Fixed(path) => path,
    };
    http.members
        .iter()
        .map(|member| {
            let scheme = match member.scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            };
            format!("{scheme}://{}{path}", member.authority)
        })
        .collect()
}

/// The hosts by which clients reach a group.
fn hosts(config: &Config, group: &str) -> Vec<String> {
    let routing = &config.routing;
    let mut hosts = Vec::new();
    if group == DEFAULT_GROUP {
        addresses(config, &mut hosts);
    }
    hosts.extend(domains(routing, group));
    hosts
}

fn addresses(config: &Config, hosts: &mut Vec<String>) {
    if config.routing.any_address {
        hosts.push("any address".to_owned());
        return;
    }
    let every = |listener: &crate::config::Listener| listener.address.ip().is_unspecified();
    if config.listeners.iter().any(every) {
        hosts.push("own addresses".to_owned());
    }
    let specific = config.listeners.iter().filter(|listener| !every(listener));
    let own = specific.map(|listener| listener.address.ip());
    let mut seen = Vec::new();
    for address in own.chain(config.routing.inbound_addresses.iter().copied()) {
        if !seen.contains(&address) {
            seen.push(address);
            hosts.push(address.to_string());
        }
    }
}

fn domains<'a>(routing: &'a Routing, group: &'a str) -> impl Iterator<Item = String> + 'a {
    let bound = routing
        .domains
        .iter()
        .filter(move |domain| domain.group == group)
        .flat_map(|domain| match (domain.http, domain.https) {
            (DomainPort::Every, DomainPort::Every) => vec![domain.name.clone()],
            (http, https) => [http, https]
                .into_iter()
                .filter_map(|port| match port {
                    DomainPort::Every => Some(domain.name.clone()),
                    DomainPort::Only(port) => Some(format!("{}:{port}", domain.name)),
                    DomainPort::None => None,
                })
                .collect(),
        });
    let debug = routing
        .debug_domains
        .iter()
        .filter(move |domain| domain.group == group)
        .map(|domain| domain.name.clone());
    bound.chain(debug)
}

//! Commands for a program that runs: they ask its admin listener, and print what it says.
#![forbid(unsafe_code)]

pub(crate) mod ask;

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value as Json;

use self::ask::{Door, Query};
use crate::cli::{Close, Drain, Reload, Tunnels};
use crate::document::plural;
use crate::document::quantity::format_duration;

/// A reload of a large configuration is the slowest of all answers.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no good answer, for a person.
#[derive(Debug)]
pub struct Failure(pub(crate) String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lists open tunnels.
pub fn tunnels(command: &Tunnels) -> Result<(), Failure> {
    let mut query = Query::default();
    query.add("api", command.api.as_deref());
    query.add("group", command.group.as_deref());
    query.add("client", command.client.as_deref());
    query.add("backend", command.backend.as_deref());
    query.add("older_than", command.older_than.as_deref());
    query.add("idle_for", command.idle_for.as_deref());
    query.add("sort", Some(&command.sort));
    query.add("limit", Some(&command.limit.to_string()));
    let answer =
        Door::find(&command.socket)?.ask("GET", &query.on("/v1/tunnels"), ANSWER_TIMEOUT)?;
    if command.json {
        return print(&format!("{answer}\n"));
    }
    print(&table(&answer))
}

/// Closes one tunnel.
pub fn close(command: &Close) -> Result<(), Failure> {
    let path = format!("/v1/tunnels/{}?code={}", command.id, command.code);
    Door::find(&command.socket)?.ask("DELETE", &path, ANSWER_TIMEOUT)?;
    print(&format!("closing {} with {}\n", command.id, command.code))
}

/// Orders, shows or cancels drains.
pub fn drain(command: &Drain) -> Result<(), Failure> {
    let mut query = Query::default();
    if command.all {
        query.add("all", Some(""));
    }
    query.add("api", command.api.as_deref());
    query.add("group", command.group.as_deref());
    query.add("backend", command.backend.as_deref());
    let (method, path) = match command.cancel {
        Some(number) => ("DELETE", format!("/v1/drains/{number}")),
        None if query.is_empty() => ("GET", "/v1/drains".to_owned()),
        None => {
            query.add("over", command.over.as_deref());
            query.add("notice", command.notice.as_deref());
            query.add("limit", command.limit.as_deref());
            query.add("cause", command.restart.then_some("restart"));
            ("POST", query.on("/v1/drains"))
        }
    };
    let answer = Door::find(&command.socket)?.ask(method, &path, ANSWER_TIMEOUT)?;
    let shown = match answer["drains"].as_array() {
        Some(drains) if drains.is_empty() => "no drain has been ordered\n".to_owned(),
        Some(drains) => drains.iter().map(progress).collect(),
        None => progress(&answer),
    };
    print(&shown)
}

/// Has the configuration read again.
pub fn reload(command: &Reload) -> Result<(), Failure> {
    let answer = Door::find(&command.socket)?.ask("POST", "/v1/reload", ANSWER_TIMEOUT)?;
    let summary = answer["reloaded"].as_str().unwrap_or_default();
    print(&format!("reloaded: {summary}\n"))
}

fn progress(drain: &Json) -> String {
    let number = |key: &str| drain[key].as_u64().unwrap_or_default();
    let cancelled = if drain["cancelled"] == true {
        ", cancelled"
    } else {
        ""
    };
    let time_left = Duration::from_secs(number("time_left_ms").div_ceil(1000));
    format!(
        "drain {}: {} over {}: {} open of {}, {} told to close, {} left by themselves, {} waiting, {} left{cancelled}\n",
        number("drain"),
        drain["which"].as_str().unwrap_or_default(),
        drain["over"].as_str().unwrap_or_default(),
        number("open"),
        number("chosen"),
        number("closed"),
        number("left_by_themselves"),
        number("waiting"),
        format_duration(time_left),
    )
}

/// One line a tunnel, columns aligned.
fn table(answer: &Json) -> String {
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let time = |value: &Json| {
        let millis = value.as_u64().unwrap_or_default();
        format!("{:.1}s", Duration::from_millis(millis).as_secs_f64())
    };
    let mut rows = vec![
        [
            "ID", "API", "CLIENT", "BACKEND", "AGE", "IDLE", "MESSAGES", "BYTES", "WAITING",
        ]
        .map(str::to_owned),
    ];
    let tunnels = answer["tunnels"].as_array().map_or(&[][..], Vec::as_slice);
    rows.extend(tunnels.iter().map(|tunnel| {
        let both = |key: &str| {
            let of = |side: &str| text(&tunnel[side][key]);
            format!("{}/{}", of("from_client"), of("from_backend"))
        };
        [
            text(&tunnel["id"]),
            format!("{}:{}", text(&tunnel["group"]), text(&tunnel["api"])),
            text(&tunnel["client"]),
            text(&tunnel["backend"]),
            time(&tunnel["age_ms"]),
            time(&tunnel["idle_ms"]),
            both("messages"),
            both("bytes"),
            format!(
                "{}/{}",
                tunnel["waiting_for_backend_bytes"], tunnel["waiting_for_client_bytes"]
            ),
        ]
    }));
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            let gap = if column > 0 { "  " } else { "" };
            out.push_str(&format!("{gap}{cell:<width$}"));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    let total = answer["total"].as_u64().unwrap_or_default();
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    let total = plural(total, "tunnel");
    out + &format!("{total}, {} shown\n", tunnels.len())
}

/// A reader who has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

//! Commands for a program that runs: they ask its admin socket, and print what it says.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use crate::cli::{Close, Drain, Reload, Socket, Tunnels};
use crate::document::quantity::format_duration;
use crate::document::{Node, Value, parse_toml, plural};

/// A reload of a large configuration is the slowest of all answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Most bytes of an answer: ten thousand tunnels, several times over.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why there is no good answer, for a person.
#[derive(Debug)]
pub struct Failure(String);

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
    let answer = ask(&command.socket, "GET", &query.on("/v1/tunnels"))?;
    if command.json {
        return print(&format!("{answer}\n"));
    }
    print(&table(&answer))
}

/// Closes one tunnel.
pub fn close(command: &Close) -> Result<(), Failure> {
    let path = format!("/v1/tunnels/{}?code={}", command.id, command.code);
    ask(&command.socket, "DELETE", &path)?;
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
    let answer = ask(&command.socket, method, &path)?;
    let shown = match answer["drains"].as_array() {
        Some(drains) if drains.is_empty() => "no drain has been ordered\n".to_owned(),
        Some(drains) => drains.iter().map(progress).collect(),
        None => progress(&answer),
    };
    print(&shown)
}

/// Has the configuration read again.
pub fn reload(command: &Reload) -> Result<(), Failure> {
    let answer = ask(&command.socket, "POST", "/v1/reload")?;
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

fn print(text: &str) -> Result<(), Failure> {
    let printed = io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|error| Failure(error.to_string()))
}

/// The parameters of a request.
#[derive(Default)]
struct Query(String);

impl Query {
    fn add(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let separator = if self.0.is_empty() { '?' } else { '&' };
        self.0.push(separator);
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0.push_str(&format!("%{byte:02X}"));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn on(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

/// The JSON of a good answer.
pub(crate) fn ask(socket: &Socket, method: &str, path: &str) -> Result<Json, Failure> {
    let at = place(socket)?;
    let failed = |error: io::Error| {
        Failure(format!(
            "admin socket {}: {error}; is the program running?",
            at.display()
        ))
    };
    let text = exchange(&at, method, path).map_err(failed)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let answer: Json = serde_json::from_str(body).unwrap_or_default();
    if status.starts_with('2') {
        return Ok(answer);
    }
    let error = answer["error"].as_str().unwrap_or_else(|| body.trim());
    let mut said = format!("{error} ({status})");
    for line in answer["complaints"].as_array().into_iter().flatten() {
        said.push('\n');
        said.push_str(line.as_str().unwrap_or_default());
    }
    Err(Failure(said))
}

fn exchange(at: &Path, method: &str, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(at)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The socket that was named, or that of the configuration file.
fn place(socket: &Socket) -> Result<PathBuf, Failure> {
    if let Some(path) = &socket.socket {
        return Ok(path.clone());
    }
    let file = socket.config.display().to_string();
    let text = std::fs::read_to_string(&socket.config);
    let text = text.map_err(|error| {
        Failure(format!(
            "{file}: {error}; name it with -c, or the socket with --socket"
        ))
    })?;
    let socket = admin_socket(&file, &text).ok_or_else(|| {
        Failure(format!(
            "{file} has no admin.socket; add one, or name it with --socket"
        ))
    })?;
    let beside = Path::new(&file).parent().unwrap_or_else(|| Path::new(""));
    Ok(beside.join(socket))
}

/// `admin.socket` of a file that may be wrong elsewhere: that is what the program is asked about.
fn admin_socket(file: &str, text: &str) -> Option<String> {
    let (root, _) = parse_toml(file, text);
    let entry = |node: &Node, key: &str| match &node.value {
        Value::Table(entries) => entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.node.clone()),
        _ => None,
    };
    match entry(&entry(&root, "admin")?, "socket")?.value {
        Value::Text(path) => Some(path),
        _ => None,
    }
}

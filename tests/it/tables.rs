//! The rules of routing and mapping, as tables under `tests/tables`: what a backend is asked and what a client is
//! answered, one row a rule. Each program of a file runs once, against one backend, and tells all rows that fail.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;

use crate::support::backend::{Backend, Peer, refusing, switching};
use crate::support::client::{Answer, KEY, field, read_head};
use crate::support::program::{Ringgate, Workspace};

/// A file of `tests/tables`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    program: Vec<Program>,
}

/// A configuration with the definitions that it names, and the rows that hold for it.
///
/// `@backend@` stands for the backend's address in both, `@refused@` for one where nobody listens, `@http@`, `@https@` and
/// `@more@` for the ports of three listeners, of which the last speaks HTTP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    config: String,
    files: BTreeMap<String, String>,
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The rule that the row holds.
    name: String,
    #[serde(default)]
    listener: Via,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    target: String,
    /// Field lines; a `Host` is added where there is none.
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    body: String,
    /// Whether the fields of an opening handshake are added.
    #[serde(default)]
    upgrade: bool,
    /// The whole request, in place of everything above but the listener. `\n` ends a line.
    raw: Option<String>,
    /// How often it is sent; only what becomes of the last one counts.
    #[serde(default = "once")]
    times: usize,
    #[serde(default)]
    backend: Option<Asked>,
    #[serde(default)]
    answer: Expected,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Via {
    #[default]
    Http,
    Https,
    More,
}

/// What the backend was asked, and what it does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// `GET /path?query`
    line: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    absent: Vec<String>,
    body: Option<String>,
    #[serde(default = "once")]
    times: usize,
    #[serde(default)]
    does: Does,
}

/// What the backend does with a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Does {
    /// 200 and `ok`, or 101.
    #[default]
    Agree,
    /// An answer with this status and these fields.
    Answer { status: u16, fields: Vec<String> },
    /// Closes without an answer, the first time or so many times.
    Close(usize),
    /// Says nothing until the program has given up.
    Hang,
}

/// `@id@` stands for the request's id, `@backend@` and the ports for what they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: Option<u16>,
    /// The code of an error of the gateway's, in a body of the built-in form.
    error: Option<String>,
    message: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    present: Vec<String>,
    #[serde(default)]
    absent: Vec<String>,
    body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

fn once() -> usize {
    1
}

macro_rules! tables {
    ($($(#[$about:meta])* $name:ident)+) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $($(#[$about])* #[test] fn $name() { run(stringify!($name)); })+
    };
}

tables! {
    routing
    domains
    environments
    paths
    parameters
    backend_parameters
    encodings
    policies
    orchestration
    responses
    errors
    cors
    mock
    headers
    client_address
    hygiene
    debug
    retries
    upgrades
    formats
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables")
}

#[test]
fn every_table_is_run() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut names: Vec<String> = NAMES.iter().map(|name| format!("{name}.toml")).collect();
    names.sort();
    assert_eq!(files, names);
}

fn run(name: &str) {
    let path = folder().join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    let table: Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut failures = Vec::new();
    for program in &table.program {
        let running = Running::start(program);
        for case in &program.case {
            for failure in running.failures(case) {
                failures.push(format!("{}: {failure}", case.name));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{name}.toml:\n\n{}\n",
        failures.join("\n\n")
    );
}

/// A request as the backend saw it.
#[derive(Debug)]
struct Seen {
    head: String,
    body: String,
}

struct Running {
    program: Ringgate,
    seen: Receiver<Seen>,
    does: Arc<Mutex<Does>>,
    /// What is written for what in the table.
    words: Vec<(&'static str, String)>,
    // Its threads end with the test.
    _backend: Backend<()>,
}

impl Running {
    fn start(program: &Program) -> Self {
        let (sender, seen) = channel();
        let does = Arc::new(Mutex::new(Does::Agree));
        let shared = Arc::clone(&does);
        let backend = Backend::start(move |peer| serve(peer, &shared, &sender));
        let [http, https, more] = free_ports();
        let words = vec![
            ("@backend@", backend.address.to_string()),
            ("@refused@", refusing().to_string()),
            ("@http@", http.to_string()),
            ("@https@", https.to_string()),
            ("@more@", more.to_string()),
        ];
        let workspace = Workspace::new();
        for (name, text) in &program.files {
            workspace.write(name, &filled(text, &words));
        }
        let config = format!(
            "{}\n{}\n[[certificates]]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[workers]\ncores = [0]\n",
            filled(&program.config, &words),
            [("http", http), ("https", https), ("http", more)]
                .map(|(protocol, port)| format!(
                    "[[listeners]]\naddress = \"127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\n"
                ))
                .concat(),
        );
        let file = workspace.write("ringgate.toml", &config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.arg("run").arg("-c").arg(file);
        Self {
            program: Ringgate::start(command, workspace),
            seen,
            does,
            words,
            _backend: backend,
        }
    }

    /// What is not as the row says.
    fn failures(&self, case: &Case) -> Vec<String> {
        if let Some(asked) = &case.backend {
            *self.does.lock().unwrap() = asked.does.clone();
        }
        let request = case.request();
        let mut answer = self.ask(case, &request);
        for _ in 1..case.times {
            answer = self.ask(case, &request);
        }
        // Whatever the backend was asked, it knew before the client was answered.
        let mut seen: Vec<Seen> = self.seen.try_iter().collect();
        if case.times > 1 {
            let wanted = case.backend.as_ref().map_or(0, |asked| asked.times);
            seen.drain(..seen.len().saturating_sub(wanted));
        }
        *self.does.lock().unwrap() = Does::Agree;
        let mut check = Check {
            words: self.words.clone(),
            failures: Vec::new(),
        };
        match answer {
            Ok(answer) => check.answer(case, &answer),
            Err(error) => check.fail(format!("no answer: {error}")),
        }
        check.seen(case, &seen);
        check.failures
    }

    fn ask(&self, case: &Case, request: &str) -> std::io::Result<Answer> {
        let listener = match case.listener {
            Via::Http => 0,
            Via::Https => 1,
            Via::More => 2,
        };
        let mut client = self.program.connect_to(&self.program.listeners[listener]);
        client.write_all(filled(request, &self.words).as_bytes())?;
        client.flush()?;
        if case.method == "HEAD" {
            let head = read_head(&mut client)?;
            let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
            return Ok(Answer {
                status: status.unwrap_or_default(),
                head,
                body: Vec::new(),
            });
        }
        Answer::read(&mut client)
    }
}

/// Three ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    [(); 3]
        .map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .map(|listener: TcpListener| listener.local_addr().as_ref().map_or(0, SocketAddr::port))
}

fn filled(text: &str, words: &[(&str, String)]) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| {
        text.replace(word, value)
    })
}

/// Answers one request; an opening handshake with 101, after which the connection closes.
fn serve(mut peer: Peer, does: &Mutex<Does>, seen: &Sender<Seen>) {
    let Ok(head) = read_head(&mut peer.socket) else {
        return; // Nobody asked anything.
    };
    let len = field(&head, "Content-Length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    peer.socket.read_exact(&mut body).unwrap();
    let answer = answer(&head, &mut does.lock().unwrap());
    // The test may be over.
    let body = String::from_utf8(body).unwrap();
    seen.send(Seen { head, body }).ok();
    match answer {
        Reply::Bytes(answer) => peer.send(answer),
        Reply::None => {}
        Reply::Never => {
            peer.is_closed();
        }
    }
}

enum Reply {
    Bytes(String),
    None,
    Never,
}

fn answer(head: &str, does: &mut Does) -> Reply {
    match does {
        Does::Agree => {}
        Does::Hang => return Reply::Never,
        Does::Close(0) => {}
        Does::Close(left) => {
            *left -= 1;
            return Reply::None;
        }
        Does::Answer { status, fields } => {
            let fields: String = fields.iter().map(|line| format!("{line}\r\n")).collect();
            return Reply::Bytes(format!(
                "HTTP/1.1 {status} Said\r\n{fields}Content-Length: 2\r\nConnection: close\r\n\r\nok"
            ));
        }
    }
    if field(head, "Upgrade").is_some() {
        return Reply::Bytes(switching(head, &[]));
    }
    let body = if head.starts_with("HEAD ") { "" } else { "ok" };
    Reply::Bytes(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{body}"
    ))
}

impl Case {
    fn request(&self) -> String {
        if let Some(raw) = &self.raw {
            return raw.replace('\n', "\r\n");
        }
        let mut request = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let host = |line: &String| {
            line.get(..5)
                .is_some_and(|name| name.eq_ignore_ascii_case("host:"))
        };
        if !self.fields.iter().any(host) {
            request.push_str("Host: 127.0.0.1\r\n");
        }
        if self.upgrade {
            request.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\n");
            request.push_str("Sec-WebSocket-Version: 13\r\n");
            request.push_str(&format!("Sec-WebSocket-Key: {KEY}\r\n"));
        }
        for line in &self.fields {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !self.body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        request.push_str("\r\n");
        request.push_str(&self.body);
        request
    }
}

/// Collects what is not as it should be.
struct Check {
    words: Vec<(&'static str, String)>,
    failures: Vec<String>,
}

impl Check {
    fn fail(&mut self, text: String) {
        self.failures.push(text);
    }

    fn equal(&mut self, what: &str, found: &str, expected: &str) {
        let expected = filled(expected, &self.words);
        if found != expected {
            self.fail(format!("{what} is {found:?}, not {expected:?}"));
        }
    }

    fn fields(&mut self, head: &str, equal: &BTreeMap<String, String>, absent: &[String]) {
        for (name, value) in equal {
            match values(head, name) {
                Some(found) => self.equal(name, &found, value),
                None => self.fail(format!("{name} is missing in {head:?}")),
            }
        }
        for name in absent {
            if let Some(found) = values(head, name) {
                self.fail(format!("{name} is there: {found:?}"));
            }
        }
    }

    fn answer(&mut self, case: &Case, answer: &Answer) {
        let expected = &case.answer;
        let id = values(&answer.head, "X-Request-Id").unwrap_or_default();
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.len() != 32 || !id.bytes().all(digit) {
            self.fail(format!("X-Request-Id is {id:?}"));
        }
        self.words.push(("@id@", id));
        let status = expected
            .status
            .unwrap_or(if case.upgrade { 101 } else { 200 });
        if answer.status != status {
            let body = String::from_utf8_lossy(&answer.body);
            self.fail(format!("status {} with {body:?}", answer.status));
        }
        self.fields(&answer.head, &expected.fields, &expected.absent);
        for name in &expected.present {
            if values(&answer.head, name).is_none() {
                self.fail(format!("{name} is missing in {:?}", answer.head));
            }
        }
        let body = String::from_utf8_lossy(&answer.body);
        if let Some(expected) = &expected.body {
            self.equal("body", &body, expected);
        }
        if let Some(code) = &expected.error {
            self.error(answer, code, expected.message.as_deref());
        }
    }

    /// Spec 5.1.
    fn error(&mut self, answer: &Answer, code: &str, message: Option<&str>) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        self.equal("error_code", &text("error_code"), code);
        self.equal("request_id", &text("request_id"), "@id@");
        if let Some(message) = message {
            self.equal("error_msg", &text("error_msg"), message);
        }
        let own = [
            ("Server", "api-gateway"),
            ("Content-Type", "application/json"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.fields(&answer.head, &own.into(), &[]);
    }

    fn seen(&mut self, case: &Case, seen: &[Seen]) {
        let Some(expected) = &case.backend else {
            if let Some(first) = seen.first() {
                self.fail(format!("the backend was asked: {:?}", first.head));
            }
            return;
        };
        if seen.len() != expected.times {
            self.fail(format!("the backend was asked {} times", seen.len()));
        }
        let Some(last) = seen.last() else { return };
        if let Some(line) = &expected.line {
            let found = last.head.lines().next().unwrap_or_default();
            self.equal("the request", found, &format!("{line} HTTP/1.1"));
        }
        if let Some(body) = &expected.body {
            self.equal("the body", &last.body, body);
        }
        self.fields(&last.head, &expected.fields, &expected.absent);
    }
}

/// The values of a field, in order, one a line.
fn values(head: &str, name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    (!values.is_empty()).then(|| values.join("\n"))
}

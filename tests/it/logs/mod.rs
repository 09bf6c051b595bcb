//! Both logs, read back by parsers that are not the program's.

mod formats;
mod messages;
mod secrets;
mod trouble;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::backend::{Backend, refusing, switching};
use crate::support::client::{Answer, field, request, upgrade};
use crate::support::eventually;
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::{Ringgate, Workspace, command};
use crate::support::settings::Settings;

const CALLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok!";

/// Echoes to tunnels and answers calls. Returns the head it was sent.
fn backend() -> Backend<String> {
    Backend::start(|mut peer| {
        let head = peer.request();
        if field(&head, "Upgrade").is_some() {
            peer.send(switching(&head, &[]));
            peer.echo();
        } else {
            peer.send(CALLED);
        }
        head
    })
}

fn settings(backend: SocketAddr, log: &str) -> Settings {
    Settings::hello(backend).with(&format!("[log]\naccess = \"access.log\"\n{log}"))
}

fn access_log(program: &Ringgate) -> PathBuf {
    program.workspace.path("access.log")
}

/// The first `count` lines of a log, once they are there.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    eventually("the lines", || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// A line of the cloud's as the spec describes it: blanks separate, quotes hold together, `\x22` is a byte.
fn split(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (text, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        let mut pieces = text.split("\\x");
        let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
        for piece in pieces {
            let (digits, plain) = piece.split_at(2);
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            bytes.extend(plain.bytes());
        }
        fields.push(String::from_utf8_lossy(&bytes).into_owned());
        match behind.strip_prefix(' ') {
            Some(more) => rest = more,
            None => {
                assert_eq!(behind, "");
                return fields;
            }
        }
    }
}

const AGENT: &str = "agent \"1\" \\ 2\t\u{9b}\u{2028}end";

const MORE: [(&str, &str); 3] = [
    ("User-Agent", AGENT),
    ("X-Forwarded-For", "198.51.100.1"),
    ("Cookie", "session=cookie-secret"),
];

const TARGET: &str = "/hello?room=7&token=query-secret";

/// A tunnel of two messages of 5 bytes that its client closes with 4001. Its id, and the bytes of request and answer.
fn tunnel(program: &Ringgate) -> (String, u64, u64) {
    let mut client = program.connect();
    let request = upgrade(TARGET, &MORE);
    let answer = client.ask(&request);
    for _ in 0..2 {
        client.send(masked(TEXT, b"12345"));
        client.read_frame();
    }
    client.send(masked(CLOSE, &close(4001, "")));
    client.rest();
    (
        answer.request_id().to_owned(),
        request.len() as u64,
        answer.head.len() as u64,
    )
}

fn call(program: &Ringgate) -> (Answer, usize) {
    let request = request(
        &format!("GET {TARGET} HTTP/1.1"),
        &[&[("Host", "127.0.0.1")], &MORE[..]].concat(),
    );
    (program.connect().ask(&request), request.len())
}

#[test]
fn settings_that_cannot_be_have_a_complaint_with_a_remedy() {
    for (log, key, remedy) in [
        ("access_format = \"xml\"", "log.access_format", "apig_json"),
        ("access_interval = \"10ms\"", "log.access_interval", "1s"),
        ("access_open = 1", "log.access_open", "true or false"),
        (
            "access_secrets = [\"\"]",
            "log.access_secrets[0]",
            "1 to 128",
        ),
    ] {
        let workspace = Workspace::new();
        Settings::hello(refusing())
            .with(&format!("[log]\n{log}"))
            .write(&workspace);
        let output = command(&["check", "-c", "ringgate.toml"], &workspace.path(""));
        assert_eq!(output.code, Some(1), "{output:?}");
        let said = output.stdout + &output.stderr;
        for part in ["ringgate.toml:", key, remedy] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    // What cannot change while the program runs says so.
    let backend = backend();
    let program = Ringgate::run(&settings(backend.address, ""));
    settings(backend.address, "access_format = \"apig\"").write(&program.workspace);
    let answer = command(
        &["reload", "-c", "ringgate.toml"],
        &program.workspace.path(""),
    );
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("without a restart"), "{answer:?}");
}

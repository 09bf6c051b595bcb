//! Python's `websockets` at both ends.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::program::Ringgate;
use crate::support::python::{Server, available, client};
use crate::support::{TRANSPORTS, Transport};

/// Runs the client in `mode` against the server, through the program, over both transports.
fn converse(mode: &str, check: impl Fn(Value, Value, &Ringgate)) {
    if !available() {
        return;
    }
    let server = Server::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[server.address]);
        let url = program.listeners.first().unwrap().url("/chat?room=1");
        let authority: Option<&PathBuf> = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(&program.workspace.certificate.certificate),
        };
        let told = client(mode, &url, authority);
        check(told, server.conversation(), &program);
    }
}

#[test]
fn messages_of_every_size_and_fragments() {
    converse("messages", |client, server, _| {
        assert_eq!(client, json!({ "ok": true, "fragments": "one two three" }));
        assert_eq!(server["messages"], 18);
        assert_eq!(server["received"], json!({ "code": 1000, "reason": "" }));
        assert_eq!(server["path"], "/chat?room=1");
    });
}

#[test]
fn permessage_deflate_passes_through() {
    converse("deflate", |client, server, program| {
        assert_eq!(client["ok"], true);
        assert!(
            client["extensions"]
                .as_str()
                .unwrap()
                .starts_with("permessage-deflate"),
            "{client}"
        );
        assert!(
            server["extensions"]
                .as_str()
                .unwrap()
                .starts_with("permessage-deflate"),
            "{server}"
        );
        let line = program.tunnel_close();
        // Three messages of a megabyte, compressed by the client and never by the program.
        assert_eq!(line["messages_from_client"], 3, "{line}");
        assert!(
            line["bytes_from_client"].as_u64().unwrap() < 100_000,
            "{line}"
        );
        assert!(
            line["bytes_from_backend"].as_u64().unwrap() < 100_000,
            "{line}"
        );
    });
}

#[test]
fn pings_of_either_end_are_answered_by_the_other() {
    converse("ping", |client, _, _| {
        assert_eq!(client, json!({ "answered": true, "answer": "pong: True" }));
    });
}

#[test]
fn server_closes_with_its_own_code() {
    converse("close", |client, _, program| {
        assert_eq!(
            client["received"],
            json!({ "code": 4321, "reason": "as you wish" })
        );
        assert_eq!(program.tunnel_close()["close_code_backend"], 4321);
    });
}

#[test]
fn client_closes_with_its_own_code() {
    converse("leave", |client, server, _| {
        assert_eq!(client, json!({ "code": 4321, "reason": "enough" }));
        assert_eq!(
            server["received"],
            json!({ "code": 4321, "reason": "enough" })
        );
    });
}

#[test]
fn subprotocol_is_agreed_on() {
    converse("subprotocol", |client, _, _| {
        assert_eq!(client["chosen"], "echo.v2");
    });
}

#[test]
fn cookies_and_origin_arrive() {
    converse("fields", |client, server, program| {
        assert_eq!(server["cookie"], "session=1; theme=dark");
        assert_eq!(server["origin"], "https://app.example");
        let id = client["request_id"].as_str().unwrap();
        program.log_line("tunnel_close", |line| line["id"] == id);
    });
}

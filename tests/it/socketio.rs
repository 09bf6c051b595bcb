//! socket.io from a client to a server that others wrote: polling, then the upgrade, as it does by default.

use serde_json::json;

use crate::support::TRANSPORTS;
use crate::support::program::Ringgate;
use crate::support::python::{Server, available_with, converse};

/// Runs a session in `mode` over both transports; it has to begin and end by these ways.
fn session(mode: &str, first: &str, last: &str) {
    if !available_with("aiohttp, socketio") {
        return;
    }
    let server = Server::start_script("socketio_server.py");
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[server.address]);
        let listener = program.listeners.first().unwrap();
        let told = converse("socketio_client.py", mode, &listener.http_url(""), &program);
        assert_eq!(
            told,
            json!({ "echoed": true, "in_order": true, "transport": last }),
            "{transport:?}"
        );
        let said = server.conversation();
        assert_eq!(
            said,
            json!({ "first": first, "last": last }),
            "{transport:?}"
        );
    }
}

#[test]
fn session_begins_with_polling_and_goes_on_with_websocket() {
    session("default", "polling", "websocket");
}

#[test]
fn session_may_poll_to_its_end() {
    session("polling", "polling", "polling");
}

#[test]
fn session_may_begin_with_websocket() {
    session("websocket", "websocket", "websocket");
}

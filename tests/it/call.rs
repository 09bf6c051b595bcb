//! `ringgate call` against the program, against servers that others wrote, and against servers that misbehave.

use std::net::SocketAddr;
use std::process::Command;

use crate::support::backend::{Backend, refusing};
use crate::support::echo::{Echo, SUBPROTOCOL};
use crate::support::frame::{self, PING};
use crate::support::program::{Output, Ringgate, Workspace, output_of};
use crate::support::python::{Server, available};
use crate::support::settings::Settings;
use crate::support::{TRANSPORTS, Transport};

const BINARY: &str = env!("CARGO_BIN_EXE_ringgate");

fn call(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["call", url]).args(arguments);
    output_of(&mut command)
}

/// The same with standard input from a file.
fn call_with_input(url: &str, input: &str) -> Output {
    let workspace = Workspace::new();
    let file = workspace.write("input", input);
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec \"$0\" call \"$1\" --wait 300ms < \"$2\"",
        BINARY,
        url,
    ]);
    output_of(command.arg(file))
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}/")
}

#[test]
fn messages_come_back_over_both_transports() {
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        let url = program.listeners.first().unwrap().url("/chat?room=1");
        let output = call(
            &url,
            &["--insecure", "--message", "one", "--message", "two"],
        );
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(output.stdout, "one\ntwo\n");
        assert!(output.stderr.starts_with("HTTP/1.1 101 "), "{output:?}");
        assert!(
            output.stderr.ends_with("closed with 1000 (normal)\n"),
            "{output:?}"
        );
    }
}

#[test]
fn lines_of_standard_input_are_messages() {
    let echo = Echo::start();
    let output = call_with_input(&url(echo.address), "first\n\nthird, without an end");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stdout, "first\n\nthird, without an end\n");
}

#[test]
fn more_input_than_sockets_hold_comes_back_whole() {
    let echo = Echo::start();
    let line = "x".repeat(200_000);
    let input = format!("{line}\n").repeat(20);
    let output = call_with_input(&url(echo.address), &input);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout.len(), input.len());
    assert!(output.stdout == input);
}

#[test]
fn certificate_has_to_be_trusted() {
    let program = Ringgate::proxy(Transport::Tls, &[Echo::start().address]);
    let url = program.listeners.first().unwrap().url("/");
    let authority = program.workspace.certificate.certificate.to_str().unwrap();
    let output = call(&url, &["--message", "hello", "--ca", authority]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "hello\n"),
        "{output:?}"
    );
    // The system, whichever certificates it has, does not trust this one.
    let output = call(&url, &["--message", "hello"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("--insecure"), "{output:?}");
}

#[test]
fn refusal_is_shown_with_its_body() {
    let program = Ringgate::run(&Settings::hello(refusing()));
    let listener = program.listener(Transport::Plain);
    let output = call(&listener.url("/nothing-here"), &[]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.starts_with("HTTP/1.1 404 "), "{output:?}");
    assert!(
        output.stdout.contains("\"error_code\":\"APIG.0101\""),
        "{output:?}"
    );
}

#[test]
fn chunked_refusal_is_put_together() {
    let server = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n");
        peer.send("6\r\n today\r\n0\r\n\r\n");
        peer.is_closed()
    });
    let output = call(&url(server.address), &[]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(3), "not today"),
        "{output:?}"
    );
}

#[test]
fn headers_and_subprotocols_are_sent() {
    let server = Backend::start(|mut peer| {
        let request = peer.accept();
        peer.echo();
        request
    });
    let options = [
        "--header",
        "X-Stage: PRE",
        "--header",
        "Host:api.example",
        "--wait",
        "0s",
    ];
    let output = call(
        &url(server.address),
        &[&options[..], &["--message", "x"]].concat(),
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    let request = server.result();
    assert!(request.contains("\r\nX-Stage: PRE\r\n"), "{request}");
    assert!(request.contains("\r\nHost: api.example\r\n"), "{request}");

    let echo = Echo::start();
    let output = call(
        &url(echo.address),
        &[
            "--subprotocol",
            "other",
            "--subprotocol",
            SUBPROTOCOL,
            "--message",
            "x",
        ],
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output
            .stderr
            .to_lowercase()
            .contains(&format!("sec-websocket-protocol: {SUBPROTOCOL}"))
    );
}

#[test]
fn ping_is_shown_and_answered() {
    let server = Backend::start(|mut peer| {
        peer.accept();
        peer.send(frame::encode(0x80 | PING, b"are you there", false));
        let answer = peer.read_frame();
        peer.echo();
        answer
    });
    let output = call(&url(server.address), &["--message", "x"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stderr.contains("ping (are you there), answered"),
        "{output:?}"
    );
}

#[test]
fn code_of_the_server_is_shown() {
    let server = Backend::start(|mut peer| {
        peer.accept();
        let payload = [&4321u16.to_be_bytes()[..], b"enough"].concat();
        peer.send(frame::encode(0x88, &payload, false));
        peer.read_close()
    });
    let output = call(&url(server.address), &[]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(
        output
            .stderr
            .contains("closed with 4321 (private use): enough"),
        "{output:?}"
    );
    assert_eq!(server.result(), Some(4321));
}

#[test]
fn end_without_a_close_is_a_failure() {
    let server = Backend::start(|mut peer| peer.accept());
    let output = call(&url(server.address), &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("connection lost"), "{output:?}");
}

#[test]
fn wrong_101_is_not_believed() {
    let server = Backend::start(|mut peer| {
        peer.request();
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
    });
    let output = call(&url(server.address), &["--message", "x"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("Sec-WebSocket-Accept"), "{output:?}");
}

#[test]
fn nobody_there_is_a_failure_and_no_url_a_mistake() {
    let output = call(&url(refusing()), &["--message", "x"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let output = call("localhost:8080", &[]);
    assert_eq!(output.code, Some(2), "{output:?}");
}

#[test]
fn python_peer_is_understood() {
    if !available() {
        return;
    }
    let server = Server::start();
    let arguments = ["--message", "gr\u{fc}\u{df}e", "--message", "close me"];
    let output = call(&url(server.address), &arguments);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_eq!(output.stdout, "gr\u{fc}\u{df}e\n");
    assert!(output.stderr.contains("as you wish"), "{output:?}");
    let output = call(&url(server.address), &["--message", "ping me"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "pong: True\n"),
        "{output:?}"
    );
}

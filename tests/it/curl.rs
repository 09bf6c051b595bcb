//! Ordinary calls from curl to a server on aiohttp.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::support::program::{Output, Ringgate, output_of, read_lines};
use crate::support::python::{Server, available_with, require};
use crate::support::{DEADLINE, TRANSPORTS, Transport};

/// Runs `check` over both transports.
fn calls(check: impl Fn(&Calls<'_>)) {
    let mut curl = Command::new("curl");
    curl.arg("--version");
    if !available_with("aiohttp") || !require(curl, "there is no curl") {
        return;
    }
    let server = Server::start_script("http_backend.py");
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[server.address]);
        check(&Calls {
            program,
            transport,
            server: &server,
        });
    }
}

struct Calls<'a> {
    program: Ringgate,
    transport: Transport,
    server: &'a Server,
}

impl Calls<'_> {
    fn url(&self, path: &str) -> String {
        self.program.listeners.first().unwrap().http_url(path)
    }

    /// A curl that fails where it has to wait for what should come at once.
    fn command(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time"]);
        command.arg(DEADLINE.as_secs().to_string());
        if self.transport == Transport::Tls {
            let certificate = &self.program.workspace.certificate.certificate;
            command.arg("--cacert").arg(certificate);
        }
        command
    }

    fn curl(&self, arguments: &[&str], paths: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments);
        command.args(paths.iter().map(|path| self.url(path)));
        output_of(&mut command)
    }

    fn ok(&self, arguments: &[&str], paths: &[&str]) -> String {
        let output = self.curl(arguments, paths);
        assert_eq!(output.code, Some(0), "{arguments:?} {paths:?}: {output:?}");
        output.stdout
    }

    /// What the backend saw of a call that it answered with that.
    fn seen(&self, arguments: &[&str], path: &str) -> Value {
        let answer: Value = serde_json::from_str(&self.ok(arguments, &[path])).unwrap();
        assert_eq!(answer, self.server.conversation());
        answer
    }

    /// A file of so many bytes with its digest.
    fn file(&self, bytes: usize) -> (PathBuf, String) {
        let pattern = (0..=255).cycle().take(bytes).collect::<Vec<u8>>();
        let path = self.program.workspace.path("body");
        std::fs::write(&path, &pattern).unwrap();
        (path, sha1(&pattern))
    }
}

fn sha1(bytes: &[u8]) -> String {
    let digest = Sha1::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(path: &Path) -> String {
    format!("@{}", path.display())
}

/// Prints the status and the number of connections that curl made for each transfer.
const COUNTED: [&str; 2] = ["--write-out", "%{http_code} %{num_connects}\\n"];

#[test]
fn connection_is_kept_from_call_to_call() {
    calls(|calls| {
        let paths = [
            "/status/200",
            "/status/204",
            "/status/304",
            "/data?bytes=9&framing=chunks",
            "/status/404",
        ];
        let told = calls.ok(
            &[&COUNTED[..], &["--output", "/dev/null"].repeat(5)].concat(),
            &paths,
        );
        assert_eq!(told, "200 1\n204 0\n304 0\n200 0\n404 0\n");
    });
}

#[test]
fn methods_query_and_fields_arrive() {
    calls(|calls| {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let seen = calls.seen(
                &["--request", method, "--header", "X-Own: 1"],
                "/echo?a=b&c=%20",
            );
            assert_eq!(seen["method"], method);
            assert_eq!(seen["path"], "/echo?a=b&c=%20");
            assert_eq!(seen["length"], 0);
            assert_eq!(seen["fields"]["x-own"], "1");
            assert_eq!(seen["fields"]["x-forwarded-for"], "127.0.0.1");
        }
    });
}

#[test]
fn bodies_arrive_whole_with_either_framing() {
    calls(|calls| {
        for bytes in [0, 1, 100_000, 11 << 20] {
            let (file, digest) = calls.file(bytes);
            let body = at(&file);
            for framing in ["Content-Type: a/b", "Transfer-Encoding: chunked"] {
                let arguments = [
                    "--header",
                    framing,
                    "--header",
                    "Expect:",
                    "--data-binary",
                    &body,
                ];
                let seen = calls.seen(&arguments, "/echo");
                assert_eq!(seen["length"], bytes, "{framing}");
                assert_eq!(seen["sha1"], *digest, "{framing}");
            }
        }
    });
}

#[test]
fn client_is_told_to_continue_when_the_backend_wants_the_body() {
    calls(|calls| {
        let (file, digest) = calls.file(100_000);
        let body = at(&file);
        // Longer than the whole may take: without a 100 (Continue), curl would not send a byte.
        let wait = (2 * DEADLINE.as_secs()).to_string();
        let arguments = [
            "--header",
            "Expect: 100-continue",
            "--expect100-timeout",
            &wait,
            "--data-binary",
            &body,
        ];
        let seen = calls.seen(&arguments, "/echo");
        assert_eq!(seen["sha1"], *digest);
    });
}

#[test]
fn backend_that_wants_no_body_answers_before_it() {
    calls(|calls| {
        let (file, _) = calls.file(100_000);
        let body = at(&file);
        let wait = (2 * DEADLINE.as_secs()).to_string();
        let arguments = [
            "--header",
            "Expect: 100-continue",
            "--expect100-timeout",
            &wait,
            "--data-binary",
            &body,
        ];
        let told = calls.ok(
            &[
                &arguments[..],
                &["--write-out", " %{http_code} %{size_upload}"],
            ]
            .concat(),
            &["/refuse"],
        );
        assert_eq!(told, "not for you 403 0");
    });
}

#[test]
fn body_above_the_limit_is_a_413() {
    calls(|calls| {
        let (file, _) = calls.file((12 << 20) + 1);
        let body = at(&file);
        let arguments = [
            "--header",
            "Expect:",
            "--data-binary",
            &body,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ];
        assert_eq!(calls.ok(&arguments, &["/echo"]), "413");
    });
}

#[test]
fn head_is_answered_as_get_is_but_for_the_body() {
    calls(|calls| {
        let told = calls.ok(
            &["--head", COUNTED[0], COUNTED[1]],
            &[
                "/data?bytes=1000&framing=length",
                "/data?bytes=5&framing=length",
            ],
        );
        let lengths: Vec<_> = told
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("content-length:"))
            .collect();
        assert_eq!(lengths.len(), 2, "{told}");
        assert!(lengths[0].ends_with(" 1000"), "{told}");
        assert!(
            told.contains("200 1\n") && told.ends_with("200 0\n"),
            "{told}"
        );
    });
}

#[test]
fn big_answers_arrive_whole_with_either_framing() {
    calls(|calls| {
        let bytes = 64 << 20;
        let expected = sha1(&(0..=255).cycle().take(bytes).collect::<Vec<u8>>());
        let file = calls.program.workspace.path("answer");
        let output = file.display().to_string();
        for framing in ["length", "chunks"] {
            calls.ok(
                &["--output", &output],
                &[&format!("/data?bytes={bytes}&framing={framing}")],
            );
            assert_eq!(sha1(&std::fs::read(&file).unwrap()), expected, "{framing}");
        }
    });
}

#[test]
fn old_clients_get_what_they_understand() {
    calls(|calls| {
        for framing in ["length", "chunks"] {
            let told = calls.ok(
                &["--http1.0", "--include"],
                &[&format!("/data?bytes=3&framing={framing}")],
            );
            assert!(
                !told.to_ascii_lowercase().contains("transfer-encoding"),
                "{told}"
            );
            assert!(told.ends_with("\r\n\r\n\0\u{1}\u{2}"), "{told}");
        }
    });
}

/// curl's exit code for a body that is shorter than it was said to be.
const PARTIAL_FILE: i32 = 18;

#[test]
fn answer_that_was_cut_short_never_looks_complete() {
    calls(|calls| {
        for framing in ["length", "chunks"] {
            let output = calls.curl(&[], &[&format!("/cut?framing={framing}")]);
            assert_ne!(output.code, Some(0), "{framing}: {output:?}");
            if calls.transport == Transport::Plain && framing == "length" {
                let reset = 56;
                assert!(
                    [Some(PARTIAL_FILE), Some(reset)].contains(&output.code),
                    "{output:?}"
                );
            }
        }
    });
}

/// The backend sends an event only when the one before has been seen: any that is held back on the way stops them all.
#[test]
fn events_arrive_at_once() {
    calls(|calls| {
        let mut stream = calls.command();
        let mut stream = stream
            .arg("--no-buffer")
            .arg(calls.url("/events?count=20"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_lines(stream.stdout.take().unwrap());
        for number in 0..20 {
            let event = lines.recv_timeout(DEADLINE).unwrap();
            assert_eq!(event, format!("data: {number}"));
            assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), "");
            let noted = calls.ok(&["--request", "POST"], &[&format!("/seen/{number}")]);
            assert_eq!(noted, "noted\n");
        }
        assert!(stream.wait().unwrap().success());
    });
}

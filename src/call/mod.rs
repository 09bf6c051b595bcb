//! `ringgate call`: a small client for people who try an API. It shows the handshake's answer as it came, then sends what is
//! typed and shows what comes.
//!
//! The opening handshake is ringgate's own, read in reverse (`handshake`), since only that keeps a refusal's body whole; the
//! frames are tungstenite's, so that ringgate is not its own only judge.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::expect_used))]

mod converse;
pub(crate) mod handshake;
mod lines;
mod show;
pub(crate) mod stream;
pub(crate) mod target;

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::ClientConfig;
use signal_hook::consts::SIGINT;

use crate::config::Scheme;
use crate::document::quantity::parse_duration;
use crate::proto::head::is_token;
use converse::{End, Input, Session};
use handshake::{Answer, HandshakeFailure, Wishes};
use lines::Lines;
use show::Show;
use stream::{ConnectError, Stream};
use target::Target;

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Call {
    /// Where to: ws://host:port/path or wss://host:port/path
    #[arg(value_name = "URL", value_parser = Target::from_url)]
    target: Target,

    /// Take any certificate. Without it the certificate has to be one that the system trusts, for the name in the URL
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,

    /// Trust the certificates in this PEM file, and not the system's (SSL_CERT_FILE, or the distribution's bundle)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// A header of the request, as X-Stage:PRE; several may be given. One for Host replaces the URL's
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// A subprotocol to offer; several may be given, the preferred one first
    #[arg(long, value_name = "NAME", value_parser = subprotocol)]
    subprotocol: Vec<String>,

    /// Send this as a text message; several may be given. Standard input is not read then
    #[arg(long, value_name = "TEXT")]
    message: Vec<String>,

    /// How long to go on showing what comes after the last message, before closing. Where standard input is a terminal, its
    /// end closes at once
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    wait: Duration,

    /// How long connecting and the handshake may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
}

const AFTER_HELP: &str = "\
Each line of standard input becomes a text message (one that is not UTF-8, a binary message). Messages that come are
printed on standard output, a line each; the handshake's answer, pings and the close code go to standard error. A refusal's
body goes to standard output. Ctrl-C closes with 1000; a second one leaves at once.

Exit codes:
  0  both sides closed, with 1000, 1001 or no code
  1  no connection, TLS failed, or the connection ended without a Close
  2  the command line is wrong
  3  the server refused the upgrade
  4  the server closed with another code";

const FAILED: u8 = 1;
const REFUSED: u8 = 3;
const CLOSED_OTHERWISE: u8 = 4;
/// What shells report for a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Why there was no conversation, or why it broke.
#[derive(Debug)]
enum Failure {
    Trust(String),
    Connect(ConnectError),
    Handshake(HandshakeFailure),
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(what) => f.write_str(what),
            Self::Connect(error @ ConnectError::Tls(what)) if what.contains("certificate") => {
                write!(
                    f,
                    "{error}; --insecure takes any certificate, --ca FILE trusts those in a file"
                )
            }
            Self::Connect(error) => write!(f, "{error}"),
            Self::Handshake(error) => write!(f, "{error}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Holds the conversation, and says how it ended.
pub fn run(call: Call) -> ExitCode {
    let show = Show::new(call.message.is_empty());
    match converse(call, show) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if let Failure::Handshake(HandshakeFailure::Answer(_, head)) = &failure {
                show.head(head).ok();
            }
            eprintln!("ringgate: {failure}");
            ExitCode::from(FAILED)
        }
    }
}

fn converse(call: Call, show: Show) -> Result<u8, Failure> {
    let until = stream::now() + call.timeout;
    let tls = trust(&call).map_err(Failure::Trust)?;
    let mut stream = Stream::connect(&call.target.server, &tls, until).map_err(Failure::Connect)?;
    let wishes = Wishes {
        fields: call.header,
        subprotocols: call.subprotocol,
    };
    let answer = handshake::shake_hands(&mut stream, &call.target, &wishes, until);
    match answer.map_err(Failure::Handshake)? {
        Answer::Refused { head, body, cut } => {
            show.head(&head)?;
            show.body(&body)?;
            if cut {
                show.aside("(the body is not whole)")?;
            }
            Ok(REFUSED)
        }
        Answer::Upgraded { head, behind } => {
            show.head(&head)?;
            let (sender, interrupts) = UnixStream::pair()?;
            signal_hook::low_level::pipe::register(SIGINT, sender)?;
            let input = if call.message.is_empty() {
                Input::Lines(Lines::default())
            } else {
                Input::Given(call.message.into())
            };
            let session = Session::new(stream, behind, input, call.wait, interrupts, show)?;
            Ok(exit_code(session.run()?))
        }
    }
}

/// Where the URL has no TLS, nobody has to be trusted, and a system without a bundle is no hindrance.
fn trust(call: &Call) -> Result<Arc<ClientConfig>, String> {
    if call.insecure || call.target.server.scheme == Scheme::Http {
        stream::trusting_anybody()
    } else {
        stream::trusting(call.ca.as_deref())
    }
}

fn exit_code(end: End) -> u8 {
    match end {
        End::Closed(None | Some(1000 | 1001)) => 0,
        End::Closed(Some(_)) => CLOSED_OTHERWISE,
        End::Lost => FAILED,
        End::Interrupted => INTERRUPTED,
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as NAME:VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    if !is_token(name.as_bytes()) {
        return Err(format!("`{name}` is no header name"));
    }
    if value.chars().any(char::is_control) {
        return Err("its value has control characters".to_owned());
    }
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "sec-websocket-protocol" => Err("offer it with --subprotocol".to_owned()),
        "sec-websocket-extensions" => Err("this client has no extensions to offer".to_owned()),
        "upgrade" | "connection" | "content-length" | "transfer-encoding" => {
            Err(format!("{name} is the handshake's own"))
        }
        _ if lower.starts_with("sec-websocket-") => Err(format!("{name} is the handshake's own")),
        _ => Ok((name.to_owned(), value.to_owned())),
    }
}

fn subprotocol(text: &str) -> Result<String, String> {
    if is_token(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err("a subprotocol's name has neither blanks nor separators".to_owned())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let allowed = Duration::ZERO..=Duration::from_secs(24 * 3600);
    parse_duration(text)
        .filter(|time| allowed.contains(time))
        .ok_or_else(|| "allowed: 0s to 24h, for example 500ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_would_break_the_handshake_are_refused() {
        assert_eq!(header("X-Stage: PRE"), Ok(("X-Stage".into(), "PRE".into())));
        assert_eq!(header("Origin:a:b"), Ok(("Origin".into(), "a:b".into())));
        for wrong in [
            "no colon",
            "a b: c",
            ": c",
            "X: a\r\nb",
            "Upgrade: h2c",
            "sec-websocket-key: x",
            "Sec-WebSocket-Extensions: permessage-deflate",
            "Transfer-Encoding: chunked",
        ] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_codes_tell_how_it_ended() {
        for (end, code) in [
            (End::Closed(None), 0),
            (End::Closed(Some(1000)), 0),
            (End::Closed(Some(1001)), 0),
            (End::Closed(Some(1011)), 4),
            (End::Closed(Some(4000)), 4),
            (End::Lost, 1),
            (End::Interrupted, 130),
        ] {
            assert_eq!(exit_code(end), code, "{end:?}");
        }
    }
}

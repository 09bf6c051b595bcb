//! The client's side of the opening handshake (RFC 6455 §4.1), which keeps the server's answer as it came.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::stream::{Stream, now};
use super::target::Target;
use crate::config::Config;
use crate::proto::body::{BodyLength, BodyScanner};
use crate::proto::handshake::{self, AnswerError, Offer};
use crate::proto::head::{self, HeadError, HeadLimits, ResponseHead};

/// Most of a refusal's body that is kept, in bytes. Error bodies are a few hundred.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Most informational answers before the real one.
const INTERIM_MAX: usize = 16;

/// What is asked, beside the target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) subprotocols: Vec<String>,
}

/// A head as it came, without its final empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// The value of `Date`.
    pub(crate) date: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    /// The connection is upgraded; `behind` came right after the head.
    Upgraded { head: Head, behind: Vec<u8> },
    Refused {
        head: Head,
        body: Vec<u8>,
        /// Whether the body went on beyond what is kept, or broke off.
        cut: bool,
    },
}

/// Why there is no answer that can be understood.
#[derive(Debug)]
pub(crate) enum HandshakeFailure {
    /// The request cannot be made, because of what was wished for.
    Request(String),
    Io(io::Error),
    /// The connection ended before the answer did.
    Ended,
    TooLate,
    Head(HeadError),
    /// A 101 that does not follow from the request.
    Answer(AnswerError, Head),
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(what) => f.write_str(what),
            Self::Io(error) => write!(f, "the handshake broke off: {error}"),
            Self::Ended => f.write_str("the server closed the connection without a whole answer"),
            Self::TooLate => f.write_str("the server's answer took too long"),
            Self::Head(error) => write!(f, "the server's answer is no HTTP/1.1 head: {error:?}"),
            Self::Answer(error, _) => write!(
                f,
                "the server's 101 is not one (RFC 6455 section 4.1): {}",
                match error {
                    AnswerError::NotHttp => "not HTTP",
                    AnswerError::HttpVersion => "not HTTP/1.1",
                    AnswerError::Upgrade => "`Upgrade` is not websocket",
                    AnswerError::Connection => "`Connection` does not name upgrade",
                    AnswerError::Accept => "`Sec-WebSocket-Accept` does not fit the key",
                    AnswerError::Subprotocol => "a subprotocol that was not offered",
                    AnswerError::Extension => "an extension that was not offered",
                }
            ),
        }
    }
}

impl std::error::Error for HandshakeFailure {}

impl From<io::Error> for HandshakeFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TooLate,
            io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

/// Asks for an upgrade and reads the answer, all before `until`.
pub(crate) fn shake_hands(
    stream: &mut Stream,
    target: &Target,
    wishes: &Wishes,
    until: Instant,
) -> Result<Answer, HandshakeFailure> {
    let request = request(target, wishes)?;
    let limits = Config::base().limits.head;
    let offer = offer(&request, &limits)?;
    stream.limit(until)?;
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut received = Vec::new();
    for _ in 0..INTERIM_MAX {
        let parsed = read_head(stream, &mut received, &limits, until)?;
        let behind = received.split_off(parsed.len.min(received.len()));
        let head = keep(&parsed, &received);
        match parsed.status {
            101 => {
                return match handshake::check_answer(&parsed, &received, &offer, request.as_bytes())
                {
                    Ok(_) => Ok(Answer::Upgraded { head, behind }),
                    Err(error) => Err(HandshakeFailure::Answer(error, head)),
                };
            }
            100..200 => received = behind,
            _ => {
                let length = parsed.body(&received, false);
                let length = length.map_err(HandshakeFailure::Head)?;
                let (body, cut) = read_body(stream, behind, length, until);
                return Ok(Answer::Refused { head, body, cut });
            }
        }
    }
    Err(HandshakeFailure::Ended)
}

fn request(target: &Target, wishes: &Wishes) -> Result<String, HandshakeFailure> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce)
        .map_err(|_| HandshakeFailure::Request("no random bytes can be had".to_owned()))?;
    let named_host = wishes
        .fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = named_host.map_or(target.server.authority.as_str(), |(_, value)| {
        value.as_str()
    });
    let mut text = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
        target.resource,
        STANDARD.encode(nonce)
    );
    if !wishes.subprotocols.is_empty() {
        text += &format!(
            "Sec-WebSocket-Protocol: {}\r\n",
            wishes.subprotocols.join(", ")
        );
    }
    let others = wishes
        .fields
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    for (name, value) in others {
        text += &format!("{name}: {value}\r\n");
    }
    Ok(text + "\r\n")
}

/// Holds our own request to the rules that ringgate's edge has for others: what it would refuse is not sent.
fn offer(request: &str, limits: &HeadLimits) -> Result<Offer, HandshakeFailure> {
    let bytes = request.as_bytes();
    let wrong =
        |what: String| HandshakeFailure::Request(format!("no such request can be sent: {what}"));
    let head = head::parse_request(bytes, limits)
        .map_err(|error| wrong(format!("{error:?}")))?
        .filter(|head| head.len == bytes.len())
        .ok_or_else(|| wrong("an empty line in it".to_owned()))?;
    let facts = head
        .check(bytes)
        .map_err(|error| wrong(format!("{error:?}")))?;
    handshake::check_request(&head, &facts, bytes).map_err(|error| wrong(format!("{error:?}")))
}

fn read_head(
    stream: &mut Stream,
    received: &mut Vec<u8>,
    limits: &HeadLimits,
    until: Instant,
) -> Result<ResponseHead, HandshakeFailure> {
    let mut seeker = head::HeadSeeker::response();
    loop {
        let parsed = head::resume_response(&mut seeker, received, limits);
        if let Some(head) = parsed.map_err(HandshakeFailure::Head)? {
            return Ok(head);
        }
        if read_more(stream, received, until)? == 0 {
            return Err(HandshakeFailure::Ended);
        }
    }
}

fn read_more(
    stream: &mut Stream,
    received: &mut Vec<u8>,
    until: Instant,
) -> Result<usize, HandshakeFailure> {
    if now() >= until {
        return Err(HandshakeFailure::TooLate);
    }
    stream.limit(until)?;
    let mut piece = [0; 4096];
    let len = stream.read(&mut piece)?;
    received.extend_from_slice(piece.get(..len).unwrap_or_default());
    Ok(len)
}

/// As much of the body as comes, without its framing. What breaks off is shown as far as it came.
fn read_body(
    stream: &mut Stream,
    mut received: Vec<u8>,
    length: BodyLength,
    until: Instant,
) -> (Vec<u8>, bool) {
    let mut scanner = BodyScanner::new(length);
    let mut seen = 0;
    let whole = loop {
        let rest = received.get(seen..).unwrap_or_default();
        let Ok(taken) = scanner.scan(rest) else {
            break false;
        };
        seen += taken;
        if scanner.is_complete() {
            break true;
        }
        if seen > BODY_BYTES_MAX {
            break false;
        }
        match read_more(stream, &mut received, until) {
            Ok(0) => break scanner.is_complete_at_eof(),
            Ok(_) => {}
            Err(_) => break false,
        }
    };
    received.truncate(seen);
    if length == BodyLength::Chunked {
        received = without_chunks(&received);
    }
    (received, !whole)
}

/// The data of chunks whose framing has been checked (RFC 9112 §7.1).
fn without_chunks(framed: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut rest = framed;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, behind) = rest.split_at(end + 1);
        let digits = line
            .split(|byte| !byte.is_ascii_hexdigit())
            .next()
            .unwrap_or_default();
        let size = std::str::from_utf8(digits).map(|digits| usize::from_str_radix(digits, 16));
        let Ok(Ok(size @ 1..)) = size else { break };
        let chunk = behind.get(..size).unwrap_or(behind);
        data.extend_from_slice(chunk);
        // CRLF ends the data.
        rest = behind.get(size.saturating_add(2)..).unwrap_or_default();
    }
    data
}

fn keep(parsed: &ResponseHead, buf: &[u8]) -> Head {
    let date = parsed.values(buf, "date").next();
    let text = String::from_utf8_lossy(buf);
    Head {
        status: parsed.status,
        text: text.trim_end().replace("\r\n", "\n"),
        date: date.map(|value| String::from_utf8_lossy(value).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(fields: &[(&str, &str)], subprotocols: &[&str]) -> Wishes {
        let own = |text: &str| text.to_owned();
        Wishes {
            fields: fields.iter().map(|(n, v)| (own(n), own(v))).collect(),
            subprotocols: subprotocols.iter().map(|p| own(p)).collect(),
        }
    }

    fn asked(wishes: &Wishes) -> Result<String, HandshakeFailure> {
        let target = Target::from_url("ws://a.example:81/x?y").unwrap();
        let request = request(&target, wishes)?;
        offer(&request, &Config::base().limits.head)?;
        Ok(request)
    }

    #[test]
    fn a_request_has_what_was_wished_for() {
        let request = asked(&wishes(
            &[("X-Stage", "PRE"), ("host", "b.example")],
            &["v1", "v2"],
        ))
        .unwrap();
        assert!(request.starts_with("GET /x?y HTTP/1.1\r\nHost: b.example\r\n"));
        assert!(request.contains("\r\nSec-WebSocket-Protocol: v1, v2\r\n"));
        assert!(request.contains("\r\nX-Stage: PRE\r\n"));
        assert_eq!(request.to_lowercase().matches("host:").count(), 1);
    }

    #[test]
    fn a_request_that_would_be_refused_is_not_sent() {
        for fields in [
            &[("X", "a\r\nY: b\r\n\r\nGET / HTTP/1.1")][..],
            &[("Content-Length", "5")],
            &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")],
            &[("Host", "a b")],
        ] {
            assert!(asked(&wishes(fields, &[])).is_err(), "{fields:?}");
        }
        assert!(asked(&wishes(&[], &["no token"])).is_err());
    }

    #[test]
    fn chunks_are_put_together() {
        for (framed, data) in [
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n", "hello"),
            ("5\r\nhel", "hel"),
            ("0\r\n\r\n", ""),
            ("zz", ""),
        ] {
            assert_eq!(
                without_chunks(framed.as_bytes()),
                data.as_bytes(),
                "{framed}"
            );
        }
    }
}

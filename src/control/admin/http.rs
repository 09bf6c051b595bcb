//! The admin listener's HTTP: a request is read within bounds, an answer is written, and the connection ends.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

use monoio::BufResult;
use monoio::buf::{IoBufMut, IoVecBufMut};
use monoio::io::AsyncReadRent;
use monoio::io::stream::Stream;
use monoio_http::h1::codec::decoder::RequestDecoder;
use serde::Serialize;
use serde_json::json;

use crate::document::quantity::format_size;
use crate::observe::utc::HttpDate;

/// A request head with all its fields; a browser's has some 700 bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// As a refusal names it.
pub(super) fn head_limit() -> String {
    format_size(REQUEST_BYTES_MAX as u64)
}

/// What came in on a connection.
pub(super) enum Asked {
    /// The peer left without a word: a probe of the socket, or a browser's spare connection.
    Nothing,
    Request(Head),
    TooMuch,
    Garbage,
}

/// What matters of a request's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    /// Percent-decoded names and values.
    pub(super) query: Vec<(String, String)>,
    pub(super) fields: Fields,
}

/// The fields that say who asks. What is sent more than once, or is no text, is there and empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) host: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) authorization: Option<String>,
    /// Every browser sends it to an address that it trusts, as it does loopback (Fetch Metadata §2).
    pub(super) fetch_site: Option<String>,
}

pub(super) async fn read_request<R: AsyncReadRent>(reader: &mut R) -> Asked {
    let left = Rc::new(Cell::new(REQUEST_BYTES_MAX));
    let mut decoder = RequestDecoder::new(Bounded {
        inner: reader,
        left: Rc::clone(&left),
    });
    match decoder.next().await {
        None => Asked::Nothing,
        Some(Ok(request)) => {
            let field = |name: &str| {
                let mut values = request.headers().get_all(name).iter();
                let (first, second) = (values.next()?, values.next());
                let text = first.to_str().ok().filter(|_| second.is_none());
                Some(text.unwrap_or_default().to_owned())
            };
            Asked::Request(Head {
                method: request.method().as_str().to_owned(),
                path: request.uri().path().to_owned(),
                query: query(request.uri().query().unwrap_or_default()),
                fields: Fields {
                    host: field("host"),
                    origin: field("origin"),
                    authorization: field("authorization"),
                    fetch_site: field("sec-fetch-site"),
                },
            })
        }
        Some(Err(_)) if left.get() == 0 => Asked::TooMuch,
        Some(Err(_)) => Asked::Garbage,
    }
}

/// The pairs of a query, `+` for a blank as forms have it.
fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// A broken escape stands for itself.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escape = after
            .first_chunk::<2>()
            .filter(|_| *byte == b'%')
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (escape, byte) {
            (Some(escaped), _) => {
                out.push(escaped);
                rest = after.get(2..).unwrap_or_default();
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads on until the peer has closed: closing before would reset it, and might take the answer from it.
pub(super) async fn discard<R: AsyncReadRent>(reader: &mut R) -> io::Result<()> {
    let mut buf = vec![0; 4096];
    for _ in 0..16 {
        let (read, returned) = reader.read(buf).await;
        if read? == 0 {
            return Ok(());
        }
        buf = returned;
    }
    Ok(())
}

/// A reader that gives up after so many bytes. The last read may go beyond by what the decoder asks for at once.
struct Bounded<'a, R> {
    inner: &'a mut R,
    left: Rc<Cell<usize>>,
}

impl<R> Bounded<'_, R> {
    fn take(&self, read: &io::Result<usize>) {
        if let Ok(n) = read {
            self.left.set(self.left.get().saturating_sub(*n));
        }
    }

    fn exhausted(&self) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::FileTooLarge))
    }
}

impl<R: AsyncReadRent> AsyncReadRent for Bounded<'_, R> {
    async fn read<T: IoBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        if self.left.get() == 0 {
            return (self.exhausted(), buf);
        }
        let (read, buf) = self.inner.read(buf).await;
        self.take(&read);
        (read, buf)
    }

    async fn readv<T: IoVecBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        if self.left.get() == 0 {
            return (self.exhausted(), buf);
        }
        let (read, buf) = self.inner.readv(buf).await;
        self.take(&read);
        (read, buf)
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// Fields of this answer alone.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: String,
    /// The answer to HEAD: the length of the body, and no body (RFC 9110 §9.3.2).
    pub(super) bodiless: bool,
}

/// Why a request can't be met: status and message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16, pub(super) String);

impl Refusal {
    pub(super) fn answer(self) -> Answer {
        let Self(status, message) = self;
        Answer::json(status, &json!({ "error": message }))
    }
}

/// Nothing is kept by a cache, guessed at, or told to other sites.
const FIELDS_OF_ALL: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
     Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n";

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            fields: Vec::new(),
            body,
            bodiless: false,
        }
    }

    pub(super) fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    pub(super) fn json<T: Serialize>(status: u16, value: &T) -> Self {
        let mut body = serde_json::to_string(value).unwrap_or_default();
        body.push('\n');
        Self::new(status, "application/json", body)
    }

    /// RFC 9110 §15.5.6: a 405 says what would be allowed.
    pub(super) fn not_allowed(allow: &str) -> Self {
        let refusal = Refusal(405, format!("this is for {allow}"));
        refusal.answer().with("Allow", allow)
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }

    pub(super) fn encode(&self, now: SystemTime) -> Vec<u8> {
        let mut text = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{FIELDS_OF_ALL}",
            self.status,
            reason_phrase(self.status),
            HttpDate(now),
            self.content_type,
            self.body.len(),
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        if !self.bodiless {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the admin API reads the time of day, once per answer"
)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart_and_decoded() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, expected) in [
            ("", vec![]),
            ("a=1&b", vec![pair("a", "1"), pair("b", "")]),
            (
                "api=a%2Fb+c&&x=%",
                vec![pair("api", "a/b c"), pair("x", "%")],
            ),
            ("a=%zz", vec![pair("a", "%zz")]),
        ] {
            assert_eq!(query(text), expected, "{text}");
        }
    }
}

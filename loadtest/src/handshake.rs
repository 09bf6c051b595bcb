//! The opening handshake (RFC 6455 §4), both ends of it, as far as a load test needs it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A head longer than this is refused.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    Malformed,
    TooLong,
    /// A request that asks for no WebSocket.
    NotAnUpgrade,
    /// Any answer but 101.
    Refused(u16),
    /// A 101 that does not prove that our key was read (§4.1).
    WrongAccept,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed HTTP head"),
            Self::TooLong => write!(f, "HTTP head above {HEAD_BYTES_MAX} bytes"),
            Self::NotAnUpgrade => f.write_str("not a WebSocket upgrade"),
            Self::Refused(status) => write!(f, "upgrade refused with status {status}"),
            Self::WrongAccept => f.write_str("wrong or missing Sec-WebSocket-Accept"),
        }
    }
}

pub(crate) fn encode_key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// RFC 6455 §4.2.2, step 5.4.
pub(crate) fn accept_for(key: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    STANDARD.encode(digest)
}

pub(crate) fn request(authority: &str, target: &str, key: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

pub(crate) fn answer(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// What a server needs of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) accept: String,
    /// Path and query.
    pub(crate) target: String,
    /// Length of the head.
    pub(crate) len: usize,
}

/// Reads a client's request, or `None` if it is incomplete.
pub(crate) fn read_request(bytes: &[u8]) -> Result<Option<Request>, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = request
        .parse(bytes)
        .map_err(|_| HandshakeError::Malformed)?
    else {
        return incomplete(bytes);
    };
    let upgrade = field(request.headers, "Upgrade").ok_or(HandshakeError::NotAnUpgrade)?;
    if !upgrade.eq_ignore_ascii_case(b"websocket") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    let key = field(request.headers, "Sec-WebSocket-Key").ok_or(HandshakeError::NotAnUpgrade)?;
    let target = request.path.ok_or(HandshakeError::Malformed)?;
    Ok(Some(Request {
        accept: accept_for(key),
        target: target.to_owned(),
        len,
    }))
}

/// Reads a server's answer and gives the length of its head, or `None` if it is incomplete.
pub(crate) fn read_answer(bytes: &[u8], accept: &str) -> Result<Option<usize>, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) =
        answer.parse(bytes).map_err(|_| HandshakeError::Malformed)?
    else {
        return incomplete(bytes);
    };
    match answer.code {
        Some(101) if field(answer.headers, "Sec-WebSocket-Accept") == Some(accept.as_bytes()) => {
            Ok(Some(len))
        }
        Some(101) => Err(HandshakeError::WrongAccept),
        Some(status) => Err(HandshakeError::Refused(status)),
        None => Err(HandshakeError::Malformed),
    }
}

fn incomplete<T>(bytes: &[u8]) -> Result<Option<T>, HandshakeError> {
    match bytes.len() {
        0..=HEAD_BYTES_MAX => Ok(None),
        _ => Err(HandshakeError::TooLong),
    }
}

fn field<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h [u8]> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(header.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn a_request_is_answered_with_the_accept_of_its_key() {
        let request = request("localhost:80", "/hello", KEY);
        assert_eq!(
            read_request(request.as_bytes()),
            Ok(Some(Request {
                accept: ACCEPT.to_owned(),
                target: "/hello".to_owned(),
                len: request.len(),
            }))
        );
        let answer = answer(ACCEPT);
        assert_eq!(
            read_answer(answer.as_bytes(), ACCEPT),
            Ok(Some(answer.len()))
        );
    }

    #[test]
    fn an_answer_other_than_ours_is_refused() {
        let check = |answer: &str, expected| {
            assert_eq!(read_answer(answer.as_bytes(), ACCEPT), Err(expected));
        };
        check(
            "HTTP/1.1 404 Not Found\r\n\r\n",
            HandshakeError::Refused(404),
        );
        check(&answer("another"), HandshakeError::WrongAccept);
        check("nonsense\r\n\r\n", HandshakeError::Malformed);
    }

    #[test]
    fn heads_may_come_in_pieces_but_not_without_end() {
        let whole = answer(ACCEPT);
        for len in 0..whole.len() {
            assert_eq!(read_answer(&whole.as_bytes()[..len], ACCEPT), Ok(None));
        }
        let endless = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(
            read_request(endless.as_bytes()),
            Err(HandshakeError::TooLong)
        );
    }
}

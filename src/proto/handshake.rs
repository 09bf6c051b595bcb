//! The opening handshake of RFC 6455 §4, seen from between the two ends.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

mod extensions;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::proto::head::{
    RequestFacts, RequestHead, ResponseHead, Span, Version, at_most_one, is_token, list,
};
use extensions::extension_names;

/// Why a request for an upgrade to `websocket` is refused (RFC 6455 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    Method,
    HttpVersion,
    Connection,
    /// Not version 13, or none.
    Version,
    /// None, several, or not 16 bytes of base64.
    Key,
    /// A request for an upgrade with a body.
    Body,
    /// `Sec-WebSocket-Protocol` or `-Extensions` that cannot be parsed.
    Offer,
}

/// Why a backend's 101 is not believed (RFC 6455 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// Not a parseable HTTP response.
    NotHttp,
    HttpVersion,
    Upgrade,
    Connection,
    Accept,
    /// A subprotocol that was not offered.
    Subprotocol,
    /// An extension that was not offered.
    Extension,
}

/// What was negotiated about the reserved bits of frames (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extensions {
    /// None: RSV1 to RSV3 have to be zero.
    #[default]
    None,
    /// permessage-deflate (RFC 7692): RSV1 on the first frame of a message.
    Deflate,
    /// Something unknown to us: the bits are the ends' own business.
    Unknown,
}

/// Proof that a backend agreed to the client's opening handshake. Only the check of its 101 makes one, and a tunnel
/// cannot be built without it.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgraded {
    extensions: Extensions,
}

impl Upgraded {
    /// One without a handshake, for tests of what comes after it.
    #[cfg(test)]
    pub(crate) fn assumed(extensions: Extensions) -> Self {
        Self { extensions }
    }

    pub fn extensions(&self) -> Extensions {
        self.extensions
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A tunnel: `check_request` says whether it asks properly.
    Upgrade,
    /// An ordinary call. Whatever else its `Upgrade` names, we do not offer it (RFC 9110 §7.8).
    Call,
}

/// What the client offered, as far as the backend's answer is held against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The value of `Sec-WebSocket-Accept` that proves the backend read the key.
    pub accept: [u8; 28],
    /// The values of `Sec-WebSocket-Protocol` and `-Extensions` in the request's buffer, each a list.
    subprotocols: Vec<Span>,
    extensions: Vec<Span>,
}

const SUBPROTOCOL: &str = "sec-websocket-protocol";
const EXTENSIONS: &str = "sec-websocket-extensions";
const DEFLATE: &[u8] = b"permessage-deflate";

/// `websocket` as the only upgrade token asks for a tunnel.
pub fn intent(head: &RequestHead, buf: &[u8]) -> Intent {
    if upgrades_to_websocket(head.tokens(buf, "upgrade")) {
        Intent::Upgrade
    } else {
        Intent::Call
    }
}

/// Holds a request whose `intent` is an upgrade against RFC 6455 §4.2.1, in the order in which the causes of trouble
/// are most telling: a proxy in front that drops `Connection` also downgrades to HTTP/1.0.
pub fn check_request(
    head: &RequestHead,
    facts: &RequestFacts,
    buf: &[u8],
) -> Result<Offer, HandshakeError> {
    if head.method.of(buf) != b"GET" {
        return Err(HandshakeError::Method);
    }
    if head.version != Version::Http11 {
        return Err(HandshakeError::HttpVersion);
    }
    if intent(head, buf) != Intent::Upgrade || !names_upgrade(head.tokens(buf, "connection")) {
        return Err(HandshakeError::Connection);
    }
    if exactly_one(head.values(buf, "sec-websocket-version")) != Some(b"13") {
        return Err(HandshakeError::Version);
    }
    let key = exactly_one(head.values(buf, "sec-websocket-key")).filter(|key| is_key(key));
    let key = key.ok_or(HandshakeError::Key)?;
    if !facts.body.is_empty() {
        return Err(HandshakeError::Body);
    }
    let subprotocols: Vec<Span> = head.named(buf, SUBPROTOCOL).collect();
    let extensions: Vec<Span> = head.named(buf, EXTENSIONS).collect();
    if !subprotocols
        .iter()
        .all(|value| is_token_list(value.of(buf)))
        || !extensions
            .iter()
            .all(|value| is_extension_list(value.of(buf)))
    {
        return Err(HandshakeError::Offer);
    }
    Ok(Offer {
        accept: accept_value(key),
        subprotocols,
        extensions,
    })
}

/// Holds a backend's 101 against RFC 6455 §4.1 and the client's offer, which was read from `request_buf`.
pub fn check_answer(
    head: &ResponseHead,
    buf: &[u8],
    offer: &Offer,
    request_buf: &[u8],
) -> Result<Upgraded, AnswerError> {
    if head.version != Version::Http11 {
        return Err(AnswerError::HttpVersion);
    }
    if head.status != 101 || !upgrades_to_websocket(head.tokens(buf, "upgrade")) {
        return Err(AnswerError::Upgrade);
    }
    if !names_upgrade(head.tokens(buf, "connection")) {
        return Err(AnswerError::Connection);
    }
    if exactly_one(head.values(buf, "sec-websocket-accept")) != Some(&offer.accept) {
        return Err(AnswerError::Accept);
    }
    let subprotocol = at_most_one(head.values(buf, SUBPROTOCOL));
    match subprotocol.map_err(|_| AnswerError::Subprotocol)? {
        Some(chosen) if !offer.has_subprotocol(chosen, request_buf) => {
            return Err(AnswerError::Subprotocol);
        }
        Some(_) | None => {}
    }
    // RFC 6455 §9.1: more than once in a request, but not in a response.
    let negotiated = at_most_one(head.values(buf, EXTENSIONS));
    let extensions = match negotiated.map_err(|_| AnswerError::Extension)? {
        None => Extensions::None,
        Some(list) => offer
            .negotiated(list, request_buf)
            .ok_or(AnswerError::Extension)?,
    };
    Ok(Upgraded { extensions })
}

impl Offer {
    fn has_subprotocol(&self, name: &[u8], request_buf: &[u8]) -> bool {
        let offered = self.subprotocols.iter();
        offered
            .flat_map(|value| list(value.of(request_buf)))
            .any(|offered| offered == name)
    }

    fn has_extension(&self, name: &[u8], request_buf: &[u8]) -> bool {
        let offered = self.extensions.iter();
        offered
            .flat_map(|value| extension_names(value.of(request_buf)))
            .any(|offered| offered == Ok(name))
    }

    /// Whether permessage-deflate was offered.
    pub fn has_deflate(&self, request_buf: &[u8]) -> bool {
        self.has_extension(DEFLATE, request_buf)
    }

    /// What the list in an answer amounts to; `None` if it is broken, empty or has what was not offered.
    fn negotiated(&self, list: &[u8], request_buf: &[u8]) -> Option<Extensions> {
        let mut extensions = None;
        for name in extension_names(list) {
            let name = name.ok()?;
            if !self.has_extension(name, request_buf) {
                return None;
            }
            extensions = Some(match extensions {
                None if name == DEFLATE => Extensions::Deflate,
                None | Some(_) => Extensions::Unknown,
            });
        }
        extensions
    }
}

/// The value of `Sec-WebSocket-Accept` for `key` (RFC 6455 §4.2.2 step 5).
pub fn accept_value(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(accept.len()), "20 bytes are 28 in base64");
    accept
}

/// 16 bytes in base64, in the only way to write them: padded, no stray bits, no blanks.
fn is_key(key: &[u8]) -> bool {
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

fn upgrades_to_websocket<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> bool {
    exactly_one(tokens).is_some_and(|token| token.eq_ignore_ascii_case(b"websocket"))
}

fn names_upgrade<'a>(mut connection: impl Iterator<Item = &'a [u8]>) -> bool {
    connection.any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

fn is_token_list(value: &[u8]) -> bool {
    list(value).next().is_some() && list(value).all(is_token)
}

fn is_extension_list(value: &[u8]) -> bool {
    extension_names(value).next().is_some() && extension_names(value).all(|name| name.is_ok())
}

fn exactly_one<T>(items: impl Iterator<Item = T>) -> Option<T> {
    at_most_one(items).ok().flatten()
}

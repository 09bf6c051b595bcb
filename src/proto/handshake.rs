//! The opening handshake of RFC 6455 §4, seen from between the two ends.
#![forbid(unsafe_code)]

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
#[derive(Debug)]
pub struct Upgraded {
    extensions: Extensions,
}

impl Upgraded {
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }
}

//! What a response head means for whoever relays it (RFC 9112 §6.3, §9.3).
#![forbid(unsafe_code)]

use super::fields::{self, Framing};
use super::{HeadError, ResponseHead};
use crate::proto::body::BodyLength;

impl ResponseHead {
    /// The length of the body that follows. A 101 has none, but what follows it is the tunnel.
    pub fn body(&self, buf: &[u8], request_was_head: bool) -> Result<BodyLength, HeadError> {
        // Conflicting fields are an error even where no body follows: the next reader may not know that.
        let framing = fields::framing(&self.fields, self.version, buf);
        let framing = framing.map_err(HeadError::Malformed)?;
        if request_was_head || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(BodyLength::None);
        }
        Ok(match framing {
            Framing::Length(length) => BodyLength::Length(length),
            Framing::Chunked => BodyLength::Chunked,
            Framing::Unsaid => BodyLength::UntilClose,
        })
    }

    /// Whether the sender will keep the connection open after this message.
    pub fn keep_alive(&self, buf: &[u8]) -> bool {
        fields::keep_alive(&self.fields, self.version, buf)
    }
}

//! Message bodies of HTTP/1.1: where one ends (RFC 9112 §6). They are relayed as they came, framing included.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

mod chunked;
#[cfg(test)]
mod tests;

use crate::proto::head::Body;
use chunked::Chunked;

/// How long a body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    None,
    Length(u64),
    Chunked,
    /// Only a response's body can be: it ends with the connection.
    UntilClose,
}

impl From<Body> for BodyLength {
    fn from(body: Body) -> Self {
        match body {
            Body::None => Self::None,
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunked,
        }
    }
}

/// The broken rule of the chunked coding (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not 1 to 15 hexadecimal digits.
    ChunkSize,
    /// Extensions of a chunk that are none, or too long, or too many beside the data.
    ChunkExtension,
    /// A line, or a chunk's data, that CRLF does not end.
    LineEnd,
    /// A trailer field that is none, or that may stand in a head only (RFC 9110 §6.5.1).
    Trailer,
    TrailersTooLong,
}

/// Finds the end of one body in bytes that come in pieces.
#[derive(Debug)]
pub struct BodyScanner {
    state: State,
}

#[derive(Debug)]
enum State {
    /// This many bytes are still to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    /// What it was refused for; nothing after that is looked at.
    Broken(BodyError),
}

impl BodyScanner {
    pub fn new(length: BodyLength) -> Self {
        Self {
            state: match length {
                BodyLength::None => State::Length(0),
                BodyLength::Length(length) => State::Length(length),
                BodyLength::Chunked => State::Chunked(Chunked::new()),
                BodyLength::UntilClose => State::UntilClose,
            },
        }
    }

    /// How many of `bytes`, which follow those of the calls before, belong to the body: fewer than all only if it ends
    /// within them. After an error none of them does.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        self.decode(bytes, &mut |_| {})
    }

    /// As `scan`; `data` is given what the body says, without the framing around it.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, BodyError> {
        match &mut self.state {
            State::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left = left.saturating_sub(taken as u64);
                data(bytes.get(..taken).unwrap_or_default());
                Ok(taken)
            }
            State::Chunked(chunked) => {
                let scanned = chunked.scan(bytes, data);
                if let Err(error) = scanned {
                    self.state = State::Broken(error);
                }
                scanned
            }
            State::UntilClose => {
                data(bytes);
                Ok(bytes.len())
            }
            State::Broken(error) => Err(*error),
        }
    }

    /// Whether the body's last byte has been seen.
    pub fn is_complete(&self) -> bool {
        match &self.state {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_complete(),
            State::UntilClose | State::Broken(_) => false,
        }
    }

    /// Whether the sender may close now without having cut the body short.
    pub fn is_complete_at_eof(&self) -> bool {
        matches!(self.state, State::UntilClose) || self.is_complete()
    }
}

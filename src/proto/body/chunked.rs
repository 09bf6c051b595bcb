//! The chunked coding (RFC 9112 §7.1), read so strictly that no other reader can see another end.
#![forbid(unsafe_code)]

use super::BodyError;
use crate::proto::head::is_tchar;

/// 2^60 bytes; sizes that overflow some other reader's integer do not get that far.
const SIZE_DIGITS_MAX: u8 = 15;
/// Extensions that anybody uses have a few bytes. Unbounded, they are bytes that no body limit counts.
const EXTENSION_BYTES_MAX: u16 = 256;
/// Extensions of a whole body beyond its data: chunks of one byte, each with its extension, are not what anybody sends.
const EXTENSION_EXCESS_MAX: u64 = 8 * 1024;
const TRAILER_BYTES_MAX: u16 = 8 * 1024;

/// Fields that are wrong in a trailer: they say how a message is framed, where it goes, or who sent it (RFC 9110 §6.5.1).
/// Some servers add a trailer's fields to those of the head, and would see another request than we did.
const HEAD_ONLY: [&[u8]; 14] = [
    b"authorization",
    b"connection",
    b"content-length",
    b"cookie",
    b"host",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
];
/// One more than the longest of them, so that a longer name is none of them.
const NAME_BYTES_KEPT: usize = 20;

/// ```text
///   Size ─;─► Extension ─┐                 ┌──────── 0 ────────► TrailerStart ─CR─► EndLine ─LF─► End
///     └──────── CR ──────┴─► SizeLine ─LF──┤                      │       ▲
///   Size ◄─LF─ DataLine ◄─CR─ DataEnd ◄─── Data               Name ─:─► Value ─CR─► ValueLine ─LF─┘
/// ```
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// The size being read, then the bytes of data still to come.
    left: u64,
    digits: u8,
    extension_bytes: u16,
    extension_excess: u64,
    trailer_bytes: u16,
    name: Name,
}

/// The start of a trailer's name, in lower case.
#[derive(Debug, Default)]
struct Name {
    bytes: [u8; NAME_BYTES_KEPT],
    len: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte.to_ascii_lowercase();
            self.len += 1;
        }
    }

    fn is_head_only(&self) -> bool {
        HEAD_ONLY.contains(&self.bytes.get(..self.len).unwrap_or_default())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLine,
    Data,
    DataEnd,
    DataLine,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLine,
    EndLine,
    End,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            extension_bytes: 0,
            extension_excess: 0,
            trailer_bytes: 0,
            name: Name::default(),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// See `BodyScanner::decode`.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, BodyError> {
        let mut rest = bytes;
        loop {
            rest = match (self.state, rest) {
                (State::End, _) | (_, []) => return Ok(bytes.len() - rest.len()),
                (State::Data, _) => {
                    let (of_chunk, after) = self.split_data(rest);
                    data(of_chunk);
                    after
                }
                (_, [byte, after @ ..]) => {
                    self.state = self.step(*byte)?;
                    after
                }
            };
        }
    }

    /// What belongs to the chunk, and what follows it.
    fn split_data<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let len = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.left = self.left.saturating_sub(len as u64);
        if self.left == 0 {
            self.state = State::DataEnd;
        }
        bytes.split_at_checked(len).unwrap_or((bytes, &[]))
    }

    /// The state after one byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::Size, _) => self.size(byte),
            (State::Extension, b'\r') => Ok(State::SizeLine),
            (State::Extension, _) => self.extension(byte),
            (State::SizeLine, b'\n') => self.begin_data(),
            (State::DataEnd, b'\r') => Ok(State::DataLine),
            (State::DataLine, b'\n') => Ok(self.next_chunk()),
            (State::TrailerStart, b'\r') => Ok(State::EndLine),
            (State::EndLine, b'\n') => Ok(State::End),
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => {
                self.trailer(byte)
            }
            (State::TrailerLine, b'\n') => Ok(State::TrailerStart),
            // `scan` gives no byte to the last two.
            (
                State::SizeLine
                | State::DataEnd
                | State::DataLine
                | State::TrailerLine
                | State::EndLine
                | State::Data
                | State::End,
                _,
            ) => Err(BodyError::LineEnd),
        }
    }

    /// RFC 9112 §7.1.1 lets blanks stand before an extension. Nobody sends them, and `5 ` reads differently elsewhere.
    fn size(&mut self, byte: u8) -> Result<State, BodyError> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) if self.digits < SIZE_DIGITS_MAX => {
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (None, b'\r') if self.digits > 0 => Ok(State::SizeLine),
            (None, b';') if self.digits > 0 => Ok(State::Extension),
            _ => Err(BodyError::ChunkSize),
        }
    }

    fn extension(&mut self, byte: u8) -> Result<State, BodyError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX || is_control(byte) {
            return Err(BodyError::ChunkExtension);
        }
        Ok(State::Extension)
    }

    fn begin_data(&mut self) -> Result<State, BodyError> {
        let extensions = self.extension_excess + u64::from(self.extension_bytes);
        self.extension_excess = extensions.saturating_sub(self.left);
        if self.extension_excess > EXTENSION_EXCESS_MAX {
            return Err(BodyError::ChunkExtension);
        }
        Ok(if self.left == 0 {
            State::TrailerStart
        } else {
            State::Data
        })
    }

    fn next_chunk(&mut self) -> State {
        self.digits = 0;
        self.extension_bytes = 0;
        State::Size
    }

    /// RFC 9112 §7.1.2: fields, each of which begins with a name and is never folded.
    fn trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailersTooLong);
        }
        match (self.state, byte) {
            (State::TrailerName, b':') if self.name.is_head_only() => Err(BodyError::Trailer),
            (State::TrailerName, b':') => {
                self.name = Name::default();
                Ok(State::TrailerValue)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLine),
            (State::TrailerValue, _) if !is_control(byte) => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_tchar(byte) => {
                self.name.push(byte);
                Ok(State::TrailerName)
            }
            _ => Err(BodyError::Trailer),
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

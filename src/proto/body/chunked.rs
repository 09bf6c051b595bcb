//! The chunked coding (RFC 9112 §7.1), read so strictly that no other reader can see another end.
#![forbid(unsafe_code)]

use super::BodyError;
use crate::proto::head::is_tchar;

/// 2^60 bytes; sizes that overflow some other reader's integer do not get that far.
const SIZE_DIGITS_MAX: u8 = 15;
/// Extensions that anybody uses have a few bytes. Unbounded, they are bytes that no body limit counts.
const EXTENSION_BYTES_MAX: u16 = 256;
const TRAILER_BYTES_MAX: u16 = 8 * 1024;

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
    trailer_bytes: u16,
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
            trailer_bytes: 0,
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
            (State::SizeLine, b'\n') if self.left == 0 => Ok(State::TrailerStart),
            (State::SizeLine, b'\n') => Ok(State::Data),
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
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLine),
            (State::TrailerValue, _) if !is_control(byte) => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_tchar(byte) => {
                Ok(State::TrailerName)
            }
            _ => Err(BodyError::Trailer),
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

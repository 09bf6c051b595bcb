//! Where a head ends: looks at each byte once, however slowly they come, and holds the limits while it does.
#![forbid(unsafe_code)]

use super::{FIELDS_MAX, HeadError, HeadLimits, Malformed};

/// The longest method registered has 17 bytes; a client that sends more without a blank is no HTTP client.
const METHOD_BYTES_MAX: usize = 32;
const VERSION_BYTES: usize = "HTTP/1.1".len();
/// RFC 9112 §2.2 asks for "at least one" empty line before a request to be passed over.
const EMPTY_LINES_MAX: u8 = 2;

/// Walks the lines of a growing buffer up to the empty line that ends the head.
///
/// It checks what can be checked without a parse: line ends, control characters, folding, the shape of the request line
/// and all limits. Every error belongs to one byte, so it does not matter how many bytes came with or after it.
///
/// ```text
///   Method ─SP─► Target ─SP─► Version ─CRLF─► Fields ⟲ ─CRLF CRLF─► end
///                             Status  ─CRLF─► Fields
/// ```
#[derive(Debug)]
pub struct HeadSeeker {
    part: Part,
    /// Where the part, or the field, that is being read began.
    start: usize,
    /// Everything before this has been looked at.
    seen: usize,
    fields_start: usize,
    fields: usize,
    empty_lines: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Method,
    Target,
    Version,
    Status,
    Fields,
}

impl HeadSeeker {
    pub fn request() -> Self {
        Self::new(Part::Method)
    }

    pub fn response() -> Self {
        Self::new(Part::Status)
    }

    fn new(part: Part) -> Self {
        Self {
            part,
            start: 0,
            seen: 0,
            fields_start: 0,
            fields: 0,
            empty_lines: 0,
        }
    }

    /// The length of the head once its end is there. `buf` is the buffer of the calls before, possibly longer.
    pub fn seek(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        loop {
            let stop = self.next_stop(buf);
            self.seen = stop.map_or(buf.len(), |(at, _)| at);
            self.check_extent(buf, limits)?;
            let Some((at, byte)) = stop else {
                return Ok(None);
            };
            match (byte, buf.get(at + 1)) {
                (b' ', _) => self.handle_blank(at)?,
                (b'\r', None) => return Ok(None),
                (b'\r', Some(b'\n')) => {
                    if self.handle_line_end(at)? {
                        return Ok(Some(self.seen));
                    }
                }
                (b'\r', Some(_)) => return Err(malformed(Malformed::BareCarriageReturn)),
                (b'\n', _) => return Err(malformed(Malformed::BareLineFeed)),
                _ => return Err(malformed(Malformed::ControlCharacter)),
            }
        }
    }

    /// The next byte that is more than content of the current part.
    fn next_stop(&self, buf: &[u8]) -> Option<(usize, u8)> {
        let unseen = buf.get(self.seen..)?;
        let at = match self.part {
            Part::Method | Part::Target | Part::Version => find(unseen, is_blank_or_control),
            Part::Status | Part::Fields => find(unseen, is_control),
        }?;
        Some((self.seen + at, *unseen.get(at)?))
    }

    /// Checks the part read so far, `start..seen`.
    fn check_extent(&self, buf: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
        let len = self.seen - self.start;
        let (len_max, error) = match self.part {
            Part::Method => (METHOD_BYTES_MAX, malformed(Malformed::Syntax)),
            Part::Target => (limits.target_bytes_max, HeadError::TargetTooLong),
            Part::Version => (VERSION_BYTES, malformed(Malformed::Version)),
            Part::Status => (limits.field_bytes_max, HeadError::FieldTooLong),
            Part::Fields => return self.check_field(len, buf, limits),
        };
        if len > len_max { Err(error) } else { Ok(()) }
    }

    fn check_field(&self, len: usize, buf: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
        if len == 0 {
            return Ok(());
        }
        if matches!(buf.get(self.start), Some(b' ' | b'\t')) {
            return Err(malformed(Malformed::Folding));
        }
        if self.fields == FIELDS_MAX {
            return Err(HeadError::TooManyFields);
        }
        // The limit that is reached first decides, else the error would depend on how many bytes came at once.
        let fields_left = limits
            .fields_bytes_max
            .saturating_sub(self.start - self.fields_start);
        if len <= limits.field_bytes_max.min(fields_left) {
            Ok(())
        } else if fields_left < limits.field_bytes_max {
            Err(HeadError::FieldsTooLong)
        } else {
            Err(HeadError::FieldTooLong)
        }
    }

    /// RFC 9112 §3: exactly one blank between method, target and version.
    fn handle_blank(&mut self, at: usize) -> Result<(), HeadError> {
        let next = match self.part {
            Part::Method => Part::Target,
            Part::Target => Part::Version,
            Part::Version | Part::Status | Part::Fields => {
                return Err(malformed(Malformed::Syntax));
            }
        };
        if at == self.start {
            return Err(malformed(Malformed::Syntax));
        }
        self.part = next;
        self.advance(at + 1);
        Ok(())
    }

    /// The CRLF at `at`; true if it ends the head.
    fn handle_line_end(&mut self, at: usize) -> Result<bool, HeadError> {
        let empty = at == self.start;
        match self.part {
            Part::Method if empty => {
                self.empty_lines += 1;
                if self.empty_lines > EMPTY_LINES_MAX {
                    return Err(malformed(Malformed::EmptyLines));
                }
            }
            Part::Version | Part::Status if !empty => {
                self.part = Part::Fields;
                self.fields_start = at + 2;
            }
            Part::Fields if empty => {
                self.advance(at + 2);
                return Ok(true);
            }
            Part::Fields => self.fields += 1,
            Part::Method | Part::Target | Part::Version | Part::Status => {
                return Err(malformed(Malformed::Syntax));
            }
        }
        self.advance(at + 2);
        Ok(false)
    }

    fn advance(&mut self, to: usize) {
        self.start = to;
        self.seen = to;
    }
}

/// The first byte that `matches`: in steps of sixteen, which the compiler turns into vector compares.
fn find(bytes: &[u8], matches: impl Fn(u8) -> bool) -> Option<usize> {
    let without = |chunk: &&[u8]| !chunk.iter().fold(false, |hit, byte| hit | matches(*byte));
    let clean = bytes.chunks_exact(16).take_while(without).count() * 16;
    let at = bytes.get(clean..)?.iter().position(|byte| matches(*byte))?;
    Some(clean + at)
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

fn is_blank_or_control(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

fn malformed(rule: Malformed) -> HeadError {
    HeadError::Malformed(rule)
}

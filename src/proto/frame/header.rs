//! One frame header (RFC 6455 §5.2), and the rules that it alone can break.
#![forbid(unsafe_code)]

use super::{FrameError, Masking};
use crate::proto::handshake::Extensions;

/// Two bytes, eight of length, four of masking key.
pub(super) const BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const MASK: u8 = 0x80;
/// §5.5.
const CONTROL_BYTES_MAX: u8 = 125;

/// ```text
///   FIN RSV1-3 opcode │ MASK length │ 0, 2 or 8 bytes of length │ 0 or 4 bytes of masking key
///    1    3      4    │  1     7    │
/// ```
#[derive(Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) payload_bytes: u64,
    /// Zero where frames are not masked.
    pub(super) key: [u8; 4],
    /// Length of the header itself.
    pub(super) len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// Text, binary and continuation.
    Data,
    Close,
    Ping,
    Pong,
}

/// What a header is held against.
pub(super) struct Rules {
    pub(super) masking: Masking,
    pub(super) extensions: Extensions,
    /// Whether a message waits for its continuation.
    pub(super) message_open: bool,
}

impl Header {
    /// The header that `bytes` begins with; `None` if it is not complete and what there is breaks no rule.
    #[inline]
    pub(super) fn decode(bytes: &[u8], rules: &Rules) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = check_first(*first, rules)?;
        check_second(*second, opcode, rules)?;
        let fin = first & FIN != 0;
        let Some((payload_bytes, rest)) = payload_bytes(second & !MASK, rest)? else {
            return Ok(None);
        };
        let (key, rest) = match (rules.masking, rest.split_first_chunk()) {
            (Masking::Forbidden, _) => ([0; 4], rest),
            (Masking::Required, Some((key, rest))) => (*key, rest),
            (Masking::Required, None) => return Ok(None),
        };
        Ok(Some(Self {
            fin,
            opcode,
            payload_bytes,
            key,
            len: bytes.len() - rest.len(),
        }))
    }
}

fn check_first(first: u8, rules: &Rules) -> Result<Opcode, FrameError> {
    let reserved = match rules.extensions {
        Extensions::None => RSV1 | RSV2_AND_3,
        // RFC 7692 §6.1: on the first frame of a message, so neither on a continuation nor on a control frame.
        Extensions::Deflate if matches!(first & 0x0f, 1 | 2) => RSV2_AND_3,
        Extensions::Deflate => RSV1 | RSV2_AND_3,
        Extensions::Unknown => 0,
    };
    if first & reserved != 0 {
        return Err(FrameError::ReservedBits);
    }
    let opcode = match first & 0x0f {
        // §5.4: the frames of two messages are not mixed.
        0 if rules.message_open => return Ok(Opcode::Data),
        1 | 2 if !rules.message_open => return Ok(Opcode::Data),
        0..=2 => return Err(FrameError::Fragmentation),
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(FrameError::ReservedOpcode),
    };
    if first & FIN == 0 {
        return Err(FrameError::FragmentedControl);
    }
    Ok(opcode)
}

fn check_second(second: u8, opcode: Opcode, rules: &Rules) -> Result<(), FrameError> {
    let masked = second & MASK != 0;
    if masked != (rules.masking == Masking::Required) {
        return Err(FrameError::Masking);
    }
    match (opcode, second & !MASK) {
        (Opcode::Data, _) => Ok(()),
        (Opcode::Close | Opcode::Ping | Opcode::Pong, len) if len > CONTROL_BYTES_MAX => {
            Err(FrameError::ControlTooLong)
        }
        // §5.5.1: a body begins with the two bytes of the code.
        (Opcode::Close, 1) => Err(FrameError::CloseBody),
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => Ok(()),
    }
}

/// The payload's length and what follows it in `rest`; `None` if it is not complete.
fn payload_bytes(len: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    let (long, rest, long_min) = match len {
        126 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest, 126),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest, 1 << 16),
            None => return Ok(None),
        },
        _ => return Ok(Some((u64::from(len), rest))),
    };
    // §5.2: the shortest form that fits, and the most significant bit is 0.
    if long < long_min || long >> 63 != 0 {
        return Err(FrameError::Length);
    }
    Ok(Some((long, rest)))
}

//! WebSocket frames by hand (RFC 6455 §5.2), for what no library would send.

use std::io::{self, Read};

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as it was read, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) last: bool,
    pub(crate) opcode: u8,
    pub(crate) masked: bool,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a Close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        self.payload
            .first_chunk()
            .map(|code| u16::from_be_bytes(*code))
    }
}

/// A whole message as a client sends it.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, payload, true)
}

/// A whole message as a backend sends it.
pub(crate) fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, payload, false)
}

/// A frame with any first byte: reserved bits, a missing FIN, an unknown opcode.
pub(crate) fn encode(first: u8, payload: &[u8], mask: bool) -> Vec<u8> {
    let mut frame = vec![first];
    let bit = if mask { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => frame.push(bit | u8::try_from(len).unwrap()),
        len @ 126..=0xffff => {
            frame.push(bit | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if mask {
        frame.extend(MASK);
    }
    let start = frame.len();
    frame.extend(payload);
    if mask {
        apply(MASK, &mut frame[start..]);
    }
    frame
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

pub(crate) fn read(stream: &mut impl Read) -> io::Result<Frame> {
    let [first, second] = take(stream)?;
    let len = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(take(stream)?)),
        127 => u64::from_be_bytes(take(stream)?),
        len => u64::from(len),
    };
    let masked = second & 0x80 != 0;
    let mask = if masked { take(stream)? } else { [0; 4] };
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    stream.read_exact(&mut payload)?;
    apply(mask, &mut payload);
    Ok(Frame {
        last: first & 0x80 != 0,
        opcode: first & 0x0f,
        masked,
        payload,
    })
}

fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

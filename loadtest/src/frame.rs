//! WebSocket frames (RFC 6455 §5): headers, masking, and a reader that streams payloads however the bytes were cut.

use std::fmt;

/// Two bytes, a length of eight and a masking key of four.
pub(crate) const HEADER_BYTES_MAX: usize = 14;
/// RFC 6455 §5.5.
pub(crate) const CONTROL_PAYLOAD_MAX: u64 = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) masking_key: Option<[u8; 4]>,
    pub(crate) payload_len: u64,
}

impl Header {
    /// Reads a header and says how many bytes it took, or `None` if there is not enough yet.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(([first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        // No extension is ever negotiated here, so no reserved bit has a meaning.
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::ReservedOpcode)?;
        let Some((payload_len, rest)) = decode_length(second & 0x7f, rest)? else {
            return Ok(None);
        };
        let (masking_key, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else if let Some((key, rest)) = rest.split_first_chunk() {
            (Some(*key), rest)
        } else {
            return Ok(None);
        };
        let header = Self {
            fin: first & 0x80 != 0,
            opcode,
            masking_key,
            payload_len,
        };
        header.check()?;
        Ok(Some((header, bytes.len() - rest.len())))
    }

    fn check(&self) -> Result<(), FrameError> {
        match self.opcode.is_control() {
            true if !self.fin => Err(FrameError::FragmentedControl),
            true if self.payload_len > CONTROL_PAYLOAD_MAX => Err(FrameError::ControlTooLong),
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.fin) << 7 | self.opcode.bits());
        let mask_bit = u8::from(self.masking_key.is_some()) << 7;
        match (
            u8::try_from(self.payload_len),
            u16::try_from(self.payload_len),
        ) {
            (Ok(len @ 0..=125), _) => out.push(mask_bit | len),
            (_, Ok(len)) => {
                out.push(mask_bit | 126);
                out.extend_from_slice(&len.to_be_bytes());
            }
            _ => {
                out.push(mask_bit | 127);
                out.extend_from_slice(&self.payload_len.to_be_bytes());
            }
        }
        if let Some(key) = self.masking_key {
            out.extend_from_slice(&key);
        }
    }
}

fn decode_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    match short {
        126 => Ok(rest
            .split_first_chunk()
            .map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))),
        127 => match rest.split_first_chunk() {
            Some((len, rest)) => match u64::from_be_bytes(*len) {
                len if len >> 63 != 0 => Err(FrameError::Length),
                len => Ok(Some((len, rest))),
            },
            None => Ok(None),
        },
        len => Ok(Some((u64::from(len), rest))),
    }
}

/// Appends a whole frame, masked if a key is given.
pub(crate) fn encode_frame(
    opcode: Opcode,
    masking_key: Option<[u8; 4]>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let header = Header {
        fin: true,
        opcode,
        masking_key,
        payload_len: payload.len() as u64,
    };
    header.encode(out);
    append_masked(payload, masking_key, 0, out);
}

/// Appends a piece of payload that begins `offset` bytes into its frame, masking (or unmasking) it on the way.
pub(crate) fn append_masked(
    bytes: &[u8],
    masking_key: Option<[u8; 4]>,
    offset: u64,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(bytes);
    if let (Some(key), Some(appended)) = (masking_key, out.get_mut(start..)) {
        apply_mask(appended, key, offset);
    }
}

/// RFC 6455 §5.3, eight bytes at a time.
fn apply_mask(bytes: &mut [u8], mut key: [u8; 4], offset: u64) {
    key.rotate_left((offset & 3) as usize);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// A run of one frame's payload, as it came (masked if the header says so).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) header: Header,
    /// Where `bytes` begins in the frame; zero exactly once per frame.
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
    /// Whether the frame ends here.
    pub(crate) last: bool,
}

/// Where a stream of frames stands between two reads: an incomplete header, or the frame it is in.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    held: [u8; HEADER_BYTES_MAX],
    held_len: usize,
    frame: Option<Header>,
    offset: u64,
}

impl FrameReader {
    /// Takes the next piece off `input`; `None` once all of it is taken.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, FrameError> {
        let header = match self.frame {
            Some(header) => header,
            None => match self.take_header(input)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        if input.is_empty() && header.payload_len > 0 {
            return Ok(None);
        }
        Ok(Some(self.take_payload(header, input)))
    }

    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, FrameError> {
        let decoded = if self.held_len == 0 {
            Header::decode(input)?
        } else {
            self.decode_held(input)?
        };
        match decoded {
            Some((header, taken)) => {
                *input = input.get(taken..).unwrap_or_default();
                self.held_len = 0;
                self.frame = Some(header);
                self.offset = 0;
                Ok(Some(header))
            }
            None => {
                self.hold(input);
                *input = &[];
                Ok(None)
            }
        }
    }

    /// Decodes the held bytes with what follows them; the length returned is what it takes off `input`.
    fn decode_held(&self, input: &[u8]) -> Result<Option<(Header, usize)>, FrameError> {
        let mut whole = Self {
            held: self.held,
            held_len: self.held_len,
            ..Self::default()
        };
        whole.hold(input);
        let bytes = whole.held.get(..whole.held_len).unwrap_or_default();
        Ok(Header::decode(bytes)?.map(|(header, len)| (header, len - self.held_len)))
    }

    fn hold(&mut self, input: &[u8]) {
        for (slot, byte) in self.held.iter_mut().skip(self.held_len).zip(input) {
            *slot = *byte;
            self.held_len += 1;
        }
    }

    fn take_payload<'a>(&mut self, header: Header, input: &mut &'a [u8]) -> Piece<'a> {
        let left = header.payload_len - self.offset;
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (bytes, rest) = input.split_at(len);
        let offset = self.offset;
        *input = rest;
        self.offset += len as u64;
        let last = self.offset == header.payload_len;
        if last {
            self.frame = None;
        }
        Piece {
            header,
            offset,
            bytes,
            last,
        }
    }
}

/// The rule of RFC 6455 §5 that a peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    ReservedBits,
    ReservedOpcode,
    FragmentedControl,
    ControlTooLong,
    Length,
    /// A client's frame without mask, or a server's with one (§5.1).
    Masking,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBits => "a reserved bit is set",
            Self::ReservedOpcode => "a reserved opcode",
            Self::FragmentedControl => "a fragmented control frame",
            Self::ControlTooLong => "a control frame above 125 bytes",
            Self::Length => "a frame length above 2^63",
            Self::Masking => "a frame masked the wrong way",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_frame(Opcode::Text, Some(KEY), b"Hello", &mut bytes);
        encode_frame(Opcode::Ping, Some(KEY), b"", &mut bytes);
        encode_frame(Opcode::Binary, Some(KEY), &[7; 300], &mut bytes);
        encode_frame(Opcode::Binary, None, &[9; 70_000], &mut bytes);
        bytes
    }

    /// Reads `chunks` as one stream and gives each frame's header and plain payload.
    fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<(Header, Vec<u8>)> {
        let mut reader = FrameReader::default();
        let mut frames: Vec<(Header, Vec<u8>)> = Vec::new();
        for mut chunk in chunks {
            while let Some(piece) = reader.next(&mut chunk).unwrap() {
                if piece.offset == 0 {
                    frames.push((piece.header, Vec::new()));
                }
                let (_, payload) = frames.last_mut().unwrap();
                append_masked(piece.bytes, piece.header.masking_key, piece.offset, payload);
            }
        }
        frames
    }

    #[test]
    fn the_masked_hello_of_the_rfc_is_reproduced() {
        let mut bytes = Vec::new();
        encode_frame(Opcode::Text, Some(KEY), b"Hello", &mut bytes);
        assert_eq!(
            bytes,
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
    }

    #[test]
    fn frames_do_not_depend_on_where_the_bytes_were_cut() {
        let bytes = stream();
        let whole = read(std::iter::once(bytes.as_slice()));
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0].1, b"Hello");
        assert_eq!(whole[3].1, [9; 70_000]);
        for size in [1, 2, 3, 5, 13, 14, 15, 331, 65_536] {
            assert_eq!(read(bytes.chunks(size)), whole, "cut every {size} bytes");
        }
    }

    #[test]
    fn broken_headers_are_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(Header::decode(bytes), Err(expected));
        check(&[0xc1, 0x00], FrameError::ReservedBits);
        check(&[0x83, 0x00], FrameError::ReservedOpcode);
        check(&[0x09, 0x00], FrameError::FragmentedControl);
        check(&[0x89, 126, 0, 126], FrameError::ControlTooLong);
        check(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::Length);
    }
}

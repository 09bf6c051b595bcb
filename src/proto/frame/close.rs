//! Close frames of our own (RFC 6455 §5.5.1).
#![forbid(unsafe_code)]

/// Opcode 8 with FIN.
const CLOSE: u8 = 0x88;
const MASK: u8 = 0x80;
/// A control frame's 125 bytes less the code's two.
const REASON_BYTES_MAX: usize = 123;
/// Header, masking key and payload.
const BYTES_MAX: usize = 2 + 4 + 125;

/// A complete Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    bytes: [u8; BYTES_MAX],
    len: u8,
}

impl CloseFrame {
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The Close frame with `code` and as much of `reason` as fits. `mask` is the masking key of a frame to the backend, where
/// we stand for the client (§5.1); it has to be drawn at random for each frame (§5.3), which is the caller's business.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> CloseFrame {
    let reason = cut(reason, REASON_BYTES_MAX);
    // At most 125, as `reason` is cut.
    let payload_len = u8::try_from(2 + reason.len()).unwrap_or_default();
    let mask_bit = if mask.is_some() { MASK } else { 0 };
    let key = mask.unwrap_or_default().into_iter().cycle();
    let payload = code.to_be_bytes().into_iter().chain(reason.bytes());
    let frame = [CLOSE, mask_bit | payload_len]
        .into_iter()
        .chain(mask.into_iter().flatten())
        .chain(payload.zip(key).map(|(byte, key)| byte ^ key));

    let mut close = CloseFrame {
        bytes: [0; BYTES_MAX],
        len: 0,
    };
    for (slot, byte) in close.bytes.iter_mut().zip(frame) {
        *slot = byte;
        close.len += 1;
    }
    close
}

/// The longest start of `text` with at most `len_max` bytes that is whole characters.
fn cut(text: &str, len_max: usize) -> &str {
    let fits = |len: &usize| text.is_char_boundary(*len);
    let len = (0..=len_max.min(text.len())).rev().find(fits);
    text.get(..len.unwrap_or_default()).unwrap_or_default()
}

//! WebSocket frames, walked in place (RFC 6455 §5): counted and checked, never copied, never unmasked.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

mod close;
mod header;
mod sizes;
#[cfg(test)]
mod tests;

use crate::proto::handshake::Extensions;
pub use close::{CloseFrame, close_frame};
use header::{Header, Opcode, Rules};
pub use sizes::{SIZE_BOUNDS, Sizes};

/// Whether the frames of a direction are masked (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// From the client.
    Required,
    /// From the backend.
    Forbidden,
}

/// Follows the frames of one direction through bytes that come in pieces.
///
/// A frame header that is incomplete at the end of the input is held here and forwarded when the rest of it has come.
/// So what was forwarded always ends inside a payload or between two frames, where a frame of our own may go in, and of
/// a frame that is refused nothing has been forwarded.
#[derive(Debug)]
pub struct FrameScanner {
    state: State,
    /// Wire bytes of payload in the open message, its last frame included once that has begun.
    message_bytes: u64,
    /// Whether a data frame without FIN waits for its continuation (§5.4).
    message_open: bool,
    masking: Masking,
    extensions: Extensions,
}

/// There are two for each open tunnel.
const _: () = assert!(size_of::<FrameScanner>() <= 32);

/// ```text
///   Header ─► Payload ─► Header
///     ├─────► Close ───► Closed      what follows is discarded (§5.5.1)
///     └─────► Broken                 for good: where the next frame begins is not known
/// ```
#[derive(Debug)]
enum State {
    /// Between two frames, but for the start of a header that is held back.
    Header(Held),
    Payload {
        kind: Kind,
        left: u64,
    },
    Close(ClosePayload),
    Closed,
    Broken {
        error: FrameError,
        held: Held,
    },
}

/// What is counted when a frame's payload is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Part,
    Message,
    Ping,
    Pong,
}

/// Inside a Close frame, whose first two bytes are the code.
#[derive(Clone, Copy, Debug)]
struct ClosePayload {
    /// Zero where frames are not masked.
    key: [u8; 4],
    code: [u8; 2],
    seen: u8,
    left: u8,
}

/// The start of a frame header, kept back until the rest of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    bytes: [u8; header::BYTES_MAX - 1],
    len: u8,
}

impl Held {
    const EMPTY: Self = Self {
        bytes: [0; header::BYTES_MAX - 1],
        len: 0,
    };

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let slot = self.bytes.get_mut(usize::from(self.len));
            debug_assert!(
                slot.is_some(),
                "a header of full length is decoded, not held"
            );
            if let Some(slot) = slot {
                *slot = *byte;
                self.len += 1;
            }
        }
    }
}

/// What was counted in a scan. A frame counts when its last byte is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames of any kind.
    pub frames: u32,
    /// Data messages, whatever their number of frames.
    pub messages: u32,
    pub sizes: Sizes,
    pub pings: u32,
    pub pongs: u32,
    /// Set when a Close frame was completed: with its code, if it has one.
    pub close: Option<Option<u16>>,
}

/// What to do with the bytes of a scan.
#[derive(Clone, Copy, Debug)]
#[must_use = "bytes that are not forwarded are lost"]
pub struct Scan {
    /// Bytes held back by earlier calls, to be forwarded first.
    pub held: Held,
    /// How many bytes of the input to forward after that. The others are held here, discarded (after a Close frame) or,
    /// with a violation, begin with the offending frame.
    pub forward: usize,
    /// The rule that the frame after the forwarded bytes breaks. Every later scan says so again and forwards nothing.
    pub violation: Option<FrameError>,
}

impl FrameScanner {
    pub fn new(masking: Masking, extensions: Extensions) -> Self {
        Self {
            state: State::Header(Held::EMPTY),
            message_bytes: 0,
            message_open: false,
            masking,
            extensions,
        }
    }

    /// Walks `bytes`, which follow those of the calls before. `message_bytes_max` limits the payload of a message, as it
    /// is on the wire, over all its frames; 0 is no limit.
    pub fn scan(&mut self, bytes: &[u8], message_bytes_max: u64, tally: &mut Tally) -> Scan {
        let mut scan = Scan {
            held: Held::EMPTY,
            forward: 0,
            violation: None,
        };
        while let Some(rest @ [_, ..]) = bytes.get(scan.forward..) {
            match &mut self.state {
                State::Header(held) if held.is_empty() => {
                    match self.enter_frame(rest, message_bytes_max, tally) {
                        Ok(Some(len)) => scan.forward += len,
                        Ok(None) => {
                            self.hold(rest);
                            return scan;
                        }
                        Err(error) => self.refuse(error, Held::EMPTY),
                    }
                }
                State::Header(held) => {
                    let held = *held;
                    match self.enter_held_frame(&held, rest, message_bytes_max, tally) {
                        Ok(Some(len)) => {
                            scan.held = held;
                            scan.forward = len;
                        }
                        Ok(None) => {
                            self.hold(rest);
                            return scan;
                        }
                        Err(error) => self.refuse(error, held),
                    }
                }
                State::Payload { kind, left } => {
                    let kind = *kind;
                    let len =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left = left.saturating_sub(len as u64);
                    scan.forward += len;
                    if *left == 0 {
                        self.leave_frame(kind, tally);
                    }
                }
                State::Close(close) => {
                    scan.forward += close.read(rest);
                    if close.left == 0 {
                        let code = u16::from_be_bytes(close.code);
                        self.leave_close(Some(code), tally);
                    }
                }
                State::Closed => return scan,
                State::Broken { error, .. } => {
                    scan.violation = Some(*error);
                    return scan;
                }
            }
        }
        scan
    }

    /// Whether nothing of a frame has been forwarded without the rest of it. What is held back does not count.
    pub fn at_boundary(&self) -> bool {
        match self.state {
            State::Header(_) | State::Closed | State::Broken { .. } => true,
            State::Payload { .. } | State::Close(_) => false,
        }
    }

    /// Whether a complete Close frame was forwarded.
    pub fn close_seen(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The bytes that are held back: for whoever forwards them after all, at the end of the input or because a violation
    /// is none of its business. After a violation they go between the forwarded bytes and the rest of the input.
    pub fn held(&self) -> &[u8] {
        match &self.state {
            State::Header(held) | State::Broken { held, .. } => held.as_slice(),
            State::Payload { .. } | State::Close(_) | State::Closed => &[],
        }
    }

    /// Reads the frame header that `bytes` begins with and gives its length; `None` if it is not complete.
    fn enter_frame(
        &mut self,
        bytes: &[u8],
        message_bytes_max: u64,
        tally: &mut Tally,
    ) -> Result<Option<usize>, FrameError> {
        let Some(header) = Header::decode(bytes, &self.rules())? else {
            return Ok(None);
        };
        match header.opcode {
            Opcode::Data => {
                let message_bytes = self.message_bytes.saturating_add(header.payload_bytes);
                if message_bytes_max > 0 && message_bytes > message_bytes_max {
                    return Err(FrameError::MessageTooBig);
                }
                self.message_open = !header.fin;
                self.message_bytes = message_bytes;
                let kind = if header.fin {
                    Kind::Message
                } else {
                    Kind::Part
                };
                self.enter_payload(kind, header.payload_bytes, tally);
            }
            Opcode::Ping => self.enter_payload(Kind::Ping, header.payload_bytes, tally),
            Opcode::Pong => self.enter_payload(Kind::Pong, header.payload_bytes, tally),
            Opcode::Close => self.enter_close(&header, tally),
        }
        Ok(Some(header.len))
    }

    /// As `enter_frame` for a header whose start is in `held`; gives how many bytes of `rest` complete it.
    #[cold]
    fn enter_held_frame(
        &mut self,
        held: &Held,
        rest: &[u8],
        message_bytes_max: u64,
        tally: &mut Tally,
    ) -> Result<Option<usize>, FrameError> {
        let mut joined = [0; header::BYTES_MAX];
        let mut joined_len = 0;
        let bytes = held.as_slice().iter().chain(rest);
        for (slot, byte) in joined.iter_mut().zip(bytes) {
            *slot = *byte;
            joined_len += 1;
        }
        let joined = joined.get(..joined_len).unwrap_or_default();
        let entered = self.enter_frame(joined, message_bytes_max, tally)?;
        Ok(entered.map(|len| len.saturating_sub(held.as_slice().len())))
    }

    fn rules(&self) -> Rules {
        Rules {
            masking: self.masking,
            extensions: self.extensions,
            message_open: self.message_open,
        }
    }

    fn enter_payload(&mut self, kind: Kind, bytes: u64, tally: &mut Tally) {
        if bytes == 0 {
            self.leave_frame(kind, tally);
        } else {
            self.state = State::Payload { kind, left: bytes };
        }
    }

    fn leave_frame(&mut self, kind: Kind, tally: &mut Tally) {
        tally.frames = tally.frames.saturating_add(1);
        match kind {
            Kind::Part => {}
            Kind::Message => {
                tally.messages = tally.messages.saturating_add(1);
                tally.sizes.count(std::mem::take(&mut self.message_bytes));
            }
            Kind::Ping => tally.pings = tally.pings.saturating_add(1),
            Kind::Pong => tally.pongs = tally.pongs.saturating_add(1),
        }
        self.state = State::Header(Held::EMPTY);
    }

    fn enter_close(&mut self, header: &Header, tally: &mut Tally) {
        match u8::try_from(header.payload_bytes) {
            Ok(0) => self.leave_close(None, tally),
            // `decode` refuses control frames above 125 bytes.
            left => {
                self.state = State::Close(ClosePayload {
                    key: header.key,
                    code: [0; 2],
                    seen: 0,
                    left: left.unwrap_or(u8::MAX),
                });
            }
        }
    }

    fn leave_close(&mut self, code: Option<u16>, tally: &mut Tally) {
        tally.frames = tally.frames.saturating_add(1);
        tally.close = Some(code);
        self.state = State::Closed;
    }

    fn hold(&mut self, bytes: &[u8]) {
        if let State::Header(held) = &mut self.state {
            held.push(bytes);
        }
    }

    fn refuse(&mut self, error: FrameError, held: Held) {
        self.state = State::Broken { error, held };
    }
}

impl ClosePayload {
    /// Reads what there is of the payload, and says how much.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let payload = bytes.get(..usize::from(self.left)).unwrap_or(bytes);
        for byte in payload {
            let at = usize::from(self.seen);
            if let (Some(code), Some(key)) = (self.code.get_mut(at), self.key.get(at)) {
                *code = byte ^ key;
            }
            self.seen = self.seen.saturating_add(1);
            self.left = self.left.saturating_sub(1);
        }
        payload.len()
    }
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A client's frame without mask, or a backend's with one (§5.1).
    Masking,
    ReservedBits,
    ReservedOpcode,
    FragmentedControl,
    ControlTooLong,
    /// A length not in the shortest form, or above 2^63 (§5.2).
    Length,
    /// A continuation without a message, or a new message within one (§5.4).
    Fragmentation,
    /// A Close frame with a body of one byte (§5.5.1).
    CloseBody,
    /// More wire bytes in one message than allowed.
    MessageTooBig,
}

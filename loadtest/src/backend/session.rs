//! One connection of the backend: its handshake, then what its mode makes of its frames.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::backend::push::PushOrder;
use crate::digest::Digest;
use crate::frame::{FrameError, FrameReader, Header, Opcode, Piece, append_masked, encode_frame};
use crate::handshake::{self, HandshakeError};
use crate::lane::Receipt;

/// Full reads of one socket before others get their turn.
const READS_MAX: usize = 16;
/// Bytes of pushes that may wait for a reader.
const PUSH_UNSENT_MAX: usize = 256 * 1024;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    /// Its turn was over before its bytes were.
    Again,
    Over,
}

/// Memory that all sessions of a thread share.
#[derive(Debug)]
pub(super) struct Scratch {
    received: Vec<u8>,
    answer: Vec<u8>,
    plain: Vec<u8>,
}

impl Scratch {
    pub(super) fn new(received: usize) -> Self {
        Self {
            received: vec![0; received],
            answer: Vec::new(),
            plain: Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) socket: TcpStream,
    phase: Phase,
    /// What the socket had no room for; nothing is read until it is gone.
    unsent: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    /// Collecting the request head.
    Head(Vec<u8>),
    Open(FrameReader, Mode),
    /// Everything is said; what is unsent still goes out.
    Over,
}

/// What a connection is for.
#[derive(Debug)]
enum Mode {
    Echo,
    /// Counts messages and says nothing until the receipt that goes with its Close.
    Count {
        messages: u64,
        digest: Digest,
    },
    /// Is pushed to; what it says is ignored. The order is there until somebody takes it.
    Push {
        order: Option<PushOrder>,
    },
}

impl Mode {
    fn of(target: &str) -> Self {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        match value("mode") {
            Some("count") => Self::Count {
                messages: 0,
                digest: Digest::default(),
            },
            Some("push") => Self::Push {
                order: Some(PushOrder::parse(value("rate"), value("size"))),
            },
            _ => Self::Echo,
        }
    }
}

impl Session {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            phase: Phase::Head(Vec::new()),
            unsent: Vec::new(),
        }
    }

    /// What a connection that was just opened wants to be pushed, once.
    pub(super) fn take_push_order(&mut self) -> Option<PushOrder> {
        match &mut self.phase {
            Phase::Open(_, Mode::Push { order }) => order.take(),
            _ => None,
        }
    }

    /// Sends a frame, unless so much is unsent that the reader is no reader: it then misses this one.
    pub(super) fn push(&mut self, frame: &[u8]) -> io::Result<()> {
        let open = matches!(self.phase, Phase::Open(..));
        if !open || self.unsent.len() > PUSH_UNSENT_MAX {
            return Ok(());
        }
        if self.flush()? {
            self.send(frame)
        } else {
            self.unsent.extend_from_slice(frame);
            Ok(())
        }
    }

    pub(super) fn on_ready(&mut self, ended: bool, scratch: &mut Scratch) -> io::Result<Next> {
        for _ in 0..READS_MAX {
            if !self.flush()? {
                return Ok(Next::Wait);
            }
            if matches!(self.phase, Phase::Over) {
                return Ok(Next::Over);
            }
            let len = match self.socket.read(&mut scratch.received) {
                Ok(0) => return Ok(Next::Over),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            scratch.answer.clear();
            self.phase.answer(
                scratch.received.get(..len).unwrap_or_default(),
                &mut scratch.answer,
                &mut scratch.plain,
            );
            self.send(&scratch.answer)?;
            // epoll(7): a read that leaves room has emptied the socket, which saves the call that would say so.
            let drained = len < scratch.received.len() && !ended;
            if drained && self.unsent.is_empty() && !matches!(self.phase, Phase::Over) {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Again)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = write_some(&mut self.socket, bytes)?;
        self.unsent
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Whether nothing is left to send.
    fn flush(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let sent = write_some(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(self.unsent.is_empty())
    }
}

impl Phase {
    /// Appends to `out` what `bytes` call for; `plain` is room to unmask in.
    fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>, plain: &mut Vec<u8>) {
        match self {
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                match handshake::read_request(head) {
                    Ok(None) => {}
                    Ok(Some(request)) => {
                        out.extend_from_slice(handshake::answer(&request.accept).as_bytes());
                        let early = head.split_off(request.len);
                        *self = Self::Open(FrameReader::default(), Mode::of(&request.target));
                        self.answer(&early, out, plain);
                    }
                    Err(error) => {
                        out.extend_from_slice(refusal(error).as_bytes());
                        *self = Self::Over;
                    }
                }
            }
            Self::Open(frames, mode) => match handle_frames(frames, mode, bytes, out, plain) {
                Ok(false) => {}
                Ok(true) => *self = Self::Over,
                Err(error) => {
                    close_protocol_error(error, out);
                    *self = Self::Over;
                }
            },
            Self::Over => {}
        }
    }
}

fn refusal(error: HandshakeError) -> String {
    let body = format!("{error}\n");
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Answers a client's frames as they come, piece by piece. Says whether the closing handshake is done.
fn handle_frames(
    frames: &mut FrameReader,
    mode: &mut Mode,
    mut bytes: &[u8],
    out: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<bool, FrameError> {
    while let Some(piece) = frames.next(&mut bytes)? {
        // RFC 6455 §5.1: a client must mask.
        if piece.header.masking_key.is_none() {
            return Err(FrameError::Masking);
        }
        let closing = piece.header.opcode == Opcode::Close && piece.last;
        match (piece.header.opcode, &mut *mode) {
            // RFC 6455 §5.5.3: an unsolicited pong is not answered.
            (Opcode::Pong, _) => {}
            (Opcode::Close, Mode::Count { messages, digest }) => {
                if piece.last {
                    let receipt = Receipt {
                        messages: *messages,
                        digest: digest.value(),
                    };
                    encode_frame(Opcode::Close, None, &receipt.encode(), out);
                }
            }
            (
                Opcode::Text | Opcode::Binary | Opcode::Continuation,
                Mode::Count { messages, digest },
            ) => {
                plain.clear();
                append_masked(piece.bytes, piece.header.masking_key, piece.offset, plain);
                digest.update(plain);
                *messages += u64::from(piece.last && piece.header.fin);
            }
            (Opcode::Text | Opcode::Binary | Opcode::Continuation, Mode::Push { .. }) => {}
            (Opcode::Ping | Opcode::Close, _) | (_, Mode::Echo) => echo_piece(&piece, out),
        }
        if closing {
            return Ok(true);
        }
    }
    Ok(false)
}

fn echo_piece(piece: &Piece<'_>, out: &mut Vec<u8>) {
    let header = piece.header;
    if piece.offset == 0 {
        let opcode = match header.opcode {
            Opcode::Ping => Opcode::Pong,
            other => other,
        };
        Header {
            opcode,
            masking_key: None,
            ..header
        }
        .encode(out);
    }
    append_masked(piece.bytes, header.masking_key, piece.offset, out);
}

/// Close 1002 with the rule that was broken as its reason.
fn close_protocol_error(error: FrameError, out: &mut Vec<u8>) {
    let mut payload = 1002_u16.to_be_bytes().to_vec();
    payload.extend_from_slice(error.to_string().as_bytes());
    encode_frame(Opcode::Close, None, &payload, out);
}

fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

    /// What the backend answers to `bytes` that come in chunks of `size`.
    fn answer(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut phase = Phase::Open(FrameReader::default(), Mode::Echo);
        let mut out = Vec::new();
        for chunk in bytes.chunks(size) {
            phase.answer(chunk, &mut out, &mut Vec::new());
        }
        out
    }

    #[test]
    fn frames_come_back_unmasked_pings_as_pongs_and_nothing_follows_a_close() {
        let fragment = Header {
            fin: false,
            opcode: Opcode::Text,
            masking_key: KEY,
            payload_len: 3,
        };
        let mut sent = Vec::new();
        fragment.encode(&mut sent);
        append_masked(b"abc", KEY, 0, &mut sent);
        let mut expected = Vec::new();
        Header {
            masking_key: None,
            ..fragment
        }
        .encode(&mut expected);
        expected.extend_from_slice(b"abc");
        let mut exchange = |opcode, payload: &[u8], answer: Option<Opcode>| {
            encode_frame(opcode, KEY, payload, &mut sent);
            if let Some(answer) = answer {
                encode_frame(answer, None, payload, &mut expected);
            }
        };
        exchange(Opcode::Ping, b"now?", Some(Opcode::Pong));
        exchange(Opcode::Continuation, b"def", Some(Opcode::Continuation));
        exchange(Opcode::Pong, b"unasked", None);
        exchange(Opcode::Binary, &[5; 70_000], Some(Opcode::Binary));
        exchange(Opcode::Binary, b"", Some(Opcode::Binary));
        exchange(Opcode::Close, &[3, 232], Some(Opcode::Close));
        exchange(Opcode::Text, b"too late", None);
        for size in [1, 2, 7, 14, 1000, sent.len()] {
            assert_eq!(answer(&sent, size), expected, "chunks of {size}");
        }
    }

    #[test]
    fn an_unmasked_frame_is_answered_with_close_1002() {
        let mut bytes = Vec::new();
        encode_frame(Opcode::Text, None, b"bare", &mut bytes);
        let expected = b"\x88\x1e\x03\xeaa frame masked the wrong way";
        assert_eq!(answer(&bytes, 64), expected);
    }

    #[test]
    fn frames_right_behind_the_request_are_echoed() {
        let mut bytes = handshake::request("a", "/", "dGhlIHNhbXBsZSBub25jZQ==").into_bytes();
        encode_frame(Opcode::Text, KEY, b"early", &mut bytes);
        let mut phase = Phase::Head(Vec::new());
        let mut out = Vec::new();
        phase.answer(&bytes, &mut out, &mut Vec::new());
        assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"\x81\x05early"));
    }

    #[test]
    fn a_counting_session_gives_a_receipt_with_its_close() {
        let mut bytes =
            handshake::request("a", "/hello?x=1&mode=count", "dGhlIHNhbXBsZSBub25jZQ==")
                .into_bytes();
        encode_frame(Opcode::Text, KEY, b"one", &mut bytes);
        encode_frame(Opcode::Binary, KEY, b"two", &mut bytes);
        encode_frame(Opcode::Close, KEY, &[3, 232], &mut bytes);
        let mut digest = Digest::default();
        digest.update(b"onetwo");
        let receipt = Receipt {
            messages: 2,
            digest: digest.value(),
        };
        let mut phase = Phase::Head(Vec::new());
        let mut out = Vec::new();
        for chunk in bytes.chunks(5) {
            phase.answer(chunk, &mut out, &mut Vec::new());
        }
        assert!(out.ends_with(&receipt.encode()), "{out:?}");
        assert!(matches!(phase, Phase::Over));
    }
}

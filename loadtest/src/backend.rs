//! The echo backend: plain WebSockets, one receive and one send per message, frames streamed and never collected.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::BackendOptions;
use crate::descriptors;
use crate::frame::{FrameError, FrameReader, Header, Opcode, Piece, append_masked, encode_frame};
use crate::handshake::{self, HandshakeError};
use crate::poller::{Poller, Ready};

const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 4096;
const EVENTS_MAX: usize = 512;
const RECEIVE_BYTES: usize = 64 * 1024;
/// Full reads of one socket before others get their turn.
const READS_MAX: usize = 16;
/// Pause after descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until the process is ended; returns only with an error.
pub(crate) fn run(options: &BackendOptions) -> Result<(), String> {
    descriptors::raise();
    let fail = |error: io::Error| format!("{}: {error}", options.listen);
    let first = listen(options.listen).map_err(fail)?;
    let address = first.local_addr().map_err(fail)?;
    let mut listeners = vec![first];
    for _ in 1..options.threads {
        listeners.push(listen(address).map_err(fail)?);
    }
    println!("listening on {address}");
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| thread::spawn(move || Server::new(listener)?.serve()))
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(served) => served.map_err(fail)?,
            Err(_) => return Err("a backend thread panicked".to_owned()),
        }
    }
    Ok(())
}

/// A listener that shares its port with those of the other threads.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

struct Server {
    listener: TcpListener,
    poller: Poller,
    sessions: Slab<Session>,
    scratch: Scratch,
    /// Out of descriptors: epoll reports the waiting connections only once, so accepting is tried again later.
    accept_paused: bool,
}

/// Memory that all sessions of a thread share.
#[derive(Debug)]
struct Scratch {
    received: Vec<u8>,
    answer: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let poller = Poller::new(EVENTS_MAX)?;
        poller.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            poller,
            sessions: Slab::new(),
            scratch: Scratch {
                received: vec![0; RECEIVE_BYTES],
                answer: Vec::new(),
            },
            accept_paused: false,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(EVENTS_MAX);
        loop {
            let timeout = self.accept_paused.then_some(ACCEPT_PAUSE);
            self.poller.wait(timeout, &mut ready)?;
            for event in &ready {
                self.handle(*event);
            }
            if self.accept_paused && ready.is_empty() {
                self.accept();
            }
        }
    }

    fn handle(&mut self, ready: Ready) {
        if ready.key == LISTENER {
            return self.accept();
        }
        let Ok(key) = usize::try_from(ready.key) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let next = match session.on_ready(ready.ended, &mut self.scratch) {
            Ok(Next::Again) => self
                .poller
                .rearm(&session.socket, ready.key)
                .map(|()| Next::Wait),
            next => next,
        };
        // A connection that failed is over like one that ended: it is the client that counts errors.
        if !matches!(next, Ok(Next::Wait)) {
            self.sessions.remove(key);
        }
    }

    fn accept(&mut self) {
        self.accept_paused = false;
        loop {
            match self.listener.accept() {
                // Whoever was gone again before we could look needs no session.
                Ok((socket, _)) => drop(self.add(socket)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    self.accept_paused = true;
                    return;
                }
            }
        }
    }

    fn add(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let place = self.sessions.vacant_entry();
        self.poller.add(&socket, place.key() as u64)?;
        place.insert(Session {
            socket,
            phase: Phase::Head(Vec::new()),
            unsent: Vec::new(),
        });
        Ok(())
    }
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Wait,
    /// Its turn was over before its bytes were.
    Again,
    Over,
}

#[derive(Debug)]
struct Session {
    socket: TcpStream,
    phase: Phase,
    /// What the socket had no room for; nothing is read until it is gone.
    unsent: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    /// Collecting the request head.
    Head(Vec<u8>),
    Open(FrameReader),
    /// Everything is said; what is unsent still goes out.
    Over,
}

impl Session {
    fn on_ready(&mut self, ended: bool, scratch: &mut Scratch) -> io::Result<Next> {
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
    fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                match handshake::read_request(head) {
                    Ok(None) => {}
                    Ok(Some((accept, len))) => {
                        out.extend_from_slice(handshake::answer(&accept).as_bytes());
                        let early = head.split_off(len);
                        *self = Self::Open(FrameReader::default());
                        self.answer(&early, out);
                    }
                    Err(error) => {
                        out.extend_from_slice(refusal(error).as_bytes());
                        *self = Self::Over;
                    }
                }
            }
            Self::Open(frames) => match echo(frames, bytes, out) {
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

/// Turns a client's frames into the server's as they come, piece by piece. Says whether the closing handshake is done.
fn echo(frames: &mut FrameReader, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, FrameError> {
    while let Some(piece) = frames.next(&mut bytes)? {
        // RFC 6455 §5.1: a client must mask.
        if piece.header.masking_key.is_none() {
            return Err(FrameError::Masking);
        }
        // RFC 6455 §5.5.3: an unsolicited pong is not answered.
        if piece.header.opcode == Opcode::Pong {
            continue;
        }
        echo_piece(&piece, out);
        if piece.header.opcode == Opcode::Close && piece.last {
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
        let mut phase = Phase::Open(FrameReader::default());
        let mut out = Vec::new();
        for chunk in bytes.chunks(size) {
            phase.answer(chunk, &mut out);
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
        phase.answer(&bytes, &mut out);
        assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"\x81\x05early"));
    }
}

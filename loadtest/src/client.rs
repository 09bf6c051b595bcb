//! One WebSocket client connection: connect, TLS, upgrade, then frames.

use std::net::{IpAddr, TcpStream};

use crate::error::ClientError;
use crate::frame::{FrameError, FrameReader, Opcode, Piece, encode_frame};
use crate::handshake;
use crate::random::Random;
use crate::target::Target;
use crate::transport::{Progress, Transport};

/// What the server's bytes meant.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Opened,
    /// A run of a message's payload; `end` if the message is complete with it.
    Data {
        bytes: &'a [u8],
        end: bool,
    },
    Closed,
}

pub(crate) type OnEvent<'a> = dyn FnMut(Event<'_>) -> Result<(), ClientError> + 'a;

#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    connecting: bool,
    protocol: Protocol,
    random: Random,
}

impl Client {
    pub(crate) fn connect(target: &Target, source: Option<IpAddr>) -> Result<Self, ClientError> {
        let mut random = Random::new();
        let key = handshake::encode_key(random.nonce());
        let opening = Opening {
            request: handshake::request(&target.authority, &target.path, &key),
            accept: handshake::accept_for(key.as_bytes()),
            head: Vec::new(),
        };
        Ok(Self {
            transport: Transport::connect(target, source)?,
            connecting: true,
            protocol: Protocol {
                opening: Some(Box::new(opening)),
                frames: FrameReader::default(),
                ping: Vec::new(),
                pongs: Vec::new(),
            },
            random,
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.transport.socket()
    }

    /// To be called when epoll reports the socket: sends what is left to send, reads what there is to read.
    pub(crate) fn on_ready(
        &mut self,
        ended: bool,
        scratch: &mut [u8],
        on_event: &mut OnEvent<'_>,
    ) -> Result<Progress, ClientError> {
        if self.connecting {
            self.transport.finish_connect()?;
            self.connecting = false;
            if let Some(opening) = &self.protocol.opening {
                self.transport.send(opening.request.as_bytes())?;
            }
        }
        let protocol = &mut self.protocol;
        let progress = self.transport.receive(ended, scratch, |bytes| {
            protocol.handle_bytes(bytes, on_event)
        })?;
        self.send_pongs()?;
        self.transport.flush()?;
        Ok(progress)
    }

    pub(crate) fn send(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        scratch.clear();
        encode_frame(opcode, Some(self.random.masking_key()), payload, scratch);
        self.transport.send(scratch)
    }

    fn send_pongs(&mut self) -> Result<(), ClientError> {
        if self.protocol.pongs.is_empty() {
            return Ok(());
        }
        let mut frames = Vec::new();
        for payload in self.protocol.pongs.drain(..) {
            encode_frame(
                Opcode::Pong,
                Some(self.random.masking_key()),
                &payload,
                &mut frames,
            );
        }
        self.transport.send(&frames)
    }
}

/// What is known of the server's side of the conversation.
#[derive(Debug)]
struct Protocol {
    /// Until the 101.
    opening: Option<Box<Opening>>,
    frames: FrameReader,
    /// The payload of a ping that is being received.
    ping: Vec<u8>,
    /// Payloads that are to be answered, at most as many as one reading turn brought.
    pongs: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Opening {
    request: String,
    accept: String,
    head: Vec<u8>,
}

impl Protocol {
    fn handle_bytes(
        &mut self,
        bytes: &[u8],
        on_event: &mut OnEvent<'_>,
    ) -> Result<(), ClientError> {
        let Some(opening) = &mut self.opening else {
            return self.handle_frames(bytes, on_event);
        };
        opening.head.extend_from_slice(bytes);
        let Some(len) = handshake::read_answer(&opening.head, &opening.accept)
            .map_err(ClientError::Handshake)?
        else {
            return Ok(());
        };
        let early = opening.head.split_off(len);
        self.opening = None;
        on_event(Event::Opened)?;
        self.handle_frames(&early, on_event)
    }

    fn handle_frames(
        &mut self,
        mut bytes: &[u8],
        on_event: &mut OnEvent<'_>,
    ) -> Result<(), ClientError> {
        while let Some(piece) = self.frames.next(&mut bytes).map_err(ClientError::Frame)? {
            // RFC 6455 §5.1: a server must not mask.
            if piece.header.masking_key.is_some() {
                return Err(ClientError::Frame(FrameError::Masking));
            }
            match piece.header.opcode {
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    let end = piece.last && piece.header.fin;
                    on_event(Event::Data {
                        bytes: piece.bytes,
                        end,
                    })?;
                }
                Opcode::Close if piece.last => on_event(Event::Closed)?,
                Opcode::Ping => self.handle_ping(&piece),
                Opcode::Close | Opcode::Pong => {}
            }
        }
        Ok(())
    }

    fn handle_ping(&mut self, piece: &Piece<'_>) {
        self.ping.extend_from_slice(piece.bytes);
        if piece.last {
            self.pongs.push(std::mem::take(&mut self.ping));
        }
    }
}

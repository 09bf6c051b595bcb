//! One WebSocket client connection: connect, TLS, upgrade, then frames.

use std::net::TcpStream;

use crate::error::ClientError;
use crate::frame::{FrameError, FrameReader, Opcode, Piece, encode_frame};
use crate::handshake;
use crate::random::Random;
use crate::transport::{Endpoints, Progress, Transport};

/// What the server's bytes meant.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Opened,
    /// A run of a message's payload; `end` if the message is complete with it.
    Data {
        bytes: &'a [u8],
        end: bool,
    },
    /// The payload of a pong.
    Pong(&'a [u8]),
    /// The payload of the server's Close: a code and a reason, or nothing.
    Closed(&'a [u8]),
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
    /// `path` is the request target, `authority` is for `Host`.
    pub(crate) fn connect(
        endpoints: Endpoints<'_>,
        authority: &str,
        path: &str,
    ) -> Result<Self, ClientError> {
        let mut random = Random::new();
        let key = handshake::encode_key(random.nonce());
        let opening = Opening {
            request: handshake::request(authority, path, &key),
            accept: handshake::accept_for(key.as_bytes()),
            head: Vec::new(),
        };
        Ok(Self {
            transport: Transport::connect(endpoints)?,
            connecting: true,
            protocol: Protocol {
                opening: Some(Box::new(opening)),
                frames: FrameReader::default(),
                control: Vec::new(),
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
        self.finish_connect()?;
        let protocol = &mut self.protocol;
        let progress = self.transport.receive(ended, scratch, |bytes| {
            protocol.handle_bytes(bytes, on_event)
        })?;
        self.send_pongs()?;
        self.transport.flush()?;
        Ok(progress)
    }

    /// The same for a reader that takes one piece, as long as `scratch`, and only once the upgrade is done.
    pub(crate) fn on_tick(
        &mut self,
        scratch: &mut [u8],
        on_event: &mut OnEvent<'_>,
    ) -> Result<Progress, ClientError> {
        let protocol = &mut self.protocol;
        let progress = self.transport.receive_up_to(1, false, scratch, |bytes| {
            protocol.handle_bytes(bytes, on_event)
        })?;
        self.send_pongs()?;
        self.transport.flush()?;
        Ok(progress)
    }

    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        self.transport.flush()
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.transport.is_flushed()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.protocol.opening.is_none()
    }

    fn finish_connect(&mut self) -> Result<(), ClientError> {
        if !self.connecting {
            return Ok(());
        }
        self.transport.finish_connect()?;
        self.connecting = false;
        match &self.protocol.opening {
            Some(opening) => self.transport.send(opening.request.as_bytes()),
            None => Ok(()),
        }
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
    /// The payload of a control frame that is being received: RFC 6455 §5.5 has it at most 125 bytes.
    control: Vec<u8>,
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
                Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    self.handle_control(&piece, on_event)?
                }
            }
        }
        Ok(())
    }

    fn handle_control(
        &mut self,
        piece: &Piece<'_>,
        on_event: &mut OnEvent<'_>,
    ) -> Result<(), ClientError> {
        self.control.extend_from_slice(piece.bytes);
        if !piece.last {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.control);
        match piece.header.opcode {
            Opcode::Ping => {
                self.pongs.push(payload);
                Ok(())
            }
            Opcode::Pong => on_event(Event::Pong(&payload)),
            _ => on_event(Event::Closed(&payload)),
        }
    }
}

//! One connection under load: it numbers what it sends and checks what comes back.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Instant;

use crate::client::{Client, Event};
use crate::error::ClientError;
use crate::frame::Opcode;
use crate::payload::Pattern;
use crate::transport::Progress;

/// Echoes that one connection may owe; beyond that an open loop measures a queue that never ends.
pub(crate) const OUTSTANDING_MAX: usize = 4096;
/// Messages of one connection before its tags would look like another's.
const SEQUENCE_BITS: u32 = 40;

/// What a connection got on to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Opened,
    /// The echo of the message that was due at this time has come whole and unharmed.
    Echoed {
        due: Instant,
    },
    /// An echo has come, but not as it should.
    Mismatched,
    /// The server's Close frame.
    Closed,
    /// The end of the server's bytes.
    Ended,
}

/// Memory that all lanes of a thread share.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) received: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) frame: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    client: Client,
    pub(crate) started: Instant,
    echoes: Echoes,
    sent: u64,
}

impl Lane {
    /// `id` marks what this connection sends, so that an echo on another one is noticed.
    pub(crate) fn new(client: Client, id: u64, pattern: Rc<Pattern>, started: Instant) -> Self {
        let first_tag = id << SEQUENCE_BITS;
        let echoes = Echoes {
            pattern,
            tag: first_tag,
            outstanding: VecDeque::new(),
            offset: 0,
            intact: true,
        };
        Self {
            client,
            started,
            echoes,
            sent: first_tag,
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.client.socket()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.echoes.outstanding.len()
    }

    /// Sends the next message, whose latency counts from `due`.
    pub(crate) fn send(&mut self, due: Instant, scratch: &mut Scratch) -> Result<(), ClientError> {
        if self.outstanding() >= OUTSTANDING_MAX {
            return Err(ClientError::Overrun);
        }
        self.echoes.pattern.write(self.sent, &mut scratch.payload);
        self.sent += 1;
        self.echoes.outstanding.push_back(due);
        self.client
            .send(Opcode::Binary, &scratch.payload, &mut scratch.frame)
    }

    /// Close 1000 (RFC 6455 §7.4.1).
    pub(crate) fn send_close(&mut self, scratch: &mut Scratch) -> Result<(), ClientError> {
        self.client
            .send(Opcode::Close, &1000_u16.to_be_bytes(), &mut scratch.frame)
    }

    /// Moves on as far as the socket allows and appends what was reached to `steps`.
    pub(crate) fn on_ready(
        &mut self,
        ended: bool,
        received: &mut [u8],
        steps: &mut Vec<Step>,
    ) -> Result<Progress, ClientError> {
        let echoes = &mut self.echoes;
        let progress = self.client.on_ready(ended, received, &mut |event| {
            match event {
                Event::Opened => steps.push(Step::Opened),
                Event::Data { bytes, end } => steps.extend(echoes.handle_data(bytes, end)),
                Event::Closed => steps.push(Step::Closed),
            }
            Ok(())
        })?;
        if progress == Progress::Ended {
            steps.push(Step::Ended);
        }
        Ok(progress)
    }
}

/// The echoes that a server owes, in order, and how much of the first has come.
#[derive(Debug)]
struct Echoes {
    pattern: Rc<Pattern>,
    tag: u64,
    outstanding: VecDeque<Instant>,
    offset: usize,
    intact: bool,
}

impl Echoes {
    fn handle_data(&mut self, bytes: &[u8], end: bool) -> Option<Step> {
        self.intact &= self.pattern.matches(self.tag, self.offset, bytes);
        self.offset += bytes.len();
        if !end {
            return None;
        }
        let whole = self.offset == self.pattern.size() && self.intact;
        self.tag += 1;
        self.offset = 0;
        self.intact = true;
        match self.outstanding.pop_front() {
            Some(due) if whole => Some(Step::Echoed { due }),
            _ => Some(Step::Mismatched),
        }
    }
}

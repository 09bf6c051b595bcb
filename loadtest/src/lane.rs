//! One connection under load: it numbers what it sends and checks what comes back.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Instant;

use crate::client::{Client, Event};
use crate::digest::Digest;
use crate::error::ClientError;
use crate::frame::Opcode;
use crate::inbound::{Echoes, Inbound, Pushes};
use crate::payload::{Kind, NUMBER_BYTES, Pattern, decode_number, encode_number};
use crate::role::Role;
use crate::transport::Progress;

/// Echoes that one connection may owe; beyond that an open loop measures a queue that never ends.
pub(crate) const OUTSTANDING_MAX: usize = 4096;
/// Messages of one connection before its tags would look like another's.
const SEQUENCE_BITS: u32 = 40;

/// What a connection got on to. Sizes are in bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Opened,
    /// The echo of the message that was due at this time has come whole and unharmed.
    Echoed {
        due: Instant,
        bytes: usize,
    },
    /// A push has come whole and unharmed; `due` is by the clock that processes share.
    Pushed {
        number: u64,
        due: u64,
        bytes: usize,
    },
    /// So many pushes before the next one are missing.
    Missed {
        count: u64,
    },
    /// The pong to the ping that was due at this time.
    Ponged {
        due: Instant,
    },
    /// Something has come, but not as it should.
    Mismatched,
    /// The server's Close frame, with its receipt if it gives one.
    Closed {
        receipt: Option<Receipt>,
    },
    /// The end of the server's bytes.
    Ended,
}

/// What a counting server says it got over one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) messages: u64,
    pub(crate) digest: u64,
}

impl Receipt {
    /// The payload of a Close: code 1000, then as the reason both numbers (38 bytes of the 125 that it may have).
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut payload = 1000_u16.to_be_bytes().to_vec();
        payload.extend_from_slice(&encode_number(self.messages));
        payload.extend_from_slice(&encode_number(self.digest));
        payload
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (messages, digest) = payload.get(2..)?.split_at_checked(NUMBER_BYTES)?;
        (digest.len() == NUMBER_BYTES).then_some(())?;
        Some(Self {
            messages: decode_number(messages)?,
            digest: decode_number(digest)?,
        })
    }
}

/// Memory that all lanes of a thread share.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) received: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) frame: Vec<u8>,
}

/// What lanes send and are sent.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    pub(crate) kind: Kind,
    pub(crate) messages: Rc<Pattern>,
    pub(crate) pushes: Rc<Pattern>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    client: Client,
    /// When it was, or should have been, begun.
    pub(crate) started: Instant,
    pub(crate) role: Role,
    patterns: Patterns,
    inbound: Inbound,
    pings: VecDeque<Instant>,
    sent: u64,
    first_tag: u64,
    digest: Digest,
}

impl Lane {
    /// `id` marks what this connection sends, so that an echo on another one is noticed.
    pub(crate) fn new(
        client: Client,
        id: u64,
        role: Role,
        patterns: Patterns,
        started: Instant,
    ) -> Self {
        let first_tag = id << SEQUENCE_BITS;
        let inbound = match role {
            Role::Echo | Role::Churn | Role::Idle => {
                Inbound::Echoes(Echoes::new(Rc::clone(&patterns.messages), first_tag))
            }
            Role::Push | Role::Slow => Inbound::Pushes(Pushes::new(Rc::clone(&patterns.pushes))),
            Role::OneWay => Inbound::Nothing,
        };
        Self {
            client,
            started,
            role,
            patterns,
            inbound,
            pings: VecDeque::new(),
            sent: first_tag,
            first_tag,
            digest: Digest::default(),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.client.socket()
    }

    /// Echoes and pongs that are owed.
    pub(crate) fn outstanding(&self) -> usize {
        self.inbound.outstanding() + self.pings.len()
    }

    /// The number of the push that should come next, once there was one.
    pub(crate) fn next_push(&self) -> Option<u64> {
        self.inbound.next_push()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.client.is_open()
    }

    /// Whether the socket has taken all that was sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.client.is_flushed()
    }

    /// What a counting server should have got.
    pub(crate) fn expected_receipt(&self) -> Receipt {
        Receipt {
            messages: self.sent - self.first_tag,
            digest: self.digest.value(),
        }
    }

    /// Sends the next message, whose latency counts from `due`, and says how long its payload is.
    pub(crate) fn send(
        &mut self,
        due: Instant,
        scratch: &mut Scratch,
    ) -> Result<usize, ClientError> {
        let blocked = self.role == Role::OneWay && !self.client.is_flushed();
        if blocked || self.inbound.outstanding() >= OUTSTANDING_MAX {
            return Err(ClientError::Overrun);
        }
        self.patterns
            .messages
            .write(self.sent, &mut scratch.payload);
        self.sent += 1;
        self.inbound.expect(due);
        if self.role == Role::OneWay {
            self.digest.update(&scratch.payload);
        }
        let opcode = match self.patterns.kind {
            Kind::Binary => Opcode::Binary,
            Kind::Text => Opcode::Text,
        };
        self.client
            .send(opcode, &scratch.payload, &mut scratch.frame)?;
        Ok(scratch.payload.len())
    }

    /// A ping, unless the last ones are still unanswered.
    pub(crate) fn ping(&mut self, due: Instant, scratch: &mut Scratch) -> Result<(), ClientError> {
        if self.pings.len() >= OUTSTANDING_MAX {
            return Err(ClientError::Overrun);
        }
        self.pings.push_back(due);
        let payload = encode_number(self.pings.len() as u64);
        self.client.send(Opcode::Ping, &payload, &mut scratch.frame)
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
        if self.role == Role::Slow && self.client.is_open() {
            // It reads by the clock.
            self.client.flush()?;
            return Ok(Progress::Drained);
        }
        let (inbound, pings) = (&mut self.inbound, &mut self.pings);
        let progress = self.client.on_ready(ended, received, &mut |event| {
            translate(event, inbound, pings, steps)
        })?;
        if progress == Progress::Ended {
            steps.push(Step::Ended);
        }
        Ok(progress)
    }

    /// Lets a slow reader read once, at most as much as `received` holds.
    pub(crate) fn on_tick(
        &mut self,
        received: &mut [u8],
        steps: &mut Vec<Step>,
    ) -> Result<(), ClientError> {
        let (inbound, pings) = (&mut self.inbound, &mut self.pings);
        let progress = self.client.on_tick(received, &mut |event| {
            translate(event, inbound, pings, steps)
        })?;
        if progress == Progress::Ended {
            steps.push(Step::Ended);
        }
        Ok(())
    }
}

fn translate(
    event: Event<'_>,
    inbound: &mut Inbound,
    pings: &mut VecDeque<Instant>,
    steps: &mut Vec<Step>,
) -> Result<(), ClientError> {
    match event {
        Event::Opened => steps.push(Step::Opened),
        Event::Data { bytes, end } => inbound.handle_data(bytes, end, steps),
        Event::Pong(payload) => steps.extend(answer_ping(payload, pings)),
        Event::Closed(payload) => steps.push(Step::Closed {
            receipt: Receipt::decode(payload),
        }),
    }
    Ok(())
}

/// RFC 6455 §5.5.3: a pong may answer the latest ping only, and one may come unasked.
fn answer_ping(payload: &[u8], pings: &mut VecDeque<Instant>) -> Option<Step> {
    if payload.len() != NUMBER_BYTES {
        return None;
    }
    pings.pop_front().map(|due| Step::Ponged { due })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_comes_back_as_it_was_given() {
        let receipt = Receipt {
            messages: 12,
            digest: u64::MAX,
        };
        assert_eq!(Receipt::decode(&receipt.encode()), Some(receipt));
        for payload in [&[][..], &[3, 232], &[3, 232, b'1'], &[b'x'; 34]] {
            assert_eq!(Receipt::decode(payload), None);
        }
    }
}

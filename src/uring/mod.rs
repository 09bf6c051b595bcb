//! The seam to the kernel's completion interface: what a relay asks of a ring, and what it hears back.
//!
//! [`Ring`], with the [`Memory`] it lends, is the whole of it. [`kernel::KernelRing`] is the real one; the relay's tests bring a seeded fake. A ring owns
//! the memory an operation works on while it is in flight: a [`Batch`] that is sent goes in and comes back with its
//! completion, so nobody can reuse bytes that the kernel still reads.

mod buffers;
pub mod kernel;
pub mod probe;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::buffer::{Account, Batch, Segment};
use crate::close::{Errno, Side};

/// A socket that was given to a ring. The ring closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fd(pub i32);

/// What an operation was, as its completion tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// The multishot receive of a socket.
    Receive,
    /// The one send of a socket.
    Send,
    CancelReceive,
    CancelSend,
    /// The wake-up of the relay.
    Wake,
}

/// Packed into `user_data`. Slots are reused only at rest, so a wrong generation is our bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub slot: u32,
    pub generation: u16,
    pub op: OpKind,
    pub side: Side,
}

impl Token {
    /// The token of the wake-up, which belongs to no slot.
    pub const WAKE: Self = Self {
        slot: u32::MAX,
        generation: 0,
        op: OpKind::Wake,
        side: Side::Client,
    };

    pub fn with_op(self, op: OpKind) -> Self {
        Self { op, ..self }
    }

    /// `slot:32 generation:16 op:8 side:8`
    pub fn pack(self) -> u64 {
        let op: u64 = match self.op {
            OpKind::Receive => 0,
            OpKind::Send => 1,
            OpKind::CancelReceive => 2,
            OpKind::CancelSend => 3,
            OpKind::Wake => 4,
        };
        let side: u64 = match self.side {
            Side::Client => 0,
            Side::Backend => 1,
        };
        u64::from(self.slot) << 32 | u64::from(self.generation) << 16 | op << 8 | side
    }

    pub fn unpack(user_data: u64) -> Self {
        let [side, op, generation @ .., s0, s1, s2, s3] = user_data.to_le_bytes();
        Self {
            slot: u32::from_le_bytes([s0, s1, s2, s3]),
            generation: u16::from_le_bytes(generation),
            op: match op {
                0 => OpKind::Receive,
                1 => OpKind::Send,
                2 => OpKind::CancelReceive,
                3 => OpKind::CancelSend,
                _ => OpKind::Wake,
            },
            side: if side == 0 {
                Side::Client
            } else {
                Side::Backend
            },
        }
    }
}

/// What became of a receive.
#[derive(Debug)]
pub enum Received {
    Bytes(Segment),
    /// The peer will send no more.
    Eof,
    /// No provided buffer was free. Nothing is lost: the bytes wait in the socket.
    NoBuffers,
    Cancelled,
    Failed(Errno),
}

/// One completion, in the order the kernel posted them.
#[derive(Debug)]
pub enum Completion {
    /// `armed` says that the receive goes on; without it, the operation is over.
    Received {
        token: Token,
        what: Received,
        armed: bool,
    },
    /// A send is over. `batch` holds everything that was given to it, sent or not.
    Sent {
        token: Token,
        result: Result<usize, Errno>,
        batch: Box<Batch>,
    },
    /// A cancellation is over, whether or not it found its operation.
    Cancelled {
        token: Token,
    },
    Wake,
}

/// How long a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Only look.
    No,
    /// Until something completes.
    Forever,
    AtMost(Duration),
}

/// The memory that received bytes lie in.
pub trait Memory {
    /// The bytes of a segment.
    fn bytes(&self, segment: &Segment) -> &[u8];

    /// The same for working in place: TLS decrypts where it was received.
    fn bytes_mut(&mut self, segment: &mut Segment) -> &mut [u8];

    /// Gives a segment back; its buffer is provided again once nobody holds any of it.
    fn release(&mut self, segment: Segment);

    /// The account of the provided buffers.
    fn account(&self) -> &Account;
}

/// What a relay asks of the kernel. Operations are queued and go out with the next [`Ring::turn`].
pub trait Ring: Memory {
    /// Takes a socket over.
    fn adopt(&mut self, socket: OwnedFd) -> Fd;

    /// Arms the multishot receive of a socket.
    fn receive(&mut self, token: Token, fd: Fd);

    /// Starts the one send of a socket. `batch` is not empty, and comes back with the completion.
    fn send(&mut self, token: Token, fd: Fd, batch: Box<Batch>);

    /// Asks for the end of the operation that `token` names; both complete.
    fn cancel(&mut self, token: Token);

    /// Ends the sending direction of a socket at once (`shutdown(2)`).
    fn shutdown(&mut self, fd: Fd);

    /// Closes a socket that no operation is in flight on; `reset` makes the peer see it as one (RST).
    fn close(&mut self, fd: Fd, reset: bool);

    /// Submits what is queued, sleeps as told unless something has completed, and appends what has completed to `out`.
    fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()>;

    /// Turns in which completions did not fit into the completion queue and waited in the kernel.
    fn overflows(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const _: () = assert!(size_of::<Token>() == 8);

    proptest! {
        #[test]
        fn token_survives_packing(slot: u32, generation: u16, op in 0usize..5, client: bool) {
            let ops = [OpKind::Receive, OpKind::Send, OpKind::CancelReceive, OpKind::CancelSend, OpKind::Wake];
            let side = if client { Side::Client } else { Side::Backend };
            let token = Token { slot, generation, op: ops[op], side };
            prop_assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}

//! A ring without a kernel: every completion it gives, and when, follows from a seed.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;

use crate::buffer::{Account, Batch, Piece, Segment};
use crate::close::Errno;
use crate::uring::{Completion, Fd, Memory, OpKind, Received, Ring, Token, Wait};

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// One socket and, seen from outside, its peer.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Sent by the peer, not yet received.
    pub(super) inbound: VecDeque<u8>,
    pub(super) inbound_eof: bool,
    /// What the next receive and the next send fail with.
    pub(super) failure: Option<i32>,
    /// Accepted from us.
    pub(super) outbound: Vec<u8>,
    /// The peer reads nothing.
    pub(super) stuck: bool,
    pub(super) shut: bool,
    pub(super) closed: bool,
    pub(super) reset: bool,
}

struct Sending {
    token: Token,
    fd: Fd,
    batch: Box<Batch>,
    /// What the batch held when it was given: nobody may change it meanwhile.
    bytes: Vec<u8>,
    done: usize,
}

/// How unkind the ring is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Percent of receives that fail with ENOBUFS although there are buffers.
    pub(super) no_buffers: u64,
    /// Percent of multishot receives that end although nothing is wrong.
    pub(super) disarmed: u64,
    /// Percent of completions that are put off to a later turn.
    pub(super) delay: u64,
}

pub(super) struct FakeRing {
    random: Random,
    faults: Faults,
    pub(super) sockets: Vec<Socket>,
    memory: Vec<Vec<u8>>,
    account: Account,
    provided: VecDeque<u16>,
    filled: usize,
    incremental: bool,
    receives: HashMap<Token, Fd>,
    sends: Vec<Sending>,
    cancels: Vec<Token>,
}

impl FakeRing {
    pub(super) fn new(
        seed: u64,
        buffers: u16,
        size: usize,
        incremental: bool,
        faults: Faults,
    ) -> Self {
        Self {
            random: Random::new(seed),
            faults,
            sockets: Vec::new(),
            memory: vec![vec![0; size]; usize::from(buffers)],
            account: Account::new(buffers),
            provided: (0..buffers).collect(),
            filled: 0,
            incremental,
            receives: HashMap::new(),
            sends: Vec::new(),
            cancels: Vec::new(),
        }
    }

    pub(super) fn open(&mut self) -> Fd {
        self.sockets.push(Socket::default());
        Fd(i32::try_from(self.sockets.len() - 1).unwrap())
    }

    pub(super) fn socket(&mut self, fd: Fd) -> &mut Socket {
        &mut self.sockets[usize::try_from(fd.0).unwrap()]
    }

    pub(super) fn in_flight(&self) -> usize {
        self.receives.len() + self.sends.len() + self.cancels.len()
    }

    /// Segments inside sends.
    pub(super) fn parked_segments(&self) -> usize {
        let pieces = self.sends.iter().flat_map(|send| send.batch.iter());
        pieces
            .filter(|piece| matches!(piece, Piece::Segment(_)))
            .count()
    }

    fn fill(&mut self, fd: Fd) -> Option<Segment> {
        let buffer = *self.provided.front()?;
        let room = self.memory[usize::from(buffer)].len() - self.filled;
        let waiting = self.socket(fd).inbound.len().min(room);
        let len = 1 + self.random.below(waiting);
        let bytes: Vec<u8> = self.socket(fd).inbound.drain(..len).collect();
        self.memory[usize::from(buffer)][self.filled..][..len].copy_from_slice(&bytes);
        self.filled += len;
        let more = self.incremental && self.filled < self.memory[usize::from(buffer)].len();
        if !more {
            self.provided.pop_front();
            self.filled = 0;
        }
        Some(
            self.account
                .receive(buffer, u32::try_from(len).unwrap(), more),
        )
    }

    fn receive_once(&mut self, token: Token, fd: Fd) -> Option<Completion> {
        let received = |what, armed| Some(Completion::Received { token, what, armed });
        assert!(!self.socket(fd).closed, "a receive on a closed socket");
        if self.random.chance(self.faults.delay) {
            return None;
        }
        if !self.socket(fd).inbound.is_empty() {
            let starve = self.random.chance(self.faults.no_buffers);
            let segment = if starve { None } else { self.fill(fd) };
            return match segment {
                None => received(Received::NoBuffers, false),
                Some(segment) => {
                    let armed = !self.random.chance(self.faults.disarmed);
                    received(Received::Bytes(segment), armed)
                }
            };
        }
        if let Some(errno) = self.socket(fd).failure {
            return received(Received::Failed(Errno(errno)), false);
        }
        if self.socket(fd).inbound_eof {
            return received(Received::Eof, false);
        }
        None
    }

    fn progress(&mut self, index: usize) -> Option<Result<usize, Errno>> {
        let Sending { fd, done, .. } = self.sends[index];
        let len = self.sends[index].bytes.len();
        if let Some(errno) = self.socket(fd).failure {
            return Some(Err(Errno(errno)));
        }
        if self.socket(fd).stuck || self.random.chance(self.faults.delay) {
            return None;
        }
        let n = 1 + self.random.below(len - done);
        let bytes = self.sends[index].bytes[done..done + n].to_vec();
        self.socket(fd).outbound.extend(bytes);
        self.sends[index].done += n;
        // A short send completes short, now and then; else the kernel goes on by itself.
        let over = done + n == len || self.random.chance(50);
        over.then_some(Ok(done + n))
    }

    fn finish(&mut self, index: usize, result: Result<usize, Errno>) -> Completion {
        let Sending {
            token,
            batch,
            bytes,
            ..
        } = self.sends.swap_remove(index);
        let now: Vec<u8> = batch
            .iter()
            .flat_map(|piece| self.piece(piece).to_vec())
            .collect();
        assert_eq!(now, bytes, "bytes were overwritten while they were sent");
        Completion::Sent {
            token,
            result,
            batch,
        }
    }

    fn piece<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        match piece {
            Piece::Segment(segment) => self.bytes(segment),
            Piece::Owned(owned) => owned.as_slice(),
        }
    }

    fn cancel_now(&mut self, cancel: Token, out: &mut Vec<Completion>) {
        let target = |op| Token { op, ..cancel };
        match cancel.op {
            OpKind::CancelReceive => {
                let token = target(OpKind::Receive);
                if self.receives.remove(&token).is_some() {
                    out.push(Completion::Received {
                        token,
                        what: Received::Cancelled,
                        armed: false,
                    });
                }
            }
            OpKind::CancelSend => {
                let token = target(OpKind::Send);
                if let Some(index) = self.sends.iter().position(|send| send.token == token) {
                    let done = self.sends[index].done;
                    let result = if done > 0 {
                        Ok(done)
                    } else {
                        Err(Errno(libc::ECANCELED))
                    };
                    out.push(self.finish(index, result));
                }
            }
            _ => unreachable!("only cancels are cancelled"),
        }
        let position = self.random.below(out.len() + 1);
        out.insert(position, Completion::Cancelled { token: cancel });
    }
}

impl Memory for FakeRing {
    fn bytes(&self, segment: &Segment) -> &[u8] {
        &self.memory[usize::from(segment.buffer())][segment.start()..][..segment.len()]
    }

    fn bytes_mut(&mut self, segment: &mut Segment) -> &mut [u8] {
        &mut self.memory[usize::from(segment.buffer())][segment.start()..][..segment.len()]
    }

    fn release(&mut self, segment: Segment) {
        if let Some(buffer) = self.account.release(segment) {
            // Whoever still looks at it will see.
            self.memory[usize::from(buffer)].fill(0xee);
            self.provided.push_back(buffer);
        }
    }

    fn account(&self) -> &Account {
        &self.account
    }
}

impl Ring for FakeRing {
    fn adopt(&mut self, _socket: OwnedFd) -> Fd {
        self.open()
    }

    fn receive(&mut self, token: Token, fd: Fd) {
        assert!(!self.socket(fd).closed, "a receive on a closed socket");
        assert!(
            self.receives.insert(token, fd).is_none(),
            "two receives on one socket"
        );
    }

    fn send(&mut self, token: Token, fd: Fd, batch: Box<Batch>) {
        assert!(
            !self.socket(fd).closed && !self.socket(fd).shut,
            "a send after the end"
        );
        assert!(
            self.sends.iter().all(|send| send.fd != fd),
            "two sends on one socket"
        );
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|piece| self.piece(piece).to_vec())
            .collect();
        assert!(!bytes.is_empty(), "an empty send");
        assert_eq!(bytes.len(), batch.bytes());
        self.sends.push(Sending {
            token,
            fd,
            batch,
            bytes,
            done: 0,
        });
    }

    fn cancel(&mut self, token: Token) {
        let op = if token.op == OpKind::Receive {
            OpKind::CancelReceive
        } else {
            OpKind::CancelSend
        };
        self.cancels.push(token.with_op(op));
    }

    fn shutdown(&mut self, fd: Fd) {
        assert!(
            self.sends.iter().all(|send| send.fd != fd),
            "a shutdown over a send"
        );
        self.socket(fd).shut = true;
    }

    fn close(&mut self, fd: Fd, reset: bool) {
        let armed = self.receives.values().any(|other| *other == fd);
        let sending = self.sends.iter().any(|send| send.fd == fd);
        assert!(
            !armed && !sending,
            "closed while the kernel still works on it"
        );
        let socket = self.socket(fd);
        assert!(!socket.closed, "closed twice");
        socket.closed = true;
        socket.reset = reset;
    }

    fn turn(&mut self, _wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        let mut done = Vec::new();
        let mut receives: Vec<_> = self
            .receives
            .iter()
            .map(|(token, fd)| (*token, *fd))
            .collect();
        receives.sort_by_key(|(token, _)| token.pack());
        for (token, fd) in receives {
            let Some(completion) = self.receive_once(token, fd) else {
                continue;
            };
            if matches!(completion, Completion::Received { armed: false, .. }) {
                self.receives.remove(&token);
            }
            done.push(completion);
        }
        for index in (0..self.sends.len()).rev() {
            if let Some(result) = self.progress(index) {
                done.push(self.finish(index, result));
            }
        }
        for cancel in std::mem::take(&mut self.cancels) {
            if self.random.chance(self.faults.delay) {
                self.cancels.push(cancel);
            } else {
                self.cancel_now(cancel, &mut done);
            }
        }
        self.shuffle(&mut done);
        out.append(&mut done);
        Ok(())
    }

    fn overflows(&self) -> u64 {
        0
    }
}

impl FakeRing {
    /// Any order between sockets and operations; those of one receive keep theirs, as the kernel does.
    fn shuffle(&mut self, completions: &mut [Completion]) {
        let key = |completion: &Completion| match completion {
            Completion::Received { token, .. } => Some(*token),
            _ => None,
        };
        for i in (1..completions.len()).rev() {
            let j = self.random.below(i + 1);
            let between = completions.get(j..=i).unwrap_or_default();
            let receives: Vec<_> = between.iter().filter_map(key).collect();
            let clash = [i, j]
                .iter()
                .filter_map(|&k| key(&completions[k]))
                .any(|token| receives.iter().filter(|other| **other == token).count() > 1);
            if !clash {
                completions.swap(i, j);
            }
        }
    }
}

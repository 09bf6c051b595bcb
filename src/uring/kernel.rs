//! The real ring: io_uring with the flags that suit a loop that submits, sleeps and reaps on one thread.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{
    CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue, types,
};

use super::buffers::{Buffers, GROUP};
use super::{Completion, Fd, Memory, OpKind, Received, Ring, Token, Wait};
use crate::buffer::{Account, Batch, Piece, Segment};
use crate::close::{Errno, Side};

/// Most pieces one send takes; what is left goes with the next.
pub const SEND_PIECES_MAX: usize = 64;

/// Up to this much a send waits until all is taken, so that it completes once. Above it, progress has to show.
const WAIT_ALL_BYTES_MAX: usize = 16 << 10;

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Sockets that will have a receive armed.
    pub sockets_max: usize,
    pub buffer_bytes: usize,
}

/// The ring of one relay. It belongs to the thread that made it (`SINGLE_ISSUER`).
pub struct KernelRing {
    // The order of the fields is the order they are dropped in: the borrowed parts, then the ring itself, which waits for
    // what is in flight, and only then the memory that the kernel may have been using.
    submission: SubmissionQueue<'static>,
    completion: CompletionQueue<'static>,
    submitter: Submitter<'static>,
    _ring: Owner,
    buffers: Buffers,
    account: Account,
    parked: Parked,
    vectors: Vectors,
    wake: OwnedFd,
    overflows: u64,
    found: Found,
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        // Nothing may write into the buffers once they are unmapped. A relay drops its ring at rest, so there is nothing left
        // to end but the wake-up; an error leaves what the kernel does itself when a ring is closed.
        drop(
            self.submitter
                .register_sync_cancel(None, types::CancelBuilder::any()),
        );
    }
}

/// Optional features, and whether the kernel has them.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Large buffers are filled bit by bit (`IOU_PBUF_RING_INC`, Linux 6.12).
    pub incremental_buffers: bool,
    /// The submission queue needs no index array (`IORING_SETUP_NO_SQARRAY`, Linux 6.6).
    pub no_sq_array: bool,
    /// The ring's own descriptor is registered (Linux 5.18).
    pub registered_ring: bool,
}

/// Frees the ring that the other parts borrow from.
struct Owner(*mut IoUring);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw`, and the parts that borrow from it stand before it in `KernelRing`,
        // so they are gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Batches in flight, by the socket they are sent on.
#[derive(Default)]
struct Parked(Vec<Option<Box<Batch>>>);

impl Parked {
    fn index(token: Token) -> usize {
        token.slot as usize * 2 + usize::from(token.side == Side::Backend)
    }

    fn park(&mut self, token: Token, batch: Box<Batch>) -> &Batch {
        let index = Self::index(token);
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        let place = self.0.get_mut(index);
        let place = place.unwrap_or_else(|| unreachable!("resized above"));
        assert!(place.is_none(), "two sends in flight on one socket");
        place.insert(batch)
    }

    fn take(&mut self, token: Token) -> Option<Box<Batch>> {
        self.0.get_mut(Self::index(token))?.take()
    }
}

/// Message headers and vectors of the sends that are queued and not yet submitted. The kernel copies them when it takes the
/// entry (`IORING_FEAT_SUBMIT_STABLE`), so all are free again after every submission.
struct Vectors {
    #[expect(
        clippy::vec_box,
        reason = "queued entries hold the vectors' addresses, which must outlast this list's growth"
    )]
    all: Vec<Box<Vector>>,
    used: usize,
}

struct Vector {
    header: libc::msghdr,
    pieces: [libc::iovec; SEND_PIECES_MAX],
}

impl Vectors {
    /// As many as a turn with some back-pressure needs; more are made when a turn needs more, and kept.
    fn new() -> Self {
        Self {
            all: std::iter::repeat_with(Vector::boxed).take(64).collect(),
            used: 0,
        }
    }

    fn next(&mut self) -> &mut Vector {
        if self.used == self.all.len() {
            self.all.push(Vector::boxed());
        }
        self.used += 1;
        let vector = self.all.get_mut(self.used - 1);
        vector.unwrap_or_else(|| unreachable!("pushed above"))
    }
}

impl Vector {
    fn boxed() -> Box<Self> {
        // SAFETY: all-zero bytes are a valid `msghdr` and valid `iovec`s: null pointers and zero lengths.
        let vector: Self = unsafe { mem::zeroed() };
        Box::new(vector)
    }
}

impl KernelRing {
    /// Builds the ring on the calling thread. `wake` is an eventfd; whenever it is written to, the relay hears
    /// [`Completion::Wake`].
    pub fn new(size: Size, wake: OwnedFd) -> io::Result<Self> {
        let (ring, sq_array) = build_patiently(size.sockets_max)?;
        let ring = Box::into_raw(Box::new(ring));
        let owner = Owner(ring);
        // SAFETY: `ring` stays allocated until `owner` is dropped, after the parts split off here (see `KernelRing`), and
        // nothing else refers to it.
        let ring: &'static mut IoUring = unsafe { &mut *ring };
        let (mut submitter, submission, completion) = ring.split();
        // Saves the lookup of the ring's own descriptor in every enter; an old kernel does without.
        let registered = match submitter.register_ring_fd() {
            Ok(_) => true,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => false,
            Err(error) => return Err(error),
        };
        let buffers = Buffers::register(&submitter, size.buffer_bytes)?;
        let account = Account::new(buffers.count());
        let found = Found {
            incremental_buffers: buffers.is_incremental(),
            no_sq_array: sq_array == SqArray::Without,
            registered_ring: registered,
        };
        let mut this = Self {
            submission,
            completion,
            submitter,
            _ring: owner,
            buffers,
            account,
            parked: Parked::default(),
            vectors: Vectors::new(),
            wake,
            overflows: 0,
            found,
        };
        this.listen_for_wake();
        Ok(this)
    }

    /// What this kernel has of what is used where it is there.
    pub fn found(&self) -> Found {
        self.found
    }

    fn listen_for_wake(&mut self) {
        let fd = types::Fd(self.wake.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(true)
            .build();
        self.push(entry, Token::WAKE);
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        loop {
            // SAFETY: what an entry points to outlives its operation: buffers belong to `self.buffers`, sent bytes are parked
            // until their completion, message headers stay until after the submission, and `Owner` is dropped before these.
            if unsafe { self.submission.push(&entry) }.is_ok() {
                return;
            }
            self.submission.sync();
            // The queue is full: hand it to the kernel. The completions wait for the next turn.
            match self.submitter.submit() {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => unreachable!("the kernel takes no operations: {error}"),
            }
            self.submission.sync();
            self.vectors.used = 0;
        }
    }

    fn completed(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let token = Token::unpack(entry.user_data());
        let result = entry.result();
        Some(match token.op {
            OpKind::Receive => Completion::Received {
                token,
                what: self.received(entry),
                armed: cqueue::more(entry.flags()),
            },
            OpKind::Send => {
                let batch = self.parked.take(token)?;
                Completion::Sent {
                    token,
                    result: usize::try_from(result).map_err(|_| Errno(-result)),
                    batch,
                }
            }
            OpKind::CancelReceive | OpKind::CancelSend => Completion::Cancelled { token },
            OpKind::Wake => {
                crate::sys::eventfd_drain(&self.wake);
                if !cqueue::more(entry.flags()) {
                    self.listen_for_wake();
                }
                Completion::Wake
            }
        })
    }

    fn received(&mut self, entry: &cqueue::Entry) -> Received {
        let flags = entry.flags();
        let len = u32::try_from(entry.result()).unwrap_or(0);
        if let Some(buffer) = cqueue::buffer_select(flags) {
            let segment = self
                .account
                .receive(buffer, len, cqueue::buffer_more(flags));
            if len > 0 {
                return Received::Bytes(segment);
            }
            // An end of stream may carry a buffer that it did not use.
            self.release(segment);
        }
        match -entry.result() {
            0 => Received::Eof,
            libc::ENOBUFS => Received::NoBuffers,
            libc::ECANCELED => Received::Cancelled,
            errno => Received::Failed(Errno(errno)),
        }
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.submission.sync();
        let result = match wait {
            Wait::No => self.submitter.submit_with_args(0, &SubmitArgs::new()),
            Wait::Forever => self.submitter.submit_and_wait(1),
            Wait::AtMost(time) => {
                let time = Timespec::from(time);
                self.submitter
                    .submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        self.submission.sync();
        self.vectors.used = 0;
        match result {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The time is up, a signal came, or the completion queue has to be emptied first: look at the completions, go on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
    )
}

impl Ring for KernelRing {
    fn adopt(&mut self, socket: OwnedFd) -> Fd {
        Fd(socket.into_raw_fd())
    }

    fn receive(&mut self, token: Token, fd: Fd) {
        self.push(
            opcode::RecvMulti::new(types::Fd(fd.0), GROUP).build(),
            token,
        );
    }

    fn send(&mut self, token: Token, fd: Fd, batch: Box<Batch>) {
        let batch = self.parked.park(token, batch);
        let fd = types::Fd(fd.0);
        let mut flags = libc::MSG_NOSIGNAL;
        if batch.bytes() <= WAIT_ALL_BYTES_MAX && batch.len() <= SEND_PIECES_MAX {
            flags |= libc::MSG_WAITALL;
        }
        let bytes = |piece: &Piece| match piece {
            Piece::Segment(segment) => {
                let bytes = self
                    .buffers
                    .bytes(segment.buffer(), segment.start(), segment.len());
                (bytes.as_ptr(), bytes.len())
            }
            Piece::Owned(owned) => (owned.as_slice().as_ptr(), owned.len()),
        };
        let entry = if batch.len() == 1 {
            let (start, len) = batch.iter().next().map_or((ptr::null(), 0), bytes);
            opcode::Send::new(fd, start, u32::try_from(len).unwrap_or(u32::MAX))
                .flags(flags)
                .build()
        } else {
            let vector = self.vectors.next();
            let mut count = 0;
            for (place, piece) in vector.pieces.iter_mut().zip(batch.iter()) {
                let (start, len) = bytes(piece);
                *place = libc::iovec {
                    iov_base: start.cast_mut().cast(),
                    iov_len: len,
                };
                count += 1;
            }
            vector.header.msg_iov = vector.pieces.as_mut_ptr();
            vector.header.msg_iovlen = count;
            opcode::SendMsg::new(fd, &vector.header)
                .flags(flags as u32)
                .build()
        };
        self.push(entry, token);
    }

    fn cancel(&mut self, token: Token) {
        let op = match token.op {
            OpKind::Receive => OpKind::CancelReceive,
            OpKind::Send => OpKind::CancelSend,
            other => other,
        };
        self.push(
            opcode::AsyncCancel::new(token.pack()).build(),
            token.with_op(op),
        );
    }

    fn shutdown(&mut self, fd: Fd) {
        // A plain system call: the ring's own operation runs on a worker thread, late, and could meet a reused descriptor.
        crate::sys::shutdown_write(fd.0);
    }

    fn close(&mut self, fd: Fd, reset: bool) {
        if reset {
            crate::sys::set_reset_on_close(fd.0);
        }
        // SAFETY: `adopt` took the descriptor over, and a socket is closed once, when nothing is in flight on it.
        drop(unsafe { OwnedFd::from_raw_fd(fd.0) });
    }

    fn turn(&mut self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        self.buffers.publish();
        self.completion.sync();
        let wait = if self.completion.is_empty() {
            wait
        } else {
            Wait::No
        };
        self.enter(wait)?;
        self.overflows += u64::from(self.submission.cq_overflow());
        self.completion.sync();
        while let Some(entry) = self.completion.next() {
            out.extend(self.completed(&entry));
        }
        self.completion.sync();
        Ok(())
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}

impl Memory for KernelRing {
    fn bytes(&self, segment: &Segment) -> &[u8] {
        self.buffers
            .bytes(segment.buffer(), segment.start(), segment.len())
    }

    fn bytes_mut(&mut self, segment: &mut Segment) -> &mut [u8] {
        self.buffers
            .bytes_mut(segment.buffer(), segment.start(), segment.len())
    }

    fn release(&mut self, segment: Segment) {
        if let Some(buffer) = self.account.release(segment) {
            self.buffers.provide(buffer);
        }
    }

    fn account(&self) -> &Account {
        &self.account
    }
}

/// The kernel takes the pages of a ring all at once and gives up (`ENOMEM`) rather than wait until the page cache has made
/// room, but has it make room: where it fills the memory, a later try finds the pages.
#[expect(
    clippy::disallowed_methods,
    reason = "it serves nobody before it has its ring"
)]
fn build_patiently(sockets_max: usize) -> io::Result<(IoUring, SqArray)> {
    for _ in 1..BUILD_TRIES {
        match build(sockets_max) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => thread::sleep(BUILD_WAIT),
            outcome => return outcome,
        }
    }
    build(sockets_max)
}

const BUILD_TRIES: u32 = 10;
const BUILD_WAIT: Duration = Duration::from_millis(50);

/// `NO_SQARRAY` (Linux 6.6) saves an indirection; everything else is there from Linux 6.1, our floor.
fn build(sockets_max: usize) -> io::Result<(IoUring, SqArray)> {
    let with = |sq_array| {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completion_entries(sockets_max));
        if sq_array == SqArray::Without {
            builder.setup_no_sqarray();
        }
        Ok((builder.build(SUBMISSION_ENTRIES)?, sq_array))
    };
    with(SqArray::Without).or_else(|error: io::Error| match error.raw_os_error() {
        Some(libc::EINVAL) => with(SqArray::With),
        _ => Err(error),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SqArray {
    With,
    Without,
}

const SUBMISSION_ENTRIES: u32 = 1024;

/// One completion a socket and turn is the common case; the kernel keeps what does not fit, at a price.
fn completion_entries(sockets_max: usize) -> u32 {
    u32::try_from(
        sockets_max
            .checked_next_power_of_two()
            .unwrap_or(usize::MAX),
    )
    .unwrap_or(u32::MAX)
    .clamp(4 * SUBMISSION_ENTRIES, 32 << 10)
}

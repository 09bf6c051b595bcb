//! A connection of either side, plain or TLS: reading, writing, and the ways to end it.
//!
//! Sockets are non-blocking and tried first; the ring is asked only to say when to try again. So no operation ever owns a
//! buffer: a read that is given up loses nothing, and a connection that waits holds no memory for what may come.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

mod tls;

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use monoio::net::TcpStream;
use monoio::time::timeout;
use socket2::{SockRef, Socket};

use super::pool::{Buffer, Full};
use crate::close::Errno;
use crate::observe::metrics::ByTls;
use crate::relay::Endpoint;
use crate::sys;
use crate::tls::TlsSession;
use tls::Tls;

/// RFC 9112 §9.6: how long, and for how many bytes, a connection is read on after our last word, so that the peer's
/// kernel does not throw that word away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 << 20;

/// One read takes at most this much: a large TLS record, and then some.
const SCRATCH_BYTES: usize = 32 << 10;

/// Reads of nothing but tickets and the like that an idle connection may bring.
const TICKETS_MAX: usize = 8;

/// Where every read of a core lands before it is decrypted or kept. Nothing stays in it over an `await`.
pub(super) struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }
}

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamError {
    Io(Errno),
    Tls,
    /// What arrived has no room.
    Full(Full),
}

impl StreamError {
    /// The peer left in the middle of something.
    const GONE: Self = Self::Io(Errno(libc::ECONNRESET));
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Io(Errno::of(&error))
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Bytes,
    /// EOF or close_notify: nothing will follow.
    End,
}

/// What one attempt to read brought.
enum Attempt {
    Received(Received),
    /// TLS was given something, which made no data yet.
    Fed,
    NothingThere,
}

/// A connection. Reading and writing take it shared: a call sends and receives at the same time.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<RefCell<Tls>>,
    eof: Cell<bool>,
    /// The peer has sent something, since TLS began if it did.
    heard: Cell<bool>,
    /// Polls that are in the ring, or were given up and may still be.
    polls: Cell<u32>,
    /// What the relay will get, where the socket's own descriptor has to stay.
    duplicate: Option<OwnedFd>,
}

impl Stream {
    /// Takes a non-blocking socket over.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self {
            socket: TcpStream::from_std(socket.into())?,
            tls: None,
            eof: Cell::new(false),
            heard: Cell::new(false),
            polls: Cell::new(0),
            duplicate: None,
        })
    }

    /// Waits until a connect that has begun is through. Giving it up is harmless.
    pub(super) async fn connected(&self) -> io::Result<()> {
        self.socket.writable(false).await?;
        // A refused connect makes a socket writable too.
        let fd = sys::descriptor_of(&self.socket);
        match SockRef::from(&fd).take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Puts TLS on a plain connection; `handshake` carries it through. `received` was read from it already.
    pub(super) fn start_tls(&mut self, session: Box<TlsSession>, received: &[u8]) {
        self.tls = Some(RefCell::new(Tls::new(session, received.to_vec())));
        self.heard.set(!received.is_empty());
    }

    /// Counts the TLS handshake that this connection has had.
    pub(super) fn count_handshake(&self, handshakes: &ByTls) {
        if let Some(tls) = &self.tls {
            let session = &tls.borrow().session;
            handshakes.count(session.is_tls13(), session.is_resumed());
        }
    }

    /// Whether the peer has ever sent a byte, of TLS where that is spoken: a probe that only connects does not.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.get()
    }

    /// Whether the peer's end of stream was meant as one: by TLS, that takes close_notify, which nobody in between can
    /// forge (RFC 9112 §9.8).
    pub(super) fn has_ended_properly(&self) -> bool {
        self.tls
            .as_ref()
            .is_none_or(|tls| tls.borrow().session.peer_closed())
    }

    /// Carries the TLS handshake through. Data that the peer sent behind its last flight goes into `into`.
    pub(super) async fn handshake(
        &self,
        scratch: &Scratch,
        into: &mut Buffer,
    ) -> Result<(), StreamError> {
        self.feed(&mut [], into)?; // The first flight, if it is ours, or what it is answered with.
        loop {
            self.flush().await?;
            if !self.is_handshaking() {
                return Ok(());
            }
            let attempt = self.attempt(scratch, into)?;
            // The dearest step of a connection, up to some hundred microseconds of signing, is behind us.
            super::give_way();
            match attempt {
                Attempt::Received(Received::End) => return Err(StreamError::GONE),
                Attempt::Received(Received::Bytes) | Attempt::Fed => {}
                Attempt::NothingThere => self.readable().await?,
            }
        }
    }

    fn is_handshaking(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.borrow().session.is_handshaking())
    }

    /// Waits until something has been appended to `into`, or the peer has said its last. Giving it up loses nothing.
    pub(super) async fn read(
        &self,
        scratch: &Scratch,
        into: &mut Buffer,
    ) -> Result<Received, StreamError> {
        loop {
            match self.attempt(scratch, into)? {
                Attempt::Received(received) => return Ok(received),
                Attempt::Fed => self.flush().await?,
                Attempt::NothingThere => self.readable().await?,
            }
        }
    }

    /// As `read`, but not tried first. For what is not there yet, and for loops without an end of their own, which would
    /// otherwise keep the thread from its ring and timers as long as the peer is fast.
    pub(super) async fn next(
        &self,
        scratch: &Scratch,
        into: &mut Buffer,
    ) -> Result<Received, StreamError> {
        if !self.eof.get() {
            self.readable().await?;
        }
        self.read(scratch, into).await
    }

    /// Waits until there is something to read.
    async fn readable(&self) -> Result<(), StreamError> {
        self.polls.set(self.polls.get().saturating_add(1));
        let result = self.socket.readable(false).await;
        self.polls.set(self.polls.get().saturating_sub(1));
        Ok(result?)
    }

    /// Waits until something can be sent.
    async fn writable(&self) -> Result<(), StreamError> {
        self.polls.set(self.polls.get().saturating_add(1));
        let result = self.socket.writable(false).await;
        self.polls.set(self.polls.get().saturating_sub(1));
        Ok(result?)
    }

    /// Whether the peer has left, for when what it sent may not be read.
    pub(super) fn peer_has_left(&self) -> bool {
        sys::peer_has_left(sys::descriptor_of(&self.socket))
    }

    /// Whether the peer hears nothing any more. One that has only ended its sending direction may.
    pub(super) fn peer_is_gone(&self) -> bool {
        sys::peer_is_gone(sys::descriptor_of(&self.socket))
    }

    /// Whether the peer is there and has said nothing: what an idle connection has to be before it is used again.
    /// `into` stays empty then.
    pub(super) fn is_quiet(&self, scratch: &Scratch, into: &mut Buffer) -> bool {
        for _ in 0..TICKETS_MAX {
            match self.attempt(scratch, into) {
                Ok(Attempt::NothingThere) => return into.is_empty(),
                // TLS 1.3 sends its tickets when it likes.
                Ok(Attempt::Fed) => {}
                Ok(Attempt::Received(_)) | Err(_) => return false,
            }
        }
        false
    }

    fn attempt(&self, scratch: &Scratch, into: &mut Buffer) -> Result<Attempt, StreamError> {
        if self.eof.get() {
            return Ok(Attempt::Received(Received::End));
        }
        let mut scratch = scratch.0.borrow_mut();
        let read = receive(&self.socket, &mut scratch)?;
        let Some(len) = read else {
            return Ok(Attempt::NothingThere);
        };
        let bytes = scratch.get_mut(..len).unwrap_or_default();
        if bytes.is_empty() {
            self.eof.set(true);
            return Ok(Attempt::Received(Received::End));
        }
        self.heard.set(true);
        if self.tls.is_some() {
            return self.feed(bytes, into);
        }
        into.append(bytes).map_err(StreamError::Full)?;
        Ok(Attempt::Received(Received::Bytes))
    }

    /// Gives received bytes to TLS. On an error the alert is sent if the socket takes it.
    fn feed(&self, bytes: &mut [u8], into: &mut Buffer) -> Result<Attempt, StreamError> {
        let Some(tls) = &self.tls else {
            return Ok(Attempt::Fed);
        };
        let mut tls = tls.borrow_mut();
        let mut full = None;
        let opened = tls.open(bytes, &mut |plaintext| {
            full = full.or_else(|| into.append(plaintext).err());
        });
        if let Some(full) = full {
            return Err(StreamError::Full(full));
        }
        let Some(opened) = opened else {
            tls.send_last_word(&self.socket);
            return Err(StreamError::Tls);
        };
        self.eof.set(self.eof.get() | opened.peer_closed);
        Ok(if opened.plaintext > 0 {
            Attempt::Received(Received::Bytes)
        } else if self.eof.get() {
            Attempt::Received(Received::End)
        } else {
            Attempt::Fed
        })
    }

    /// Sends all of `bytes`.
    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), StreamError> {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().seal(bytes)?;
            return self.flush().await;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match send(&self.socket, rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if is_for_later(&error) => self.writable().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends what TLS has to say. A reader and a writer may both be at it: each sends from the front of the same bytes.
    async fn flush(&self) -> Result<(), StreamError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        while !tls.borrow_mut().send_waiting(&self.socket)? {
            self.writable().await?;
        }
        Ok(())
    }

    /// Ends the connection so that our last word arrives: close_notify, FIN, and then what the peer still sends is read
    /// and thrown away for a while.
    pub(super) async fn close(self, scratch: &Scratch) {
        if let Some(tls) = &self.tls {
            let Tls {
                session, unsent, ..
            } = &mut *tls.borrow_mut();
            session.close_notify(unsent);
        }
        let lingering = timeout(LINGER, async {
            self.flush().await?;
            self.shut_down()?;
            self.discard(scratch).await
        });
        match lingering.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(?error, "a connection ended while it lingered"),
            Err(_) => tracing::trace!("a connection lingered for its whole time"),
        }
    }

    /// Ends the sending direction.
    fn shut_down(&self) -> io::Result<()> {
        let fd = sys::descriptor_of(&self.socket);
        SockRef::from(&fd).shutdown(Shutdown::Write)
    }

    async fn discard(&self, scratch: &Scratch) -> Result<(), StreamError> {
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            let read = receive(&self.socket, &mut scratch.0.borrow_mut())?;
            match read {
                Some(0) => return Ok(()),
                Some(len) => discarded += len,
                None => self.readable().await?,
            }
        }
        Ok(())
    }

    /// Ends the connection so that the peer can't take it for complete: what is unsent is dropped, and RST follows.
    pub(super) fn reset(self) {
        sys::set_reset_on_close(self.socket.as_raw_fd());
    }

    /// Takes now what `into_endpoint` would lack if no descriptor were left by then.
    pub(super) fn prepare_endpoint(&mut self) -> io::Result<()> {
        // monoio gives a descriptor up only while nothing in the ring refers to it. Where a poll was given up, a duplicate
        // goes on, and monoio closes the first one when the poll has gone.
        if self.polls.get() > 0 && self.duplicate.is_none() {
            let own = sys::descriptor_of(&self.socket);
            self.duplicate = Some(own.try_clone_to_owned()?);
        }
        Ok(())
    }

    /// Gives the connection up to the relay. Everything written has been sent by now; `plaintext` was read from it and
    /// not used.
    pub(super) fn into_endpoint(mut self, plaintext: Vec<u8>) -> io::Result<Endpoint> {
        self.prepare_endpoint()?;
        let Self {
            socket,
            tls,
            eof,
            duplicate,
            ..
        } = self;
        let (tls, ciphertext) = match tls.map(RefCell::into_inner) {
            None => (None, Vec::new()),
            Some(tls) => {
                debug_assert!(tls.unsent.is_empty());
                (Some(tls.session), tls.ciphertext)
            }
        };
        Ok(Endpoint {
            socket: duplicate.unwrap_or_else(|| sys::into_descriptor(socket)),
            tls,
            plaintext,
            ciphertext,
            eof: eof.get(),
        })
    }
}

/// `None` if nothing is there.
fn receive(socket: &TcpStream, into: &mut [u8]) -> Result<Option<usize>, StreamError> {
    let fd = sys::descriptor_of(socket);
    let socket = SockRef::from(&fd);
    match (&*socket).read(into) {
        Ok(len) => Ok(Some(len)),
        Err(error) if is_for_later(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let fd = sys::descriptor_of(socket);
    SockRef::from(&fd).send_with_flags(bytes, libc::MSG_NOSIGNAL)
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

//! Accepting: whoever waits is let in, told that there is no room, or left waiting while no descriptor is left.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use monoio::net::TcpListener;
use monoio::time::sleep;
use socket2::Socket;

use super::connection::{self, Client};
use super::listen::Listener;
use super::record::Sent;
use super::refuse::{Last, write_error};
use super::stream::Stream;
use super::{Began, Edge, InProgress, Origin, Peer, wall_clock};
use crate::close::CloseReason;
use crate::config::Scheme;
use crate::connections::Place;
use crate::network::Network;
use crate::observe::access_log::{Bytes, RequestEnd};
use crate::race::{First, race};
use crate::sys::{self, Accepted};

/// Connections taken in one go; then the others of this core get their turn.
const BATCH: usize = 32;

/// How long accepting pauses for want of descriptors: doubled while it lasts.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What a listening socket means for those who come by it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    scheme: Scheme,
    /// Who may come by it, with a PROXY protocol header; empty where everybody may, without one.
    proxy_protocol_from: Vec<Network>,
}

impl Door {
    pub(super) fn new(listener: &Listener) -> Self {
        Self {
            address: listener.address(),
            scheme: listener.scheme(),
            proxy_protocol_from: listener.proxy_protocol_from().to_vec(),
        }
    }

    pub(super) fn demands_proxy_header(&self) -> bool {
        !self.proxy_protocol_from.is_empty()
    }

    /// Whether a connection from `client` may be served: whoever sends a header says what the client's address is.
    fn admits(&self, client: SocketAddr) -> bool {
        let from = &self.proxy_protocol_from;
        from.is_empty() || from.iter().any(|network| network.contains(client.ip()))
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The address that a client came to: asking the kernel is needed only where the listener takes several.
    fn inbound(&self, socket: &Socket) -> SocketAddr {
        if !self.address.ip().is_unspecified() {
            return self.address;
        }
        let own = socket.local_addr().ok().and_then(|own| own.as_socket());
        own.unwrap_or(self.address)
    }
}

/// The listening socket on this thread's runtime, which says when somebody is waiting.
pub(super) fn listener(socket: Socket) -> io::Result<(TcpListener, Socket)> {
    let watched = socket.try_clone()?;
    Ok((TcpListener::from_std(watched.into())?, socket))
}

/// Lets clients in until the other end of `stopped` is dropped. Who has been waiting by then is still let in.
pub(super) async fn accept(
    edge: Rc<Edge>,
    (listener, socket): (TcpListener, Socket),
    door: Door,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut accepting = Accepting {
        edge,
        socket,
        door: Rc::new(door),
        reserve: Reserve::new(),
        pause: PAUSE_MIN,
    };
    loop {
        // Never an accept in the ring: one that is cancelled can leave its descriptor open.
        match race(&mut stopped, listener.readable(false)).await {
            First::Work(_) => break,
            First::Other(Ok(())) => accepting.take_waiting().await,
            First::Other(Err(error)) => {
                tracing::warn!(%error, "a listener can't be watched");
                sleep(PAUSE_MAX).await;
            }
        }
    }
    while let Batch::Full = accepting.take_batch() {}
}

/// How taking a batch ended.
enum Batch {
    /// Nobody waits any more.
    Emptied,
    /// There may be more.
    Full,
    Exhausted,
}

struct Accepting {
    edge: Rc<Edge>,
    socket: Socket,
    door: Rc<Door>,
    reserve: Reserve,
    pause: Duration,
}

impl Accepting {
    async fn take_waiting(&mut self) {
        match self.take_batch() {
            Batch::Emptied | Batch::Full => self.pause = PAUSE_MIN,
            Batch::Exhausted => {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
        }
    }

    fn take_batch(&mut self) -> Batch {
        for _ in 0..BATCH {
            match sys::accept(self.socket.as_fd()) {
                Accepted::Connection(socket, client) => {
                    self.let_in(socket, client);
                    super::give_way();
                }
                Accepted::Nobody => return Batch::Emptied,
                Accepted::Lost(error) => tracing::debug!(%error, "a client left before its accept"),
                Accepted::Exhausted(error) => {
                    self.handle_exhaustion(&error);
                    return Batch::Exhausted;
                }
                Accepted::Failed(error) => {
                    tracing::error!(%error, address = %self.door.address, "a listener fails");
                    return Batch::Exhausted;
                }
            }
        }
        Batch::Full
    }

    fn let_in(&self, socket: Socket, client: SocketAddr) {
        let edge = &self.edge;
        edge.metrics.accepted.add(1);
        let peer = Peer {
            client,
            inbound: self.door.inbound(&socket),
            scheme: self.door.scheme(),
            origin: Origin::Kernel,
        };
        if !self.door.admits(client) {
            return self.turn_away(socket, peer, CloseReason::NoProxyHeader);
        }
        let Some(place) = edge.connections.enter() else {
            return self.turn_away(socket, peer, CloseReason::ConnectionLimit);
        };
        match self.begin(socket, peer, place) {
            Ok(client) => {
                monoio::spawn(connection::serve(
                    Rc::clone(edge),
                    client,
                    Rc::clone(&self.door),
                ));
            }
            Err(error) => tracing::warn!(%error, "a connection can't be served"),
        }
    }

    fn begin(&self, socket: Socket, peer: Peer, place: Place) -> io::Result<Client> {
        Ok(Client {
            stream: Stream::new(socket)?,
            peer,
            place,
            // Counted before its task runs, so that nobody takes the edge for empty meanwhile.
            newcomer: Some(InProgress::newcomer(&self.edge)),
        })
    }

    /// Closes with the answer that `reason` has, as far as that takes no waiting. On a TLS listener it would cost a
    /// handshake.
    fn turn_away(&self, socket: Socket, peer: Peer, reason: CloseReason) {
        let began = Began::now(&self.edge);
        let (mut status, mut sent) = (None, Sent::default());
        if peer.scheme == Scheme::Http
            && let Some(error) = reason.answer()
        {
            let mut answer = Vec::new();
            write_error(&mut answer, &error, began.id, Last::with_body(wall_clock()));
            let said = socket.send_with_flags(&answer, libc::MSG_NOSIGNAL);
            match said.and_then(|_| socket.shutdown(Shutdown::Write)) {
                Ok(()) => (status, sent) = (Some(error.status), Sent::of(&answer)),
                Err(error) => tracing::trace!(%error, "a client left before it was turned away"),
            }
        }
        // Not given to the runtime, which would close it some time later: its descriptor may be the last one.
        drop(socket);
        let end = RequestEnd {
            bytes: Bytes {
                head_sent: sent.head,
                body_sent: sent.body,
                ..Bytes::default()
            },
            ..began.refusal(&peer, reason, status)
        };
        self.edge.refused(&end);
    }

    /// Uses the reserve to tell one of those who wait, so that nobody hangs for as long as it lasts.
    fn handle_exhaustion(&mut self, error: &io::Error) {
        self.edge.metrics.accept_pauses.add(1);
        tracing::warn!(%error, "accepting pauses");
        if !self.reserve.give_up() {
            return;
        }
        if let Accepted::Connection(socket, client) = sys::accept(self.socket.as_fd()) {
            self.edge.metrics.accepted.add(1);
            let peer = Peer {
                client,
                inbound: self.door.inbound(&socket),
                scheme: self.door.scheme(),
                origin: Origin::Kernel,
            };
            let reason = if self.door.admits(client) {
                CloseReason::ConnectionLimit
            } else {
                CloseReason::NoProxyHeader
            };
            self.turn_away(socket, peer, reason);
        }
        self.reserve.take();
    }
}

/// A descriptor that is held for the moment when there is no other.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        let mut reserve = Self(None);
        reserve.take();
        reserve
    }

    fn take(&mut self) {
        match File::open("/dev/null") {
            Ok(file) => self.0 = Some(file),
            Err(error) => tracing::debug!(%error, "no descriptor can be held in reserve"),
        }
    }

    /// Frees the descriptor, if there is one; else tries to have one for the next time.
    fn give_up(&mut self) -> bool {
        let had = self.0.take().is_some();
        if !had {
            self.take();
        }
        had
    }
}

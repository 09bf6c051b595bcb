//! The backend: plain WebSockets, one receive and one send per message, frames streamed and never collected. The request
//! target's query chooses what a connection is for: `mode=echo` (the default), `mode=count`, or
//! `mode=push&rate=10&size=64`.

mod push;
mod session;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::BackendOptions;
use crate::clock;
use crate::descriptors;
use crate::poller::{Poller, Ready};

use push::Pusher;
use session::{Next, Scratch, Session};

const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 4096;
const EVENTS_MAX: usize = 512;
const RECEIVE_BYTES: usize = 64 * 1024;
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
    pusher: Pusher,
    /// Out of descriptors: epoll reports the waiting connections only once, so accepting is tried again later.
    accept_paused: bool,
}

impl Server {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let poller = Poller::new(EVENTS_MAX)?;
        poller.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            poller,
            sessions: Slab::new(),
            scratch: Scratch::new(RECEIVE_BYTES),
            pusher: Pusher::default(),
            accept_paused: false,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(EVENTS_MAX);
        loop {
            let pause = self.accept_paused.then_some(ACCEPT_PAUSE);
            let push = self.pusher.wait(clock::shared_nanoseconds());
            self.poller
                .wait(pause.into_iter().chain(push).min(), &mut ready)?;
            for event in &ready {
                self.handle(*event);
            }
            self.push();
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
        if let Some(order) = session.take_push_order() {
            self.pusher.add(order, key, clock::shared_nanoseconds());
        }
        // A connection that failed is over like one that ended: it is the client that counts errors.
        if !matches!(next, Ok(Next::Wait)) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        self.sessions.remove(key);
        self.pusher.remove(key);
    }

    /// Sends every push that is due to everybody it is for.
    fn push(&mut self) {
        let mut failed = Vec::new();
        let sessions = &mut self.sessions;
        self.pusher
            .push_due(clock::shared_nanoseconds(), &mut |key, frame| {
                if let Some(session) = sessions.get_mut(key)
                    && session.push(frame).is_err()
                {
                    failed.push(key);
                }
            });
        for key in failed {
            self.remove(key);
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
        place.insert(Session::new(socket));
        Ok(())
    }
}

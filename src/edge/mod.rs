//! The edge of a core: a connection's life from accept to its tunnel, or to the answer that says why it gets none.
//! Straight-line async code on a monoio runtime, one file a step. It knows HTTP and routing, and no WebSocket frame.
//!
//! ```text
//!  listen ─► accept ─► connection ─► request ─► route ─► upgrade ─► connect ─► forward ─► answer ─► relay
//!                          ▲            │         │         │          │                    │
//!                          └─keep-alive─┴──refuse─┴─────────┴──────────┴────────────────────┘
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

mod accept;
mod answer;
mod connect;
mod connection;
mod fields;
mod forward;
mod listen;
mod pool;
mod refuse;
mod request;
mod route;
mod stream;
#[cfg(test)]
mod tests;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use futures_channel::oneshot;
use monoio::net::UnixStream;
use monoio::time::sleep;
use monoio::{IoUringDriver, RuntimeBuilder};
use rustls::client::Resumption;
use rustls::{ClientConfig, ServerConfig};
use socket2::Socket;

use crate::catalog::Catalog;
use crate::close::CloseReason;
use crate::config::{Config, Scheme};
use crate::control::resolver::Resolver;
use crate::observe::access_log::{AccessLog, Refusal};
use crate::observe::metrics::EdgeMetrics;
use crate::observe::request_id::{RequestId, RequestIds};
use crate::relay::RelayHandle;

pub use crate::connections::Connections;
pub(crate) use listen::BACKLOG;
pub use listen::{Listener, bind, bind_from};

use accept::Door;
use pool::Pool;
use stream::Scratch;

/// Entries of the runtime's ring: operations that can wait for one submission.
const RING_ENTRIES: u32 = 1024;

/// How often an edge that is to stop looks whether its last requests are done.
const STOP_CHECK: Duration = Duration::from_millis(10);

/// What all edges of the process share.
pub struct Shared {
    pub config: Arc<Config>,
    pub catalog: Arc<Catalog>,
    pub tls: TlsConfigs,
    pub resolver: Resolver,
    pub access_log: AccessLog,
    pub connections: Connections,
}

/// How clients and backends are met over TLS.
#[derive(Clone, Debug)]
pub struct TlsConfigs {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

/// Makes the edge of worker `index`: its sockets listen when this returns, and are served once it runs.
pub fn prepare(
    index: usize,
    shared: &Shared,
    listeners: &[Listener],
    relay: RelayHandle,
    metrics: Arc<EdgeMetrics>,
) -> io::Result<(EdgeHandle, Prepared)> {
    let doors = listeners.iter().map(|listener| {
        let door = Door::new(listener, &shared.tls.server);
        Ok((listener.open()?, door))
    });
    let doors = doors.collect::<io::Result<Vec<_>>>()?;
    let (wake, woken) = StdUnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let (commands, told) = channel();
    let on_their_way = Arc::new(AtomicU64::new(0));
    // Sessions with backends are remembered behind a lock: each edge has its own, so that nobody waits for it.
    let mut client = ClientConfig::clone(&shared.tls.client);
    client.resumption = Resumption::default();
    let prepared = Prepared {
        doors,
        mailbox: Mailbox { told, woken },
        on_their_way: Arc::clone(&on_their_way),
        config: Arc::clone(&shared.config),
        catalog: Arc::clone(&shared.catalog),
        client: Arc::new(client),
        resolver: shared.resolver.clone(),
        log: shared.access_log.clone(),
        ids: RequestIds::new(u16::try_from(index).unwrap_or(u16::MAX)),
        connections: shared.connections.clone(),
        relay,
        metrics,
    };
    let handle = EdgeHandle {
        commands,
        wake: Arc::new(wake),
        on_their_way,
    };
    Ok((handle, prepared))
}

/// What an edge can be told.
enum Command {
    StopAccepting,
    Stop,
}

/// The way to the edge of one core.
#[derive(Clone, Debug)]
pub struct EdgeHandle {
    commands: Sender<Command>,
    wake: Arc<StdUnixStream>,
    on_their_way: Arc<AtomicU64>,
}

impl EdgeHandle {
    /// Closes the listeners. Requests that are being served are served to their end, and their tunnels handed over.
    pub fn stop_accepting(&self) {
        self.tell(Command::StopAccepting);
    }

    /// Ends the edge with all its connections.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Requests for an upgrade that have not got their answer: what may still become a tunnel.
    pub fn on_their_way(&self) -> u64 {
        self.on_their_way.load(Relaxed)
    }

    fn tell(&self, command: Command) {
        // An edge that has ended needs telling nothing, and a full socket wakes as well as one byte more.
        if self.commands.send(command).is_ok()
            && let Err(error) = (&*self.wake).write(&[1])
        {
            tracing::trace!(%error, "an edge is awake already, or has ended");
        }
    }
}

/// The receiving end of an `EdgeHandle`.
struct Mailbox {
    told: Receiver<Command>,
    woken: StdUnixStream,
}

/// An edge that can be talked to and does not run yet.
pub struct Prepared {
    doors: Vec<(Socket, Door)>,
    mailbox: Mailbox,
    on_their_way: Arc<AtomicU64>,
    config: Arc<Config>,
    catalog: Arc<Catalog>,
    client: Arc<ClientConfig>,
    resolver: Resolver,
    log: AccessLog,
    ids: RequestIds,
    connections: Connections,
    relay: RelayHandle,
    metrics: Arc<EdgeMetrics>,
}

impl Prepared {
    /// Serves until it is told to stop. `ready` is called once the runtime stands.
    pub fn run(self, ready: impl FnOnce()) -> io::Result<()> {
        let mut uring = io_uring_06::IoUring::builder();
        uring.setup_single_issuer().setup_coop_taskrun();
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .uring_builder(uring)
            .enable_timer()
            .build()?;
        runtime.block_on(self.serve(ready))
    }

    async fn serve(self, ready: impl FnOnce()) -> io::Result<()> {
        let (doors, mailbox, edge) = self.into_edge();
        let mut stops = Vec::with_capacity(doors.len());
        for (socket, door) in doors {
            let (stop, stopped) = oneshot::channel();
            let listener = accept::listener(socket)?;
            monoio::spawn(accept::accept(Rc::clone(&edge), listener, door, stopped));
            stops.push(stop);
        }
        ready();
        let mut mailbox = Inbox::new(mailbox)?;
        if let Command::StopAccepting = mailbox.next().await {
            edge.stopping.set(true);
            drop(stops); // The other ends see it.
            edge.finish(&mut mailbox).await;
        }
        Ok(())
    }

    fn into_edge(self) -> (Vec<(Socket, Door)>, Mailbox, Rc<Edge>) {
        let limits = &self.config.limits;
        let pool = Pool::new(
            &limits.head,
            limits.early_bytes_max,
            Arc::clone(&self.metrics),
        );
        let edge = Edge {
            pool: Rc::new(pool),
            scratch: Scratch::default(),
            catalog: RefCell::new(self.catalog),
            config: self.config,
            client: self.client,
            resolver: self.resolver,
            log: self.log,
            ids: RefCell::new(self.ids),
            connections: self.connections,
            relay: self.relay,
            metrics: self.metrics,
            on_their_way: self.on_their_way,
            turn: Cell::new(0),
            idle: Cell::new(0),
            stopping: Cell::new(false),
        };
        (self.doors, self.mailbox, Rc::new(edge))
    }
}

/// The mailbox on the runtime's thread.
struct Inbox {
    told: Receiver<Command>,
    woken: UnixStream,
    /// The same socket, to read what woke us.
    drain: StdUnixStream,
}

impl Inbox {
    fn new(mailbox: Mailbox) -> io::Result<Self> {
        Ok(Self {
            told: mailbox.told,
            drain: mailbox.woken.try_clone()?,
            woken: UnixStream::from_std(mailbox.woken)?,
        })
    }

    /// The next command. Handles that are all gone mean the same as being told to stop.
    async fn next(&mut self) -> Command {
        loop {
            match self.told.try_recv() {
                Ok(command) => return command,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Command::Stop,
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
            }
            if let Err(error) = self.woken.readable(false).await {
                tracing::error!(%error, "an edge can't be told anything any more, and stops");
                return Command::Stop;
            }
            let mut bytes = [0; 64];
            match self.drain.read(&mut bytes) {
                Ok(0) => return Command::Stop,
                Ok(_) => {}
                Err(error) => tracing::trace!(%error, "woken for nothing"),
            }
        }
    }
}

/// What the connections of one core work with.
struct Edge {
    config: Arc<Config>,
    /// Taken once by each request, which keeps it to its end.
    catalog: RefCell<Arc<Catalog>>,
    client: Arc<ClientConfig>,
    resolver: Resolver,
    log: AccessLog,
    ids: RefCell<RequestIds>,
    connections: Connections,
    relay: RelayHandle,
    metrics: Arc<EdgeMetrics>,
    on_their_way: Arc<AtomicU64>,
    pool: Rc<Pool>,
    scratch: Scratch,
    /// Counts requests, for whatever is used in turn.
    turn: Cell<usize>,
    /// Connections between two requests.
    idle: Cell<u64>,
    stopping: Cell<bool>,
}

impl Edge {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.borrow())
    }

    fn new_id(&self) -> RequestId {
        self.ids.borrow_mut().draw()
    }

    fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// Waits for the requests that are being served; who is between two requests is not waited for.
    async fn finish(&self, inbox: &mut Inbox) {
        while self.metrics.connections.value() > self.idle.get() {
            let check = crate::race::race(inbox.next(), sleep(STOP_CHECK)).await;
            if let crate::race::First::Work(Command::Stop) = check {
                return;
            }
        }
    }

    /// Counts and logs a request that got no tunnel.
    fn refused(&self, refusal: Refusal) {
        self.metrics.refused.count(refusal.reason);
        self.log.refused(&refusal);
    }
}

/// A client's connection as it was accepted.
#[derive(Clone, Copy, Debug)]
struct Peer {
    client: std::net::SocketAddr,
    /// The address it connected to.
    inbound: std::net::SocketAddr,
    scheme: Scheme,
}

/// A client that has not got a tunnel, from its first byte on.
#[derive(Clone, Copy, Debug)]
struct Began {
    id: RequestId,
    at: monoio::time::Instant,
}

impl Began {
    fn now(edge: &Edge) -> Self {
        Self {
            id: edge.new_id(),
            at: monoio::time::Instant::now(),
        }
    }

    fn refusal(self, peer: Peer, reason: CloseReason, status: Option<u16>) -> Refusal {
        Refusal {
            id: self.id,
            reason,
            scheme: peer.scheme,
            client: peer.client,
            status,
            at: wall_clock(),
            duration: self.at.elapsed(),
        }
    }
}

/// Lets a relay that waits for the core have it, between two steps of a connection that cost some time.
///
/// A relay that wakes just after it has run for a while is not eligible at once (EEVDF), and then nobody looks again before
/// the next tick, up to 4 ms later. With these looks in between, the p99 of 200 open sockets during a storm of TLS
/// handshakes fell from 3.6 ms (Linux 6.18, HZ=250, edge at nice 5); one costs less than a microsecond.
fn give_way() {
    std::thread::yield_now();
}

/// For what people read; durations are measured otherwise.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the edge reads the time of day, once per request"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

//! The edge of a core: a connection's life from accept to its tunnel, or to the answer that says why it gets none.
//! Straight-line async code on a monoio runtime, one file a step. It knows HTTP and routing, and no WebSocket frame.
//!
//! ```text
//!  listen ─► accept ─► connection ─► request ─► route ─┬─► upgrade ─► connect ─► forward ─► answer ─► tunnel
//!                          ▲            │         │      └─► call ────► connect ─► forward ─► answer ─► relay
//!                          │            │         │            │          │                    │          │
//!                          └─keep-alive─┴──refuse─┴────────────┴──────────┴────────────────────┴──────────┘
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

mod accept;
mod answer;
mod call;
mod connect;
mod connection;
mod cors;
mod fields;
mod forward;
mod listen;
mod passed;
mod patience;
mod phrase;
mod pool;
mod proxy_header;
mod record;
mod refuse;
mod relay;
mod request;
mod route;
mod stream;
#[cfg(test)]
mod tests;
mod upgrade;
mod watch;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
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
use crate::observe::access_log::{AccessLog, Bytes, Caller, RequestEnd, RequestKind, Upstream};
use crate::observe::metrics::EdgeMetrics;
use crate::observe::request_id::{RequestId, RequestIds};
use crate::observe::series::{Core, Series};
use crate::relay::RelayHandle;
use crate::tls::TlsConfigs;

pub use crate::connections::Connections;
pub(crate) use listen::BACKLOG;
pub use listen::{Listener, bind, bind_again, bind_from};
pub use passed::{Passed, match_up};

use accept::Door;
use call::IdleBackends;
use pool::Pool;
use stream::Scratch;

/// Entries of the runtime's ring: operations that can wait for one submission.
const RING_ENTRIES: u32 = 1024;

/// How often an edge that is to stop looks whether its last requests are done.
const STOP_CHECK: Duration = Duration::from_millis(10);

/// What is served, and how: all that a reload replaces.
pub struct Generation {
    pub config: Arc<Config>,
    pub catalog: Arc<Catalog>,
    pub tls: TlsConfigs,
}

/// What all edges of the process share.
pub struct Shared {
    pub generation: Generation,
    pub resolver: Resolver,
    pub access_log: AccessLog,
    pub connections: Connections,
}

/// Makes the edge of worker `core`: its sockets listen when this returns, and are served once it runs.
pub fn prepare(
    core: Core,
    shared: &Shared,
    listeners: &[Listener],
    relay: RelayHandle,
    metrics: Arc<EdgeMetrics>,
) -> io::Result<(EdgeHandle, Prepared)> {
    let mut doors = Vec::new();
    for listener in listeners {
        doors.extend(listener.open_for_worker(core.index, core.of)?);
    }
    let (wake, woken) = StdUnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let (commands, told) = channel();
    let on_their_way = Arc::new(AtomicU64::new(0));
    let newcomers = Arc::new(AtomicU64::new(0));
    let prepared = Prepared {
        core,
        doors,
        mailbox: Mailbox { told, woken },
        on_their_way: Arc::clone(&on_their_way),
        newcomers: Arc::clone(&newcomers),
        live: Live::new(&shared.generation),
        resolver: shared.resolver.clone(),
        log: shared.access_log.clone(),
        ids: RequestIds::new(u16::try_from(core.index).unwrap_or(u16::MAX)),
        connections: shared.connections.clone(),
        relay,
        metrics,
    };
    let handle = EdgeHandle {
        commands,
        wake: Arc::new(wake),
        on_their_way,
        newcomers,
    };
    Ok((handle, prepared))
}

/// A listening socket of one worker, and what it means for those who come by it.
#[derive(Debug)]
pub struct Opened(Socket, Door);

/// What changes for one edge.
pub struct Change {
    live: Live,
    /// Listeners that come, and the addresses of those that go; one that changes does both.
    opened: Vec<Opened>,
    closed: Vec<SocketAddr>,
}

impl Change {
    pub fn new(generation: &Generation, opened: Vec<Opened>, closed: Vec<SocketAddr>) -> Self {
        Self {
            live: Live::new(generation),
            opened,
            closed,
        }
    }
}

/// What an edge can be told.
enum Command {
    Change(Box<Change>),
    StopAccepting,
    Stop,
}

/// The way to the edge of one core.
#[derive(Clone, Debug)]
pub struct EdgeHandle {
    commands: Sender<Command>,
    wake: Arc<StdUnixStream>,
    on_their_way: Arc<AtomicU64>,
    newcomers: Arc<AtomicU64>,
}

impl EdgeHandle {
    /// Serves something else from now on. Requests that are being served keep their API.
    pub fn change(&self, change: Change) {
        self.tell(Command::Change(Box::new(change)));
    }

    /// Closes the listeners. Requests that are being served are served to their end, and their tunnels handed over.
    pub fn stop_accepting(&self) {
        self.tell(Command::StopAccepting);
    }

    /// Ends the edge with all its connections.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Requests that have not got all of their answer: calls, and what may still become a tunnel.
    pub fn on_their_way(&self) -> u64 {
        self.on_their_way.load(Relaxed)
    }

    /// Listeners that are open or being emptied, and clients whose first request has not been answered.
    pub fn newcomers(&self) -> u64 {
        self.newcomers.load(Relaxed)
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
    core: Core,
    doors: Vec<Opened>,
    mailbox: Mailbox,
    on_their_way: Arc<AtomicU64>,
    newcomers: Arc<AtomicU64>,
    live: Live,
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
        let (opened, mailbox, edge) = self.into_edge();
        let mut doors = Doors::default();
        for opened in opened {
            doors.open(&edge, opened)?;
        }
        ready();
        let mut mailbox = Inbox::new(mailbox)?;
        loop {
            match mailbox.next().await {
                Command::Change(change) => edge.change(*change, &mut doors),
                Command::StopAccepting => break,
                Command::Stop => return Ok(()),
            }
        }
        edge.stopping.set(true);
        drop(doors);
        edge.finish(&mut mailbox).await;
        Ok(())
    }

    fn into_edge(self) -> (Vec<Opened>, Mailbox, Rc<Edge>) {
        let limits = &self.live.config.limits;
        let pool = Pool::new(
            &limits.head,
            limits.early_bytes_max,
            Arc::clone(&self.metrics),
        );
        let edge = Edge {
            core: self.core,
            pool: Rc::new(pool),
            scratch: Scratch::default(),
            idle_backends: IdleBackends::default(),
            live: RefCell::new(Rc::new(self.live)),
            resolver: self.resolver,
            log: self.log,
            ids: RefCell::new(self.ids),
            connections: self.connections,
            relay: self.relay,
            metrics: self.metrics,
            on_their_way: self.on_their_way,
            newcomers: self.newcomers,
            turn: Cell::new(0),
            idle: Cell::new(0),
            stopping: Cell::new(false),
        };
        (self.doors, self.mailbox, Rc::new(edge))
    }
}

/// The listeners of one edge, each by its address with what stops it: dropped, it closes after all that wait are let in.
#[derive(Default)]
struct Doors(Vec<(SocketAddr, oneshot::Sender<()>)>);

impl Doors {
    fn open(&mut self, edge: &Rc<Edge>, Opened(socket, door): Opened) -> io::Result<()> {
        let (stop, stopped) = oneshot::channel();
        let address = door.address;
        let waiting = InProgress::newcomer(edge);
        let listener = accept::listener(socket)?;
        let accepting = accept::accept(Rc::clone(edge), listener, door, stopped);
        monoio::spawn(async move {
            accepting.await;
            // Whoever waited at the listener is in.
            drop(waiting);
        });
        self.0.push((address, stop));
        Ok(())
    }

    fn close(&mut self, address: SocketAddr) {
        self.0.retain(|(open, _)| *open != address);
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

/// A generation as one edge has it.
struct Live {
    config: Arc<Config>,
    /// A request keeps the API that it was routed to.
    catalog: Arc<Catalog>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Live {
    fn new(generation: &Generation) -> Self {
        // Sessions with backends are remembered behind a lock: each edge has its own, so that nobody waits for it.
        let mut client = ClientConfig::clone(&generation.tls.client);
        client.resumption = Resumption::default();
        Self {
            config: Arc::clone(&generation.config),
            catalog: Arc::clone(&generation.catalog),
            server: Arc::clone(&generation.tls.server),
            client: Arc::new(client),
        }
    }
}

/// What the connections of one core work with.
struct Edge {
    core: Core,
    live: RefCell<Rc<Live>>,
    resolver: Resolver,
    log: AccessLog,
    ids: RefCell<RequestIds>,
    connections: Connections,
    relay: RelayHandle,
    metrics: Arc<EdgeMetrics>,
    on_their_way: Arc<AtomicU64>,
    newcomers: Arc<AtomicU64>,
    pool: Rc<Pool>,
    scratch: Scratch,
    idle_backends: IdleBackends,
    /// Counts requests, for whatever is used in turn.
    turn: Cell<usize>,
    /// Connections between two requests.
    idle: Cell<u64>,
    stopping: Cell<bool>,
}

impl Edge {
    /// What is served now.
    fn live(&self) -> Rc<Live> {
        Rc::clone(&self.live.borrow())
    }

    fn change(self: &Rc<Self>, change: Change, doors: &mut Doors) {
        let Change {
            live,
            opened,
            closed,
        } = change;
        if live.config.backends != self.live().config.backends {
            // They may have been made under other rules.
            self.idle_backends.clear(self);
        }
        drop(self.live.replace(Rc::new(live)));
        for address in closed {
            doors.close(address);
        }
        for opened in opened {
            let address = opened.1.address;
            if let Err(error) = doors.open(self, opened) {
                tracing::error!(%address, %error, "a listener can't be watched on this core");
            }
        }
    }

    fn new_id(&self) -> RequestId {
        self.ids.borrow_mut().draw()
    }

    fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// Waits for the listeners to be emptied and for the requests that are being served; who is between two requests is not
    /// waited for.
    async fn finish(&self, inbox: &mut Inbox) {
        let busy = || {
            let newcomers = self.newcomers.load(Relaxed);
            newcomers > 0 || self.metrics.connections.value() > self.idle.get()
        };
        while busy() {
            let check = crate::race::race(inbox.next(), sleep(STOP_CHECK)).await;
            if let crate::race::First::Work(Command::Stop) = check {
                return;
            }
        }
    }

    /// Counts an opening handshake that became a tunnel, or did not; `series` is where its API is known.
    fn count_handshake(&self, series: Option<&Series>, result: Result<(), CloseReason>) {
        match result {
            Ok(()) => self.metrics.upgraded.add(1),
            Err(reason) => self.metrics.not_upgraded.count(reason),
        }
        if let Some(counts) = series.and_then(|series| series.edge(self.core)) {
            counts.count_handshake(result, wall_clock());
        }
    }

    /// Counts and logs a request that got no tunnel.
    fn refused(&self, end: &RequestEnd<'_>) {
        self.metrics.refused.count(end.reason);
        self.log_end(end);
    }

    /// In both logs, by the same id.
    fn log_end(&self, end: &RequestEnd<'_>) {
        tracing::debug!(id = %end.id, reason = ?end.reason, status = end.status, "a request has ended");
        self.log.request(end);
    }
}

/// Counts what a drain waits for.
struct InProgress(Arc<AtomicU64>);

impl InProgress {
    /// A request that has not got all of its answer.
    fn new(edge: &Edge) -> Self {
        Self::count(&edge.on_their_way)
    }

    /// Somebody who may not have been able to ask yet.
    fn newcomer(edge: &Edge) -> Self {
        Self::count(&edge.newcomers)
    }

    fn count(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A client's connection as it was accepted, or as its PROXY protocol header says it is.
#[derive(Clone, Copy, Debug)]
struct Peer {
    client: std::net::SocketAddr,
    /// The address it connected to.
    inbound: std::net::SocketAddr,
    scheme: Scheme,
    /// By whom the addresses are known.
    origin: Origin,
}

/// Where the addresses of a connection come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Kernel,
    ProxyHeader,
}

impl Peer {
    /// The client as a PROXY protocol header has it.
    fn introduced(&self) -> Option<std::net::IpAddr> {
        (self.origin == Origin::ProxyHeader).then(|| self.client.ip().to_canonical())
    }
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

    /// The end of what was not understood, or not even begun.
    fn refusal(self, peer: &Peer, reason: CloseReason, status: Option<u16>) -> RequestEnd<'static> {
        self.end(peer, RequestKind::Refusal, reason, status)
    }

    fn end(
        self,
        peer: &Peer,
        kind: RequestKind,
        reason: CloseReason,
        status: Option<u16>,
    ) -> RequestEnd<'static> {
        RequestEnd {
            kind,
            id: self.id,
            reason,
            scheme: peer.scheme,
            client: peer.client,
            caller: Caller {
                ip: peer.client.ip().to_canonical(),
                introduced: peer.introduced(),
            },
            asked: None,
            api: None,
            upstream: Upstream::default(),
            status,
            bytes: Bytes::default(),
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

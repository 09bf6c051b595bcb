//! The admin listener: HTTP over a unix socket, and over loopback for those who have a token. For the supervisor's probes,
//! the scraper, the commands, and people with a browser. Never on the public side.
//!
//! Parsing is monoio-http's. Around it stands what it leaves to its user: a limit for size, time and connections, an
//! answer to what cannot be parsed, and answers written here, since its encoder gives HEAD a wrong length. A connection
//! serves one request, which costs this box's peers next to nothing and settles keep-alive, pipelining and unread bodies.
#![forbid(unsafe_code)]

mod access;
mod apis;
mod configuration;
mod http;
mod operations;
mod page;
mod query;
mod routes;
mod socket;
mod state;
mod tunnels;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monoio::io::stream::Stream;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Split, Splitable};
use monoio::net::{TcpListener, UnixListener};
use monoio::time::{sleep, timeout};

use self::access::Door;
use self::http::{Answer, Asked, Head, Refusal, discard, now, read_request};
pub use self::operations::{Operations, Request};
use self::page::Page;
use self::query::{Query, choice, none, unknown};
use self::routes::Route;
use self::socket::SocketFile;
pub use self::socket::{AdminError, AdminSocket};
use super::in_force::InForce;
use super::{Readiness, State};
use crate::config;
use crate::observe::registry::{self, Detail, Registry};

/// For a request to come, and for its answer to go. The peer is on this machine.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// At each of the two doors, so that nobody on loopback keeps those out who may open the socket.
const CONNECTIONS_MAX: usize = 16;
/// How often an address that another process listens on is tried.
const AWAITED_EVERY: Duration = Duration::from_millis(500);

/// What the admin listener tells of.
#[derive(Debug)]
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    operations: Operations,
    in_force: Arc<InForce>,
    page: Page,
    /// What rates are counted against: it never jumps.
    began: Instant,
}

/// Where the admin listener is asked.
#[derive(Debug, Default)]
pub struct Doors {
    pub socket: Option<AdminSocket>,
    pub loopback: Option<Loopback>,
}

/// The listener on loopback.
#[derive(Debug)]
pub enum Loopback {
    Open(StdTcpListener),
    /// Another process still listens there.
    Awaited(SocketAddr),
}

impl Doors {
    /// Opens what the configuration names, and takes the place of a socket that nobody listens on any more.
    pub fn open(config: &config::Admin) -> Result<Self, AdminError> {
        let listen = |address: SocketAddr| {
            let bound = StdTcpListener::bind(address).map(Loopback::Open);
            bound.map_err(|error| AdminError::Listen(address, error))
        };
        let socket = config.socket.as_deref();
        Ok(Self {
            socket: socket.map(AdminSocket::bind).transpose()?,
            loopback: config.listen.map(listen).transpose()?,
        })
    }

    /// Opens beside a process that serves there already, and takes its place when `step_in` says so. Its address on loopback
    /// is free only once it has gone.
    pub fn open_beside(config: &config::Admin) -> Result<Self, AdminError> {
        let socket = config.socket.as_deref();
        Ok(Self {
            socket: socket.map(AdminSocket::bind_beside).transpose()?,
            loopback: config.listen.map(Loopback::Awaited),
        })
    }

    /// Takes the path of the socket.
    pub fn step_in(mut self) -> Result<Self, AdminError> {
        self.socket = self.socket.map(AdminSocket::step_in).transpose()?;
        Ok(self)
    }

    /// Where loopback is listened on: the port may have been for the kernel to choose.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.loopback.as_ref()? {
            Loopback::Open(listener) => listener.local_addr().ok(),
            Loopback::Awaited(_) => None,
        }
    }

    fn is_none(&self) -> bool {
        self.socket.is_none() && self.loopback.is_none()
    }
}

/// Keeps the socket's file; the connections live as long as the runtime.
#[must_use = "the socket's file is removed when this is dropped"]
#[derive(Debug)]
pub struct Serving(#[expect(dead_code, reason = "held for its drop")] Option<SocketFile>);

impl Admin {
    #[expect(
        clippy::disallowed_methods,
        reason = "the zero of what is told as uptime"
    )]
    pub fn new(
        registry: Registry,
        readiness: Readiness,
        operations: Operations,
        in_force: Arc<InForce>,
    ) -> Self {
        Self {
            registry,
            readiness,
            operations,
            in_force,
            page: Page::new(),
            began: Instant::now(),
        }
    }

    /// Starts to accept, inside the runtime of the control thread. Without a door nobody will ask.
    pub fn serve(self: Rc<Self>, doors: Doors) -> io::Result<Option<Serving>> {
        if doors.is_none() {
            return Ok(None);
        }
        match doors.loopback {
            None => {}
            Some(Loopback::Open(listener)) => {
                let listener = TcpListener::from_std(listener)?;
                monoio::spawn(Rc::clone(&self).accept(listener, Door::Loopback));
            }
            Some(Loopback::Awaited(address)) => {
                monoio::spawn(Rc::clone(&self).accept_later(address));
            }
        }
        let Some(socket) = doors.socket else {
            return Ok(Some(Serving(None)));
        };
        let listener = UnixListener::from_std(socket.listener)?;
        monoio::spawn(self.accept(listener, Door::Socket));
        Ok(Some(Serving(Some(socket.file))))
    }

    /// Listens on `address` as soon as nobody else does.
    async fn accept_later(self: Rc<Self>, address: SocketAddr) {
        let listener = loop {
            let listener = StdTcpListener::bind(address).and_then(TcpListener::from_std);
            match listener {
                Ok(listener) => break listener,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    sleep(AWAITED_EVERY).await;
                }
                Err(error) => {
                    tracing::error!(%address, %error, "admin.listen cannot be listened on");
                    return;
                }
            }
        };
        self.accept(listener, Door::Loopback).await;
    }

    async fn accept<L, S, A>(self: Rc<Self>, mut listener: L, door: Door)
    where
        L: Stream<Item = io::Result<(S, A)>>,
        S: AsyncReadRent + AsyncWriteRent + Split + 'static,
    {
        let connections = Rc::new(Cell::new(0));
        while let Some(accepted) = listener.next().await {
            match accepted {
                Ok((stream, _)) if connections.get() < CONNECTIONS_MAX => {
                    connections.set(connections.get() + 1);
                    let (admin, connections) = (Rc::clone(&self), Rc::clone(&connections));
                    monoio::spawn(async move {
                        if let Err(error) = admin.converse(stream, door).await {
                            tracing::debug!(%error, "admin connection failed");
                        }
                        connections.set(connections.get() - 1);
                    });
                }
                // Closed unanswered: sixteen that stall are no reason to take a seventeenth.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse<S>(&self, stream: S, door: Door) -> io::Result<()>
    where
        S: AsyncReadRent + AsyncWriteRent + Split,
    {
        let (mut reader, mut writer) = stream.into_split();
        let answer = match timeout(PEER_TIMEOUT, read_request(&mut reader)).await? {
            Asked::Nothing => return Ok(()),
            Asked::Request(head) => self.answer(door, &head).await,
            Asked::TooMuch => Refusal(
                431,
                format!("a request's head has at most {}", http::head_limit()),
            )
            .answer(),
            Asked::Garbage => Refusal(400, "this is no HTTP/1 request".to_owned()).answer(),
        };
        let answering = async {
            let (written, _) = writer.write_all(answer.encode(now())).await;
            written?;
            writer.shutdown().await?;
            discard(&mut reader).await
        };
        timeout(PEER_TIMEOUT, answering).await?
    }

    async fn answer(&self, door: Door, head: &Head) -> Answer {
        let found = routes::find(&head.path);
        let token = self.in_force.config().admin.token.clone();
        let route = found.map(|found| found.route);
        let refused = access::refused(door, head, route, token.as_ref());
        let mut answer = match (refused, found) {
            (Some(refused), _) => refused,
            (None, None) => Refusal(404, format!("there is no {}", head.path)).answer(),
            (None, Some(found)) if !found.allows(&head.method) => Answer::not_allowed(found.allow),
            (None, Some(found)) => {
                let outcome = self.tell(found.route, found.item, head).await;
                outcome.unwrap_or_else(Refusal::answer)
            }
        };
        answer.bodiless = head.method == "HEAD";
        answer
    }

    async fn tell(&self, route: Route, item: &str, head: &Head) -> Result<Answer, Refusal> {
        match route {
            Route::Page => Ok(self.page.answer()),
            Route::Live => Ok(Answer::text(200, "ok")),
            Route::Ready => Ok(match self.readiness.state() {
                State::Ready => Answer::text(200, "ready"),
                State::Starting => Answer::text(503, "starting"),
                State::Stopping => Answer::text(503, "stopping"),
            }),
            Route::Metrics => {
                let detail = per_core(&head.query)?;
                let mut body = String::with_capacity(64 * 1024);
                self.registry.render(detail, &mut body);
                Ok(Answer::new(200, registry::CONTENT_TYPE, body))
            }
            Route::Description => {
                let description = routes::DESCRIPTION.to_owned();
                Ok(Answer::new(200, "application/json", description))
            }
            Route::State => none(&head.query).map(|()| self.state()),
            Route::Config => none(&head.query).map(|()| self.configuration()),
            Route::Apis => self.apis(&head.query),
            Route::Backends => self.backends(&head.query),
            Route::Snapshot => {
                none(&head.query)?;
                let mut snapshot = self.in_force.snapshot();
                self.operations.count(&mut snapshot).await;
                Ok(Answer::json(200, &snapshot))
            }
            Route::Tunnels | Route::Tunnel | Route::Drains | Route::Drain | Route::Reload => {
                let (method, query) = (head.method.as_str(), &head.query);
                self.operations.answer(route, method, item, query).await
            }
        }
    }
}

/// How finely a scrape tells the workers apart.
fn per_core(query: &Query) -> Result<Detail, Refusal> {
    match query {
        [] => Ok(Detail::Sums),
        [(name, value)] if name == "per_core" => {
            choice(name, value, &[("0", Detail::Sums), ("1", Detail::Cores)])
        }
        [(name, _), ..] => Err(unknown(name, "per_core")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use monoio::{IoUringDriver, RuntimeBuilder};

    use super::*;
    use crate::catalog::Catalog;
    use crate::config::{Config, Running};
    use crate::control::drains::Drains;
    use crate::observe::access_log::AccessLog;
    use crate::observe::book::Book;
    use crate::observe::registry::{ProcessFacts, Sources};

    fn admin(readiness: Readiness) -> Admin {
        let facts = ProcessFacts {
            version: "0",
            started_at: UNIX_EPOCH,
            connections_max: 1,
            relay_buffer_bytes: 1,
            relay_spill_bytes_max: 1,
        };
        let running = Running::new(Arc::new(Config::base()));
        let mut registry = Registry::new(Sources {
            facts,
            access_log: AccessLog::off().0,
            messages: None,
            reloads: Arc::default(),
            dns: Arc::default(),
            running: running.clone(),
            book: Book::default(),
        });
        registry.add_worker(0, Arc::default(), Arc::default());
        let (requests, _) = futures_channel::mpsc::channel(1);
        let operations = Operations::new(Vec::new(), requests, Drains::default());
        let in_force = InForce::new(None, running, Arc::new(Catalog::default()), 0);
        Admin::new(registry, readiness, operations, Arc::new(in_force))
    }

    /// Serves on a socket of its own while `client` runs on another thread.
    fn with_admin<T: Send + 'static>(
        readiness: Readiness,
        client: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(64)
            .enable_timer()
            .build()
            .unwrap();
        let at = path.clone();
        let result = runtime.block_on(async move {
            let doors = Doors {
                socket: Some(socket),
                loopback: None,
            };
            let serving = Rc::new(admin(readiness)).serve(doors).unwrap();
            let (done, finished) = futures_channel::oneshot::channel();
            let client = std::thread::spawn(move || {
                let result = client(&at);
                done.send(()).unwrap();
                result
            });
            assert!(finished.await.is_ok());
            drop(serving);
            client.join().unwrap()
        });
        assert!(!path.exists(), "the socket's file is removed");
        result
    }

    fn ask(path: &Path, request: &[u8]) -> (String, String) {
        let mut stream = net::UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn check(request: &'static str, status: &str, body: &str) {
        let (head, found) = with_admin(Readiness::default(), move |path| {
            ask(path, request.as_bytes())
        });
        assert!(head.starts_with(status), "{request:?}: {head}");
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert!(head.contains("\r\nDate: "), "{head}");
        assert_eq!(found, body, "{request:?}");
    }

    #[test]
    fn answers_by_path_and_method() {
        check(
            "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK",
            "ok\n",
        );
        check("GET /livez?x=1 HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", "ok\n");
        check(
            "GET /nothing HTTP/1.1\r\n\r\n",
            "HTTP/1.1 404 ",
            "{\"error\":\"there is no /nothing\"}\n",
        );
        check(
            "GET /readyz HTTP/1.1\r\n\r\n",
            "HTTP/1.1 503 ",
            "starting\n",
        );
        check(
            "POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 405 ",
            "{\"error\":\"this is for GET, HEAD\"}\n",
        );
        check(
            "nonsense\r\n\r\n",
            "HTTP/1.1 400 ",
            "{\"error\":\"this is no HTTP/1 request\"}\n",
        );
        check("HEAD /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK", "");
    }

    #[test]
    fn head_tells_the_length_that_get_would_have() {
        let (head, _) = with_admin(Readiness::default(), |path| {
            ask(path, b"HEAD /livez HTTP/1.1\r\n\r\n")
        });
        assert!(head.contains("\r\nContent-Length: 3\r\n"), "{head}");
    }

    #[test]
    fn readiness_follows_the_state() {
        for (state, status) in [(State::Ready, "200"), (State::Stopping, "503")] {
            let readiness = Readiness::default();
            readiness.set(state);
            let (head, _) =
                with_admin(readiness, |path| ask(path, b"GET /readyz HTTP/1.1\r\n\r\n"));
            assert_eq!(head.split(' ').nth(1), Some(status));
        }
    }

    #[test]
    fn metrics_are_prometheus_text() {
        let (head, body) = with_admin(Readiness::default(), |path| {
            ask(path, b"GET /metrics HTTP/1.1\r\n\r\n")
        });
        assert!(
            head.contains("Content-Type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(body.contains("\nringgate_tunnels 0\n"), "{body}");
    }

    #[test]
    fn large_heads_are_refused() {
        let (head, _) = with_admin(Readiness::default(), |path| {
            let mut request = b"GET /livez HTTP/1.1\r\nA: ".to_vec();
            request.resize(64 * 1024, b'a');
            ask(path, &request)
        });
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");

        let (head, _) = with_admin(Readiness::default(), |path| {
            let fields = "a: b\r\n".repeat(97);
            ask(
                path,
                format!("GET /livez HTTP/1.1\r\n{fields}\r\n").as_bytes(),
            )
        });
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }

    #[test]
    fn stalled_connections_are_bounded() {
        with_admin(Readiness::default(), |path| {
            let stalled: Vec<_> = (0..CONNECTIONS_MAX)
                .map(|_| net::UnixStream::connect(path).unwrap())
                .collect();
            let mut refused = net::UnixStream::connect(path).unwrap();
            refused
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
            drop(stalled);
            // Room comes back as soon as the others' ends are seen.
            for _ in 0..1000 {
                let mut stream = net::UnixStream::connect(path).unwrap();
                let asked = stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n");
                let mut text = String::new();
                if asked.is_ok() && stream.read_to_string(&mut text).is_ok() && !text.is_empty() {
                    return;
                }
            }
            panic!("still refused");
        });
    }
}

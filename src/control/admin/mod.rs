//! The admin listener: HTTP over a unix socket, for the supervisor's probes and the scraper. Never on the public side.
//!
//! Parsing is monoio-http's. Around it stands what it leaves to its user: a limit for size, time and connections, an
//! answer to what cannot be parsed, and answers written here, since its encoder gives HEAD a wrong length. A connection
//! serves one request, which costs a unix socket nothing and settles keep-alive, pipelining and unread bodies.
#![forbid(unsafe_code)]

mod http;
mod operations;
mod socket;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{UnixListener, UnixStream};
use monoio::time::{sleep, timeout};

use self::http::{Answer, Asked, discard, now, read_request};
pub use self::operations::{Operations, Request};
use self::socket::SocketFile;
pub use self::socket::{AdminError, AdminSocket};
use super::{Readiness, State};
use crate::observe::registry::{self, Detail, Registry};

/// For a request to come, and for its answer to go. The peer is on this machine.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 16;

/// What the admin socket tells of.
#[derive(Debug)]
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    operations: Operations,
    connections: Cell<usize>,
}

/// Keeps the socket's file; the connections live as long as the runtime.
#[must_use = "the socket's file is removed when this is dropped"]
#[derive(Debug)]
pub struct Serving(#[expect(dead_code, reason = "held for its drop")] SocketFile);

impl Admin {
    pub fn new(registry: Registry, readiness: Readiness, operations: Operations) -> Self {
        Self {
            registry,
            readiness,
            operations,
            connections: Cell::new(0),
        }
    }

    /// Starts to accept, inside the runtime of the control thread.
    pub fn serve(self: Rc<Self>, socket: AdminSocket) -> io::Result<Serving> {
        let listener = UnixListener::from_std(socket.listener)?;
        monoio::spawn(self.accept(listener));
        Ok(Serving(socket.file))
    }

    async fn accept(self: Rc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if self.connections.get() < CONNECTIONS_MAX => {
                    self.connections.set(self.connections.get() + 1);
                    monoio::spawn(Rc::clone(&self).connection(stream));
                }
                // Closed unanswered: sixteen that stall are no reason to take a seventeenth.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "admin socket cannot accept");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Rc<Self>, stream: UnixStream) {
        if let Err(error) = self.converse(stream).await {
            tracing::debug!(%error, "admin connection failed");
        }
        self.connections.set(self.connections.get() - 1);
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (mut reader, mut writer) = stream.into_split();
        let answer = match timeout(PEER_TIMEOUT, read_request(&mut reader)).await? {
            Asked::Nothing => return Ok(()),
            Asked::Request {
                method,
                path,
                query,
            } => {
                let operation = self.operations.answer(&method, &path, &query).await;
                let mut answer = operation.unwrap_or_else(|| self.answer(&method, &path, &query));
                answer.bodiless = method == "HEAD";
                answer
            }
            Asked::TooMuch => Answer::text(431, "Request Header Fields Too Large"),
            Asked::Garbage => Answer::text(400, "Bad Request"),
        };
        let answering = async {
            let (written, _) = writer.write_all(answer.encode(now())).await;
            written?;
            writer.shutdown().await?;
            discard(&mut reader).await
        };
        timeout(PEER_TIMEOUT, answering).await?
    }

    fn answer(&self, method: &str, path: &str, query: &[(String, String)]) -> Answer {
        match (method, path) {
            ("GET" | "HEAD", "/livez") => Answer::text(200, "ok"),
            ("GET" | "HEAD", "/readyz") => match self.readiness.state() {
                State::Ready => Answer::text(200, "ready"),
                State::Starting => Answer::text(503, "starting"),
                State::Stopping => Answer::text(503, "stopping"),
            },
            ("GET" | "HEAD", "/metrics") => {
                let detail = match query {
                    [] => Detail::Sums,
                    [(name, value)] if name == "per_core" && value == "1" => Detail::Cores,
                    _ => return Answer::text(400, "known: per_core=1"),
                };
                let mut body = String::with_capacity(64 * 1024);
                self.registry.render(detail, &mut body);
                Answer {
                    content_type: registry::CONTENT_TYPE,
                    ..Answer::new(200, body)
                }
            }
            (_, "/livez" | "/readyz" | "/metrics") => Answer::text(405, "Method Not Allowed"),
            _ => Answer::text(404, "Not Found"),
        }
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
    use crate::config::{Config, Running};
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
        let mut registry = Registry::new(Sources {
            facts,
            access_log: AccessLog::off().0,
            messages: None,
            reloads: Arc::default(),
            dns: Arc::default(),
            running: Running::new(Arc::new(Config::base())),
            book: Book::default(),
        });
        registry.add_worker(0, Arc::default(), Arc::default());
        let (requests, _) = futures_channel::mpsc::channel(1);
        Admin::new(
            registry,
            readiness,
            Operations::new(
                Vec::new(),
                requests,
                crate::control::drains::Drains::default(),
                crate::control::Current::default(),
            ),
        )
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
            let serving = Rc::new(admin(readiness)).serve(socket).unwrap();
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
            "Not Found\n",
        );
        check(
            "GET /readyz HTTP/1.1\r\n\r\n",
            "HTTP/1.1 503 ",
            "starting\n",
        );
        check(
            "POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 405 ",
            "Method Not Allowed\n",
        );
        check("nonsense\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n");
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

//! The admin listener: HTTP over a unix socket, for the supervisor's probes and the scraper. Never on the public side.
//!
//! Parsing is monoio-http's. Around it stands what it leaves to its user: a limit for size, time and connections, an
//! answer to what cannot be parsed, and answers written here, since its encoder gives HEAD a wrong length. A connection
//! serves one request, which costs a unix socket nothing and settles keep-alive, pipelining and unread bodies.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use monoio::buf::{IoBufMut, IoVecBufMut};
use monoio::io::stream::Stream;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{UnixListener, UnixStream};
use monoio::time::{sleep, timeout};
use monoio::{BufResult, io::OwnedReadHalf};
use monoio_http::h1::codec::decoder::RequestDecoder;

use super::{Readiness, State};
use crate::observe::registry::{self, Registry};
use crate::observe::utc::HttpDate;

/// A request head with all its fields; a scraper's has some 300 bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Accept to close. The peer is on this machine.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 16;
const BACKLOG: i32 = 64;
/// Owner and group: the group is how an operator lets a scraper in.
const MODE: u32 = 0o660;

/// Why there is no admin socket.
#[derive(Debug)]
pub enum AdminError {
    /// Another process answers on it.
    InUse(PathBuf),
    /// The path names something that is no socket, and is not ours to remove.
    NotASocket(PathBuf),
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "admin socket {}: another process listens there; stop it or choose another path",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "admin socket {}: the path names a file that is no socket; remove it or choose another path",
                path.display()
            ),
            Self::Io(path, error) => write!(f, "admin socket {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for AdminError {}

/// A bound unix socket, whose file goes when this does.
#[derive(Debug)]
pub struct AdminSocket {
    listener: net::UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode, to tell the file from a successor's.
    identity: (u64, u64),
}

impl AdminSocket {
    /// Binds `path`, and takes the place of a socket that nobody listens on any more.
    pub fn bind(path: &Path) -> Result<Self, AdminError> {
        let failed = |error| AdminError::Io(path.to_owned(), error);
        remove_stale(path)?;
        let listener = listen(path).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity,
        };
        Ok(Self { listener, file })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "admin socket not removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let failed = |error| AdminError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match net::UnixStream::connect(path) {
        Ok(_) => Err(AdminError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn listen(path: &Path) -> io::Result<net::UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // The file is made with the socket's own mode, less the umask: at no moment is it open to others.
    let socket = File::from(OwnedFd::from(socket));
    socket.set_permissions(Permissions::from_mode(MODE))?;
    let socket = socket2::Socket::from(OwnedFd::from(socket));
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    Ok(net::UnixListener::from(OwnedFd::from(socket)))
}

/// What the admin socket tells of.
#[derive(Debug)]
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    connections: Cell<usize>,
}

/// Keeps the socket's file; the connections live as long as the runtime.
#[must_use = "the socket's file is removed when this is dropped"]
#[derive(Debug)]
pub struct Serving(#[expect(dead_code, reason = "held for its drop")] SocketFile);

impl Admin {
    pub fn new(registry: Registry, readiness: Readiness) -> Self {
        Self {
            registry,
            readiness,
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
        match timeout(CONNECTION_TIMEOUT, self.converse(stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "admin connection failed"),
            Err(_) => tracing::debug!("admin connection timed out"),
        }
        self.connections.set(self.connections.get() - 1);
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (mut reader, mut writer) = stream.into_split();
        let answer = match read_request(&mut reader).await {
            Asked::Nothing => return Ok(()),
            Asked::Request { method, path } => {
                let mut answer = self.answer(&method, &path);
                answer.bodiless = method == "HEAD";
                answer
            }
            Asked::TooMuch => Answer::text(431, "Request Header Fields Too Large"),
            Asked::Garbage => Answer::text(400, "Bad Request"),
        };
        let (written, _) = writer.write_all(answer.encode(now())).await;
        written?;
        writer.shutdown().await?;
        discard(&mut reader).await
    }

    fn answer(&self, method: &str, path: &str) -> Answer {
        match (method, path) {
            ("GET" | "HEAD", "/livez") => Answer::text(200, "ok"),
            ("GET" | "HEAD", "/readyz") => match self.readiness.state() {
                State::Ready => Answer::text(200, "ready"),
                State::Starting => Answer::text(503, "starting"),
                State::Stopping => Answer::text(503, "stopping"),
            },
            ("GET" | "HEAD", "/metrics") => {
                let mut body = String::with_capacity(16 * 1024);
                self.registry.render(&mut body);
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

enum Asked {
    /// The peer left without a word: a probe of the socket.
    Nothing,
    Request {
        method: String,
        path: String,
    },
    TooMuch,
    Garbage,
}

async fn read_request(reader: &mut OwnedReadHalf<UnixStream>) -> Asked {
    let left = Rc::new(Cell::new(REQUEST_BYTES_MAX));
    let mut decoder = RequestDecoder::new(Bounded {
        inner: reader,
        left: Rc::clone(&left),
    });
    match decoder.next().await {
        None => Asked::Nothing,
        Some(Ok(request)) => Asked::Request {
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
        },
        Some(Err(_)) if left.get() == 0 => Asked::TooMuch,
        Some(Err(_)) => Asked::Garbage,
    }
}

/// Reads on until the peer has closed: closing before would reset it, and might take the answer from it.
async fn discard(reader: &mut OwnedReadHalf<UnixStream>) -> io::Result<()> {
    let mut buf = vec![0; 4096];
    for _ in 0..16 {
        let (read, returned) = reader.read(buf).await;
        if read? == 0 {
            return Ok(());
        }
        buf = returned;
    }
    Ok(())
}

/// A reader that gives up after so many bytes. The last read may go beyond by what the decoder asks for at once.
struct Bounded<'a> {
    inner: &'a mut OwnedReadHalf<UnixStream>,
    left: Rc<Cell<usize>>,
}

impl Bounded<'_> {
    fn take(&self, read: &io::Result<usize>) {
        if let Ok(n) = read {
            self.left.set(self.left.get().saturating_sub(*n));
        }
    }

    fn exhausted(&self) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::FileTooLarge))
    }
}

impl AsyncReadRent for Bounded<'_> {
    async fn read<T: IoBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        if self.left.get() == 0 {
            return (self.exhausted(), buf);
        }
        let (read, buf) = self.inner.read(buf).await;
        self.take(&read);
        (read, buf)
    }

    async fn readv<T: IoVecBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        if self.left.get() == 0 {
            return (self.exhausted(), buf);
        }
        let (read, buf) = self.inner.readv(buf).await;
        self.take(&read);
        (read, buf)
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    /// The answer to HEAD: the length of the body, and no body (RFC 9110 §9.3.2).
    bodiless: bool,
}

impl Answer {
    fn new(status: u16, body: String) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body,
            bodiless: false,
        }
    }

    fn text(status: u16, text: &str) -> Self {
        Self::new(status, format!("{text}\n"))
    }

    fn encode(&self, now: SystemTime) -> Vec<u8> {
        let mut text = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n",
            self.status,
            reason_phrase(self.status),
            HttpDate(now),
            self.content_type,
            self.body.len(),
        );
        // RFC 9110 §15.5.6: a 405 says what would be allowed.
        if self.status == 405 {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        if !self.bodiless {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the admin API reads the time of day, once per answer"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use monoio::{IoUringDriver, RuntimeBuilder};

    use super::*;
    use crate::observe::access_log::AccessLog;
    use crate::observe::registry::ProcessFacts;

    fn admin(readiness: Readiness) -> Admin {
        let facts = ProcessFacts {
            version: "0",
            started_at: UNIX_EPOCH,
            connections_max: 1,
            relay_buffer_bytes: 1,
            relay_spill_bytes_max: 1,
        };
        let mut registry = Registry::new(facts, AccessLog::off().0);
        registry.add_worker(Arc::default(), Arc::default());
        Admin::new(registry, readiness)
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

    #[test]
    fn socket_file_is_for_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let socket = AdminSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = AdminSocket::bind(&path).unwrap();
        assert!(matches!(
            AdminSocket::bind(&path),
            Err(AdminError::InUse(_))
        ));
        // As a killed process leaves it: the file stays, nobody listens.
        std::mem::forget(first.file);
        drop(first.listener);
        let second = AdminSocket::bind(&path).unwrap();
        drop(second);

        fs::write(&path, "precious").unwrap();
        let error = AdminSocket::bind(&path).unwrap_err();
        assert!(matches!(error, AdminError::NotASocket(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn successors_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = AdminSocket::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        let second = AdminSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}

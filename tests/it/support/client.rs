//! A client that sends what it is told to, byte by byte, over plain TCP or TLS; and tungstenite over the same.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::program::{Listener, Ringgate};
use super::{DEADLINE, Transport, frame};

/// The key of RFC 6455 §1.3, and what a server makes of it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[derive(Debug)]
pub(crate) enum Client {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::Plain(connect(address))
    }

    /// Shakes hands at once; the name is the address, so no SNI is sent.
    pub(crate) fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::tls_named(address, config, ServerName::from(address.ip()))
    }

    /// `None` if the handshake fails, over a certificate that is not trusted, say.
    pub(crate) fn try_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Option<Self> {
        let connection = ClientConnection::new(config, ServerName::from(address.ip())).unwrap();
        let mut stream = StreamOwned::new(connection, connect(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        Some(Self::Tls(Box::new(stream)))
    }

    pub(crate) fn tls_named(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Self {
        let connection = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(connection, connect(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self::Tls(Box::new(stream))
    }

    /// Sends `first`, which is no TLS, in one segment with the ClientHello.
    pub(crate) fn tls_behind(first: &[u8], address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::tls_in_pieces(&[], first, address, config)
    }

    /// Sends `start` byte by byte, then `first` in one segment with the ClientHello.
    pub(crate) fn tls_in_pieces(
        start: &[u8],
        first: &[u8],
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> Self {
        let name = ServerName::from(address.ip());
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut flight = first.to_vec();
        connection.write_tls(&mut flight).unwrap();
        let mut socket = connect(address);
        for byte in start {
            socket.write_all(&[*byte]).unwrap();
        }
        socket.write_all(&flight).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self::Tls(Box::new(stream))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write_all(bytes.as_ref()).unwrap();
        self.flush().unwrap();
    }

    /// Ends the sending direction: FIN, or close_notify.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Plain(socket) => socket.shutdown(Shutdown::Write).unwrap(),
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    }

    /// Has the connection end with a reset.
    pub(crate) fn reset(self) {
        reset(self.socket());
    }

    /// One answer, with as much body as it says.
    pub(crate) fn answer(&mut self) -> Answer {
        Answer::read(self).unwrap()
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    /// Opens a tunnel on `path`.
    pub(crate) fn upgrade(&mut self, path: &str) -> Answer {
        let answer = self.ask(upgrade(path, &[]));
        assert_eq!(answer.status, 101, "{answer:?}");
        answer
    }

    pub(crate) fn read_frame(&mut self) -> frame::Frame {
        frame::read(self).unwrap()
    }

    /// Everything until the other side has closed, in whatever way.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.read_to_end(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("still open"),
            _ => rest,
        }
    }

    /// Waits for the other side to close without a further byte.
    pub(crate) fn assert_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

pub(crate) fn reset(socket: &TcpStream) {
    // Closing with this set discards what waits and sends RST.
    let linger = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(socket).set_linger(linger).unwrap();
}

impl Read for Client {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Client {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A request head: the line, and these fields.
pub(crate) fn request(line: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{line}\r\n{fields}\r\n")
}

pub(crate) const UPGRADE: [(&str, &str); 5] = [
    ("Host", "127.0.0.1"),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// A right request for an upgrade, with further fields behind.
pub(crate) fn upgrade(path: &str, more: &[(&str, &str)]) -> String {
    request(&format!("GET {path} HTTP/1.1"), &[&UPGRADE, more].concat())
}

/// A right request for an upgrade, but for one field: replaced, or left out.
pub(crate) fn upgrade_but(path: &str, name: &str, value: Option<&str>) -> String {
    let fields: Vec<_> = UPGRADE
        .into_iter()
        .filter_map(|field| match field.0 {
            known if known == name => value.map(|value| (name, value)),
            _ => Some(field),
        })
        .collect();
    request(&format!("GET {path} HTTP/1.1"), &fields)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let head = read_head(stream)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self {
            status,
            head,
            body: Vec::new(),
        };
        if status == 101 {
            return Ok(answer);
        }
        if let Some(len) = answer.field("Content-Length") {
            answer.body = vec![0; len.parse().unwrap()];
            stream.read_exact(&mut answer.body)?;
        } else if answer.field("Transfer-Encoding") == Some("chunked") {
            answer.body = read_chunks(stream)?;
        } else {
            stream.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The id, which has to be 32 lower-case hexadecimal digits.
    pub(crate) fn request_id(&self) -> &str {
        let id = self.field("X-Request-Id");
        let id = id.unwrap_or_else(|| panic!("no X-Request-Id: {}", self.head));
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        assert!(id.len() == 32 && id.bytes().all(digit), "{id}");
        id
    }

    /// That this is the gateway's own answer, with everything that belongs to one (spec 5.1).
    pub(crate) fn assert_error(&self, status: u16, code: &str, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("Content-Type"), Some("application/json"));
        assert_eq!(self.field("Server"), Some("api-gateway"));
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let id = self.request_id();
        let expected = serde_json::json!({
            "error_code": code, "error_msg": message, "request_id": id,
        });
        assert_eq!(body, expected);
    }
}

/// The value of a field, which must be there once at most.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().skip(1).filter_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let first = found.next();
    assert_eq!(found.next(), None, "{name} twice: {head}");
    first
}

/// Bytes up to the empty line, one by one so that nothing behind it is taken.
pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            let text = String::from_utf8_lossy(&head).into_owned();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        head.extend(byte);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn read_chunks(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        let size = String::from_utf8(line).unwrap();
        // RFC 9112 §7.1.1: extensions may follow the size.
        let size = size.split(';').next().unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        chunk.truncate(size);
        if size == 0 {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

/// What tungstenite speaks over.
pub(crate) trait Stream:
    tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send
{
}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) type WebSocket = WebSocketStream<Box<dyn Stream>>;

/// A request for tungstenite, to which fields can be added.
pub(crate) fn websocket_request(listener: &Listener, path: &str) -> Request {
    listener.url(path).into_client_request().unwrap()
}

/// A tunnel opened by tungstenite on the program's first listener.
pub(crate) async fn websocket(program: &Ringgate, path: &str) -> WebSocket {
    let listener = program.listeners.first().unwrap();
    let request = websocket_request(listener, path);
    websocket_with(program, listener, request).await.unwrap().0
}

pub(crate) async fn websocket_with(
    program: &Ringgate,
    listener: &Listener,
    request: Request,
) -> tungstenite::Result<(WebSocket, Response)> {
    let socket = tokio::net::TcpStream::connect(listener.address).await?;
    socket.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match listener.transport {
        Transport::Plain => Box::new(socket),
        Transport::Tls => {
            let connector =
                tokio_rustls::TlsConnector::from(program.workspace.certificate.client());
            let name = ServerName::from(listener.address.ip());
            Box::new(connector.connect(name, socket).await?)
        }
    };
    client_async_with_config(request, stream, Some(large_frames())).await
}

/// tungstenite stops at frames of 16 MiB by default.
pub(crate) fn large_frames() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_frame_size(None)
        .max_message_size(None)
}

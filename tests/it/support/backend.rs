//! Backends that do what a test tells them, byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine;
use sha1::{Digest, Sha1};

use super::DEADLINE;
use super::client::{field, read_head};
use super::frame::{self, CLOSE, Frame};

/// Runs a script for each connection, on a thread of its own, and hands out what the script returns.
#[derive(Debug)]
pub(crate) struct Backend<T> {
    pub(crate) address: SocketAddr,
    results: Receiver<T>,
    connections: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Backend<T> {
    pub(crate) fn start(script: impl Fn(Peer) -> T + Send + Sync + 'static) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    pub(crate) fn start_on(
        address: SocketAddr,
        script: impl Fn(Peer) -> T + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, results) = channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicUsize::new(0));
        let (script, counter) = (Arc::new(script), Arc::clone(&connections));
        let asked_counter = Arc::clone(&asked);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, SeqCst);
                let (script, sender) = (Arc::clone(&script), sender.clone());
                let peer = Peer::new(socket, Arc::clone(&asked_counter));
                thread::spawn(move || {
                    // The test may be over, and its end of the channel gone.
                    sender.send(script(peer)).ok();
                });
            }
        });
        Self {
            address,
            results,
            connections,
            asked,
        }
    }

    /// What the next script to end returned.
    pub(crate) fn result(&self) -> T {
        let result = self.results.recv_timeout(DEADLINE);
        result.unwrap_or_else(|_| panic!("no backend connection came to its end"))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Requests that have been read.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

/// An address that refuses connections: it was free a moment ago, and nobody listens.
pub(crate) fn refusing() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The program, as a backend sees it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    asked: Arc<AtomicUsize>,
}

impl Peer {
    fn new(socket: TcpStream, asked: Arc<AtomicUsize>) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, asked }
    }

    pub(crate) fn request(&mut self) -> String {
        let head = read_head(&mut self.socket).unwrap();
        self.asked.fetch_add(1, SeqCst);
        head
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads a request for an upgrade, agrees, and returns the request.
    pub(crate) fn accept(&mut self) -> String {
        self.accept_and_send(&[], &[])
    }

    /// The same with further fields, and with bytes right behind the 101, in one segment.
    pub(crate) fn accept_and_send(&mut self, fields: &[(&str, &str)], behind: &[u8]) -> String {
        let request = self.request();
        let mut answer = switching(&request, fields).into_bytes();
        answer.extend(behind);
        self.send(answer);
        request
    }

    pub(crate) fn read_frame(&mut self) -> Frame {
        frame::read(&mut self.socket).unwrap()
    }

    /// The frame that came, which has to be a Close: its code.
    pub(crate) fn read_close(&mut self) -> Option<u16> {
        let frame = self.read_frame();
        assert_eq!(frame.opcode, CLOSE, "{frame:?}");
        assert!(frame.masked, "RFC 6455 §5.1: towards a server, also by us");
        frame.close_code()
    }

    /// Whether the program has closed, by FIN or reset, without a further byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.socket.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends every message back until a Close, which is answered in kind. Returns the Close's code.
    pub(crate) fn echo(&mut self) -> Option<u16> {
        loop {
            let frame = frame::read(&mut self.socket).ok()?;
            let first = frame.opcode | if frame.last { 0x80 } else { 0 };
            self.send(frame::encode(first, &frame.payload, false));
            if frame.opcode == CLOSE {
                return frame.close_code();
            }
        }
    }
}

/// The 101 that `request` deserves.
pub(crate) fn switching(request: &str, fields: &[(&str, &str)]) -> String {
    let key = field(request, "Sec-WebSocket-Key").unwrap();
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{fields}\r\n",
        accept(key)
    )
}

/// RFC 6455 §4.2.2.
pub(crate) fn accept(key: &str) -> String {
    let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(hash)
}

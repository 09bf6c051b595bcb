//! A non-blocking client socket, plain or TLS, that moves bytes and knows nothing of WebSockets.

use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use rustls::ClientConnection;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::ClientError;
use crate::sockopt;
use crate::target::TlsTarget;

/// Full reads of one socket before others get their turn.
const READS_MAX: usize = 16;

/// Where a connection goes from and to, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) tls: Option<&'a TlsTarget>,
    /// Bytes; the kernel's choice by default.
    pub(crate) receive_buffer: Option<usize>,
}

/// How far reading got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The socket is empty; epoll reports when it no longer is.
    Drained,
    /// There may be more, and epoll will not say so unless it is re-armed.
    More,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What a plain socket had no room for. TLS keeps its own.
    unsent: Vec<u8>,
}

impl Transport {
    /// Begins to connect; the socket turns writable when that is over.
    pub(crate) fn connect(endpoints: Endpoints<'_>) -> Result<Self, ClientError> {
        let socket = begin_connect(endpoints).map_err(ClientError::Connect)?;
        let tls = match endpoints.tls {
            Some(tls) => {
                let mut connection = ClientConnection::new(tls.config.clone(), tls.name.clone())
                    .map_err(ClientError::Tls)?;
                // Bounded by the echoes that may be outstanding.
                connection.set_buffer_limit(None);
                Some(Box::new(connection))
            }
            None => None,
        };
        Ok(Self {
            socket,
            tls,
            unsent: Vec::new(),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the socket has taken everything so far.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// To be asked once the socket has turned writable.
    pub(crate) fn finish_connect(&self) -> Result<(), ClientError> {
        match self.socket.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(ClientError::Connect(error)),
        }
    }

    /// Sends as much as there is room for and keeps the rest for `flush`. TLS keeps all until its handshake is done.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes).map_err(ClientError::Io)?,
            None if self.unsent.is_empty() => {
                let written = write_some(&mut self.socket, bytes)?;
                self.unsent
                    .extend_from_slice(bytes.get(written..).unwrap_or_default());
                return Ok(());
            }
            None => self.unsent.extend_from_slice(bytes),
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        match &mut self.tls {
            Some(tls) => write_records(tls, &mut self.socket),
            None if self.unsent.is_empty() => Ok(()),
            None => {
                let written = write_some(&mut self.socket, &self.unsent)?;
                self.unsent.drain(..written);
                Ok(())
            }
        }
    }

    /// Reads what there is and hands it on as plaintext. `ended`: epoll has seen the end coming.
    pub(crate) fn receive(
        &mut self,
        ended: bool,
        scratch: &mut [u8],
        on_bytes: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Progress, ClientError> {
        self.receive_up_to(READS_MAX, ended, scratch, on_bytes)
    }

    /// The same, with at most `reads` reads of the length of `scratch`.
    pub(crate) fn receive_up_to(
        &mut self,
        reads: usize,
        ended: bool,
        scratch: &mut [u8],
        mut on_bytes: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Progress, ClientError> {
        for _ in 0..reads {
            let len = match self.socket.read(scratch) {
                Ok(0) => return Ok(Progress::Ended),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Drained);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ClientError::Io(error)),
            };
            let bytes = scratch.get(..len).unwrap_or_default();
            match &mut self.tls {
                Some(tls) => decrypt(tls, bytes, &mut on_bytes)?,
                None => on_bytes(bytes)?,
            }
            // epoll(7): a read that leaves room has emptied the socket, which saves the call that would say so.
            if len < scratch.len() && !ended {
                return Ok(Progress::Drained);
            }
        }
        Ok(Progress::More)
    }
}

fn begin_connect(endpoints: Endpoints<'_>) -> io::Result<TcpStream> {
    let Endpoints { address, .. } = endpoints;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = endpoints.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = endpoints.source {
        sockopt::bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// Writes once; a socket without room takes nothing.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> Result<usize, ClientError> {
    match socket.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if is_later(&error) => Ok(0),
        Err(error) => Err(ClientError::Io(error)),
    }
}

fn write_records(tls: &mut ClientConnection, socket: &mut TcpStream) -> Result<(), ClientError> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(error) if is_later(&error) => return Ok(()),
            Err(error) => return Err(ClientError::Io(error)),
        }
    }
    Ok(())
}

fn decrypt(
    tls: &mut ClientConnection,
    mut bytes: &[u8],
    on_bytes: &mut impl FnMut(&[u8]) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    // After close_notify nothing is taken any more.
    while !bytes.is_empty() && tls.read_tls(&mut bytes).map_err(ClientError::Io)? > 0 {
        tls.process_new_packets().map_err(ClientError::Tls)?;
        let mut reader = tls.reader();
        while let Ok(plain) = reader.fill_buf() {
            let len = plain.len();
            if len == 0 {
                break;
            }
            on_bytes(plain)?;
            reader.consume(len);
        }
    }
    Ok(())
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

//! One TLS session of either role without buffers of its own, as the edge begins it and the relay carries it on.
#![forbid(unsafe_code)]

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedConnectionCommon,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig, SupportedCipherSuite,
};

mod setup;
#[cfg(test)]
mod tests;

pub use setup::{SetupError, Tickets, TlsConfigs, client_config, server_config, ticketer};

/// A record's header: type, version, length (RFC 8446 §5.1).
const RECORD_HEADER_LEN: usize = 5;

/// What encryption adds to a record at most: header, explicit nonce, content type and tag, rounded up.
const RECORD_OVERHEAD: usize = 64;

/// Most plaintext of one record (RFC 8446 §5.1).
const RECORD_PLAINTEXT_MAX: usize = 16 * 1024;

/// How much of a handshake message may wait for its rest once the handshake is over. Tickets and key updates are far
/// smaller; rustls alone would let a peer park 64 KiB, in as many records as it likes.
const PARTIAL_HANDSHAKE_MAX: usize = 20 * 1024;

/// The same during the handshake, where a peer's certificate chain may be large.
const PARTIAL_HANDSHAKING_MAX: usize = 160 * 1024;

/// How long before a key is used up the owner of a TLS 1.2 session is told, in records.
const RECORDS_RESERVE: u64 = 1 << 16;

/// Why a session can't go on.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsError {
    /// The peer broke TLS, or refused us; what has to be said to it stands in `to_peer`.
    Protocol(rustls::Error),
    /// The keys have protected as much as they may, and TLS 1.2 can't renew them.
    KeysUsedUp,
    /// Data to send before the handshake is done or after close_notify, or any use after a failure.
    NotOpen,
    /// The peer parks more of an unfinished handshake message than any sensible one has.
    PartialTooLong,
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Protocol(error)
    }
}

/// What `TlsSession::open` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes at the front of the input that are done with. What is behind them has to be shown again, unchanged and
    /// with more behind it.
    pub consumed: usize,
    /// Application data handed out.
    pub plaintext: usize,
    /// The peer has sent close_notify, now or earlier: nothing follows.
    pub peer_closed: bool,
}

/// A TLS session of either role. It keeps keys and states, never data: input, plaintext and output are its callers'.
pub struct TlsSession {
    role: Role,
    /// Bytes at the front of the input that rustls has parsed and wants to see again: a handshake message of which
    /// records are missing.
    parked: usize,
    peer_closed: bool,
    /// `open` has failed, and rustls must not be asked again: it would answer the same input with a second alert.
    failed: bool,
    /// Records since the handshake, for the bound of TLS 1.2's keys.
    opened: u64,
    sealed: u64,
}

enum Role {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Runs `$body` with the connection of either role, which are types of their own in rustls.
macro_rules! with_connection {
    ($role:expr, $connection:ident => $body:expr) => {
        match $role {
            Role::Server($connection) => $body,
            Role::Client($connection) => $body,
        }
    };
}

impl TlsSession {
    /// A session towards a client.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(Role::Server(UnbufferedServerConnection::new(
            config,
        )?)))
    }

    /// A session towards a backend named `name`. `open` with no input gives its first flight.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self::new(Role::Client(UnbufferedClientConnection::new(
            config, name,
        )?)))
    }

    fn new(role: Role) -> Self {
        Self {
            role,
            parked: 0,
            peer_closed: false,
            failed: false,
            opened: 0,
            sealed: 0,
        }
    }

    /// Processes the complete records at the front of `input`, decrypting in place. Application data goes to
    /// `plaintext`, a record at a time; what the peer has to be sent (handshake flights, tickets, alerts) is appended to
    /// `to_peer`, on errors too. The caller drops `consumed` bytes and keeps the rest as it now is.
    pub fn open(
        &mut self,
        input: &mut [u8],
        plaintext: &mut dyn FnMut(&[u8]),
        to_peer: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        if self.failed {
            return Err(TlsError::NotOpen);
        }
        let mut sink = Sink {
            plaintext,
            to_peer,
            bytes: 0,
            records: 0,
        };
        let outcome = with_connection!(&mut self.role, connection => {
            process(&mut **connection, input, &mut sink)
        });
        self.opened += sink.records;
        let plaintext = sink.bytes;
        let progress = match outcome {
            Ok(progress) => progress,
            Err(error) => {
                self.failed = true;
                with_connection!(&mut self.role, connection => flush(&mut **connection, to_peer));
                return Err(error);
            }
        };
        self.peer_closed |= progress.peer_closed;
        self.parked = if self.peer_closed {
            0 // Nothing behind a close_notify is looked at.
        } else {
            complete_records_len(input.get(progress.consumed..).unwrap_or_default())
        };
        if self.parked > self.parked_max() {
            self.failed = true;
            return Err(TlsError::PartialTooLong);
        }
        Ok(Opened {
            consumed: progress.consumed,
            plaintext,
            peer_closed: self.peer_closed,
        })
    }

    fn parked_max(&self) -> usize {
        if self.is_handshaking() {
            PARTIAL_HANDSHAKING_MAX
        } else {
            PARTIAL_HANDSHAKE_MAX
        }
    }

    /// Appends `plaintext` to `out` as records; `out` grows as needed. On an error none of it is in `out`.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::NotOpen);
        }
        let parked = self.parked;
        with_connection!(&mut self.role, connection => {
            write(&mut **connection, parked, out, |traffic, out| traffic.seal(plaintext, out))
        })?;
        self.sealed += plaintext.len().div_ceil(RECORD_PLAINTEXT_MAX) as u64;
        Ok(())
    }

    /// Appends a close_notify alert to `out`, once; later calls, and calls before the handshake is done or after an
    /// error, append nothing.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if self.failed {
            return;
        }
        let parked = self.parked;
        let queued = with_connection!(&mut self.role, connection => {
            write(&mut **connection, parked, out, |traffic, out| traffic.close_notify(out))
        });
        if let Err(error) = queued {
            tracing::trace!(?error, "no close_notify can be sent");
        }
    }

    pub fn is_handshaking(&self) -> bool {
        with_connection!(&self.role, connection => connection.is_handshaking())
    }

    /// The peer has sent close_notify.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether the handshake took up an earlier session; `false` while it is not known.
    pub fn is_resumed(&self) -> bool {
        let kind = with_connection!(&self.role, connection => connection.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    pub fn is_tls13(&self) -> bool {
        self.version() == Some(ProtocolVersion::TLSv1_3)
    }

    pub fn version(&self) -> Option<ProtocolVersion> {
        with_connection!(&self.role, connection => connection.protocol_version())
    }

    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        with_connection!(&self.role, connection => connection.negotiated_cipher_suite())
            .map(|suite| suite.suite())
    }

    pub fn alpn(&self) -> Option<&[u8]> {
        with_connection!(&self.role, connection => connection.alpn_protocol())
    }

    /// Whether the session should be ended politely soon: TLS 1.2 can't renew its keys, which protect 2^24 records with
    /// AES-GCM (RFC 8446 §5.5 has the reasoning). TLS 1.3 renews them by itself.
    pub fn records_left_low(&self) -> bool {
        if self.version() != Some(ProtocolVersion::TLSv1_2) {
            return false;
        }
        let limit =
            with_connection!(&self.role, connection => connection.negotiated_cipher_suite())
                .map_or(u64::MAX, confidentiality_limit);
        self.opened.max(self.sealed) >= limit.saturating_sub(RECORDS_RESERVE)
    }
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession")
            .field("version", &self.version())
            .field("handshaking", &self.is_handshaking())
            .finish_non_exhaustive()
    }
}

/// The one method that rustls defines for each role apart.
trait Connection {
    type Data;
    fn step<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn has_output(&self) -> bool;
}

impl Connection for UnbufferedConnectionCommon<ServerConnectionData> {
    type Data = ServerConnectionData;

    fn step<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

impl Connection for UnbufferedConnectionCommon<ClientConnectionData> {
    type Data = ClientConnectionData;

    fn step<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

/// Where `process` puts what it finds.
struct Sink<'a> {
    plaintext: &'a mut dyn FnMut(&[u8]),
    to_peer: &'a mut Vec<u8>,
    bytes: usize,
    records: u64,
}

struct Progress {
    consumed: usize,
    peer_closed: bool,
}

/// Steps the connection over `input` until it has nothing left to say about it.
fn process<C: Connection + ?Sized>(
    connection: &mut C,
    input: &mut [u8],
    sink: &mut Sink<'_>,
) -> Result<Progress, TlsError> {
    let mut progress = Progress {
        consumed: 0,
        peer_closed: false,
    };
    loop {
        let rest = input.get_mut(progress.consumed..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = connection.step(rest);
        let done = match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    sink.bytes += record.payload.len();
                    sink.records += 1;
                    (sink.plaintext)(record.payload);
                }
                false
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(sink.to_peer, 0, |room| data.encode(room))?;
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                // `to_peer` goes out before anything that is sealed later, which is all this state asks for.
                data.done();
                false
            }
            ConnectionState::PeerClosed => {
                progress.peer_closed = true;
                false
            }
            ConnectionState::Closed => {
                progress.peer_closed = true;
                true
            }
            // `ReadEarlyData` can't be: no configuration of ours allows early data.
            _ => true,
        };
        progress.consumed += discard;
        if done {
            return Ok(progress);
        }
    }
}

/// Lets `action` write, behind whatever has to precede it.
fn write<C: Connection + ?Sized>(
    connection: &mut C,
    parked: usize,
    out: &mut Vec<u8>,
    action: impl FnOnce(&mut dyn Traffic, &mut Vec<u8>) -> Result<(), TlsError>,
) -> Result<(), TlsError> {
    // rustls wants to see parked input again, and slices beyond the end of a shorter one, which would be a panic that
    // any peer can cause. It looks at none of the bytes, so that others of the same number will do.
    let mut stand_in = vec![0; parked];
    loop {
        match connection.step(&mut stand_in).state? {
            ConnectionState::WriteTraffic(mut traffic) => return action(&mut traffic, out),
            ConnectionState::EncodeTlsData(mut data) => append(out, 0, |room| data.encode(room))?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            _ => return Err(TlsError::NotOpen),
        }
    }
}

/// `WriteTraffic` of either role.
trait Traffic {
    fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError>;
    fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError>;
}

impl<Data> Traffic for WriteTraffic<'_, Data> {
    fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let records = plaintext.len().div_ceil(RECORD_PLAINTEXT_MAX);
        let room = plaintext.len() + records * RECORD_OVERHEAD;
        append(out, room, |room| self.encrypt(plaintext, room))
    }

    fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        append(out, RECORD_OVERHEAD, |room| self.queue_close_notify(room))
    }
}

/// Appends what is queued for the peer: an alert, as a rule. Input is not looked at.
fn flush<C: Connection + ?Sized>(connection: &mut C, out: &mut Vec<u8>) {
    // While there is output, rustls answers with it before it looks at input.
    while connection.has_output() {
        match connection.step(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                if append(out, 0, |room| data.encode(room)).is_err() {
                    return;
                }
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                // Data before an error; the session is over, nobody is waiting for it.
                while traffic.next_record().is_some() {}
            }
            _ => return,
        }
    }
}

/// Lets `write` append to `out`, first with `room` bytes, then with as many as it asks for.
fn append<E: AsInsufficient>(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), TlsError> {
    let start = out.len();
    let mut room = room;
    loop {
        out.resize(start + room, 0);
        match write(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(error) => {
                out.truncate(start);
                match error.required_size() {
                    Some(required) if required > room => room = required,
                    _ => return Err(TlsError::KeysUsedUp),
                }
            }
        }
    }
}

trait AsInsufficient {
    fn required_size(&self) -> Option<usize>;
}

impl AsInsufficient for EncodeError {
    fn required_size(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl AsInsufficient for EncryptError {
    fn required_size(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// The length of all complete records at the front of `input`.
fn complete_records_len(input: &[u8]) -> usize {
    let mut len = 0;
    while let Some(record) = input.get(len..)
        && let Some(&[_, _, _, high, low]) = record.first_chunk::<RECORD_HEADER_LEN>()
        && let end = RECORD_HEADER_LEN + usize::from(u16::from_be_bytes([high, low]))
        && record.len() >= end
    {
        len += end;
    }
    len
}

/// How many records one key of this suite may protect.
fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

//! Connecting to a backend: name, address, source address, TCP, TLS, all within one deadline.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use monoio::time::{Instant, sleep, timeout_at};
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};

use super::Edge;
use super::stream::{Stream, StreamError};
use crate::catalog::Member;
use crate::close::{CloseReason, Deadline, Errno};
use crate::config::Scheme;
use crate::control::resolver::ResolveError;
use crate::observe::request_id::RequestId;
use crate::observe::series::Series;
use crate::sys;
use crate::tls::TlsSession;

/// Longest time for a connection to a backend, whatever the API's timeout (spec U5).
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(60);

/// A backend that has accepted us.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) address: SocketAddr,
}

/// How long the close of an idle connection is waited for, where its descriptor is needed.
const CLOSE_WAIT: Duration = Duration::from_millis(1);

/// Connects to a member, and counts that. `turn` decides where several addresses, ours or its, are used in turn. What is
/// given up closes its socket. `id` is that of the request.
pub(super) async fn connect(
    edge: &Edge,
    (member, series): (&Member, &Series),
    turn: usize,
    deadline: Instant,
    id: RequestId,
) -> Result<Connected, CloseReason> {
    let counts = series.edge(edge.core);
    if let Some(counts) = counts {
        counts.connects.add(1);
    }
    let outcome = timeout_at(deadline, try_connect(edge, member, turn)).await;
    let outcome = outcome.unwrap_or(Err(CloseReason::TimedOut(Deadline::Connect)));
    if let Err(reason) = outcome {
        if let Some(counts) = counts {
            counts.connects_failed.count(reason);
        }
        if reason == CloseReason::PortsExhausted {
            edge.metrics.ports_exhausted.add(1);
        }
        tracing::debug!(
            %id,
            ?reason,
            host = member.host,
            port = member.port,
            "no connection to a backend"
        );
    }
    outcome
}

async fn try_connect(edge: &Edge, member: &Member, turn: usize) -> Result<Connected, CloseReason> {
    let resolved = edge.resolver.resolve(&member.host, member.port).await;
    let addresses = resolved.map_err(|error| {
        if error == ResolveError::Overloaded {
            edge.metrics.dns_overloads.add(1);
        }
        CloseReason::NameNotResolved
    })?;
    let live = edge.live();
    let denied = &live.config.backends.denied;
    let mut last = CloseReason::NameNotResolved;
    for &address in in_turn(&addresses, turn) {
        // Looked at here, where no name can hide it (spec 5.2).
        if denied.iter().any(|network| network.contains(address.ip())) {
            last = CloseReason::BackendDenied;
            continue;
        }
        match connect_to(edge, address, turn).await {
            Ok(stream) => {
                let stream = secure(edge, stream, member).await?;
                return Ok(Connected { stream, address });
            }
            Err(reason) => last = reason,
        }
    }
    Err(last)
}

/// All of `items`, beginning with another one at each turn.
fn in_turn<T>(items: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let start = turn.checked_rem(items.len()).unwrap_or(0);
    let (before, from) = items.split_at_checked(start).unwrap_or((items, &[]));
    from.iter().chain(before)
}

/// Connects from each source address in turn until one has a port left.
async fn connect_to(edge: &Edge, address: SocketAddr, turn: usize) -> Result<Stream, CloseReason> {
    let live = edge.live();
    let configured = &live.config.backends.source_addresses;
    let fitting = |source: &&IpAddr| source.is_ipv4() == address.is_ipv4();
    let mut exhausted = false;
    for source in in_turn(configured, turn).filter(fitting) {
        match connect_from(edge, Some(*source), address).await {
            Err(CloseReason::PortsExhausted) => exhausted = true,
            outcome => return outcome,
        }
    }
    if exhausted {
        return Err(CloseReason::PortsExhausted);
    }
    connect_from(edge, None, address).await
}

async fn connect_from(
    edge: &Edge,
    source: Option<IpAddr>,
    address: SocketAddr,
) -> Result<Stream, CloseReason> {
    let socket = loop {
        match socket_from(source, address).map_err(|error| no_socket(&error)) {
            Ok(socket) => break socket,
            // Who waits for a connection goes before those that nobody uses. The runtime closes one some time later;
            // each turn gives one up, so that the loop ends with them.
            Err(CloseReason::ConnectionLimit) if edge.idle_backends.drop_oldest(edge) => {
                sleep(CLOSE_WAIT).await;
            }
            Err(reason) => return Err(reason),
        }
    };
    let stream = begin(socket, address).map_err(|error| failure(&error))?;
    stream.connected().await.map_err(|error| failure(&error))?;
    Ok(stream)
}

/// A socket that will connect from `source`, with a port that is chosen when the destination is known.
fn socket_from(source: Option<IpAddr>, address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        sys::set_bind_address_no_port(socket.as_fd())?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// Sends the SYN. A connect of monoio's own can't be given up without leaking its descriptor; this can.
fn begin(socket: Socket, address: SocketAddr) -> io::Result<Stream> {
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Stream::new(socket),
    }
}

/// Why there is no socket to connect with. A lack of descriptors is ours, and says nothing about the backend.
fn no_socket(error: &io::Error) -> CloseReason {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => CloseReason::ConnectionLimit,
        _ => CloseReason::ConnectFailed(Errno::of(error)),
    }
}

fn failure(error: &io::Error) -> CloseReason {
    match error.raw_os_error() {
        // connect(2): no local port is left for this destination.
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE | libc::EAGAIN) => CloseReason::PortsExhausted,
        _ => CloseReason::ConnectFailed(Errno::of(error)),
    }
}

/// TLS towards a member that wants it, with its host as SNI (spec U62).
async fn secure(edge: &Edge, mut stream: Stream, member: &Member) -> Result<Stream, CloseReason> {
    if member.scheme == Scheme::Http {
        return Ok(stream);
    }
    let name = ServerName::try_from(member.host.clone());
    let name = name.map_err(|_| CloseReason::BackendTlsFailed)?;
    let session = TlsSession::client(Arc::clone(&edge.live().client), name);
    let session = session.map_err(|_| CloseReason::BackendTlsFailed)?;
    stream.start_tls(Box::new(session), &[]);
    // A backend says nothing before it was asked.
    let mut unasked = edge.pool.buffer();
    match stream.handshake(&edge.scratch, &mut unasked).await {
        Ok(()) if unasked.is_empty() => {
            stream.count_handshake(&edge.metrics.tls_backends);
            Ok(stream)
        }
        Err(StreamError::Full(_)) => Err(CloseReason::NoHeadRoom),
        Ok(()) | Err(StreamError::Io(_) | StreamError::Tls) => Err(CloseReason::BackendTlsFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_used_in_turn_and_each_once() {
        let order = |turn| in_turn(&[1, 2, 3], turn).copied().collect::<Vec<_>>();
        assert_eq!(order(0), [1, 2, 3]);
        assert_eq!(order(1), [2, 3, 1]);
        assert_eq!(order(5), [3, 1, 2]);
        assert_eq!(in_turn::<u8>(&[], 7).count(), 0);
    }

    #[test]
    fn a_lack_of_descriptors_is_not_blamed_on_the_backend() {
        let reason = |errno| no_socket(&io::Error::from_raw_os_error(errno));
        assert_eq!(reason(libc::EMFILE), CloseReason::ConnectionLimit);
        assert_eq!(
            reason(libc::EADDRNOTAVAIL),
            CloseReason::ConnectFailed(Errno(libc::EADDRNOTAVAIL))
        );
    }

    #[test]
    fn a_lack_of_ports_is_told_from_a_refusal() {
        let reason = |errno| failure(&io::Error::from_raw_os_error(errno));
        assert_eq!(reason(libc::EADDRNOTAVAIL), CloseReason::PortsExhausted);
        assert_eq!(
            reason(libc::ECONNREFUSED),
            CloseReason::ConnectFailed(Errno(libc::ECONNREFUSED))
        );
    }
}

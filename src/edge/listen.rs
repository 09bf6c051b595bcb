//! Listening sockets: one address, and a socket of its own for each worker (SO_REUSEPORT).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::Opened;
use super::accept::Door;
use crate::config::{self, Scheme};
use crate::network::Network;

/// The kernel caps it at `net.core.somaxconn`, which is 4096 by default.
pub(crate) const BACKLOG: i32 = 4096;

/// How many ports `bind_from` looks at.
const PORTS_TRIED: u16 = 100;

/// An address that is ours. Connections are accepted only once a worker listens on it.
#[derive(Debug)]
pub struct Listener {
    /// With its real port.
    config: config::Listener,
    sockets: Sockets,
}

#[derive(Debug)]
enum Sockets {
    /// Bound and never listening: it keeps the address without being given connections that nobody would accept.
    Reserved { _reservation: Socket },
    /// Opened by the supervisor, and listening: never empty.
    Passed(Vec<Socket>),
}

impl Listener {
    /// The address with its real port, where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.config.address
    }

    pub fn scheme(&self) -> Scheme {
        self.config.scheme
    }

    pub(super) fn proxy_protocol_from(&self) -> &[Network] {
        &self.config.proxy_protocol_from
    }

    /// What somebody else has opened and keeps open, whether we want it or not.
    pub fn is_passed(&self) -> bool {
        matches!(self.sockets, Sockets::Passed(_))
    }

    /// The listening sockets of one worker out of `workers`, with what the listener means.
    pub fn open_for_worker(&self, index: usize, workers: usize) -> io::Result<Vec<Opened>> {
        let opened = |socket| Opened(socket, Door::new(self));
        let Sockets::Passed(passed) = &self.sockets else {
            return Ok(vec![opened(self.open()?)]);
        };
        // Every worker has one, and every socket somebody: where there are fewer of either, they are shared.
        let first = index % passed.len().max(1);
        let own = passed.iter().skip(first).step_by(workers.max(1));
        own.map(|socket| socket.try_clone().map(opened)).collect()
    }

    /// The address of `wanted`, on sockets that listen there already.
    pub(super) fn of_passed(wanted: &config::Listener, sockets: Vec<Socket>) -> io::Result<Self> {
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            socket.set_cloexec(true)?;
            socket.set_tcp_nodelay(true)?;
        }
        let address = sockets.first().map(Socket::local_addr).transpose()?;
        let address = address.and_then(|address| address.as_socket());
        let config = config::Listener {
            address: address.ok_or(io::ErrorKind::AddrNotAvailable)?,
            ..wanted.clone()
        };
        Ok(Self {
            config,
            sockets: Sockets::Passed(sockets),
        })
    }

    /// A socket of a worker's own that listens on this address.
    pub(super) fn open(&self) -> io::Result<Socket> {
        let socket = bound(&self.config)?;
        // Accepted sockets inherit it, which saves a system call for each.
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }
}

/// Takes the address of `wanted`. Port 0 takes a free one.
pub fn bind(wanted: &config::Listener) -> io::Result<Listener> {
    // Ours share the port, and so would a second ringgate of the same user, unnoticed: another process that listens
    // there shows only to a bind that shares nothing.
    let exclusive = unbound(wanted)?;
    exclusive.bind(&wanted.address.into())?;
    drop(exclusive);
    bind_again(wanted)
}

/// Takes an address that workers of ours listen on already.
pub fn bind_again(wanted: &config::Listener) -> io::Result<Listener> {
    let reservation = bound(wanted)?;
    let address = reservation
        .local_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let config = config::Listener {
        address,
        ..wanted.clone()
    };
    Ok(Listener {
        config,
        sockets: Sockets::Reserved {
            _reservation: reservation,
        },
    })
}

/// Takes the address of `wanted`, or the next port after it that is free.
pub fn bind_from(wanted: &config::Listener) -> io::Result<Listener> {
    let mut candidate = wanted.clone();
    loop {
        let port = candidate.address.port();
        match bind(&candidate) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && port < u16::MAX
                    && port - wanted.address.port() < PORTS_TRIED =>
            {
                candidate.address.set_port(port + 1);
            }
            outcome => return outcome,
        }
    }
}

fn bound(wanted: &config::Listener) -> io::Result<Socket> {
    let socket = unbound(wanted)?;
    socket.set_reuse_port(true)?;
    socket.bind(&wanted.address.into())?;
    Ok(socket)
}

fn unbound(wanted: &config::Listener) -> io::Result<Socket> {
    let address = wanted.address;
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger in TIME-WAIT are no reason not to start.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each family has its own listener, so that what is served does not depend on a sysctl.
        socket.set_only_v6(true)?;
    }
    match (wanted.freebind, address) {
        (true, SocketAddr::V4(_)) => socket.set_freebind_v4(true)?,
        (true, SocketAddr::V6(_)) => socket.set_freebind_v6(true)?,
        (false, _) => {}
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(address: SocketAddr) -> config::Listener {
        config::Listener::plain(address, Scheme::Http)
    }

    #[test]
    fn an_address_of_another_box_can_be_waited_for() {
        // TEST-NET-3 (RFC 5737): no box has it.
        let elsewhere = http("203.0.113.77:0".parse().unwrap());
        let error = bind(&elsewhere).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        let waiting = config::Listener {
            freebind: true,
            ..elsewhere
        };
        bind(&waiting).unwrap().open().unwrap();
    }

    #[test]
    fn all_workers_get_the_same_port() {
        let listener = bind(&http("127.0.0.1:0".parse().unwrap())).unwrap();
        assert_ne!(listener.address().port(), 0);
        let sockets = [listener.open().unwrap(), listener.open().unwrap()];
        for socket in &sockets {
            let address = socket.local_addr().unwrap().as_socket();
            assert_eq!(address, Some(listener.address()));
            assert!(socket.tcp_nodelay().unwrap());
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let error = bind(&http(address)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let next = bind_from(&http(address)).unwrap();
        assert!(next.address().port() > address.port());
    }

    #[test]
    fn our_own_port_is_taken_while_workers_listen() {
        let listener = bind(&http("127.0.0.1:0".parse().unwrap())).unwrap();
        let _worker = listener.open().unwrap();
        let error = bind(&http(listener.address())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

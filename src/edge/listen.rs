//! Listening sockets: one address, and a socket of its own for each worker (SO_REUSEPORT).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::Opened;
use super::accept::Door;
use crate::config::Scheme;
use crate::network::Network;

/// The kernel caps it at `net.core.somaxconn`, which is 4096 by default.
pub(crate) const BACKLOG: i32 = 4096;

/// How many ports `bind_from` looks at.
const PORTS_TRIED: u16 = 100;

/// An address that is ours. Connections are accepted only once a worker listens on it.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    scheme: Scheme,
    proxy_protocol_from: Vec<Network>,
    /// Bound and never listening: it keeps the address without being given connections that nobody would accept.
    _reservation: Socket,
}

impl Listener {
    /// The address with its real port, where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Has every connection begin with a PROXY protocol header, and nobody outside `networks` connect. With none of them
    /// the protocol is not spoken.
    pub fn with_proxy_protocol_from(mut self, networks: &[Network]) -> Self {
        self.proxy_protocol_from = networks.to_vec();
        self
    }

    pub(super) fn proxy_protocol_from(&self) -> &[Network] {
        &self.proxy_protocol_from
    }

    /// A listening socket for one worker, with what the listener means.
    pub fn open_for_worker(&self) -> io::Result<Opened> {
        Ok(Opened(self.open()?, Door::new(self)))
    }

    /// A socket of a worker's own that listens on this address.
    pub(super) fn open(&self) -> io::Result<Socket> {
        let socket = bound(self.address)?;
        // Accepted sockets inherit it, which saves a system call for each.
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }
}

/// Takes `address`. Port 0 takes a free one.
pub fn bind(address: SocketAddr, scheme: Scheme) -> io::Result<Listener> {
    // Ours share the port, and so would a second ringgate of the same user, unnoticed: another process that listens
    // there shows only to a bind that shares nothing.
    drop(exclusive(address)?);
    bind_again(address, scheme)
}

/// Takes an address that workers of ours listen on already.
pub fn bind_again(address: SocketAddr, scheme: Scheme) -> io::Result<Listener> {
    let reservation = bound(address)?;
    let address = reservation
        .local_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Listener {
        address,
        scheme,
        proxy_protocol_from: Vec::new(),
        _reservation: reservation,
    })
}

/// Takes `address`, or the next port after it that is free.
pub fn bind_from(address: SocketAddr, scheme: Scheme) -> io::Result<Listener> {
    let mut candidate = address;
    loop {
        match bind(candidate, scheme) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && candidate.port() < u16::MAX
                    && candidate.port() - address.port() < PORTS_TRIED =>
            {
                candidate.set_port(candidate.port() + 1);
            }
            outcome => return outcome,
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn exclusive(address: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger in TIME-WAIT are no reason not to start.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each family has its own listener, so that what is served does not depend on a sysctl.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_get_the_same_port() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), Scheme::Http).unwrap();
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
        let error = bind(address, Scheme::Http).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let next = bind_from(address, Scheme::Http).unwrap();
        assert!(next.address().port() > address.port());
    }

    #[test]
    fn our_own_port_is_taken_while_workers_listen() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), Scheme::Http).unwrap();
        let _worker = listener.open().unwrap();
        let error = bind(listener.address(), Scheme::Http).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

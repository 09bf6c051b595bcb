//! Sockets that the supervisor has opened for us (sd_listen_fds(3)): which listener each is for.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Socket, Type};

use super::listen::Listener;
use crate::config;
use crate::document::plural;

/// A TCP socket that listens already.
#[derive(Debug)]
pub struct Passed {
    socket: Socket,
    /// `FileDescriptorName=`, or what systemd makes of the unit's name.
    name: String,
    address: SocketAddr,
}

impl Passed {
    /// Takes a descriptor that was passed under a name. The error says why it is of no use.
    pub fn new(descriptor: OwnedFd, name: String) -> Result<Self, String> {
        let socket = Socket::from(descriptor);
        let told = |problem: &str| format!("the socket `{name}` that was passed {problem}");
        let failed = |error: io::Error| told(&format!("cannot be used: {error}"));
        if socket.r#type().map_err(failed)? != Type::STREAM {
            return Err(told(
                "is not one for streams; write ListenStream= in its unit",
            ));
        }
        let address = socket.local_addr().map_err(failed)?.as_socket();
        let address = address.ok_or_else(|| told("is not an IP socket"))?;
        if !socket.is_listener().map_err(failed)? {
            return Err(told("does not listen; write Accept=no in its unit"));
        }
        Ok(Self {
            socket,
            name,
            address,
        })
    }

    /// A listener with a name takes what has that name, any other what has its address.
    fn is_for(&self, wanted: &config::Listener) -> bool {
        match &wanted.socket_name {
            Some(name) => self.name == *name,
            None => self.address == wanted.address,
        }
    }
}

/// Gives each of `passed` to its listener. `None` for a listener that has to open its own. Anything that fits nowhere is an
/// error: clients would be let in by the kernel, and wait for ever.
pub fn match_up(
    listeners: &[config::Listener],
    mut passed: Vec<Passed>,
) -> Result<Vec<Option<Listener>>, String> {
    let mut matched = Vec::new();
    for wanted in listeners {
        let (ours, others): (Vec<_>, Vec<_>) =
            passed.into_iter().partition(|one| one.is_for(wanted));
        passed = others;
        if let (Some(name), true) = (&wanted.socket_name, ours.is_empty()) {
            return Err(format!(
                "no socket named `{name}` was passed for the listener on {}; write FileDescriptorName={name} in its socket \
                 unit, or remove `socket_name`",
                wanted.address
            ));
        }
        let sockets: Vec<_> = ours.into_iter().map(|one| one.socket).collect();
        let listener = match sockets.is_empty() {
            true => None,
            false => {
                let failed = |error| format!("cannot listen on {}: {error}", wanted.address);
                Some(Listener::of_passed(wanted, sockets).map_err(failed)?)
            }
        };
        matched.push(listener);
    }
    if passed.is_empty() {
        return Ok(matched);
    }
    let described = |one: &Passed| format!("{} (`{}`)", one.address, one.name);
    let those: Vec<_> = passed.iter().map(described).collect();
    Err(format!(
        "{} passed and no listener's: {}; add [[listeners]] with that address, or with that `socket_name`",
        plural(passed.len(), "socket"),
        those.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::Scheme;

    fn passed(name: &str) -> Passed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Passed::new(listener.into(), name.to_owned()).unwrap()
    }

    fn wanted(address: SocketAddr) -> config::Listener {
        config::Listener::plain(address, Scheme::Http)
    }

    #[test]
    fn sockets_find_their_listener_by_address_or_name() {
        let (by_address, by_name) = (passed("x"), passed("wss"));
        let addresses = [by_address.address, by_name.address];
        let anywhere = "127.0.0.1:1".parse().unwrap();
        let named = config::Listener {
            socket_name: Some("wss".to_owned()),
            ..wanted(anywhere)
        };
        let own = wanted("127.0.0.1:2".parse().unwrap());
        let listeners = [wanted(addresses[0]), own, named];
        let matched = match_up(&listeners, vec![by_name, by_address]).unwrap();
        let found: Vec<_> = matched
            .iter()
            .map(|listener| listener.as_ref().map(Listener::address))
            .collect();
        assert_eq!(found, [Some(addresses[0]), None, Some(addresses[1])]);
    }

    #[test]
    fn what_fits_nowhere_is_an_error() {
        let elsewhere = wanted("127.0.0.1:1".parse().unwrap());
        let error = match_up(std::slice::from_ref(&elsewhere), vec![passed("a")]).unwrap_err();
        assert!(error.contains("1 socket passed"), "{error}");
        let named = config::Listener {
            socket_name: Some("a".to_owned()),
            ..elsewhere
        };
        let error = match_up(&[named], Vec::new()).unwrap_err();
        assert!(error.contains("no socket named `a`"), "{error}");
        let stream = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(stream.local_addr().unwrap()).unwrap();
        let error = Passed::new(client.into(), "a".to_owned()).unwrap_err();
        assert!(error.contains("does not listen"), "{error}");
    }

    #[test]
    fn every_worker_has_a_socket_and_every_socket_a_worker() {
        for (sockets, workers) in [(1, 4), (2, 4), (3, 4), (4, 4), (5, 2), (7, 3)] {
            let one = passed("a");
            let address = one.address;
            let again = |_| {
                let socket = one.socket.try_clone().unwrap();
                Passed::new(socket.into(), "a".to_owned()).unwrap()
            };
            let all: Vec<_> = (0..sockets).map(again).collect();
            let listener = match_up(&[wanted(address)], all)
                .unwrap()
                .remove(0)
                .unwrap();
            let opened: Vec<_> = (0..workers)
                .map(|index| listener.open_for_worker(index, workers).unwrap().len())
                .collect();
            assert!(opened.iter().all(|count| *count > 0), "{opened:?}");
            let expected = sockets.max(workers);
            assert_eq!(opened.iter().sum::<usize>(), expected, "{opened:?}");
        }
    }
}

//! What the edge hands to the relay: a tunnel, and the permit that there is room for it.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::observe::access_log::TunnelFacts;
use crate::proto::handshake::{Extensions, Upgraded};
use crate::relay::policy::TunnelPolicy;
use crate::tls::TlsSession;

/// One side of a tunnel as the edge leaves it: nothing is pending on its socket.
#[derive(Debug)]
pub struct Endpoint {
    pub socket: OwnedFd,
    pub tls: Option<Box<TlsSession>>,
    /// Received from this side, decrypted, not yet relayed.
    pub plaintext: Vec<u8>,
    /// Received from this side, not yet decrypted.
    pub ciphertext: Vec<u8>,
    /// The end of this side's stream (EOF or close_notify) was already seen.
    pub eof: bool,
}

/// An upgraded pair of connections.
#[derive(Debug)]
pub struct Tunnel {
    pub(in crate::relay) client: Endpoint,
    pub(in crate::relay) backend: Endpoint,
    pub(in crate::relay) extensions: Extensions,
    pub(in crate::relay) policy: Arc<TunnelPolicy>,
    pub(in crate::relay) facts: TunnelFacts,
    pub(in crate::relay) permit: Permit,
}

impl Tunnel {
    /// The only way to a tunnel: nobody has one without a backend's checked 101 and a permit.
    pub fn new(
        upgraded: Upgraded,
        client: Endpoint,
        backend: Endpoint,
        policy: Arc<TunnelPolicy>,
        facts: TunnelFacts,
        permit: Permit,
    ) -> Self {
        Self {
            client,
            backend,
            extensions: upgraded.extensions(),
            policy,
            facts,
            permit,
        }
    }
}

/// Room for one tunnel at a relay. Given back when dropped.
#[derive(Debug)]
pub struct Permit {
    taken: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

/// The way to the relay of one core.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    queue: SyncSender<Tunnel>,
    taken: Arc<AtomicUsize>,
    room: usize,
}

impl RelayHandle {
    /// A handle to a relay with room for `room` tunnels, and where they arrive.
    pub fn new(room: usize) -> (Self, Receiver<Tunnel>) {
        let (queue, tunnels) = sync_channel(room);
        let taken = Arc::new(AtomicUsize::new(0));
        (Self { queue, taken, room }, tunnels)
    }

    /// Takes a place for a tunnel, at once or not at all.
    pub fn permit(&self) -> Option<Permit> {
        self.taken
            .fetch_update(Relaxed, Relaxed, |taken| {
                (taken < self.room).then_some(taken + 1)
            })
            .ok()?;
        let taken = Arc::clone(&self.taken);
        Some(Permit { taken })
    }

    /// Hands a tunnel over. Its permit says that there is room; a relay that has ended drops it.
    pub fn adopt(&self, tunnel: Tunnel) {
        if self.queue.try_send(tunnel).is_err() {
            tracing::debug!("a tunnel was handed to a relay that has ended");
        }
    }
}

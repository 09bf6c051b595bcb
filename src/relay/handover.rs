//! What the edge hands to the relay: a tunnel, and the permit that there is room for it.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

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

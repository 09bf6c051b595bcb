//! What the edge hands to the relay: a tunnel that has earned its 101, with everything that was read and not yet relayed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::mailbox::Permit;
use super::policy::TunnelPolicy;
use crate::observe::access_log::TunnelFacts;
use crate::observe::series::RelaySeries;
use crate::proto::handshake::{Extensions, Upgraded};
use crate::tls::TlsSession;

/// One side of a tunnel.
#[derive(Debug)]
pub struct Endpoint {
    pub socket: OwnedFd,
    pub tls: Option<Box<TlsSession>>,
    /// Received from this side, decrypted, and not yet relayed.
    pub plaintext: Vec<u8>,
    /// Received and not yet decrypted.
    pub ciphertext: Vec<u8>,
    /// The end of the stream, or close_notify, has been seen.
    pub eof: bool,
}

/// An upgraded pair of connections on its way to the relay.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) client: Endpoint,
    pub(super) backend: Endpoint,
    pub(super) extensions: Extensions,
    pub(super) policy: Arc<TunnelPolicy>,
    pub(super) facts: TunnelFacts,
    pub(super) series: Arc<RelaySeries>,
    pub(super) permit: Permit,
}

impl Tunnel {
    /// `upgraded` is the proof that the backend agreed: without it there is no tunnel. The 101 has been written to the client
    /// completely, and no operation is pending on either socket. `series` is where its API and backend are counted on the
    /// core of the relay that it goes to.
    pub fn new(
        upgraded: Upgraded,
        client: Endpoint,
        backend: Endpoint,
        facts: TunnelFacts,
        series: Arc<RelaySeries>,
        permit: Permit,
    ) -> Self {
        let policy = Arc::clone(&facts.policy);
        Self {
            client,
            backend,
            extensions: upgraded.extensions(),
            policy,
            facts,
            series,
            permit,
        }
    }
}

//! The PROXY protocol header that a listener may demand: it says between whom the connection really is (spec 2.9).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use monoio::time::{Instant, timeout_at};

use super::connection::Client;
use super::pool::{Buffer, Full};
use super::stream::{Received, StreamError};
use super::{Edge, Origin, Peer};
use crate::close::CloseReason;
use crate::proto::proxy_protocol::{Addresses, ProxyHeader, decode};

/// What came of waiting for a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Introduced {
    Well,
    /// Somebody connected and left without a byte: a probe, which asked for nothing.
    NotAtAll,
    Badly(CloseReason),
}

/// Waits for the header of a connection that has just been accepted, and has `client.peer` tell what it says. What came
/// behind it is left in `buf`, and is the connection's own: TLS or a request.
pub(super) async fn hear(
    edge: &Edge,
    client: &mut Client,
    buf: &mut Buffer,
    deadline: Instant,
) -> Introduced {
    let collected = timeout_at(deadline, collect(edge, client, buf)).await;
    match collected.unwrap_or(Err(Introduced::Badly(CloseReason::NoProxyHeader))) {
        Ok(header) => {
            buf.consume(header.len);
            if let Some(addresses) = header.addresses {
                client.peer = introduced(client.peer, addresses);
            }
            Introduced::Well
        }
        Err(outcome) => outcome,
    }
}

/// Bounded by what one read brings and the longest header: beyond that `decode` does not ask for more.
async fn collect(
    edge: &Edge,
    client: &Client,
    buf: &mut Buffer,
) -> Result<ProxyHeader, Introduced> {
    loop {
        match decode(buf) {
            Ok(Some(header)) => return Ok(header),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(?error, client = %client.peer.client, "no PROXY protocol header");
                return Err(Introduced::Badly(CloseReason::NoProxyHeader));
            }
        }
        match client.stream.read(&edge.scratch, buf).await {
            Ok(Received::Bytes) => {}
            Err(StreamError::Full(Full::Pool)) => {
                return Err(Introduced::Badly(CloseReason::NoHeadRoom));
            }
            Ok(Received::End) | Err(_) if buf.is_empty() => return Err(Introduced::NotAtAll),
            Ok(Received::End) | Err(_) => {
                return Err(Introduced::Badly(CloseReason::NoProxyHeader));
            }
        }
    }
}

/// `inbound` decides which group answers and is what `X-Forwarded-Port` says: both are about where the client went.
fn introduced(peer: Peer, addresses: Addresses) -> Peer {
    Peer {
        client: addresses.source,
        inbound: addresses.destination,
        origin: Origin::ProxyHeader,
        ..peer
    }
}

//! A client's connection: the TLS handshake, then request after request until one becomes a tunnel or ends it.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::rc::Rc;
use std::sync::Arc;

use monoio::time::{Instant, timeout_at};

use super::accept::Door;
use super::pool::Buffer;
use super::proxy_header::{self, Introduced};
use super::request::{self, Heard, Request};
use super::stream::Stream;
use super::{Began, Edge, InProgress, Peer, call, refuse, upgrade};
use crate::close::{CloseReason, Deadline};
use crate::config::Scheme;
use crate::connections::Place;
use crate::observe::metrics::EdgeMetrics;
use crate::proto::handshake::{Intent, intent};
use crate::race::yield_now;
use crate::tls::TlsSession;

/// A client that has been let in.
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) place: Place,
    /// Until its first request has been answered.
    pub(super) newcomer: Option<InProgress>,
}

/// Counts a connection of the edge for as long as it is one.
struct Open(Arc<EdgeMetrics>);

impl Open {
    fn new(metrics: &Arc<EdgeMetrics>) -> Self {
        metrics.connections.add(1);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.sub(1);
    }
}

/// Serves a client to the end of its life on the edge.
pub(super) async fn serve(edge: Rc<Edge>, mut client: Client, door: Rc<Door>) {
    let _open = Open::new(&edge.metrics);
    let deadline = Instant::now() + edge.live().config.timeouts.handshake;
    let mut buf = edge.pool.buffer();
    if door.demands_proxy_header() {
        match proxy_header::hear(&edge, &mut client, &mut buf, deadline).await {
            Introduced::Well => {}
            Introduced::NotAtAll => return,
            Introduced::Badly(reason) => {
                let refusal = Began::now(&edge).refusal(&client.peer, reason, None);
                return edge.refused(&refusal);
            }
        }
    }
    if door.scheme() == Scheme::Https {
        let outcome = shake_hands(&edge, &mut client, &mut buf, deadline).await;
        if let Err(reason) = outcome {
            if reason == CloseReason::ClientGone && !client.stream.has_heard() {
                return; // A health check of a load balancer, say: it asked for nothing.
            }
            let refusal = Began::now(&edge).refusal(&client.peer, reason, None);
            return edge.refused(&refusal);
        }
    }
    let mut first = Some(deadline);
    loop {
        match request::hear(&edge, &client, &mut buf, first.take()).await {
            Heard::Nothing => return client.stream.close(&edge.scratch).await,
            Heard::Wrong(began, reason) => return refuse::last(&edge, client, began, reason).await,
            Heard::Request(request) => {
                let Some(rest) = answer(&edge, client, buf, request).await else {
                    return;
                };
                (client, buf) = rest;
                client.newcomer = None;
            }
        }
    }
}

async fn shake_hands(
    edge: &Edge,
    client: &mut Client,
    buf: &mut Buffer,
    deadline: Instant,
) -> Result<(), CloseReason> {
    let config = Arc::clone(&edge.live().server);
    let session = TlsSession::server(config).map_err(|_| CloseReason::ClientTlsFailed)?;
    client.stream.start_tls(Box::new(session), buf);
    buf.consume(buf.len());
    match timeout_at(deadline, client.stream.handshake(&edge.scratch, buf)).await {
        Err(_) => Err(CloseReason::TimedOut(Deadline::TlsHandshake)),
        Ok(Err(error)) => Err(request::broken(error)),
        Ok(Ok(())) => {
            client.stream.count_handshake(&edge.metrics.tls_clients);
            Ok(())
        }
    }
}

/// Answers one request. `buf` begins with its head; what comes back has only what the client sent behind the request,
/// if another may follow.
async fn answer(
    edge: &Rc<Edge>,
    client: Client,
    buf: Buffer,
    request: Request,
) -> Option<(Client, Buffer)> {
    match intent(&request.head, &buf) {
        Intent::Upgrade => {
            upgrade::serve(edge, client, buf, request).await;
            None
        }
        Intent::Call => {
            let (client, rest) = call::serve(edge, client, buf, request).await?;
            if !rest.is_empty() {
                // A client whose requests are all here already keeps nobody else waiting.
                yield_now().await;
            }
            Some((client, rest))
        }
    }
}

//! An upgrade from its request to its tunnel: permit, backend, answer, 101, hand-over; the client watched meanwhile.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use monoio::time::{Instant, sleep, timeout, timeout_at};

use super::answer::{self, Answer, NoAnswer, Relayed};
use super::connect::{Connected, connect};
use super::connection::Client;
use super::forward::request_head;
use super::pool::Buffer;
use super::request::Request;
use super::stream::{Received, Stream};
use super::{Edge, Peer, refuse, route, wall_clock};
use crate::catalog::{Destination, HttpBackend, Member, Method};
use crate::close::{CloseReason, Deadline, Side};
use crate::observe::access_log::TunnelFacts;
use crate::proto::handshake::{Offer, Upgraded, check_answer, check_request};
use crate::race::{First, race};
use crate::relay::policy::TunnelPolicy;
use crate::relay::{Permit, Tunnel};

/// Longest time for a connection to a backend, whatever the API's timeout (spec U5).
const CONNECT_MAX: Duration = Duration::from_secs(60);

/// How often a relay without room is asked again.
const PERMIT_RETRY: Duration = Duration::from_millis(2);

/// How often a client that has sent all it may is looked after.
const FULL_WATCH: Duration = Duration::from_millis(100);

/// Counts an upgrade that has not got its answer.
struct OnItsWay(Arc<AtomicU64>);

impl OnItsWay {
    fn new(edge: &Edge) -> Self {
        edge.on_their_way.fetch_add(1, Relaxed);
        Self(Arc::clone(&edge.on_their_way))
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Serves a request for an upgrade. Whatever the answer, the client's connection is of no more use to the edge after it:
/// what follows its head was meant for a tunnel.
pub(super) async fn serve(edge: &Rc<Edge>, mut client: Client, buf: Buffer, request: Request) {
    let _on_its_way = OnItsWay::new(edge);
    match establish(edge, &mut client, &buf, &request).await {
        Ok(established) => hand_over(edge, client, &buf, &request, established).await,
        Err(reason) => refuse::last(edge, client, request.began, reason).await,
    }
}

/// A backend's complete answer head, and what is needed to act on it.
struct Established {
    offer: Offer,
    policy: Arc<TunnelPolicy>,
    timeout: Duration,
    permit: Permit,
    backend: Backend,
    /// What the client sent behind its head.
    early: Buffer,
}

/// A backend that has answered.
struct Backend {
    connected: Connected,
    answer: Answer,
}

async fn establish(
    edge: &Edge,
    client: &mut Client,
    buf: &[u8],
    request: &Request,
) -> Result<Established, CloseReason> {
    let offer = check_request(&request.head, &request.facts, buf);
    let offer = offer.map_err(CloseReason::BadHandshake)?;
    let api = route::route(edge, &client.peer, request, buf)?;
    let Destination::Http(http) = &api.backend.destination else {
        return Err(CloseReason::NoUpgrade);
    };
    if !http.method.takes_get() {
        return Err(CloseReason::NoUpgrade);
    }
    let permit = permit(edge).await?;
    let mut early = edge.pool.buffer();
    let behind = buf.get(request.head.len..).unwrap_or_default();
    early.append(behind).map_err(|_| CloseReason::NoHeadRoom)?;
    let peer = client.peer;
    let asking = ask(edge, &peer, buf, request, http);
    match race(asking, watch(edge, &mut client.stream, &mut early)).await {
        First::Work(backend) => Ok(Established {
            offer,
            policy: Arc::clone(&http.policy),
            timeout: http.timeout,
            permit,
            backend: backend?,
            early,
        }),
        // The backend's connection has been closed with the future that held it.
        First::Other(Left) => Err(CloseReason::ClientGone),
    }
}

/// Waits for room at the relay, so that nothing can fail for lack of it after the 101.
async fn permit(edge: &Edge) -> Result<Permit, CloseReason> {
    if let Some(permit) = edge.relay.permit() {
        return Ok(permit);
    }
    let waiting = timeout(edge.config.timeouts.permit, async {
        loop {
            sleep(PERMIT_RETRY).await;
            if let Some(permit) = edge.relay.permit() {
                return permit;
            }
        }
    });
    waiting.await.map_err(|_| CloseReason::NoPermit)
}

/// The client has left.
struct Left;

/// Reads what the client sends early, as much as it may, until it leaves.
async fn watch(edge: &Edge, stream: &mut Stream, early: &mut Buffer) -> Left {
    while early.len() < edge.config.limits.early_bytes_max {
        match stream.read(&edge.scratch, early).await {
            Ok(Received::Bytes) => {}
            Ok(Received::End) | Err(_) => return Left,
        }
    }
    // The rest stays in the kernel, where it holds the client up. No read tells when it leaves, so it is asked after.
    while !stream.peer_has_left() {
        sleep(FULL_WATCH).await;
    }
    Left
}

/// Asks one member after the other until one answers (spec 2.7).
async fn ask(
    edge: &Edge,
    peer: &Peer,
    buf: &[u8],
    request: &Request,
    http: &HttpBackend,
) -> Result<Backend, CloseReason> {
    let turn = edge.next_turn();
    let connect_deadline = Instant::now() + http.timeout.min(CONNECT_MAX);
    let attempts = usize::try_from(http.retries(Method::Get)).unwrap_or(usize::MAX);
    let members = http.members.iter().cycle();
    let first = turn.checked_rem(http.members.len()).unwrap_or(0);
    let mut last = CloseReason::BackendGone;
    for member in members.skip(first).take(attempts.saturating_add(1)) {
        let head = request_head(request, buf, peer, http, member)?;
        match ask_member(edge, member, &head, http, turn, connect_deadline).await {
            Ok(backend) => return Ok(backend),
            Err(Failed::Retriable(reason)) => last = reason,
            Err(Failed::Finally(reason)) => return Err(reason),
        }
    }
    Err(last)
}

/// A member that gave no answer: whether the next may be asked.
enum Failed {
    Retriable(CloseReason),
    Finally(CloseReason),
}

async fn ask_member(
    edge: &Edge,
    member: &Member,
    head: &[u8],
    http: &HttpBackend,
    turn: usize,
    connect_deadline: Instant,
) -> Result<Backend, Failed> {
    let connecting = timeout_at(connect_deadline, connect(edge, member, turn)).await;
    let mut connected = match connecting {
        Ok(Ok(connected)) => connected,
        Ok(Err(reason)) => return Err(Failed::Retriable(reason)),
        Err(_) => {
            edge.metrics.connects_failed.add(1);
            return Err(Failed::Finally(CloseReason::TimedOut(Deadline::Connect)));
        }
    };
    let asking = async {
        let written = connected.stream.write(head).await;
        written.map_err(|_| NoAnswer::Nothing)?;
        answer::read(edge, &mut connected.stream).await
    };
    match timeout(http.timeout, asking).await {
        Ok(Ok(answer)) => Ok(Backend { connected, answer }),
        Ok(Err(NoAnswer::Nothing)) => Err(Failed::Retriable(CloseReason::BackendGone)),
        Ok(Err(NoAnswer::Broken(reason))) => Err(Failed::Finally(reason)),
        Err(_) => Err(Failed::Finally(CloseReason::TimedOut(Deadline::Answer))),
    }
}

/// Acts on the backend's answer: a tunnel, or an ordinary response.
async fn hand_over(
    edge: &Rc<Edge>,
    client: Client,
    buf: &[u8],
    request: &Request,
    established: Established,
) {
    let Established {
        offer,
        policy,
        timeout,
        permit,
        backend,
        early,
    } = established;
    let Backend { connected, answer } = backend;
    if answer.head.status != 101 {
        drop((permit, early));
        return relay_answer(edge, client, request, connected, answer, timeout).await;
    }
    match check_answer(&answer.head, &answer.buf, &offer, buf) {
        Ok(upgraded) => {
            let switch = Switch {
                upgraded,
                policy,
                permit,
                early,
                connected,
                answer,
            };
            switch.complete(edge, client, request).await;
        }
        Err(error) => {
            let reason = CloseReason::BadAnswer(error);
            refuse::last(edge, client, request.began, reason).await;
        }
    }
}

async fn relay_answer(
    edge: &Edge,
    mut client: Client,
    request: &Request,
    connected: Connected,
    answer: Answer,
    timeout: Duration,
) {
    let status = answer.head.status;
    let mut backend = connected.stream;
    let id = request.began.id;
    let relayed = answer::relay(edge, &mut client, &mut backend, answer, id, timeout).await;
    drop(backend);
    match relayed {
        Relayed::Whole => {
            let reason = CloseReason::UpgradeRefused(status);
            edge.refused(request.began.refusal(client.peer, reason, Some(status)));
            client.stream.close(&edge.scratch).await;
        }
        Relayed::Refused(reason) => refuse::last(edge, client, request.began, reason).await,
        Relayed::Broken(reason) => {
            edge.refused(request.began.refusal(client.peer, reason, Some(status)));
            client.stream.reset();
        }
    }
}

/// An agreed upgrade, of which only the client does not know yet.
struct Switch {
    upgraded: Upgraded,
    policy: Arc<TunnelPolicy>,
    permit: Permit,
    early: Buffer,
    connected: Connected,
    answer: Answer,
}

impl Switch {
    async fn complete(mut self, edge: &Rc<Edge>, mut client: Client, request: &Request) {
        let began = request.began;
        // Before the 101: after it nothing may fail for lack of room.
        if let Err(error) = self.prepare(&mut client) {
            tracing::warn!(%error, "no descriptor is left for a tunnel");
            return refuse::last(edge, client, began, CloseReason::ConnectionLimit).await;
        }
        let head = &self.answer.head;
        let sent = match answer::switching_head(head, &self.answer.buf, began.id) {
            Ok(out) => send(edge, &mut client, &out).await,
            Err(reason) => return refuse::last(edge, client, began, reason).await,
        };
        if let Err(reason) = sent {
            return edge.refused(began.refusal(client.peer, reason, None));
        }
        let peer = client.peer;
        match self.into_tunnel(client, request) {
            Ok(tunnel) => {
                edge.metrics.upgraded.add(1);
                edge.metrics.handshake.observe(began.at.elapsed());
                edge.relay.adopt(tunnel);
            }
            Err(error) => {
                // Nothing that we know of leads here; the client would see its connection end.
                tracing::warn!(%error, "a tunnel can't be handed over");
                let reason = CloseReason::Io(Side::Client, crate::close::Errno::of(&error));
                edge.refused(began.refusal(peer, reason, Some(101)));
            }
        }
    }

    fn prepare(&mut self, client: &mut Client) -> std::io::Result<()> {
        client.stream.prepare_endpoint()?;
        self.connected.stream.prepare_endpoint()
    }

    fn into_tunnel(self, client: Client, request: &Request) -> std::io::Result<Tunnel> {
        let Self {
            upgraded,
            policy,
            mut permit,
            early,
            connected,
            answer,
        } = self;
        let facts = TunnelFacts {
            id: request.began.id,
            policy,
            scheme: client.peer.scheme,
            client: client.peer.client,
            backend: connected.address,
            opened_at: wall_clock(),
            handshake: request.began.at.elapsed(),
        };
        permit.keep(client.place);
        let behind = answer.buf.get(answer.head.len..).unwrap_or_default();
        let backend = connected.stream.into_endpoint(behind.to_vec())?;
        let client = client.stream.into_endpoint(early.to_vec())?;
        Ok(Tunnel::new(upgraded, client, backend, facts, permit))
    }
}

async fn send(edge: &Edge, client: &mut Client, bytes: &[u8]) -> Result<(), CloseReason> {
    let sending = client.stream.write(bytes);
    match timeout(edge.config.timeouts.handshake, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(CloseReason::ClientGone),
    }
}

//! An upgrade from its request to its tunnel: permit, backend, answer, 101, hand-over; the client watched meanwhile.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use monoio::time::{Instant, sleep, timeout};

use super::answer::{
    Answer, Framing, Latency, NoAnswer, Persistence, Reader, Reply, is_interim, ordinary_head,
    switching_head,
};
use super::connect::{CONNECT_MAX, Connected, connect};
use super::connection::Client;
use super::forward::{Forwarded, Purpose, request_head};
use super::patience::Patience;
use super::pool::Buffer;
use super::record::{Record, Sent};
use super::relay::{Progress, Relay};
use super::request::Request;
use super::route::{self, Wrong};
use super::watch::watch;
use super::{Began, Edge, InProgress, cors, refuse, wall_clock};
use crate::catalog::{Api, Destination, HttpBackend, Method};
use crate::close::{CloseReason, Deadline, Side};
use crate::observe::access_log::{TunnelFacts, TunnelRequest};
use crate::observe::series::Series;
use crate::proto::handshake::{AnswerError, Offer, Upgraded, check_answer, check_request};
use crate::proto::head::Version;
use crate::race::{First, race};
use crate::relay::policy::TunnelPolicy;
use crate::relay::{Permit, Tunnel};

/// How often a relay without room is asked again.
const PERMIT_RETRY: Duration = Duration::from_millis(2);

/// Serves a request for an upgrade. Whatever the answer, the client's connection is of no more use to the edge after it:
/// what follows its head was meant for a tunnel.
pub(super) async fn serve(edge: &Rc<Edge>, client: Client, buf: Buffer, request: Request) {
    let _in_progress = InProgress::new(edge);
    let mut record = Record::default();
    match establish(edge, &client, &buf, &request, &mut record).await {
        Ok(established) => hand_over(edge, client, (&request, &buf), established, record).await,
        Err(wrong) => refuse(edge, client, (&request, &buf), &wrong, record).await,
    }
}

async fn refuse(
    edge: &Edge,
    client: Client,
    asked: (&Request, &[u8]),
    wrong: &Wrong,
    mut record: Record,
) {
    record.finish();
    edge.count_handshake(wrong.series.as_deref(), Err(wrong.reason));
    refuse::upgrade(edge, client, asked, wrong, record).await;
}

/// A backend's complete answer head, and what is needed to act on it.
struct Established {
    offer: Offer,
    api: Arc<Api>,
    policy: Arc<TunnelPolicy>,
    /// Where the handshake and its tunnel are counted.
    series: Arc<Series>,
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
    latency: Latency,
}

async fn establish(
    edge: &Edge,
    client: &Client,
    buf: &[u8],
    request: &Request,
    record: &mut Record,
) -> Result<Established, Wrong> {
    let offer = check_request(&request.head, &request.facts, buf);
    let offer = offer.map_err(CloseReason::BadHandshake)?;
    let route = route::route(edge, &client.peer, request, buf)?;
    record.api = Some(Arc::clone(&route.api));
    let asked = Cell::new(&route.api.series);
    let wrong = |reason| Wrong::with_api(reason, &route.api);
    let outgoing = route.outgoing(&client.peer, request, buf).map_err(wrong)?;
    let Destination::Http(http) = &outgoing.backend.destination else {
        return Err(wrong(CloseReason::NoUpgrade)); // Spec U6.
    };
    if !http.method.takes_get() {
        return Err(wrong(CloseReason::NoUpgrade));
    }
    let permit = permit(edge).await.map_err(wrong)?;
    let mut early = edge.pool.buffer();
    let behind = buf.get(request.head.len..).unwrap_or_default();
    let kept = early.append(behind);
    kept.map_err(|_| wrong(CloseReason::NoHeadRoom))?;
    let forwarded = Forwarded {
        request,
        buf,
        peer: &client.peer,
        rules: edge.live().config.forwarding,
        outgoing: &outgoing,
        // RFC 6455 §4.1: an opening handshake is a GET; spec 1.6 allows no other method here.
        method: b"GET",
        purpose: Purpose::Upgrade,
    };
    if edge.log.is_on() {
        record.target.clone_from(&outgoing.target);
    }
    let asked_wrong = |reason| wrong(reason).with_backend(asked.get());
    let asking = ask(edge, &forwarded, http, &asked, record);
    match race(asking, watch(edge, &client.stream, &mut early)).await {
        First::Work(backend) => Ok(Established {
            offer,
            policy: Arc::clone(&http.policy),
            timeout: http.timeout,
            permit,
            backend: backend.map_err(asked_wrong)?,
            early,
            series: Arc::clone(asked.get()),
            api: Arc::clone(&route.api),
        }),
        // The backend's connection has been closed with the future that held it.
        First::Other(()) => Err(asked_wrong(CloseReason::ClientGone)),
    }
}

/// Waits for room at the relay, so that nothing can fail for lack of it after the 101.
async fn permit(edge: &Edge) -> Result<Permit, CloseReason> {
    if let Some(permit) = edge.relay.permit() {
        return Ok(permit);
    }
    let waiting = timeout(edge.live().config.timeouts.permit, async {
        loop {
            sleep(PERMIT_RETRY).await;
            if let Some(permit) = edge.relay.permit() {
                return permit;
            }
        }
    });
    waiting.await.map_err(|_| CloseReason::NoPermit)
}

/// Asks one member after the other until one answers (spec 2.7), and notes where what became of that is counted.
async fn ask<'a>(
    edge: &Edge,
    forwarded: &Forwarded<'_>,
    http: &'a HttpBackend,
    asked: &Cell<&'a Arc<Series>>,
    record: &mut Record,
) -> Result<Backend, CloseReason> {
    let turn = edge.next_turn();
    let connect_deadline = Instant::now() + http.timeout.min(CONNECT_MAX);
    let attempts = usize::try_from(http.retries(Method::Get)).unwrap_or(usize::MAX);
    let mut last = CloseReason::BackendGone;
    for (member, series) in http.in_turn(turn).take(attempts.saturating_add(1)) {
        asked.set(series);
        let head = request_head(forwarded, member)?;
        record.attempt(member);
        let id = forwarded.request.began.id;
        let connecting = connect(edge, (member, series), turn, connect_deadline, id);
        let outcome = match connecting.await {
            Ok(connected) => {
                record.connected(connected.address);
                ask_member(edge, connected, &head, forwarded, http).await
            }
            // No time is left for another.
            Err(reason @ CloseReason::TimedOut(_)) => Err(Failed::Finally(reason)),
            Err(reason) => Err(Failed::Retriable(reason)),
        };
        match outcome {
            Ok(backend) => {
                record.answered(backend.answer.head.status, Instant::now());
                return Ok(backend);
            }
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
    connected: Connected,
    head: &[u8],
    forwarded: &Forwarded<'_>,
    http: &HttpBackend,
) -> Result<Backend, Failed> {
    let sent_at = Instant::now();
    let asking = async {
        let written = connected.stream.write(head).await;
        written.map_err(|_| NoAnswer::Nothing)?;
        let mut reader = Reader::new(edge);
        loop {
            let head = reader.head(edge, &connected.stream).await?;
            if !is_interim(&head) {
                return Ok(reader.into_answer(head));
            }
            reader.pass_over(&head);
        }
    };
    match timeout(http.timeout, asking).await {
        Ok(Ok(answer)) => Ok(Backend {
            connected,
            answer,
            latency: Latency {
                total: forwarded.request.began.at.elapsed(),
                upstream: Some(sent_at.elapsed()),
            },
        }),
        Ok(Err(NoAnswer::Nothing)) => Err(Failed::Retriable(CloseReason::BackendGone)),
        Ok(Err(NoAnswer::Broken(reason))) => Err(Failed::Finally(reason)),
        Err(_) => Err(Failed::Finally(CloseReason::TimedOut(Deadline::Answer))),
    }
}

/// Acts on the backend's answer: a tunnel, or an ordinary response.
async fn hand_over(
    edge: &Rc<Edge>,
    client: Client,
    asked: (&Request, &[u8]),
    established: Established,
    mut record: Record,
) {
    let (request, buf) = asked;
    let Established {
        offer,
        api,
        policy,
        series,
        timeout,
        permit,
        backend,
        early,
    } = established;
    let Backend {
        connected,
        answer,
        latency,
    } = backend;
    let reply = Reply {
        id: request.began.id,
        version: Version::Http11,
        is_head: false,
        cors: cors::of(&api, request, buf),
        latency: request.is_debugging(buf).then_some(latency),
        date: wall_clock(),
    };
    let wrong = if answer.head.status != 101 {
        drop(permit);
        let ordinary = Ordinary {
            reply,
            series: Arc::clone(&series),
            timeout,
            early,
        };
        ordinary
            .relay(edge, client, asked, connected, answer, &mut record)
            .await
    } else {
        match check_answer(&answer.head, &answer.buf, &offer, buf) {
            Ok(upgraded) => {
                let switch = Switch {
                    upgraded,
                    policy,
                    series,
                    permit,
                    early,
                    connected,
                    answer,
                    reply,
                };
                return switch.complete(edge, client, asked, record).await;
            }
            Err(error) => Err((client, CloseReason::BadAnswer(error))),
        }
    };
    if let Err((client, reason)) = wrong {
        let wrong = Wrong::with_api(reason, &api).with_backend(&series);
        refuse(edge, client, asked, &wrong, record).await;
    }
}

/// An answer that is no 101 (spec 1.6.6).
struct Ordinary {
    reply: Reply,
    series: Arc<Series>,
    timeout: Duration,
    early: Buffer,
}

impl Ordinary {
    /// The client comes back with a reason if it has not been told anything yet.
    async fn relay(
        mut self,
        edge: &Edge,
        client: Client,
        asked: (&Request, &[u8]),
        connected: Connected,
        answer: Answer,
        record: &mut Record,
    ) -> Result<(), (Client, CloseReason)> {
        let status = answer.head.status;
        let (patience, progress) = (Patience::new(self.timeout), Progress::default());
        let relay = Relay {
            edge,
            client: &client.stream,
            backend: &connected.stream,
            patience: &patience,
            progress: &progress,
        };
        let relaying = pass_on(&relay, answer, &self.reply);
        let leaving = watch(edge, &client.stream, &mut self.early);
        let relayed = match race(relaying, leaving).await {
            First::Work(relayed) => relayed,
            First::Other(()) => Err(CloseReason::ClientGone),
        };
        drop(connected);
        record.from_backend = progress.bytes.get();
        record.sent = progress.sent();
        let mut refused = |reason| {
            edge.count_handshake(Some(&self.series), Err(reason));
            edge.refused(&record.end(asked, &client.peer, reason, Some(status)));
        };
        match relayed {
            Ok(()) => {
                refused(CloseReason::UpgradeRefused(status));
                client.stream.close(&edge.scratch).await;
            }
            Err(reason) if !progress.begun.get() => return Err((client, reason)),
            Err(reason) => {
                refused(reason);
                client.stream.reset();
            }
        }
        Ok(())
    }
}

async fn pass_on(relay: &Relay<'_>, answer: Answer, reply: &Reply) -> Result<(), CloseReason> {
    let head = &answer.head;
    let length = head
        .body(&answer.buf, false)
        .map_err(|_| CloseReason::BadAnswer(AnswerError::NotHttp))?;
    let framing = Framing::new(head.status, length, reply);
    let out = ordinary_head(head, &answer.buf, reply, framing, Persistence::Close)?;
    relay.run(answer, out, length, framing).await.map(|_| ())
}

/// An agreed upgrade, of which only the client does not know yet.
struct Switch {
    upgraded: Upgraded,
    policy: Arc<TunnelPolicy>,
    series: Arc<Series>,
    permit: Permit,
    early: Buffer,
    connected: Connected,
    answer: Answer,
    reply: Reply,
}

impl Switch {
    async fn complete(
        mut self,
        edge: &Rc<Edge>,
        mut client: Client,
        asked: (&Request, &[u8]),
        mut record: Record,
    ) {
        let (began, id) = (asked.0.began, asked.0.began.id);
        let series = Arc::clone(&self.series);
        let count = |result| edge.count_handshake(Some(&series), result);
        // Before the 101: after it nothing may fail for lack of room.
        if let Err(error) = self.prepare(&mut client) {
            tracing::warn!(%id, %error, "no descriptor is left for a tunnel");
            count(Err(CloseReason::ConnectionLimit));
            let wrong = CloseReason::ConnectionLimit.into();
            return refuse::upgrade(edge, client, asked, &wrong, record).await;
        }
        let head = &self.answer.head;
        let sent = match switching_head(head, &self.answer.buf, &self.reply) {
            Ok(out) => {
                record.sent = Sent::of(&out);
                send(edge, &client, &out).await
            }
            Err(reason) => {
                count(Err(reason));
                return refuse::upgrade(edge, client, asked, &reason.into(), record).await;
            }
        };
        if let Err(reason) = sent {
            count(Err(reason));
            record.sent = Sent::default();
            return edge.refused(&record.end(asked, &client.peer, reason, None));
        }
        let peer = client.peer;
        let (request, buf) = asked;
        let wanted = edge.log.is_on();
        let kept = wanted.then(|| record.into_tunnel(request, buf, &peer));
        match self.into_tunnel(edge, client, began, kept) {
            Ok(tunnel) => {
                count(Ok(()));
                edge.metrics.handshake.observe_time(began.at.elapsed());
                edge.relay.adopt(tunnel);
            }
            Err(error) => {
                // Nothing that we know of leads here; the client would see its connection end.
                tracing::warn!(%id, %error, "a tunnel can't be handed over");
                let reason = CloseReason::Io(Side::Client, crate::close::Errno::of(&error));
                count(Err(reason));
                edge.refused(&began.refusal(&peer, reason, Some(101)));
            }
        }
    }

    fn prepare(&mut self, client: &mut Client) -> std::io::Result<()> {
        client.stream.prepare_endpoint()?;
        self.connected.stream.prepare_endpoint()
    }

    fn into_tunnel(
        self,
        edge: &Edge,
        client: Client,
        began: Began,
        request: Option<Box<TunnelRequest>>,
    ) -> std::io::Result<Tunnel> {
        let Self {
            upgraded,
            policy,
            series,
            mut permit,
            early,
            connected,
            answer,
            ..
        } = self;
        let facts = TunnelFacts {
            id: began.id,
            policy,
            scheme: client.peer.scheme,
            client: client.peer.client,
            backend: connected.address,
            opened_at: wall_clock(),
            handshake: began.at.elapsed(),
            request,
        };
        permit.keep(client.place);
        let behind = answer.buf.get(answer.head.len..).unwrap_or_default();
        let backend = connected.stream.into_endpoint(behind.to_vec())?;
        let client = client.stream.into_endpoint(early.to_vec())?;
        let series = series.relay(edge.core);
        Ok(Tunnel::new(
            upgraded, client, backend, facts, series, permit,
        ))
    }
}

async fn send(edge: &Edge, client: &Client, bytes: &[u8]) -> Result<(), CloseReason> {
    let sending = client.stream.write(bytes);
    match timeout(edge.live().config.timeouts.handshake, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(CloseReason::ClientGone),
    }
}

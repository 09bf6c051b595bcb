//! Asking backends until one answers (spec 2.7): on a connection that is left from an earlier call, or on a new one.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::sync::Arc;

use monoio::time::Instant;

use super::exchange::{Done, Exchange, Stopped};
use super::idle::IdleBackends;
use super::upload::Upload;
use super::{Call, Failed};
use crate::catalog::{Api, HttpBackend, Member, Method, Outgoing};
use crate::close::CloseReason;
use crate::edge::connect::{CONNECT_MAX, Connected, connect};
use crate::edge::forward::{Forwarded, Purpose, request_head};
use crate::edge::record::Record;
use crate::edge::route::Wrong;
use crate::edge::watch::watch_asker;
use crate::observe::series::Series;
use crate::race::{First, race};

pub(super) struct Asking<'a> {
    call: &'a Call<'a>,
    api: &'a Arc<Api>,
    http: &'a HttpBackend,
    forwarded: Forwarded<'a>,
    is_idempotent: bool,
    turn: usize,
    connect_deadline: Instant,
}

/// A member that gave no answer: whether the next may be asked.
enum Unanswered {
    Retriable(CloseReason),
    Finally(Failed),
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        call: &'a Call<'a>,
        api: &'a Arc<Api>,
        http: &'a HttpBackend,
        outgoing: &'a Outgoing<'a>,
    ) -> Self {
        let clients = call.request.head.method.of(call.buf);
        let method = match http.method {
            Method::Any => clients,
            method => method.label().as_bytes(),
        };
        Self {
            call,
            api,
            http,
            forwarded: Forwarded {
                request: call.request,
                buf: call.buf,
                peer: call.peer,
                rules: call.edge.live().config.forwarding,
                outgoing,
                method,
                purpose: Purpose::Call,
            },
            is_idempotent: is_idempotent(method),
            turn: call.edge.next_turn(),
            connect_deadline: Instant::now() + http.timeout.min(CONNECT_MAX),
        }
    }

    /// One member after the other, beginning with another one at each call.
    pub(super) async fn run(
        &self,
        upload: &mut Upload,
        record: &mut Record,
    ) -> Result<Done, Failed> {
        let attempts = self.retries().saturating_add(1);
        let mut last = CloseReason::BackendGone;
        for (member, series) in self.http.in_turn(self.turn).take(attempts) {
            record.series = Some(Arc::clone(series));
            match self.ask((member, series), upload, record).await {
                Ok(done) => return Ok(done),
                Err(Unanswered::Finally(failed)) => return Err(failed),
                Err(Unanswered::Retriable(reason)) => last = reason,
            }
            // What has been sent of a body is gone.
            if upload.has_started() {
                break;
            }
        }
        Err(self.refused(last))
    }

    fn retries(&self) -> usize {
        let method = if self.is_idempotent {
            Method::Get
        } else {
            Method::Post
        };
        usize::try_from(self.http.retries(method)).unwrap_or(usize::MAX)
    }

    async fn ask(
        &self,
        (member, series): (&Member, &Series),
        upload: &mut Upload,
        record: &mut Record,
    ) -> Result<Done, Unanswered> {
        let edge = self.call.edge;
        if let Some(idle) = edge.idle_backends.take(edge, member) {
            edge.metrics.backends_reused.add(1);
            record.attempt(member);
            match self.exchange(member, idle, upload, record).await {
                // Its backend closed it just now. A request that may be repeated gets a fresh one, and that is no retry
                // of the API's (RFC 9112 §9.3.1).
                Err(Unanswered::Retriable(_)) if self.is_idempotent && !upload.has_started() => {}
                outcome => return outcome,
            }
        }
        record.attempt(member);
        let connected = self.connect((member, series), upload).await?;
        self.exchange(member, connected, upload, record).await
    }

    /// Connects, unless the client leaves meanwhile.
    async fn connect(
        &self,
        member: (&Member, &Series),
        upload: &mut Upload,
    ) -> Result<Connected, Unanswered> {
        let Call { edge, client, .. } = self.call;
        let id = self.call.request.began.id;
        let connecting = connect(edge, member, self.turn, self.connect_deadline, id);
        match race(connecting, watch_asker(edge, client, &mut upload.incoming)).await {
            First::Work(Ok(connected)) => Ok(connected),
            // No time is left for another.
            First::Work(Err(reason @ CloseReason::TimedOut(_))) => Err(self.finally(reason)),
            First::Work(Err(reason)) => Err(Unanswered::Retriable(reason)),
            First::Other(()) => Err(self.finally(CloseReason::ClientGone)),
        }
    }

    async fn exchange(
        &self,
        member: &Member,
        connected: Connected,
        upload: &mut Upload,
        record: &mut Record,
    ) -> Result<Done, Unanswered> {
        record.connected(connected.address);
        let head = request_head(&self.forwarded, member).map_err(|reason| self.finally(reason))?;
        let exchange = Exchange::new(
            self.call,
            self.api,
            self.http,
            self.forwarded.method,
            &connected.stream,
        );
        let outcome = exchange.run(head, upload).await;
        exchange.note(record);
        record.finish();
        match outcome {
            Ok(done) => {
                if done.backend_is_reusable {
                    IdleBackends::put(self.call.edge, member, connected);
                }
                Ok(done)
            }
            Err(Stopped::Unanswered) => Err(Unanswered::Retriable(CloseReason::BackendGone)),
            Err(Stopped::Before(reason)) => Err(self.finally(reason)),
            Err(Stopped::Within(reason, status)) => {
                Err(Unanswered::Finally(Failed::Cut { reason, status }))
            }
        }
    }

    fn finally(&self, reason: CloseReason) -> Unanswered {
        Unanswered::Finally(self.refused(reason))
    }

    fn refused(&self, reason: CloseReason) -> Failed {
        Failed::Refused(Wrong::with_api(reason, self.api))
    }
}

/// RFC 9110 §9.2.2, as far as spec 2.7 has it; what nobody knows is not repeated.
fn is_idempotent(method: &[u8]) -> bool {
    std::str::from_utf8(method)
        .ok()
        .and_then(Method::named)
        .is_some_and(Method::is_idempotent)
}

//! An ordinary HTTP call, from its request to the end of its answer (RFC 9110 and 9112, as an intermediary).
//!
//! ```text
//!  serve ─► route ─┬─► mock ──────────────────────────────────────────────► answer of our own
//!                  └─► ask ─► idle connection, or connect ─► exchange ─┬─► up:   upload ─► backend
//!                       ▲                                      │       └─► down: backend ─► client
//!                       └──────────── next member ◄────────────┘
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

mod ask;
mod exchange;
mod idle;
mod upload;

use std::rc::Rc;
use std::sync::Arc;

use super::answer::{Latency, Persistence, Reply};
use super::connection::Client;
use super::pool::Buffer;
use super::record::{Record, Sent};
use super::refuse::{self, Body, Extra, Known, Last};
use super::request::Request;
use super::route::{self, Wrong};
use super::stream::Stream;
use super::{Edge, InProgress, Peer, cors, wall_clock};
use crate::catalog::{Api, Destination, Mock, Rendered};
use crate::close::CloseReason;
use crate::observe::access_log::{RequestEnd, RequestKind};
use crate::proto::head::{Body as RequestBody, Version};
use ask::Asking;
pub(super) use idle::IdleBackends;
use upload::Upload;

/// What a call works with.
pub(super) struct Call<'a> {
    edge: &'a Rc<Edge>,
    peer: &'a Peer,
    client: &'a Stream,
    request: &'a Request,
    /// What the request's spans refer to.
    buf: &'a [u8],
}

/// Why a call has no whole answer of its API's.
enum Failed {
    /// Nothing of an answer has been sent.
    Refused(Wrong),
    /// The client has a part, and must not take it for the whole.
    Cut {
        reason: CloseReason,
        status: Option<u16>,
    },
}

impl From<CloseReason> for Failed {
    fn from(reason: CloseReason) -> Self {
        Self::Refused(reason.into())
    }
}

/// How a call ended.
struct End {
    reason: CloseReason,
    /// What the client was answered.
    status: Option<u16>,
    after: After,
}

/// What becomes of the client's connection.
enum After {
    KeepAlive,
    /// Closed so that our last word arrives.
    Close,
    /// Ended so that nobody takes the answer for complete.
    Reset,
    Gone,
}

/// Serves the call whose head stands at the front of `buf`. The client comes back with what it has sent behind it, if
/// another request may follow.
pub(super) async fn serve(
    edge: &Rc<Edge>,
    client: Client,
    buf: Buffer,
    request: Request,
) -> Option<(Client, Buffer)> {
    let in_progress = InProgress::new(edge);
    let mut upload = match Upload::new(edge, &request, &buf) {
        Ok(upload) => upload,
        Err(reason) => {
            refuse::last(edge, client, request.began, reason).await;
            return None;
        }
    };
    let call = Call {
        edge,
        peer: &client.peer,
        client: &client.stream,
        request: &request,
        buf: &buf,
    };
    let mut record = Record::default();
    let end = call.run(&mut upload, &mut record).await;
    record.from_client = upload.bytes();
    call.log(&end, &mut record);
    drop(in_progress);
    match end.after {
        After::KeepAlive => return Some((client, upload.into_rest())),
        After::Close => client.stream.close(&edge.scratch).await,
        After::Reset => client.stream.reset(),
        After::Gone => {}
    }
    None
}

impl Call<'_> {
    async fn run(&self, upload: &mut Upload, record: &mut Record) -> End {
        match self.answer(upload, record).await {
            Ok(end) => end,
            Err(Failed::Refused(wrong)) => self.refuse(&wrong, upload, record).await,
            Err(Failed::Cut { reason, status }) => End {
                reason,
                status,
                after: After::Reset,
            },
        }
    }

    async fn answer(&self, upload: &mut Upload, record: &mut Record) -> Result<End, Failed> {
        self.check_size()?;
        self.check_expectation()?;
        let Self {
            edge,
            peer,
            request,
            buf,
            ..
        } = *self;
        let route = route::route(edge, peer, request, buf).map_err(Failed::Refused)?;
        let api = &route.api;
        record.api = Some(Arc::clone(api));
        let outgoing = route
            .outgoing(peer, request, buf)
            .map_err(|reason| Failed::Refused(Wrong::with_api(reason, api)))?;
        match &outgoing.backend.destination {
            Destination::Mock(mock) => Ok(self.answer_as(api, mock, upload, record).await),
            Destination::Http(http) => {
                if edge.log.is_on() {
                    record.target.clone_from(&outgoing.target);
                }
                let asking = Asking::new(self, api, http, &outgoing);
                let done = asking.run(upload, record).await;
                record.finish();
                let done = done?;
                Ok(End {
                    reason: CloseReason::Answered(done.status),
                    status: Some(done.status),
                    after: done.persistence.into(),
                })
            }
        }
    }

    /// Spec 1.6: sizes come first. A body without a declared length is measured while it comes.
    fn check_size(&self) -> Result<(), CloseReason> {
        let bytes_max = self.edge.live().config.limits.request_body_bytes_max;
        match self.request.facts.body {
            RequestBody::Length(length) if length > bytes_max => Err(CloseReason::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// RFC 9110 §10.1.1: there is one expectation, and HTTP/1.0 has none.
    fn check_expectation(&self) -> Result<(), CloseReason> {
        let Self { request, buf, .. } = *self;
        let is_known = |token: &[u8]| token.eq_ignore_ascii_case(b"100-continue");
        let mut tokens = request.head.tokens(buf, "expect");
        if request.head.version == Version::Http11 && !tokens.all(is_known) {
            return Err(CloseReason::BadExpectation);
        }
        Ok(())
    }

    /// The answer of a mock backend (spec 3.3).
    async fn answer_as(
        &self,
        api: &Api,
        mock: &Mock,
        upload: &mut Upload,
        record: &mut Record,
    ) -> End {
        let content_type = mock
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map_or("application/json", |(_, value)| value);
        let rendered = Rendered {
            status: mock.status,
            content_type: content_type.to_owned(),
            headers: mock.headers.clone(),
            body: mock.body.clone().into_bytes(),
        };
        let extra = Extra::Cors(cors::of(api, self.request, self.buf));
        let reason = CloseReason::Answered(mock.status);
        self.answer_with(&rendered, extra, reason, upload, record)
            .await
    }

    async fn refuse(&self, wrong: &Wrong, upload: &mut Upload, record: &mut Record) -> End {
        let Some(error) = wrong.reason.answer() else {
            return End {
                reason: wrong.reason,
                status: None,
                after: After::Gone,
            };
        };
        let known = Known {
            request: Some((self.request, self.buf)),
            ..wrong.known()
        };
        let id = self.request.began.id;
        let rendered = refuse::render(self.edge, &error, id, self.peer, known);
        // What is for handshakes alone is not for calls; a page has to be able to read why its call failed (spec 7.9).
        let cors = |api| cors::of(api, self.request, self.buf);
        let extra = Extra::Cors(wrong.api.as_deref().and_then(cors));
        self.answer_with(&rendered, extra, wrong.reason, upload, record)
            .await
    }

    /// Sends an answer of our own. The connection stays of use if what is left of the request has come already.
    async fn answer_with(
        &self,
        rendered: &Rendered,
        extra: Extra,
        reason: CloseReason,
        upload: &mut Upload,
        record: &mut Record,
    ) -> End {
        let persistence = if self.may_go_on() && upload.skip_rest() {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        };
        let total = self.request.began.at.elapsed();
        let last = Last {
            persistence,
            version: self.request.head.version,
            body: Body::for_method(self.request.head.method.of(self.buf)),
            latency: self.wanted(Latency {
                total,
                upstream: None,
            }),
            date: wall_clock(),
        };
        let mut answer = Vec::new();
        refuse::write(&mut answer, rendered, self.request.began.id, last, extra);
        let sent = refuse::send(self.edge, self.client, &answer).await;
        if sent {
            record.sent = Sent::of(&answer);
        }
        End {
            reason,
            status: sent.then_some(rendered.status),
            after: if sent {
                persistence.into()
            } else {
                After::Gone
            },
        }
    }

    /// Whether the client may send another request, as far as its head and we have a say in it.
    fn may_go_on(&self) -> bool {
        self.request.facts.keep_alive && !self.edge.stopping.get()
    }

    fn reply(&self, api: &Api, latency: Latency) -> Reply {
        Reply {
            id: self.request.began.id,
            version: self.request.head.version,
            is_head: self.request.head.method.of(self.buf) == b"HEAD",
            cors: cors::of(api, self.request, self.buf),
            latency: self.wanted(latency),
            date: wall_clock(),
        }
    }

    /// Spec 2.8: only who asks for it is told.
    fn wanted(&self, latency: Latency) -> Option<Latency> {
        self.request.is_debugging(self.buf).then_some(latency)
    }

    fn log(&self, end: &End, record: &mut Record) {
        let Self { edge, request, .. } = *self;
        edge.metrics.calls.count(end.status);
        let of_api = record.api.as_ref().map(|api| &api.series);
        let series = record.series.as_ref().or(of_api);
        if let Some(counts) = series.and_then(|series| series.edge(edge.core)) {
            counts.calls.count(end.status);
        }
        if !matches!(end.reason, CloseReason::Answered(_)) {
            edge.metrics.refused.count(end.reason);
        }
        let kind = if record.api.is_some() {
            RequestKind::Call
        } else {
            RequestKind::Refusal
        };
        edge.log_end(&RequestEnd {
            kind,
            ..record.end((request, self.buf), self.peer, end.reason, end.status)
        });
    }
}

impl From<Persistence> for After {
    fn from(persistence: Persistence) -> Self {
        match persistence {
            Persistence::KeepAlive => Self::KeepAlive,
            Persistence::Close => Self::Close,
        }
    }
}

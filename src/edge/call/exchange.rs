//! One request to one backend and its answer, both ways at once: the backend may answer while it is still asked.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::cell::Cell;
use std::pin::pin;

use monoio::time::{Instant, sleep, timeout_at};

use super::Call;
use super::upload::Upload;
use crate::catalog::{Api, HttpBackend};
use crate::close::{CloseReason, Deadline};
use crate::edge::answer::{
    Answer, Framing, Latency, NoAnswer, Persistence, Reader, interim_head, is_interim,
    ordinary_head,
};
use crate::edge::forward::expects_continue;
use crate::edge::patience::{Expired, Patience};
use crate::edge::record::Record;
use crate::edge::relay::{Progress, Relay};
use crate::edge::request;
use crate::edge::stream::{Received, Stream};
use crate::edge::watch::{FULL_WATCH, watch_asker};
use crate::proto::handshake::AnswerError;
use crate::proto::head::{ResponseHead, Version};
use crate::race::{First, race};

pub(super) struct Exchange<'a> {
    call: &'a Call<'a>,
    api: &'a Api,
    backend: &'a Stream,
    /// What the backend is asked with.
    method: &'a [u8],
    sent_at: Instant,
    patience: Patience,
    progress: Progress,
    /// The backend has all of the request.
    uploaded: Cell<bool>,
    /// Since when the client has been free to send its body; `None` while it may wait for a 100.
    free_since: Cell<Option<Instant>>,
    /// What the backend answered, and when.
    answered: Cell<Option<(u16, Instant)>>,
}

/// An exchange that went well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) status: u16,
    /// What the client was told about its connection.
    pub(super) persistence: Persistence,
    /// Another call may use the backend's connection.
    pub(super) backend_is_reusable: bool,
}

/// How far an exchange that went wrong had got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The backend closed before the first byte of its answer.
    Unanswered,
    /// The client can still be told.
    Before(CloseReason),
    /// The client has part of an answer of this status.
    Within(CloseReason, Option<u16>),
}

/// Why the request can't be sent to its end.
enum Unsent {
    /// The backend takes no more. What it has to say decides.
    Backend,
    Client(CloseReason),
}

impl From<CloseReason> for Unsent {
    fn from(reason: CloseReason) -> Self {
        Self::Client(reason)
    }
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        call: &'a Call<'a>,
        api: &'a Api,
        http: &HttpBackend,
        method: &'a [u8],
        backend: &'a Stream,
    ) -> Self {
        let now = Instant::now();
        let may_wait = expects_continue(call.request, call.buf);
        Self {
            call,
            api,
            backend,
            method,
            sent_at: now,
            patience: Patience::new(http.timeout),
            progress: Progress::default(),
            uploaded: Cell::new(false),
            free_since: Cell::new((!may_wait).then_some(now)),
            answered: Cell::new(None),
        }
    }

    /// Tells `record` how far it got.
    pub(super) fn note(&self, record: &mut Record) {
        if let Some((status, at)) = self.answered.get() {
            record.answered(status, at);
        }
        record.from_backend = self.progress.bytes.get();
        record.sent = self.progress.sent();
    }

    /// Sends `head` and the body, and passes the answer on. Whatever goes wrong on the client's side ends it at once.
    pub(super) async fn run(&self, head: Vec<u8>, upload: &mut Upload) -> Result<Done, Stopped> {
        match race(self.down(), self.up(head, upload)).await {
            First::Work(Ok(done)) => Ok(done),
            First::Work(Err(NoAnswer::Nothing)) => Err(Stopped::Unanswered),
            First::Work(Err(NoAnswer::Broken(reason))) | First::Other(reason) => {
                Err(if self.progress.begun.get() {
                    Stopped::Within(reason, self.answered.get().map(|(status, _)| status))
                } else {
                    Stopped::Before(reason)
                })
            }
        }
    }

    /// Sends the request, and then waits for the client to leave.
    async fn up(&self, head: Vec<u8>, upload: &mut Upload) -> CloseReason {
        let edge = self.call.edge;
        match self.send(head, upload).await {
            Ok(()) => {
                watch_asker(edge, self.call.client, &mut upload.incoming).await;
            }
            Err(Unsent::Backend) => {
                while !self.call.client.peer_is_gone() {
                    sleep(FULL_WATCH).await;
                }
            }
            Err(Unsent::Client(reason)) => return reason,
        }
        CloseReason::ClientGone
    }

    async fn send(&self, mut head: Vec<u8>, upload: &mut Upload) -> Result<(), Unsent> {
        upload.scan()?;
        if upload.has_started() && self.free_since.get().is_none() {
            self.free_since.set(Some(Instant::now()));
        }
        head.extend_from_slice(upload.piece());
        self.write(&head).await?;
        drop(head);
        loop {
            upload.advance();
            if upload.is_complete() {
                self.uploaded.set(true);
                return Ok(());
            }
            self.receive(upload).await?;
            upload.scan()?;
            self.write(upload.piece()).await?;
        }
    }

    /// The backend's time begins again with each piece of the request: it can't answer what it has not got.
    async fn write(&self, bytes: &[u8]) -> Result<(), Unsent> {
        self.patience.restart();
        let written = self.backend.write(bytes).await;
        self.patience.restart();
        written.map_err(|_| Unsent::Backend)
    }

    /// Waits for more of the body, for as long as it may pause.
    async fn receive(&self, upload: &mut Upload) -> Result<(), CloseReason> {
        let Call { edge, client, .. } = self.call;
        let pause_max = edge.live().config.timeouts.request_body;
        let mut reading = pin!(client.next(&edge.scratch, &mut upload.incoming));
        let mut since = Instant::now();
        if self.free_since.get().is_some() {
            self.patience.pause();
        }
        loop {
            match timeout_at(since + pause_max, reading.as_mut()).await {
                Ok(Ok(Received::Bytes)) => {
                    self.free_since.set(Some(Instant::now()));
                    return Ok(());
                }
                Ok(Ok(Received::End)) => return Err(CloseReason::ClientGone),
                Ok(Err(error)) => return Err(request::broken(error)),
                Err(_) => match self.free_since.get() {
                    // The backend's patience is the bound.
                    None => since = Instant::now(),
                    Some(free) if free > since => since = free,
                    Some(_) => return Err(CloseReason::TimedOut(Deadline::RequestBody)),
                },
            }
        }
    }

    async fn down(&self) -> Result<Done, NoAnswer> {
        let answer = self.final_answer().await?;
        let broken = |error| NoAnswer::Broken(error);
        let head = &answer.head;
        self.answered.set(Some((head.status, Instant::now())));
        let length = head
            .body(&answer.buf, self.method == b"HEAD")
            .map_err(|_| broken(CloseReason::BadAnswer(AnswerError::NotHttp)))?;
        let reply = self.call.reply(self.api, self.latency());
        let framing = Framing::new(head.status, length, &reply);
        let persistence = self.persistence(framing);
        let out = ordinary_head(head, &answer.buf, &reply, framing, persistence).map_err(broken)?;
        let status = head.status;
        let stays = head.version == Version::Http11 && head.keep_alive(&answer.buf);
        let whole = self.relay().run(answer, out, length, framing).await;
        let whole = whole.map_err(broken)?;
        Ok(Done {
            status,
            persistence,
            backend_is_reusable: stays && whole.backend_is_clean && self.uploaded.get(),
        })
    }

    /// Reads past interim answers, which the client gets if it can make something of them.
    async fn final_answer(&self) -> Result<Answer, NoAnswer> {
        let edge = self.call.edge;
        let mut reader = Reader::new(edge);
        loop {
            let head = match self.patience.wait(reader.head(edge, self.backend)).await {
                Ok(head) => head?,
                Err(Expired) => {
                    return Err(NoAnswer::Broken(CloseReason::TimedOut(Deadline::Answer)));
                }
            };
            if head.status == 101 {
                // RFC 9110 §15.2.2: nobody asked for it.
                let error = CloseReason::BadAnswer(AnswerError::Upgrade);
                return Err(NoAnswer::Broken(error));
            }
            if !is_interim(&head) {
                return Ok(reader.into_answer(head));
            }
            let passed = self.pass_interim(&head, reader.received()).await;
            passed.map_err(NoAnswer::Broken)?;
            reader.pass_over(&head);
        }
    }

    /// RFC 9110 §15.2: nothing of the kind to a client of HTTP/1.0; a 100 only to one that waits for it.
    async fn pass_interim(&self, head: &ResponseHead, buf: &[u8]) -> Result<(), CloseReason> {
        let is_continue = head.status == 100;
        let wanted = !is_continue || expects_continue(self.call.request, self.call.buf);
        if wanted && self.call.request.head.version == Version::Http11 {
            self.relay().send_interim(&interim_head(head, buf)?).await?;
            // All of it is with the client, so that another answer may follow.
            self.progress.begun.set(false);
        }
        if is_continue && self.free_since.get().is_none() {
            self.free_since.set(Some(Instant::now()));
            self.patience.pause();
        }
        Ok(())
    }

    fn relay(&self) -> Relay<'_> {
        Relay {
            edge: self.call.edge,
            client: self.call.client,
            backend: self.backend,
            patience: &self.patience,
            progress: &self.progress,
        }
    }

    fn latency(&self) -> Latency {
        Latency {
            total: self.call.request.began.at.elapsed(),
            upstream: Some(self.sent_at.elapsed()),
        }
    }

    /// An answer that overtakes its request is the connection's last: the rest of the request may never be read.
    fn persistence(&self, framing: Framing) -> Persistence {
        if self.uploaded.get() && self.call.may_go_on() && !framing.ends_connection() {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }
}

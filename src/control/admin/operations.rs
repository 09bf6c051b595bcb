//! What callers of the admin API have done: drains and reloads. Answers are JSON.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use serde::Serialize;
use serde_json::{Value, json};

use super::http::{Answer, Refusal};
use super::query::{Query, bad, duration, none, unknown};
use super::routes::Route;
use super::tunnels::backend;
use crate::catalog::DEFAULT_GROUP;
use crate::close::DrainCause;
use crate::control::reload::Mistakes;
use crate::document::quantity::format_duration;
use crate::relay::RelayHandle;
use crate::relay::drain::{DrainOrder, Pace, Which};

/// Drains that are remembered, so that their progress can be asked for.
const DRAINS_MAX: usize = 64;

/// What the control loop is asked to do.
#[derive(Debug)]
pub enum Request {
    Reload(oneshot::Sender<Result<String, Mistakes>>),
}

/// The way to those who know and do.
#[derive(Debug)]
pub struct Operations {
    pub(super) relays: Vec<RelayHandle>,
    requests: RefCell<mpsc::Sender<Request>>,
    drains: RefCell<Vec<Ordered>>,
    last_drain: Cell<u64>,
}

/// A drain that somebody ordered here.
#[derive(Debug)]
struct Ordered {
    number: u64,
    which: String,
    over: String,
    order: Arc<DrainOrder>,
}

impl Operations {
    pub fn new(relays: Vec<RelayHandle>, requests: mpsc::Sender<Request>) -> Self {
        Self {
            relays,
            requests: RefCell::new(requests),
            drains: RefCell::default(),
            last_drain: Cell::new(0),
        }
    }

    pub(super) async fn answer(
        &self,
        route: Route,
        method: &str,
        item: &str,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        match (route, method) {
            (Route::Tunnels, _) => self.tunnels(query).await,
            (Route::Tunnel, "DELETE") => self.end(item, query).await,
            (Route::Tunnel, _) => self.tunnel(item, query).await,
            (Route::Drains, "POST") => self.drain(query),
            (Route::Drains, _) => {
                none(query)?;
                Ok(Answer::json(200, &json!({ "drains": self.drains() })))
            }
            (Route::Drain, _) => none(query).and_then(|()| self.cancel(item)),
            _ => {
                none(query)?;
                self.reload().await
            }
        }
    }

    fn drain(&self, query: &Query) -> Result<Answer, Refusal> {
        let Drain { which, pace, cause } = Drain::read(query)?;
        let number = self.last_drain.get() + 1;
        self.last_drain.set(number);
        let ordered = Ordered {
            number,
            which: described(&which),
            over: match pace {
                Pace::Gentle => "gentle".to_owned(),
                Pace::Over(over) => format_duration(over),
            },
            order: Arc::new(DrainOrder::new(which, pace, cause)),
        };
        for relay in &self.relays {
            relay.drain(Arc::clone(&ordered.order));
        }
        tracing::info!(
            number,
            which = ordered.which,
            over = ordered.over,
            "drain ordered"
        );
        let mut drains = self.drains.borrow_mut();
        if drains.len() == DRAINS_MAX {
            drains.remove(0);
        }
        let answer = Answer::json(202, &ordered.shown());
        drains.push(ordered);
        Ok(answer)
    }

    /// Those that were ordered here, the oldest first.
    pub(super) fn drains(&self) -> Value {
        let drains = self.drains.borrow();
        json!(drains.iter().map(Ordered::shown).collect::<Vec<_>>())
    }

    fn cancel(&self, number: &str) -> Result<Answer, Refusal> {
        let drains = self.drains.borrow();
        let is_it = |drain: &&Ordered| number.parse() == Ok(drain.number);
        let Some(drain) = drains.iter().find(is_it) else {
            return Err(Refusal(404, format!("there is no drain {number}")));
        };
        drain.order.cancel();
        Ok(Answer::json(200, &drain.shown()))
    }

    async fn reload(&self) -> Result<Answer, Refusal> {
        let (reply, outcome) = oneshot::channel();
        let asked = self.requests.borrow_mut().try_send(Request::Reload(reply));
        if asked.is_err() {
            return Err(Refusal(503, "too many reloads are waiting".to_owned()));
        }
        match outcome.await {
            Ok(Ok(summary)) => Ok(Answer::json(200, &json!({ "reloaded": summary }))),
            Ok(Err(Mistakes(text))) => {
                let lines: Vec<_> = text.lines().collect();
                Ok(Answer::json(
                    422,
                    &json!({ "error": "not reloaded: what runs goes on", "complaints": lines }),
                ))
            }
            Err(_) => Err(Refusal(503, "the process is stopping".to_owned())),
        }
    }
}

/// `POST /v1/drains`.
struct Drain {
    which: Which,
    pace: Pace,
    cause: DrainCause,
}

impl Drain {
    const KNOWN: &'static str = "all, api, group, backend, over, cause";

    fn read(query: &Query) -> Result<Self, Refusal> {
        let mut which = Vec::new();
        let (mut pace, mut cause) = (Pace::Gentle, DrainCause::Stop);
        let named = |wanted: &str| {
            let found = query.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let group = named("group").unwrap_or(DEFAULT_GROUP);
        for (name, value) in query {
            match name.as_str() {
                "all" => which.push(Which::All),
                "api" => which.push(Which::Api {
                    group: group.to_owned(),
                    api: value.clone(),
                }),
                "backend" => which.push(Which::Backend(backend(name, value)?)),
                "group" => {}
                "over" => pace = Pace::Over(duration(name, value)?),
                "cause" => {
                    cause = match value.as_str() {
                        "stop" => DrainCause::Stop,
                        "restart" => DrainCause::Restart,
                        _ => return Err(bad(name, value, "stop or restart")),
                    }
                }
                _ => return Err(unknown(name, Self::KNOWN)),
            }
        }
        match (which.pop(), which.is_empty()) {
            (Some(which), true) => Ok(Self { which, pace, cause }),
            _ => Err(Refusal(
                400,
                "say which tunnels: one of all, api (with group) and backend".to_owned(),
            )),
        }
    }
}

fn described(which: &Which) -> String {
    match which {
        Which::All => "all".to_owned(),
        Which::Api { group, api } => format!("api {api} of {group}"),
        Which::Backend(address) => format!("backend {address}"),
        Which::Under(policies) => format!("{} changed APIs", policies.len()),
    }
}

#[derive(Serialize)]
struct ShownDrain<'a> {
    drain: u64,
    which: &'a str,
    over: &'a str,
    chosen: u64,
    closed: u64,
    left_by_themselves: u64,
    waiting: u64,
    cancelled: bool,
}

impl Ordered {
    fn shown(&self) -> ShownDrain<'_> {
        let progress = self.order.progress();
        ShownDrain {
            drain: self.number,
            which: &self.which,
            over: &self.over,
            chosen: progress.chosen,
            closed: progress.closed,
            left_by_themselves: progress.left,
            waiting: progress.waiting(),
            cancelled: self.order.is_cancelled(),
        }
    }
}

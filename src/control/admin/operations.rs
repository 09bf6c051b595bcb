//! What callers of the admin API have done: drains and reloads. Answers are JSON.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use serde_json::json;

use super::http::{Answer, Refusal};
use super::query::{Query, bad, none, unknown};
use super::routes::Route;
use super::tunnels::backend;
use crate::catalog::DEFAULT_GROUP;
use crate::close::DrainCause;
use crate::control::drains::{self, Drains, NotCancelled, Origin};
use crate::control::reload::Mistakes;
use crate::document::quantity::parse_duration;
use crate::relay::RelayHandle;
use crate::relay::drain::{DrainOrder, DrainPlan, Pace, Which};
use crate::relay::listing::Question;
use crate::snapshot::Snapshot;

/// What the control loop is asked to do.
#[derive(Debug)]
pub enum Request {
    Reload(oneshot::Sender<Result<String, Mistakes>>),
    /// As `Reload`, and nobody waits for the outcome.
    FilesChanged,
}

/// The way to those who know and do.
#[derive(Debug)]
pub struct Operations {
    pub(super) relays: Vec<RelayHandle>,
    requests: RefCell<mpsc::Sender<Request>>,
    pub(super) drains: Drains,
}

impl Operations {
    pub fn new(relays: Vec<RelayHandle>, requests: mpsc::Sender<Request>, drains: Drains) -> Self {
        Self {
            relays,
            requests: RefCell::new(requests),
            drains,
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
                Ok(Answer::json(200, &json!({ "drains": self.drains.list() })))
            }
            (Route::Drain, _) => none(query).and_then(|()| self.cancel(item)),
            _ => {
                none(query)?;
                self.reload().await
            }
        }
    }

    fn drain(&self, query: &Query) -> Result<Answer, Refusal> {
        let Drain { which, plan } = Drain::read(query)?;
        let described = described(&which);
        let order = Arc::new(DrainOrder::new(which, plan, drains::now()));
        for relay in &self.relays {
            relay.drain(Arc::clone(&order));
        }
        let shown = self.drains.add(Origin::Operator, described, order);
        Ok(Answer::json(202, &shown))
    }

    fn cancel(&self, number: &str) -> Result<Answer, Refusal> {
        match self.drains.cancel(number) {
            Ok(shown) => Ok(Answer::json(200, &shown)),
            Err(NotCancelled::Unknown) => Err(Refusal(404, format!("there is no drain {number}"))),
            Err(NotCancelled::Stop) => Err(Refusal(
                409,
                "a stop cannot be taken back: nobody is let in any more".to_owned(),
            )),
        }
    }

    /// Adds to `snapshot` how many tunnels live by what.
    pub(super) async fn count(&self, snapshot: &mut Snapshot) {
        let question = Arc::new(Question {
            count_only: true,
            ..Question::default()
        });
        let asked = self.relays.iter().map(|relay| relay.list(&question));
        for listed in asked.collect::<Vec<_>>() {
            let counts = listed.await.unwrap_or_default().counts;
            for (policy, open) in counts.into_values() {
                snapshot.count(&policy, open);
            }
        }
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
    plan: DrainPlan,
}

impl Drain {
    const KNOWN: &'static str = "all, api, group, backend, over, notice, limit, cause";

    fn read(query: &Query) -> Result<Self, Refusal> {
        let mut which = Vec::new();
        let mut plan = DrainPlan::default();
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
                "over" => plan.pace = Pace::Over(drain_time(name, value)?),
                "notice" => plan.notice = drain_time(name, value)?,
                "limit" => plan.limit = Some(drain_time(name, value)?),
                "cause" => {
                    plan.cause = match value.as_str() {
                        "stop" => DrainCause::Stop,
                        "restart" => DrainCause::Restart,
                        _ => return Err(bad(name, value, "stop or restart")),
                    }
                }
                _ => return Err(unknown(name, Self::KNOWN)),
            }
        }
        match (which.pop(), which.is_empty()) {
            (Some(which), true) => Ok(Self { which, plan }),
            _ => Err(Refusal(
                400,
                "say which tunnels: one of all, api (with group) and backend".to_owned(),
            )),
        }
    }
}

/// As long as the settings of drains allow.
fn drain_time(name: &str, text: &str) -> Result<Duration, Refusal> {
    let allowed = |time: &Duration| *time <= Duration::from_secs(24 * 3600);
    let time = parse_duration(text).filter(allowed);
    time.ok_or_else(|| bad(name, text, "a duration up to 24h, such as 500ms, 30s or 5m"))
}

fn described(which: &Which) -> String {
    match which {
        Which::Api { group, api } => format!("api {api} of {group}"),
        Which::Backend(address) => format!("backend {address}"),
        Which::All | Which::Everyone | Which::Under(_) => "all".to_owned(),
    }
}

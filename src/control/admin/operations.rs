//! What callers of the admin API see and have done: open tunnels, drains, reloads. Answers are JSON.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use serde::Serialize;
use serde_json::json;

use super::http::Answer;
use crate::catalog::DEFAULT_GROUP;
use crate::close::DrainCause;
use crate::control::Current;
use crate::control::drains::{self, Drains, NotCancelled, Origin};
use crate::control::reload::Mistakes;
use crate::document::quantity::parse_duration;
use crate::observe::access_log::Traffic;
use crate::observe::request_id::RequestId;
use crate::observe::utc::Utc;
use crate::relay::RelayHandle;
use crate::relay::drain::{DrainOrder, DrainPlan, Pace, Which};
use crate::relay::listing::{Filter, TunnelInfo};

/// Tunnels of one page.
const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;

/// What the control loop is asked to do.
#[derive(Debug)]
pub enum Request {
    Reload(oneshot::Sender<Result<String, Mistakes>>),
    /// As `Reload`, and nobody waits for the outcome.
    FilesChanged,
}

/// The query of a request.
pub(super) type Query = [(String, String)];

/// The way to those who know and do.
#[derive(Debug)]
pub struct Operations {
    relays: Vec<RelayHandle>,
    requests: RefCell<mpsc::Sender<Request>>,
    drains: Drains,
    current: Current,
}

/// Why a request can't be met: status and message.
struct Refusal(u16, String);

impl Refusal {
    fn answer(self) -> Answer {
        let Self(status, message) = self;
        json_answer(status, &json!({ "error": message }))
    }
}

fn unknown(name: &str, known: &str) -> Refusal {
    Refusal(400, format!("unknown parameter `{name}`; known: {known}"))
}

fn bad(name: &str, value: &str, wanted: &str) -> Refusal {
    Refusal(400, format!("{name}: \"{value}\" is not {wanted}"))
}

fn json_answer<T: Serialize>(status: u16, value: &T) -> Answer {
    let mut body = serde_json::to_string(value).unwrap_or_default();
    body.push('\n');
    Answer {
        content_type: "application/json",
        ..Answer::new(status, body)
    }
}

impl Operations {
    pub fn new(
        relays: Vec<RelayHandle>,
        requests: mpsc::Sender<Request>,
        drains: Drains,
        current: Current,
    ) -> Self {
        Self {
            relays,
            requests: RefCell::new(requests),
            drains,
            current,
        }
    }

    /// The answer to a request below `/v1/`; `None` for a path that is none of ours.
    pub(super) async fn answer(&self, method: &str, path: &str, query: &Query) -> Option<Answer> {
        let (place, item) = match path.strip_prefix("/v1/")?.split_once('/') {
            Some((place, item)) => (place, Some(item)),
            None => (path.strip_prefix("/v1/")?, None),
        };
        let outcome = match (method, place, item) {
            ("GET" | "HEAD", "tunnels", None) => self.tunnels(query).await,
            ("GET" | "HEAD", "tunnels", Some(id)) => self.tunnel(id).await,
            ("DELETE", "tunnels", Some(id)) => self.end(id, query).await,
            ("GET" | "HEAD", "drains", None) => Ok(self.list_drains()),
            ("POST", "drains", None) => self.drain(query),
            ("DELETE", "drains", Some(number)) => self.cancel(number),
            ("POST", "reload", None) => self.reload().await,
            ("GET" | "HEAD", "snapshot", None) => Ok(self.snapshot().await),
            (_, "tunnels", None) => Ok(not_allowed("GET, HEAD")),
            (_, "tunnels", Some(_)) => Ok(not_allowed("GET, HEAD, DELETE")),
            (_, "drains", None) => Ok(not_allowed("GET, HEAD, POST")),
            (_, "drains", Some(_)) => Ok(not_allowed("DELETE")),
            (_, "reload", None) => Ok(not_allowed("POST")),
            (_, "snapshot", None) => Ok(not_allowed("GET, HEAD")),
            _ => return None,
        };
        Some(outcome.unwrap_or_else(Refusal::answer))
    }

    async fn tunnels(&self, query: &Query) -> Result<Answer, Refusal> {
        let listing = Listing::read(query)?;
        let (mut tunnels, more) = self.list(listing.filter).await;
        listing.sort.apply(&mut tunnels);
        let total = tunnels.len() + more;
        let page: Vec<Shown<'_>> = tunnels
            .iter()
            .skip(listing.offset)
            .take(listing.limit)
            .map(Shown::from)
            .collect();
        Ok(json_answer(
            200,
            &json!({ "total": total, "tunnels": page }),
        ))
    }

    async fn tunnel(&self, id: &str) -> Result<Answer, Refusal> {
        let filter = Filter {
            id: Some(request_id(id)?),
            ..Filter::default()
        };
        let (tunnels, _) = self.list(filter).await;
        match tunnels.first() {
            Some(tunnel) => Ok(json_answer(200, &Shown::from(tunnel))),
            None => Err(no_tunnel(id)),
        }
    }

    /// Asks all relays at once.
    async fn list(&self, filter: Filter) -> (Vec<TunnelInfo>, usize) {
        let filter = Arc::new(filter);
        let asked: Vec<_> = self
            .relays
            .iter()
            .map(|relay| relay.list(&filter))
            .collect();
        let (mut tunnels, mut more) = (Vec::new(), 0);
        for listed in asked {
            // A relay that has ended has no tunnels.
            if let Ok(listed) = listed.await {
                tunnels.extend(listed.tunnels);
                more += listed.more;
            }
        }
        (tunnels, more)
    }

    async fn end(&self, id: &str, query: &Query) -> Result<Answer, Refusal> {
        let code = match query {
            [] => 1001,
            [(name, value)] if name == "code" => close_code(value)?,
            [(name, _), ..] => return Err(unknown(name, "code")),
        };
        let wanted = request_id(id)?;
        let asked: Vec<_> = self
            .relays
            .iter()
            .map(|relay| relay.end(wanted, code))
            .collect();
        for found in asked {
            if found.await == Ok(true) {
                return Ok(json_answer(202, &json!({ "id": id, "code": code })));
            }
        }
        Err(no_tunnel(id))
    }

    fn drain(&self, query: &Query) -> Result<Answer, Refusal> {
        let Drain { which, plan } = Drain::read(query)?;
        let described = described(&which);
        let order = Arc::new(DrainOrder::new(which, plan, drains::now()));
        for relay in &self.relays {
            relay.drain(Arc::clone(&order));
        }
        let shown = self.drains.add(Origin::Operator, described, order);
        Ok(json_answer(202, &shown))
    }

    fn list_drains(&self) -> Answer {
        json_answer(200, &json!({ "drains": self.drains.list() }))
    }

    fn cancel(&self, number: &str) -> Result<Answer, Refusal> {
        match self.drains.cancel(number) {
            Ok(shown) => Ok(json_answer(200, &shown)),
            Err(NotCancelled::Unknown) => Err(Refusal(404, format!("there is no drain {number}"))),
            Err(NotCancelled::Stop) => Err(Refusal(
                409,
                "a stop cannot be taken back: nobody is let in any more".to_owned(),
            )),
        }
    }

    /// What runs, in the form in which it can be compared, and how many tunnels live by what.
    async fn snapshot(&self) -> Answer {
        let filter = Arc::new(Filter {
            count_only: true,
            ..Filter::default()
        });
        let asked = self.relays.iter().map(|relay| relay.list(&filter));
        let mut snapshot = self.current.snapshot();
        for listed in asked.collect::<Vec<_>>() {
            let counts = listed.await.unwrap_or_default().counts;
            for (policy, open) in counts.into_values() {
                snapshot.count(&policy, open);
            }
        }
        json_answer(200, &snapshot)
    }

    async fn reload(&self) -> Result<Answer, Refusal> {
        let (reply, outcome) = oneshot::channel();
        let asked = self.requests.borrow_mut().try_send(Request::Reload(reply));
        if asked.is_err() {
            return Err(Refusal(503, "too many reloads are waiting".to_owned()));
        }
        match outcome.await {
            Ok(Ok(summary)) => Ok(json_answer(200, &json!({ "reloaded": summary }))),
            Ok(Err(Mistakes(text))) => {
                let lines: Vec<_> = text.lines().collect();
                Ok(json_answer(
                    422,
                    &json!({ "error": "not reloaded: what runs goes on", "complaints": lines }),
                ))
            }
            Err(_) => Err(Refusal(503, "the process is stopping".to_owned())),
        }
    }
}

fn not_allowed(allow: &'static str) -> Answer {
    Answer {
        allow,
        ..Answer::text(405, "Method Not Allowed")
    }
}

fn no_tunnel(id: &str) -> Refusal {
    Refusal(404, format!("there is no open tunnel {id}"))
}

fn request_id(text: &str) -> Result<RequestId, Refusal> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(id) if digits => Ok(RequestId(id.to_be_bytes())),
        _ => Err(bad("id", text, "a request id of 32 hexadecimal digits")),
    }
}

/// RFC 6455 §7.4: the codes that an endpoint may send.
fn close_code(text: &str) -> Result<u16, Refusal> {
    match text.parse() {
        Ok(code @ (1000..=1003 | 1007..=1014 | 3000..=4999)) => Ok(code),
        _ => Err(bad(
            "code",
            text,
            "a close code: 1000 to 1003, 1007 to 1014, 3000 to 4999",
        )),
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, Refusal> {
    parse_duration(text).ok_or_else(|| bad(name, text, "a duration such as 500ms, 30s or 5m"))
}

fn number(name: &str, text: &str, max: usize) -> Result<usize, Refusal> {
    match text.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(bad(name, text, &format!("a number up to {max}"))),
    }
}

/// `GET /v1/tunnels`.
struct Listing {
    filter: Filter,
    sort: Sort,
    limit: usize,
    offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Oldest first.
    Age,
    /// Most silent first.
    Idle,
    /// Those with most to be accepted first.
    Waiting,
    /// Those that carried most first.
    Bytes,
}

impl Sort {
    const NAMES: [(&'static str, Self); 4] = [
        ("age", Self::Age),
        ("idle", Self::Idle),
        ("waiting", Self::Waiting),
        ("bytes", Self::Bytes),
    ];

    fn apply(self, tunnels: &mut [TunnelInfo]) {
        let key = |tunnel: &TunnelInfo| -> u128 {
            let bytes = tunnel.from_client.bytes + tunnel.from_backend.bytes;
            match self {
                Self::Age => tunnel.age.as_nanos(),
                Self::Idle => tunnel.idle.as_nanos(),
                Self::Waiting => (tunnel.waiting_for_backend + tunnel.waiting_for_client) as u128,
                Self::Bytes => bytes.into(),
            }
        };
        tunnels.sort_by_cached_key(|tunnel| std::cmp::Reverse(key(tunnel)));
    }
}

impl Listing {
    const KNOWN: &'static str =
        "api, group, client, backend, older_than, idle_for, sort, limit, offset";

    fn read(query: &Query) -> Result<Self, Refusal> {
        let mut listing = Self {
            filter: Filter::default(),
            sort: Sort::Age,
            limit: PAGE,
            offset: 0,
        };
        for (name, value) in query {
            listing.set(name, value)?;
        }
        Ok(listing)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let filter = &mut self.filter;
        match name {
            "api" => filter.api = Some(value.to_owned()),
            "group" => filter.group = Some(value.to_owned()),
            "client" => {
                let address = value.parse::<IpAddr>();
                filter.client = Some(address.map_err(|_| bad(name, value, "an IP address"))?);
            }
            "backend" => filter.backend = Some(backend(name, value)?),
            "older_than" => filter.older_than = Some(duration(name, value)?),
            "idle_for" => filter.idle_for = Some(duration(name, value)?),
            "sort" => {
                let known = Sort::NAMES.iter().find(|(known, _)| *known == value);
                let (_, sort) =
                    known.ok_or_else(|| bad(name, value, "age, idle, waiting or bytes"))?;
                self.sort = *sort;
            }
            "limit" => self.limit = number(name, value, PAGE_MAX)?,
            "offset" => self.offset = number(name, value, usize::MAX)?,
            _ => return Err(unknown(name, Self::KNOWN)),
        }
        Ok(())
    }
}

fn backend(name: &str, value: &str) -> Result<SocketAddr, Refusal> {
    let address = value.parse();
    address.map_err(|_| bad(name, value, "an address and port such as 192.0.2.20:8080"))
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

/// A tunnel as callers see it; names as in the access log.
#[derive(Serialize)]
struct Shown<'a> {
    id: RequestId,
    api: &'a str,
    group: &'a str,
    environment: &'a str,
    scheme: &'static str,
    client: SocketAddr,
    backend: SocketAddr,
    opened_at: Utc,
    age_ms: u64,
    idle_ms: u64,
    idle_timeout_ms: u64,
    from_client: ShownTraffic,
    from_backend: ShownTraffic,
    waiting_for_backend_bytes: usize,
    waiting_for_client_bytes: usize,
    closing: bool,
}

#[derive(Serialize)]
struct ShownTraffic {
    bytes: u64,
    messages: u64,
    close_code: Option<u16>,
}

impl From<Traffic> for ShownTraffic {
    fn from(traffic: Traffic) -> Self {
        Self {
            bytes: traffic.bytes,
            messages: traffic.messages,
            close_code: traffic.close_code,
        }
    }
}

impl<'a> From<&'a TunnelInfo> for Shown<'a> {
    fn from(info: &'a TunnelInfo) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: info.id,
            api: &info.policy.api,
            group: &info.policy.group,
            environment: &info.policy.environment,
            scheme: info.scheme.websocket(),
            client: info.client,
            backend: info.backend,
            opened_at: Utc(info.opened_at),
            age_ms: millis(info.age),
            idle_ms: millis(info.idle),
            idle_timeout_ms: millis(info.policy.idle_timeout),
            from_client: info.from_client.into(),
            from_backend: info.from_backend.into(),
            waiting_for_backend_bytes: info.waiting_for_backend,
            waiting_for_client_bytes: info.waiting_for_client,
            closing: info.closing,
        }
    }
}

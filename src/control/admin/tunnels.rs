//! Open tunnels as callers of the admin API see them: in a list, one by one, and how one is closed.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::http::{Answer, Refusal};
use super::operations::Operations;
use super::query::{Query, Window, bad, choice, duration, none, number, unknown};
use crate::observe::access_log::Traffic;
use crate::observe::request_id::RequestId;
use crate::observe::utc::Utc;
use crate::relay::listing::{Filter, Question, Sort, TunnelInfo};

impl Operations {
    pub(super) async fn tunnels(&self, query: &Query) -> Result<Answer, Refusal> {
        let Listing { question, window } = Listing::read(query)?;
        let sort = question.sort;
        let (mut tunnels, more) = self.list(question).await;
        tunnels.sort_by_cached_key(|tunnel| std::cmp::Reverse(sort.key(tunnel)));
        let total = tunnels.len() + more;
        let page = window.of(tunnels.iter().map(Shown::from));
        Ok(Answer::json(
            200,
            &json!({ "total": total, "tunnels": page }),
        ))
    }

    pub(super) async fn tunnel(&self, id: &str, query: &Query) -> Result<Answer, Refusal> {
        none(query)?;
        let question = Question {
            filter: Filter {
                id: Some(request_id(id)?),
                ..Filter::default()
            },
            most: 1,
            ..Question::default()
        };
        let (tunnels, _) = self.list(question).await;
        match tunnels.first() {
            Some(tunnel) => Ok(Answer::json(200, &Shown::from(tunnel))),
            None => Err(no_tunnel(id)),
        }
    }

    /// Asks all relays at once: the first of each, and how many more there are.
    async fn list(&self, question: Question) -> (Vec<TunnelInfo>, usize) {
        let question = Arc::new(question);
        let asked: Vec<_> = self
            .relays
            .iter()
            .map(|relay| relay.list(&question))
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

    pub(super) async fn end(&self, id: &str, query: &Query) -> Result<Answer, Refusal> {
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
                return Ok(Answer::json(202, &json!({ "id": id, "code": code })));
            }
        }
        Err(no_tunnel(id))
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

/// `GET /v1/tunnels`.
struct Listing {
    question: Question,
    window: Window,
}

impl Listing {
    const KNOWN: &'static str =
        "api, group, client, backend, older_than, idle_for, waiting_over, sort, limit, offset";

    const SORTS: [(&'static str, Sort); 4] = [
        ("age", Sort::Age),
        ("idle", Sort::Idle),
        ("waiting", Sort::Waiting),
        ("bytes", Sort::Bytes),
    ];

    fn read(query: &Query) -> Result<Self, Refusal> {
        let mut listing = Self {
            question: Question::default(),
            window: Window::DEFAULT,
        };
        for (name, value) in query {
            listing.set(name, value)?;
        }
        listing.question.most = listing.window.reach();
        Ok(listing)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let filter = &mut self.question.filter;
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
            "waiting_over" => filter.waiting_over = Some(number(name, value, usize::MAX)?),
            "sort" => self.question.sort = choice(name, value, &Self::SORTS)?,
            _ if self.window.set(name, value)? => {}
            _ => return Err(unknown(name, Self::KNOWN)),
        }
        Ok(())
    }
}

pub(super) fn backend(name: &str, value: &str) -> Result<SocketAddr, Refusal> {
    let address = value.parse();
    address.map_err(|_| bad(name, value, "an address and port such as 192.0.2.20:8080"))
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

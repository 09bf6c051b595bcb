//! `GET /v1/apis` and `GET /v1/backends`: what is served with what it has had, and what open tunnels still use though it is
//! served no more.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Admin;
use super::http::{Answer, Refusal};
use super::query::{Query, Window, choice, unknown};
use crate::catalog::{Api, Backend, Catalog, Destination, HttpBackend};
use crate::config::Scheme;
use crate::observe::book::{FlowTotals, Totals};
use crate::observe::utc::Utc;

impl Admin {
    pub(super) fn apis(&self, query: &Query) -> Result<Answer, Refusal> {
        let listing = Listing::read(query, "group, environment, api")?;
        let catalog = self.in_force.catalog();
        let (had, none) = (self.registry.book().apis(), Totals::default());
        let mut by_name: BTreeMap<[&str; 3], (&Totals, bool)> = had
            .iter()
            .map(|had| {
                (
                    [&*had.group, &had.environment, &had.api],
                    (&had.totals, false),
                )
            })
            .collect();
        let mut rows = Vec::new();
        for api in catalog.apis() {
            let name = [&*api.group, &api.environment, &api.name];
            let totals = by_name.get_mut(&name).map_or(&none, |(totals, served)| {
                *served = true;
                totals
            });
            rows.push((name, Some(&**api), totals));
        }
        let unserved = by_name.into_iter().filter(|(_, (_, served))| !served);
        rows.extend(unserved.map(|(name, (totals, _))| (name, None, totals)));
        rows.retain(|(name, ..)| listing.fits(name));
        // The catalog's order is that of the names.
        rows.sort_by_cached_key(|(_, _, totals)| Reverse(listing.sort.key(totals)));
        let total = rows.len();
        let page = listing.window.of(rows).into_iter();
        let shown: Vec<_> = page
            .map(|(name, api, totals)| shown_api(name, api, totals))
            .collect();
        Ok(Answer::json(
            200,
            &json!({ "uptime_ms": self.uptime_ms(), "total": total, "apis": shown }),
        ))
    }

    pub(super) fn backends(&self, query: &Query) -> Result<Answer, Refusal> {
        let listing = Listing::read(query, "backend")?;
        let catalog = self.in_force.catalog();
        let had = self.registry.book().backends();
        let mut all: BTreeMap<String, Totals> = addresses(&catalog)
            .into_iter()
            .map(|address| (address, Totals::default()))
            .collect();
        let served: BTreeSet<_> = all.keys().cloned().collect();
        all.extend(had.into_iter().map(|had| (had.backend, had.totals)));
        let mut rows: Vec<_> = all.into_iter().collect();
        rows.retain(|(backend, _)| listing.fits(&[backend.as_str()]));
        rows.sort_by_cached_key(|(_, totals)| Reverse(listing.sort.key(totals)));
        let (total, rows) = (rows.len(), listing.window.of(rows));
        let shown = rows.into_iter().map(|(backend, totals)| {
            let mut shown = counts(&totals);
            shown["served"] = served.contains(&backend).into();
            shown["backend"] = backend.into();
            shown
        });
        let shown: Vec<_> = shown.collect();
        Ok(Answer::json(
            200,
            &json!({ "uptime_ms": self.uptime_ms(), "total": total, "backends": shown }),
        ))
    }
}

fn shown_api([group, environment, name]: [&str; 3], api: Option<&Api>, totals: &Totals) -> Value {
    let mut shown = counts(totals);
    shown["api"] = name.into();
    shown["group"] = group.into();
    shown["environment"] = environment.into();
    shown["method"] = json!(api.map(|api| api.method.label()));
    shown["path"] = json!(api.map(|api| &api.path));
    shown["schemes"] = json!(api.map(schemes).unwrap_or_default());
    shown["backends"] = json!(api.map(urls).unwrap_or_default());
    shown
}

/// What both lists say of an item, beside its name.
fn counts(totals: &Totals) -> Value {
    let flow = |flow: &FlowTotals| json!({ "bytes": flow.bytes, "messages": flow.messages });
    let (mut by_reason, mut by_side) = (BTreeMap::new(), BTreeMap::new());
    for ((reason, side), n) in &totals.closed {
        *by_reason.entry(*reason).or_insert(0) += n;
        *by_side.entry(*side).or_insert(0) += n;
    }
    json!({
        "tunnels": {
            "open": totals.tunnels,
            "opened": totals.opened,
            "closed": by_reason,
            "closed_by": by_side,
        },
        "from_client": flow(&totals.from_client),
        "from_backend": flow(&totals.from_backend),
        "handshakes": { "upgraded": totals.upgraded, "failed": totals.not_upgraded },
        "calls": totals.calls,
        "connects": { "tried": totals.connects, "failed": totals.connects_failed },
        "last_success": totals.last_success.map(Utc),
        "last_failure": totals.last_failure.map(|(at, reason)| json!({ "at": Utc(at), "reason": reason })),
    })
}

/// Every address that an API leads to.
fn addresses(catalog: &Catalog) -> BTreeSet<String> {
    let apis = catalog.apis();
    let servers = apis.flat_map(|api| api.backends().filter_map(servers));
    let members = servers.flat_map(|servers| &servers.members);
    members.map(|member| member.address()).collect()
}

fn schemes(api: &Api) -> Vec<&'static str> {
    let both = [Scheme::Http, Scheme::Https].into_iter();
    let served = both.filter(|scheme| api.schemes.refusal(*scheme).is_none());
    served.map(Scheme::label).collect()
}

fn urls(api: &Api) -> Vec<String> {
    let mut urls = Vec::new();
    for backend in api.backends() {
        match &backend.destination {
            Destination::Http(servers) => urls.extend(servers.members.iter().map(|member| {
                let scheme = member.scheme.websocket();
                format!("{scheme}://{}{}", member.authority, servers.path)
            })),
            Destination::Mock(mock) => urls.push(format!("mock {}", mock.status)),
        }
    }
    urls
}

fn servers(backend: &Backend) -> Option<&HttpBackend> {
    match &backend.destination {
        Destination::Http(servers) => Some(servers),
        Destination::Mock(_) => None,
    }
}

/// What is asked of either list.
struct Listing {
    /// Name and wanted value of each part that matters, in the order of the names of an item.
    wanted: Vec<Option<String>>,
    sort: Sort,
    window: Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Name,
    /// Those with most open tunnels first, and so on.
    Open,
    Opened,
    Messages,
    Bytes,
    /// Handshakes without a tunnel, and connects that failed.
    Failures,
}

impl Sort {
    const WORDS: [(&'static str, Self); 6] = [
        ("name", Self::Name),
        ("open", Self::Open),
        ("opened", Self::Opened),
        ("messages", Self::Messages),
        ("bytes", Self::Bytes),
        ("failures", Self::Failures),
    ];

    fn key(self, totals: &Totals) -> u64 {
        let both = |part: fn(&FlowTotals) -> u64| {
            part(&totals.from_client).wrapping_add(part(&totals.from_backend))
        };
        match self {
            Self::Name => 0,
            Self::Open => totals.tunnels,
            Self::Opened => totals.opened,
            Self::Messages => both(|flow| flow.messages),
            Self::Bytes => both(|flow| flow.bytes),
            Self::Failures => {
                let failed = totals.not_upgraded.values();
                failed.chain(totals.connects_failed.values()).sum()
            }
        }
    }
}

impl Listing {
    /// `names` are those of an item, which a parameter each may ask for.
    fn read(query: &Query, names: &str) -> Result<Self, Refusal> {
        let names: Vec<_> = names.split(", ").collect();
        let mut listing = Self {
            wanted: vec![None; names.len()],
            sort: Sort::Name,
            window: Window::DEFAULT,
        };
        for (name, value) in query {
            let position = names.iter().position(|known| known == name);
            if let Some(slot) = position.and_then(|at| listing.wanted.get_mut(at)) {
                *slot = Some(value.clone());
            } else if name == "sort" {
                listing.sort = choice(name, value, &Sort::WORDS)?;
            } else if !listing.window.set(name, value)? {
                let known = format!("{}, sort, limit, offset", names.join(", "));
                return Err(unknown(name, &known));
            }
        }
        Ok(listing)
    }

    fn fits(&self, names: &[&str]) -> bool {
        let mut pairs = self.wanted.iter().zip(names);
        pairs.all(|(wanted, name)| wanted.as_ref().is_none_or(|wanted| wanted == name))
    }
}

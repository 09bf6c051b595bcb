//! A configuration in the form in which two of them can be compared: everything by name, with its values in words. The
//! running program gives out its own; `ringgate diff` makes the other one, and compares.
#![forbid(unsafe_code)]

mod settings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::catalog::{Api, Catalog};
use crate::config::{Certificate, Config, Domain, DomainPort, Listener};
use crate::relay::policy::TunnelPolicy;

pub(crate) use settings::fate;
pub use settings::{Reach, settings};

/// What is said of one thing: by what it is about.
pub type Values = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub apis: Vec<ApiSnapshot>,
    /// By address.
    pub listeners: BTreeMap<String, Values>,
    /// By the names they are for.
    pub certificates: BTreeMap<String, Values>,
    pub domains: BTreeMap<String, Values>,
    /// What a reload changes.
    pub settings: Values,
    /// What only a restart does.
    pub restart: Values,
    /// Connections that the workers were made for: no reload allows more.
    pub connections_made_for: usize,
    /// Open tunnels, by what they live by.
    pub tunnels: Vec<TunnelCount>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ApiName {
    pub group: String,
    pub environment: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiSnapshot {
    #[serde(flatten)]
    pub name: ApiName,
    pub values: Values,
    /// Where its backends are, as open tunnels know them.
    pub addresses: Vec<String>,
    /// What becomes of its tunnels once it is gone, where that is said for it alone.
    pub when_removed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelCount {
    #[serde(flatten)]
    pub api: ApiName,
    /// Of the backend, as its definition says it.
    pub address: String,
    pub open: u64,
}

impl Snapshot {
    pub fn of(config: &Config, catalog: &Catalog) -> Self {
        let (mut live, mut restart) = (Values::new(), Values::new());
        for (key, value, reach) in settings(config) {
            let values = match reach {
                Reach::Reload => &mut live,
                Reach::Restart => &mut restart,
            };
            values.insert(key.to_owned(), value);
        }
        let routing = &config.routing;
        let debug = routing.debug_domains.iter().map(|domain| {
            let calls = domain.calls_per_day.to_string();
            let values = [("group", domain.group.clone()), ("calls a day", calls)];
            (domain.name.clone(), named(values))
        });
        let domains = routing.domains.iter().map(domain);
        Self {
            apis: catalog.apis().map(|api| snapshot(api, config)).collect(),
            listeners: keyed(config.listeners.iter().map(listener)),
            certificates: keyed(config.tls.certificates.iter().enumerate().map(certificate)),
            domains: keyed(domains.chain(debug)),
            settings: live,
            restart,
            connections_made_for: config.limits.connections_max,
            tunnels: Vec::new(),
        }
    }

    /// Adds open tunnels that live by `policy`.
    pub fn count(&mut self, policy: &TunnelPolicy, open: u64) {
        let api = ApiName {
            group: policy.group.clone(),
            environment: policy.environment.clone(),
            name: policy.api.clone(),
        };
        let same = |known: &&mut TunnelCount| known.api == api && known.address == policy.address;
        match self.tunnels.iter_mut().find(same) {
            Some(known) => known.open += open,
            None => self.tunnels.push(TunnelCount {
                api,
                address: policy.address.clone(),
                open,
            }),
        }
    }
}

fn snapshot(api: &Api, config: &Config) -> ApiSnapshot {
    let facets = api.facets().into_iter();
    let mut values: Values = facets.map(|facet| (facet.name, facet.value)).collect();
    let rules = config.api_rules(&api.group, &api.name);
    let mut when_removed = None;
    if let Some(rules) = rules {
        when_removed = rules.when_removed.as_ref().map(fate);
        for (key, said) in [
            ("when_removed", rules.when_removed),
            ("when_backend_removed", rules.when_backend_removed),
            ("when_changed", rules.when_changed),
        ] {
            values.extend(said.map(|said| (key.to_owned(), fate(&said))));
        }
        let ignored = rules.insecure_ignore.iter().map(|one| one.word());
        let ignored = ignored.collect::<Vec<_>>().join(", ");
        values.insert("insecure_ignore".to_owned(), ignored);
    }
    let mut addresses: Vec<_> = api.addresses().map(str::to_owned).collect();
    addresses.sort_unstable();
    addresses.dedup();
    ApiSnapshot {
        name: ApiName {
            group: api.group.clone(),
            environment: api.environment.clone(),
            name: api.name.clone(),
        },
        values,
        addresses,
        when_removed,
    }
}

fn listener(listener: &Listener) -> (String, Values) {
    let from: Vec<_> = listener
        .proxy_protocol_from
        .iter()
        .map(ToString::to_string)
        .collect();
    let values = [
        ("protocol", listener.scheme.label().to_owned()),
        ("proxy_protocol", from.join(", ")),
        ("freebind", listener.freebind.to_string()),
        (
            "socket_name",
            listener.socket_name.clone().unwrap_or_default(),
        ),
    ];
    (listener.address.to_string(), named(values))
}

fn certificate((index, certificate): (usize, &Certificate)) -> (String, Values) {
    let mut hash = Sha1::new();
    for certificate in &certificate.key.cert {
        hash.update(certificate);
    }
    let digits = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    let default = if index == 0 { "yes" } else { "no" };
    let values = [
        ("chain", format!("#{digits}")),
        ("default", default.to_owned()),
    ];
    (certificate.names.join(", "), named(values))
}

fn domain(domain: &Domain) -> (String, Values) {
    let port = |port: DomainPort| match port {
        DomainPort::Every => "every".to_owned(),
        DomainPort::Only(port) => port.to_string(),
        DomainPort::None => "off".to_owned(),
    };
    let values = [
        ("group", domain.group.clone()),
        ("http_port", port(domain.http)),
        ("https_port", port(domain.https)),
    ];
    (domain.name.clone(), named(values))
}

fn named<const N: usize>(values: [(&str, String); N]) -> Values {
    values.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Things of one name are told apart by their number.
fn keyed(things: impl Iterator<Item = (String, Values)>) -> BTreeMap<String, Values> {
    let mut keyed = BTreeMap::new();
    for (name, values) in things {
        let mut key = name.clone();
        let mut number = 1;
        while keyed.contains_key(&key) {
            number += 1;
            key = format!("{name} ({number})");
        }
        keyed.insert(key, values);
    }
    keyed
}

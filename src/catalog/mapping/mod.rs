//! What a backend is asked: the request of the client as the API maps it (spec 2.6, 8.10, 8.11).

mod orchestration;
mod parameters;
mod policy;
mod target;
mod template;

pub(super) mod compile;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::path::encode_kept;
use super::{Api, Backend, Destination, MatchMode, Matched};
use crate::config::{OrchestrationTarget, Scheme, TargetLocation};
use crate::definition::{Location, SystemValue};
use crate::observe::utc::Basic;

pub(crate) use orchestration::Orchestration;
pub(crate) use parameters::Parameter;
pub(crate) use policy::Policy;
pub use template::{BackendPath, PathTemplate};

use parameters::Value;

/// What the edge knows of a call when it asks where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub scheme: Scheme,
    pub method: &'a str,
    /// The `Host` field as received.
    pub host: &'a str,
    /// The request target as received: the path, and what follows the first `?`.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The fields of the head, names as received.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    pub client: IpAddr,
    /// The address the client connected to.
    pub inbound: SocketAddr,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    pub received_at: SystemTime,
}

/// What the backend is asked.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub backend: &'a Backend,
    /// Path and query; empty for a mock.
    pub target: Vec<u8>,
    /// Fields that take the place of the client's of the same name; `Host` among them overrides every other rule.
    pub set: Vec<(String, Vec<u8>)>,
    /// Names of the client's fields that are not passed on.
    pub removed: Vec<String>,
}

/// Why a call can't be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingError {
    /// The parameter of this name is missing, or not what the API allows, or would lead out of the backend's path.
    Parameter(String),
    NoOrchestrationInput,
    NoOrchestrationMatch,
}

/// What a call has of the parameters of its API.
struct Seen<'a> {
    /// By parameter: the value, and whether it is the default.
    values: Vec<(Value<'a>, bool)>,
    orchestrated: Option<(&'a OrchestrationTarget, Vec<u8>)>,
}

impl Seen<'_> {
    fn value(&self, index: usize) -> Option<&[u8]> {
        self.values.get(index)?.0.as_deref()
    }
}

/// What a backend gets of a call's parameters, compiled from its definition.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    query: Vec<(String, Source)>,
    headers: Vec<(String, Source)>,
    /// Query parameters of the client that don't pass: mapped ones, kept ones, and those the gateway itself sets, which
    /// nobody else may claim.
    dropped: Vec<String>,
    /// Fields of the client, likewise.
    removed: Vec<String>,
    /// Parameters that pass in their own place, whose default is sent where the client sends none.
    passed: Vec<usize>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Index of the request parameter.
    Request(usize),
    Constant(String),
    System(SystemValue),
}

impl Mapping {
    /// The names of what doesn't pass and isn't replaced either.
    fn removed_but(&self, set: &[(String, Vec<u8>)]) -> Vec<String> {
        let is_set = |name: &String| {
            set.iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let removed = self.removed.iter().filter(|name| !is_set(name));
        removed.cloned().collect()
    }
}

impl Source {
    /// An empty system value is none: there is nothing to send.
    fn value<'a>(&'a self, api: &'a Api, call: &Call<'a>, seen: &'a Seen<'_>) -> Value<'a> {
        match self {
            Self::Request(index) => seen.value(*index).map(Cow::Borrowed),
            Self::Constant(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::System(value) => system_value(*value, api, call).filter(|text| !text.is_empty()),
        }
    }
}

fn system_value<'a>(value: SystemValue, api: &'a Api, call: &Call<'a>) -> Value<'a> {
    let text = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
    let made = |text: String| Some(Cow::Owned(text.into_bytes()));
    match value {
        SystemValue::SourceIp => made(call.client.to_canonical().to_string()),
        SystemValue::Stage => text(&api.environment),
        SystemValue::ApiId => text(&api.id),
        SystemValue::ApiName => text(&api.name),
        SystemValue::RequestId => text(call.request_id),
        SystemValue::ServerAddr => made(call.inbound.ip().to_canonical().to_string()),
        SystemValue::ServerName => text(without_port(call.host)),
        SystemValue::HandleTime => made(Basic(call.received_at).to_string()),
        SystemValue::AppId | SystemValue::AppName | SystemValue::ProviderAppId => None,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Api {
    /// Where `call`, which fits as `matched` says, goes and as what.
    pub fn outgoing<'a>(
        &'a self,
        matched: &Matched<'_>,
        call: &Call<'_>,
    ) -> Result<Outgoing<'a>, MappingError> {
        let seen = self.seen(matched, call)?;
        let backend = self
            .policies
            .iter()
            .find(|policy| policy.takes(matched, call, &seen))
            .map_or(&self.backend, |policy| &policy.backend);
        let mut outgoing = Outgoing {
            backend,
            target: Vec::new(),
            set: Vec::new(),
            removed: Vec::new(),
        };
        let Destination::Http(http) = &backend.destination else {
            return Ok(outgoing);
        };
        let mapping = &backend.mapping;
        self.push_path(&mut outgoing.target, &http.path, matched, call, &seen)?;
        let added = self.added_query(mapping, call, &seen);
        target::push_query_string(&mut outgoing.target, call.query, &mapping.dropped, &added);
        outgoing.set = self.set_fields(mapping, call, &seen)?;
        outgoing.removed = mapping.removed_but(&outgoing.set);
        Ok(outgoing)
    }

    fn seen<'a>(
        &'a self,
        matched: &'a Matched<'_>,
        call: &Call<'a>,
    ) -> Result<Seen<'a>, MappingError> {
        let values = self
            .parameters
            .iter()
            .map(|parameter| parameter.value(matched, call))
            .collect::<Result<Vec<_>, _>>()?;
        let orchestrated = self.orchestration.as_ref().map(|rules| {
            let input = values.get(rules.parameter);
            rules.result(input.and_then(|(value, _)| value.as_deref()))
        });
        let orchestrated = orchestrated.transpose()?;
        Ok(Seen {
            values,
            orchestrated,
        })
    }

    fn push_path(
        &self,
        target: &mut Vec<u8>,
        path: &BackendPath,
        matched: &Matched<'_>,
        call: &Call<'_>,
        seen: &Seen<'_>,
    ) -> Result<(), MappingError> {
        let BackendPath::Template(template) = path else {
            target.extend_from_slice(encode_kept(call.path, &matched.path).as_bytes());
            return Ok(());
        };
        template.push(target, |source| source.value(self, call, seen))?;
        if self.match_mode == MatchMode::Prefix {
            let rest = matched.path.get(matched.remainder..).unwrap_or_default();
            target::join(target, rest);
        }
        Ok(())
    }

    /// Encoded, pairs joined by `&`.
    fn added_query(&self, mapping: &Mapping, call: &Call<'_>, seen: &Seen<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut push = |name: &str, value: &[u8]| {
            if !out.is_empty() {
                out.push(b'&');
            }
            target::push_query(&mut out, name.as_bytes());
            out.push(b'=');
            target::push_query(&mut out, value);
        };
        for (name, source) in &mapping.query {
            if let Some(value) = source.value(self, call, seen) {
                push(name, &value);
            }
        }
        for (name, value) in self.passed_defaults(mapping, seen, Location::Query) {
            push(name, value);
        }
        if let Some((target, value)) = &seen.orchestrated
            && target.location == TargetLocation::Query
        {
            push(&target.name, value);
        }
        out
    }

    fn set_fields(
        &self,
        mapping: &Mapping,
        call: &Call<'_>,
        seen: &Seen<'_>,
    ) -> Result<Vec<(String, Vec<u8>)>, MappingError> {
        let mut set = Vec::new();
        let mut push = |name: &str, value: &[u8]| {
            set.push((name.to_owned(), target::checked_field(name, value)?));
            Ok(())
        };
        for (name, source) in &mapping.headers {
            if let Some(value) = source.value(self, call, seen) {
                push(name, &value)?;
            }
        }
        for (name, value) in self.passed_defaults(mapping, seen, Location::Header) {
            push(name, value)?;
        }
        if let Some((target, value)) = &seen.orchestrated
            && target.location == TargetLocation::Header
        {
            push(&target.name, value)?;
        }
        Ok(set)
    }

    fn passed_defaults<'a>(
        &'a self,
        mapping: &'a Mapping,
        seen: &'a Seen<'_>,
        location: Location,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        mapping.passed.iter().filter_map(move |index| {
            let definition = &self.parameters.get(*index)?.definition;
            let (value, defaulted) = seen.values.get(*index)?;
            let value = value.as_deref()?;
            (*defaulted && definition.location == location)
                .then_some((definition.name.as_str(), value))
        })
    }
}

#[cfg(test)]
mod tests;

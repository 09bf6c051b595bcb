//! Backends and the policies that lead to them.

use super::tree::{Tree, named, text};
use super::{super::SystemValue, location};
use crate::config::Scheme;
use crate::definition::{
    BackendDefinition, BackendParameter, ConditionDefinition, DestinationDefinition, Effect,
    HttpDefinition, MockDefinition, ParameterSource, PolicyDefinition, Subject, Test,
};

pub(super) fn members(backend: &BackendDefinition) -> Vec<(String, Tree)> {
    let (kind, endpoints) = match &backend.destination {
        DestinationDefinition::Http(definition) => {
            ("HTTP", named("httpEndpoints", http(definition)))
        }
        DestinationDefinition::Mock(definition) => {
            ("MOCK", named("mockEndpoints", mock(definition)))
        }
    };
    let mut members = vec![named("type", text(kind))];
    if !backend.parameters.is_empty() {
        let list = backend.parameters.iter().map(parameter).collect();
        members.push(named("parameters", Tree::List(list)));
    }
    members.push(endpoints);
    members
}

fn http(http: &HttpDefinition) -> Tree {
    let scheme = match http.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let timeout = i64::try_from(http.timeout.as_millis()).unwrap_or(i64::MAX);
    Tree::Table(vec![
        named("address", text(&http.address.text)),
        named("scheme", text(scheme)),
        named("method", text(http.method.label())),
        named("path", text(&http.path.text)),
        named("timeout", Tree::Integer(timeout)),
        named("retryCount", text(&http.retry_count.to_string())),
        named("enableClientSsl", Tree::Bool(false)),
    ])
}

fn mock(mock: &MockDefinition) -> Tree {
    let mut members = vec![
        named("result-content", text(&mock.body)),
        named("status-code", Tree::Integer(mock.status.into())),
    ];
    if !mock.headers.is_empty() {
        members.push(named("headers", headers(&mock.headers)));
    }
    Tree::Table(members)
}

pub(super) fn headers(headers: &[(String, String)]) -> Tree {
    let header = |(key, value): &(String, String)| {
        Tree::Table(vec![named("key", text(key)), named("value", text(value))])
    };
    Tree::List(headers.iter().map(header).collect())
}

fn parameter(parameter: &BackendParameter) -> Tree {
    let (origin, value) = match &parameter.source {
        ParameterSource::Request(name) => ("REQUEST", name.clone()),
        ParameterSource::Constant(value) => ("CONSTANT", value.clone()),
        ParameterSource::System(value) => ("SYSTEM", format!("$context.{}", system_name(*value))),
    };
    let mut members = vec![
        named("name", text(&parameter.name)),
        named("value", text(&value)),
        named("in", text(location(parameter.location))),
        named("origin", text(origin)),
    ];
    if !parameter.description.is_empty() {
        members.push(named("description", text(&parameter.description)));
    }
    Tree::Table(members)
}

fn system_name(value: SystemValue) -> &'static str {
    let mut names = SystemValue::NAMES.iter();
    names
        .find(|(_, known)| *known == value)
        .map_or("", |(name, _)| name)
}

pub(super) fn policy(policy: &PolicyDefinition) -> Tree {
    let effect = match policy.effect {
        Effect::All => "ALL",
        Effect::Any => "ANY",
    };
    let conditions = policy.conditions.iter().map(condition).collect();
    let mut members = vec![
        named("name", text(&policy.name)),
        named("effect-mode", text(effect)),
        named("conditions", Tree::List(conditions)),
    ];
    members.extend(self::members(&policy.backend));
    Tree::Table(members)
}

fn condition(condition: &ConditionDefinition) -> Tree {
    let (kind, value) = match &condition.test {
        Test::Exact(value) => ("equal", value.clone()),
        Test::Enum(values) => ("enum", values.join(",")),
        Test::Pattern(pattern) => ("pattern", pattern.clone()),
        Test::Networks(networks) => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            ("enum", networks.join(","))
        }
    };
    let (origin, parameter) = match &condition.subject {
        Subject::Parameter(name) => ("request", Some(name.as_str())),
        Subject::Source => ("source", None),
        Subject::RequestPath => ("system", Some("req_path")),
        Subject::RequestMethod => ("system", Some("req_method")),
        Subject::Cookie(name) => ("cookie", Some(name.as_str())),
        Subject::Orchestrated(name) => ("orchestration", Some(name.as_str())),
    };
    let mut members = vec![
        named("type", text(kind)),
        named("value", text(&value)),
        named("origin", text(origin)),
    ];
    members.extend(parameter.map(|name| named("parameter", text(name))));
    Tree::Table(members)
}

//! Parameters, policies and orchestration of an API, compiled from its definition.

use regex::bytes::RegexBuilder;

use super::policy::{Condition, Subject, Test};
use super::{Mapping, Orchestration, Parameter, PathPart, Policy, Source};
use crate::catalog::build::Build;
use crate::catalog::path::encode;
use crate::config::{Strategy, TargetLocation};
use crate::definition::{
    self, ApiDefinition, BackendDefinition, BackendParameter, ConditionDefinition, HttpDefinition,
    Location, ParameterSource, PolicyDefinition, RequestParameter,
};

/// Compiled size of one pattern, in bytes: far above any sensible one, far below what would hurt.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What the backends of one API are compiled with.
#[derive(Clone, Copy)]
pub(in crate::catalog) struct Compiled<'a> {
    pub(in crate::catalog) group: &'a str,
    pub(in crate::catalog) environment: &'a str,
    pub(in crate::catalog) api: &'a ApiDefinition,
    /// Which of its backends: the name of a policy, empty for the default one.
    pub(in crate::catalog) label: &'a str,
    pub(in crate::catalog) parameters: &'a [Parameter],
    pub(in crate::catalog) rules: Option<&'a Orchestration>,
}

pub(in crate::catalog) fn parameters(api: &ApiDefinition) -> Vec<Parameter> {
    let captured: Vec<_> = placeholders(&api.path)
        .filter_map(|piece| match piece {
            PathPiece::Name(name) => Some(name.trim_end_matches('+')),
            PathPiece::Text(_) => None,
        })
        .collect();
    let capture = |parameter: &RequestParameter| {
        let position = captured.iter().position(|name| *name == parameter.name);
        position.filter(|_| parameter.location == Location::Path)
    };
    api.parameters
        .iter()
        .map(|parameter| Parameter {
            capture: capture(parameter),
            definition: parameter.clone(),
        })
        .collect()
}

enum PathPiece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Splits a path at `{name}`; braces that belong to no pair are text.
fn placeholders(path: &str) -> impl Iterator<Item = PathPiece<'_>> {
    let mut rest = path;
    let mut name = None;
    std::iter::from_fn(move || {
        if let Some(name) = name.take() {
            return Some(PathPiece::Name(name));
        }
        if rest.is_empty() {
            return None;
        }
        let found = rest.find('{').and_then(|open| {
            let after = rest.get(open + 1..)?;
            let close = after.find('}').filter(|close| *close > 0)?;
            Some((
                rest.get(..open)?,
                after.get(..close)?,
                after.get(close + 1..)?,
            ))
        });
        let (text, inner, after) = match found {
            Some((text, inner, after)) => (text, Some(inner), after),
            None => (rest, None, ""),
        };
        rest = after;
        if text.is_empty() {
            return inner.map(PathPiece::Name);
        }
        name = inner;
        Some(PathPiece::Text(text))
    })
}

impl Build<'_> {
    pub(in crate::catalog) fn orchestration(
        &mut self,
        api: &ApiDefinition,
    ) -> Option<Orchestration> {
        let mut with_rules = api
            .parameters
            .iter()
            .enumerate()
            .filter(|(_, p)| !p.orchestrations.is_empty());
        let (index, parameter) = with_rules.next()?;
        if let Some((_, second)) = with_rules.next() {
            self.complaints.push(second.place.error(
                "more than one parameter has orchestration rules",
                "leave rules on one parameter of an API",
            ));
        }
        let mut rules = Vec::new();
        for wanted in &parameter.orchestrations {
            let known = &self.config.definitions.orchestrations;
            match known.iter().find(|rule| rule.name == wanted.text) {
                Some(rule) => rules.push(rule.clone()),
                None => self.complaints.push(wanted.place.error(
                    format!("no orchestration rule is named `{}`", wanted.text),
                    "define it under [[definitions.orchestrations]], or remove it here",
                )),
            }
        }
        let making = rules
            .iter()
            .rfind(|rule| !matches!(rule.strategy, Strategy::NoneValue(_) | Strategy::Default(_)));
        let has_default = rules
            .iter()
            .any(|rule| matches!(rule.strategy, Strategy::Default(_)));
        if making.is_some_and(|rule| rule.target.is_none()) && !has_default {
            self.complaints.push(parameter.place.error(
                "the last orchestration rule only prepares the input of a next one",
                "add a rule with a target behind it",
            ));
        }
        Some(Orchestration {
            parameter: index,
            rules,
        })
    }

    pub(in crate::catalog) fn policy(
        &mut self,
        compiled: &Compiled<'_>,
        policy: &PolicyDefinition,
    ) -> Option<Policy> {
        let conditions: Vec<_> = policy
            .conditions
            .iter()
            .map(|condition| self.condition(compiled, condition))
            .collect();
        let compiled = Compiled {
            label: &policy.name,
            ..*compiled
        };
        let backend = self.backend(&compiled, &policy.backend)?;
        Some(Policy {
            name: policy.name.clone(),
            effect: policy.effect,
            conditions: conditions.into_iter().collect::<Option<_>>()?,
            backend,
        })
    }

    fn condition(
        &mut self,
        compiled: &Compiled<'_>,
        condition: &ConditionDefinition,
    ) -> Option<Condition> {
        let subject = match &condition.subject {
            definition::Subject::Parameter(name) => {
                let found = index_of(compiled.parameters, name);
                if found.is_none() {
                    self.complaints.push(undeclared(&condition.place, name));
                }
                Subject::Parameter(found?)
            }
            definition::Subject::Source => Subject::Source,
            definition::Subject::RequestPath => Subject::Path,
            definition::Subject::RequestMethod => Subject::Method,
            definition::Subject::Cookie(name) => Subject::Cookie(name.clone()),
            definition::Subject::Orchestrated(name) => Subject::Orchestrated(name.clone()),
        };
        let test = match &condition.test {
            definition::Test::Exact(value) => Test::OneOf(vec![value.clone()]),
            definition::Test::Enum(values) => Test::OneOf(values.clone()),
            definition::Test::Networks(networks) => Test::Networks(networks.clone()),
            definition::Test::Pattern(pattern) => {
                let built = RegexBuilder::new(pattern)
                    .size_limit(PATTERN_BYTES_MAX)
                    .dfa_size_limit(PATTERN_BYTES_MAX)
                    .build();
                if let Err(error) = &built {
                    self.complaints.push(condition.place.error(
                        format!("the pattern cannot be used: {error}"),
                        "write a regular expression without look-around and back-references, or a smaller one",
                    ));
                }
                Test::Pattern(built.ok()?)
            }
        };
        Some(Condition { subject, test })
    }

    pub(in crate::catalog) fn mapping(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
        path: Option<(&HttpDefinition, &str)>,
    ) -> Option<Mapping> {
        let mut mapping = Mapping::default();
        let mut mapped = Vec::new();
        for parameter in &backend.parameters {
            let source = self.source(compiled, parameter)?;
            if let Source::Request(index) = source {
                mapped.push(index);
            }
            match parameter.location {
                Location::Path => {}
                Location::Query => {
                    mapping.dropped.push(parameter.name.clone());
                    mapping.query.push((parameter.name.clone(), source));
                }
                Location::Header => {
                    mapping.removed.push(parameter.name.clone());
                    mapping.headers.push((parameter.name.clone(), source));
                }
            }
        }
        if let Some((http, path)) = path {
            mapping.path = self.path_parts(compiled, backend, http, path)?;
            mapped.extend(mapping.path.iter().filter_map(|part| match part {
                PathPart::Value(_, Source::Request(index)) => Some(*index),
                _ => None,
            }));
        }
        mapping.keep_back(compiled, &mapped);
        Some(mapping)
    }

    fn source(&mut self, compiled: &Compiled<'_>, parameter: &BackendParameter) -> Option<Source> {
        Some(match &parameter.source {
            ParameterSource::Constant(text) => Source::Constant(text.clone()),
            ParameterSource::System(value) => Source::System(*value),
            ParameterSource::Request(name) => {
                let found = index_of(compiled.parameters, name);
                if found.is_none() {
                    self.complaints.push(undeclared(&parameter.place, name));
                }
                Source::Request(found?)
            }
        })
    }

    /// A `{name}` that no backend parameter fills has the value of the path parameter of that name.
    fn path_parts(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
        http: &HttpDefinition,
        path: &str,
    ) -> Option<Vec<PathPart>> {
        let mut parts = Vec::new();
        for piece in placeholders(path) {
            let name = match piece {
                PathPiece::Text(text) => {
                    parts.push(PathPart::Text(encode(text)));
                    continue;
                }
                PathPiece::Name(name) => name,
            };
            let filled = backend
                .parameters
                .iter()
                .find(|p| p.location == Location::Path && p.name == name);
            let source = match filled {
                Some(parameter) => Some(self.source(compiled, parameter)?),
                None => index_of(compiled.parameters, name).map(Source::Request),
            };
            let many = |source: &Source| {
                matches!(source, Source::Request(index)
                if compiled.parameters.get(*index).is_some_and(|p| {
                    p.capture.is_some() && compiled.api.path.contains(&format!("{{{}+}}", p.definition.name))
                }))
            };
            match source {
                Some(source) if !many(&source) => {
                    parts.push(PathPart::Value(name.to_owned(), source))
                }
                found => {
                    let problem = if found.is_some() {
                        format!(
                            "`{{{name}}}` would take several segments, which a backend path cannot"
                        )
                    } else {
                        format!("nothing fills `{{{name}}}` of the backend path")
                    };
                    let remedy = "map a request parameter of one segment, a constant or a system value to it";
                    self.complaints.push(
                        http.path
                            .place
                            .error(problem, remedy)
                            .with_code("APIG.2012"),
                    );
                    return None;
                }
            }
        }
        Some(parts)
    }
}

impl Mapping {
    /// Notes what doesn't pass in its own place, and what does with its default.
    fn keep_back(&mut self, compiled: &Compiled<'_>, mapped: &[usize]) {
        for (index, parameter) in compiled.parameters.iter().enumerate() {
            let definition = &parameter.definition;
            let kept = mapped.contains(&index) || !definition.pass_through;
            match definition.location {
                _ if !kept => self.passed.push(index),
                Location::Path => {}
                Location::Query => self.dropped.push(definition.name.clone()),
                Location::Header => self.removed.push(definition.name.clone()),
            }
        }
        for target in compiled
            .rules
            .iter()
            .flat_map(|rules| &rules.rules)
            .filter_map(|rule| rule.target.as_ref())
        {
            match target.location {
                TargetLocation::Query => self.dropped.push(target.name.clone()),
                TargetLocation::Header => self.removed.push(target.name.clone()),
            }
        }
    }
}

fn index_of(parameters: &[Parameter], name: &str) -> Option<usize> {
    parameters
        .iter()
        .position(|parameter| parameter.definition.name == name)
}

fn undeclared(place: &crate::document::Place, name: &str) -> crate::document::Complaint {
    place.error(
        format!("the API declares no request parameter `{name}`"),
        "declare it under `parameters`, or correct the name",
    )
}

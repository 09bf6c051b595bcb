//! Parameters, policies and orchestration of an API, compiled from its definition.

use regex::bytes::RegexBuilder;

use super::policy::{Condition, Subject, Test};
use super::{Mapping, Orchestration, Parameter, PathTemplate, Policy, Source};
use crate::catalog::build::Build;
use crate::config::TargetLocation;
use crate::definition::{
    self, ApiDefinition, BackendDefinition, BackendParameter, ConditionDefinition, Location,
    ParameterSource, PolicyDefinition, RequestParameter,
};
use crate::document::Place;

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
    let captured: Vec<&str> = api
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_end_matches('+'))
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

impl Build<'_> {
    /// The rules of the one parameter that has any; their order is the definition's business.
    pub(in crate::catalog) fn orchestration(
        &mut self,
        api: &ApiDefinition,
    ) -> Option<Orchestration> {
        let mut parameters = api.parameters.iter();
        let index = parameters.position(|parameter| !parameter.orchestrations.is_empty())?;
        let wanted = api.parameters.get(index)?.orchestrations.iter();
        let known = &self.config.definitions.orchestrations;
        let mut rules = Vec::new();
        for wanted in wanted {
            match known.iter().find(|rule| rule.name == wanted.text) {
                Some(rule) => rules.push(rule.clone()),
                None => self.complaints.push(wanted.place.error(
                    format!("there is no orchestration rule `{}`", wanted.text),
                    "correct the name, or add [[orchestrations]] with that name to the configuration",
                )),
            }
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
                Subject::Parameter(self.declared(compiled, name, &condition.place)?)
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
            definition::Test::Pattern(pattern) => self.pattern(pattern, &condition.place)?,
        };
        Some(Condition { subject, test })
    }

    fn pattern(&mut self, pattern: &str, place: &Place) -> Option<Test> {
        let built = RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build();
        if let Err(error) = &built {
            self.complaints.push(place.error(
                format!("the pattern cannot be used: {error}"),
                "write a regular expression without look-around and back-references, or a smaller one",
            ));
        }
        built.ok().map(Test::Pattern)
    }

    pub(in crate::catalog) fn mapping(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
    ) -> Option<Mapping> {
        let mut mapping = Mapping::default();
        let mut mapped = Vec::new();
        for parameter in &backend.parameters {
            let source = self.source(compiled, parameter)?;
            if let Source::Request(index) = source {
                mapped.push(index);
            }
            let name = parameter.name.clone();
            match parameter.location {
                // Part of the template.
                Location::Path => {}
                Location::Query => {
                    mapping.dropped.push(name.clone());
                    mapping.query.push((name, source));
                }
                Location::Header => {
                    mapping.removed.push(name.clone());
                    mapping.headers.push((name, source));
                }
            }
        }
        mapping.keep_back(compiled, &mapped);
        Some(mapping)
    }

    fn source(&mut self, compiled: &Compiled<'_>, parameter: &BackendParameter) -> Option<Source> {
        Some(match &parameter.source {
            ParameterSource::Constant(text) => Source::Constant(text.clone()),
            ParameterSource::System(value) => Source::System(*value),
            ParameterSource::Request(name) => {
                Source::Request(self.declared(compiled, name, &parameter.place)?)
            }
        })
    }

    /// A path with variables in place. A `{name}` that no backend parameter fills has the value of the path parameter of
    /// that name.
    pub(in crate::catalog) fn template(
        &mut self,
        compiled: &Compiled<'_>,
        backend: &BackendDefinition,
        (place, path): (&Place, &str),
    ) -> Option<PathTemplate> {
        PathTemplate::read(path, |name| {
            let mut parameters = backend.parameters.iter();
            let filling = parameters.find(|p| p.location == Location::Path && p.name == name);
            if let Some(parameter) = filling {
                return self.source(compiled, parameter);
            }
            let captured = index_of(compiled.parameters, name).filter(|index| {
                let parameter = compiled.parameters.get(*index);
                parameter.is_some_and(|parameter| parameter.capture.is_some())
            });
            if captured.is_none() {
                let problem = format!("nothing fills `{{{name}}}` of the backend path");
                let remedy =
                    "map a request parameter of one segment, a constant or a system value to it";
                let complaint = place.error(problem, remedy);
                self.complaints.push(complaint.with_code("APIG.2027"));
            }
            captured.map(Source::Request)
        })
    }

    /// The index of a request parameter, which the definition has made sure of.
    fn declared(&mut self, compiled: &Compiled<'_>, name: &str, place: &Place) -> Option<usize> {
        let found = index_of(compiled.parameters, name);
        if found.is_none() {
            let problem = format!("there is no request parameter `{name}`");
            let remedy = "correct the name, or declare it in `parameters` of the operation";
            let complaint = place.error(problem, remedy);
            self.complaints.push(complaint.with_code("APIG.2028"));
        }
        found
    }
}

impl Mapping {
    /// Notes what doesn't pass in its own place, and what does with its default.
    fn keep_back(&mut self, compiled: &Compiled<'_>, mapped: &[usize]) {
        for (index, parameter) in compiled.parameters.iter().enumerate() {
            let definition = &parameter.definition;
            let passes = definition.pass_through && !mapped.contains(&index);
            match definition.location {
                // Whatever of the path is not mapped ends here.
                Location::Path => {}
                _ if passes => self.passed.push(index),
                Location::Query => self.dropped.push(definition.name.clone()),
                Location::Header => self.removed.push(definition.name.clone()),
            }
        }
        let rules = compiled.rules.iter().flat_map(|rules| &rules.rules);
        for target in rules.filter_map(|rule| rule.target.as_ref()) {
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

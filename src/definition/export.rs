//! Definitions in the cloud's format (spec 3): what is imported from it is what was exported.
//!
//! What does not change a call and is not kept (tags, schemas, the group's description) is not written, and neither are
//! protections that the operator lets this version do without.

mod backend;
mod tree;

use std::fmt;

use super::{
    ApiDefinition, Definition, Location, MatchMode, ParameterKind, RequestParameter,
    ResponseSetDefinition, Schemes,
};
use crate::definition::Method;
use tree::{Tree, named, text};

/// The formats that can be written (spec 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OasVersion {
    Swagger2,
    OpenApi3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Json,
    Yaml,
}

/// Why definitions cannot be one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportError {
    NothingToExport,
    Groups(String, String),
    /// A path of a file has one API for each method: the names of two.
    SamePath(String, String),
    /// Two sets of gateway responses that differ have this name.
    ResponseSet(String),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToExport => f.write_str("there is nothing to export"),
            Self::Groups(one, other) => {
                write!(f, "{one} and {other} are two groups, and a file has one")
            }
            Self::SamePath(one, other) => write!(
                f,
                "{one} and {other} have the same path and method, which one file cannot say"
            ),
            Self::ResponseSet(name) => {
                write!(
                    f,
                    "two sets of gateway responses have the name {name} and differ"
                )
            }
        }
    }
}

impl std::error::Error for ExportError {}

/// One file of the definitions, which are of one group and of one environment.
pub fn export(
    definitions: &[Definition],
    version: OasVersion,
    syntax: Syntax,
) -> Result<String, ExportError> {
    let first = definitions.first().ok_or(ExportError::NothingToExport)?;
    if let Some(other) = definitions.iter().find(|other| other.group != first.group) {
        return Err(ExportError::Groups(
            first.group.clone(),
            other.group.clone(),
        ));
    }
    let mut root = Vec::new();
    root.push(match version {
        OasVersion::Swagger2 => named("swagger", text("2.0")),
        OasVersion::OpenApi3 => named("openapi", text("3.0.0")),
    });
    let info = vec![
        named("title", text(&first.group)),
        named("version", text("1")),
    ];
    root.push(named("info", Tree::Table(info)));
    root.push(named("paths", paths(definitions, version)?));
    let sets = merged_sets(definitions)?;
    if !sets.is_empty() {
        let sets = named("x-apigateway-responses", response_sets(&sets));
        root.push(match version {
            OasVersion::Swagger2 => sets,
            OasVersion::OpenApi3 => named("components", Tree::Table(vec![sets])),
        });
    }
    Ok(Tree::Table(root).written(syntax))
}

/// Path by path in the order of the definitions, and below each its methods.
fn paths(definitions: &[Definition], version: OasVersion) -> Result<Tree, ExportError> {
    let mut places: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    let mut paths: Vec<(&str, Vec<&ApiDefinition>)> = Vec::new();
    for api in definitions.iter().flat_map(|definition| &definition.apis) {
        let place = *places.entry(&api.path).or_insert(paths.len());
        if place == paths.len() {
            paths.push((&api.path, Vec::new()));
        }
        let Some((_, apis)) = paths.get_mut(place) else {
            continue;
        };
        if let Some(other) = apis.iter().find(|other| other.method == api.method) {
            return Err(ExportError::SamePath(other.name.clone(), api.name.clone()));
        }
        apis.push(api);
    }
    let tables = paths.into_iter().map(|(path, apis)| {
        let operations = apis
            .into_iter()
            .map(|api| (key_of(api.method), operation(api, version)));
        named(path, Tree::Table(operations.collect()))
    });
    Ok(Tree::Table(tables.collect()))
}

fn key_of(method: Method) -> String {
    match method {
        Method::Any => "x-apigateway-any-method".to_owned(),
        Method::Get
        | Method::Post
        | Method::Put
        | Method::Delete
        | Method::Head
        | Method::Patch
        | Method::Options => method.label().to_ascii_lowercase(),
    }
}

fn operation(api: &ApiDefinition, version: OasVersion) -> Tree {
    let mut members = vec![named("operationId", text(&api.name))];
    if !api.description.is_empty() {
        members.push(named("description", text(&api.description)));
    }
    members.push(schemes(api.schemes, version));
    if !api.parameters.is_empty() {
        let parameters = api.parameters.iter();
        let list = parameters.map(|parameter| request_parameter(parameter, version));
        members.push(named("parameters", Tree::List(list.collect())));
    }
    let mode = match api.match_mode {
        MatchMode::Normal => "NORMAL",
        MatchMode::Prefix => "SWA",
    };
    let response = vec![named("description", text("default response"))];
    members.extend([
        named(
            "responses",
            Tree::Table(vec![named("default", Tree::Table(response))]),
        ),
        named("x-apigateway-request-type", text("public")),
        named("x-apigateway-match-mode", text(mode)),
        named("x-apigateway-cors", Tree::Bool(api.cors)),
        named("x-apigateway-response", text(&api.response_set.text)),
        named(
            "x-apigateway-backend",
            Tree::Table(backend::members(&api.backend)),
        ),
    ]);
    if !api.policies.is_empty() {
        let policies = api.policies.iter().map(backend::policy).collect();
        members.push(named("x-apigateway-backend-policies", Tree::List(policies)));
    }
    if !api.response_sets.is_empty() {
        let sets: Vec<_> = api.response_sets.iter().collect();
        members.push(named("x-apigateway-responses", response_sets(&sets)));
    }
    Tree::Table(members)
}

/// In OpenAPI 3.0 the schemes of URLs say it, whose host is not looked at.
fn schemes(schemes: Schemes, version: OasVersion) -> (String, Tree) {
    let names: &[&str] = match schemes {
        Schemes::Http => &["http"],
        Schemes::Https => &["https"],
        Schemes::Both => &["http", "https"],
    };
    match version {
        OasVersion::Swagger2 => {
            let list = names.iter().map(|name| text(name));
            named("schemes", Tree::List(list.collect()))
        }
        OasVersion::OpenApi3 => {
            let server = |name: &&str| {
                let url = named("url", text(&format!("{name}://localhost")));
                Tree::Table(vec![url])
            };
            named("servers", Tree::List(names.iter().map(server).collect()))
        }
    }
}

fn request_parameter(parameter: &RequestParameter, version: OasVersion) -> Tree {
    let mut members = vec![
        named("name", text(&parameter.name)),
        named("in", text(location(parameter.location))),
        named("required", Tree::Bool(parameter.required)),
    ];
    if !parameter.description.is_empty() {
        members.push(named("description", text(&parameter.description)));
    }
    let schema = schema(parameter);
    match version {
        OasVersion::Swagger2 => members.extend(schema),
        OasVersion::OpenApi3 => members.push(named("schema", Tree::Table(schema))),
    }
    let pass = if parameter.pass_through {
        "always"
    } else {
        "never"
    };
    members.push(named("x-apigateway-pass-through", text(pass)));
    if let Some(sample) = &parameter.sample {
        let key = match version {
            OasVersion::Swagger2 => "x-apigateway-sample",
            OasVersion::OpenApi3 => "example",
        };
        members.push(named(key, text(sample)));
    }
    if !parameter.orchestrations.is_empty() {
        let rules = parameter.orchestrations.iter();
        let rules = rules.map(|rule| text(&rule.text)).collect();
        members.push(named("x-apigateway-orchestrations", Tree::List(rules)));
    }
    Tree::Table(members)
}

fn schema(parameter: &RequestParameter) -> Vec<(String, Tree)> {
    let mut members = Vec::new();
    let choices = match &parameter.kind {
        ParameterKind::Text {
            length_min,
            length_max,
            choices,
        } => {
            members.push(named("type", text("string")));
            for (key, length) in [("minLength", length_min), ("maxLength", length_max)] {
                members.extend(length.map(|length| named(key, Tree::Integer(length.into()))));
            }
            choices
        }
        ParameterKind::Number { min, max, choices } => {
            members.push(named("type", text("number")));
            for (key, bound) in [("minimum", min), ("maximum", max)] {
                members.extend(bound.map(|bound| named(key, tree::number(bound))));
            }
            choices
        }
    };
    let number = matches!(parameter.kind, ParameterKind::Number { .. });
    let value = |value: &String| {
        if number {
            tree::numeral(value)
        } else {
            text(value)
        }
    };
    if !choices.is_empty() {
        let list = choices.iter().map(value).collect();
        members.push(named("enum", Tree::List(list)));
    }
    members.extend(
        parameter
            .default
            .iter()
            .map(|default| named("default", value(default))),
    );
    members
}

fn location(location: Location) -> &'static str {
    match location {
        Location::Path => "path",
        Location::Query => "query",
        Location::Header => "header",
    }
}

fn merged_sets(definitions: &[Definition]) -> Result<Vec<&ResponseSetDefinition>, ExportError> {
    let mut merged: Vec<&ResponseSetDefinition> = Vec::new();
    for set in definitions
        .iter()
        .flat_map(|definition| &definition.response_sets)
    {
        match merged.iter().find(|known| known.name == set.name) {
            Some(known) if known.responses != set.responses => {
                return Err(ExportError::ResponseSet(set.name.clone()));
            }
            Some(_) => {}
            None => merged.push(set),
        }
    }
    Ok(merged)
}

fn response_sets(sets: &[&ResponseSetDefinition]) -> Tree {
    let table = |set: &&ResponseSetDefinition| {
        let responses = set.responses.iter().map(|(kind, response)| {
            let mut members = Vec::new();
            let status = response.status;
            members.extend(status.map(|status| named("status", Tree::Integer(status.into()))));
            if !response.bodies.is_empty() {
                let bodies = response.bodies.iter();
                let bodies = bodies.map(|(media_type, body)| named(media_type, text(body)));
                members.push(named("body", Tree::Table(bodies.collect())));
            }
            if !response.headers.is_empty() {
                members.push(named("headers", backend::headers(&response.headers)));
            }
            named(kind.key(), Tree::Table(members))
        });
        named(&set.name, Tree::Table(responses.collect()))
    };
    Tree::Table(sets.iter().map(table).collect())
}

//! Gateway responses: what errors look like to a caller (spec 5.1, 5.4).

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::Api;
use crate::close::{ErrorType, GatewayError};
use crate::definition::{ApiDefinition, Definition, ResponseDefinition, ResponseSetDefinition};
use crate::document::Complaint;

/// The media type of the built-in body, and of a template that names none.
const JSON: &str = "application/json";

/// A set of templates. Empty: every error has its built-in form.
#[derive(Debug, Default)]
pub struct ResponseSet(HashMap<ErrorType, Template>);

impl ResponseSet {
    /// All that it says, in a fixed order.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told: Vec<_> = self.0.iter().map(|entry| format!("{entry:?}")).collect();
        told.sort_unstable();
        told
    }
}

/// What one type of error is answered with; what is not given stays as it is built in.
#[derive(Debug)]
struct Template {
    status: Option<u16>,
    body: Option<(String, Text)>,
    headers: Vec<(String, Text)>,
}

/// What a template can ask for (spec 5.4).
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub api: Option<&'a Api>,
    pub request_id: &'a str,
    pub stage: &'a str,
    pub source_ip: IpAddr,
    pub method: &'a str,
    /// As received, empty where the request was not understood.
    pub path: &'a str,
    pub query: Option<&'a str>,
}

/// An answer of the gateway's own, whose length and connection fields are the sender's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub status: u16,
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The set that every group has (spec 5.4).
const DEFAULT: &str = "default";

/// The sets of all groups, of whatever files they come from.
#[derive(Debug, Default)]
pub(super) struct ResponseSets<'a>(HashMap<(&'a str, &'a str), Known<'a>>);

#[derive(Debug)]
struct Known<'a> {
    definition: &'a ResponseSetDefinition,
    set: Arc<ResponseSet>,
}

impl<'a> ResponseSets<'a> {
    /// Files of one group may each have the same set, or say nothing about it; two different ones of a name are a mistake.
    pub(super) fn gather(definitions: &'a [Definition], complaints: &mut Vec<Complaint>) -> Self {
        let mut sets = Self::default();
        for definition in definitions {
            for set in &definition.response_sets {
                sets.add(&definition.group, set, complaints);
            }
        }
        sets
    }

    fn add(
        &mut self,
        group: &'a str,
        definition: &'a ResponseSetDefinition,
        complaints: &mut Vec<Complaint>,
    ) {
        let key = (group, definition.name.as_str());
        match self.0.get(&key) {
            Some(known) if known.definition.responses == definition.responses => {}
            Some(_) if definition.responses.is_empty() => {}
            Some(known) if !known.definition.responses.is_empty() => complaints.push(
                definition
                    .place
                    .error(
                        format!(
                            "group {group} has another set of gateway responses `{}`: {}",
                            definition.name, known.definition.place
                        ),
                        "give one of them another name, or make them the same",
                    )
                    .with_code("APIG.3216"),
            ),
            _ => {
                let set = Arc::new(ResponseSet::from(definition));
                self.0.insert(key, Known { definition, set });
            }
        }
    }

    /// What answers for a group where no API does.
    pub(super) fn of_group(&self, group: &str) -> Arc<ResponseSet> {
        let known = self.0.get(&(group, DEFAULT));
        known
            .map(|known| Arc::clone(&known.set))
            .unwrap_or_default()
    }

    /// The set that an API names: its own, or its group's.
    pub(super) fn of_api(
        &self,
        group: &str,
        api: &ApiDefinition,
        complaints: &mut Vec<Complaint>,
    ) -> Arc<ResponseSet> {
        let name = api.response_set.text.as_str();
        if let Some(own) = api.response_sets.iter().find(|set| set.name == name) {
            return Arc::new(ResponseSet::from(own));
        }
        match self.0.get(&(group, name)) {
            Some(known) => Arc::clone(&known.set),
            None if name == DEFAULT => Arc::default(),
            None => {
                complaints.push(
                    api.response_set
                        .place
                        .error(
                            format!("group {group} has no set of gateway responses `{name}`"),
                            "write `default`, or define the set in `x-apigateway-responses`",
                        )
                        .with_code("APIG.2012"),
                );
                Arc::default()
            }
        }
    }
}

impl From<&ResponseSetDefinition> for ResponseSet {
    fn from(set: &ResponseSetDefinition) -> Self {
        let template =
            |(kind, response): &(ErrorType, ResponseDefinition)| (*kind, Template::from(response));
        Self(set.responses.iter().map(template).collect())
    }
}

impl From<&ResponseDefinition> for Template {
    fn from(response: &ResponseDefinition) -> Self {
        // One answer has one body: JSON where there is one, since that is what callers of the gateway expect.
        let json = response.bodies.iter().find(|(media, _)| is_json(media));
        let body = json.or_else(|| response.bodies.first());
        Self {
            status: response.status,
            body: body.map(|(media, text)| (media.clone(), Text::new(text))),
            headers: response
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), Text::new(value)))
                .collect(),
        }
    }
}

impl ResponseSet {
    /// The answer for `error` (spec 5.4, "Order of choice").
    pub fn render(&self, error: &GatewayError, context: &Context<'_>) -> Rendered {
        let of_class = if error.status < 500 {
            ErrorType::Default4xx
        } else {
            ErrorType::Default5xx
        };
        let template = self.0.get(&error.kind).or_else(|| self.0.get(&of_class));
        let Some(template) = template else {
            return built_in(error, context);
        };
        let mut rendered = Rendered {
            status: template.status.unwrap_or(error.status),
            ..built_in(error, context)
        };
        if let Some((media, text)) = &template.body {
            rendered.body = text.filled(error, context, Form::of(media)).into_bytes();
            rendered.content_type.clone_from(media);
        }
        for (name, text) in &template.headers {
            let value = text.filled(error, context, Form::Field);
            rendered.headers.push((name.clone(), value));
        }
        rendered
    }
}

/// The members in the order that live gateways have (spec U39).
fn built_in(error: &GatewayError, context: &Context<'_>) -> Rendered {
    let GatewayError { code, message, .. } = error;
    // None of the values needs escaping.
    let id = context.request_id;
    let body = format!(r#"{{"error_msg":"{message}","error_code":"{code}","request_id":"{id}"}}"#);
    Rendered {
        status: error.status,
        content_type: JSON.to_owned(),
        headers: Vec::new(),
        body: body.into_bytes(),
    }
}

fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(JSON) || essence.to_ascii_lowercase().ends_with("+json")
}

/// How values are written into a text (spec U44).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Between the quotes of a JSON string.
    Json,
    Plain,
    /// The value of a field: without control characters, of which one could end it.
    Field,
}

impl Form {
    fn of(media: &str) -> Self {
        if is_json(media) {
            Self::Json
        } else {
            Self::Plain
        }
    }

    fn push(self, out: &mut String, value: &str) {
        match self {
            Self::Plain => out.push_str(value),
            Self::Field => out.extend(value.chars().filter(|c| !c.is_control())),
            Self::Json => value.chars().for_each(|c| push_escaped(out, c)),
        }
    }
}

/// RFC 8259 §7.
fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        c if u32::from(c) < 0x20 => {
            // Writing to a string does not fail.
            write!(out, "\\u{:04x}", u32::from(c)).ok();
        }
        c => out.push(c),
    }
}

/// A text with variables, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable(Variable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    ApiId,
    ApiName,
    RequestId,
    Stage,
    SourceIp,
    Path,
    Uri,
    Method,
    ErrorMessage,
    ErrorCode,
    ErrorType,
    /// Nothing has a value for it: there are no apps, and no authorizers, yet; or it is none of the gateway's.
    Empty,
}

/// What every variable begins with.
const PREFIX: &str = "$context.";

/// The variables of spec 5.4. None is the beginning of another but `apiId` of none; whole names are compared.
const VARIABLES: [(&str, Variable); 13] = [
    ("apiId", Variable::ApiId),
    ("apiName", Variable::ApiName),
    ("appId", Variable::Empty),
    ("appName", Variable::Empty),
    ("requestId", Variable::RequestId),
    ("stage", Variable::Stage),
    ("sourceIp", Variable::SourceIp),
    ("reqPath", Variable::Path),
    ("reqUri", Variable::Uri),
    ("reqMethod", Variable::Method),
    ("error.message", Variable::ErrorMessage),
    ("error.code", Variable::ErrorCode),
    ("error.type", Variable::ErrorType),
];

impl Text {
    fn new(mut text: &str) -> Self {
        let mut pieces = Vec::new();
        while let Some((before, after)) = text.split_once(PREFIX) {
            let (variable, rest) = variable(after);
            pieces.push(Piece::Literal(before.to_owned()));
            pieces.push(Piece::Variable(variable));
            text = rest;
        }
        pieces.push(Piece::Literal(text.to_owned()));
        Self(pieces)
    }

    fn filled(&self, error: &GatewayError, context: &Context<'_>, form: Form) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Variable(variable) => variable.push(&mut out, error, context, form),
            }
        }
        out
    }
}

/// The longest known name that `text` begins with (spec U44), and what follows it. An unknown one ends where names do,
/// and is empty.
fn variable(text: &str) -> (Variable, &str) {
    let known = VARIABLES
        .iter()
        .filter_map(|(name, variable)| Some((*variable, text.strip_prefix(name)?)))
        .min_by_key(|(_, rest)| rest.len());
    known.unwrap_or_else(|| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let rest = text.trim_start_matches(is_part);
        (Variable::Empty, rest)
    })
}

impl Variable {
    fn push(self, out: &mut String, error: &GatewayError, context: &Context<'_>, form: Form) {
        let mut add = |value: &str| form.push(out, value);
        match self {
            Self::ApiId => add(context.api.map_or("", |api| &api.id)),
            Self::ApiName => add(context.api.map_or("", |api| &api.name)),
            Self::RequestId => add(context.request_id),
            Self::Stage => add(context.stage),
            Self::SourceIp => add(&context.source_ip.to_string()),
            Self::Path => add(context.path),
            Self::Uri => {
                add(context.path);
                if let Some(query) = context.query {
                    add("?");
                    add(query);
                }
            }
            Self::Method => add(context.method),
            Self::ErrorMessage => add(error.message),
            Self::ErrorCode => add(error.code),
            Self::ErrorType => add(error.kind.key()),
            Self::Empty => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseReason;

    const CONTEXT: Context<'_> = Context {
        api: None,
        request_id: "abab",
        stage: "RELEASE",
        source_ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        method: "GET",
        path: "/a\"b",
        query: Some("x=\\\r\n"),
    };

    fn set(responses: &[(ErrorType, Option<u16>, &str, &str)]) -> ResponseSet {
        let response = |status, media: &str, body: &str| ResponseDefinition {
            status,
            bodies: vec![(media.to_owned(), body.to_owned())],
            headers: vec![(
                "X-Why".to_owned(),
                "$context.error.type$context.reqUri".to_owned(),
            )],
        };
        ResponseSet(
            responses
                .iter()
                .map(|(kind, status, media, body)| {
                    (*kind, Template::from(&response(*status, media, body)))
                })
                .collect(),
        )
    }

    fn render(set: &ResponseSet, reason: CloseReason) -> (u16, String, String) {
        let rendered = set.render(&reason.answer().unwrap(), &CONTEXT);
        let body = String::from_utf8(rendered.body).unwrap();
        (rendered.status, rendered.content_type, body)
    }

    #[test]
    fn the_nearest_template_is_taken() {
        let text = "text/plain";
        let set = set(&[
            (ErrorType::NotFound, Some(410), text, "gone"),
            (ErrorType::Default4xx, None, text, "$context.error.code"),
        ]);
        for (reason, status, body) in [
            (CloseReason::NoRoute, 410, "gone"),
            (CloseReason::BadParameter, 400, "APIG.0201"),
            (CloseReason::DebugQuota, 429, "APIG.0308"),
        ] {
            let expected = (status, text.to_owned(), body.to_owned());
            assert_eq!(render(&set, reason), expected, "{reason:?}");
        }
        let (status, media, body) = render(&set, CloseReason::BackendGone);
        assert_eq!((status, media.as_str()), (502, JSON));
        assert_eq!(
            body,
            r#"{"error_msg":"Backend unavailable","error_code":"APIG.0202","request_id":"abab"}"#
        );
    }

    #[test]
    fn values_cannot_break_out_of_where_they_stand() {
        let all = r#"{"a":"$context.reqUri|$context.reqMethod|$context.apiName|$context.authorizer.frontend.x-y|$context.stage"}"#;
        let set = set(&[(ErrorType::NotFound, None, "application/problem+json", all)]);
        let (_, _, body) = render(&set, CloseReason::NoRoute);
        assert_eq!(body, r#"{"a":"/a\"b?x=\\\u000d\u000a|GET|||RELEASE"}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        let error = CloseReason::NoRoute.answer().unwrap();
        let headers = set.render(&error, &CONTEXT).headers;
        assert_eq!(headers.first().unwrap().1, "NOT_FOUND/a\"b?x=\\");
    }

    #[test]
    fn json_is_preferred_among_several_bodies() {
        let response = ResponseDefinition {
            bodies: vec![
                ("text/html".to_owned(), "<p>".to_owned()),
                (
                    "Application/JSON; charset=utf-8".to_owned(),
                    "{}".to_owned(),
                ),
            ],
            ..ResponseDefinition::default()
        };
        let (media, _) = Template::from(&response).body.unwrap();
        assert_eq!(media, "Application/JSON; charset=utf-8");
    }

    #[test]
    fn names_are_read_as_far_as_they_go() {
        for (text, expected) in [
            ("apiId!", (Variable::ApiId, "!")),
            ("error.codex", (Variable::ErrorCode, "x")),
            ("error.cod", (Variable::Empty, "")),
            ("unknown.x y", (Variable::Empty, " y")),
            ("", (Variable::Empty, "")),
        ] {
            assert_eq!(variable(text), expected, "{text}");
        }
    }
}

//! One file: what stands at its root, and its operations one by one.

use super::operation::{Inherited, Operation};
use super::security::SecuritySchemes;
use super::{ApiDefinition, Definition, Method, Schemes, is_group_name};
use crate::config::{Config, Scheme};
use crate::document::{
    Complaint, Complaints, Item, Place, Severity, Table, Value, likely, parse_yaml,
};

/// Longest path of an API (spec 1.2).
const PATH_CHARS_MAX: usize = 512;

/// Every extension of spec 3.2, to tell misspelt ones from those of others.
const EXTENSIONS: [&str; 23] = [
    "x-apigateway-access-control",
    "x-apigateway-access-controls",
    "x-apigateway-any-method",
    "x-apigateway-auth-opt",
    "x-apigateway-auth-type",
    "x-apigateway-authorizer",
    "x-apigateway-backend",
    "x-apigateway-backend-policies",
    "x-apigateway-content-type",
    "x-apigateway-cors",
    "x-apigateway-is-send-fg-body-base64",
    "x-apigateway-match-mode",
    "x-apigateway-orchestrations",
    "x-apigateway-pass-through",
    "x-apigateway-plugins",
    "x-apigateway-ratelimit",
    "x-apigateway-ratelimits",
    "x-apigateway-request-type",
    "x-apigateway-response",
    "x-apigateway-responses",
    "x-apigateway-result-failure-sample",
    "x-apigateway-result-normal-sample",
    "x-apigateway-sample",
];

const METHODS: [(&str, Method); 8] = [
    ("get", Method::Get),
    ("put", Method::Put),
    ("post", Method::Post),
    ("delete", Method::Delete),
    ("head", Method::Head),
    ("patch", Method::Patch),
    ("options", Method::Options),
    ("x-apigateway-any-method", Method::Any),
];

/// The formats that are read (spec 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Swagger2,
    OpenApi3,
}

/// What the root says that matters to operations.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) format: Format,
    pub(super) group: String,
    pub(super) config: &'a Config,
    pub(super) security_schemes: SecuritySchemes,
    /// Sets of gateway responses: name, and whether it changes anything.
    pub(super) response_sets: Vec<(String, bool)>,
    base_path: String,
    inherited: Inherited<'a>,
}

pub(super) fn parse(
    file: &str,
    text: &str,
    environments: &[String],
    config: &Config,
) -> (Option<Definition>, Vec<Complaint>) {
    if text.trim().is_empty() {
        let empty = Place::whole(file).error("the file is empty", "export the API group again");
        return (None, vec![empty.with_code("APIG.3609")]);
    }
    let root = match parse_yaml(file, text) {
        Ok(root) => root,
        Err(complaint) => return (None, vec![complaint]),
    };
    let mut complaints = Complaints::coded(file);
    let definition = Item::root(&root)
        .table(&mut complaints)
        .and_then(|root| definition(root, environments, config, &mut complaints));
    (definition, complaints.into_list())
}

fn definition<'a>(
    mut root: Table<'a>,
    environments: &[String],
    config: &'a Config,
    complaints: &mut Complaints,
) -> Option<Definition> {
    let format = format(&mut root, complaints)?;
    let group = group(&mut root, complaints);
    let paths = root.need("paths", "add the paths of the APIs", complaints);
    let document = Document::read(
        format,
        group.clone().unwrap_or_default(),
        &mut root,
        config,
        complaints,
    );
    skip_foreign(&mut root);
    root.finish(Severity::Warning, complaints);

    let mut definition = Definition {
        group: document.group.clone(),
        environments: environments.to_vec(),
        apis: Vec::new(),
        left_out: Vec::new(),
        response_sets: Vec::new(),
    };
    let mut paths = paths?.table(complaints)?;
    skip_foreign(&mut paths);
    for (path, item) in paths.rest() {
        document.path(path, &item, &mut definition, complaints);
    }
    // APIs of no group can be checked, not served.
    group.map(|_| definition)
}

fn format(root: &mut Table<'_>, complaints: &mut Complaints) -> Option<Format> {
    let place = root.place(complaints);
    let (item, format) = match (root.take("swagger"), root.take("openapi")) {
        (Some(item), None) => (Some(item), Format::Swagger2),
        (None, Some(item)) => (Some(item), Format::OpenApi3),
        _ => (None, Format::OpenApi3),
    };
    let place = item.as_ref().map_or(place, |item| item.place(complaints));
    let known = item.is_some_and(|item| match (format, item.value()) {
        (Format::Swagger2, Value::Text(version)) => version == "2.0",
        // Unquoted, as people write it.
        (Format::Swagger2, Value::Float(version)) => *version == 2.0,
        (Format::OpenApi3, Value::Text(version)) => version.starts_with("3.0."),
        (Format::OpenApi3, Value::Float(version)) => *version == 3.0,
        _ => false,
    });
    if !known {
        complaints.error_as(
            "APIG.3601",
            &place,
            "the file is neither Swagger 2.0 nor OpenAPI 3.0",
            "begin it with `swagger: \"2.0\"` or `openapi: 3.0.0`",
        );
    }
    known.then_some(format)
}

/// `info.title` is the name of the group.
fn group(root: &mut Table<'_>, complaints: &mut Complaints) -> Option<String> {
    let remedy = "add `info: {title: DEFAULT, version: \"1\"}`; the title is the API group";
    let mut info = root.need("info", remedy, complaints)?.table(complaints)?;
    for key in [
        "description",
        "version",
        "termsOfService",
        "contact",
        "license",
    ] {
        info.take(key);
    }
    let title = info.need(
        "title",
        "add `title: DEFAULT`, the name of the API group",
        complaints,
    );
    skip_foreign(&mut info);
    info.finish(Severity::Warning, complaints);
    let title = title?;
    let name = title.text(complaints)?;
    if !is_group_name(name) {
        complaints.error_as(
            "APIG.2044",
            &title.place(complaints),
            format!("\"{name}\" is not a group name"),
            "write 3 to 255 characters: a letter or digit first, then also `-_./():`",
        );
        return None;
    }
    Some(name.to_owned())
}

impl<'a> Document<'a> {
    fn read(
        format: Format,
        group: String,
        root: &mut Table<'a>,
        config: &'a Config,
        complaints: &mut Complaints,
    ) -> Self {
        let mut document = Document {
            format,
            group,
            config,
            security_schemes: SecuritySchemes::default(),
            response_sets: Vec::new(),
            base_path: String::new(),
            inherited: Inherited::default(),
        };
        for key in [
            "tags",
            "externalDocs",
            "x-apigateway-ratelimits",
            "x-apigateway-access-controls",
        ] {
            root.take(key);
        }
        document.inherited.security = root.take("security");
        document.read_response_sets(root.take("x-apigateway-responses"), complaints);
        match format {
            Format::Swagger2 => document.read_swagger(root, complaints),
            Format::OpenApi3 => document.read_openapi(root, complaints),
        }
        document
    }

    fn read_swagger(&mut self, root: &mut Table<'a>, complaints: &mut Complaints) {
        // The group's domains are bound in the configuration; media types, models and samples are documentation.
        for key in [
            "host",
            "consumes",
            "produces",
            "definitions",
            "parameters",
            "responses",
        ] {
            root.take(key);
        }
        if let Some(item) = root.take("schemes") {
            self.inherited.schemes = schemes_of_list(&item, complaints);
        }
        if let Some(item) = root.take("basePath") {
            let path = item.parsed("a path that begins with `/`", absolute, complaints);
            self.base_path = path.unwrap_or_default().trim_end_matches('/').to_owned();
        }
        if let Some(item) = root.take("securityDefinitions") {
            self.security_schemes = SecuritySchemes::read(&item, complaints);
        }
    }

    fn read_openapi(&mut self, root: &mut Table<'a>, complaints: &mut Complaints) {
        if let Some(item) = root.take("servers") {
            self.inherited.schemes = schemes_of_servers(&item, complaints);
        }
        let Some(mut components) = root
            .take("components")
            .and_then(|item| item.table(complaints))
        else {
            return;
        };
        for key in [
            "schemas",
            "responses",
            "parameters",
            "examples",
            "requestBodies",
            "headers",
            "links",
            "callbacks",
            "x-apigateway-ratelimits",
            "x-apigateway-access-controls",
        ] {
            components.take(key);
        }
        if let Some(item) = components.take("securitySchemes") {
            self.security_schemes = SecuritySchemes::read(&item, complaints);
        }
        self.read_response_sets(components.take("x-apigateway-responses"), complaints);
        skip_foreign(&mut components);
        components.finish(Severity::Warning, complaints);
    }

    fn read_response_sets(&mut self, item: Option<Item<'_>>, complaints: &mut Complaints) {
        self.response_sets.extend(
            item.map(|item| response_sets(&item, complaints))
                .unwrap_or_default(),
        );
    }

    fn path(
        &self,
        path: &str,
        item: &Item<'a>,
        definition: &mut Definition,
        complaints: &mut Complaints,
    ) {
        let Some(mut table) = item.table(complaints) else {
            return;
        };
        let full = format!("{}{path}", self.base_path);
        let valid = check_path(path, &full, &item.place(complaints), complaints);
        let mut inherited = self.inherited.clone();
        inherited.parameters = table.take("parameters").filter(|item| !item.is_blank());
        for key in ["summary", "description"] {
            table.take(key);
        }
        if self.format == Format::OpenApi3
            && let Some(item) = table.take("servers")
        {
            inherited.schemes = schemes_of_servers(&item, complaints).or(inherited.schemes);
        }
        for key in ["trace", "$ref"] {
            if let Some(item) = table.take(key) {
                let place = item.place(complaints);
                complaints.error_as(
                    "APIG.2012",
                    &place,
                    format!("`{key}` is not supported"),
                    "remove it",
                );
            }
        }
        for (key, method) in METHODS {
            let Some(item) = table.take(key) else {
                continue;
            };
            let operation = Operation::read(self, &item, method, &full, &inherited, complaints);
            let Some((name, api)) = operation else {
                continue;
            };
            definition.keep(name, api.filter(|_| valid));
        }
        skip_foreign(&mut table);
        table.finish(Severity::Warning, complaints);
    }
}

impl Definition {
    fn keep(&mut self, name: String, api: Option<ApiDefinition>) {
        match api {
            Some(api) => self.apis.push(api),
            None => self.left_out.push(name),
        }
    }
}

fn check_path(path: &str, full: &str, place: &Place, complaints: &mut Complaints) -> bool {
    let before = complaints.errors();
    if full.chars().count() > PATH_CHARS_MAX {
        complaints.error_as(
            "APIG.2006",
            place,
            format!("the path has {} characters", full.chars().count()),
            format!("at most {PATH_CHARS_MAX} are allowed, `basePath` included"),
        );
    }
    if !path.starts_with('/') || full.contains(['?', '#']) || full.contains(char::is_whitespace) {
        complaints.error_as(
            "APIG.2012",
            place,
            format!("\"{full}\" is not a request path"),
            "write a path that begins with `/`, without query, fragment or blanks",
        );
    }
    complaints.errors() == before
}

/// Extensions of others are none of our business, unless one looks like a misspelt one of ours: that may be a rule that
/// protects something.
pub(super) fn skip_foreign(table: &mut Table<'_>) {
    table.take_where(|key| {
        key.starts_with("x-")
            && !key.starts_with("x-apigateway")
            && likely(key, EXTENSIONS).is_none()
    });
}

/// The sets of an `x-apigateway-responses` and whether they change anything.
pub(super) fn response_sets(item: &Item<'_>, complaints: &mut Complaints) -> Vec<(String, bool)> {
    let Some(mut sets) = item.table(complaints) else {
        return Vec::new();
    };
    let sets = sets.rest();
    sets.iter()
        .map(|(name, set)| ((*name).to_owned(), !set.is_blank()))
        .collect()
}

/// Swagger 2.0: `schemes: [http, https]`.
pub(super) fn schemes_of_list(item: &Item<'_>, complaints: &mut Complaints) -> Option<Schemes> {
    let known = [
        ("http", Scheme::Http),
        ("https", Scheme::Https),
        ("ws", Scheme::Http),
        ("wss", Scheme::Https),
    ];
    let list = item.list(complaints);
    let schemes: Vec<Scheme> = list
        .iter()
        .filter_map(|item| item.choice(&known, complaints))
        .collect();
    Schemes::of(&schemes)
}

/// OpenAPI 3.0: the schemes of the URLs (spec U27).
pub(super) fn schemes_of_servers(item: &Item<'_>, complaints: &mut Complaints) -> Option<Schemes> {
    let mut schemes = Vec::new();
    for item in item.list(complaints) {
        let Some(mut server) = item.table(complaints) else {
            continue;
        };
        server.take("description");
        server.take("variables");
        if let Some(url) = server.need("url", "write url: https://203.0.113.10", complaints) {
            schemes.extend(scheme_of_url(&url, complaints));
        }
        skip_foreign(&mut server);
        server.finish(Severity::Warning, complaints);
    }
    Schemes::of(&schemes)
}

fn scheme_of_url(url: &Item<'_>, complaints: &mut Complaints) -> Option<Scheme> {
    let text = url.text(complaints)?;
    let scheme = text
        .split_once("://")
        .and_then(|(scheme, _)| Scheme::named(scheme));
    if scheme.is_none() {
        complaints.error_as(
            "APIG.2045",
            &url.place(complaints),
            format!("\"{text}\" has no scheme that is served"),
            "write a URL that begins with https:// or http://: its scheme is the protocol of the API",
        );
    }
    scheme
}

fn absolute(path: &str) -> Option<String> {
    path.starts_with('/').then(|| path.to_owned())
}

//! One file: what stands at its root, and its operations one by one.

use std::collections::HashMap;

use super::extensions::skip_foreign;
use super::operation::Inherited;
use super::parameter::{self, Shared};
use super::paths::refuse_misplaced_protections;
use super::pattern::Patterns;
use super::schemes::{schemes_of_list, schemes_of_servers};
use super::security::SecuritySchemes;
use super::{Definition, ResponseSetDefinition, is_group_name, protection, responses};
use crate::config::{ApiRules, Config, Orchestration};
use crate::document::{Complaint, Complaints, Item, Place, Severity, Table, Value, parse_yaml};

/// The formats that are read (spec 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Swagger2,
    OpenApi3,
}

/// What the root says that matters to operations, and what they look up by name.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) format: Format,
    pub(super) group: String,
    pub(super) config: &'a Config,
    pub(super) security_schemes: SecuritySchemes,
    /// Parameters that operations refer to, by name.
    pub(super) shared_parameters: HashMap<&'a str, Shared>,
    /// Whether all of them are right; else no API that may refer to one is served.
    pub(super) shared_valid: bool,
    pub(super) orchestrations: HashMap<&'a str, &'a Orchestration>,
    /// What the operator decides for APIs of this group, by name.
    pub(super) rules: HashMap<&'a str, &'a ApiRules>,
    pub(super) patterns: Patterns,
    pub(super) base_path: String,
    pub(super) inherited: Inherited<'a>,
    response_sets: Vec<ResponseSetDefinition>,
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
    refuse_misplaced_protections(&mut root, complaints);
    root.finish(Severity::Warning, complaints);

    let mut definition = Definition {
        group: document.group.clone(),
        environments: environments.to_vec(),
        apis: Vec::new(),
        left_out: Vec::new(),
        response_sets: document.response_sets.clone(),
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
        let orchestrations = &config.definitions.orchestrations;
        let rules = config.apis.iter().filter(|rules| rules.group == group);
        let mut document = Document {
            format,
            config,
            security_schemes: SecuritySchemes::default(),
            shared_parameters: HashMap::new(),
            shared_valid: true,
            orchestrations: orchestrations
                .iter()
                .map(|rule| (rule.name.as_str(), rule))
                .collect(),
            rules: rules.map(|rules| (rules.api.as_str(), rules)).collect(),
            patterns: Patterns::default(),
            base_path: String::new(),
            inherited: Inherited::default(),
            response_sets: Vec::new(),
            group,
        };
        root.skip(&["tags", "externalDocs"]);
        document.inherited.security = root.take("security");
        document.read_extensions(root, complaints);
        match format {
            Format::Swagger2 => document.read_swagger(root, complaints),
            Format::OpenApi3 => document.read_openapi(root, complaints),
        }
        responses::check_sets(&document.response_sets, complaints);
        document
    }

    /// What may stand at the root and under `components` (spec U28, U36).
    fn read_extensions(&mut self, table: &mut Table<'a>, complaints: &mut Complaints) {
        if let Some(item) = table.take("x-apigateway-responses") {
            self.response_sets
                .extend(responses::read(&item, complaints));
        }
        if let Some(item) = table.take("x-apigateway-ratelimits") {
            protection::check_rate_limits(&item, complaints);
        }
        if let Some(item) = table.take("x-apigateway-access-controls") {
            protection::check_access_controls(&item, complaints);
        }
    }

    fn read_swagger(&mut self, root: &mut Table<'a>, complaints: &mut Complaints) {
        // The group's domains are bound in the configuration; media types, models and samples are documentation.
        root.skip(&["host", "consumes", "produces", "definitions", "responses"]);
        if let Some(item) = root.take("parameters") {
            self.read_shared_parameters(&item, complaints);
        }
        if let Some(item) = root.take("schemes") {
            self.inherited.protocols = schemes_of_list(&item, complaints);
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
            self.inherited.protocols = schemes_of_servers(&item, complaints);
        }
        let Some(mut components) = root
            .take("components")
            .and_then(|item| item.table(complaints))
        else {
            return;
        };
        components.skip(&[
            "schemas",
            "responses",
            "examples",
            "requestBodies",
            "headers",
            "links",
            "callbacks",
        ]);
        if let Some(item) = components.take("parameters") {
            self.read_shared_parameters(&item, complaints);
        }
        if let Some(item) = components.take("securitySchemes") {
            self.security_schemes = SecuritySchemes::read(&item, complaints);
        }
        self.read_extensions(&mut components, complaints);
        skip_foreign(&mut components);
        components.finish(Severity::Warning, complaints);
    }

    fn read_shared_parameters(&mut self, item: &Item<'a>, complaints: &mut Complaints) {
        let Some(mut table) = item.table(complaints) else {
            return;
        };
        let errors = complaints.errors();
        for (name, item) in table.rest() {
            let shared = parameter::read_shared(&item, self, complaints);
            self.shared_parameters.insert(name, shared);
        }
        self.shared_valid = complaints.errors() == errors;
    }
}

fn absolute(path: &str) -> Option<String> {
    path.starts_with('/').then(|| path.to_owned())
}

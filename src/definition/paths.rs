//! The paths of a file: what stands at a path item, and the templates of both sides (spec 3.1).

use super::extensions::skip_foreign;
use super::file::{Document, Format};
use super::operation::Operation;
use super::schemes::schemes_of_servers;
use super::syntax::is_parameter_name;
use super::{ApiDefinition, Definition, Method, parameter};
use crate::document::{Complaints, Item, Place, Severity, Table};

/// Longest path of an API (spec 1.2).
const PATH_CHARS_MAX: usize = 512;

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

/// The path of an API as callers use it.
#[derive(Clone, Debug)]
pub(super) struct FrontPath {
    /// `basePath` included.
    pub(super) full: String,
    /// The names of its `{name}` and `{name+}` in order.
    pub(super) names: Vec<String>,
    /// The name of a `{name+}`, which takes all that remains of the path.
    pub(super) rest: Option<String>,
}

impl<'a> Document<'a> {
    pub(super) fn path(
        &self,
        path: &str,
        item: &Item<'a>,
        definition: &mut Definition,
        complaints: &mut Complaints,
    ) {
        let Some(mut table) = item.table(complaints) else {
            return;
        };
        let before = complaints.errors();
        let front = FrontPath::read(path, &self.base_path, &item.place(complaints), complaints);
        let mut inherited = self.inherited.clone();
        if let Some(item) = table.take("parameters") {
            inherited.parameters = parameter::read_list(&item, self, complaints);
        }
        table.skip(&["summary", "description"]);
        if self.format == Format::OpenApi3
            && let Some(item) = table.take("servers")
        {
            inherited.protocols = schemes_of_servers(&item, complaints).or(inherited.protocols);
        }
        refuse_foreign_members(&mut table, complaints);
        let valid = self.shared_valid && complaints.errors() == before;
        for (key, method) in METHODS {
            let Some(item) = table.take(key) else {
                continue;
            };
            let operation = Operation::read(self, &item, method, &front, &inherited, complaints);
            if let Some((name, api)) = operation {
                definition.keep(name, api.filter(|_| valid));
            }
        }
        skip_foreign(&mut table);
        table.finish(Severity::Warning, complaints);
    }
}

/// What protects operations protects nothing elsewhere, and whoever wrote it there believes otherwise.
pub(super) fn refuse_misplaced_protections(table: &mut Table<'_>, complaints: &mut Complaints) {
    for key in PROTECTIONS {
        if let Some(item) = table.take(key).filter(|item| !item.is_blank()) {
            let place = item.place(complaints);
            complaints.error_as(
                "APIG.2012",
                &place,
                format!("`{key}` protects nothing here"),
                "move it into each operation that it is meant for",
            );
        }
    }
}

/// Members of an operation that keep callers out or down.
const PROTECTIONS: [&str; 3] = [
    "x-apigateway-access-control",
    "x-apigateway-ratelimit",
    "x-apigateway-plugins",
];

fn refuse_foreign_members(table: &mut Table<'_>, complaints: &mut Complaints) {
    refuse_misplaced_protections(table, complaints);
    if let Some(item) = table.take("security").filter(|item| !item.is_blank()) {
        let place = item.place(complaints);
        complaints.error_as(
            "APIG.2012",
            &place,
            "`security` protects nothing here",
            "move it into each operation that it is meant for, or to the root of the file",
        );
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
}

impl Definition {
    fn keep(&mut self, name: String, api: Option<ApiDefinition>) {
        match api {
            Some(api) => self.apis.push(api),
            None => self.left_out.push(name),
        }
    }
}

impl FrontPath {
    fn read(path: &str, base: &str, place: &Place, complaints: &mut Complaints) -> Self {
        let full = format!("{base}{path}");
        let length = full.chars().count();
        if length > PATH_CHARS_MAX {
            complaints.error_as(
                "APIG.2006",
                place,
                format!("the path has {length} characters"),
                format!("at most {PATH_CHARS_MAX} are allowed, `basePath` included"),
            );
        }
        let blank = |c: char| c.is_whitespace() || c.is_control();
        if !path.starts_with('/') || full.contains(['?', '#']) || full.contains(blank) {
            complaints.error_as(
                "APIG.2012",
                place,
                format!("\"{full}\" is not a request path"),
                "write a path that begins with `/`, without query, fragment or blanks",
            );
        }
        let mut front = Self {
            full: String::new(),
            names: Vec::new(),
            rest: None,
        };
        if let Err(problem) = front.read_names(&full) {
            complaints.error_as(
                "APIG.2012",
                place,
                format!("\"{full}\": {problem}"),
                "write parameters as whole segments, `/{name}`, and `/{name+}` as the last one; names as in `parameters`",
            );
        }
        front.full = full;
        front
    }

    fn read_names(&mut self, full: &str) -> Result<(), String> {
        for segment in full.split('/').filter(|s| s.contains(['{', '}'])) {
            let inner = segment
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            let inner = inner.ok_or_else(|| format!("`{segment}` is no parameter"))?;
            if self.rest.is_some() {
                return Err(format!("`{segment}` comes after a parameter with `+`"));
            }
            let name = inner.strip_suffix('+').unwrap_or(inner);
            if !is_parameter_name(name) {
                return Err(format!("`{name}` is no name of a parameter"));
            }
            if self.names.iter().any(|known| known == name) {
                return Err(format!("`{{{name}}}` stands there twice"));
            }
            self.names.push(name.to_owned());
            self.rest = (name != inner).then(|| name.to_owned());
        }
        match &self.rest {
            Some(name) if !full.ends_with(&format!("/{{{name}+}}")) => {
                Err(format!("`{{{name}+}}` is not the last segment"))
            }
            _ => Ok(()),
        }
    }
}

/// The names of the `{name}` in the path of a backend, which may be parts of segments there.
pub(super) fn backend_names(mut path: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    while let Some(at) = path.find(['{', '}']) {
        let (_, rest) = path.split_at_checked(at).unwrap_or_default();
        let inner = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let (name, rest) = inner.ok_or("`{` and `}` do not pair")?;
        if let Some(name) = name.strip_suffix('+') {
            return Err(format!("`{{{name}+}}` is for the paths of callers only"));
        }
        if !is_parameter_name(name) {
            return Err(format!("`{name}` is no name of a parameter"));
        }
        names.push(name);
        path = rest;
    }
    Ok(names)
}

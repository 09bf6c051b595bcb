//! What a backend gets in place of, or beside, the caller's parameters (spec 2.6).

use std::collections::HashSet;

use super::operation::Operation;
use super::paths::backend_names;
use super::syntax::{is_parameter_name, is_reserved};
use super::{BackendParameter, Location, ParameterSource, Placed, SystemValue};
use crate::document::{Complaints, Item, Severity, Table};

/// Longest value (spec 2.6).
const VALUE_CHARS_MAX: usize = 255;

/// Headers that no parameter writes (RFC 9110 §7.6.1, RFC 9112 §6).
const FRAMING: [&str; 9] = [
    "Connection",
    "Content-Length",
    "Expect",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

#[derive(Clone, Copy, Debug)]
enum Origin {
    Request,
    Constant,
    System,
}

impl SystemValue {
    /// Each as it is written after `$context.` (spec 2.6).
    pub(super) const NAMES: [(&'static str, Self); 11] = [
        ("sourceIp", Self::SourceIp),
        ("stage", Self::Stage),
        ("apiId", Self::ApiId),
        ("apiName", Self::ApiName),
        ("appId", Self::AppId),
        ("appName", Self::AppName),
        ("requestId", Self::RequestId),
        ("serverAddr", Self::ServerAddr),
        ("serverName", Self::ServerName),
        ("handleTime", Self::HandleTime),
        ("providerAppId", Self::ProviderAppId),
    ];
}

pub(super) fn read_list(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Vec<BackendParameter> {
    let mut parameters: Vec<BackendParameter> = Vec::new();
    let mut known = HashSet::new();
    for item in item.list(complaints) {
        let Some(parameter) = read_one(&item, operation, complaints) else {
            continue;
        };
        let name = parameter.name.to_ascii_lowercase();
        if !known.insert((parameter.location, name)) {
            complaints.error_as(
                "APIG.3209",
                &parameter.place,
                format!("the backend gets `{}` twice", parameter.name),
                "give one of them another name or location",
            );
        }
        parameters.push(parameter);
    }
    parameters
}

fn read_one(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<BackendParameter> {
    let mut table = item.table(complaints)?;
    let place = item.place(complaints);
    let location = table.need("in", "write `in: header`", complaints);
    let locations = [
        ("path", Location::Path),
        ("query", Location::Query),
        ("header", Location::Header),
    ];
    let location = location.and_then(|item| item.choice(&locations, complaints));
    let name = table.need("name", "write `name: X-Room`", complaints);
    let name = name.and_then(|item| name_of(&item, location, complaints));
    let source = source(&mut table, location, operation, complaints);
    let description = table.take("description");
    let description = description.and_then(|item| item.text(complaints));
    table.finish(Severity::Warning, complaints);
    Some(BackendParameter {
        name: name?,
        location: location?,
        // What has no source has its complaint, and is no parameter that is missing.
        source: source.unwrap_or_else(|| ParameterSource::Constant(String::new())),
        description: description.unwrap_or_default().to_owned(),
        place,
    })
}

fn name_of(
    item: &Item<'_>,
    location: Option<Location>,
    complaints: &mut Complaints,
) -> Option<String> {
    let name = item.text(complaints)?;
    let place = item.place(complaints);
    let kept = ["Authorization", "X-Auth-Token"]
        .iter()
        .any(|kept| name.eq_ignore_ascii_case(kept));
    if !is_parameter_name(name) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{name}\" is no name of a parameter"),
            "write 1 to 32 characters: a letter first, then letters, digits, `.`, `-`, `_`",
        );
        return None;
    }
    if is_reserved(name) || (kept && location == Some(Location::Header)) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("`{name}` is reserved"),
            "give it another name",
        );
        return None;
    }
    let framing = FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known));
    if framing && location == Some(Location::Header) {
        complaints.warning(
            &place,
            format!("`{name}` is not sent: it says how the message is framed, which the gateway does itself"),
            "remove the parameter",
        );
    }
    Some(name.to_owned())
}

fn source(
    table: &mut Table<'_>,
    location: Option<Location>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<ParameterSource> {
    let origin = table.need("origin", "write `origin: REQUEST`", complaints);
    let origins = [
        ("REQUEST", Origin::Request),
        ("CONSTANT", Origin::Constant),
        ("SYSTEM", Origin::System),
    ];
    let origin = origin.and_then(|item| item.choice(&origins, complaints));
    let remedy = "write the name of a request parameter, a constant, or `$context.…`";
    let item = table.need("value", remedy, complaints)?;
    let value = item.scalar(complaints)?;
    let length = value.chars().count();
    if length > VALUE_CHARS_MAX {
        complaints.error_as(
            "APIG.2006",
            &item.place(complaints),
            format!("the value has {length} characters"),
            format!("at most {VALUE_CHARS_MAX} are allowed"),
        );
        return None;
    }
    match origin? {
        Origin::Request => requested(&item, &value, location, operation, complaints),
        Origin::Constant => constant(&item, value, location, complaints),
        Origin::System => system(&item, &value, operation, complaints),
    }
}

fn requested(
    item: &Item<'_>,
    name: &str,
    location: Option<Location>,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<ParameterSource> {
    let declared = operation.declared(name).map(|known| known.name.clone());
    let place = item.place(complaints);
    if declared.is_none() {
        complaints.error_as(
            "APIG.2028",
            &place,
            format!("there is no request parameter `{name}`"),
            "correct the name, or declare it in `parameters` of the operation",
        );
    }
    if location == Some(Location::Path) && declared.is_some() && declared == operation.front.rest {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("`{{{name}+}}` cannot go into the path of a backend"),
            "send it as query or header, or use `x-apigateway-match-mode: SWA`",
        );
    }
    declared.map(ParameterSource::Request)
}

fn constant(
    item: &Item<'_>,
    value: String,
    location: Option<Location>,
    complaints: &mut Complaints,
) -> Option<ParameterSource> {
    // A header with them would be two headers (RFC 9110 §5.5).
    let broken = location == Some(Location::Header) && value.contains(char::is_control);
    let missing = location == Some(Location::Path) && value.is_empty();
    if broken || missing {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            "the constant is empty in a path, or has control characters in a header",
            "write a value that can be sent",
        );
        return None;
    }
    Some(ParameterSource::Constant(value))
}

fn system(
    item: &Item<'_>,
    value: &str,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<ParameterSource> {
    let place = item.place(complaints);
    let name = value.strip_prefix("$context.").unwrap_or(value);
    if name.starts_with("authorizer.") {
        if operation.has_authorizer {
            operation.cannot(&place, "values of custom authorizers");
        } else {
            complaints.error_as(
                "APIG.2036",
                &place,
                format!("`{value}` is a value of a custom authorizer, and there is none"),
                "add a custom authorizer to `security`, or remove the parameter",
            );
        }
        return None;
    }
    let known = SystemValue::NAMES.iter().find(|(known, _)| *known == name);
    if known.is_none() {
        let names = SystemValue::NAMES.map(|(name, _)| name);
        let likely = crate::document::likely(name, names);
        let remedy = match likely {
            Some(name) => format!("did you mean `$context.{name}`?"),
            None => format!("write `$context.` and one of {}", names.join(", ")),
        };
        complaints.error_as(
            "APIG.2011",
            &place,
            format!("the gateway has no value `{value}`"),
            remedy,
        );
    }
    known.map(|(_, value)| ParameterSource::System(*value))
}

/// Every parameter of the backend's path has a value, and every value for the path a place in it.
pub(super) fn check_path(
    path: &Placed,
    parameters: &[BackendParameter],
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) {
    let names = match backend_names(&path.text) {
        Ok(names) => names,
        Err(problem) => {
            let problem = format!("\"{}\": {problem}", path.text);
            let remedy = "write parameters as `{name}`, with names as in `parameters`";
            complaints.error_as("APIG.2012", &path.place, problem, remedy);
            return;
        }
    };
    let mapped = || {
        parameters
            .iter()
            .filter(|parameter| parameter.location == Location::Path)
    };
    for name in &names {
        if !mapped().any(|parameter| parameter.name == *name) {
            check_unmapped(name, path, operation, complaints);
        }
    }
    for parameter in mapped() {
        if !names.contains(&parameter.name.as_str()) {
            complaints.error_as(
                "APIG.2027",
                &parameter.place,
                format!(
                    "the backend's path \"{}\" has no `{{{}}}`",
                    path.text, parameter.name
                ),
                "correct the name, or add it to the path",
            );
        }
    }
}

/// Without a backend parameter, the parameter of the caller's path with the same name is meant.
fn check_unmapped(
    name: &str,
    path: &Placed,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) {
    let front = operation.front;
    if front.rest.as_deref() == Some(name) {
        complaints.error_as(
            "APIG.2027",
            &path.place,
            format!("`{{{name}+}}` cannot go into the path of a backend"),
            "send it as query or header, or use `x-apigateway-match-mode: SWA`",
        );
    } else if !front.names.iter().any(|known| known == name) {
        complaints.error_as(
            "APIG.2027",
            &path.place,
            format!("`{{{name}}}` in \"{}\" has no value", path.text),
            format!("add it to the backend's `parameters` with `name: {name}` and `in: path`"),
        );
    }
}

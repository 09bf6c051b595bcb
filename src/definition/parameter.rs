//! Request parameters: what a caller may or must send (spec 2.6, 3.1).

use super::file::{Document, Format};
use super::kind;
use super::syntax::{is_parameter_name, is_reserved};
use super::{Location, ParameterKind, Placed, RequestParameter};
use crate::config::{Orchestration, OrchestrationTarget, Strategy};
use crate::document::{Complaints, Item, Place, Severity, Table};

/// Most parameters of one API (spec 1.2).
const PARAMETERS_MAX: usize = 50;

/// A parameter for operations to refer to; `None` for one that is not among those the gateway looks at.
#[derive(Debug)]
pub(super) struct Shared(Option<RequestParameter>);

/// A parameter that an orchestration rule makes.
pub(super) type Orchestrated<'a> = &'a OrchestrationTarget;

pub(super) fn read_shared(
    item: &Item<'_>,
    document: &Document<'_>,
    complaints: &mut Complaints,
) -> Shared {
    let table = item.table(complaints);
    Shared(table.and_then(|table| read_one(item, table, document, complaints)))
}

/// The parameters of a path or an operation, references resolved.
pub(super) fn read_list(
    item: &Item<'_>,
    document: &Document<'_>,
    complaints: &mut Complaints,
) -> Vec<RequestParameter> {
    let mut parameters = Vec::new();
    for item in item.list(complaints) {
        let Some(mut table) = item.table(complaints) else {
            continue;
        };
        let parameter = match table.take("$ref") {
            Some(reference) => {
                table.finish(Severity::Warning, complaints);
                resolved(&reference, document, complaints)
            }
            None => read_one(&item, table, document, complaints),
        };
        parameters.extend(parameter);
    }
    parameters
}

/// What a `$ref` leads to; its place is where it is referred to from.
fn resolved(
    reference: &Item<'_>,
    document: &Document<'_>,
    complaints: &mut Complaints,
) -> Option<RequestParameter> {
    let text = reference.text(complaints)?;
    let prefix = match document.format {
        Format::Swagger2 => "#/parameters/",
        Format::OpenApi3 => "#/components/parameters/",
    };
    // RFC 6901 §4: `~1` is `/`, `~0` is `~`, in this order.
    let name = text
        .strip_prefix(prefix)
        .map(|name| name.replace("~1", "/").replace("~0", "~"));
    let shared = name.and_then(|name| document.shared_parameters.get(name.as_str()));
    let place = reference.place(complaints);
    if shared.is_none() {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{text}\" leads to no parameter"),
            format!("write `{prefix}name` with the name of a parameter that stands there"),
        );
    }
    shared?
        .0
        .clone()
        .map(|parameter| RequestParameter { place, ..parameter })
}

/// A parameter whose type is wrong is read as one of any type, so that it counts as declared: it has its complaint.
fn read_one(
    item: &Item<'_>,
    mut table: Table<'_>,
    document: &Document<'_>,
    complaints: &mut Complaints,
) -> Option<RequestParameter> {
    let place = item.place(complaints);
    let location = location(&mut table, complaints);
    let name = table.need("name", "write `name: room`", complaints);
    let Some(location) = location? else {
        warn_of_passing(&place, complaints);
        return None;
    };
    let name = name.and_then(|item| name_of(&item, location, complaints));
    let required = required(&mut table, location, complaints);
    let kind = kind::read(&mut table, document.format, complaints);
    let (kind, default) = kind.map_or((None, None), |(kind, default)| (Some(kind), default));
    let pass_through = table.take("x-apigateway-pass-through");
    let choices = [("always", true), ("never", false)];
    let pass_through = pass_through.and_then(|item| item.choice(&choices, complaints));
    let orchestrations = orchestrations(&mut table, document, complaints);
    let description = table.take("description");
    let description = description.and_then(|item| item.text(complaints));
    let example = table.take("example");
    let sample = table
        .take("x-apigateway-sample")
        .or(example)
        .filter(|item| !item.is_unset());
    let sample = sample.and_then(|item| item.scalar(complaints));
    // How a value is written matters for lists and objects alone, which there are none of.
    table.skip(&[
        "examples",
        "deprecated",
        "allowEmptyValue",
        "style",
        "explode",
        "allowReserved",
    ]);
    super::extensions::skip_foreign(&mut table);
    table.finish(Severity::Warning, complaints);
    Some(RequestParameter {
        name: name?,
        location,
        kind: kind.unwrap_or_else(ParameterKind::any),
        required,
        default,
        pass_through: pass_through.unwrap_or(true),
        orchestrations,
        description: description.unwrap_or_default().to_owned(),
        sample,
        place,
    })
}

/// `Some(None)` for where the gateway does not look.
fn location(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<Option<Location>> {
    let item = table.need("in", "write `in: query`", complaints)?;
    let choices = [
        ("path", Some(Location::Path)),
        ("query", Some(Location::Query)),
        ("header", Some(Location::Header)),
        ("body", None),
        ("formData", None),
        ("cookie", None),
    ];
    item.choice(&choices, complaints)
}

fn warn_of_passing(place: &Place, complaints: &mut Complaints) {
    complaints.warning(
        place,
        "parameters in bodies, forms and cookies are not looked at: they pass as they are",
        "let the backend check it, or send it in path, query or header",
    );
}

/// The name, if it is one that a parameter at `location` may have.
fn name_of(item: &Item<'_>, location: Location, complaints: &mut Complaints) -> Option<String> {
    let name = item.text(complaints)?;
    let place = item.place(complaints);
    let header = location == Location::Header;
    let known = |other: &str| name.eq_ignore_ascii_case(other);
    if !is_parameter_name(name) || (header && name.contains('_')) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{name}\" is no name of a parameter"),
            "write 1 to 32 characters: a letter first, then letters, digits, `-`, `.` and, but for headers, `_`",
        );
        return None;
    }
    if is_reserved(name) || (header && (known("Authorization") || known("X-Auth-Token"))) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("`{name}` is reserved"),
            "remove the parameter or give it another name: X-Stage, X-Apig-…, X-Sdk-…, and the headers Authorization \
             and X-Auth-Token are the gateway's",
        );
        return None;
    }
    Some(name.to_owned())
}

/// A parameter of the path is always there.
fn required(table: &mut Table<'_>, location: Location, complaints: &mut Complaints) -> bool {
    let item = table.take("required");
    let required = item.as_ref().and_then(|item| item.boolean(complaints));
    if location != Location::Path {
        return required.unwrap_or(false);
    }
    if let (Some(false), Some(item)) = (required, &item) {
        complaints.warning(
            &item.place(complaints),
            "parameters of the path are always required",
            "write `required: true`",
        );
    }
    true
}

fn orchestrations(
    table: &mut Table<'_>,
    document: &Document<'_>,
    complaints: &mut Complaints,
) -> Vec<Placed> {
    let Some(item) = table.take("x-apigateway-orchestrations") else {
        return Vec::new();
    };
    let mut rules: Vec<Placed> = Vec::new();
    for item in item.list(complaints) {
        let Some(name) = item.text(complaints) else {
            continue;
        };
        let place = item.place(complaints);
        if !document.orchestrations.contains_key(name) {
            complaints.error_as(
                "APIG.2012",
                &place,
                format!("there is no orchestration rule `{name}`"),
                "correct the name, or add [[orchestrations]] with that name to the configuration",
            );
            continue;
        }
        rules.push(Placed {
            text: name.to_owned(),
            place,
        });
    }
    check_order(&rules, document, complaints);
    rules
}

/// Spec 8.10: `none_value` first, `default` last, each at most once, and a preprocessing rule before another one.
fn check_order(rules: &[Placed], document: &Document<'_>, complaints: &mut Complaints) {
    let rule = |placed: &Placed| document.orchestrations.get(placed.text.as_str()).copied();
    let is_default = |rule: &Orchestration| matches!(rule.strategy, Strategy::Default(_));
    let last = rules.len().saturating_sub(1);
    let ends_in_default = rules.last().and_then(rule).is_some_and(is_default);
    for (index, placed) in rules.iter().enumerate() {
        let Some(known) = rule(placed) else { continue };
        let none_value = matches!(known.strategy, Strategy::NoneValue(_));
        let last_input = if ends_in_default {
            last.saturating_sub(1)
        } else {
            last
        };
        let problem = if none_value && index > 0 {
            "is a none_value rule, of which there is one at most, as the first"
        } else if is_default(known) && index < last {
            "is a default rule, of which there is one at most, as the last"
        } else if rules
            .iter()
            .take(index)
            .any(|other| other.text == placed.text)
        {
            "stands there twice"
        } else if known.target.is_none() && !none_value && !is_default(known) && index == last_input
        {
            "is a preprocessing rule, whose result no other rule takes"
        } else {
            continue;
        };
        complaints.error_as(
            "APIG.2012",
            &placed.place,
            format!("`{}` {problem}", placed.text),
            "write none_value first, default last, and after a preprocessing rule one that is not",
        );
    }
}

/// What concerns the parameters of an API together: their number, and that their names differ (spec 2.6).
pub(super) fn check_together(
    parameters: &[RequestParameter],
    place: &Place,
    complaints: &mut Complaints,
) {
    if parameters.len() > PARAMETERS_MAX {
        complaints.error_as(
            "APIG.3111",
            place,
            format!("there are {} request parameters", parameters.len()),
            format!("at most {PARAMETERS_MAX} are allowed"),
        );
        return;
    }
    for (index, parameter) in parameters.iter().enumerate() {
        let earlier = parameters.iter().take(index);
        if let Some(other) = earlier
            .into_iter()
            .find(|other| other.name.eq_ignore_ascii_case(&parameter.name))
        {
            complaints.error_as(
                "APIG.3209",
                &parameter.place,
                format!(
                    "the parameter `{}` exists already: {}",
                    other.name, other.place
                ),
                "give one of them another name; neither case nor location make a difference",
            );
        }
    }
}

/// Only one parameter of an API may have rules (spec 3.3). What they make.
pub(super) fn check_orchestrations<'a>(
    parameters: &[RequestParameter],
    document: &Document<'a>,
    complaints: &mut Complaints,
) -> Vec<Orchestrated<'a>> {
    let mut with_rules = parameters
        .iter()
        .filter(|parameter| !parameter.orchestrations.is_empty());
    let Some(first) = with_rules.next() else {
        return Vec::new();
    };
    for parameter in with_rules {
        complaints.error_as(
            "APIG.2012",
            &parameter.place,
            format!(
                "`{}` has orchestration rules as `{}` has",
                parameter.name, first.name
            ),
            "keep `x-apigateway-orchestrations` at one parameter of an API",
        );
    }
    let rules = first.orchestrations.iter();
    rules
        .filter_map(|placed| document.orchestrations.get(placed.text.as_str()))
        .filter_map(|rule| rule.target.as_ref())
        .collect()
}

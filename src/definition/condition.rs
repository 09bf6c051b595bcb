//! One condition of a policy backend, in the spellings of the file format and of the management model (spec 3.3, 8.11).

use super::operation::Operation;
use super::{ConditionDefinition, Method, Subject, Test};
use crate::config::TargetLocation;
use crate::document::{Complaints, Item, Place, Severity, Table};
use crate::network::Network;

/// Most characters of a value: that of an `enum` or of networks is a list.
const VALUE_CHARS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Parameter,
    Source,
    System,
    Cookie,
    Authorizer,
    Orchestration,
}

const ORIGINS: [(&str, Origin); 10] = [
    ("request", Origin::Parameter),
    ("request_parameter", Origin::Parameter),
    ("param", Origin::Parameter),
    ("source", Origin::Source),
    ("system", Origin::System),
    ("cookie", Origin::Cookie),
    ("frontend_authorizer", Origin::Authorizer),
    ("orchestration", Origin::Orchestration),
    // What the samples write for "the one or the other".
    ("source/request_parameter", Origin::Parameter),
    ("requestParameter", Origin::Parameter),
];

impl Origin {
    /// The members that may have the name of what is looked at.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Parameter => &["parameter", "parameter_name", "req_param_name"],
            Self::Source => &[],
            Self::System => &["parameter", "parameter_name", "sys_param_name"],
            Self::Cookie => &["parameter", "parameter_name", "cookie_param_name"],
            Self::Authorizer => &[
                "parameter",
                "parameter_name",
                "frontend_authorizer_param_name",
            ],
            Self::Orchestration => &["parameter", "parameter_name", "mapped_param_name"],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exact,
    Enum,
    Pattern,
}

pub(super) fn read(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<ConditionDefinition> {
    let mut table = item.table(complaints)?;
    let place = item.place(complaints);
    let origin = table.take_any(&["origin", "condition_origin"]);
    let origin = needed(
        origin,
        "origin",
        "write `origin: request`",
        &place,
        complaints,
    )
    .and_then(|item| item.choice(&ORIGINS, complaints));
    let comparison = comparison(&mut table, origin, &place, complaints);
    let value = table.take_any(&["value", "condition_value"]);
    let value = needed(
        value,
        "value",
        "write what is compared with",
        &place,
        complaints,
    );
    let subject = origin.and_then(|origin| {
        let subject = subject(origin, &mut table, operation, &place, complaints);
        // Exports have the members of all origins, empty but for one.
        skip_unset(&mut table);
        subject
    });
    if origin.is_none() {
        for (_, origin) in ORIGINS {
            table.skip(origin.keys());
        }
    }
    table.finish(Severity::Warning, complaints);
    let subject = subject?;
    let test = test(&subject, comparison?, &value?, operation, complaints)?;
    Some(ConditionDefinition {
        subject,
        test,
        place,
    })
}

fn needed<'a>(
    item: Option<Item<'a>>,
    key: &str,
    remedy: &str,
    place: &Place,
    complaints: &mut Complaints,
) -> Option<Item<'a>> {
    if item.is_none() {
        complaints.error_as("APIG.2001", place, format!("`{key}` is missing"), remedy);
    }
    item
}

fn comparison(
    table: &mut Table<'_>,
    origin: Option<Origin>,
    place: &Place,
    complaints: &mut Complaints,
) -> Option<Comparison> {
    let item = table.take_any(&["type", "condition_type"]);
    if origin == Some(Origin::Source) && item.as_ref().is_none_or(Item::is_unset) {
        return Some(Comparison::Enum);
    }
    let choices = [
        ("equal", Comparison::Exact),
        ("exact", Comparison::Exact),
        ("enum", Comparison::Enum),
        ("pattern", Comparison::Pattern),
    ];
    let item = needed(item, "type", "write `type: equal`", place, complaints)?;
    let comparison = item.choice(&choices, complaints)?;
    if comparison == Comparison::Pattern && origin == Some(Origin::Source) {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            "the address of the client is compared with networks, not with a pattern",
            "write `type: enum` and addresses or networks as `value`",
        );
        return None;
    }
    Some(comparison)
}

fn skip_unset(table: &mut Table<'_>) {
    let keys = ORIGINS.iter().flat_map(|(_, origin)| origin.keys());
    for key in keys.chain(&["mapped_param_location"]) {
        table.take_unset(key);
    }
}

fn subject(
    origin: Origin,
    table: &mut Table<'_>,
    operation: &mut Operation<'_>,
    place: &Place,
    complaints: &mut Complaints,
) -> Option<Subject> {
    if origin == Origin::Source {
        return Some(Subject::Source);
    }
    let item = table.take_any_set(origin.keys());
    let remedy = "write the name of what the condition looks at";
    let item = needed(item, "parameter", remedy, place, complaints)?;
    let name = item.text(complaints)?;
    match origin {
        Origin::Source => Some(Subject::Source),
        Origin::Parameter => parameter(&item, name, operation, complaints),
        Origin::System => {
            let choices = [
                ("req_path", false),
                ("reqPath", false),
                ("req_method", true),
                ("reqMethod", true),
            ];
            let method = item.choice(&choices, complaints)?;
            Some(if method {
                Subject::RequestMethod
            } else {
                Subject::RequestPath
            })
        }
        Origin::Cookie => cookie(&item, name, complaints),
        Origin::Authorizer => {
            operation.cannot(place, "conditions on values of custom authorizers");
            None
        }
        Origin::Orchestration => orchestrated(&item, name, table, operation, complaints),
    }
}

fn parameter(
    item: &Item<'_>,
    name: &str,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Subject> {
    let declared = operation.declared(name).map(|known| known.name.clone());
    if declared.is_none() {
        complaints.error_as(
            "APIG.2028",
            &item.place(complaints),
            format!("there is no request parameter `{name}`"),
            "correct the name, or declare it in `parameters` of the operation",
        );
    }
    declared.map(Subject::Parameter)
}

/// RFC 6265 §4.1.1: the name of a cookie is a token (RFC 9110 §5.6.2).
fn cookie(item: &Item<'_>, name: &str, complaints: &mut Complaints) -> Option<Subject> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("\"{name}\" is no name of a cookie"),
            "write letters, digits and !#$%&'*+-.^_`|~",
        );
        return None;
    }
    Some(Subject::Cookie(name.to_owned()))
}

fn orchestrated(
    item: &Item<'_>,
    name: &str,
    table: &mut Table<'_>,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Subject> {
    let locations = [
        ("query", TargetLocation::Query),
        ("header", TargetLocation::Header),
    ];
    let location = table.take("mapped_param_location");
    let location = location.and_then(|item| item.choice(&locations, complaints));
    let made = operation.orchestrated.iter().find(|target| {
        target.name.eq_ignore_ascii_case(name)
            && location.is_none_or(|location| target.location == location)
    });
    if made.is_none() {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("no orchestration rule of this API makes `{name}`"),
            "correct the name, or add a rule that makes it to `x-apigateway-orchestrations`",
        );
    }
    made.map(|target| Subject::Orchestrated(target.name.clone()))
}

fn test(
    subject: &Subject,
    comparison: Comparison,
    item: &Item<'_>,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Test> {
    let value = item.scalar(complaints)?;
    if value.chars().count() > VALUE_CHARS_MAX {
        let remedy = format!("at most {VALUE_CHARS_MAX} characters are allowed");
        let place = item.place(complaints);
        complaints.error_as("APIG.2006", &place, "the value is too long", remedy);
        return None;
    }
    match (subject, comparison) {
        (Subject::Source, _) => networks(item, &value, complaints),
        (Subject::RequestMethod, _) => methods(item, &value, comparison, complaints),
        (_, Comparison::Exact) => Some(Test::Exact(value)),
        (_, Comparison::Enum) => Some(Test::Enum(listed(&value).map(str::to_owned).collect())),
        (_, Comparison::Pattern) => pattern(item, value, operation, complaints),
    }
}

/// The entries of a comma-separated list; blanks around them mean nothing.
fn listed(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

fn networks(item: &Item<'_>, value: &str, complaints: &mut Complaints) -> Option<Test> {
    let mut networks = Vec::new();
    let mut wrong = false;
    for entry in listed(value) {
        match entry.parse::<Network>() {
            Ok(network) => networks.push(network),
            Err(_) => {
                wrong = true;
                complaints.error_as(
                    "APIG.2015",
                    &item.place(complaints),
                    format!("\"{entry}\" is neither an address nor a network"),
                    "write addresses and networks such as 192.0.2.0/24 with commas between them",
                );
            }
        }
    }
    (!wrong).then_some(Test::Networks(networks))
}

fn methods(
    item: &Item<'_>,
    value: &str,
    comparison: Comparison,
    complaints: &mut Complaints,
) -> Option<Test> {
    let names: Vec<String> = match comparison {
        Comparison::Enum => listed(value).map(str::to_ascii_uppercase).collect(),
        Comparison::Exact | Comparison::Pattern => vec![value.to_ascii_uppercase()],
    };
    let unknown = names.iter().any(|name| Method::named(name).is_none());
    if unknown || comparison == Comparison::Pattern {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("\"{value}\" is not what a method is compared with"),
            "write `type: equal` or `enum`, and GET, POST, PUT, DELETE, HEAD, PATCH or OPTIONS",
        );
        return None;
    }
    Some(match comparison {
        Comparison::Enum => Test::Enum(names),
        Comparison::Exact | Comparison::Pattern => Test::Exact(names.concat()),
    })
}

fn pattern(
    item: &Item<'_>,
    pattern: String,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Test> {
    if let Err(problem) = operation.document.patterns.check(&pattern) {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("the pattern cannot be used: {problem}"),
            "write a regular expression without look-around and backreferences, which are not offered because they can \
             take any time",
        );
        return None;
    }
    Some(Test::Pattern(pattern))
}

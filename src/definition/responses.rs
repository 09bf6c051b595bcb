//! Sets of gateway responses: `x-apigateway-responses` (spec 3.3, 5.4).

use super::syntax::is_set_name;
use super::{ResponseDefinition, ResponseSetDefinition, template};
use crate::close::ErrorType;
use crate::document::{Complaints, Item, Severity, Table, Value, likely};

/// Most sets of one group (spec 5.4).
const SETS_MAX: usize = 4;

/// Most headers of one response (spec 5.4).
const HEADERS_MAX: usize = 10;

/// The most of a body that is taken: templates stay in memory.
const BODY_CHARS_MAX: usize = 1 << 16;

/// Fields that belong to the message as it is sent, or to the gateway (RFC 9110 §7.6.1, spec 2.8).
const FIELDS_KEPT: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

pub(super) fn read(item: &Item<'_>, complaints: &mut Complaints) -> Vec<ResponseSetDefinition> {
    let Some(mut sets) = item.table(complaints) else {
        return Vec::new();
    };
    let sets = sets.rest();
    sets.iter()
        .filter_map(|(name, item)| set(name, item, complaints))
        .collect()
}

/// That there are not too many, nor two of a name.
pub(super) fn check_sets(sets: &[ResponseSetDefinition], complaints: &mut Complaints) {
    for (index, set) in sets.iter().enumerate().take(SETS_MAX + 1) {
        if index == SETS_MAX {
            complaints.error_as(
                "APIG.3117",
                &set.place,
                format!("there are {} sets of gateway responses", sets.len()),
                format!("at most {SETS_MAX} are allowed in a group, `default` included"),
            );
        }
        if sets.iter().take(index).any(|other| other.name == set.name) {
            complaints.error_as(
                "APIG.3216",
                &set.place,
                format!("the set `{}` exists already", set.name),
                "give one of them another name",
            );
        }
    }
}

fn set(name: &str, item: &Item<'_>, complaints: &mut Complaints) -> Option<ResponseSetDefinition> {
    let place = item.place(complaints);
    if !is_set_name(name) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{name}\" is no name of a set of gateway responses"),
            "write 1 to 64 letters, digits, `-`, `_`",
        );
    }
    let mut responses = Vec::new();
    if !item.is_blank() {
        for (key, item) in item.table(complaints)?.rest() {
            let kind = kind(key, &item, complaints);
            let response = response(&item, complaints);
            if let (Some(kind), Some(response)) = (kind, response) {
                keep(kind, response, &item, &mut responses, complaints);
            }
        }
    }
    Some(ResponseSetDefinition {
        name: name.to_owned(),
        responses,
        place,
    })
}

fn keep(
    kind: ErrorType,
    response: ResponseDefinition,
    item: &Item<'_>,
    responses: &mut Vec<(ErrorType, ResponseDefinition)>,
    complaints: &mut Complaints,
) {
    // Keys differ, but types are compared without case.
    if responses.iter().any(|(known, _)| *known == kind) {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("{} stands there twice", kind.key()),
            "remove one of them",
        );
        return;
    }
    // Nothing that is given changes nothing.
    if response != ResponseDefinition::default() {
        responses.push((kind, response));
    }
}

fn kind(key: &str, item: &Item<'_>, complaints: &mut Complaints) -> Option<ErrorType> {
    let known = ErrorType::KEYS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(key));
    if known.is_none() {
        let remedy = match likely(key, ErrorType::KEYS.map(|(known, _)| known)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "remove it, or write a type of spec 5.4 such as THROTTLED".to_owned(),
        };
        complaints.warning(
            &item.place(complaints),
            format!("there is no type of response `{key}`"),
            remedy,
        );
    }
    known.map(|(_, kind)| *kind)
}

fn response(item: &Item<'_>, complaints: &mut Complaints) -> Option<ResponseDefinition> {
    if item.is_blank() {
        return Some(ResponseDefinition::default());
    }
    let mut table = item.table(complaints)?;
    let status = table.take("status").filter(|item| !item.is_unset());
    let status = status.and_then(|item| status_of(&item, complaints));
    let body = table.take("body").filter(|item| !item.is_blank());
    let bodies = body.map(|item| bodies(&item, complaints));
    let list = table.take("headers").filter(|item| !item.is_blank());
    let list = list.map(|item| headers(&item, complaints));
    // Members of the management model that say nothing about the answer.
    table.skip(&["default", "description"]);
    table.finish(Severity::Warning, complaints);
    Some(ResponseDefinition {
        status,
        bodies: bodies.unwrap_or_default(),
        headers: list.unwrap_or_default(),
    })
}

fn status_of(item: &Item<'_>, complaints: &mut Complaints) -> Option<u16> {
    let status = item.integer(200..=599, complaints)?;
    if status == 444 {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            "444 is no status to answer with",
            "200 to 599 but 444 is allowed",
        );
        return None;
    }
    u16::try_from(status).ok()
}

/// A map from media type to template, or one template, which is JSON.
fn bodies(item: &Item<'_>, complaints: &mut Complaints) -> Vec<(String, String)> {
    if matches!(item.value(), Value::Text(_)) {
        let body = body("application/json", item, complaints);
        return body.into_iter().collect();
    }
    let Some(mut table) = item.table(complaints) else {
        return Vec::new();
    };
    let bodies = table.rest();
    bodies
        .iter()
        .filter(|(_, item)| !item.is_unset())
        .filter_map(|(media_type, item)| body(media_type, item, complaints))
        .collect()
}

fn body(
    media_type: &str,
    item: &Item<'_>,
    complaints: &mut Complaints,
) -> Option<(String, String)> {
    let template = item.text_of(1..=BODY_CHARS_MAX, complaints)?;
    let place = item.place(complaints);
    let named = |c: char| c.is_ascii_graphic() || c == ' ';
    if !media_type.contains('/') || media_type.len() > 255 || !media_type.chars().all(named) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{media_type}\" is no media type"),
            "write one such as `application/json`",
        );
        return None;
    }
    template::warn_of_unknown(template, &place, complaints);
    let json = media_type.to_ascii_lowercase().contains("json");
    if let Some(problem) = json.then(|| template::json_problem(template)).flatten() {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("the body is no JSON once its variables have values: {problem}"),
            "correct it; variables stand within strings",
        );
    }
    Some((media_type.to_owned(), template.to_owned()))
}

/// A list of `{key, value}`, or a table of them.
pub(super) fn headers(item: &Item<'_>, complaints: &mut Complaints) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    if let Value::Table(_) = item.value() {
        let rest = item.table(complaints).map(|mut table| table.rest());
        for (name, value) in rest.unwrap_or_default() {
            headers.extend(header(name, &value, &value, complaints));
        }
    } else {
        for item in item.list(complaints) {
            if let Some(mut table) = item.table(complaints) {
                headers.extend(listed_header(&mut table, complaints));
                table.finish(Severity::Warning, complaints);
            }
        }
    }
    if headers.len() > HEADERS_MAX {
        complaints.error_as(
            "APIG.2012",
            &item.place(complaints),
            format!("there are {} headers", headers.len()),
            format!("at most {HEADERS_MAX} are allowed"),
        );
    }
    headers
}

fn listed_header(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<(String, String)> {
    let key = table.need("key", "write `key: Retry-After`", complaints);
    let value = table.need("value", "write `value: \"5\"`", complaints);
    let (key, value) = (key?, value?);
    header(key.text(complaints)?, &key, &value, complaints)
}

fn header(
    name: &str,
    name_item: &Item<'_>,
    item: &Item<'_>,
    complaints: &mut Complaints,
) -> Option<(String, String)> {
    let value = item.scalar(complaints)?;
    let place = name_item.place(complaints);
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !(1..=128).contains(&name.len()) || !name.bytes().all(named) {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{name}\" is no name of a header"),
            "write 1 to 128 letters, digits, `-`, `_`",
        );
        return None;
    }
    let lower = name.to_ascii_lowercase();
    if FIELDS_KEPT.contains(&lower.as_str()) || lower.starts_with("x-apig-") {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("the header `{name}` is the gateway's own"),
            "remove it",
        );
        return None;
    }
    let place = item.place(complaints);
    let long = !(1..=1024).contains(&value.chars().count());
    if long || value.contains(char::is_control) || value.contains("[[") || value.contains("]]") {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("the value of `{name}` cannot be sent"),
            "write 1 to 1024 characters, none of them a control character, without `[[` and `]]`",
        );
        return None;
    }
    template::warn_of_unknown(&value, &place, complaints);
    Some((name.to_owned(), value))
}

//! Where an operation leads: `x-apigateway-backend` (spec 3.3, 1.3).

use std::time::Duration;

use super::operation::Operation;
use super::syntax::references;
use super::{BackendDefinition, DestinationDefinition, HttpDefinition, Method, Placed};
use crate::config::{Protection, Scheme};
use crate::document::{Complaints, Item, Severity, Table, Value};

/// Spec 1.3, where the field is absent.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(5000);

/// Spec U19, where the field is absent.
const RETRY_COUNT_DEFAULT: i8 = -1;

/// Each type with the member that has its endpoints.
const TYPES: [(&str, &str); 5] = [
    ("HTTP", "httpEndpoints"),
    ("HTTP-VPC", "httpVpcEndpoints"),
    ("HTTP-VPC-MEMBER-GROUP", "httpVpcMemberGroupEndpoints"),
    ("FUNCTION", "functionEndpoints"),
    ("MOCK", "mockEndpoints"),
];

pub(super) fn read(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<BackendDefinition> {
    let mut table = item.table(complaints)?;
    let kind = table.need("type", "write `type: HTTP`", complaints);
    let endpoints = kind
        .as_ref()
        .and_then(|item| item.choice(&TYPES, complaints));
    if let Some(item) = table.take("parameters").filter(|item| !item.is_blank()) {
        operation.cannot(&item.place(complaints), "backend parameters");
    }
    let endpoints = endpoints.and_then(|member| {
        refuse_others(member, &mut table, complaints);
        let endpoints = table.need(member, "add what the type asks for", complaints);
        if member != "httpEndpoints"
            && let Some(kind) = &kind
        {
            let name = kind.text(complaints).unwrap_or_default();
            operation.cannot(&kind.place(complaints), &format!("backends of type {name}"));
            return None;
        }
        endpoints
    });
    table.finish(Severity::Warning, complaints);
    let http = http(&endpoints?, operation, complaints)?;
    Some(BackendDefinition {
        destination: DestinationDefinition::Http(http),
        parameters: Vec::new(),
    })
}

/// Exactly one endpoints member, and one that fits the type.
fn refuse_others(wanted: &str, table: &mut Table<'_>, complaints: &mut Complaints) {
    for (_, member) in TYPES.iter().filter(|(_, member)| *member != wanted) {
        if let Some(item) = table.take(member) {
            let place = item.place(complaints);
            complaints.error_as(
                "APIG.2012",
                &place,
                format!("`{member}` does not fit the type of the backend"),
                format!("keep `{wanted}` alone, or change `type`"),
            );
        }
    }
}

fn http(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<HttpDefinition> {
    let mut table = item.table(complaints)?;
    table.take("description");
    let address = table.need(
        "address",
        "write `address: \"192.0.2.20:8080\"`",
        complaints,
    );
    let address = address
        .and_then(|item| single(item, complaints))
        .and_then(|item| placed(&item, complaints));
    let scheme = table.need("scheme", "write `scheme: http`", complaints);
    let schemes = [
        ("http", Scheme::Http),
        ("https", Scheme::Https),
        ("ws", Scheme::Http),
        ("wss", Scheme::Https),
    ];
    let scheme = scheme.and_then(|item| item.choice(&schemes, complaints));
    let method = table.need("method", "write `method: GET`", complaints);
    let method = method.and_then(|item| item.choice(&Method::NAMES, complaints));
    let path = table.need("path", "write `path: /`", complaints);
    let path = path.and_then(|item| backend_path(&item, complaints));
    let timeout = match table.take("timeout") {
        Some(item) => timeout(&item, operation, complaints),
        None => Some(TIMEOUT_DEFAULT),
    };
    let retry_count = match table.take("retryCount") {
        Some(item) => item
            .integer(-1..=10, complaints)
            .and_then(|count| i8::try_from(count).ok()),
        None => Some(RETRY_COUNT_DEFAULT),
    };
    client_certificate(&mut table, scheme, operation, complaints);
    if let Some(item) = table.take("enableSmChannel")
        && item.boolean(complaints) == Some(true)
    {
        operation.cannot(&item.place(complaints), "SM cipher channels");
    }
    table.finish(Severity::Warning, complaints);
    Some(HttpDefinition {
        scheme: scheme?,
        address: address?,
        path: path?,
        method: method?,
        timeout: timeout?,
        retry_count: retry_count?,
    })
}

/// Spec U31: the reference says array, the samples have a string.
fn single<'a>(item: Item<'a>, complaints: &mut Complaints) -> Option<Item<'a>> {
    if !matches!(item.value(), Value::List(_)) {
        return Some(item);
    }
    let mut list = item.list(complaints);
    if list.len() == 1 {
        return list.pop();
    }
    let place = item.place(complaints);
    complaints.error_as(
        "APIG.2012",
        &place,
        format!("{} addresses where one is meant", list.len()),
        "write one address; several are a load channel",
    );
    None
}

/// A text whose variables are well formed.
fn placed(item: &Item<'_>, complaints: &mut Complaints) -> Option<Placed> {
    let text = item.text(complaints)?;
    let place = item.place(complaints);
    if references(text).is_none() {
        complaints.error_as(
            "APIG.2012",
            &place,
            format!("\"{text}\" has a `#` that begins no variable"),
            "write variables as `#name#`: 3 to 32 letters, digits, `-` and `_`, a letter first",
        );
        return None;
    }
    Some(Placed {
        text: text.to_owned(),
        place,
    })
}

fn backend_path(item: &Item<'_>, complaints: &mut Complaints) -> Option<Placed> {
    let path = placed(item, complaints)?;
    if path.text.contains(['{', '}']) {
        complaints.error_as(
            "APIG.2027",
            &path.place,
            format!("the parameters of \"{}\" have no values", path.text),
            "write a path without `{}`: this version maps no parameters",
        );
    }
    if path.text.chars().count() > 512 {
        complaints.error_as(
            "APIG.2006",
            &path.place,
            "the path is too long",
            "at most 512 characters are allowed",
        );
    }
    Some(path)
}

/// Milliseconds, up to the ceiling in force (spec 1.4.6).
fn timeout(
    item: &Item<'_>,
    operation: &Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Duration> {
    let ceiling = operation.document.config.definitions.backend_timeout_max;
    let ceiling_ms = i64::try_from(ceiling.as_millis()).unwrap_or(i64::MAX);
    let before = complaints.len();
    let timeout = item.integer(1..=ceiling_ms, complaints);
    for complaint in complaints.since(before) {
        complaint
            .remedy
            .push_str(" (milliseconds; limits.backend_timeout_max is the ceiling, at most 600s)");
    }
    timeout
        .and_then(|ms| u64::try_from(ms).ok())
        .map(Duration::from_millis)
}

fn client_certificate(
    table: &mut Table<'_>,
    scheme: Option<Scheme>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) {
    let Some(item) = table.take("enableClientSsl") else {
        return;
    };
    if item.boolean(complaints) != Some(true) {
        return;
    }
    let place = item.place(complaints);
    if scheme == Some(Scheme::Http) {
        complaints.error_as(
            "APIG.3717",
            &place,
            "a backend without TLS cannot be shown a client certificate",
            "write `enableClientSsl: false`, or `scheme: https`",
        );
    } else {
        operation.cannot_enforce(
            &place,
            "client certificates towards the backend",
            Protection::ClientCertificate,
        );
    }
}

//! `httpEndpoints`, and the members that load channels have in common with it (spec 3.3).

use std::time::Duration;

use super::operation::Operation;
use super::syntax::references;
use super::{DestinationDefinition, HttpDefinition, Method, Placed};
use crate::config::{Protection, Scheme};
use crate::document::{Complaints, Item, Severity, Table, Value};

/// Spec 1.3, where the field is absent.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(5000);

/// Longest path of a backend (spec 1.3).
const PATH_CHARS_MAX: usize = 512;

pub(super) fn read(
    item: &Item<'_>,
    paths: &mut Vec<Placed>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<DestinationDefinition> {
    let mut table = item.table(complaints)?;
    table.skip(&["description"]);
    let remedy = "write `address: \"192.0.2.20:8080\"`";
    let address = table.need("address", remedy, complaints);
    let address = address
        .and_then(|item| single(item, complaints))
        .and_then(|item| address_of(&item, complaints));
    let target = Target::read(&mut table, operation, complaints);
    paths.extend(target.path.clone());
    let effort = Effort::read(&mut table, target.scheme, operation, complaints);
    table.finish(Severity::Warning, complaints);
    Some(DestinationDefinition::Http(HttpDefinition {
        scheme: target.scheme?,
        address: address?,
        path: target.path?,
        method: target.method?,
        timeout: effort.timeout?,
        retry_count: effort.retry_count?,
    }))
}

/// What is asked of a server.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) scheme: Option<Scheme>,
    pub(super) method: Option<Method>,
    pub(super) path: Option<Placed>,
}

impl Target {
    pub(super) fn read(
        table: &mut Table<'_>,
        operation: &mut Operation<'_>,
        complaints: &mut Complaints,
    ) -> Self {
        let scheme = table.need("scheme", "write `scheme: http`", complaints);
        let scheme = scheme.and_then(|item| scheme_of(&item, operation, complaints));
        let method = table.need("method", "write `method: GET`", complaints);
        let method = method.and_then(|item| item.choice(&Method::NAMES, complaints));
        let path = table.need("path", "write `path: /`", complaints);
        let path = path.and_then(|item| path_of(&item, complaints));
        Self {
            scheme,
            method,
            path,
        }
    }
}

/// How long and how often it is tried, and what is shown to the server.
#[derive(Debug)]
pub(super) struct Effort {
    pub(super) timeout: Option<Duration>,
    pub(super) retry_count: Option<i8>,
}

impl Effort {
    pub(super) fn read(
        table: &mut Table<'_>,
        scheme: Option<Scheme>,
        operation: &mut Operation<'_>,
        complaints: &mut Complaints,
    ) -> Self {
        let timeout = match table.take("timeout") {
            Some(item) => timeout(&item, operation, complaints),
            None => Some(TIMEOUT_DEFAULT),
        };
        let retry_count = match table.take("retryCount") {
            Some(item) => item
                .integer(-1..=10, complaints)
                .and_then(|count| i8::try_from(count).ok()),
            None => Some(operation.document.config.definitions.retry_count),
        };
        client_certificate(table, scheme, operation, complaints);
        if let Some(item) = table.take("enableSmChannel")
            && item.boolean(complaints) == Some(true)
        {
            operation.cannot(&item.place(complaints), "SM cipher channels");
        }
        Self {
            timeout,
            retry_count,
        }
    }
}

fn scheme_of(
    item: &Item<'_>,
    operation: &mut Operation<'_>,
    complaints: &mut Complaints,
) -> Option<Scheme> {
    let schemes = [
        ("http", Some(Scheme::Http)),
        ("https", Some(Scheme::Https)),
        ("ws", Some(Scheme::Http)),
        ("wss", Some(Scheme::Https)),
        ("grpc", None),
        ("grpcs", None),
    ];
    let scheme = item.choice(&schemes, complaints)?;
    if scheme.is_none() {
        operation.cannot(&item.place(complaints), "gRPC backends");
    }
    scheme
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

fn address_of(item: &Item<'_>, complaints: &mut Complaints) -> Option<Placed> {
    let address = placed(item, complaints)?;
    // The catalog judges the address once its variables have their values.
    if address.text.is_empty() || address.text.chars().count() > 255 {
        complaints.error_as(
            "APIG.2024",
            &address.place,
            "an address has 1 to 255 characters",
            "write host or host:port",
        );
        return None;
    }
    Some(address)
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

fn path_of(item: &Item<'_>, complaints: &mut Complaints) -> Option<Placed> {
    let path = placed(item, complaints)?;
    let length = path.text.chars().count();
    if length > PATH_CHARS_MAX {
        complaints.error_as(
            "APIG.2006",
            &path.place,
            format!("the path has {length} characters"),
            format!("at most {PATH_CHARS_MAX} are allowed"),
        );
        return None;
    }
    Some(path)
}

/// Milliseconds, up to the ceiling in force (spec 1.4.6).
pub(super) fn timeout(
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

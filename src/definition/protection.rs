//! What keeps callers out or down: authentication, access control, throttling, plugins (spec 3.3). None of it can be
//! enforced by this version, so that an API that asks for it is not served unless the operator says so.

use super::operation::{Inherited, Operation};
use crate::config::Protection;
use crate::document::{Complaints, Item, Severity, Table};
use crate::network::Network;

/// The largest limit of a throttling policy (spec 3.3).
const LIMIT_MAX: i64 = 2_147_483_647;

/// Most exceptions of a throttling policy of either type (spec 3.3).
const SPECIAL_MAX: usize = 30;

/// Most addresses of an access control policy (spec 3.3).
const ADDRESSES_MAX: usize = 100;

pub(super) fn read<'a>(
    operation: &mut Operation<'a>,
    table: &mut Table<'a>,
    inherited: &Inherited<'a>,
    complaints: &mut Complaints,
) {
    let own = table.take("security");
    // OpenAPI lets the document set a default. The cloud is silent about it; serving openly would be the worse guess.
    if let Some(item) = own.as_ref().or(inherited.security.as_ref()) {
        let demands = operation
            .document
            .security_schemes
            .demands(item, complaints);
        operation.has_authorizer = demands.authorizer;
        if !demands.what.is_empty() {
            let what = demands.what.join(" and ");
            operation.cannot_enforce(&item.place(complaints), &what, Protection::Authentication);
        }
    }
    for (key, what, protection) in [
        (
            "x-apigateway-access-control",
            "access control",
            Protection::AccessControl,
        ),
        (
            "x-apigateway-ratelimit",
            "throttling",
            Protection::RateLimit,
        ),
    ] {
        if let Some(item) = table.take(key).filter(|item| !item.is_blank()) {
            item.text(complaints);
            operation.cannot_enforce(&item.place(complaints), what, protection);
        }
    }
    let plugins = table.take("x-apigateway-plugins");
    if let Some(item) = plugins.filter(|item| !item.is_blank()) {
        for item in item.list(complaints) {
            item.text_of(3..=255, complaints);
        }
        operation.cannot_enforce(&item.place(complaints), "plugins", Protection::Plugins);
    }
}

/// `x-apigateway-ratelimits` of a file.
pub(super) fn check_rate_limits(item: &Item<'_>, complaints: &mut Complaints) {
    let Some(mut policies) = item.table(complaints) else {
        return;
    };
    for (_, item) in policies.rest() {
        if let Some(table) = item.table(complaints) {
            check_rate_limit(table, complaints);
        }
    }
}

fn check_rate_limit(mut table: Table<'_>, complaints: &mut Complaints) {
    let api = table.need("api-limit", "write `api-limit: 100`", complaints);
    let api = api.and_then(|item| item.integer(1..=LIMIT_MAX, complaints));
    let api = api.unwrap_or(LIMIT_MAX);
    let user = limit(&mut table, "user-limit", api, complaints);
    limit(&mut table, "ip-limit", api, complaints);
    limit(&mut table, "app-limit", user.unwrap_or(api), complaints);
    if let Some(item) = table.need("interval", "write `interval: 1`", complaints) {
        item.integer(1..=LIMIT_MAX, complaints);
    }
    if let Some(item) = table.need("unit", "write `unit: SECOND`", complaints) {
        let units = ["SECOND", "MINUTE", "HOUR", "DAY"];
        item.choice(&units.map(|unit| (unit, ())), complaints);
    }
    if let Some(item) = table.take("shared") {
        item.boolean(complaints);
    }
    if let Some(item) = table.take("special").filter(|item| !item.is_blank()) {
        check_special(&item, complaints);
    }
    table.skip(&["description"]);
    table.finish(Severity::Warning, complaints);
}

/// A limit that may not exceed another; 0 is none, as exports write it.
fn limit(
    table: &mut Table<'_>,
    key: &'static str,
    most: i64,
    complaints: &mut Complaints,
) -> Option<i64> {
    let item = table.take(key).filter(|item| !item.is_unset())?;
    let limit = item.integer(0..=most, complaints);
    limit.filter(|limit| *limit != 0)
}

fn check_special(item: &Item<'_>, complaints: &mut Complaints) {
    let mut counts = [0usize; 2];
    for entry in item.list(complaints) {
        let Some(mut table) = entry.table(complaints) else {
            continue;
        };
        let kind = table.need("type", "write `type: APP`", complaints);
        let kind = kind.and_then(|item| item.choice(&[("APP", 0), ("USER", 1)], complaints));
        if let Some(count) = kind.and_then(|kind: usize| counts.get_mut(kind)) {
            *count += 1;
        }
        if let Some(item) = table.need("limit", "write `limit: 100`", complaints) {
            item.integer(1..=LIMIT_MAX, complaints);
        }
        if let Some(item) = table.need("instance", "write the id of the app or user", complaints) {
            item.text(complaints);
        }
        table.finish(Severity::Warning, complaints);
    }
    if counts.iter().any(|count| *count > SPECIAL_MAX) {
        complaints.error_as(
            "APIG.2004",
            &item.place(complaints),
            "there are too many exceptions",
            format!("at most {SPECIAL_MAX} apps and {SPECIAL_MAX} users are allowed"),
        );
    }
}

/// `x-apigateway-access-controls` of a file.
pub(super) fn check_access_controls(item: &Item<'_>, complaints: &mut Complaints) {
    let Some(mut policies) = item.table(complaints) else {
        return;
    };
    for (_, item) in policies.rest() {
        if let Some(table) = item.table(complaints) {
            check_access_control(table, complaints);
        }
    }
}

fn check_access_control(mut table: Table<'_>, complaints: &mut Complaints) {
    if let Some(item) = table.need("acl-type", "write `acl-type: PERMIT`", complaints) {
        item.choice(&[("PERMIT", ()), ("DENY", ())], complaints);
    }
    let entity = table.need("entity-type", "write `entity-type: IP`", complaints);
    let entities = [("IP", true), ("DOMAIN", false), ("DOMAIN_ID", false)];
    let addresses = entity.and_then(|item| item.choice(&entities, complaints));
    if let Some(item) = table.need("value", "write addresses and networks", complaints)
        && let Some(text) = item.text(complaints)
    {
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        if entries.len() > ADDRESSES_MAX {
            complaints.error_as(
                "APIG.2004",
                &item.place(complaints),
                format!("there are {} entries", entries.len()),
                format!("at most {ADDRESSES_MAX} are allowed"),
            );
        }
        let network = |entry: &&str| entry.parse::<Network>().is_err();
        let wrong = entries.into_iter().find(network);
        if let Some(entry) = wrong.filter(|_| addresses == Some(true)) {
            complaints.error_as(
                "APIG.2015",
                &item.place(complaints),
                format!("\"{entry}\" is neither an address nor a network"),
                "write addresses and networks such as 192.0.2.0/24 with commas between them",
            );
        }
    }
    table.skip(&["description"]);
    table.finish(Severity::Warning, complaints);
}

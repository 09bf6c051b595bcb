//! The protocols that an API answers: `schemes` and `servers` (spec 3.1).

use super::Schemes;
use super::extensions::skip_foreign;
use crate::config::Scheme;
use crate::document::{Complaints, Item, Severity};

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

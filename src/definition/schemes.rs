//! The protocols that an API answers: `schemes` and `servers` (spec 3.1).

use super::Schemes;
use super::extensions::skip_foreign;
use crate::config::Scheme;
use crate::document::{Complaints, Item, Place, Severity};

/// What a list of protocols asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Protocols {
    /// Nothing where none of them is served.
    pub(super) schemes: Option<Schemes>,
    /// Where gRPC is asked for.
    pub(super) grpc: Option<Place>,
}

impl Protocols {
    /// These, or others where these say nothing.
    pub(super) fn or(self, others: Self) -> Self {
        if self.schemes.is_some() || self.grpc.is_some() {
            self
        } else {
            others
        }
    }
}

/// Swagger 2.0: `schemes: [http, https]`.
pub(super) fn schemes_of_list(item: &Item<'_>, complaints: &mut Complaints) -> Protocols {
    let known = [
        ("http", Some(Scheme::Http)),
        ("https", Some(Scheme::Https)),
        ("ws", Some(Scheme::Http)),
        ("wss", Some(Scheme::Https)),
        ("grpc", None),
        ("grpcs", None),
    ];
    let mut schemes = Vec::new();
    let mut grpc = None;
    for item in item.list(complaints) {
        match item.choice(&known, complaints) {
            Some(Some(scheme)) => schemes.push(scheme),
            Some(None) => grpc = Some(item.place(complaints)),
            None => {}
        }
    }
    Protocols {
        schemes: Schemes::of(&schemes),
        grpc,
    }
}

/// OpenAPI 3.0: the schemes of the URLs (spec U27).
pub(super) fn schemes_of_servers(item: &Item<'_>, complaints: &mut Complaints) -> Protocols {
    let mut schemes = Vec::new();
    let mut grpc = None;
    for item in item.list(complaints) {
        let Some(mut server) = item.table(complaints) else {
            continue;
        };
        server.take("description");
        server.take("variables");
        if let Some(url) = server.need("url", "write url: https://203.0.113.10", complaints)
            && let Some(text) = url.text(complaints)
        {
            if is_grpc(text) {
                grpc = Some(url.place(complaints));
            } else {
                schemes.extend(scheme_of_url(text, &url, complaints));
            }
        }
        skip_foreign(&mut server);
        server.finish(Severity::Warning, complaints);
    }
    Protocols {
        schemes: Schemes::of(&schemes),
        grpc,
    }
}

fn is_grpc(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("grpc") || scheme.eq_ignore_ascii_case("grpcs")
    })
}

fn scheme_of_url(text: &str, url: &Item<'_>, complaints: &mut Complaints) -> Option<Scheme> {
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

//! Every path of the admin listener and what it is asked with. `openapi.json` beside this file describes the same.
#![forbid(unsafe_code)]

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Live,
    Ready,
    Metrics,
    Description,
    State,
    Config,
    Apis,
    Backends,
    Tunnels,
    Tunnel,
    Drains,
    Drain,
    Reload,
    Snapshot,
}

/// Methods as `Allow` has them; `{…}` in a path is one segment.
const ROUTES: [(Route, &str, &str); 15] = [
    (Route::Page, "/", "GET, HEAD"),
    (Route::Live, "/livez", "GET, HEAD"),
    (Route::Ready, "/readyz", "GET, HEAD"),
    (Route::Metrics, "/metrics", "GET, HEAD"),
    (Route::Description, "/openapi.json", "GET, HEAD"),
    (Route::State, "/v1/state", "GET, HEAD"),
    (Route::Config, "/v1/config", "GET, HEAD"),
    (Route::Apis, "/v1/apis", "GET, HEAD"),
    (Route::Backends, "/v1/backends", "GET, HEAD"),
    (Route::Tunnels, "/v1/tunnels", "GET, HEAD"),
    (Route::Tunnel, "/v1/tunnels/{id}", "GET, HEAD, DELETE"),
    (Route::Drains, "/v1/drains", "GET, HEAD, POST"),
    (Route::Drain, "/v1/drains/{drain}", "DELETE"),
    (Route::Reload, "/v1/reload", "POST"),
    (Route::Snapshot, "/v1/snapshot", "GET, HEAD"),
];

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) route: Route,
    /// The segment that stands for `{…}`.
    pub(super) item: &'a str,
    pub(super) allow: &'static str,
}

impl Found<'_> {
    pub(super) fn allows(&self, method: &str) -> bool {
        self.allow.split(", ").any(|allowed| allowed == method)
    }
}

pub(super) fn find(path: &str) -> Option<Found<'_>> {
    ROUTES.iter().find_map(|(route, template, allow)| {
        let item = match template.split_once('{') {
            Some((before, _)) => path
                .strip_prefix(before)
                .filter(|item| !item.is_empty() && !item.contains('/'))?,
            None => (path == *template).then_some("")?,
        };
        Some(Found {
            route: *route,
            item,
            allow,
        })
    })
}

/// The description that is served, for people and generators of clients.
pub(super) const DESCRIPTION: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        for (path, expected) in [
            ("/", Some((Route::Page, ""))),
            ("/v1/tunnels", Some((Route::Tunnels, ""))),
            ("/v1/tunnels/ab", Some((Route::Tunnel, "ab"))),
            ("/v1/tunnels/", None),
            ("/v1/tunnels/a/b", None),
            ("/v1", None),
            ("//", None),
            ("/livez/", None),
        ] {
            let found = find(path).map(|found| (found.route, found.item));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn the_description_has_every_path_and_method_and_no_other() {
        let described: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let mut there = BTreeSet::new();
        for (path, methods) in described["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                if method != "parameters" {
                    there.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
        let mut here = BTreeSet::new();
        for (_, path, allow) in ROUTES {
            // HEAD is GET without the body, and goes without saying.
            for method in allow.split(", ").filter(|method| *method != "HEAD") {
                here.insert(format!("{method} {path}"));
            }
        }
        assert_eq!(here, there);
    }
}

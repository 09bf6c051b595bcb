//! Routing, and what the other tests of the catalog share.
#![expect(clippy::indexing_slicing, reason = "a test may fail loudly")]

mod building;
mod explaining;
mod hosts;
mod loading;
mod matching;
mod paths;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Protection};
use crate::definition;
use crate::document::Complaint;
use crate::relay::policy::{FrameMode, IdleEnd};

const CONFIG: &str = r#"
listeners = [{ address = "0.0.0.0:80", protocol = "http" }]
definitions = [{ files = ["a.yaml"] }]
routing = { inbound_addresses = ["203.0.113.10", "2001:db8::1"] }
environments = [{ name = "TEST", variables = { DEFAULT = { host = "10.0.0.9", path = "v2" } } }]
domains = [
    { name = "api.example.com", group = "DEFAULT" },
    { name = "*.example.com", group = "other" },
    { name = "*.deep.example.com", group = "DEFAULT" },
    { name = "empty.example.org", group = "nobody" },
]
"#;

/// A file of a group with operations of the form `path method name schemes`.
fn file(group: &str, operations: &[(&str, &str, &str, &str)]) -> String {
    let mut text = format!("swagger: '2.0'\ninfo: {{title: {group}}}\npaths:\n");
    let mut paths: Vec<&str> = operations.iter().map(|(path, ..)| *path).collect();
    paths.dedup();
    for path in paths {
        text.push_str(&format!("  {path:?}:\n"));
        for (_, method, name, schemes) in operations.iter().filter(|(of, ..)| *of == path) {
            text.push_str(&format!(
                "    {method}: {{operationId: {name}, schemes: [{schemes}], x-apigateway-backend: {{type: HTTP, \
                 httpEndpoints: {{address: 'backend:9000', scheme: http, method: ANY, path: /{name}}}}}}}\n"
            ));
        }
    }
    text
}

pub(super) fn config(more: &str) -> Config {
    Config::from_text("ringgate.toml", &format!("{CONFIG}{more}")).unwrap()
}

/// Builds from files, each with where it is published.
pub(super) fn build(config: &Config, files: &[(&str, &str)]) -> Result<Catalog, Vec<Complaint>> {
    let mut definitions = Vec::new();
    for (index, (text, environments)) in files.iter().enumerate() {
        let environments: Vec<String> = environments.split(' ').map(str::to_owned).collect();
        let (definition, complaints) =
            definition::parse(&format!("{index}.yaml"), text, &environments, config);
        assert_eq!(complaints, [], "{text}");
        definitions.extend(definition);
    }
    Catalog::build(config, &definitions)
}

fn sample() -> Catalog {
    let default = file(
        "DEFAULT",
        &[
            ("/hello", "get", "hello", "https"),
            ("/hello", "x-apigateway-any-method", "helloAny", "https"),
            ("/hello/", "get", "helloSlash", "http, https"),
            ("/post", "post", "posted", "http, https"),
            ("/sp%20ace", "get", "space", "http"),
            ("/100%", "get", "percent", "http, https"),
            ("/a//b", "get", "doubled", "http, https"),
            ("/wéird", "get", "letters", "http, https"),
        ],
    );
    let other = file("other", &[("/hello", "get", "otherHello", "http, https")]);
    let test = file("DEFAULT", &[("/only/test", "get", "tested", "http, https")])
        .replace("backend:9000", "#host#:9000")
        .replace("path: /tested", "path: '/#path#/x y'");
    build(
        &config(""),
        &[
            (&default, "RELEASE"),
            (&other, "RELEASE TEST"),
            (&test, "TEST"),
        ],
    )
    .unwrap()
}

fn query<'a>(host: &'a str, method: &'a str, path: &'a str) -> Query<'a> {
    Query {
        scheme: Scheme::Https,
        inbound: ([192, 0, 2, 1], 443).into(),
        host,
        method,
        path,
        stage: None,
    }
}

/// The name of the API a request is routed to.
fn routed<'a>(catalog: &'a Catalog, query: &Query<'_>) -> Result<&'a str, RouteError> {
    let routed = catalog.route(query).map_err(|unrouted| unrouted.error)?;
    let is_it = |api: &&Arc<Api>| Arc::ptr_eq(api, &routed.api);
    Ok(&catalog.apis().find(is_it).unwrap().name)
}

fn http(api: &Api) -> &HttpBackend {
    let Destination::Http(http) = &api.backend.destination else {
        unreachable!("no test has a mock here");
    };
    http
}

#[test]
fn hosts_lead_to_groups() {
    let catalog = sample();
    for (host, expected) in [
        // The address that the client connected to, and those configured.
        ("192.0.2.1", Ok("hello")),
        ("192.0.2.1:8443", Ok("hello")),
        ("203.0.113.10", Ok("hello")),
        ("[2001:db8::1]", Ok("hello")),
        ("[2001:DB8:0::1]:443", Ok("hello")),
        ("[::ffff:192.0.2.1]", Ok("hello")),
        ("198.51.100.1", Err(RouteError::NoRoute)),
        ("[::1]", Err(RouteError::NoRoute)),
        // Names: exact, then the longest wildcard.
        ("api.example.com", Ok("hello")),
        ("API.Example.COM.:80", Ok("hello")),
        ("api.example.com:", Ok("hello")),
        ("x.example.com", Ok("otherHello")),
        ("x.y.example.com", Ok("otherHello")),
        ("x.deep.example.com", Ok("hello")),
        ("deep.example.com", Ok("otherHello")),
        ("example.com", Err(RouteError::NoRoute)),
        ("empty.example.org", Err(RouteError::NoRoute)),
        // What is no host.
        ("", Err(RouteError::BadTarget)),
        (".", Err(RouteError::BadTarget)),
        ("a b", Err(RouteError::BadTarget)),
        ("a\u{0}", Err(RouteError::BadTarget)),
        ("a:b", Err(RouteError::BadTarget)),
        ("a:99999", Err(RouteError::BadTarget)),
        ("::1", Err(RouteError::BadTarget)),
        ("[::1", Err(RouteError::BadTarget)),
        ("[::1]x", Err(RouteError::BadTarget)),
        ("[host]", Err(RouteError::BadTarget)),
        ("user@api.example.com", Err(RouteError::BadTarget)),
        ("ä.example.com", Err(RouteError::BadTarget)),
    ] {
        assert_eq!(
            routed(&catalog, &query(host, "GET", "/hello")),
            expected,
            "{host}"
        );
    }
    let long = format!("{}.example.com", "a".repeat(250));
    assert_eq!(
        routed(&catalog, &query(&long, "GET", "/hello")),
        Err(RouteError::BadTarget)
    );
}

#[test]
fn an_ipv4_address_counts_on_a_dual_stack_listener() {
    let mut query = query("192.0.2.1", "GET", "/hello");
    query.inbound = "[::ffff:192.0.2.1]:443".parse().unwrap();
    assert_eq!(routed(&sample(), &query), Ok("hello"));
}

#[test]
fn any_address_is_taken_where_configured() {
    let mut config = config("");
    config.routing.any_address = true;
    let text = file("DEFAULT", &[("/hello", "get", "hello", "https")]);
    let catalog = build(&config, &[(&text, "RELEASE")]).unwrap();
    assert_eq!(
        routed(&catalog, &query("198.51.100.1", "GET", "/hello")),
        Ok("hello")
    );
    assert_eq!(
        routed(&catalog, &query("unknown.example", "GET", "/hello")),
        Err(RouteError::NoRoute)
    );
}

#[test]
fn paths_methods_and_schemes_lead_to_apis() {
    let catalog = sample();
    for (scheme, method, path, expected) in [
        (Scheme::Https, "GET", "/hello", Ok("hello")),
        (Scheme::Https, "POST", "/hello", Ok("helloAny")),
        (Scheme::Https, "BREW", "/hello", Ok("helloAny")),
        (Scheme::Https, "GET", "/hello/", Ok("helloSlash")),
        (Scheme::Http, "GET", "/hello/", Ok("helloSlash")),
        (
            Scheme::Http,
            "GET",
            "/hello",
            Err(RouteError::WrongScheme { https_only: true }),
        ),
        (
            Scheme::Https,
            "GET",
            "/sp%20ace",
            Err(RouteError::WrongScheme { https_only: false }),
        ),
        (Scheme::Https, "GET", "/Hello", Err(RouteError::NoRoute)),
        (Scheme::Https, "GET", "/post", Err(RouteError::NoMethod)),
        (Scheme::Https, "ANY", "/post", Err(RouteError::NoMethod)),
        (Scheme::Https, "post", "/post", Err(RouteError::NoMethod)),
        (Scheme::Https, "POST", "/post", Ok("posted")),
        (Scheme::Https, "GET", "/%68ello", Ok("hello")),
        (Scheme::Https, "GET", "/x/../hello", Ok("hello")),
        (Scheme::Https, "GET", "/x/%2e%2E/hello", Ok("hello")),
        (Scheme::Https, "GET", "/%2e/hello", Ok("hello")),
        (Scheme::Https, "GET", "/hello/.", Ok("helloSlash")),
        (Scheme::Https, "GET", "/hello%2F", Ok("helloSlash")),
        (Scheme::Https, "GET", "//hello", Err(RouteError::NoRoute)),
        (Scheme::Https, "GET", "/a//b", Ok("doubled")),
        (Scheme::Https, "GET", "/a/b", Err(RouteError::NoRoute)),
        (Scheme::Https, "GET", "/100%25", Ok("percent")),
        (Scheme::Https, "GET", "/w%C3%A9ird", Ok("letters")),
        (Scheme::Https, "GET", "/%2568ello", Err(RouteError::NoRoute)),
        (
            Scheme::Https,
            "GET",
            "/../hello",
            Err(RouteError::BadTarget),
        ),
        (
            Scheme::Https,
            "GET",
            "/a/../../hello",
            Err(RouteError::BadTarget),
        ),
        (
            Scheme::Https,
            "GET",
            "/%2e%2e/hello",
            Err(RouteError::BadTarget),
        ),
        (
            Scheme::Https,
            "GET",
            "/hello%00",
            Err(RouteError::BadTarget),
        ),
        (
            Scheme::Https,
            "GET",
            "/hello%0d%0a",
            Err(RouteError::BadTarget),
        ),
        (Scheme::Https, "GET", "/hello%", Err(RouteError::BadTarget)),
        (Scheme::Https, "GET", "/hello%4", Err(RouteError::BadTarget)),
        (
            Scheme::Https,
            "GET",
            "/hello%zz",
            Err(RouteError::BadTarget),
        ),
        (
            Scheme::Https,
            "GET",
            "/hello%+1",
            Err(RouteError::BadTarget),
        ),
        (Scheme::Https, "OPTIONS", "*", Err(RouteError::BadTarget)),
        (Scheme::Https, "GET", "", Err(RouteError::NoRoute)),
    ] {
        let mut query = query("192.0.2.1", method, path);
        query.scheme = scheme;
        assert_eq!(routed(&catalog, &query), expected, "{method} {path}");
    }
}

#[test]
fn the_stage_selects_the_environment() {
    let catalog = sample();
    for (host, stage, path, expected) in [
        ("192.0.2.1", None, "/hello", Ok("hello")),
        ("192.0.2.1", Some("RELEASE"), "/hello", Ok("hello")),
        (
            "192.0.2.1",
            Some("TEST"),
            "/hello",
            Err(RouteError::NoRoute),
        ),
        ("192.0.2.1", Some("TEST"), "/only/test", Ok("tested")),
        (
            "192.0.2.1",
            Some("test"),
            "/only/test",
            Err(RouteError::NoRoute),
        ),
        ("x.example.com", Some("TEST"), "/hello", Ok("otherHello")),
        (
            "x.example.com",
            Some(""),
            "/hello",
            Err(RouteError::NoRoute),
        ),
    ] {
        let mut query = query(host, "GET", path);
        query.stage = stage;
        assert_eq!(
            routed(&catalog, &query),
            expected,
            "{host} {stage:?} {path}"
        );
    }
}

proptest! {
    #[test]
    fn routing_never_panics(host in ".{0,40}", method in "[A-Z]{0,8}", path in "\\PC{0,40}", stage in proptest::option::of(".{0,8}")) {
        let catalog = sample();
        let mut query = query(&host, &method, &path);
        query.stage = stage.as_deref();
        drop(catalog.route(&query));
        query.inbound = ([0; 16], 0).into();
        query.host = "api.example.com";
        drop(catalog.route(&query));
    }

    #[test]
    fn configurations_and_definitions_never_panic(text in "(\\[|\\]|\\{|\\}|=|:|\"|'|#|-|\n| |&a|\\*a|limits|paths|get|/a|1|true){0,40}") {
        drop(Config::from_text("a.toml", &text));
        drop(definition::parse("a.yaml", &text, &[], &Config::base()));
    }
}

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::path::encode;
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

fn config(more: &str) -> Config {
    Config::from_text("ringgate.toml", &format!("{CONFIG}{more}")).unwrap()
}

/// Builds from files, each with where it is published.
fn build(config: &Config, files: &[(&str, &str)]) -> Result<Catalog, Vec<Complaint>> {
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
        inbound: [192, 0, 2, 1].into(),
        host,
        method,
        path,
        stage: None,
    }
}

/// The name of the API a request is routed to.
fn routed<'a>(catalog: &'a Catalog, query: &Query<'_>) -> Result<&'a str, RouteError> {
    catalog.route(query).map(|api| api.policy.api.as_str())
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
    query.inbound = "::ffff:192.0.2.1".parse().unwrap();
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

#[test]
fn variables_are_filled_in_per_environment() {
    let catalog = sample();
    let api = catalog
        .apis()
        .find(|api| api.policy.api == "tested")
        .unwrap();
    assert_eq!(
        api.backend.members,
        [Member::new(Scheme::Http, "10.0.0.9", 9000)]
    );
    assert_eq!(api.backend.path, BackendPath::Fixed("/v2/x%20y".to_owned()));
    assert_eq!(
        (api.policy.group.as_str(), api.policy.environment.as_str()),
        ("DEFAULT", "TEST")
    );

    let text = file("DEFAULT", &[("/a", "get", "one", "http")])
        .replace("backend:9000", "#host##port#")
        .replace("path: /one", "path: '/#path#'");
    let complaints = build(&config(""), &[(&text, "RELEASE TEST")]).unwrap_err();
    let said: Vec<&str> = complaints
        .iter()
        .map(|complaint| complaint.problem.as_str())
        .collect();
    assert_eq!(
        said,
        [
            "the variable `#host#` has no value in RELEASE for group DEFAULT",
            "the variable `#port#` has no value in RELEASE for group DEFAULT",
            "the variable `#path#` has no value in RELEASE for group DEFAULT",
            "the variable `#port#` has no value in TEST for group DEFAULT",
        ]
    );
    assert!(
        complaints[0].key.ends_with("httpEndpoints.address")
            && complaints[2].key.ends_with(".path")
    );
    assert!(
        complaints[3]
            .remedy
            .contains("[environments.variables.DEFAULT]")
    );
}

#[test]
fn duplicates_are_refused_where_both_are_published() {
    let one = file("DEFAULT", &[("/a", "get", "one", "http")]);
    let same_route = file("DEFAULT", &[("/%61", "get", "two", "http")]);
    let same_name = file("DEFAULT", &[("/b", "get", "one", "http")]);
    let other_group = file("other", &[("/a", "get", "one", "http")]);
    for (second, environment, code) in [
        (&same_route, "RELEASE", Some("APIG.3301")),
        (&same_name, "RELEASE", Some("APIG.3202")),
        (&same_route, "TEST", None),
        (&same_name, "TEST", None),
        (&other_group, "RELEASE", None),
    ] {
        let complaints = build(&config(""), &[(&one, "RELEASE"), (second, environment)])
            .err()
            .unwrap_or_default();
        assert_eq!(
            complaints.first().and_then(|c| c.code),
            code,
            "{complaints:?}"
        );
        if let Some(complaint) = complaints.first() {
            assert!(
                complaint.problem.contains("0.yaml:5:10") && &*complaint.file == "1.yaml",
                "{complaint}"
            );
        }
    }
}

#[test]
fn addresses_and_paths_are_judged_with_their_variables() {
    for (from, to, code) in [
        ("backend:9000", "backend:0", "APIG.2024"),
        ("backend:9000", "backend:65536", "APIG.2024"),
        ("backend:9000", "a b", "APIG.2024"),
        ("backend:9000", "1.2.3", "APIG.2024"),
        ("backend:9000", "http://backend", "APIG.2024"),
        ("backend:9000", "::1", "APIG.2024"),
        ("path: /one", "path: one", "APIG.2012"),
        ("path: /one", "path: '/one?a=b'", "APIG.2012"),
    ] {
        let text = file("DEFAULT", &[("/a", "get", "one", "http")]).replace(from, to);
        let complaints = build(&config(""), &[(&text, "RELEASE")]).unwrap_err();
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].code, Some(code), "{}", complaints[0]);
    }
}

#[test]
fn rules_for_an_api_that_nobody_defines_are_refused() {
    let text = file("DEFAULT", &[("/a", "get", "one", "http")]);
    let config = config(
        "apis = [{ name = \"one\", frames = \"opaque\" }, { name = \"two\" }]\n[tunnel]\nidle_end = \"disconnect\"",
    );
    let complaints = build(&config, &[(&text, "RELEASE")]).unwrap_err();
    assert_eq!(complaints.len(), 1);
    assert_eq!(
        (complaints[0].key.as_str(), complaints[0].line),
        ("apis[1]", 12)
    );
    let text = format!(
        "{text}{}",
        &file("", &[("/b", "get", "two", "http")])
            .split_once("paths:\n")
            .unwrap()
            .1
    );
    let catalog = build(&config, &[(&text, "RELEASE")]).unwrap();
    let policies: Vec<_> = catalog
        .apis()
        .map(|api| (api.policy.frames, api.policy.idle_end))
        .collect();
    assert_eq!(
        policies,
        [
            (FrameMode::Opaque, IdleEnd::Disconnect),
            (FrameMode::Strict, IdleEnd::Disconnect)
        ]
    );
    assert_eq!(Protection::Authentication.word(), "auth");
}

#[test]
fn members_are_read_from_addresses_and_urls() {
    for (address, expected) in [
        ("backend", Some(("backend", 80, "backend"))),
        ("backend:80", Some(("backend", 80, "backend"))),
        ("backend:9000", Some(("backend", 9000, "backend:9000"))),
        ("10.0.0.1:9000", Some(("10.0.0.1", 9000, "10.0.0.1:9000"))),
        ("[::1]:9000", Some(("::1", 9000, "[::1]:9000"))),
        ("[::1]", Some(("::1", 80, "[::1]"))),
        (
            "my_service.local.",
            Some(("my_service.local.", 80, "my_service.local.")),
        ),
        ("", None),
        (":80", None),
        ("backend:", None),
        ("backend:+80", None),
        ("-a", None),
        ("a..b", None),
        ("[10.0.0.1]", None),
    ] {
        let member = Member::from_address(Scheme::Http, address);
        let found = member
            .as_ref()
            .map(|m| (m.host.as_str(), m.port, m.authority.as_str()));
        assert_eq!(found, expected, "{address}");
    }
    for (url, expected) in [
        ("ws://a:9000/x", Some((Scheme::Http, 9000, Some("/x")))),
        ("WSS://a", Some((Scheme::Https, 443, None))),
        ("http://[::1]/", Some((Scheme::Http, 80, Some("/")))),
        ("https://a/x?y", None),
        ("a:9000", None),
        ("ftp://a", None),
    ] {
        let found = Member::from_url(url).map(|(member, path)| (member.scheme, member.port, path));
        assert_eq!(found, expected, "{url}");
    }
}

fn forward(path: Option<&str>, backend_path: BackendPath) -> Result<Catalog, String> {
    Catalog::forward_all(Forward {
        members: vec![Member::new(Scheme::Http, "127.0.0.1", 9000)],
        path: path.map(str::to_owned),
        backend_path,
        schemes: Schemes::Both,
        policy: TunnelPolicy {
            api: "proxy".to_owned(),
            group: DEFAULT_GROUP.to_owned(),
            environment: RELEASE.to_owned(),
            idle_timeout: Duration::from_secs(60),
            idle_end: IdleEnd::Close,
            frames: FrameMode::Strict,
            message_bytes_max: 0,
        },
        timeout: Duration::from_secs(60),
        retries: 1,
    })
}

#[test]
fn forwarding_knows_no_hosts_environments_or_methods() {
    let everything = forward(None, BackendPath::Same).unwrap();
    for (host, stage, path, expected) in [
        ("anything.example", None, "/any/path", Ok("proxy")),
        ("198.51.100.1", Some("TEST"), "/", Ok("proxy")),
        ("a", None, "", Ok("proxy")),
        ("a b", None, "/", Err(RouteError::BadTarget)),
        ("a", None, "/..", Err(RouteError::BadTarget)),
    ] {
        let mut query = query(host, "PUT", path);
        query.stage = stage;
        assert_eq!(routed(&everything, &query), expected, "{host} {path}");
    }
    let one = forward(Some("/x"), BackendPath::Same).unwrap();
    assert_eq!(routed(&one, &query("a", "GET", "/x")), Ok("proxy"));
    assert_eq!(
        routed(&one, &query("a", "GET", "/y")),
        Err(RouteError::NoRoute)
    );
    assert!(forward(Some("x"), BackendPath::Same).is_err());
    assert_eq!(everything.apis().len(), 1);
}

#[test]
fn targets_have_the_backend_path_and_the_clients_query() {
    let target = |backend_path, query| {
        let catalog = forward(None, backend_path).unwrap();
        let mut out = Vec::new();
        catalog
            .apis()
            .next()
            .unwrap()
            .target("/a%20b/../c", query, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(target(BackendPath::Same, None), "/a%20b/../c");
    assert_eq!(target(BackendPath::Same, Some("q=1")), "/a%20b/../c?q=1");
    assert_eq!(
        target(BackendPath::Fixed("/x".to_owned()), Some("q=1")),
        "/x?q=1"
    );
    assert_eq!(target(BackendPath::Fixed("/x".to_owned()), Some("")), "/x?");
    assert_eq!(target(BackendPath::Fixed("/x".to_owned()), None), "/x");
}

#[test]
fn retries_follow_the_count_and_the_method() {
    for (method, count, expected) in [
        ("get", "-1", 1),
        ("post", "-1", 0),
        ("get", "0", 0),
        ("post", "3", 3),
    ] {
        let text = file("DEFAULT", &[("/a", method, "one", "http")])
            .replace("path: /one", &format!("path: /one, retryCount: {count}"));
        let (definition, _) =
            definition::parse("a.yaml", &text, &[RELEASE.to_owned()], &config(""));
        let catalog = Catalog::build(&config(""), &[definition.unwrap()]).unwrap();
        assert_eq!(
            catalog.apis().next().unwrap().retries,
            expected,
            "{method} {count}"
        );
    }
}

#[test]
fn what_is_served_is_listed_in_order() {
    let catalog = sample();
    let names: Vec<_> = catalog
        .apis()
        .map(|api| (api.policy.environment.as_str(), api.policy.api.as_str()))
        .collect();
    assert_eq!(names.first(), Some(&("RELEASE", "percent")));
    assert_eq!(names.last(), Some(&("TEST", "otherHello")));
    assert_eq!(names.len(), 11);
}

/// A copy of an example beside a certificate made for it.
fn example(folder: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let original = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(folder);
    for entry in std::fs::read_dir(original).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    std::fs::write(copy.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(
        copy.path().join("key.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    copy
}

#[test]
fn every_example_loads_without_a_complaint() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let name = entry.unwrap().file_name();
        let copy = example(name.to_str().unwrap());
        let report = check(&copy.path().join("ringgate.toml"));
        assert!(report.is_ok() && report.complaints.is_empty(), "{report}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn both_formats_of_the_scenario_give_the_same_catalog() {
    let copy = example("hello");
    let path = copy.path().join("ringgate.toml");
    let openapi = load(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"hello.openapi.yaml\"", "\"hello.swagger.yaml\""),
    )
    .unwrap();
    let swagger = load(&path).unwrap();
    assert_eq!(
        format!("{:?}", openapi.catalog),
        format!("{:?}", swagger.catalog)
    );
    let query = query("192.0.2.1", "GET", "/hello");
    let api = openapi.catalog.route(&query).unwrap();
    assert_eq!(
        (api.policy.api.as_str(), api.schemes, api.timeout),
        ("API01", Schemes::Https, Duration::from_secs(60))
    );
    assert_eq!(
        (api.retries, api.policy.idle_timeout),
        (1, Duration::from_secs(60))
    );
    assert_eq!(openapi.config.tls.certificates[0].names, ["localhost"]);
    // The two at once are API01 twice.
    std::fs::write(
        &path,
        text.replace("\"hello.openapi.yaml\"", "\"hello.*.yaml\""),
    )
    .unwrap();
    let codes: Vec<_> = check(&path)
        .complaints
        .iter()
        .map(|complaint| complaint.code)
        .collect();
    assert_eq!(codes, [Some("APIG.3301"), Some("APIG.3202")]);
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_check_reports_every_file_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[listeners]]\naddress = \"0.0.0.0:443\"\nprotocol = \"https\"\n[[certificates]]\ncertificate = \"none.pem\"\n\
                key = \"none.key\"\n[[definitions]]\nfiles = [\"*.yaml\", \"none/*.json\"]\n[limits]\nhalf = 1\n\
                [[domains]]\nname = \"a.b\"\ngroup = \"nobody\"\n";
    let path = write(&folder, "ringgate.toml", text);
    write(&folder, "a.yaml", "swagger: '2.0'\n");
    write(&folder, "b.yaml", "{");
    let report = check(&path);
    assert!(!report.is_ok());
    let base = folder.path().display().to_string();
    let text = report.to_string().replace(&format!("{base}/"), "");
    let starts: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(": ").unwrap_or((line, "")).0)
        .collect();
    assert_eq!(
        starts,
        [
            "a.yaml:1:1",
            "a.yaml:1:1",
            "b.yaml:1:1",
            "ringgate.toml:5:15",
            "ringgate.toml:6:7",
            "ringgate.toml:8:20",
            "ringgate.toml:10:1",
            "ringgate.toml:12:8",
            "7 errors, 1 warning",
        ],
        "{text}"
    );
    assert!(
        check(&folder.path().join("none.toml"))
            .to_string()
            .contains("none.toml: error: cannot be read")
    );
}

#[test]
fn a_good_check_says_what_would_be_served() {
    let copy = example("hello");
    assert_eq!(
        check(&copy.path().join("ringgate.toml")).to_string(),
        "ok: 1 API, 0 warnings"
    );
}

#[test]
fn a_path_is_copied_only_where_it_changes() {
    for path in ["/", "/hello", "/a//b", "/a.b/c..", "/~x;y=1"] {
        assert!(matches!(normalize(path), Ok(Cow::Borrowed(_))), "{path}");
    }
}

/// The normal form as a request would have to write it.
fn written(form: &[u8]) -> String {
    form.iter()
        .map(|byte| {
            if *byte == b'/' {
                "/".to_owned()
            } else {
                format!("%{byte:02x}")
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own_and_never_climbs(path in "/?([a-c.%/25eEfF]|%2e|%2F|\\.\\./|é){0,12}") {
        if let Ok(form) = normalize(&path) {
            prop_assert!(form.starts_with(b"/"));
            prop_assert!(form.split(|b| *b == b'/').all(|segment| segment != b"." && segment != b".."));
            let text = written(&form);
            let again = normalize(&text);
            prop_assert_eq!(again.as_deref(), Ok(&*form));
        }
    }

    #[test]
    fn encoding_keeps_what_is_matched(path in "/[ -~é]{0,12}") {
        let encoded = encode(&path);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'));
        prop_assert_eq!(encode(&encoded), encoded.clone());
    }

    #[test]
    fn routing_never_panics(host in ".{0,40}", method in "[A-Z]{0,8}", path in "\\PC{0,40}", stage in proptest::option::of(".{0,8}")) {
        let catalog = sample();
        let mut query = query(&host, &method, &path);
        query.stage = stage.as_deref();
        let _ = catalog.route(&query).is_ok();
        query.inbound = IpAddr::from([0; 16]);
        query.host = "api.example.com";
        let _ = catalog.route(&query).is_ok();
    }

    #[test]
    fn configurations_and_definitions_never_panic(text in "(\\[|\\]|\\{|\\}|=|:|\"|'|#|-|\n| |&a|\\*a|limits|paths|get|/a|1|true){0,40}") {
        let _ = Config::from_text("a.toml", &text).is_ok();
        let _ = definition::parse("a.yaml", &text, &[], &Config::base());
    }
}

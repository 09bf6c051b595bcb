//! From definitions to APIs: variables, duplicates, backends, forwarding.

use super::*;

#[test]
fn variables_are_filled_in_per_environment() {
    let catalog = sample();
    let api = catalog.apis().find(|api| api.name == "tested").unwrap();
    assert_eq!(
        http(api).members,
        [Member::new(Scheme::Http, "10.0.0.9", 9000)]
    );
    assert_eq!(http(api).path, BackendPath::fixed("/v2/x y"));
    assert_eq!(
        (api.group.as_str(), api.environment.as_str()),
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
        .map(|api| (http(api).policy.frames, http(api).policy.idle_end))
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
            backend: String::new(),
            address: String::new(),
            version: 0,
            idle_timeout: Duration::from_secs(60),
            idle_end: IdleEnd::Close,
            frames: FrameMode::Strict,
            message_bytes_max: 0,
        },
        timeout: Duration::from_secs(60),
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
        let api = catalog.apis().next().unwrap();
        assert_eq!(http(api).retries(api.method), expected, "{method} {count}");
    }
}

#[test]
fn what_is_served_is_listed_in_order() {
    let catalog = sample();
    let names: Vec<_> = catalog
        .apis()
        .map(|api| (api.environment.as_str(), api.name.as_str()))
        .collect();
    assert_eq!(names.first(), Some(&("RELEASE", "percent")));
    assert_eq!(names.last(), Some(&("TEST", "otherHello")));
    assert_eq!(names.len(), 11);
}

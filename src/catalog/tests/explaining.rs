//! What `explain` says about every candidate.

use super::*;

fn explained(catalog: &Catalog, query: &Query<'_>) -> String {
    catalog.explain(query).to_string()
}

#[test]
fn every_candidate_is_told_what_it_lacked() {
    let catalog = sample();
    assert_eq!(
        explained(
            &catalog,
            &query("api.example.com:443", "GET", "/x/../%68ello")
        ),
        "host: group DEFAULT, by the domain api.example.com\n\
         environment: RELEASE\n\
         path: /hello\n\
         API: hello\n\
         \x20 + hello, GET /hello: wins\n\
         \x20 - helloAny, ANY /hello: fits, but a named method goes before ANY\n\
         \x20 - otherHello, GET /hello: fits, but belongs to group other in RELEASE\n\
         \x20 - otherHello, GET /hello: fits, but belongs to group other in TEST\n\
         \x20 - helloSlash, GET /hello/: the path differs at segment 2\n\
         \x20 - percent, GET /100%: the path differs at segment 1\n\
         \x20 - doubled, GET /a//b: the path differs at segment 1\n\
         \x20 - posted, POST /post: the path differs at segment 1\n\
         \x20 - space, GET /sp%20ace: the path differs at segment 1\n\
         \x20 - letters, GET /wéird: the path differs at segment 1\n"
    );
}

#[test]
fn a_request_that_leads_nowhere_is_told_where_it_would() {
    let catalog = sample();
    let mut wrong_scheme = query("192.0.2.1", "GET", "/hello");
    wrong_scheme.scheme = Scheme::Http;
    let mut stage = query("192.0.2.1", "GET", "/hello");
    stage.stage = Some("TEST");
    for (query, host, said) in [
        (
            query("192.0.2.1", "GET", "/only/test"),
            "group DEFAULT, by an inbound address",
            "  - tested, GET /only/test: fits, but is published in TEST",
        ),
        (
            wrong_scheme,
            "group DEFAULT, by an inbound address",
            "  - hello, GET /hello: served over HTTPS only",
        ),
        (
            query("192.0.2.1", "GET", "/post"),
            "group DEFAULT, by an inbound address",
            "  - posted, POST /post: other method",
        ),
        (
            stage,
            "group DEFAULT, by an inbound address",
            "  - hello, GET /hello: fits, but is published in RELEASE",
        ),
        (
            query("a.example.com", "GET", "/a//b"),
            "group other, by the domain *.example.com",
            "  - doubled, GET /a//b: fits, but belongs to group DEFAULT in RELEASE",
        ),
        (
            query("nobody.example", "GET", "/a//b"),
            "no group has it",
            "  - doubled, GET /a//b: fits, but belongs to group DEFAULT in RELEASE",
        ),
        (
            query("a b", "GET", "/"),
            "not a host",
            "API: none: not a host or path that can be routed",
        ),
        (
            query("a", "GET", "/a/..;/b"),
            "no group has it",
            "path: refused",
        ),
    ] {
        let text = explained(&catalog, &query);
        assert!(text.contains(host) && text.contains(said), "{text}");
        assert!(text.contains("API: none"), "{text}");
    }
}

#[test]
fn rules_and_modes_are_named() {
    let catalog = matching::catalog(&[("GET", "/a/b"), ("GET", "/a*"), ("GET", "/a/b*")]);
    let text = explained(&catalog, &query("192.0.2.1", "GET", "/a/b"));
    let lost = "  - 2, GET /a/b (SWA): fits, but an exact path goes before a prefix";
    assert!(text.contains(lost), "{text}");
    let text = explained(&catalog, &query("192.0.2.1", "GET", "/a/b/c"));
    let lost = "  - 1, GET /a (SWA): fits, but the winner's prefix is longer";
    assert!(
        text.contains("  + 2, GET /a/b (SWA): wins") && text.contains(lost),
        "{text}"
    );
}

#[test]
fn a_long_list_is_cut() {
    let names: Vec<String> = (0..80).map(|index| format!("api{index}")).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    let operations: Vec<_> = names
        .iter()
        .zip(&paths)
        .map(|(name, path)| (path.as_str(), "get", name.as_str(), "https"))
        .collect();
    let catalog = build(&config(""), &[(&file("DEFAULT", &operations), RELEASE)]).unwrap();
    let explanation = catalog.explain(&query("192.0.2.1", "GET", "/api7"));
    assert_eq!(
        (explanation.candidates.len(), explanation.left_out),
        (50, 30)
    );
    assert_eq!(explanation.candidates[0].api.name, "api7");
}

//! Domains on their listeners, debugging domains and their counts (spec 2.1).

use std::time::SystemTime;

use super::*;
use crate::config::{DebugDomain, Domain, DomainPort};
use crate::document::Place;

fn domain(name: &str, group: &str, http: DomainPort, https: DomainPort) -> Domain {
    Domain {
        name: name.to_owned(),
        group: group.to_owned(),
        http,
        https,
        place: Place::whole("ringgate.toml"),
    }
}

fn debug_domain(name: &str, group: &str, calls_per_day: u32) -> DebugDomain {
    DebugDomain {
        name: name.to_owned(),
        group: group.to_owned(),
        calls_per_day,
        place: Place::whole("ringgate.toml"),
    }
}

fn two_groups(config: &Config, quotas: &mut Carried) -> Catalog {
    let definitions: Vec<_> = ["one", "two"]
        .iter()
        .filter_map(|group| {
            let group = format!("group-{group}");
            let text = file(&group, &[("/a", "get", &group, "http, https")]);
            definition::parse("a.yaml", &text, &[RELEASE.to_owned()], config).0
        })
        .collect();
    Catalog::build_with(config, &definitions, quotas).unwrap()
}

#[test]
fn a_domain_is_served_on_the_listeners_it_names() {
    use DomainPort::{Every, None, Only};
    let mut config = Config::base();
    config.routing.domains = vec![
        domain("both.example", "group-one", Only(8080), Only(8443)),
        domain("both.example", "group-two", Every, Every),
        domain("ports.example.org", "group-one", None, Only(8443)),
        domain("*.example.org", "group-two", Only(8080), Every),
        domain("empty.example.org", "group-none", Every, Every),
    ];
    let catalog = two_groups(&config, &mut Carried::default());
    for (scheme, port, host, expected) in [
        (Scheme::Https, 8443, "both.example", Ok("group-one")),
        (Scheme::Https, 443, "both.example", Ok("group-two")),
        (Scheme::Http, 8080, "both.example", Ok("group-one")),
        (Scheme::Http, 8443, "both.example", Ok("group-two")),
        (Scheme::Https, 8443, "ports.example.org", Ok("group-one")),
        // The port in the field selects nothing.
        (Scheme::Https, 8443, "ports.example.org:1", Ok("group-one")),
        (Scheme::Https, 443, "ports.example.org", Ok("group-two")),
        (Scheme::Http, 8080, "ports.example.org", Ok("group-two")),
        (
            Scheme::Http,
            80,
            "ports.example.org",
            Err(RouteError::NoRoute),
        ),
        (
            Scheme::Https,
            443,
            "empty.example.org",
            Err(RouteError::NoRoute),
        ),
    ] {
        let mut query = query(host, "GET", "/a");
        query.scheme = scheme;
        query.inbound.set_port(port);
        assert_eq!(
            routed(&catalog, &query),
            expected,
            "{scheme:?} {port} {host}"
        );
    }
}

#[test]
fn calls_by_a_debugging_domain_are_counted_per_group_and_over_reloads() {
    let mut config = Config::base();
    config.routing.domains = vec![domain(
        "*.example",
        "group-one",
        DomainPort::Every,
        DomainPort::Every,
    )];
    config.routing.debug_domains = vec![
        debug_domain("one.example", "group-one", 3),
        debug_domain("uno.example", "group-one", 3),
        debug_domain("two.example", "group-two", 3),
    ];
    let mut quotas = Carried::default();
    let take = |catalog: &Catalog, host: &str| {
        let routed = catalog.route(&query(host, "GET", "/a")).unwrap();
        let calls = routed.debug.map(|calls| calls.take(SystemTime::UNIX_EPOCH));
        (routed.api.name.clone(), calls)
    };
    let old = two_groups(&config, &mut quotas);
    assert_eq!(take(&old, "other.example"), ("group-one".to_owned(), None));
    assert_eq!(
        take(&old, "ONE.example."),
        ("group-one".to_owned(), Some(true))
    );
    assert_eq!(
        take(&old, "uno.example"),
        ("group-one".to_owned(), Some(true))
    );
    let new = two_groups(&config, &mut quotas);
    drop(old);
    assert_eq!(
        take(&new, "one.example"),
        ("group-one".to_owned(), Some(true))
    );
    assert_eq!(
        take(&new, "one.example"),
        ("group-one".to_owned(), Some(false))
    );
    assert_eq!(
        take(&new, "two.example"),
        ("group-two".to_owned(), Some(true))
    );
}

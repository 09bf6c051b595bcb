use crate::config::text::tests::{check, complaints};
use crate::config::{Config, DomainPort};
use crate::document::Complaint;

const LISTENERS: &str = r#"
listeners = [
  { address = "0.0.0.0:80", protocol = "http" },
  { address = "0.0.0.0:8080", protocol = "http" },
]
definitions = [{ files = ["a.yaml"] }]
"#;

fn read(text: &str) -> Result<Config, Vec<Complaint>> {
    Config::from_text("ringgate.toml", &format!("{LISTENERS}{text}"))
}

#[test]
fn domains_have_ports_of_listeners() {
    let config = read(
        r#"
[[domains]]
name = "plain.example.com"
group = "G"
[[domains]]
name = "own.example.com"
group = "G"
http_port = 8080
https_port = "off"
[[domains]]
name = "own.example.com"
group = "G"
http_port = 80
https_port = -1
"#,
    )
    .unwrap();
    let ports: Vec<_> = config
        .routing
        .domains
        .iter()
        .map(|domain| (domain.http, domain.https))
        .collect();
    assert_eq!(
        ports,
        [
            (DomainPort::Every, DomainPort::Every),
            (DomainPort::Only(8080), DomainPort::None),
            (DomainPort::Only(80), DomainPort::None),
        ]
    );
}

#[test]
fn wrong_ports_are_refused() {
    for (ports, column, key, said) in [
        ("http_port = 80", 1, "", "both or not at all"),
        ("https_port = \"off\"", 1, "", "both or not at all"),
        (
            "http_port = \"off\"\nhttps_port = -1",
            1,
            "",
            "served nowhere",
        ),
        (
            "http_port = 81\nhttps_port = -1",
            13,
            ".http_port",
            "no http listener has port 81; write one of the ports of http listeners (80)",
        ),
        (
            "https_port = 443\nhttp_port = 80",
            14,
            ".https_port",
            "no https listener has port 443; write \"off\", or add [[listeners]]",
        ),
        (
            "http_port = 0\nhttps_port = -1",
            13,
            ".http_port",
            "0 is too small; 1 to 65535 is allowed",
        ),
        (
            "http_port = \"on\"\nhttps_port = -1",
            13,
            ".http_port",
            "\"on\" is not a port; write a number, such as 8443, or \"off\"",
        ),
    ] {
        let line = if column == 1 { 1 } else { 4 };
        check(
            &format!("[[domains]]\nname = \"a.b\"\ngroup = \"G\"\n{ports}"),
            line,
            column,
            &format!("domains[0]{key}"),
            said,
        );
    }
}

#[test]
fn a_name_is_bound_once_for_each_port() {
    let domain = |group: &str, http: &str| {
        format!(
            "[[domains]]\nname = \"a.b\"\ngroup = \"{group}\"\nhttp_port = {http}\nhttps_port = \"off\"\n"
        )
    };
    let every = "[[domains]]\nname = \"a.b\"\ngroup = \"G\"\n";
    for (text, code) in [
        (domain("G", "80") + &domain("G", "80"), "APIG.2050"),
        (domain("G", "80") + every, "APIG.2050"),
        (domain("G", "80") + &domain("H", "8080"), "APIG.3305"),
    ] {
        let found = read(&text).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, Some(code), "{text}");
        assert_eq!(found[0].key, "domains[1].name");
    }
    assert!(read(&(domain("G", "80") + &domain("G", "8080"))).is_ok());
}

#[test]
fn a_wrong_listener_is_the_only_mistake() {
    let text = "listeners = [{ address = \"0.0.0.0\", protocol = \"http\" }]\ndefinitions = [{ files = [\"a\"] }]\n\
                [[domains]]\nname = \"a.b\"\ngroup = \"G\"\nhttp_port = 80\nhttps_port = \"off\"";
    let found = Config::from_text("ringgate.toml", text).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn debug_domains_are_read() {
    let config = read(
        r#"
[[groups]]
name = "G"
debug_domain = "Debug.example.com"
[[groups]]
name = "H"
debug_domain = "debug2.example.com"
debug_calls_per_day = 5
"#,
    )
    .unwrap();
    let domains: Vec<_> = config
        .routing
        .debug_domains
        .iter()
        .map(|domain| {
            (
                domain.group.as_str(),
                domain.name.as_str(),
                domain.calls_per_day,
            )
        })
        .collect();
    assert_eq!(
        domains,
        [
            ("G", "debug.example.com", 1000),
            ("H", "debug2.example.com", 5)
        ]
    );
}

#[test]
fn a_debug_domain_is_nobody_elses() {
    for (text, line, column, key, said) in [
        (
            "[[groups]]\nname = \"G\"",
            1,
            1,
            "groups[0]",
            "`debug_domain` is missing",
        ),
        (
            "[[groups]]\nname = \"G\"\ndebug_domain = \"*.b\"",
            3,
            16,
            "groups[0].debug_domain",
            "without wildcard",
        ),
        (
            "[[groups]]\nname = \"G\"\ndebug_domain = \"a.b\"\ndebug_calls_per_day = 0",
            4,
            23,
            "groups[0].debug_calls_per_day",
            "0 is too small",
        ),
        (
            "[[domains]]\nname = \"a.b\"\ngroup = \"G\"\n[[groups]]\nname = \"G\"\ndebug_domain = \"A.b\"",
            6,
            16,
            "groups[0].debug_domain",
            "a.b leads to group G already",
        ),
        (
            "[[groups]]\nname = \"G\"\ndebug_domain = \"a.b\"\n[[groups]]\nname = \"H\"\ndebug_domain = \"a.b\"",
            6,
            16,
            "groups[1].debug_domain",
            "a.b leads to group G already",
        ),
        (
            "[[groups]]\nname = \"G\"\ndebug_domain = \"a.b\"\n[[groups]]\nname = \"G\"\ndebug_domain = \"b.b\"",
            6,
            16,
            "groups[1].debug_domain",
            "a table for group G already",
        ),
    ] {
        check(text, line, column, key, said);
    }
    // A wildcard that covers it is no collision: the exact name wins.
    assert_eq!(
        complaints(
            "[[domains]]\nname = \"*.b\"\ngroup = \"H\"\n[[groups]]\nname = \"G\"\ndebug_domain = \"a.b\""
        ),
        []
    );
}

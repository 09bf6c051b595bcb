//! What is read from definitions, and the mistakes found in them.

mod backends;
mod exporting;
mod parameters;
mod policies;
mod responses;
mod unsupported;

use std::time::Duration;

use proptest::prelude::*;

use super::{ApiDefinition, Definition, Method, Schemes, parse};
use crate::config::{Config, OnUnsupported, Scheme};
use crate::document::{Complaint, Severity};

const RELEASE: [&str; 1] = ["RELEASE"];

/// A Swagger file with one operation, whose further members stand at `$members` and those of its endpoints at
/// `$endpoints`; each on a line of its own.
const ONE: &str = "swagger: '2.0'
info: {title: DEFAULT}
paths:
  /hello:
    get:
      operationId: API01
      $members
      x-apigateway-backend:
        type: HTTP
        httpEndpoints:
          address: '127.0.0.1:9000'
          scheme: http
          method: GET
          path: /
          $endpoints
";

fn one(members: &str, endpoints: &str) -> String {
    ONE.replace("$members", members)
        .replace("$endpoints", endpoints)
}

fn read(text: &str, config: &Config) -> (Option<Definition>, Vec<Complaint>) {
    parse("api.yaml", text, &RELEASE.map(str::to_owned), config)
}

fn apis(text: &str) -> Vec<ApiDefinition> {
    let (definition, complaints) = read(text, &Config::base());
    assert_eq!(complaints, [], "{text}");
    definition.unwrap().apis
}

/// One complaint: line, key, and a part of what is said. An error serves nothing, a warning does.
fn check(text: &str, severity: Severity, line: u32, key: &str, said: &str) {
    let (definition, complaints) = read(text, &Config::base());
    assert_eq!(complaints.len(), 1, "{text}\n{complaints:#?}");
    let complaint = &complaints[0];
    assert_eq!(
        (complaint.line, complaint.key.as_str(), complaint.severity),
        (line, key, severity),
        "{complaint}"
    );
    assert!(complaint.to_string().contains(said), "{complaint}");
    assert!(!complaint.remedy.is_empty() && complaint.column > 0);
    let served = definition.is_some_and(|definition| !definition.apis.is_empty());
    assert_eq!(served, severity == Severity::Warning, "{complaint}");
}

#[test]
fn the_scenario_is_read_from_both_formats() {
    for text in [
        include_str!("../../../examples/hello/hello.openapi.yaml"),
        include_str!("../../../examples/hello/hello.swagger.yaml"),
    ] {
        let apis = apis(text);
        assert_eq!(apis.len(), 1);
        let api = &apis[0];
        assert_eq!(
            (api.name.as_str(), api.method, api.path.as_str()),
            ("API01", Method::Get, "/hello")
        );
        assert_eq!(api.schemes, Schemes::Https);
        let backend = &api.backend;
        assert_eq!(
            (
                backend.http().unwrap().scheme,
                backend.http().unwrap().method,
                backend.http().unwrap().retry_count
            ),
            (Scheme::Http, Method::Get, -1)
        );
        assert_eq!(
            (
                backend.http().unwrap().address.text.as_str(),
                backend.http().unwrap().path.text.as_str()
            ),
            ("127.0.0.1:9000", "/")
        );
        assert_eq!(backend.http().unwrap().timeout, Duration::from_secs(60));
    }
}

#[test]
fn json_is_read_as_well() {
    let text = r##"{"openapi": "3.0.1", "info": {"title": "DEFAULT"}, "paths": {"/a": {"get": {"operationId": "API01",
        "x-apigateway-backend": {"type": "http", "httpEndpoints": {"address": ["#host#:80"], "scheme": "HTTP",
        "method": "any", "path": "/\u0061\ud83d\ude00", "retryCount": 3, "timeout": "100"}}}}}}"##;
    let api = &apis(text)[0];
    assert_eq!(
        (
            api.backend.http().unwrap().path.text.as_str(),
            api.backend.http().unwrap().retry_count
        ),
        ("/a😀", 3)
    );
    assert_eq!(
        (
            api.backend.http().unwrap().method,
            api.backend.http().unwrap().timeout
        ),
        (Method::Any, Duration::from_millis(100))
    );
    assert_eq!(api.backend.http().unwrap().address.text, "#host#:80");
}

#[test]
fn defaults_are_those_of_the_import_format() {
    let api = &apis(&one("x-apigateway-cors: false", "description: x"))[0];
    assert_eq!(
        (api.schemes, api.backend.http().unwrap().timeout),
        (Schemes::Https, Duration::from_secs(5))
    );
    assert_eq!(api.backend.http().unwrap().retry_count, -1);
}

#[test]
fn the_protocol_comes_from_the_nearest_schemes() {
    for (members, expected) in [
        ("schemes: [http]", Schemes::Http),
        ("schemes: [https]", Schemes::Https),
        ("schemes: [HTTP, https]", Schemes::Both),
        ("schemes: [ws, wss]", Schemes::Both),
        ("schemes: []", Schemes::Https),
    ] {
        assert_eq!(
            apis(&one(members, "description: x"))[0].schemes,
            expected,
            "{members}"
        );
    }
    let with_root = format!("schemes: [http]\n{}", one("tags: []", "description: x"));
    assert_eq!(apis(&with_root)[0].schemes, Schemes::Http);
    let operation = "operationId: API01, x-apigateway-backend: {type: HTTP, httpEndpoints: {address: a, scheme: http, \
                     method: GET, path: /}}";
    for (root, path, own, expected) in [
        (
            "http://a",
            "https://a",
            "https://a}, {url: wss://b",
            Schemes::Https,
        ),
        (
            "http://a",
            "http://a",
            "https://a}, {url: ws://b",
            Schemes::Both,
        ),
        ("http://a", "https://a", "", Schemes::Https),
        ("http://a", "", "", Schemes::Http),
        ("", "", "", Schemes::Https),
    ] {
        let servers = |url: &str| {
            if url.is_empty() {
                "[]".to_owned()
            } else {
                format!("[{{url: {url}}}]")
            }
        };
        let text = format!(
            "openapi: 3.0.0\ninfo: {{title: DEFAULT}}\nservers: {}\npaths: {{/a: {{servers: {}, get: {{servers: {}, \
             {operation}}}}}}}",
            servers(root),
            servers(path),
            servers(own)
        );
        assert_eq!(apis(&text)[0].schemes, expected, "{text}");
    }
}

#[test]
fn the_base_path_and_any_method_count() {
    let text = one("tags: []", "description: x")
        .replace("paths:", "basePath: /v1/\npaths:")
        .replace("get:", "x-apigateway-any-method:");
    let api = &apis(&text)[0];
    assert_eq!((api.path.as_str(), api.method), ("/v1/hello", Method::Any));
}

#[test]
fn mistakes_in_operations_have_place_key_and_code() {
    use Severity::{Error, Warning};
    let operation = "paths[\"/hello\"].get";
    let endpoints = format!("{operation}.x-apigateway-backend.httpEndpoints");
    for (members, in_endpoints, severity, line, key, said) in [
        (
            "x-apigateway-match-mode: exact",
            "",
            Error,
            7,
            ".x-apigateway-match-mode",
            "(APIG.2011)",
        ),
        (
            "x-apigateway-request-type: secret",
            "",
            Error,
            7,
            ".x-apigateway-request-type",
            "allowed: \"public\"",
        ),
        (
            "x-apigateway-cors: 'no'",
            "",
            Error,
            7,
            ".x-apigateway-cors",
            "true or false",
        ),
        (
            "schemes: [ftp]",
            "",
            Error,
            7,
            ".schemes[0]",
            "allowed: \"http\"",
        ),
        (
            "security: [{none: []}]",
            "",
            Error,
            7,
            ".security[0].none",
            "no security scheme `none`",
        ),
        (
            "x-apigateway-mach-mode: SWA",
            "",
            Warning,
            7,
            ".x-apigateway-mach-mode",
            "did you mean `x-apigateway-match-mode`?",
        ),
        (
            "x-apigatway-cors: true",
            "",
            Warning,
            7,
            ".x-apigatway-cors",
            "did you mean `x-apigateway-cors`?",
        ),
        (
            "x-apigateway-invented: 1",
            "",
            Warning,
            7,
            ".x-apigateway-invented",
            "unknown key",
        ),
        (
            "sumary: x",
            "",
            Warning,
            7,
            ".sumary",
            "did you mean `summary`?",
        ),
        (
            "",
            "timeout: 0",
            Error,
            15,
            ".timeout",
            "0 is too small; 1 to 60000 is allowed (milliseconds",
        ),
        ("", "timeout: 60001", Error, 15, ".timeout", "(APIG.2003)"),
        (
            "",
            "timeout: soon",
            Error,
            15,
            ".timeout",
            "\"soon\" is not an integer",
        ),
        (
            "",
            "retryCount: 11",
            Error,
            15,
            ".retryCount",
            "-1 to 10 is allowed (APIG.2003)",
        ),
        (
            "",
            "enableClientSsl: true",
            Error,
            15,
            ".enableClientSsl",
            "(APIG.3717)",
        ),
        (
            "",
            "tiemout: 5",
            Warning,
            15,
            ".tiemout",
            "did you mean `timeout`?",
        ),
    ] {
        let text = one(
            if members.is_empty() {
                "tags: []"
            } else {
                members
            },
            if in_endpoints.is_empty() {
                "description: x"
            } else {
                in_endpoints
            },
        );
        let path = if members.is_empty() {
            endpoints.as_str()
        } else {
            operation
        };
        // A security scheme that is missing is also one that cannot be enforced.
        if members.starts_with("security") {
            let (_, complaints) = read(&text, &Config::base());
            assert!(
                complaints
                    .iter()
                    .any(|c| c.key.ends_with(key) && c.to_string().contains(said)),
                "{complaints:?}"
            );
            continue;
        }
        // Both places where a misspelt extension of ours may be known or not say the name.
        check(&text, severity, line, &format!("{path}{key}"), said);
    }
}

#[test]
fn mistakes_in_what_is_mandatory_are_found() {
    let whole = one("tags: []", "description: x");
    for (from, to, key, code) in [
        (
            "      operationId: API01\n",
            "",
            "paths[\"/hello\"].get",
            "APIG.2001",
        ),
        (
            "API01",
            "_",
            "paths[\"/hello\"].get.operationId",
            "APIG.2012",
        ),
        ("title: DEFAULT", "title: x", "info.title", "APIG.2044"),
        ("{title: DEFAULT}", "{version: x}", "info", "APIG.2001"),
        ("'2.0'", "'1.2'", "swagger", "APIG.3601"),
        ("swagger: '2.0'\n", "", "", "APIG.3601"),
        (
            "          address: '127.0.0.1:9000'\n",
            "",
            "paths[\"/hello\"].get.x-apigateway-backend.httpEndpoints",
            "APIG.2001",
        ),
        (
            "'127.0.0.1:9000'",
            "[a, b]",
            "paths[\"/hello\"].get.x-apigateway-backend.httpEndpoints.address",
            "APIG.2012",
        ),
        (
            "'127.0.0.1:9000'",
            "'#x'",
            "paths[\"/hello\"].get.x-apigateway-backend.httpEndpoints.address",
            "APIG.2012",
        ),
        (
            "scheme: http",
            "scheme: ftp",
            "paths[\"/hello\"].get.x-apigateway-backend.httpEndpoints.scheme",
            "APIG.2011",
        ),
        (
            "path: /",
            "path: '/{a}'",
            "paths[\"/hello\"].get.x-apigateway-backend.httpEndpoints.path",
            "APIG.2027",
        ),
        (
            "type: HTTP",
            "type: HTP",
            "paths[\"/hello\"].get.x-apigateway-backend.type",
            "APIG.2011",
        ),
        ("  /hello:", "  hello:", "paths.hello", "APIG.2012"),
        ("  /hello:", "  /hel?lo:", "paths[\"/hel?lo\"]", "APIG.2012"),
        (
            "    get:",
            "    trace:",
            "paths[\"/hello\"].trace",
            "APIG.2012",
        ),
        (
            "type: HTTP\n",
            "type: HTTP\n        mockEndpoints: {a: 1}\n",
            "paths[\"/hello\"].get.x-apigateway-backend.mockEndpoints",
            "APIG.2012",
        ),
    ] {
        assert!(whole.contains(from), "{from}");
        let (definition, complaints) = read(&whole.replace(from, to), &Config::base());
        let found = complaints
            .iter()
            .find(|c| c.key == key && c.code == Some(code));
        assert!(
            found.is_some_and(Complaint::is_error),
            "{from} -> {to}: {complaints:#?}"
        );
        assert!(
            definition.is_none_or(|definition| definition.apis.is_empty()),
            "{from}"
        );
    }
}

#[test]
fn files_that_are_none_are_refused() {
    for (text, code) in [
        ("", Some("APIG.3609")),
        ("a: [", Some("APIG.3600")),
        ("a: 1\na: 2\n", Some("APIG.3600")),
        ("- 1", Some("APIG.2012")),
        ("a: &a [x]\nb: *c\n", Some("APIG.3600")),
        (
            "openapi: 3.1.0\ninfo: {title: DEFAULT}\npaths: {}\n",
            Some("APIG.3601"),
        ),
    ] {
        let (definition, complaints) = read(text, &Config::base());
        assert!(definition.is_none(), "{text}");
        assert_eq!(
            complaints.first().and_then(|c| c.code),
            code,
            "{text}: {complaints:?}"
        );
    }
}

#[test]
fn what_is_called_json_is_json() {
    let json = r#"{"swagger": "2.0", "info": {"title": "DEFAULT"}, "paths": {}}"#;
    for (file, text, complaint) in [
        ("a.json", json.to_owned(), None),
        ("a.json", format!("\u{feff}{json}"), None),
        ("a.json", json.replace(", ", ",\n\t"), None),
        ("a.json", json.replace(": ", "\t:\r\n\t\t"), None),
        (
            "a.json",
            json.replace("{}}", "{},}"),
            Some((1, "key must be a string")),
        ),
        (
            "a.json",
            json.replace("\"2.0\"", "2.0 # x"),
            Some((1, "expected")),
        ),
        ("a.yaml", json.replace("{}}", "{},}"), None),
        (
            "a.json",
            json.replace("\"paths\"", "\n\"info\""),
            Some((2, "duplicate")),
        ),
        (
            "a.yaml",
            "swagger: '2.0'\nswagger: '2.0'\n".to_owned(),
            Some((2, "duplicate")),
        ),
    ] {
        let (definition, complaints) = parse(file, &text, &[], &Config::base());
        let found = complaints.first().map(|c| (c.line, c.problem.clone()));
        match complaint {
            None => assert!(
                definition.is_some() && complaints.is_empty(),
                "{text:?} {complaints:?}"
            ),
            Some((line, said)) => {
                let (at, problem) = found.unwrap();
                assert!(
                    at == line && problem.contains(said),
                    "{text:?} {complaints:?}"
                );
                assert_eq!(complaints[0].code, Some("APIG.3600"));
            }
        }
    }
}

/// The examples, in which lines are lost, doubled and swapped, and words replaced.
fn damaged() -> impl Strategy<Value = String> {
    let texts = [
        include_str!("../../../examples/catalogue/chat.openapi.yaml"),
        include_str!("../../../examples/catalogue/shop.openapi.yaml"),
        include_str!("../../../examples/catalogue/shop-orders.swagger.yaml"),
        include_str!("../../../examples/hello/hello.swagger.yaml"),
    ];
    let words = [
        "", "0", "-1", "null", "true", "[]", "{}", "{a", "'#'", "{x}", "1e400", "é", "name",
        "path", "$ref",
    ];
    let damage = (
        any::<prop::sample::Index>(),
        0..5usize,
        any::<prop::sample::Index>(),
        prop::sample::select(words.to_vec()),
    );
    (
        prop::sample::select(texts.to_vec()),
        prop::collection::vec(damage, 1..4),
    )
        .prop_map(|(text, damages)| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for (line, how, word, by) in damages {
                let at = line.index(lines.len());
                match how {
                    0 => drop(lines.remove(at)),
                    1 => lines.insert(at, lines[at].clone()),
                    2 => lines.swap(at, word.index(text.lines().count()) % 5),
                    _ => {
                        let words: Vec<String> = lines[at].split(' ').map(str::to_owned).collect();
                        let chosen = word.index(words.len());
                        let replaced = words
                            .iter()
                            .enumerate()
                            .map(|(i, w)| if i == chosen { by } else { w });
                        lines[at] = replaced.collect::<Vec<_>>().join(" ");
                    }
                }
            }
            lines.join("\n")
        })
}

proptest! {
    #[test]
    fn damaged_files_are_served_or_complained_about(text in damaged()) {
        let (definition, complaints) = read(&text, &Config::base());
        let errors = complaints.iter().filter(|c| c.is_error()).count();
        let complete = definition.is_some_and(|definition| definition.left_out.is_empty());
        prop_assert!(complete || errors > 0, "{complaints:#?}\n{text}");
        prop_assert!(complaints.iter().all(|c| !c.remedy.is_empty() && !c.problem.is_empty()));
    }
}

#[test]
fn aliases_that_explode_are_refused_at_once() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            previous.trim_end_matches(", ")
        ));
    }
    let (definition, complaints) = read(&text, &Config::base());
    assert!(
        definition.is_none() && complaints[0].code == Some("APIG.3600"),
        "{complaints:?}"
    );
}

/// One complaint about a member of `/hello`: the end of its key, its code, and a part of what is said.
fn finds(text: &str, key: &str, code: &str, said: &str) {
    finds_with(text, &Config::base(), key, code, said);
}

fn finds_with(text: &str, config: &Config, key: &str, code: &str, said: &str) {
    let (_, complaints) = read(text, config);
    assert_eq!(complaints.len(), 1, "{text}\n{complaints:#?}");
    let complaint = &complaints[0];
    assert!(complaint.key.ends_with(key), "{complaint}\n{text}");
    assert_eq!(complaint.code.unwrap_or(""), code, "{complaint}\n{text}");
    assert_eq!(complaint.is_error(), !code.is_empty(), "{complaint}");
    assert!(complaint.to_string().contains(said), "{complaint}\n{text}");
    assert!(complaint.line > 0 && complaint.column > 0 && !complaint.remedy.is_empty());
}

#[test]
fn a_backend_that_no_websocket_can_pass_is_a_warning() {
    let text = one("tags: []", "description: x").replace("method: GET", "method: POST");
    check(
        &text,
        Severity::Warning,
        6,
        "paths[\"/hello\"].get",
        "no WebSocket can pass",
    );
}

#[test]
fn a_higher_ceiling_allows_longer_timeouts() {
    let mut config = Config::base();
    config.definitions.backend_timeout_max = Duration::from_secs(600);
    let (definition, complaints) = read(&one("tags: []", "timeout: 600000"), &config);
    assert_eq!(complaints, []);
    assert_eq!(
        definition.unwrap().apis[0].backend.http().unwrap().timeout,
        Duration::from_secs(600)
    );
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    let text = one(
        "x-apigateway-cors: 5",
        "timeout: 0\n          retryCount: 99",
    )
    .replace("scheme: http", "scheme: gopher")
    .replace("title: DEFAULT", "title: x");
    let (_, complaints) = read(&text, &Config::base());
    assert_eq!(
        complaints.iter().filter(|c| c.is_error()).count(),
        5,
        "{complaints:#?}"
    );
}

#[test]
fn an_operation_without_a_right_name_is_read_to_its_end() {
    let named = one("x-apigateway-cors: 5", "timeout: 0");
    for text in [
        named.replace("operationId: API01", "operationId: x"),
        named.replace("operationId: API01", "summary: nameless"),
    ] {
        let (definition, complaints) = read(&text, &Config::base());
        let codes: Vec<_> = complaints.iter().map(|c| c.code).collect();
        assert_eq!(codes.len(), 3, "{complaints:#?}");
        assert!(codes.contains(&Some("APIG.2002")), "{complaints:#?}");
        assert!(definition.is_none_or(|definition| definition.apis.is_empty()));
    }
}

//! The command on the reference scenario and on mistakes of the command line.

use std::path::Path;

use super::*;
use crate::cli::ConfigFile;

const CONFIG: &str = r#"
listeners = [{ address = "0.0.0.0:8080", protocol = "http" }, { address = "127.0.0.1:8081", protocol = "http" }]
definitions = [{ files = ["a.yaml"] }]
routing = { inbound_addresses = ["203.0.113.10"] }
domains = [{ name = "api.example.com", group = "DEFAULT" }]
"#;

const DEFINITION: &str = "
swagger: '2.0'
info: {title: DEFAULT}
schemes: [http]
paths:
  /hello: {get: {operationId: hello, x-apigateway-backend: {type: HTTP, httpEndpoints: {
    address: 'backend:9000', scheme: http, method: GET, path: /v1, timeout: 60000}}}}
  /post: {x-apigateway-any-method: {operationId: posted, x-apigateway-backend: {type: HTTP, httpEndpoints: {
    address: 'backend:9000', scheme: http, method: POST, path: /post, timeout: 60000}}}}
  /secure: {get: {operationId: secure, schemes: [https], x-apigateway-backend: {type: HTTP, httpEndpoints: {
    address: 'backend:9000', scheme: http, method: GET, path: /, timeout: 60000}}}}
  /chosen:
    get:
      operationId: chosen
      parameters: [{name: room, in: query, type: string}, {name: age, in: query, type: string}]
      x-apigateway-backend: {type: HTTP, httpEndpoints: {
        address: 'own:9000', scheme: http, method: GET, path: /, timeout: 60000}}
      x-apigateway-backend-policies:
        - {type: HTTP, name: both, effect-mode: ALL, httpEndpoints: {address: 'both:1', scheme: http, method: GET,
           path: /}, conditions: [{type: equal, value: red, origin: request, parameter: room},
           {type: pattern, value: '^[0-9]+$', origin: request, parameter: age}]}
        - {type: HTTP, name: either, httpEndpoints: {address: 'either:1', scheme: http, method: GET, path: /},
           conditions: [{type: enum, value: 'red,blue', origin: request, parameter: room},
           {type: enum, value: '198.51.100.0/24', origin: source}]}
        - {type: HTTP, name: cookie, httpEndpoints: {address: 'cookie:1', scheme: https, method: GET, path: /},
           conditions: [{type: equal, value: b, origin: cookie, parameter: a}]}
        - {type: HTTP, name: whole, httpEndpoints: {address: 'whole:1', scheme: http, method: GET, path: /},
           conditions: [{type: equal, value: HEAD, origin: system, parameter: req_method}]}
";

fn explained(url: &str, change: impl FnOnce(&mut Explain)) -> Result<Account, String> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringgate.toml");
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(folder.path().join("a.yaml"), DEFINITION).unwrap();
    let mut explain = Explain {
        file: ConfigFile { config },
        method: "GET".to_owned(),
        header: Vec::new(),
        client: None,
        inbound: None,
        url: url.parse()?,
    };
    change(&mut explain);
    account(&explain)
}

#[test]
fn a_request_is_followed_from_listener_to_backend() {
    let account = explained("ws://127.0.0.1:8081/x/../hello?a=b", |explain| {
        explain.header = vec![
            "X-Stage: RELEASE".parse().unwrap(),
            "Origin: null".parse().unwrap(),
        ];
    })
    .unwrap();
    assert!(account.served);
    assert_eq!(
        account.text,
        "listener: ws://127.0.0.1:8081\n\
         client: 127.0.0.1, connected to 127.0.0.1:8081\n\
         host: group DEFAULT, by an inbound address\n\
         environment: RELEASE\n\
         path: /hello\n\
         API: hello\n\
         \x20 + hello, GET /hello: wins\n\
         \x20 - chosen, GET /chosen: the path differs at segment 1\n\
         \x20 - posted, ANY /post: the path differs at segment 1\n\
         \x20 - secure, GET /secure: the path differs at segment 1\n\
         checks:\n\
         \x20 size: the target has 15 of at most 32768 bytes\n\
         \x20 scheme: ws served\n\
         \x20 access control: none\n\
         \x20 authentication: none\n\
         \x20 throttling: none\n\
         \x20 parameters: as the API allows them\n\
         \x20 backend policy: the API's own backend\n\
         backend: ws://backend:9000, timeout 60s\n\
         request:\n\
         \x20 GET /v1?a=b HTTP/1.1\n\
         \x20 Host: backend:9000\n\
         \x20 Origin: null\n\
         \x20 Connection: Upgrade\n\
         \x20 Upgrade: websocket\n\
         \x20 and what every request gets: X-Forwarded-*, X-Real-IP, X-Request-Id\n"
    );
}

#[test]
fn a_backend_is_chosen_by_its_conditions() {
    for (query, client, fields, policy, backend) in [
        (
            "",
            "127.0.0.1",
            "X-Any: a=b",
            "the API's own backend",
            "http://own:9000",
        ),
        (
            "?room=red&age=42",
            "127.0.0.1",
            "X-Any: 1",
            "both",
            "http://both:1",
        ),
        (
            "?room=red&age=4x",
            "127.0.0.1",
            "X-Any: 1",
            "either",
            "http://either:1",
        ),
        (
            "?room=blue",
            "127.0.0.1",
            "Cookie: a=b",
            "either",
            "http://either:1",
        ),
        (
            "?age=42",
            "198.51.100.7",
            "X-Any: 1",
            "either",
            "http://either:1",
        ),
        (
            "?room=RED",
            "127.0.0.1",
            "Cookie: c=b; a=b",
            "cookie",
            "https://cookie:1",
        ),
        (
            "",
            "127.0.0.1",
            "Cookie: a=bb",
            "the API's own backend",
            "http://own:9000",
        ),
    ] {
        let url = format!("http://127.0.0.1:8081/chosen{query}");
        let account = explained(&url, |explain| {
            explain.client = Some(client.parse().unwrap());
            explain.header = vec![fields.parse().unwrap()];
        });
        let text = account.unwrap().text;
        for said in [
            format!("  backend policy: {policy}\n"),
            format!("\nbackend: {backend}, "),
        ] {
            assert!(text.contains(&said), "{query} {client} {fields}: {text}");
        }
    }
}

#[test]
fn a_refusal_is_told_with_its_status_and_code() {
    for (url, said) in [
        (
            "http://api.example.com:8080/none",
            "answer: 404 APIG.0101 The API does not exist or has",
        ),
        (
            "http://other.example.com:8080/hello",
            "host: no group has it",
        ),
        (
            "http://127.0.0.1:8080/secure",
            "answer: 400 APIG.0607 The following protocol is supported: HTTPS",
        ),
        (
            "http://127.0.0.1:8080/a/..;/b",
            "answer: 400 APIG.0201 API request error",
        ),
        (
            "ws://127.0.0.1:8080/post",
            "answer: 400 APIG.0201 API request error",
        ),
    ] {
        let account = explained(url, |_| {}).unwrap();
        assert!(
            !account.served && account.text.contains(said),
            "{}",
            account.text
        );
    }
    let account = explained("http://127.0.0.1:8080/hello", |explain| {
        explain.method = "PUT".to_owned()
    });
    let text = account.unwrap().text;
    assert!(
        text.contains("answer: 404 APIG.0101 The API does not exist\n"),
        "{text}"
    );
    let long = format!("http://127.0.0.1:8080/{}", "a".repeat(40_000));
    let text = explained(&long, |_| {}).unwrap().text;
    assert!(text.contains("answer: 414 "), "{text}");
}

#[test]
fn the_listener_is_the_one_that_the_client_reaches() {
    let listeners = |url: &str, inbound: Option<&str>| {
        let inbound = inbound.map(|address| address.parse().unwrap());
        explained(url, |explain| explain.inbound = inbound)
            .map(|account| account.text.lines().take(2).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(
        listeners("http://127.0.0.1:8080/", None).as_deref(),
        Ok("listener: ws://0.0.0.0:8080; client: 127.0.0.1, connected to 127.0.0.1:8080")
    );
    // Behind NAT the address of the URL is not one of the machine.
    assert_eq!(
        listeners("http://203.0.113.10:8080/", None).as_deref(),
        Ok(
            "listener: ws://0.0.0.0:8080; client: 127.0.0.1, connected to an address of this machine; --inbound says which"
        )
    );
    assert_eq!(
        listeners("http://api.example.com/", Some("10.0.0.1:8080")).as_deref(),
        Ok("listener: ws://0.0.0.0:8080; client: 127.0.0.1, connected to 10.0.0.1:8080")
    );
    assert_eq!(
        listeners("wss://127.0.0.1/", None),
        Err(
            "no listener takes wss on port 443; there are: ws://0.0.0.0:8080, ws://127.0.0.1:8081"
                .to_owned()
        )
    );
}

#[test]
fn what_is_no_url_or_field_is_refused() {
    for url in [
        "",
        "hello",
        "ftp://a",
        "ws://",
        "ws://a:0/",
        "ws://u@a/",
        "ws://a/#x",
        "ws://a/ b",
        "ws://a/é",
    ] {
        assert!(url.parse::<Url>().is_err(), "{url}");
    }
    let url: Url = "WSS://[::1]?a=b?c".parse().unwrap();
    assert_eq!(
        (
            url.server.authority.as_str(),
            url.upgrade,
            url.path.as_str(),
            url.query.as_deref()
        ),
        ("[::1]", true, "/", Some("a=b?c"))
    );
    for field in ["", "a", ": b", "a b: c", "a: b\nc: d"] {
        assert!(field.parse::<Field>().is_err(), "{field}");
    }
    assert!(
        explained("ws://127.0.0.1:8080/", |explain| explain.method =
            "PUT".to_owned())
        .is_err()
    );
    let missing = explained("ws://127.0.0.1:8080/", |explain| {
        explain.file.config = Path::new("/nowhere/ringgate.toml").to_owned();
    });
    assert!(missing.is_err());
}

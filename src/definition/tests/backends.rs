//! Backends: parameters, mocks, and what load channels and functions have to say.

use super::super::{DestinationDefinition, Location, MockDefinition, ParameterSource, SystemValue};
use super::*;

const HTTP: &str =
    "type: HTTP, httpEndpoints: {address: 'a:80', scheme: http, method: GET, path: $path}";

/// A file whose operation `/rooms/{room}/{rest+}` has the query parameter `q` and this backend.
fn with(backend: &str) -> String {
    format!(
        "swagger: '2.0'\ninfo: {{title: DEFAULT}}\npaths:\n  '/rooms/{{room}}/{{rest+}}':\n    get:\n      operationId: API01\n      \
         parameters:\n      - {{name: room, in: path, type: string}}\n      - {{name: rest, in: path, type: string}}\n      \
         - {{name: q, in: query, type: string}}\n      x-apigateway-backend: {{{backend}}}\n"
    )
}

fn http(path: &str, parameters: &str) -> String {
    with(&format!(
        "parameters: [{parameters}], {}",
        HTTP.replace("$path", path)
    ))
}

#[test]
fn backend_parameters_have_three_origins() {
    let text = http(
        "'/v/{room}/p-{x}'",
        "{name: x, value: Q, in: path, origin: REQUEST}, {name: X-Edge, value: 5, in: header, origin: constant}, \
         {name: ip, value: $context.sourceIp, in: query, origin: SYSTEM, description: who}, \
         {name: rest, value: rest, in: QUERY, origin: REQUEST}",
    );
    let api = &apis(&text)[0];
    let read: Vec<_> = api
        .backend
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.location, p.source.clone()))
        .collect();
    assert_eq!(
        read,
        [
            // As it is declared, whatever the case.
            (
                "x",
                Location::Path,
                ParameterSource::Request("q".to_owned())
            ),
            (
                "X-Edge",
                Location::Header,
                ParameterSource::Constant("5".to_owned())
            ),
            (
                "ip",
                Location::Query,
                ParameterSource::System(SystemValue::SourceIp)
            ),
            (
                "rest",
                Location::Query,
                ParameterSource::Request("rest".to_owned())
            ),
        ]
    );
    assert_eq!(api.backend.parameters[2].description, "who");
    for (name, value) in SystemValue::NAMES {
        let text = http(
            "/",
            &format!("{{name: a, value: $context.{name}, in: query, origin: SYSTEM}}"),
        );
        assert_eq!(
            apis(&text)[0].backend.parameters[0].source,
            ParameterSource::System(value)
        );
    }
}

#[test]
fn mistakes_in_backend_parameters_have_place_and_code() {
    let long = "a".repeat(256);
    for (path, parameters, key, code, said) in [
        (
            "/",
            "{value: q, in: query, origin: REQUEST}",
            "parameters[0]",
            "APIG.2001",
            "`name`",
        ),
        (
            "/",
            "{name: a, in: query, origin: REQUEST}",
            "parameters[0]",
            "APIG.2001",
            "`value`",
        ),
        (
            "/",
            "{name: a, value: q, in: query}",
            "parameters[0]",
            "APIG.2001",
            "`origin`",
        ),
        (
            "/",
            "{name: a, value: q, in: body, origin: REQUEST}",
            ".in",
            "APIG.2011",
            "\"query\"",
        ),
        (
            "/",
            "{name: a, value: q, in: query, origin: CLIENT}",
            ".origin",
            "APIG.2011",
            "\"CONSTANT\"",
        ),
        (
            "/",
            "{name: a, value: none, in: query, origin: REQUEST}",
            ".value",
            "APIG.2028",
            "no request parameter `none`",
        ),
        (
            "/",
            "{name: a, value: $context.user, in: query, origin: SYSTEM}",
            ".value",
            "APIG.2011",
            "sourceIp",
        ),
        (
            "/",
            "{name: a, value: $context.sourceip, in: query, origin: SYSTEM}",
            ".value",
            "APIG.2011",
            "did you mean",
        ),
        (
            "/",
            "{name: a, value: $context.authorizer.frontend.u, in: query, origin: SYSTEM}",
            ".value",
            "APIG.2036",
            "custom",
        ),
        (
            "/",
            "{name: x-stage, value: a, in: header, origin: CONSTANT}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "/",
            "{name: Authorization, value: a, in: header, origin: CONSTANT}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "/",
            "{name: _a, value: a, in: header, origin: CONSTANT}",
            ".name",
            "APIG.2012",
            "a letter first",
        ),
        (
            "/",
            "{name: a, value: \"a\\nb\", in: header, origin: CONSTANT}",
            ".value",
            "APIG.2012",
            "control characters",
        ),
        (
            "/",
            &format!("{{name: a, value: {long}, in: query, origin: CONSTANT}}"),
            ".value",
            "APIG.2006",
            "256",
        ),
        (
            "/",
            "{name: a, value: q, in: query, origin: REQUEST}, {name: A, value: 1, in: query, origin: CONSTANT}",
            "parameters[1]",
            "APIG.3209",
            "twice",
        ),
        (
            "/",
            "{name: a, value: q, in: path, origin: REQUEST}",
            "parameters[0]",
            "APIG.2027",
            "has no `{a}`",
        ),
        (
            "'/{a}'",
            "{name: a, value: rest, in: path, origin: REQUEST}",
            ".value",
            "APIG.2012",
            "cannot go into the path",
        ),
        (
            "'/{a}'",
            "",
            "httpEndpoints.path",
            "APIG.2027",
            "`{a}` in \"/{a}\" has no value",
        ),
        (
            "'/{q}'",
            "",
            "httpEndpoints.path",
            "APIG.2027",
            "has no value",
        ),
        (
            "'/{rest}'",
            "",
            "httpEndpoints.path",
            "APIG.2027",
            "cannot go into the path",
        ),
        (
            "'/{room+}'",
            "",
            "httpEndpoints.path",
            "APIG.2012",
            "paths of callers only",
        ),
        (
            "'/{room'",
            "",
            "httpEndpoints.path",
            "APIG.2012",
            "do not pair",
        ),
        ("'/{a b}'", "", "httpEndpoints.path", "APIG.2012", "no name"),
        (
            "/",
            "{name: a, value: q, in: query, origin: REQUEST, descripton: x}",
            "descripton",
            "",
            "did you mean",
        ),
    ] {
        finds(&http(path, parameters), key, code, said);
    }
}

#[test]
fn one_mistake_is_one_complaint() {
    let missing = "{name: a, value: none, in: path, origin: REQUEST}";
    finds(&http("'/{a}'", missing), ".value", "APIG.2028", "`none`");
    let wrong = http("/", "").replace(
        "{name: room, in: path, type: string}",
        "{name: room, in: path, type: object}",
    );
    finds(&wrong, ".type", "APIG.2011", "not supported");
}

#[test]
fn values_of_authorizers_are_not_served() {
    let text = http(
        "/",
        "{name: a, value: $context.authorizer.frontend.u, in: query, origin: SYSTEM}",
    )
    .replace(
        "      parameters:",
        "      security: [{own: []}]\n      parameters:",
    ) + "securityDefinitions: {own: {x-apigateway-authorizer: {type: FRONTEND, authorizer_type: FUNC, authorizer_uri: u}}}";
    let (definition, complaints) = read(&text, &Config::base());
    assert!(
        complaints
            .iter()
            .any(|c| c.problem.contains("values of custom authorizers")),
        "{complaints:#?}"
    );
    assert!(definition.unwrap().apis.is_empty());
}

#[test]
fn a_mock_answers_itself() {
    for (members, status, headers, body) in [
        ("result-content: '{}'", 200, vec![], "{}"),
        ("result-content: '', status-code: '204'", 204, vec![], ""),
        (
            "result-content: a, headers: [{key: Retry-After, value: 5}, {key: X-A, value: b}]",
            200,
            vec![("Retry-After", "5"), ("X-A", "b")],
            "a",
        ),
        (
            "result-content: a, headers: {X-A: b}",
            200,
            vec![("X-A", "b")],
            "a",
        ),
    ] {
        let api = &apis(&with(&format!("type: MOCK, mockEndpoints: {{{members}}}")))[0];
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let expected = MockDefinition {
            status,
            headers,
            body: body.to_owned(),
        };
        assert_eq!(
            api.backend.destination,
            DestinationDefinition::Mock(expected),
            "{members}"
        );
        assert!(api.backend.http().is_none());
    }
}

#[test]
fn mistakes_in_endpoints_have_place_and_code() {
    let long = "a".repeat(2049);
    for (backend, key, code, said) in [
        (
            "type: MOCK, mockEndpoints: {}",
            "mockEndpoints",
            "APIG.2001",
            "`result-content`",
        ),
        (
            "type: MOCK",
            "x-apigateway-backend",
            "APIG.2001",
            "`mockEndpoints`",
        ),
        (
            "type: MOCK, mockEndpoints: {result-content: a, status-code: 600}",
            "status-code",
            "APIG.2003",
            "200 to 599",
        ),
        (
            "type: MOCK, mockEndpoints: {result-content: a, headers: [{key: 'a b', value: c}]}",
            "key",
            "APIG.2012",
            "no name",
        ),
        (
            "type: MOCK, mockEndpoints: {result-content: a, headers: [{key: Content-Length, value: 1}]}",
            "key",
            "APIG.2012",
            "own",
        ),
        (
            &format!("type: MOCK, mockEndpoints: {{result-content: {long}}}"),
            "result-content",
            "",
            "2048",
        ),
        (
            "httpEndpoints: {}",
            "x-apigateway-backend",
            "APIG.2001",
            "`type`",
        ),
        (
            "type: HTTP, httpEndpoints: {address: '', scheme: http, method: GET, path: /}",
            "address",
            "APIG.2024",
            "1 to 255",
        ),
    ] {
        finds(&with(backend), key, code, said);
    }
    // What cannot be served is checked all the same.
    for (backend, key, code) in [
        (
            "type: HTTP-VPC, httpVpcEndpoints: {scheme: http, method: GET, path: /}",
            "httpVpcEndpoints",
            "APIG.2001",
        ),
        (
            "type: HTTP-VPC, httpVpcEndpoints: {name: ab, scheme: http, method: GET, path: /}",
            "name",
            "APIG.2005",
        ),
        (
            "type: HTTP-VPC, httpVpcEndpoints: {name: abc, scheme: http, method: GET, path: '/{none}'}",
            "path",
            "APIG.2027",
        ),
        (
            "type: HTTP-VPC-MEMBER-GROUP, httpVpcMemberGroupEndpoints: {name: abc, timeout: 0, memberGroupUrlInfos: []}",
            "timeout",
            "APIG.2002",
        ),
        (
            "type: FUNCTION, functionEndpoints: {function-urn: a, version: b, invocation-type: c}",
            "type",
            "APIG.2011",
        ),
        (
            "type: FUNCTION, functionEndpoints: {version: b, invocation-type: sync}",
            "functionEndpoints",
            "APIG.2001",
        ),
    ] {
        let (_, complaints) = read(&with(backend), &Config::base());
        let found = complaints
            .iter()
            .any(|c| c.key.ends_with(key) && c.code == Some(code));
        assert!(found && complaints.len() == 2, "{backend} {complaints:#?}");
    }
}

#[test]
fn the_retry_count_that_is_not_given_is_that_of_the_configuration() {
    let mut config = Config::base();
    config.definitions.retry_count = 3;
    let (definition, _) = read(&with(&HTTP.replace("$path", "/")), &config);
    assert_eq!(
        definition.unwrap().apis[0]
            .backend
            .http()
            .unwrap()
            .retry_count,
        3
    );
}

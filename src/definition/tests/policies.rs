//! Policy backends and their conditions.

use super::super::{Effect, Subject, Test};
use super::parameters::orchestrating;
use super::*;

const BACKEND: &str =
    "type: HTTP, httpEndpoints: {address: 'b:80', scheme: http, method: GET, path: /}";

/// A file whose operation has the parameter `a`, which rules make `X-Shard` of, and these policies.
fn with(policies: &str) -> String {
    one(
        &format!(
            "parameters: [{{name: a, in: query, type: string, x-apigateway-orchestrations: [hash]}}]\n      \
             x-apigateway-backend-policies: [{policies}]"
        ),
        "description: x",
    )
}

fn policy(conditions: &str) -> String {
    format!("{{name: canary, conditions: [{conditions}], {BACKEND}}}")
}

#[test]
fn conditions_are_read_in_every_spelling() {
    let parameter = || Subject::Parameter("a".to_owned());
    let exact = |text: &str| Test::Exact(text.to_owned());
    let list = |texts: &[&str]| Test::Enum(texts.iter().map(|text| (*text).to_owned()).collect());
    for (condition, subject, test) in [
        (
            "{type: equal, value: beta, origin: request, parameter: a}",
            parameter(),
            exact("beta"),
        ),
        (
            "{type: EXACT, value: 5, origin: request_parameter, parameter_name: A}",
            parameter(),
            exact("5"),
        ),
        (
            "{condition_type: enum, condition_value: 'b, c', condition_origin: param, req_param_name: a, sys_param_name: ''}",
            parameter(),
            list(&["b", "c"]),
        ),
        (
            "{type: pattern, value: '^a+$', origin: request, parameter: a}",
            parameter(),
            Test::Pattern("^a+$".to_owned()),
        ),
        (
            "{type: equal, value: '192.0.2.7, 198.51.100.0/24', origin: source}",
            Subject::Source,
            Test::Networks(vec![
                "192.0.2.7".parse().unwrap(),
                "198.51.100.0/24".parse().unwrap(),
            ]),
        ),
        (
            "{value: 192.0.2.7, origin: source, parameter: ''}",
            Subject::Source,
            Test::Networks(vec!["192.0.2.7".parse().unwrap()]),
        ),
        (
            "{type: pattern, value: /a, origin: system, sys_param_name: req_path}",
            Subject::RequestPath,
            Test::Pattern("/a".to_owned()),
        ),
        (
            "{type: enum, value: 'get,POST', origin: system, parameter: reqMethod}",
            Subject::RequestMethod,
            list(&["GET", "POST"]),
        ),
        (
            "{type: exact, value: x, origin: cookie, cookie_param_name: id}",
            Subject::Cookie("id".to_owned()),
            exact("x"),
        ),
        (
            "{type: exact, value: x, origin: orchestration, mapped_param_name: x-shard, mapped_param_location: header}",
            Subject::Orchestrated("X-Shard".to_owned()),
            exact("x"),
        ),
    ] {
        let (definition, complaints) = read(&with(&policy(condition)), &orchestrating());
        assert_eq!(complaints, [], "{condition}");
        let api = &definition.unwrap().apis[0];
        let read = &api.policies[0].conditions[0];
        assert_eq!(
            (&read.subject, &read.test),
            (&subject, &test),
            "{condition}"
        );
        assert_eq!(api.policies[0].effect, Effect::Any);
        assert_eq!(api.policies[0].backend.http().unwrap().address.text, "b:80");
    }
}

#[test]
fn the_effect_mode_has_two_spellings() {
    for (member, effect) in [
        ("effect-mode: all", Effect::All),
        ("effect_mode: ALL", Effect::All),
        ("effect_mode: ANY", Effect::Any),
    ] {
        let condition = "{type: equal, value: b, origin: request, parameter: a}";
        let text =
            with(&policy(condition).replace("name: canary", &format!("name: canary, {member}")));
        let (definition, complaints) = read(&text, &orchestrating());
        assert_eq!(complaints, []);
        assert_eq!(
            definition.unwrap().apis[0].policies[0].effect,
            effect,
            "{member}"
        );
    }
}

#[test]
fn mistakes_in_conditions_have_place_and_code() {
    for (condition, key, code, said) in [
        (
            "{value: b, origin: request, parameter: a}",
            "conditions[0]",
            "APIG.2001",
            "`type`",
        ),
        (
            "{type: equal, origin: request, parameter: a}",
            "conditions[0]",
            "APIG.2001",
            "`value`",
        ),
        (
            "{type: equal, value: b, parameter: a}",
            "conditions[0]",
            "APIG.2001",
            "`origin`",
        ),
        (
            "{type: equal, value: b, origin: request}",
            "conditions[0]",
            "APIG.2001",
            "`parameter`",
        ),
        (
            "{type: like, value: b, origin: request, parameter: a}",
            ".type",
            "APIG.2011",
            "\"pattern\"",
        ),
        (
            "{type: equal, value: b, origin: body, parameter: a}",
            ".origin",
            "APIG.2011",
            "\"cookie\"",
        ),
        (
            "{type: equal, value: b, origin: request, parameter: none}",
            ".parameter",
            "APIG.2028",
            "no request parameter",
        ),
        (
            "{type: equal, value: 192.0.2.0/33, origin: source}",
            ".value",
            "APIG.2015",
            "neither an address",
        ),
        (
            "{type: pattern, value: 192.0.2.0, origin: source}",
            ".type",
            "APIG.2012",
            "not with a pattern",
        ),
        (
            "{type: pattern, value: 'a(?=b)', origin: request, parameter: a}",
            ".value",
            "APIG.2012",
            "look-around",
        ),
        (
            "{type: pattern, value: '(a)\\1', origin: request, parameter: a}",
            ".value",
            "APIG.2012",
            "backreferences",
        ),
        (
            "{type: pattern, value: '((a{999}){999}){999}', origin: request, parameter: a}",
            ".value",
            "APIG.2012",
            "bytes",
        ),
        (
            "{type: pattern, value: 'a[', origin: request, parameter: a}",
            ".value",
            "APIG.2012",
            "unclosed",
        ),
        (
            "{type: pattern, value: GET, origin: system, parameter: req_method}",
            ".value",
            "APIG.2012",
            "`type: equal`",
        ),
        (
            "{type: equal, value: FETCH, origin: system, parameter: req_method}",
            ".value",
            "APIG.2012",
            "FETCH",
        ),
        (
            "{type: equal, value: a, origin: system, parameter: req_body}",
            ".parameter",
            "APIG.2011",
            "req_path",
        ),
        (
            "{type: equal, value: a, origin: cookie, parameter: 'a b'}",
            ".parameter",
            "APIG.2012",
            "no name of a cookie",
        ),
        (
            "{type: equal, value: a, origin: orchestration, parameter: none}",
            ".parameter",
            "APIG.2012",
            "makes `none`",
        ),
        (
            "{type: equal, value: a, origin: orchestration, parameter: X-Shard, mapped_param_location: query}",
            ".parameter",
            "APIG.2012",
            "makes",
        ),
        (
            "{type: equal, value: b, origin: request, parameter: a, vlaue: c}",
            ".vlaue",
            "",
            "did you mean `value`?",
        ),
    ] {
        finds_with(&with(&policy(condition)), &orchestrating(), key, code, said);
    }
    let authorizer = "{type: equal, value: a, origin: frontend_authorizer, parameter: user}";
    let (_, complaints) = read(&with(&policy(authorizer)), &orchestrating());
    assert!(
        complaints[0]
            .problem
            .contains("does not support conditions on values of custom authorizers")
    );
}

#[test]
fn mistakes_in_policies_have_place_and_code() {
    let condition = "{type: equal, value: b, origin: request, parameter: a}";
    let good = policy(condition);
    let many = |count: usize| {
        (0..count)
            .map(|i| good.replace("canary", &format!("canary{i}")))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (policies, key, code, said) in [
        (
            good.replace("canary", "ca"),
            ".name",
            "APIG.2012",
            "3 to 64",
        ),
        (
            good.replace("canary", "1canary"),
            ".name",
            "APIG.2012",
            "a letter first",
        ),
        (
            format!("{good}, {good}"),
            "[1].name",
            "APIG.3210",
            "exists already",
        ),
        (many(6), "-policies", "APIG.3113", "at most 5"),
        (policy(""), ".conditions", "APIG.3114", "1 to 5"),
        (
            policy(&[condition; 6].join(", ")),
            ".conditions",
            "APIG.3114",
            "6 conditions",
        ),
        (
            good.replace("name: canary,", "name: canary, effect-mode: SOME,"),
            "effect-mode",
            "APIG.2011",
            "\"ALL\"",
        ),
        (
            good.replace("name: canary,", "name: canary, priority: 5,"),
            "priority",
            "",
            "unknown key",
        ),
        (
            good.replace("name: canary,", ""),
            "policies[0]",
            "APIG.2001",
            "`name`",
        ),
        (
            format!("{{name: canary, {BACKEND}}}"),
            "policies[0]",
            "APIG.2001",
            "`conditions`",
        ),
    ] {
        finds_with(&with(&policies), &orchestrating(), key, code, said);
    }
    let (definition, complaints) = read(&with(&many(5)), &orchestrating());
    assert_eq!(
        (complaints.len(), definition.unwrap().apis[0].policies.len()),
        (0, 5)
    );
}

#[test]
fn a_mock_is_followed_by_mocks_only() {
    let condition = "{type: equal, value: b, origin: request, parameter: a}";
    let mock = "type: MOCK, mockEndpoints: {result-content: a}";
    let policies = with(&policy(condition));
    let start = policies.find("        type: HTTP\n").unwrap();
    let mocked = format!("{}        {{{mock}}}\n", &policies[..start]);
    finds_with(
        &mocked,
        &orchestrating(),
        "policies[0]",
        "APIG.2012",
        "default backend of type MOCK",
    );
    for text in [
        mocked.replace(BACKEND, mock),
        policies.replace(BACKEND, mock),
    ] {
        let (_, complaints) = read(&text, &orchestrating());
        assert_eq!(complaints, []);
    }
}

//! Sets of gateway responses, and what an operation says of them.

use super::super::{ResponseDefinition, ResponseSetDefinition};
use super::*;
use crate::close::ErrorType;

fn sets(text: &str) -> Vec<ResponseSetDefinition> {
    let (definition, complaints) = read(text, &Config::base());
    assert_eq!(complaints, [], "{text}");
    definition.unwrap().response_sets
}

fn with(set: &str) -> String {
    one("tags: []", "description: x") + "x-apigateway-responses: {default: {" + set + "}}\n"
}

#[test]
fn sets_stand_at_the_root_in_components_and_at_operations() {
    let set = "x-apigateway-responses: {mine: {THROTTLED: {status: 503}}}";
    let whole = one("tags: []", "description: x");
    let swagger = sets(&(whole.clone() + set));
    let openapi = whole.replace("swagger: '2.0'", "openapi: 3.0.0");
    let in_components = sets(&format!("{openapi}components: {{{set}}}"));
    assert_eq!(swagger[0].responses, in_components[0].responses);
    assert_eq!(
        (swagger[0].name.as_str(), swagger[0].responses.len()),
        ("mine", 1)
    );
    let api = &apis(&one(
        &format!("{set}\n      x-apigateway-response: mine"),
        "description: x",
    ))[0];
    assert_eq!(
        (
            api.response_set.text.as_str(),
            api.response_sets[0].name.as_str()
        ),
        ("mine", "mine")
    );
    let api = &apis(&one("x-apigateway-response: ''", "description: x"))[0];
    assert_eq!(api.response_set.text, "default");
}

#[test]
fn bodies_have_two_forms_and_headers_follow() {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    for (members, expected) in [
        (
            "status: 429",
            ResponseDefinition {
                status: Some(429),
                ..Default::default()
            },
        ),
        (
            "body: '{\"id\":\"$context.requestId\"}'",
            ResponseDefinition {
                bodies: vec![pair("application/json", "{\"id\":\"$context.requestId\"}")],
                ..Default::default()
            },
        ),
        (
            "body: {application/json: '{}', text/plain: 'no $context.error.code'}, headers: [{key: Retry-After, value: 5}]",
            ResponseDefinition {
                status: None,
                bodies: vec![
                    pair("application/json", "{}"),
                    pair("text/plain", "no $context.error.code"),
                ],
                headers: vec![pair("Retry-After", "5")],
            },
        ),
    ] {
        let set = &sets(&with(&format!("throttled: {{{members}}}")))[0];
        assert_eq!(
            set.responses,
            [(ErrorType::Throttled, expected)],
            "{members}"
        );
    }
    for nothing in [
        "",
        "THROTTLED: {}",
        "THROTTLED: null",
        "THROTTLED: {status: null, body: {}, headers: []}",
    ] {
        assert_eq!(sets(&with(nothing))[0].responses, [], "{nothing}");
    }
}

#[test]
fn mistakes_in_sets_have_place_and_code() {
    let headers: Vec<String> = (0..11)
        .map(|i| format!("{{key: a{i}, value: b}}"))
        .collect();
    let headers = format!("THROTTLED: {{headers: [{}]}}", headers.join(", "));
    for (set, key, code, said) in [
        (
            "THROTTLED: {status: 199}",
            ".status",
            "APIG.2002",
            "200 to 599",
        ),
        ("THROTTLED: {status: 444}", ".status", "APIG.2012", "444"),
        (
            "THROTTLED: {status: soon}",
            ".status",
            "APIG.2012",
            "not an integer",
        ),
        (
            "THROTLED: {status: 429}",
            ".THROTLED",
            "",
            "did you mean `THROTTLED`?",
        ),
        (
            "THROTTLED: {stauts: 429}",
            ".stauts",
            "",
            "did you mean `status`?",
        ),
        (
            "THROTTLED: {status: 429}, throttled: {}",
            ".throttled",
            "APIG.2012",
            "twice",
        ),
        ("THROTTLED: {body: '{'}", ".body", "APIG.2012", "no JSON"),
        (
            "THROTTLED: {body: '$context.requestId'}",
            ".body",
            "APIG.2012",
            "within strings",
        ),
        (
            "THROTTLED: {body: '\"$context.error.cod\"'}",
            ".body",
            "",
            "did you mean `$context.error.code`?",
        ),
        (
            "THROTTLED: {body: {json: '{}'}}",
            ".body.json",
            "APIG.2012",
            "no media type",
        ),
        (
            "THROTTLED: {headers: [{key: 'a b', value: c}]}",
            ".key",
            "APIG.2012",
            "1 to 128",
        ),
        (
            "THROTTLED: {headers: [{key: X-Request-Id, value: c}]}",
            ".key",
            "APIG.2012",
            "own",
        ),
        (
            "THROTTLED: {headers: [{key: a, value: ''}]}",
            ".value",
            "APIG.2012",
            "1 to 1024",
        ),
        (
            "THROTTLED: {headers: [{key: a, value: 'a[[b'}]}",
            ".value",
            "APIG.2012",
            "`[[`",
        ),
        (
            "THROTTLED: {headers: [{key: a, value: \"a\\nb\"}]}",
            ".value",
            "APIG.2012",
            "control",
        ),
        (
            "THROTTLED: {headers: [{value: b}]}",
            ".headers[0]",
            "APIG.2001",
            "`key`",
        ),
        (&headers, ".headers", "APIG.2012", "at most 10"),
    ] {
        finds(&with(set), key, code, said);
    }
    let whole = one("tags: []", "description: x");
    for (sets, key, code) in [
        ("{a b: {}}", "[\"a b\"]", "APIG.2012"),
        ("{a: {}, b: {}, c: {}, d: {}, e: {}}", ".e", "APIG.3117"),
    ] {
        finds(
            &format!("{whole}x-apigateway-responses: {sets}"),
            key,
            code,
            "",
        );
    }
}

//! Request parameters and paths.

use super::super::{Location, ParameterKind, RequestParameter};
use super::*;
use crate::config::{Orchestration, OrchestrationTarget, Strategy, TargetLocation};
use crate::document::Place;

/// A file with one operation of the path, which has these parameters.
fn with(path: &str, parameters: &str) -> String {
    one(&format!("parameters: [{parameters}]"), "description: x")
        .replace("/hello", &format!("\"{path}\""))
}

/// The parameter of an OpenAPI 3.0 file.
fn in_openapi(parameter: &str) -> String {
    with("/hello", parameter).replace("swagger: '2.0'", "openapi: 3.0.0")
}

fn only(text: &str) -> RequestParameter {
    let api = apis(text).remove(0);
    assert_eq!(api.parameters.len(), 1, "{text}");
    api.parameters[0].clone()
}

fn number(min: Option<f64>, max: Option<f64>, choices: &[&str]) -> ParameterKind {
    ParameterKind::Number {
        min,
        max,
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
    }
}

fn text(length_min: Option<u32>, length_max: Option<u32>, choices: &[&str]) -> ParameterKind {
    ParameterKind::Text {
        length_min,
        length_max,
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
    }
}

#[test]
fn types_and_bounds_are_read_in_both_formats() {
    for (members, kind, default) in [
        ("type: string", text(None, None, &[]), None),
        (
            "type: STRING, minLength: 2, maxLength: 8",
            text(Some(2), Some(8), &[]),
            None,
        ),
        // Placeholders of exports.
        (
            "type: string, minLength: 0, maxLength: 0, enum: [''], default: ''",
            text(None, None, &[]),
            None,
        ),
        (
            "type: string, enum: [a, 5, true], default: 5",
            text(None, None, &["a", "5", "true"]),
            Some("5"),
        ),
        (
            "type: integer, format: int64, minimum: 1, maximum: 10, default: 5",
            number(Some(1.0), Some(10.0), &[]),
            Some("5"),
        ),
        (
            "type: long, minimum: 0, maximum: 0",
            number(None, None, &[]),
            None,
        ),
        (
            "type: double, minimum: -1.5, enum: [1.5, 2]",
            number(Some(-1.5), None, &["1.5", "2"]),
            None,
        ),
        (
            "type: float, maximum: '7'",
            number(None, Some(7.0), &[]),
            None,
        ),
        (
            "type: number, minLength: 0, maxLength: 0",
            number(None, None, &[]),
            None,
        ),
    ] {
        let swagger = only(&with(
            "/hello",
            &format!("{{name: a, in: query, {members}}}"),
        ));
        let schema = format!("{{name: a, in: QUERY, schema: {{{members}}}}}");
        let openapi = only(&in_openapi(&schema));
        for parameter in [swagger, openapi] {
            assert_eq!(
                (&parameter.kind, parameter.default.as_deref()),
                (&kind, default),
                "{members}"
            );
            assert_eq!(
                (
                    parameter.location,
                    parameter.required,
                    parameter.pass_through
                ),
                (Location::Query, false, true)
            );
        }
    }
}

#[test]
fn further_members_are_read() {
    let parameter = only(&with(
        "/hello",
        "{name: X-Room, in: header, type: string, required: true, description: which, x-apigateway-pass-through: NEVER, \
         x-apigateway-sample: 5, x-apigateway-orchestrations: []}",
    ));
    assert!(parameter.required && !parameter.pass_through);
    assert_eq!(
        (parameter.description.as_str(), parameter.sample.as_deref()),
        ("which", Some("5"))
    );
    let parameter = only(&with("/a/{room}", "{name: room, in: path, type: string}"));
    assert!(parameter.required, "parameters of the path always are");
    let parameter = only(&in_openapi(
        "{name: a, in: query, schema: {type: string}, example: b}",
    ));
    assert_eq!(parameter.sample.as_deref(), Some("b"));
}

#[test]
fn an_operation_overrides_the_parameters_of_its_path_and_refers_to_shared_ones() {
    let text = one("parameters: [{name: A, in: query, type: number}, {$ref: '#/parameters/c~1d'}]", "description: x")
        .replace("    get:", "    parameters: [{name: a, in: query, type: string}, {name: b, in: header, type: string}]\n    get:")
        + "parameters: {c/d: {name: c, in: query, type: string}, unused: {name: x, in: body, schema: {}}}\n";
    let (definition, complaints) = read(&text, &Config::base());
    assert_eq!(
        complaints.len(),
        1,
        "the body is not looked at: {complaints:#?}"
    );
    let api = &definition.unwrap().apis[0];
    let names: Vec<_> = api
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.place.line))
        .collect();
    assert_eq!(names, [("A", 8), ("c", 8), ("b", 5)]);
    assert_eq!(api.parameters[0].kind, number(None, None, &[]));
    let openapi = in_openapi("{$ref: '#/components/parameters/c'}")
        + "components: {parameters: {c: {name: c, in: query, schema: {type: string}}}}\n";
    assert_eq!(only(&openapi).name, "c");
}

#[test]
fn mistakes_in_parameters_have_place_and_code() {
    let long = "a".repeat(33);
    for (parameter, key, code, said) in [
        (
            "{in: query, type: string}",
            "parameters[0]",
            "APIG.2001",
            "`name` is missing",
        ),
        (
            "{name: a, type: string}",
            "parameters[0]",
            "APIG.2001",
            "`in` is missing",
        ),
        (
            "{name: a, in: query}",
            "parameters[0]",
            "APIG.2001",
            "`type` is missing",
        ),
        (
            "{name: a, in: quary, type: string}",
            ".in",
            "APIG.2011",
            "did you mean \"query\"?",
        ),
        (
            "{name: a, in: body, type: string}",
            "parameters[0]",
            "",
            "pass as they are",
        ),
        (
            "{name: a, in: formData, type: file}",
            "parameters[0]",
            "",
            "pass as they are",
        ),
        (
            "{name: a, in: query, type: boolean}",
            ".type",
            "APIG.2011",
            "enum: [\"true\", \"false\"]",
        ),
        (
            "{name: a, in: query, type: array}",
            ".type",
            "APIG.2011",
            "not supported",
        ),
        (
            "{name: a, in: query, type: strin}",
            ".type",
            "APIG.2011",
            "did you mean \"string\"?",
        ),
        (
            "{name: 1a, in: query, type: string}",
            ".name",
            "APIG.2012",
            "a letter first",
        ),
        (
            &format!("{{name: {long}, in: query, type: string}}"),
            ".name",
            "APIG.2012",
            "1 to 32",
        ),
        (
            "{name: X-Stage, in: header, type: string}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "{name: x-apig-a, in: query, type: string}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "{name: x-sdk-a, in: query, type: string}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "{name: authorization, in: header, type: string}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "{name: x-auth-TOKEN, in: header, type: string}",
            ".name",
            "APIG.2012",
            "reserved",
        ),
        (
            "{name: a_b, in: header, type: string}",
            ".name",
            "APIG.2012",
            "but for headers",
        ),
        (
            "{name: a, in: query, type: number, minimum: 5, maximum: 2}",
            ".minimum",
            "APIG.2004",
            "above",
        ),
        (
            "{name: a, in: query, type: string, minLength: 5, maxLength: 2}",
            ".minLength",
            "APIG.2004",
            "above",
        ),
        (
            "{name: a, in: query, type: string, maxLength: -1}",
            ".maxLength",
            "APIG.2002",
            "too small",
        ),
        (
            "{name: a, in: query, type: number, default: x}",
            ".default",
            "APIG.2012",
            "not what the parameter allows",
        ),
        (
            "{name: a, in: query, type: number, enum: [x]}",
            ".enum[0]",
            "APIG.2012",
            "not a number",
        ),
        (
            "{name: a, in: query, type: string, enum: [a], default: b}",
            ".default",
            "APIG.2012",
            "not what",
        ),
        (
            "{name: a, in: query, type: string, minimum: 5}",
            ".minimum",
            "",
            "not checked here",
        ),
        (
            "{name: a, in: query, type: string, pattern: '^a'}",
            ".pattern",
            "",
            "not checked",
        ),
        (
            "{name: a, in: query, type: string, defualt: b}",
            ".defualt",
            "",
            "did you mean `default`?",
        ),
        (
            "{name: a, in: query, type: string, x-apigateway-pass-throug: never}",
            "throug",
            "",
            "did you mean",
        ),
        (
            "{name: a, in: query, type: string, x-apigateway-pass-through: yes}",
            "through",
            "APIG.2011",
            "\"always\"",
        ),
        (
            "{name: a, in: query, type: string, x-apigateway-orchestrations: [none]}",
            "[0]",
            "APIG.2012",
            "no orchestration rule",
        ),
        (
            "{$ref: '#/parameters/none'}",
            ".$ref",
            "APIG.2012",
            "leads to no parameter",
        ),
        (
            "{$ref: other.yaml}",
            ".$ref",
            "APIG.2012",
            "leads to no parameter",
        ),
        (
            "{name: a, in: query, type: string}, {name: A, in: header, type: string}",
            "[1]",
            "APIG.3209",
            "exists already",
        ),
        (
            "{name: room, in: path, type: string}",
            "parameters[0]",
            "APIG.2012",
            "has no `{room}`",
        ),
    ] {
        let key = if key == ".$ref" { "[\"$ref\"]" } else { key };
        finds(&with("/hello", parameter), key, code, said);
    }
    finds(
        &in_openapi("{name: a, in: query, schema: {$ref: '#/components/schemas/a'}}"),
        "schema[\"$ref\"]",
        "APIG.2012",
        "in place of the reference",
    );
    // Mistakes in what is shared are said once, and nothing that may refer to it is served.
    let shared = with("/hello", "{$ref: '#/parameters/a'}")
        + "parameters: {a: {name: a, in: query, type: array}}\n";
    finds(&shared, "parameters.a.type", "APIG.2011", "not supported");
    assert!(read(&shared, &Config::base()).0.unwrap().apis.is_empty());
    let many: Vec<String> = (0..51)
        .map(|index| format!("{{name: a{index}, in: query, type: string}}"))
        .collect();
    finds(
        &with("/hello", &many.join(", ")),
        ".get",
        "APIG.3111",
        "51 request parameters",
    );
}

#[test]
fn paths_have_whole_segments_as_parameters() {
    let declared = "{name: a, in: path, type: string}";
    for (path, code, said) in [
        ("/x/{b}", "APIG.2026", "`{b}`"),
        ("/x/{a}-b", "APIG.2012", "`{a}-b` is no parameter"),
        ("/x/{a", "APIG.2012", "is no parameter"),
        ("/x/{a+}/y", "APIG.2012", "not the last segment"),
        ("/{a+}/{b}", "APIG.2012", "comes after"),
        ("/{a}/{a}", "APIG.2012", "twice"),
        ("/{}", "APIG.2012", "no name"),
        ("/a b/{a}", "APIG.2012", "not a request path"),
    ] {
        let (_, complaints) = read(&with(path, declared), &Config::base());
        let complaint = &complaints[0];
        assert_eq!(complaint.code, Some(code), "{path} {complaints:#?}");
        assert!(complaint.to_string().contains(said), "{path} {complaint}");
    }
    for path in ["/{a}", "/x/{a}/y", "/x/{a+}", "/*%-_./{a}"] {
        assert_eq!(apis(&with(path, declared))[0].path, path);
    }
}

/// Rules of the names that are asked for, with the target of those that are no preprocessing.
pub(super) fn orchestrating() -> Config {
    let rule = |name: &str, strategy: Strategy, target: Option<&str>| Orchestration {
        name: name.to_owned(),
        strategy,
        target: target.map(|name| OrchestrationTarget {
            name: name.to_owned(),
            location: TargetLocation::Header,
        }),
        place: Place::whole("ringgate.toml"),
    };
    let mut config = Config::base();
    config.definitions.orchestrations = vec![
        rule("none", Strategy::NoneValue("0".to_owned()), Some("X-Shard")),
        rule("rest", Strategy::Default("9".to_owned()), Some("X-Shard")),
        rule("hash", Strategy::Hash, Some("X-Shard")),
        rule("head", Strategy::Head(3), None),
    ];
    config
}

#[test]
fn orchestration_rules_keep_to_their_order() {
    let parameters = |rules: &str| {
        format!("{{name: a, in: query, type: string, x-apigateway-orchestrations: [{rules}]}}")
    };
    for rules in [
        "hash",
        "none, head, hash, rest",
        "none",
        "rest",
        "head, rest",
    ] {
        let (definition, complaints) = read(&with("/hello", &parameters(rules)), &orchestrating());
        // A preprocessing rule before the default alone has no rule that takes its result.
        assert_eq!(
            complaints.is_empty(),
            rules != "head, rest",
            "{rules} {complaints:#?}"
        );
        let names: Vec<_> = rules.split(", ").collect();
        if let Some(api) = definition.unwrap().apis.first() {
            let read = api.parameters[0].orchestrations.iter();
            assert_eq!(
                read.map(|rule| rule.text.as_str()).collect::<Vec<_>>(),
                names
            );
        }
    }
    for (rules, key, said) in [
        ("hash, none", "[1]", "as the first"),
        ("rest, hash", "[0]", "as the last"),
        ("hash, head", "[1]", "preprocessing"),
        ("hash, hash", "[1]", "twice"),
    ] {
        finds_with(
            &with("/hello", &parameters(rules)),
            &orchestrating(),
            key,
            "APIG.2012",
            said,
        );
    }
    let two = format!(
        "{}, {}",
        parameters("hash"),
        parameters("none").replace("name: a", "name: b")
    );
    finds_with(
        &with("/hello", &two),
        &orchestrating(),
        "parameters[1]",
        "APIG.2012",
        "at one parameter",
    );
}

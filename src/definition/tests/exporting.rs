//! What is exported is imported as the same.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::{
    BackendDefinition, BackendParameter, ConditionDefinition, DestinationDefinition, Effect,
    ExportError, HttpDefinition, Location, MatchMode, MockDefinition, OasVersion, ParameterKind,
    ParameterSource, Placed, PolicyDefinition, RequestParameter, ResponseDefinition,
    ResponseSetDefinition, Subject, Syntax, SystemValue, Test, export,
};
use super::parameters::orchestrating;
use super::*;
use crate::close::ErrorType;
use crate::document::Place;

const FORMATS: [(OasVersion, Syntax, &str); 4] = [
    (OasVersion::Swagger2, Syntax::Json, "a.json"),
    (OasVersion::Swagger2, Syntax::Yaml, "a.yaml"),
    (OasVersion::OpenApi3, Syntax::Json, "a.json"),
    (OasVersion::OpenApi3, Syntax::Yaml, "a.yaml"),
];

fn placed(text: &str) -> Placed {
    Placed {
        text: text.to_owned(),
        place: Place::whole(""),
    }
}

/// Texts that a careless writer would turn into something else, among any others.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "true",
            "null",
            "~",
            "5",
            "1e3",
            "0x1f",
            "no",
            "- a",
            "a: b",
            "#x",
            "'",
            "\"",
            " a ",
            "a\nb\n",
            "\t",
            "*a",
            "&a",
            "!x",
            "%",
            "@",
            "[",
            "{",
            "|",
            ">",
            "?",
            "2001-01-01",
            "",
            "😀",
            "\u{85}",
            "\u{2028}",
            "\u{1}"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

fn some_text() -> impl Strategy<Value = String> {
    any_text().prop_filter("not empty", |text| !text.is_empty())
}

fn kind() -> impl Strategy<Value = (ParameterKind, Option<String>)> {
    let text = (
        option::of(1u32..5),
        option::of(5u32..90),
        vec(some_text(), 0..3),
    )
        .prop_map(|(length_min, length_max, choices)| {
            let default = choices.first().cloned();
            let bounded = choices.is_empty();
            let kind = ParameterKind::Text {
                length_min: length_min.filter(|_| bounded),
                length_max: length_max.filter(|_| bounded),
                choices,
            };
            (kind, default)
        });
    let bound = prop_oneof![Just(1.0), Just(-2.5), Just(0.1), -1e6..-1.0f64];
    let number = (
        option::of(bound),
        option::of(10.0..1e18f64),
        option::of(2i32..9),
    )
        .prop_map(|(min, max, default)| {
            let choices = default.map(|n| vec![n.to_string(), "1e1".to_owned()]);
            let kind = ParameterKind::Number {
                min,
                max,
                choices: choices.unwrap_or_default(),
            };
            (kind, default.map(|n| n.to_string()))
        });
    prop_oneof![text, number]
}

prop_compose! {
    fn request_parameter(index: usize, location: Location)(
        (kind, default) in kind().boxed(),
        required in any::<bool>(),
        pass_through in any::<bool>(),
        orchestrated in any::<bool>(),
        description in any_text(),
        sample in option::of(some_text()),
    ) -> RequestParameter {
        let rules = if orchestrated && index == 0 { vec![placed("none"), placed("hash")] } else { Vec::new() };
        RequestParameter {
            name: format!("p{index}"),
            location,
            kind,
            required: required || location == Location::Path,
            default,
            pass_through,
            orchestrations: rules,
            description,
            sample,
            place: Place::whole(""),
        }
    }
}

fn source() -> impl Strategy<Value = ParameterSource> {
    prop_oneof![
        Just(ParameterSource::Request("p1".to_owned())),
        "[ -~]{0,20}".prop_map(ParameterSource::Constant),
        prop::sample::select(SystemValue::NAMES.map(|(_, value)| value).to_vec())
            .prop_map(ParameterSource::System),
    ]
}

prop_compose! {
    fn destination()(
        mock in any::<bool>(),
        https in any::<bool>(),
        path in prop::sample::select(vec!["/", "/#path#/a", "/{p0}", "/a-{x}"]),
        method in prop::sample::select(Method::NAMES.map(|(_, method)| method).to_vec()),
        timeout in 1u64..60_000,
        retry_count in -1i8..=10,
        status in prop_oneof![200u16..444, 445u16..=599],
        body in any_text(),
        headers in vec(("[A-Z][a-z]{3,8}", "[!-Z^-~]{1,9}"), 0..3),
    ) -> DestinationDefinition {
        if mock {
            let headers = headers.into_iter().map(|(name, value)| (format!("X-{name}"), value)).collect();
            return DestinationDefinition::Mock(MockDefinition { status, headers, body });
        }
        DestinationDefinition::Http(HttpDefinition {
            scheme: if https { Scheme::Https } else { Scheme::Http },
            address: placed("192.0.2.1:#port#"),
            path: placed(path),
            method,
            timeout: Duration::from_millis(timeout),
            retry_count,
        })
    }
}

prop_compose! {
    fn backend()(
        destination in destination().boxed(),
        sources in vec((source().boxed(), any_text().boxed(), any::<bool>()), 0..3),
    ) -> BackendDefinition {
        let mut parameters: Vec<_> = sources.into_iter().enumerate().map(|(index, (source, description, query))| BackendParameter {
            name: format!("b{index}"),
            location: if query { Location::Query } else { Location::Header },
            source,
            description,
            place: Place::whole(""),
        }).collect();
        if matches!(&destination, DestinationDefinition::Http(http) if http.path.text.contains("{x}")) {
            parameters.push(BackendParameter {
                name: "x".to_owned(),
                location: Location::Path,
                source: ParameterSource::Constant("c".to_owned()),
                description: String::new(),
                place: Place::whole(""),
            });
        }
        BackendDefinition { destination, parameters }
    }
}

fn condition() -> impl Strategy<Value = ConditionDefinition> {
    let subject = prop::sample::select(vec![
        Subject::Parameter("p1".to_owned()),
        Subject::RequestPath,
        Subject::Cookie("id".to_owned()),
    ]);
    let test = prop_oneof![
        any_text().prop_map(Test::Exact),
        vec("[a-z#:0-9]{0,5}", 1..4).prop_map(Test::Enum),
        "[a-z]{0,5}[.]?[*]?"
            .prop_filter("compiles", |text| regex::Regex::new(text).is_ok())
            .prop_map(Test::Pattern),
    ];
    let plain = (subject, test);
    let special = prop::sample::select(vec![
        (
            Subject::Source,
            Test::Networks(vec![
                "192.0.2.0/24".parse().unwrap(),
                "2001:db8::1".parse().unwrap(),
            ]),
        ),
        (Subject::RequestMethod, Test::Exact("PUT".to_owned())),
        (
            Subject::RequestMethod,
            Test::Enum(vec!["GET".to_owned(), "HEAD".to_owned()]),
        ),
    ]);
    prop_oneof![3 => plain, 1 => special].prop_map(|(subject, test)| ConditionDefinition {
        subject,
        test,
        place: Place::whole(""),
    })
}

prop_compose! {
    fn policies()(
        list in vec((any::<bool>(), vec(condition().boxed(), 1..4), backend().boxed()), 0..3),
    ) -> Vec<PolicyDefinition> {
        list.into_iter().enumerate().map(|(index, (all, conditions, backend))| PolicyDefinition {
            name: format!("policy_{index}"),
            effect: if all { Effect::All } else { Effect::Any },
            conditions,
            backend,
            place: Place::whole(""),
        }).collect()
    }
}

fn response() -> impl Strategy<Value = ResponseDefinition> {
    (
        option::of(200u16..444),
        option::of(some_text()),
        any::<bool>(),
    )
        .prop_map(|(status, body, header)| ResponseDefinition {
            status: status.or(Some(500)),
            bodies: body
                .map(|body| ("text/plain".to_owned(), body))
                .into_iter()
                .collect(),
            headers: header
                .then(|| ("X-A".to_owned(), "$context.stage: b".to_owned()))
                .into_iter()
                .collect(),
        })
}

fn response_sets() -> impl Strategy<Value = Vec<ResponseSetDefinition>> {
    vec(option::of(response()), 0..3).prop_map(|sets| {
        let named = ["default", "5", "true"].into_iter().zip(sets);
        named
            .map(|(name, response)| ResponseSetDefinition {
                name: name.to_owned(),
                responses: response
                    .map(|response| (ErrorType::Throttled, response))
                    .into_iter()
                    .collect(),
                place: Place::whole(""),
            })
            .collect()
    })
}

prop_compose! {
    fn api(index: usize)(
        description in any_text(),
        method in prop::sample::select(Method::NAMES.map(|(_, method)| method).to_vec()),
        prefix in any::<bool>(),
        schemes in prop::sample::select(vec![Schemes::Http, Schemes::Https, Schemes::Both]),
        first in request_parameter(0, Location::Path).boxed(),
        second in request_parameter(1, Location::Query).boxed(),
        third in option::of(request_parameter(2, Location::Header).boxed()),
        (backend, policies) in (backend().boxed(), policies().boxed()),
        cors in any::<bool>(),
        set in prop::sample::select(vec!["default", "5"]),
        response_sets in response_sets().boxed(),
    ) -> ApiDefinition {
        let only_mocks = matches!(backend.destination, DestinationDefinition::Mock(_));
        let fits = |policy: &PolicyDefinition| !only_mocks || matches!(policy.backend.destination, DestinationDefinition::Mock(_));
        ApiDefinition {
            name: format!("API{index:03}"),
            description,
            place: Place::whole(""),
            method,
            // Two to a path, as far as their methods differ.
            path: format!("/a b: '{}/{{p0}}", index / 2).replace(' ', "%"),
            match_mode: if prefix { MatchMode::Prefix } else { MatchMode::Normal },
            schemes,
            parameters: [first, second].into_iter().chain(third).collect(),
            policies: policies.into_iter().filter(fits).collect(),
            backend,
            cors,
            response_set: placed(set),
            response_sets,
        }
    }
}

prop_compose! {
    fn definition()(
        (a, b, c) in (api(0).boxed(), api(1).boxed(), api(2).boxed()),
        response_sets in response_sets().boxed(),
    ) -> Definition {
        let mut apis = vec![a, b, c];
        if apis[0].method >= apis[1].method {
            // Operations of a path are read in the order of their methods, and one of each.
            apis.remove(1);
        }
        Definition {
            group: "DEFAULT".to_owned(),
            environments: RELEASE.map(str::to_owned).to_vec(),
            apis,
            left_out: Vec::new(),
            response_sets,
        }
    }
}

/// By name, since a path lists its operations in an order of its own.
fn sorted(mut definition: Definition) -> Definition {
    definition.apis.sort_by(|a, b| a.name.cmp(&b.name));
    definition.erase_places();
    definition
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn exports_are_read_as_what_was_exported(definition in definition().boxed()) {
        let expected = sorted(definition.clone());
        for (version, syntax, file) in FORMATS {
            let text = export(std::slice::from_ref(&definition), version, syntax).unwrap();
            let (read, complaints) = parse(file, &text, &definition.environments, &orchestrating());
            let errors: Vec<_> = complaints.iter().filter(|c| c.is_error()).collect();
            prop_assert!(errors.is_empty(), "{errors:#?}\n{text}");
            prop_assert_eq!(sorted(read.unwrap()), expected.clone(), "{}", text);
        }
    }
}

#[test]
fn what_one_file_cannot_say_is_no_export() {
    let read = |text: &str| read(text, &Config::base()).0.unwrap();
    let one = one("tags: []", "description: x");
    let first = read(&one);
    let other = read(&one.replace("API01", "API02"));
    let error = |definitions: &[Definition]| {
        export(definitions, OasVersion::OpenApi3, Syntax::Yaml).unwrap_err()
    };
    assert_eq!(error(&[]), ExportError::NothingToExport);
    let same = ExportError::SamePath("API01".to_owned(), "API02".to_owned());
    assert_eq!(error(&[first.clone(), other]), same);
    let elsewhere = read(&one.replace("title: DEFAULT", "title: other"));
    assert!(matches!(
        error(&[first, elsewhere]),
        ExportError::Groups(..)
    ));
    let sets = |status: u16| {
        let set =
            format!("x-apigateway-responses: {{default: {{THROTTLED: {{status: {status}}}}}}}");
        read(&(one.replace("/hello", &format!("/{status}")) + &set))
    };
    assert_eq!(
        error(&[sets(429), sets(503)]),
        ExportError::ResponseSet("default".to_owned())
    );
    assert!(export(&[sets(429), sets(429)], OasVersion::OpenApi3, Syntax::Yaml).is_err());
}

#[test]
fn exports_look_like_those_of_the_cloud() {
    let definition = read(
        include_str!("../../../examples/hello/hello.swagger.yaml"),
        &Config::base(),
    )
    .0
    .unwrap();
    let text = export(&[definition], OasVersion::Swagger2, Syntax::Yaml).unwrap();
    assert_eq!(
        text,
        "swagger: \"2.0\"
info:
  title: DEFAULT
  version: \"1\"
paths:
  /hello:
    get:
      operationId: API01
      description: forward wss to a plain WebSocket backend
      schemes:
      - https
      responses:
        default:
          description: default response
      x-apigateway-request-type: public
      x-apigateway-match-mode: NORMAL
      x-apigateway-cors: false
      x-apigateway-response: default
      x-apigateway-backend:
        type: HTTP
        httpEndpoints:
          address: 127.0.0.1:9000
          scheme: http
          method: GET
          path: /
          timeout: 60000
          retryCount: \"-1\"
          enableClientSsl: false
x-apigateway-responses:
  default: {}
"
    );
}

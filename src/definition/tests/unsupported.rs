//! What this version cannot serve or enforce: it fails closed.

use super::*;

/// Members that ask for what this version does not do, and what the complaint calls it.
const UNSUPPORTED: [(&str, &str); 14] = [
    ("security: [{app: []}]", "APP authentication"),
    ("security: [{iam: []}]", "IAM authentication"),
    ("security: [{own: []}]", "a custom authorizer"),
    ("security: [{}, {app: []}]", "APP authentication"),
    ("x-apigateway-access-control: office", "access control"),
    ("x-apigateway-ratelimit: limit", "throttling"),
    ("x-apigateway-plugins: [one]", "plugins"),
    ("x-apigateway-match-mode: swa", "prefix matching (SWA)"),
    ("x-apigateway-cors: true", "CORS headers"),
    (
        "x-apigateway-response: special",
        "the gateway responses of the set `special`",
    ),
    (
        "x-apigateway-backend-policies: [{name: canary}]",
        "backend policies",
    ),
    ("parameters: [{name: a, in: query}]", "request parameters"),
    (
        "x-apigateway-responses: {default: {THROTTLED: {status: 429}}}",
        "the gateway responses of the set `default`",
    ),
    ("parameters: [{$ref: x}]", "request parameters"),
];

const SCHEMES: &str = "securityDefinitions:
  app: {type: apiKey, in: header, name: Authorization, x-apigateway-auth-type: AppSigv1}
  iam: {type: apiKey, in: header, name: unused, x-apigateway-auth-type: iam}
  own: {type: apiKey, in: header, name: x, x-apigateway-authorizer: {type: FRONTEND}}
x-apigateway-responses: {default: {}, special: {THROTTLED: {status: 429}}}
";

#[test]
fn what_cannot_be_served_or_enforced_is_not_served() {
    for (members, what) in UNSUPPORTED {
        let text = one(members, "description: x") + SCHEMES;
        let (definition, complaints) = read(&text, &Config::base());
        assert_eq!(complaints.len(), 1, "{members}: {complaints:#?}");
        assert!(
            complaints[0]
                .problem
                .starts_with("API01: this version does not support "),
            "{}",
            complaints[0]
        );
        assert!(
            complaints[0].problem.contains(what) && complaints[0].is_error(),
            "{}",
            complaints[0]
        );
        assert_eq!(definition.unwrap().left_out, ["API01"]);

        let mut config = Config::base();
        config.definitions.on_unsupported = OnUnsupported::Skip;
        let (definition, complaints) = read(&text, &config);
        assert!(
            complaints
                .iter()
                .all(|c| !c.is_error() && c.problem.contains("left out")),
            "{complaints:#?}"
        );
        assert!(definition.unwrap().apis.is_empty(), "{members}");
    }
}

#[test]
fn other_backends_path_parameters_and_client_certificates_are_not_served() {
    let whole = one("tags: []", "description: x");
    for (from, to, what) in [
        (
            "type: HTTP\n        httpEndpoints",
            "type: HTTP-VPC\n        httpVpcEndpoints",
            "backends of type HTTP-VPC",
        ),
        (
            "type: HTTP\n        httpEndpoints",
            "type: MOCK\n        mockEndpoints",
            "backends of type MOCK",
        ),
        (
            "type: HTTP\n        httpEndpoints",
            "type: function\n        functionEndpoints",
            "backends of type function",
        ),
        (
            "type: HTTP\n",
            "type: HTTP\n        parameters: [{name: a}]\n",
            "backend parameters",
        ),
        ("  /hello:", "  /{room}:", "path parameters"),
        (
            "scheme: http",
            "scheme: https\n          enableClientSsl: true",
            "client certificates",
        ),
        (
            "scheme: http",
            "scheme: https\n          enableSmChannel: true",
            "SM cipher channels",
        ),
    ] {
        let (definition, complaints) = read(&whole.replace(from, to), &Config::base());
        assert!(
            complaints
                .iter()
                .any(|c| c.is_error() && c.problem.contains(what)),
            "{what}: {complaints:#?}"
        );
        assert_eq!(definition.unwrap().left_out, ["API01"], "{what}");
    }
}

#[test]
fn a_default_of_the_document_protects_too() {
    let text = one("tags: []", "description: x") + SCHEMES + "security: [{app: []}]\n";
    let (definition, complaints) = read(&text, &Config::base());
    assert!(
        complaints[0].problem.contains("APP authentication"),
        "{complaints:?}"
    );
    assert!(definition.unwrap().apis.is_empty());
    let text = one("security: []", "description: x") + SCHEMES + "security: [{app: []}]\n";
    assert_eq!(apis(&text).len(), 1);
}

#[test]
fn a_protection_is_done_without_only_where_the_operator_says_so() {
    let rules = |group: &str, words: &str| {
        let text = format!(
            "listeners = [{{ address = \"0.0.0.0:80\", protocol = \"http\" }}]\ndefinitions = [{{ files = [\"a\"] }}]\n\
             [[apis]]\nname = \"API01\"\ngroup = \"{group}\"\ninsecure_ignore = [{words}]"
        );
        Config::from_text("ringgate.toml", &text).unwrap()
    };
    for (members, group, words, served) in [
        ("security: [{app: []}]", "DEFAULT", "\"auth\"", true),
        ("security: [{app: []}]", "DEFAULT", "\"acl\"", false),
        ("security: [{app: []}]", "other", "\"auth\"", false),
        (
            "x-apigateway-access-control: office",
            "DEFAULT",
            "\"acl\"",
            true,
        ),
        (
            "x-apigateway-ratelimit: limit",
            "DEFAULT",
            "\"ratelimit\"",
            true,
        ),
        (
            "x-apigateway-plugins: [one]",
            "DEFAULT",
            "\"plugins\"",
            true,
        ),
        // No protection, so nothing that could be done without.
        (
            "x-apigateway-cors: true",
            "DEFAULT",
            "\"auth\", \"acl\", \"plugins\"",
            false,
        ),
    ] {
        let text = one(members, "description: x") + SCHEMES;
        let (definition, complaints) = read(&text, &rules(group, words));
        assert_eq!(
            definition.unwrap().apis.len(),
            usize::from(served),
            "{members} {words}"
        );
        assert_eq!(complaints.len(), 1);
        assert_eq!(
            complaints[0].severity,
            if served {
                Severity::Warning
            } else {
                Severity::Error
            }
        );
        assert_eq!(
            complaints[0].problem.contains("served WITHOUT"),
            served,
            "{}",
            complaints[0]
        );
    }
}

#[test]
fn empty_rules_ask_for_nothing() {
    for members in [
        "security: []",
        "security: [{}]",
        "x-apigateway-access-control: ''",
        "x-apigateway-plugins: []",
        "x-apigateway-backend-policies: []",
        "parameters: []",
        "x-apigateway-responses: {default: {}}",
        "x-amazon-anything: 1",
    ] {
        assert_eq!(apis(&one(members, "description: x")).len(), 1, "{members}");
    }
}

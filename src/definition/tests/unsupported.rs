//! What this version cannot serve or enforce: it fails closed.

use super::*;

/// Members that ask for what this version does not do, and what the complaint calls it.
const UNSUPPORTED: [(&str, &str); 10] = [
    ("security: [{app: []}]", "APP authentication"),
    ("security: [{iam: []}]", "IAM authentication"),
    ("security: [{own: []}]", "a custom authorizer"),
    (
        "security: [{own: [], app: []}]",
        "a custom authorizer and APP",
    ),
    ("security: [{}, {app: []}]", "APP authentication"),
    (
        "security: [{oauth: []}]",
        "a scheme that the gateway does not have",
    ),
    ("x-apigateway-access-control: office", "access control"),
    ("x-apigateway-ratelimit: limit", "throttling"),
    ("x-apigateway-plugins: [one]", "plugins"),
    ("schemes: [grpcs]", "gRPC"),
];

const SCHEMES: &str = "securityDefinitions:
  app: {type: apiKey, in: header, name: Authorization, x-apigateway-auth-type: AppSigv1}
  iam: {type: apiKey, in: header, name: unused, x-apigateway-auth-type: iam}
  own: {type: apiKey, in: header, name: x, x-apigateway-authorizer: {type: FRONTEND,
    authorizer_type: FUNC, authorizer_uri: 'urn:check', identities: [{name: a, location: HEADER, validation: null}]}}
  oauth: {type: oauth2, flow: implicit, authorizationUrl: 'https://a', scopes: {}}
x-apigateway-responses: {default: {}, special: {THROTTLED: {status: 429}}}
";

#[test]
fn a_protection_in_the_wrong_place_is_an_error() {
    let text = one("description: x", "description: x");
    for member in [
        "x-apigateway-access-control: office",
        "x-apigateway-ratelimit: limit",
        "x-apigateway-plugins: [one]",
    ] {
        let at_root = format!("{text}{member}\n");
        let at_path = text.replacen("    get:", &format!("    {member}\n    get:"), 1);
        for text in [at_root, at_path] {
            let (_, complaints) = read(&text, &Config::base());
            assert_eq!(complaints.len(), 1, "{text}: {complaints:#?}");
            assert!(complaints[0].problem.contains("protects nothing here"));
            assert!(complaints[0].is_error());
        }
    }
    let at_path = text.replacen("    get:", "    security: [{app: []}]\n    get:", 1);
    let (_, complaints) = read(&(at_path + SCHEMES), &Config::base());
    assert!(
        complaints[0]
            .problem
            .contains("`security` protects nothing here")
    );
}

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
fn channels_functions_and_ciphers_are_not_served() {
    let whole = one("tags: []", "description: x");
    let http = &whole[whole.find("        type: HTTP").unwrap()..];
    for (backend, what) in [
        (
            "type: HTTP-VPC, httpVpcEndpoints: {name: pool, scheme: http, method: GET, path: /, timeout: 60000, \
             cascade_flag: false, host: a.example.com, retryCount: '-1'}",
            "backends of type HTTP-VPC",
        ),
        (
            "type: http-vpc-member-group, httpVpcMemberGroupEndpoints: {name: pool, timeout: 5, enableClientSsl: false, \
             memberGroupUrlInfos: [{name: east, scheme: https, method: ANY, path: /a}]}",
            "backends of type HTTP-VPC-MEMBER-GROUP",
        ),
        (
            "type: function, functionEndpoints: {function-urn: 'urn:f', version: 1, invocation-type: synchronous, \
             timeout: 5000, network-type: v2, req_protocol: HTTPS}",
            "backends of type FUNCTION",
        ),
        (
            "type: HTTP, httpEndpoints: {address: a, scheme: https, method: GET, path: /, enableClientSsl: true}",
            "client certificates",
        ),
        (
            "type: HTTP, httpEndpoints: {address: a, scheme: https, method: GET, path: /, enableSmChannel: true}",
            "SM cipher channels",
        ),
        (
            "type: HTTP, httpEndpoints: {address: a, scheme: GRPC, method: POST, path: /}",
            "gRPC backends",
        ),
    ] {
        let text = whole.replace(http, &format!("        {{{backend}}}\n"));
        let (definition, complaints) = read(&text, &Config::base());
        assert_eq!(complaints.len(), 1, "{backend}: {complaints:#?}");
        assert!(
            complaints[0].is_error() && complaints[0].problem.contains(what),
            "{what}: {complaints:#?}"
        );
        assert_eq!(definition.unwrap().left_out, ["API01"], "{what}");
    }
}

#[test]
fn protections_are_checked_though_they_are_not_enforced() {
    for (root, key, code, said) in [
        (
            "x-apigateway-ratelimits: {a: {api-limit: 0, interval: 1, unit: second}}",
            "a.api-limit",
            "APIG.2002",
            "1 to 2147483647",
        ),
        (
            "x-apigateway-ratelimits: {a: {api-limit: 5, user-limit: 6, interval: 1, unit: DAY}}",
            "a.user-limit",
            "APIG.2003",
            "0 to 5",
        ),
        (
            "x-apigateway-ratelimits: {a: {api-limit: 5, user-limit: 3, app-limit: 4, interval: 1, unit: DAY}}",
            "a.app-limit",
            "APIG.2003",
            "0 to 3",
        ),
        (
            "x-apigateway-ratelimits: {a: {api-limit: 5, interval: 1, unit: WEEK}}",
            "a.unit",
            "APIG.2011",
            "\"WEEK\"",
        ),
        (
            "x-apigateway-ratelimits: {a: {api-limit: 5, unit: DAY}}",
            "ratelimits.a",
            "APIG.2001",
            "`interval` is missing",
        ),
        (
            "x-apigateway-ratelimits: {a: {api-limit: 5, interval: 1, unit: DAY, special: [{type: IP, limit: 1, instance: x}]}}",
            "special[0].type",
            "APIG.2011",
            "\"APP\"",
        ),
        (
            "x-apigateway-ratelimits: {a: {api-limit: 5, interval: 1, unit: DAY, sharde: true}}",
            "a.sharde",
            "",
            "did you mean `shared`?",
        ),
        (
            "x-apigateway-access-controls: {a: {acl-type: ALLOW, entity-type: IP, value: 192.0.2.1}}",
            "a.acl-type",
            "APIG.2011",
            "\"PERMIT\"",
        ),
        (
            "x-apigateway-access-controls: {a: {acl-type: deny, entity-type: ip, value: '192.0.2.1,192.0.2.0/33'}}",
            "a.value",
            "APIG.2015",
            "192.0.2.0/33",
        ),
        (
            "securityDefinitions: {a: {type: apiKey, in: query, name: a, x-apigateway-auth-type: IAM}}",
            "a.in",
            "APIG.2011",
            "\"header\"",
        ),
        (
            "securityDefinitions: {a: {type: apiKey, in: header, name: a, x-apigateway-auth-type: AppSigV9}}",
            "a.x-apigateway-auth-type",
            "APIG.2011",
            "did you mean \"AppSigv1\"?",
        ),
        (
            "securityDefinitions: {a: {x-apigateway-auth-type: IAM, x-apigateway-auth-opt: {appcode-auth-type: query}}}",
            "appcode-auth-type",
            "APIG.2011",
            "\"disable\"",
        ),
        (
            "securityDefinitions: {a: {x-apigateway-authorizer: {type: FRONTEND, authorizer_type: FUNC, authorizer_uri: u, ttl: 3601}}}",
            "x-apigateway-authorizer.ttl",
            "APIG.2003",
            "0 to 3600",
        ),
        (
            "securityDefinitions: {a: {x-apigateway-authorizer: {type: FRONTEND, authorizer_type: FUNC, authorizer_uri: u, \
             identities: [{name: a, location: BODY}]}}}",
            "identities[0].location",
            "APIG.2011",
            "\"QUERY\"",
        ),
    ] {
        finds(&(one("tags: []", "description: x") + root), key, code, said);
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
        ("x-apigateway-plugins: [one]", "DEFAULT", "\"auth\"", false),
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

#[test]
fn grpc_may_be_asked_for_from_above() {
    let text = one("description: x", "description: x");
    let swagger = text.replace("paths:", "schemes: [GRPCS]\npaths:");
    let (definition, complaints) = read(&swagger, &Config::base());
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    assert!(complaints[0].problem.contains("gRPC"), "{}", complaints[0]);
    assert_eq!(definition.unwrap().left_out, ["API01"]);

    let own = swagger.replace("operationId", "schemes: [https]\n      operationId");
    assert_eq!(apis(&own).len(), 1);
}

//! What backends are asked, what is complained about, and what no value can do.
#![expect(clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::catalog::tests::{build, config};
use crate::catalog::{Catalog, Query};
use crate::definition::{self, Definition, ParameterSource, Subject, Test};

const ORCHESTRATIONS: &str = r#"
[[orchestrations]]
orchestration_name = "halved"
orchestration_strategy = "list"
orchestration_mapped_param = { mapped_param_name = "X-Half", mapped_param_type = "string", mapped_param_location = "header" }
orchestration_map = [{ map_param_list = ["a"], mapped_param_value = "first" }]
"#;

/// A definition with one API, whose operation has these members besides its name.
fn definition_of(path: &str, members: &str) -> String {
    format!(
        "swagger: '2.0'\ninfo: {{title: DEFAULT}}\nschemes: [http]\npaths:\n  '{path}':\n    \
         x-apigateway-any-method: {{operationId: mapped, {members}}}\n"
    )
}

fn backend(path: &str, parameters: &str) -> String {
    format!(
        "{{type: HTTP, parameters: [{parameters}], httpEndpoints: {{address: 'backend:9000', scheme: http, method: ANY, \
         path: '{path}'}}}}"
    )
}

fn catalog(path: &str, members: &str) -> Catalog {
    let text = definition_of(path, members);
    let config = config(ORCHESTRATIONS);
    build(&config, &[(&text, "RELEASE")]).unwrap_or_else(|complaints| panic!("{complaints:?}"))
}

/// Target, fields set and names removed; nothing where the path leads nowhere.
type Asked = (Vec<u8>, Vec<(String, Vec<u8>)>, Vec<String>);

fn asked(
    catalog: &Catalog,
    target: &str,
    fields: &[(&[u8], &[u8])],
) -> Option<Result<Asked, MappingError>> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let inbound = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 10), 80));
    let routed = catalog.route(&Query {
        scheme: Scheme::Http,
        inbound,
        host: "203.0.113.10",
        method: "GET",
        path,
        stage: None,
    });
    let routed = routed.ok()?;
    let call = Call {
        scheme: Scheme::Http,
        method: "GET",
        host: "203.0.113.10:80",
        path,
        query,
        fields,
        client: Ipv4Addr::new(192, 0, 2, 1).into(),
        inbound,
        request_id: "0123456789abcdef0123456789abcdef",
        received_at: UNIX_EPOCH,
    };
    let outgoing = routed.api.outgoing(&routed.matched, &call);
    Some(outgoing.map(|outgoing| (outgoing.target, outgoing.set, outgoing.removed)))
}

/// As one text: the target, ` name: value` for each field that is set, ` -name` for each that is removed.
fn check(catalog: &Catalog, target: &str, fields: &[(&str, &str)], expected: Result<&str, &str>) {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let asked = asked(catalog, target, &fields).unwrap_or_else(|| panic!("{target} leads nowhere"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = match asked {
        Ok((target, set, removed)) => {
            let mut said = text(&target);
            set.iter()
                .for_each(|(name, value)| said += &format!(" {name}: {}", text(value)));
            removed.iter().for_each(|name| said += &format!(" -{name}"));
            Ok(said)
        }
        Err(MappingError::Parameter(name)) => Err(name),
        Err(other) => Err(format!("{other:?}")),
    };
    let expected = expected.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(said, expected, "{target}");
}

#[test]
fn what_is_mapped_leaves_its_place_and_nobody_else_takes_the_new_one() {
    let parameters = "parameters: [{name: id, in: path, required: true, type: string}, {name: page, in: query, type: \
                      string}, {name: X-Lang, in: header, type: string}]";
    let backend = backend(
        "/b/{lang}/{id}",
        "{name: lang, value: x-lang, in: path, origin: REQUEST}, {name: X-Page, value: page, in: header, origin: REQUEST}, \
         {name: from, value: edge, in: query, origin: CONSTANT}",
    );
    let catalog = catalog(
        "/a/{id}",
        &format!("{parameters}, x-apigateway-backend: {backend}"),
    );
    let lang = ("x-LANG", "de");
    for (target, fields, expected) in [
        ("/a/7", &[lang][..], Ok("/b/de/7?from=edge -X-Page -X-Lang")),
        (
            "/a/7?page=3&x=1",
            &[lang],
            Ok("/b/de/7?x=1&from=edge X-Page: 3 -X-Lang"),
        ),
        (
            "/a/7?FROM=me&p%61ge=3",
            &[lang],
            Ok("/b/de/7?from=edge X-Page: 3 -X-Lang"),
        ),
        (
            "/a/7",
            &[lang, ("X-Page", "me")],
            Ok("/b/de/7?from=edge -X-Page -X-Lang"),
        ),
        ("/a/7", &[], Err("lang")),
        ("/a/7", &[("X-Lang", "..")], Err("lang")),
        ("/a/7?page=%0A", &[lang], Err("X-Page")),
    ] {
        check(&catalog, target, fields, expected);
    }
}

#[test]
fn a_parameter_that_passes_stays_and_one_that_does_not_goes_with_its_default() {
    let parameters = "parameters: [{name: a, in: query, type: string, default: '1'}, {name: b, in: query, type: string, \
                      default: '2', x-apigateway-pass-through: never}, {name: X-C, in: header, type: string, default: \
                      '3'}, {name: X-D, in: header, type: string, default: '4', x-apigateway-pass-through: never}]";
    let backend = backend("/b", "");
    let catalog = catalog(
        "/a",
        &format!("{parameters}, x-apigateway-backend: {backend}"),
    );
    for (target, fields, expected) in [
        ("/a", &[][..], Ok("/b?a=1 X-C: 3 -X-D")),
        ("/a?b=9&z", &[("x-d", "9")], Ok("/b?z&a=1 X-C: 3 -X-D")),
        ("/a?a=%39", &[("x-c", "9")], Ok("/b?a=%39 -X-D")),
        ("/a?a=", &[("X-C", "")], Ok("/b?a= -X-D")),
    ] {
        check(&catalog, target, fields, expected);
    }
}

#[test]
fn every_value_of_a_parameter_has_to_be_allowed() {
    let parameters = "parameters: [{name: n, in: query, type: integer, maximum: 5}, {name: X-N, in: header, type: \
                      integer, maximum: 5}]";
    let backend = backend("/b", "{name: m, value: n, in: query, origin: REQUEST}");
    let catalog = catalog(
        "/a",
        &format!("{parameters}, x-apigateway-backend: {backend}"),
    );
    for (target, fields, expected) in [
        ("/a?n=1&n=2", &[][..], Ok("/b?m=1")),
        ("/a?n=1&N=9", &[], Err("n")),
        ("/a?n=", &[], Err("n")),
        ("/a", &[("X-N", "1"), ("x-n", "9")], Err("X-N")),
    ] {
        check(&catalog, target, fields, expected);
    }
}

#[test]
fn orchestration_and_policies_decide_together() {
    let parameters =
        "parameters: [{name: v, in: query, type: string, x-apigateway-orchestrations: [halved]}]";
    let policy = "x-apigateway-backend-policies: [{type: HTTP, name: first, conditions: [{type: equal, value: first, \
                  origin: orchestration, parameter: X-Half}], httpEndpoints: {address: 'backend:9000', scheme: http, \
                  method: ANY, path: /one}}]";
    let backend = backend("/b", "");
    let catalog = catalog(
        "/a",
        &format!("{parameters}, x-apigateway-backend: {backend}, {policy}"),
    );
    check(
        &catalog,
        "/a?v=a",
        &[("X-Half", "me")],
        Ok("/one?v=a X-Half: first"),
    );
    check(&catalog, "/a?v=b", &[], Err("NoOrchestrationMatch"));
    check(&catalog, "/a", &[], Err("NoOrchestrationInput"));
}

#[test]
fn a_path_is_shown_as_it_is_defined() {
    let parameters = "parameters: [{name: id, in: path, required: true, type: string}]";
    let backend = backend("/b c/x-{id}/%2F", "");
    let catalog = catalog(
        "/a/{id}",
        &format!("{parameters}, x-apigateway-backend: {backend}"),
    );
    let shown = catalog.apis().next().unwrap().to_string();
    assert!(
        shown.contains("backend:9000/b%20c/x-{id}/%2F, idle"),
        "{shown}"
    );
    assert_eq!(BackendPath::fixed("/x y").to_string(), "/x%20y");
    assert_eq!(BackendPath::Same.to_string(), "");
}

/// A definition is judged before; what is built of it by other hands is judged again.
#[test]
fn what_is_not_there_is_complained_about() {
    let members = format!(
        "parameters: [{{name: id, in: path, required: true, type: string}}, {{name: q, in: query, type: string, \
         x-apigateway-orchestrations: [halved]}}], x-apigateway-backend: {}, x-apigateway-backend-policies: [{{type: HTTP, \
         name: some, conditions: [{{type: pattern, value: x, origin: request, parameter: q}}], httpEndpoints: {{address: \
         'backend:9000', scheme: http, method: ANY, path: /p}}}}]",
        backend(
            "/b/{id}",
            "{name: X-Q, value: q, in: header, origin: REQUEST}"
        ),
    );
    let text = definition_of("/a/{id}", &members);
    let config = config(ORCHESTRATIONS);
    let (definition, complaints) =
        definition::parse("a.yaml", &text, &["RELEASE".to_owned()], &config);
    assert_eq!(complaints, []);
    let definition = definition.unwrap();
    assert!(Catalog::build(&config, std::slice::from_ref(&definition)).is_ok());

    let check = |spoil: fn(&mut Definition), problem: &str, code: Option<&str>| {
        let mut definition = definition.clone();
        spoil(&mut definition);
        let complaints = Catalog::build(&config, &[definition]).unwrap_err();
        let found: Vec<_> = complaints.iter().map(|c| (&*c.problem, c.code)).collect();
        assert!(
            matches!(&*found, [(said, with)] if said.starts_with(problem) && *with == code),
            "{found:?}"
        );
    };
    check(
        |d| d.apis[0].backend.parameters[0].source = ParameterSource::Request("r".to_owned()),
        "there is no request parameter `r`",
        Some("APIG.2028"),
    );
    check(
        |d| d.apis[0].policies[0].conditions[0].subject = Subject::Parameter("r".to_owned()),
        "there is no request parameter `r`",
        Some("APIG.2028"),
    );
    check(
        |d| d.apis[0].policies[0].conditions[0].test = Test::Pattern("(".to_owned()),
        "the pattern cannot be used: ",
        None,
    );
    check(
        |d| d.apis[0].parameters[1].orchestrations[0].text = "other".to_owned(),
        "there is no orchestration rule `other`",
        None,
    );
    check(
        |d| {
            d.apis[0].parameters.remove(0);
        },
        "nothing fills `{id}` of the backend path",
        Some("APIG.2027"),
    );
}

/// What a server may make of a path: it decodes so often, takes `\` for `/`, cuts `;parameters` off, merges slashes, and
/// then resolves dot segments.
fn read_as(target: &[u8], decodings: usize, parameters: bool, merge: bool) -> String {
    let mut path = target.split(|b| *b == b'?').next().unwrap().to_vec();
    for _ in 0..decodings {
        let mut again = Vec::new();
        let mut rest = &*path;
        while let [byte, after @ ..] = rest {
            rest = after;
            match crate::catalog::path::escaped(after).filter(|_| *byte == b'%') {
                Some(decoded) => {
                    again.push(decoded);
                    rest = &after[2..];
                }
                None => again.push(*byte),
            }
        }
        path = again;
    }
    let text = String::from_utf8_lossy(&path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/').skip(1) {
        let name = if parameters {
            segment.split(';').next().unwrap()
        } else {
            segment
        };
        match name {
            "." => {}
            ".." => {
                segments.pop();
            }
            "" if merge => {}
            name => segments.push(name),
        }
    }
    format!("/{}/", segments.join("/"))
}

/// Pieces of which everything that ever led out of a folder is made.
const PIECES: &str = "([.]{1,2}|%2[eEfF]|%5[cC]|%25|%00|%c0%ae|[/\\\\;a{}=+]){0,8}";

/// A value that is a whole segment or a part of one, with exact and with prefix matching.
static TEMPLATES: LazyLock<Vec<Catalog>> = LazyLock::new(|| {
    let one = (
        "/base/{w}.{v}/",
        "{name: w, value: X-W, in: path, origin: REQUEST}",
    );
    let whole = ("/base/{v}", "");
    let kinds = [
        (one, "NORMAL"),
        (one, "SWA"),
        (whole, "NORMAL"),
        (whole, "SWA"),
    ];
    let made = kinds.map(|((path, parameters), mode)| {
        catalog(
            "/in/{v}",
            &format!(
                "x-apigateway-match-mode: {mode}, parameters: [{{name: v, in: path, required: true, type: string}}, {{name: \
                 X-W, in: header, type: string, default: '.'}}], x-apigateway-backend: {}",
                backend(path, parameters),
            ),
        )
    });
    made.into()
});

/// Every way into a header and a query.
static LINES: LazyLock<Catalog> = LazyLock::new(|| {
    let parameters = "{name: X-P, value: p, in: header, origin: REQUEST}, {name: X-Q, value: q, in: header, origin: \
                      REQUEST}, {name: X-V, value: X-H, in: header, origin: REQUEST}, {name: r, value: q, in: query, \
                      origin: REQUEST}, {name: s, value: X-H, in: query, origin: REQUEST}";
    let members = format!(
        "parameters: [{{name: p, in: path, required: true, type: string}}, {{name: q, in: query, type: string}}, {{name: X-H, \
         in: header, type: string}}], x-apigateway-backend: {}",
        backend("/b", parameters),
    );
    catalog("/in/{p+}", &members)
});

proptest! {
    #[test]
    fn the_target_lies_below_the_literal_prefix_under_every_reading(
        value in PIECES,
        rest in PIECES,
        header in PIECES,
        whole in any::<bool>(),
        swa in any::<bool>(),
    ) {
        let catalog = &TEMPLATES[usize::from(whole) * 2 + usize::from(swa)];
        let target = if swa { format!("/in/{value}/{rest}") } else { format!("/in/{value}") };
        let fields = [(&b"X-W"[..], header.as_bytes())];
        let fields = if header.is_empty() { &[][..] } else { &fields[..] };
        let Some(Ok((made, _, _))) = asked(catalog, &target, fields) else {
            return Ok(());
        };
        for decodings in 0..6 {
            for (parameters, merge) in [(false, false), (false, true), (true, false), (true, true)] {
                let read = read_as(&made, decodings, parameters, merge);
                prop_assert!(
                    read.starts_with("/base/") && read.len() > "/base/".len(),
                    "{} is read as {read}", String::from_utf8_lossy(&made)
                );
            }
        }
    }

    #[test]
    fn no_value_ends_a_line(value in proptest::collection::vec(any::<u8>(), 0..12)) {
        let encoded: String = value.iter().map(|byte| format!("%{byte:02x}")).collect();
        for (target, header) in [
            (format!("/in/{encoded}"), &b"-"[..]),
            (format!("/in/-?q={encoded}"), b"-"),
            ("/in/-".to_owned(), &value),
        ] {
            let Some(Ok((target, set, _))) = asked(&LINES, &target, &[(b"X-H", header)]) else {
                continue;
            };
            prop_assert!(target.iter().all(u8::is_ascii_graphic), "{target:?}");
            let ends_line = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
            prop_assert!(!set.iter().any(|(_, value)| value.iter().any(ends_line)), "{set:?}");
        }
    }
}

//! Precedence of paths and methods, captures and remainders (spec 2.4), and the tree against a naive oracle.

use std::cmp::Reverse;
use std::sync::OnceLock;

use super::*;
use crate::catalog::shape::{Segment, Shape};
use crate::definition::{ApiDefinition, Definition};

/// A definition of these APIs, named by their index.
fn definition(apis: &[(Method, MatchMode, String)]) -> Definition {
    static TEMPLATE: OnceLock<Definition> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let text = file("DEFAULT", &[("/a", "get", "one", "http, https")]);
        let environments = [RELEASE.to_owned()];
        definition::parse("a.yaml", &text, &environments, &config(""))
            .0
            .unwrap()
    });
    let mut definition = template.clone();
    let [api] = template.apis.as_slice() else {
        unreachable!("the template has one API");
    };
    let apis = apis.iter().enumerate();
    definition.apis = apis
        .map(|(index, (method, mode, path))| ApiDefinition {
            name: index.to_string(),
            method: *method,
            match_mode: *mode,
            path: path.clone(),
            ..api.clone()
        })
        .collect();
    definition
}

/// Method and path; paths with a `*` at their end have prefix matching.
fn parsed(definitions: &[(&str, &str)]) -> Vec<(Method, MatchMode, String)> {
    let one = |(method, path): &(&str, &str)| {
        let (path, mode) = match path.strip_suffix('*') {
            Some(prefix) => (prefix, MatchMode::Prefix),
            None => (*path, MatchMode::Normal),
        };
        let method = Method::named(method).unwrap_or(Method::Any);
        (method, mode, path.to_owned())
    };
    definitions.iter().map(one).collect()
}

pub(super) fn catalog(definitions: &[(&str, &str)]) -> Catalog {
    Catalog::build(&config(""), &[definition(&parsed(definitions))]).unwrap()
}

/// What is found: name, values of parameters, remainder.
fn found(
    catalog: &Catalog,
    method: &str,
    path: &str,
) -> Result<(String, Vec<String>, String), RouteError> {
    let routed = catalog.route(&query("192.0.2.1", method, path));
    let Routed { api, matched, .. } = routed.map_err(|unrouted| unrouted.error)?;
    let text = |range: Range<usize>| String::from_utf8(matched.path[range].to_vec()).unwrap();
    let prefix = matches!(api.match_mode, MatchMode::Prefix);
    Ok((
        format!(
            "{} {}{}",
            api.method.label(),
            api.path,
            if prefix { "*" } else { "" }
        ),
        matched.captures.iter().cloned().map(text).collect(),
        text(matched.remainder..matched.path.len()),
    ))
}

#[test]
fn modes_match_at_segment_boundaries() {
    for (definition, path, expected) in [
        ("/test/AA*", "/test/AA", Some("")),
        ("/test/AA*", "/test/AA/BB", Some("/BB")),
        ("/test/AA*", "/test/AA/", Some("/")),
        ("/test/AA*", "/test/AACC", None),
        ("/prefix*", "/prefix/foo", Some("/foo")),
        ("/prefix*", "/prefixpart", None),
        ("/test/*", "/test/AA/CC", Some("/AA/CC")),
        ("/test/*", "/test/", Some("")),
        ("/test/*", "/test", None),
        ("/test/*", "/test//a", Some("//a")),
        ("/test//*", "/test//a", Some("/a")),
        ("/test//*", "/test/a", None),
        ("/*", "/", Some("")),
        ("/*", "/a", Some("/a")),
        ("/*", "//", Some("//")),
        ("/test", "/test", Some("")),
        ("/test", "/test/", None),
        ("/test/", "/test", None),
        ("/Test", "/test", None),
        ("/", "/", Some("")),
        ("/", "//", None),
        ("/%74est", "/test", Some("")),
        ("/%7Ba%7D", "/%7ba}", Some("")),
        ("/%7Ba%7D", "/b", None),
    ] {
        let found = found(&catalog(&[("GET", definition)]), "GET", path);
        let remainder = found.ok().map(|(_, _, remainder)| remainder);
        assert_eq!(remainder.as_deref(), expected, "{definition} {path}");
    }
}

#[test]
fn parameters_take_segments_that_are_not_empty() {
    for (definition, path, expected) in [
        ("/{a}", "/x", Some(vec!["x"])),
        ("/{a}", "/", None),
        ("/{a}", "/x/", None),
        ("/{a}/b/{c}", "/x/b/y", Some(vec!["x", "y"])),
        ("/{a}/b*", "/x/b/y", Some(vec!["x"])),
        ("/{a}*", "/x/y/z", Some(vec!["x"])),
        ("/a/{b+}", "/a/x/y/", Some(vec!["x/y/"])),
        ("/a/{b+}", "/a//y", Some(vec!["/y"])),
        ("/a/{b+}", "/a/", None),
        ("/a/{b+}", "/a", None),
        ("/{a}/{b+}", "/x/y/z", Some(vec!["x", "y/z"])),
        ("/{proxy+}", "/", None),
        ("/{a+}*", "/x/y", Some(vec!["x/y"])),
    ] {
        let found = found(&catalog(&[("GET", definition)]), "GET", path);
        let values = found.ok().map(|(_, values, _)| values);
        let expected =
            expected.map(|values| values.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(values, expected, "{definition} {path}");
    }
}

#[test]
fn precedence_follows_the_four_rules() {
    let all = [
        ("GET", "/a/b"),
        ("ANY", "/a/b"),
        ("POST", "/a/{x}"),
        ("GET", "/a/{x+}"),
        ("GET", "/a/b*"),
        ("GET", "/a*"),
        ("GET", "/a/*"),
        ("ANY", "/*"),
        ("PUT", "/{x}/c*"),
        ("DELETE", "/{x}/b"),
        ("GET", "/{x}/q/r*"),
    ];
    let paths = catalog(&all);
    for (method, path, expected) in [
        ("GET", "/a/b", Ok("GET /a/b")),
        ("PUT", "/a/b", Ok("ANY /a/b")),
        ("BREW", "/a/b", Ok("ANY /a/b")),
        ("HEAD", "/a/x", Ok("ANY /*")),
        ("POST", "/a/x", Ok("POST /a/{x}")),
        ("GET", "/a/x", Ok("GET /a/{x+}")),
        ("GET", "/a/b/c", Ok("GET /a/{x+}")),
        ("GET", "/a/", Ok("GET /a/*")),
        ("GET", "/a", Ok("GET /a*")),
        ("PUT", "/a/c/d", Ok("PUT /{x}/c*")),
        ("GET", "/z/q/r/s", Ok("GET /{x}/q/r*")),
        ("DELETE", "/z/b", Ok("DELETE /{x}/b")),
        ("GET", "/z/b", Ok("ANY /*")),
    ] {
        let name = found(&paths, method, path).map(|(name, ..)| name);
        assert_eq!(name.as_deref(), expected.as_deref(), "{method} {path}");
    }
    let without_any: Vec<_> = all
        .iter()
        .filter(|(method, _)| *method != "ANY")
        .copied()
        .collect();
    let paths = catalog(&without_any);
    for (method, path, expected) in [
        ("GET", "/none", RouteError::NoRoute),
        ("PATCH", "/a/b", RouteError::NoMethod),
        ("HEAD", "/a/b", RouteError::NoMethod),
        ("ANY", "/a/b", RouteError::NoMethod),
    ] {
        assert_eq!(
            found(&paths, method, path),
            Err(expected),
            "{method} {path}"
        );
    }
}

#[test]
fn what_is_no_parameter_is_no_path() {
    for path in [
        "/a-{b}",
        "/{a}b",
        "/{}",
        "/{a+}/b",
        "/{{a}}",
        "/a/../../{b}",
        "x/{a}",
        "/a%00/{b}",
    ] {
        assert!(Shape::of(path, PathEscapes::Decoded).is_err(), "{path}");
    }
    let shape = |path| Shape::of(path, PathEscapes::Decoded).unwrap();
    assert_eq!(shape("/a/{b}"), shape("/%61/./{other}"));
    assert_ne!(shape("/a/{b}"), shape("/a/{b+}"));
}

#[test]
fn parameters_of_other_names_make_no_other_path() {
    let codes = |second: (&str, &str)| {
        let definition = definition(&parsed(&[("GET", "/a/{x}"), second]));
        let complaints = Catalog::build(&config(""), &[definition])
            .err()
            .unwrap_or_default();
        complaints
            .iter()
            .map(|complaint| complaint.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(("GET", "/%61/{y}")), [Some("APIG.3301")]);
    for second in [
        ("GET", "/a/{x}*"),
        ("ANY", "/a/{x}"),
        ("GET", "/a/{x+}"),
        ("GET", "/a/x"),
    ] {
        assert_eq!(codes(second), [], "{second:?}");
    }
}

#[test]
fn long_paths_and_deep_definitions_need_no_stack() {
    let deep = "/a".repeat(20_000);
    let catalog = catalog(&[("GET", &deep), ("GET", "/*"), ("POST", "/{x}/{y}*")]);
    let name = |method, path: &str| found(&catalog, method, path).map(|(name, ..)| name);
    assert_eq!(name("GET", &deep), Ok(format!("GET {deep}")));
    assert_eq!(name("GET", &format!("{deep}/b")).as_deref(), Ok("GET /*"));
    assert_eq!(name("POST", &"/".repeat(32_768)), Err(RouteError::NoMethod));
}

/// The kinds of a shape's segments, or `None` if it does not match: literal 0, parameter 1, rest 2.
fn kinds(shape: &Shape, mode: MatchMode, path: &str) -> Option<(Vec<u8>, bool)> {
    let (segments, open) = shape.segments(mode);
    let given: Vec<&str> = path[1..].split('/').collect();
    let mut kinds = Vec::new();
    for (index, segment) in segments.enumerate() {
        match segment {
            Segment::Literal(label) => {
                (given.get(index)?.as_bytes() == label).then_some(())?;
                kinds.push(0);
            }
            Segment::Parameter => {
                (!given.get(index)?.is_empty()).then_some(())?;
                kinds.push(1);
            }
            Segment::Rest => {
                (!given.get(index..)?.join("/").is_empty()).then_some(())?;
                kinds.push(2);
                return Some((kinds, false));
            }
        }
    }
    let left = given.len() - kinds.len();
    let fits = match mode {
        MatchMode::Normal => left == 0,
        MatchMode::Prefix => left > 0 || !open,
    };
    fits.then_some((kinds, open))
}

/// All that match, sorted by the four rules; the first is right.
fn oracle(
    definitions: &[(Method, MatchMode, String)],
    method: &str,
    path: &str,
) -> Result<usize, RouteError> {
    let mut matching: Vec<_> = definitions
        .iter()
        .enumerate()
        .filter_map(|(index, (of, mode, defined))| {
            let shape = Shape::of(defined, PathEscapes::Decoded).unwrap();
            let (kinds, open) = kinds(&shape, *mode, path)?;
            let length = Reverse((kinds.len(), open));
            let key = (
                *mode == MatchMode::Prefix,
                kinds,
                length,
                *of == Method::Any,
            );
            Some((key, index))
        })
        .collect();
    if matching.is_empty() {
        return Err(RouteError::NoRoute);
    }
    // A sequence that is the beginning of another one sorts before it; rule 3 has it the other way round.
    matching.sort_by(|(a, _), (b, _)| {
        let shared = a.1.len().min(b.1.len());
        (a.0, &a.1[..shared], a.2, a.3).cmp(&(b.0, &b.1[..shared], b.2, b.3))
    });
    let takes = |of: Method| of == Method::Any || of.label() == method;
    let first = matching
        .iter()
        .find(|(_, index)| takes(definitions[*index].0));
    first.map(|(_, index)| *index).ok_or(RouteError::NoMethod)
}

fn any_definition() -> impl Strategy<Value = (Method, MatchMode, String)> {
    let method = prop_oneof![Just(Method::Get), Just(Method::Post), Just(Method::Any)];
    let mode = prop_oneof![Just(MatchMode::Normal), Just(MatchMode::Prefix)];
    let path = "(/(a|b|\\{x\\}|\\{y\\}|)){1,4}(/\\{z\\+\\})?";
    (method, mode, path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_tree_finds_what_the_rules_say(
        definitions in proptest::collection::vec(any_definition(), 1..24),
        requests in proptest::collection::vec(("(GET|POST|BREW)", "(/(a|b|c|)){1,5}"), 1..12),
    ) {
        let shape = |path: &str| Shape::of(path, PathEscapes::Decoded).unwrap();
        let mut kept: Vec<(Method, MatchMode, String)> = Vec::new();
        for (method, mode, path) in definitions {
            let same = |(m, of, p): &(Method, MatchMode, String)| {
                (*m, *of) == (method, mode) && shape(p) == shape(&path)
            };
            if !kept.iter().any(same) {
                kept.push((method, mode, path));
            }
        }
        let catalog = Catalog::build(&config(""), &[definition(&kept)]).unwrap();
        for (method, path) in &requests {
            let query = query("192.0.2.1", method, path);
            let found = catalog.route(&query).map(|routed| routed.api.name.clone());
            let found = found.map_err(|unrouted| unrouted.error);
            let expected = oracle(&kept, method, path).map(|index| index.to_string());
            prop_assert_eq!(&found, &expected, "{} {} among {:?}", method, path, kept);
            let explanation = catalog.explain(&query);
            let winner = explanation.candidates.iter().find(|c| c.verdict == Verdict::Wins);
            prop_assert_eq!(winner.map(|c| &c.api.name), expected.as_ref().ok());
        }
    }
}

//! The normal form of paths, and that no accepted one can be read as another.

use super::*;
use crate::catalog::path::{encode, encode_kept};

fn decoded(path: &str) -> Result<String, RouteError> {
    normal(path, PathEscapes::Decoded)
}

fn normal(path: &str, escapes: PathEscapes) -> Result<String, RouteError> {
    normalize(path, escapes).map(|form| String::from_utf8_lossy(&form).into_owned())
}

#[test]
fn a_path_is_copied_only_where_it_changes() {
    for path in ["/", "/hello", "/a//b", "/a.b/c..", "/~x;y=1"] {
        let form = normalize(path, PathEscapes::Decoded);
        assert!(matches!(form, Ok(Cow::Borrowed(_))), "{path}");
    }
}

#[test]
fn escapes_are_decoded_once_and_dot_segments_resolved() {
    for (path, expected) in [
        ("", "/"),
        ("/aa%2Faa", "/aa/aa"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/c", "/c"),
        ("/a/..", "/"),
        ("/a//../b", "/a/b"),
        ("/a/b/..%2fc", "/a/c"),
        ("/%25", "/%"),
        ("/100%25/a", "/100%/a"),
        ("/%2541", "/%41"),
        ("/%3Fa%23", "/?a#"),
        ("/%E4%BD%A0", "/你"),
        ("/a;v=1/..b/...", "/a;v=1/..b/..."),
        ("/.well-known/x", "/.well-known/x"),
    ] {
        assert_eq!(decoded(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn kept_slashes_are_part_of_a_segment() {
    for (path, expected) in [
        ("/aa%2Faa", "/aa%2Faa"),
        ("/aa%2faa", "/aa%2Faa"),
        ("/%61a%2f%61a", "/aa%2Faa"),
        ("/a%2Fb/../c", "/c"),
        ("/a/%2e%2e/c", "/c"),
    ] {
        let form = normal(path, PathEscapes::Kept);
        assert_eq!(form.as_deref(), Ok(expected), "{path}");
    }
    for path in [
        "/a/..%2Fb",
        "/a%2F..%2Fb",
        "/a%2F%2e%2e",
        "/a%2F..;x%2Fb",
        "/a%2F%252e%252e",
        "/a%252Fb",
        "/.%2Fa",
    ] {
        let form = normal(path, PathEscapes::Kept);
        assert_eq!(form, Err(RouteError::BadTarget), "{path}");
    }
}

#[test]
fn what_could_be_read_in_another_way_is_refused() {
    for path in [
        "a",
        "*",
        "/..",
        "/a/../..",
        "/a/..%2f..%2fb",
        "/a\\b",
        "/a/..\\b",
        "/a%5Cb",
        "/a%5c..%5cb",
        "/a%255cb",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/..%3Bx/b",
        "/a/..%253Bx/b",
        "/a/.;/b",
        "/a/%252e%252e/b",
        "/a/%25252e%25252e/b",
        "/a/.%252e/b",
        "/a/b%252Fc",
        "/a%00",
        "/a%2500",
        "/a%0d%0a",
        "/a%7F",
        "/a/%C0%AE%C0%AE/b",
        "/a/%C0%AFb",
        "/a/%E0%80%AE/b",
        "/a/%F0%80%80%AE/b",
        "/a/%25C0%25AEb",
        "/a/%25u002e%25u002e/b",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%+1",
        "/%252525252525",
    ] {
        for escapes in [PathEscapes::Decoded, PathEscapes::Kept] {
            let form = normal(path, escapes);
            assert_eq!(form, Err(RouteError::BadTarget), "{path}");
        }
    }
}

#[test]
fn a_long_path_costs_a_bounded_number_of_passes() {
    let nested = format!("/{}", "%25".repeat(10_000));
    assert!(decoded(&nested).is_ok(), "ten thousand `%`, decoded once");
    let deep = format!("/%{}41", "25".repeat(10_000));
    assert_eq!(decoded(&deep), Err(RouteError::BadTarget));
    assert!(decoded(&"/a/..".repeat(6_000)).is_ok());
}

/// What another reader may do with a path.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Decode,
    Backslashes,
    Parameters,
    MergeSlashes,
    Resolve,
}

impl Reading {
    fn of(self, path: &[u8]) -> Vec<u8> {
        let joined = |segments: Vec<&[u8]>| segments.join(&b'/');
        match self {
            Self::Decode => {
                let mut out = Vec::new();
                let mut index = 0;
                while index < path.len() {
                    let digits = path.get(index + 1..index + 3);
                    let byte = digits
                        .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                        .and_then(|digits| std::str::from_utf8(digits).ok())
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    match byte {
                        Some(byte) if path[index] == b'%' => {
                            out.push(byte);
                            index += 3;
                        }
                        _ => {
                            out.push(path[index]);
                            index += 1;
                        }
                    }
                }
                out
            }
            Self::Backslashes => path
                .iter()
                .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
                .collect(),
            Self::Parameters => joined(
                path.split(|b| *b == b'/')
                    .map(|segment| segment.split(|b| *b == b';').next().unwrap())
                    .collect(),
            ),
            Self::MergeSlashes => {
                let mut out = path.to_vec();
                out.dedup_by(|a, b| *a == b'/' && *b == b'/');
                out
            }
            Self::Resolve => {
                let mut out: Vec<&[u8]> = Vec::new();
                for segment in path.split(|b| *b == b'/').skip(1) {
                    match segment {
                        b"." => {}
                        b".." => drop(out.pop()),
                        _ => out.push(segment),
                    }
                }
                [b"/", joined(out).as_slice()].concat()
            }
        }
    }
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::Decode),
        Just(Reading::Backslashes),
        Just(Reading::Parameters),
        Just(Reading::MergeSlashes),
        Just(Reading::Resolve),
    ]
}

/// A path of pieces that attacks are made of.
fn path(prefix: &str) -> impl Strategy<Value = String> {
    const PIECES: &str = "([a-c.;/%\\\\25eEfF]|%2e|%2F|%5c|%3b|%25|%252e|%252f|%255c|%00|\\.\\./|/\\.\\.;|//|é){0,14}";
    proptest::string::string_regex(&format!("{prefix}{PIECES}")).unwrap()
}

#[test]
fn a_path_is_kept_where_it_cannot_be_mistaken() {
    let kept = |path| {
        let form = normalize(path, PathEscapes::Kept).unwrap();
        encode_kept(path, &form).into_owned()
    };
    for path in ["/", "/a//b/", "/p%61th", "/a%2Fb", "/a%20b;c", "/.../a.b"] {
        assert_eq!(kept(path), path);
    }
    assert_eq!(kept(""), "/");
    assert_eq!(kept("/a/../b"), "/b");
    assert_eq!(kept("/a/%2e%2E/b%61"), "/ba");
    assert_eq!(kept("/a/."), "/a/");
    assert_eq!(kept("/\u{e9}"), "/%C3%A9");
}

fn escapes() -> impl Strategy<Value = PathEscapes> {
    prop_oneof![Just(PathEscapes::Decoded), Just(PathEscapes::Kept)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_written_normal_form_is_read_as_itself(path in path("/?"), escapes in escapes()) {
        if let Ok(form) = normalize(&path, escapes) {
            let text = encode_path(&form);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'));
            let again = normalize(&text, escapes);
            prop_assert_eq!(again.as_deref(), Ok(&*form));
            prop_assert_eq!(encode_path(&again.unwrap()), text);
        }
    }

    #[test]
    fn no_reading_of_an_accepted_path_leaves_its_prefix(
        path in path("/pre/"),
        escapes in escapes(),
        readings in proptest::collection::vec(reading(), 0..10),
    ) {
        if let Ok(form) = normalize(&path, escapes) && form.starts_with(b"/pre/") {
            let mut read = encode_path(&form).into_bytes();
            for reading in readings {
                read = reading.of(&read);
                prop_assert!(
                    read == b"/pre" || read.starts_with(b"/pre/"),
                    "{:?} makes {} of {}", reading, String::from_utf8_lossy(&read), path
                );
            }
        }
    }

    #[test]
    fn encoding_a_definition_keeps_what_is_matched(path in "/[ -~é]{0,12}") {
        let encoded = encode(&path);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'));
        prop_assert_eq!(encode(&encoded), encoded.clone());
    }
}

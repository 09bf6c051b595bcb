//! The pieces of a backend's request: path, query and header values, each encoded so that it stays what it is.

use super::MappingError;
use super::parameters::form_decoded;
use crate::catalog::path::{encode_path, escaped};

/// Bytes as they stand in a path: everything outside `pchar` (RFC 3986 §3.3) and the slash is escaped (spec U17).
pub(super) fn push_path(out: &mut Vec<u8>, value: &[u8]) {
    push_escaped(out, value, |byte| {
        byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
    });
}

/// A query value (spec 2.6: the list of what is escaped).
pub(super) fn push_query(out: &mut Vec<u8>, value: &[u8]) {
    push_escaped(out, value, |byte| {
        byte.is_ascii_graphic() && !b"><+=&%#\"[\\]^{|}`".contains(&byte)
    });
}

fn push_escaped(out: &mut Vec<u8>, value: &[u8], stays: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for byte in value {
        if stays(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// How often a value is decoded to see whether it hides a separator; more layers than that are refused.
const LAYERS_MAX: usize = 4;

/// Whether `value` stays inside one path segment under every reading: decoded once or again, with `\` as a slash, with
/// path parameters after `;` cut off, and with the overlong UTF-8 forms of dot and slash.
pub(super) fn stays_in_segment(value: &[u8]) -> bool {
    let mut layer = value.to_vec();
    for _ in 0..LAYERS_MAX {
        let name = layer.split(|b| *b == b';').next().unwrap_or_default();
        if matches!(name, b"" | b"." | b"..")
            || layer
                .iter()
                .any(|b| b.is_ascii_control() || matches!(b, b'/' | b'\\' | 0xC0 | 0xC1))
        {
            return false;
        }
        let decoded = decoded(&layer);
        if decoded == layer {
            return true;
        }
        layer = decoded;
    }
    false
}

fn decoded(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match escaped(after).filter(|_| *byte == b'%') {
            Some(plain) => {
                out.push(plain);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(*byte),
        }
    }
    out
}

/// Appends what follows the prefix, in normal form, with exactly one slash in between (spec 2.6, U15). A lone slash is
/// nothing: the backend's path stays as defined.
pub(super) fn join(target: &mut Vec<u8>, remainder: &[u8]) {
    let start = remainder.iter().position(|b| *b != b'/');
    let Some(rest) = start.and_then(|start| remainder.get(start..)) else {
        return;
    };
    if target.last() != Some(&b'/') {
        target.push(b'/');
    }
    target.extend_from_slice(encode_path(rest).as_bytes());
}

/// Appends the client's query without the parameters named in `dropped`, in any case and encoded or not, and `added`, which is encoded. Where nothing
/// changes, the client's query passes byte for byte.
pub(super) fn push_query_string(
    target: &mut Vec<u8>,
    query: Option<&str>,
    dropped: &[String],
    added: &[u8],
) {
    let drops = |pair: &str| {
        let name = form_decoded(pair.split('=').next().unwrap_or_default());
        dropped
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    let text = query.unwrap_or_default();
    if added.is_empty() && (dropped.is_empty() || !text.split('&').any(drops)) {
        if query.is_some() {
            target.push(b'?');
            target.extend_from_slice(text.as_bytes());
        }
        return;
    }
    let mut separator = b'?';
    let kept = text
        .split('&')
        .filter(|pair| !pair.is_empty() && !drops(pair))
        .map(str::as_bytes);
    for part in kept.chain((!added.is_empty()).then_some(added)) {
        target.push(separator);
        target.extend_from_slice(part);
        separator = b'&';
    }
}

/// Bytes outside ASCII pass as they are; control characters but for the tab could end the field (RFC 9110 §5.5).
pub(super) fn checked_field(name: &str, value: &[u8]) -> Result<Vec<u8>, MappingError> {
    if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
        return Err(MappingError::Parameter(name.to_owned()));
    }
    Ok(value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_encoded_for_their_place() {
        assert_eq!(
            text(|out| push_path(out, "[a]?é%".as_bytes())),
            "%5Ba%5D%3F%C3%A9%25"
        );
        assert_eq!(
            text(|out| push_query(out, b"a b>=<+&%#\"[\\]^{|}`/?'")),
            "a%20b%3E%3D%3C%2B%26%25%23%22%5B%5C%5D%5E%7B%7C%7D%60/?'"
        );
    }

    #[test]
    fn a_value_that_could_leave_its_segment_is_seen() {
        for value in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "%2e%2e",
            "%252e.",
            "a%2fb",
            "a%255cb",
            "..;x",
            "a\n",
            "%00",
            "%25252525252e",
        ] {
            assert!(!stays_in_segment(value.as_bytes()), "{value}");
        }
        for value in ["a", "...", "a..b", "100%", "é", "a;b", "%41"] {
            assert!(stays_in_segment(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn prefix_and_remainder_meet_in_one_slash() {
        for (prefix, rest, expected) in [
            ("/t2/", "/AA/CC", "/t2/AA/CC"),
            ("/t2", "/AA", "/t2/AA"),
            ("/t2", "AA", "/t2/AA"),
            ("/t2", "", "/t2"),
            ("/t2", "/", "/t2"),
            ("/", "//x", "/x"),
            ("/t", "/a b%", "/t/a%20b%25"),
        ] {
            let joined = text(|out| {
                out.extend_from_slice(prefix.as_bytes());
                join(out, rest.as_bytes());
            });
            assert_eq!(joined, expected);
        }
    }

    #[test]
    fn a_query_is_edited_only_where_it_must_be() {
        for (query, dropped, added, expected) in [
            (None, "a", "", ""),
            (Some(""), "", "", "?"),
            (Some("x=%zz&&y"), "a", "", "?x=%zz&&y"),
            (Some("a=1"), "a", "", ""),
            (Some("x&%61=1&A=2&y=+"), "a", "", "?x&y=+"),
            (Some("a=1&x"), "a", "b=1", "?x&b=1"),
            (None, "", "b=1", "?b=1"),
            (Some(""), "", "b=1", "?b=1"),
        ] {
            let made = text(|out| {
                let dropped: Vec<_> = dropped.split_terminator(',').map(str::to_owned).collect();
                push_query_string(out, query, &dropped, added.as_bytes());
            });
            assert_eq!(made, expected, "{query:?}");
        }
    }

    proptest! {
        #[test]
        fn an_allowed_value_has_no_separator_however_it_is_decoded(value in "[.%25eEfFcC/\\\\;a]{0,12}") {
            if stays_in_segment(value.as_bytes()) {
                let mut layer = value.into_bytes();
                for _ in 0..8 {
                    prop_assert!(!layer.contains(&b'/') && !layer.contains(&b'\\') && layer != b"..");
                    layer = decoded(&layer);
                }
            }
        }
    }
}

//! Control characters as text: what a peer sends must neither begin a line of its own nor move a terminal's cursor.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// Appends `text` with its control characters as `\u001b`, in JSON and elsewhere: C0, DEL, C1, and the separators that
/// some take for the end of a line. What is in `kept` stays.
pub(crate) fn put_escaped(out: &mut String, text: &str, kept: &[char]) {
    for piece in text.split_inclusive(|c| is_control(c) && !kept.contains(&c)) {
        let mut plain = piece.chars();
        match plain.next_back() {
            Some(last) if is_control(last) && !kept.contains(&last) => {
                out.push_str(plain.as_str());
                let written = write!(out, "\\u{:04x}", u32::from(last));
                debug_assert!(written.is_ok(), "writing to a string does not fail");
            }
            _ => out.push_str(piece),
        }
    }
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Appends `bytes` as nginx's log does, and with it the cloud's: `"`, `\`, and what is no printable ASCII as `\x22`.
/// A blank is escaped as well where blanks separate.
pub(crate) fn put_hex_escaped(out: &mut Vec<u8>, bytes: &[u8], blank: Blank) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b' ' if blank == Blank::Kept => out.push(byte),
            b'"' | b'\\' | ..=b' ' | 0x7f.. => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'?');
                out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blank {
    Kept,
    Escaped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_text() {
        for (text, expected) in [
            ("", ""),
            ("plain Ünïcode ✓", "plain Ünïcode ✓"),
            ("a\nb", "a\\u000ab"),
            ("\r\n", "\\u000d\\u000a"),
            (
                "\x1b[31m\x7f\u{85}\u{9b}\u{2028}",
                "\\u001b[31m\\u007f\\u0085\\u009b\\u2028",
            ),
            ("kept\t", "kept\t"),
        ] {
            let mut out = String::new();
            put_escaped(&mut out, text, &['\t']);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn the_clouds_form_escapes_bytes() {
        for (bytes, kept, escaped) in [
            (&b"a b"[..], "a b", "a\\x20b"),
            (b"\"\\", "\\x22\\x5C", "\\x22\\x5C"),
            (
                b"\r\n\x00\x7f",
                "\\x0D\\x0A\\x00\\x7F",
                "\\x0D\\x0A\\x00\\x7F",
            ),
            ("é".as_bytes(), "\\xC3\\xA9", "\\xC3\\xA9"),
        ] {
            for (blank, expected) in [(Blank::Kept, kept), (Blank::Escaped, escaped)] {
                let mut out = Vec::new();
                put_hex_escaped(&mut out, bytes, blank);
                assert_eq!(out, expected.as_bytes());
            }
        }
    }
}

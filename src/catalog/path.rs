//! The form of a path in which it is matched and sent on (spec 2.4): decoded once, dot segments resolved, and nothing in
//! it that another reader could take for something else.
//!
//! A path is matched here and read again by the backend and whatever stands before it. Each of them may decode once more,
//! take `\` for `/`, strip `;parameters` or merge slashes. A path is refused if any of that could make it leave the prefix
//! that it was matched by.

use std::borrow::Cow;

use super::RouteError;
use crate::config::PathEscapes;

/// How often a path may still be decodable after its one decoding. Nobody encodes deeper in good faith, and each
/// decoding costs a pass.
const DECODINGS_MAX: usize = 4;

/// The escape of the slash as a normal form has it where it is kept.
const KEPT_SLASH: &[u8] = b"%2F";

/// Decodes percent-escapes once, except those of the slash where they are kept, and resolves dot segments; duplicate
/// slashes stay (spec U14). Refused are paths that climb above the root, broken escapes, and all that could be read in
/// another way.
pub fn normalize(path: &str, escapes: PathEscapes) -> Result<Cow<'_, [u8]>, RouteError> {
    let form = resolved(path, escapes).ok_or(RouteError::BadTarget)?;
    if is_ambiguous(&form, escapes) {
        return Err(RouteError::BadTarget);
    }
    Ok(form)
}

/// A normal form as a request line has it (spec U17: everything outside `pchar` is escaped); `normalize` gives the form
/// back. `%2F` is a kept escape: no normal form has these characters for another reason.
pub fn encode_path(form: &[u8]) -> String {
    let mut out = String::with_capacity(form.len());
    let mut rest = form;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if is_path_byte(*byte) || is_slash_escape(*byte, after) {
            out.push(char::from(*byte));
        } else {
            push_escape(&mut out, *byte);
        }
    }
    out
}

/// A matched path as the request line had it, where that says the same as its normal form to any reader; else the normal
/// form as a request line has it.
pub(super) fn encode_kept<'a>(path: &'a str, form: &[u8]) -> Cow<'a, str> {
    let is_dots = |segment: &str| {
        let decoded = decode(segment.as_bytes(), PathEscapes::Kept);
        matches!(decoded.as_deref(), Some(b"." | b".."))
    };
    let as_is = |b: u8| b == b'%' || is_path_byte(b);
    if path.starts_with('/') && path.bytes().all(as_is) && !path.split('/').any(is_dots) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(encode_path(form))
}

/// A path of a definition as a request line has it: its escapes stay, what cannot stand in a path is escaped. A `%` that
/// begins no escape stands for itself, as spec 1.2 allows it in a path.
pub(super) fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if is_path_byte(*byte) || (*byte == b'%' && escaped(after).is_some()) {
            out.push(char::from(*byte));
        } else {
            push_escape(&mut out, *byte);
        }
    }
    out
}

/// The path decoded and without dot segments, whatever else is in it.
pub(super) fn resolved(path: &str, escapes: PathEscapes) -> Option<Cow<'_, [u8]>> {
    if path.is_empty() {
        // RFC 9110 §4.2.3: an empty path is the same as `/`.
        return Some(Cow::Borrowed(b"/"));
    }
    if !path.starts_with('/') {
        return None;
    }
    let decoded = if path.contains('%') {
        Cow::Owned(decode(path.as_bytes(), escapes)?)
    } else {
        Cow::Borrowed(path.as_bytes())
    };
    if !decoded.windows(2).any(|pair| pair == b"/.") {
        return Some(decoded);
    }
    resolve(&decoded).map(Cow::Owned)
}

fn decode(mut path: &[u8], escapes: PathEscapes) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut kept = 0;
    while let Some((byte, rest)) = path.split_first() {
        path = rest;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match escaped(rest)? {
            b'/' if escapes == PathEscapes::Kept => {
                out.extend_from_slice(KEPT_SLASH);
                kept += 1;
            }
            byte => out.push(byte),
        }
        path = rest.get(2..)?;
    }
    // `%252F` decodes to what looks like a kept slash and is none.
    let looks_kept = |window: &&[u8]| *window == KEPT_SLASH;
    let all = escapes == PathEscapes::Decoded
        || out.windows(KEPT_SLASH.len()).filter(looks_kept).count() == kept;
    all.then_some(out)
}

/// The byte that the two hexadecimal digits at the beginning of `bytes` stand for.
pub(super) fn escaped(bytes: &[u8]) -> Option<u8> {
    let [high, low] = *bytes.first_chunk()?;
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986 §5.2.4, except that climbing above the root is refused.
fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => out.truncate(out.iter().rposition(|b| *b == b'/')?),
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        if last {
            out.push(b'/');
        }
    }
    Some(out)
}

/// Whether another reading of the form could find a segment in it that leads elsewhere.
///
/// Looked at are the form and what further decodings make of it. Merged slashes need no look of their own: they are
/// dangerous only with dot segments, of which none is left in any reading.
fn is_ambiguous(form: &[u8], escapes: PathEscapes) -> bool {
    if is_unclear(form) {
        return true;
    }
    if !form.contains(&b'%') {
        return false;
    }
    let mut form = match escapes {
        PathEscapes::Decoded => form.to_vec(),
        PathEscapes::Kept => unkept(form),
    };
    for _ in 0..DECODINGS_MAX {
        if is_unclear(&form) {
            return true;
        }
        let Some(again) = decode_again(&form) else {
            return false;
        };
        let slashes = |form: &[u8]| form.iter().filter(|b| **b == b'/').count();
        if slashes(&again) != slashes(&form) {
            return true;
        }
        form = again;
    }
    true
}

/// The form with its kept escapes decoded: that they stand for slashes is no secret.
fn unkept(form: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(form.len());
    let mut rest = form;
    while let Some((byte, after)) = rest.split_first() {
        if is_slash_escape(*byte, after) {
            out.push(b'/');
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    out
}

/// What a reader makes of the form who decodes it once more and leaves broken escapes alone; `None` if nothing changes.
fn decode_again(form: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(form.len());
    let mut rest = form;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match escaped(after).filter(|_| *byte == b'%') {
            Some(decoded) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(*byte),
        }
    }
    (out.len() < form.len()).then_some(out)
}

/// Control characters, `\`, characters written in more ways than one, and segments that are dot segments once their
/// `;parameters` are gone.
fn is_unclear(form: &[u8]) -> bool {
    form.iter().any(|b| b.is_ascii_control() || *b == b'\\')
        || has_other_spelling(form)
        || form.split(|b| *b == b'/').any(|segment| {
            let name = segment.split(|b| *b == b';').next();
            name == Some(b".") || name == Some(b"..")
        })
}

/// UTF-8 that is longer than it has to be (RFC 3629 §3), and `%u002e`, which some servers still decode.
fn has_other_spelling(form: &[u8]) -> bool {
    if form.is_ascii() && !form.contains(&b'%') {
        return false;
    }
    form.windows(2).any(|pair| {
        matches!(
            pair,
            [0xC0 | 0xC1, 0x80..=0xBF]
                | [0xE0, 0x80..=0x9F]
                | [0xF0, 0x80..=0x8F]
                | [b'%', b'u' | b'U']
        )
    })
}

fn is_slash_escape(byte: u8, after: &[u8]) -> bool {
    byte == b'%' && after.starts_with(b"2F")
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.extend(DIGITS.get(usize::from(nibble)));
    }
}

/// RFC 3986 §3.3, `pchar`, and the slash.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
}

//! The form of a path in which it is matched (spec 2.4): decoded once, dot segments resolved.

use std::borrow::Cow;

use super::RouteError;

/// Decodes percent-escapes once and resolves dot segments; duplicate slashes stay (spec U14). Refused are paths that
/// climb above the root, broken escapes, and control characters, which no reading of a path agrees about.
pub fn normalize(path: &str) -> Result<Cow<'_, [u8]>, RouteError> {
    if path.is_empty() {
        // RFC 9110 §4.2.3: an empty path is the same as `/`.
        return Ok(Cow::Borrowed(b"/"));
    }
    if !path.starts_with('/') {
        return Err(RouteError::BadTarget);
    }
    let decoded = if path.contains('%') {
        Cow::Owned(decode(path.as_bytes()).ok_or(RouteError::BadTarget)?)
    } else {
        Cow::Borrowed(path.as_bytes())
    };
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(RouteError::BadTarget);
    }
    if !decoded.windows(2).any(|pair| pair == b"/.") {
        return Ok(decoded);
    }
    resolve(&decoded)
        .map(Cow::Owned)
        .ok_or(RouteError::BadTarget)
}

fn decode(mut path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    while let Some((byte, rest)) = path.split_first() {
        path = rest;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let (digits, rest) = rest.split_first_chunk()?;
        out.push(escape(*digits)?);
        path = rest;
    }
    Some(out)
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn escape([high, low]: [u8; 2]) -> Option<u8> {
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

/// A path of a definition as it is written in a request: escapes stay, what cannot stand in a path is escaped
/// (spec U17: everything outside `pchar`).
pub(super) fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escaped = *byte == b'%'
            && after
                .first_chunk()
                .is_some_and(|digits| escape(*digits).is_some());
        if escaped || is_path_byte(*byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// RFC 3986 §3.3, `pchar`, and the slash.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
}

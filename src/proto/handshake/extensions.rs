//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1), of which only the names matter here.
#![forbid(unsafe_code)]

use crate::proto::head::{is_tchar, trim};

/// The list breaks the grammar; nothing after that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadExtensions;

/// The names of the extensions in `value`, in order, parameters checked and left out.
///
/// ```text
///   extension-list = 1#extension        extension = token *( ";" token [ "=" ( token | quoted-string ) ] )
/// ```
pub(super) fn extension_names(value: &[u8]) -> impl Iterator<Item = Result<&[u8], BadExtensions>> {
    let mut rest = Ok(value);
    std::iter::from_fn(move || {
        let list = skip_empty(rest.ok()?);
        if list.is_empty() {
            return None;
        }
        let (name, after) = match extension(list) {
            Some((name, after)) => (Ok(name), Ok(after)),
            None => (Err(BadExtensions), Err(BadExtensions)),
        };
        rest = after;
        Some(name)
    })
}

/// RFC 9110 §5.6.1.2: empty elements of a list are passed over.
fn skip_empty(mut list: &[u8]) -> &[u8] {
    while let [b',' | b' ' | b'\t', rest @ ..] = list {
        list = rest;
    }
    list
}

/// The name of the first extension, and what follows its last parameter: nothing, or a comma and more.
fn extension(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, mut rest) = token(list)?;
    loop {
        rest = match trim(rest) {
            [] => return Some((name, &[])),
            [b',', after @ ..] => return Some((name, after)),
            [b';', after @ ..] => parameter(trim(after))?,
            _ => return None,
        };
    }
}

/// What follows the parameter that `bytes` begins with.
fn parameter(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = token(bytes)?;
    match trim(rest) {
        [b'=', value @ ..] => match trim(value) {
            [b'"', quoted @ ..] => after_quoted(quoted),
            value => token(value).map(|(_, rest)| rest),
        },
        rest => Some(rest),
    }
}

/// What follows the closing quote. RFC 6455 §9.1: once unquoted, the value is a token.
fn after_quoted(quoted: &[u8]) -> Option<&[u8]> {
    let mut rest = quoted;
    loop {
        rest = match rest {
            [b'"', after @ ..] if rest.len() < quoted.len() => return Some(after),
            [b'\\', byte, after @ ..] | [byte, after @ ..] if is_tchar(*byte) => after,
            _ => return None,
        };
    }
}

fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = bytes.iter().take_while(|byte| is_tchar(**byte)).count();
    if len == 0 {
        return None;
    }
    bytes.split_at_checked(len)
}

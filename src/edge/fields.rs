//! Which fields of a message are for the next hop alone (RFC 9110 §7.6.1).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

/// Names that a `Connection` field may list. Each is compared with each field, and no honest sender lists more.
pub(super) const NAMED_MAX: usize = 32;

/// Fields that concern one connection whether `Connection` names them or not.
const HOP_BY_HOP: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// Fields that say where a message ends or what becomes of its connection: written by us alone, never by a parameter or
/// a template.
pub(super) const FRAMING: [&[u8]; 9] = [
    b"connection",
    b"content-length",
    b"expect",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// Fields that a client can't have removed by naming them in `Connection`: a backend that decides by them must not be
/// made to decide without them.
const PROTECTED: [&[u8]; 8] = [
    b"authorization",
    b"cookie",
    b"forwarded",
    b"host",
    b"origin",
    b"set-cookie",
    b"x-real-ip",
    b"x-request-id",
];
const PROTECTED_PREFIXES: [&[u8]; 2] = [b"sec-websocket-", b"x-forwarded-"];

/// The names that `Connection` lists, beyond the usual words about the connection itself.
#[derive(Debug, Default)]
pub(super) struct Named<'a>(Vec<&'a [u8]>);

/// More names than anybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl<'a> Named<'a> {
    pub(super) fn new(tokens: impl Iterator<Item = &'a [u8]>) -> Result<Self, TooMany> {
        let mut named = Vec::new();
        for token in tokens.filter(|token| !is_usual(token) && !is_protected(token)) {
            if named.len() == NAMED_MAX {
                return Err(TooMany);
            }
            named.push(token);
        }
        Ok(Self(named))
    }

    /// Whether the field of this name ends with this hop.
    pub(super) fn is_hop_by_hop(&self, name: &[u8]) -> bool {
        is_one_of(name, &HOP_BY_HOP) || is_one_of(name, &self.0)
    }
}

fn is_usual(token: &[u8]) -> bool {
    is_one_of(token, &[b"upgrade", b"keep-alive", b"close"])
}

fn is_protected(name: &[u8]) -> bool {
    is_one_of(name, &PROTECTED)
        || PROTECTED_PREFIXES
            .iter()
            .any(|prefix| has_prefix(name, prefix))
}

pub(super) fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether `name` begins with `prefix`, whatever the case.
pub(super) fn has_prefix(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Appends one field.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(tokens: &[&'a str]) -> Named<'a> {
        Named::new(tokens.iter().map(|token| token.as_bytes())).unwrap()
    }

    #[test]
    fn connection_removes_what_it_names() {
        let named = named(&["Upgrade", "X-Custom", "keep-alive"]);
        assert!(named.is_hop_by_hop(b"x-custom"));
        assert!(named.is_hop_by_hop(b"Proxy-Authorization"));
        assert!(!named.is_hop_by_hop(b"x-other"));
    }

    #[test]
    fn protected_fields_stay_whatever_connection_names() {
        let tokens = [
            "Authorization",
            "COOKIE",
            "host",
            "Origin",
            "x-forwarded-for",
            "X-Forwarded-Anything",
            "sec-websocket-key",
            "Sec-WebSocket-Protocol",
        ];
        let named = named(&tokens);
        for token in tokens {
            assert!(!named.is_hop_by_hop(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn a_list_without_end_is_refused() {
        let token = |_| &b"x-a"[..];
        assert!(Named::new((0..NAMED_MAX).map(token)).is_ok());
        assert_eq!(Named::new((0..=NAMED_MAX).map(token)).unwrap_err(), TooMany);
    }
}

//! What is a secret in a request, and is left out of every line.
//!
//! Of a request's fields only `Host`, `User-Agent` and `X-Forwarded-For` come into a line at all: not `Authorization`,
//! `Cookie`, `Sec-WebSocket-Protocol` or anything that signs a request. Of its query a value is shown only if
//! - its name does not sound like a secret's (`WORDS`, `NAMES`) and is not listed in `log.access_secrets`, and
//! - it is no longer than [`SHOWN_MAX`]: nothing that short keeps anybody out, and most of what is longer may.
//!
//! A JSON web token is left out wherever it stands. Payload is never looked at.

/// What stands in the place of a secret.
pub(super) const HIDDEN: &[u8] = b"***";

/// The longest value of a query that is shown, as it was written. Keys and tokens begin at 16.
const SHOWN_MAX: usize = 15;

/// Whatever has one of these in its name is a secret.
const WORDS: [&str; 18] = [
    "assertion",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "csrf",
    "hmac",
    "jwt",
    "key",
    "nonce",
    "pass",
    "private",
    "saml",
    "secret",
    "session",
    "sign",
    "ticket",
    "token",
];

/// Names of secrets that are too short to be looked for within others.
const NAMES: [&str; 9] = [
    "access", "code", "hash", "otp", "pin", "pwd", "sid", "sig", "xsrf",
];

/// The shortest text that is taken for a JSON web token if it begins like one.
const TOKEN_MIN: usize = 20;

/// Which parameters are secrets beside those that sound like it.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| folded(name.as_bytes())).collect())
    }

    /// Appends `query` without the values of secrets.
    pub(super) fn put_query(&self, out: &mut Vec<u8>, query: &[u8]) {
        for pair in query.split_inclusive(|byte| matches!(byte, b'&' | b';')) {
            let (pair, separator) = match pair.split_last() {
                Some((last @ (b'&' | b';'), pair)) => (pair, Some(*last)),
                _ => (pair, None),
            };
            let equals = pair.iter().position(|byte| *byte == b'=');
            // What has no name is a value.
            let (name, value) = pair.split_at(equals.map_or(0, |at| at + 1));
            let name_text = name.strip_suffix(b"=").unwrap_or(name);
            put_text(out, name);
            if value.len() > SHOWN_MAX || (!value.is_empty() && self.is_secret(name_text)) {
                out.extend_from_slice(HIDDEN);
            } else {
                out.extend_from_slice(value);
            }
            out.extend(separator);
        }
    }

    fn is_secret(&self, name: &[u8]) -> bool {
        let name = folded(name);
        WORDS.iter().any(|word| name.contains(word))
            || NAMES.contains(&name.as_str())
            || self.0.contains(&name)
    }
}

/// Appends `text` without JSON web tokens: `eyJ` is how `{"` begins in base64.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    for word in text.chunk_by(|a, b| belongs(*a) == belongs(*b)) {
        let is_token = word.len() >= TOKEN_MIN && word.starts_with(b"eyJ");
        out.extend_from_slice(if is_token { HIDDEN } else { word });
    }
}

/// A name without what people write differently: escapes, case, punctuation.
fn folded(name: &[u8]) -> String {
    let mut bytes = name.iter().copied();
    let mut folded = String::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digits = bytes.clone();
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                match (digit(digits.next()), digit(digits.next())) {
                    (Some(high), Some(low)) => {
                        bytes = digits;
                        u8::try_from(high << 4 | low).unwrap_or(byte)
                    }
                    _ => byte,
                }
            }
            byte => byte,
        };
        if byte.is_ascii_alphanumeric() {
            folded.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &str) {
        let mut out = Vec::new();
        Secrets::new(&["room_pass".to_owned(), "U".to_owned()])
            .put_query(&mut out, query.as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{query}");
    }

    #[test]
    fn secrets_leave_no_value() {
        check("", "");
        check("room=7&lang=en", "room=7&lang=en");
        check("token=abc&room=7", "token=***&room=7");
        check("room=7;access_token=a;x=1", "room=7;access_token=***;x=1");
        check(
            "X-Api-Key=1&Signature=2&PASSWORD=3",
            "X-Api-Key=***&Signature=***&PASSWORD=***",
        );
        check("%74oken=abc&t%6Fken=d", "%74oken=***&t%6Fken=***");
        check(
            "sid=1&side=left&code=2&country_code=3",
            "sid=***&side=left&code=***&country_code=3",
        );
        check(
            "u=1&U=2&user=3&room-pass=4",
            "u=***&U=***&user=3&room-pass=***",
        );
        check("token=&token", "token=&token");
    }

    #[test]
    fn what_is_long_may_be_a_secret_by_any_name() {
        check("q=0123456789abcde", "q=0123456789abcde");
        check("q=0123456789abcdef", "q=***");
        check("0123456789abcdef", "***");
        check("next=%2Fa%3Ftoken%3Dabc", "next=***");
        check("a==0123456789abcdef", "a=***");
        check("&&a&=b", "&&a&=b");
    }

    #[test]
    fn a_web_token_is_left_out_wherever_it_stands() {
        for (text, expected) in [
            ("/ws/eyJhbGciOiJIUzI1NiJ9.e30.c2ln/a", "/ws/***/a"),
            ("agent (eyJhbGciOiJIUzI1NiJ9.e30.c2ln)", "agent (***)"),
            ("/eyJ/hello", "/eyJ/hello"),
        ] {
            let mut out = Vec::new();
            put_text(&mut out, text.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}

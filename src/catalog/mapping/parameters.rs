//! Request parameters (spec 2.6): where they are found, and what values they may have.

use std::borrow::Cow;

use super::{Call, MappingError};
use crate::catalog::Matched;
use crate::catalog::path::escaped;
use crate::definition::{Location, ParameterKind, RequestParameter};

/// A parameter's value in one call; none where the caller sent none and there is no default.
pub(super) type Value<'a> = Option<Cow<'a, [u8]>>;

/// A declared parameter, and for one of the path which capture it is.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(super) definition: RequestParameter,
    pub(super) capture: Option<usize>,
}

impl Parameter {
    /// Everything that matters to a call.
    pub(in crate::catalog) fn told(&self) -> impl std::fmt::Debug {
        let definition = &self.definition;
        (
            &definition.name,
            definition.location,
            &definition.kind,
            definition.required,
            &definition.default,
            definition.pass_through,
        )
    }

    /// The value that is mapped, and whether it is the default. Of several values the first is it, but none may be what
    /// the API does not allow, since a backend may take another one.
    pub(super) fn value<'a>(
        &'a self,
        matched: &'a Matched<'_>,
        call: &Call<'a>,
    ) -> Result<(Value<'a>, bool), MappingError> {
        let Self { definition, .. } = self;
        let name = definition.name.as_str();
        match definition.location {
            Location::Path => {
                let range = self.capture.and_then(|index| matched.captures.get(index));
                let value = range.and_then(|range| matched.path.get(range.clone()));
                self.checked(value.map(Cow::Borrowed).into_iter())
            }
            Location::Query => self.checked(in_query(call.query.unwrap_or_default(), name)),
            Location::Header => {
                let named = |known: &[u8]| known.eq_ignore_ascii_case(name.as_bytes());
                let fields = call.fields.iter().filter(|(known, _)| named(known));
                self.checked(fields.map(|(_, value)| Cow::Borrowed(*value)))
            }
        }
    }

    fn checked<'a>(
        &'a self,
        mut sent: impl Iterator<Item = Cow<'a, [u8]>>,
    ) -> Result<(Value<'a>, bool), MappingError> {
        let definition = &self.definition;
        let default = || definition.default.as_deref().map(str::as_bytes);
        let (value, defaulted) = match sent.next() {
            Some(value) => (Some(value), false),
            None => (default().map(Cow::Borrowed), definition.default.is_some()),
        };
        let allowed = |value: &[u8]| allows(&definition.kind, value);
        let fits = match &value {
            Some(value) => allowed(value) && sent.all(|other| allowed(&other)),
            None => !definition.required,
        };
        if !fits {
            return Err(MappingError::Parameter(definition.name.clone()));
        }
        Ok((value, defaulted))
    }
}

/// The values of a parameter, whose name is compared decoded and whatever the case of its letters (spec 2.6).
fn in_query<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_it = form_decoded(key).eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| form_decoded(value))
    })
}

/// Decodes as HTML forms encode: escapes, and `+` for a blank, so that a value is judged as the usual backend reads it.
/// What is no escape stands for itself.
pub(super) fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match escaped(after).filter(|_| *byte == b'%') {
            Some(decoded) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(if *byte == b'+' { b' ' } else { *byte }),
        }
    }
    Cow::Owned(out)
}

fn allows(kind: &ParameterKind, value: &[u8]) -> bool {
    match kind {
        ParameterKind::Text {
            length_min,
            length_max,
            choices,
        } => {
            let bounded = length_min.is_some() || length_max.is_some();
            let length = if bounded {
                String::from_utf8_lossy(value).chars().count()
            } else {
                0
            };
            let fits = |limit: u32, over: fn(usize, usize) -> bool| {
                usize::try_from(limit).is_ok_and(|limit| over(length, limit))
            };
            length_min.is_none_or(|limit| fits(limit, |length, limit| length >= limit))
                && length_max.is_none_or(|limit| fits(limit, |length, limit| length <= limit))
                && (choices.is_empty() || choices.iter().any(|choice| choice.as_bytes() == value))
        }
        ParameterKind::Number { min, max, choices } => number(value).is_some_and(|number_sent| {
            min.is_none_or(|min| number_sent >= min)
                && max.is_none_or(|max| number_sent <= max)
                && (choices.is_empty()
                    || choices.iter().any(|choice| {
                        choice.as_bytes() == value || number(choice.as_bytes()) == Some(number_sent)
                    }))
        }),
    }
}

/// `-12`, `0.5`: no exponent, no plus sign, no `inf`, digits on both sides of a point.
fn number(value: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_decimals() {
        for (text, expected) in [
            ("12", Some(12.0)),
            ("-0.5", Some(-0.5)),
            ("", None),
            ("1e3", None),
            ("+1", None),
            ("1.", None),
            (".5", None),
            ("inf", None),
            ("NaN", None),
            ("--1", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn lengths_count_characters_and_choices_whole_values() {
        let text = |length_min, length_max, choices: &[&str]| ParameterKind::Text {
            length_min,
            length_max,
            choices: choices.iter().map(|c| (*c).to_owned()).collect(),
        };
        assert!(allows(&text(Some(2), Some(2), &[]), "éé".as_bytes()));
        assert!(!allows(&text(None, Some(1), &[]), "éé".as_bytes()));
        assert!(allows(&text(None, None, &["a", "b"]), b"b"));
        assert!(!allows(&text(None, None, &["a", "b"]), b"ab"));
    }

    #[test]
    fn values_of_a_query_are_found_decoded_as_a_form_and_in_any_case() {
        for (query, expected) in [
            ("a=1&b=3&a=2", &[&b"1"[..], b"2"][..]),
            ("%61=x+y%2B", &[b"x y+"]),
            ("a", &[b""]),
            ("a=%4", &[b"%4"]),
            ("A=1", &[b"1"]),
            ("aa=1&=a", &[]),
            ("", &[]),
        ] {
            let found: Vec<_> = in_query(query, "a").collect();
            assert_eq!(found, expected, "{query}");
        }
    }
}

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
    /// The value that is checked and mapped, and whether it is the default.
    pub(super) fn value<'a>(
        &'a self,
        matched: &'a Matched<'_>,
        call: &Call<'a>,
    ) -> Result<(Value<'a>, bool), MappingError> {
        let definition = &self.definition;
        let refused = || MappingError::Parameter(definition.name.clone());
        let sent = match definition.location {
            Location::Path => self
                .capture
                .and_then(|index| matched.captures.get(index))
                .and_then(|range| matched.path.get(range.clone()))
                .map(Cow::Borrowed),
            Location::Query => first_in_query(call.query.unwrap_or_default(), &definition.name),
            Location::Header => call
                .fields
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(definition.name.as_bytes()))
                .map(|(_, value)| Cow::Borrowed(*value)),
        };
        let defaulted = sent.is_none() && definition.default.is_some();
        let value = sent.or_else(|| {
            let default = definition.default.as_deref()?;
            Some(Cow::Borrowed(default.as_bytes()))
        });
        match &value {
            None if definition.required => Err(refused()),
            Some(value) if !allows(&definition.kind, value) => Err(refused()),
            _ => Ok((value, defaulted)),
        }
    }
}

fn first_in_query<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*form_decoded(key) == *name.as_bytes()).then(|| form_decoded(value))
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
    fn the_first_value_of_a_query_counts_decoded_as_a_form() {
        for (query, expected) in [
            ("a=1&a=2", Some(&b"1"[..])),
            ("%61=x+y%2B", Some(b"x y+")),
            ("a", Some(b"")),
            ("a=%4", Some(b"%4")),
            ("A=1", None),
        ] {
            assert_eq!(first_in_query(query, "a").as_deref(), expected, "{query}");
        }
    }
}

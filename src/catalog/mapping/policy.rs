//! Backends for the calls that meet conditions (spec 8.11).

use std::borrow::Cow;

use regex::bytes::Regex;

use super::{Call, Seen};
use crate::catalog::{Backend, Matched};
use crate::definition::Effect;
use crate::network::Network;

#[derive(Debug)]
pub(crate) struct Policy {
    /// As its definition names it.
    pub(crate) name: String,
    pub(super) effect: Effect,
    pub(super) conditions: Vec<Condition>,
    pub(crate) backend: Backend,
}

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) subject: Subject,
    pub(super) test: Test,
}

#[derive(Debug)]
pub(super) enum Subject {
    /// Index of the request parameter.
    Parameter(usize),
    Source,
    Path,
    Method,
    Cookie(String),
    Orchestrated(String),
}

#[derive(Debug)]
pub(super) enum Test {
    /// One of these values.
    OneOf(Vec<String>),
    Pattern(Regex),
    Networks(Vec<Network>),
}

impl Policy {
    /// When it applies.
    pub(in crate::catalog) fn told(&self) -> impl std::fmt::Debug {
        (self.effect, &self.conditions)
    }

    /// Without conditions it takes no call, for whoever wrote it meant some and not all.
    pub(super) fn takes(&self, matched: &Matched<'_>, call: &Call<'_>, seen: &Seen<'_>) -> bool {
        let mut held = self
            .conditions
            .iter()
            .map(|condition| condition.holds(matched, call, seen));
        match self.effect {
            Effect::All => !self.conditions.is_empty() && held.all(|holds| holds),
            Effect::Any => held.any(|holds| holds),
        }
    }
}

impl Condition {
    /// What a call does not have meets no condition.
    fn holds(&self, matched: &Matched<'_>, call: &Call<'_>, seen: &Seen<'_>) -> bool {
        let value = match &self.subject {
            Subject::Source => {
                return matches!(&self.test, Test::Networks(networks)
                    if networks.iter().any(|network| network.contains(call.client)));
            }
            Subject::Parameter(index) => seen.value(*index).map(Cow::Borrowed),
            Subject::Path => Some(Cow::Borrowed(&*matched.path)),
            Subject::Method => Some(Cow::Borrowed(call.method.as_bytes())),
            Subject::Cookie(name) => cookie(call.fields, name.as_bytes()).map(Cow::Borrowed),
            Subject::Orchestrated(name) => seen
                .orchestrated
                .as_ref()
                .filter(|(target, _)| target.name == *name)
                .map(|(_, value)| Cow::Borrowed(value.as_slice())),
        };
        value.is_some_and(|value| match &self.test {
            Test::OneOf(values) => values.iter().any(|known| known.as_bytes() == &*value),
            Test::Pattern(pattern) => pattern.is_match(&value),
            Test::Networks(_) => false,
        })
    }
}

/// RFC 6265 §5.4: `name=value` pairs behind semicolons; the first of the name counts.
fn cookie<'a>(fields: &[(&[u8], &'a [u8])], name: &[u8]) -> Option<&'a [u8]> {
    fields
        .iter()
        .filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|(_, value)| value.split(|b| *b == b';'))
        .find_map(|pair| {
            let mut parts = pair.splitn(2, |b| *b == b'=');
            (parts.next()?.trim_ascii() == name).then_some(())?;
            parts.next().map(<[u8]>::trim_ascii)
        })
}

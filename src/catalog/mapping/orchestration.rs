//! Parameter orchestration (spec 8.10): a new parameter made out of a caller's by the first rule that applies.

use std::borrow::Cow;

use super::MappingError;
use crate::config::{Orchestration as Rule, OrchestrationTarget, Strategy};

/// The rules of the one parameter of an API that has any.
#[derive(Debug)]
pub(crate) struct Orchestration {
    /// Index of the parameter that is the input.
    pub(super) parameter: usize,
    pub(super) rules: Vec<Rule>,
}

impl Orchestration {
    /// Everything that matters to a call.
    pub(in crate::catalog) fn told(&self) -> impl std::fmt::Debug {
        let rules = self.rules.iter();
        let rules: Vec<_> = rules.map(|rule| (&rule.target, &rule.strategy)).collect();
        (self.parameter, rules)
    }

    /// The new parameter and its value. An empty input counts as none.
    pub(super) fn result(
        &self,
        input: Option<&[u8]>,
    ) -> Result<(&OrchestrationTarget, Vec<u8>), MappingError> {
        let Some(input) = input.filter(|input| !input.is_empty()) else {
            return self
                .fixed(|strategy| match strategy {
                    Strategy::NoneValue(value) => Some(value),
                    _ => None,
                })
                .ok_or(MappingError::NoOrchestrationInput);
        };
        let mut input = Cow::Borrowed(input);
        for rule in &self.rules {
            // A preprocessing rule that does not apply leaves the input to the next one.
            match (applied(&rule.strategy, &input), &rule.target) {
                (Some(value), Some(target)) => return Ok((target, value)),
                (Some(value), None) => input = Cow::Owned(value),
                (None, _) => {}
            }
        }
        self.fixed(|strategy| match strategy {
            Strategy::Default(value) => Some(value),
            _ => None,
        })
        .ok_or(MappingError::NoOrchestrationMatch)
    }

    fn fixed(
        &self,
        of: impl Fn(&Strategy) -> Option<&String>,
    ) -> Option<(&OrchestrationTarget, Vec<u8>)> {
        self.rules.iter().find_map(|rule| {
            let value = of(&rule.strategy)?;
            Some((rule.target.as_ref()?, value.clone().into_bytes()))
        })
    }
}

/// What a rule makes of an input. The two that only stand for the lack of one make nothing.
fn applied(strategy: &Strategy, input: &[u8]) -> Option<Vec<u8>> {
    match strategy {
        Strategy::List(entries) => entries
            .iter()
            .find(|(values, _)| values.iter().any(|value| value.as_bytes() == input))
            .map(|(_, result)| result.clone().into_bytes()),
        Strategy::Range(ranges) => in_range(ranges, whole_number(input)?),
        Strategy::Hash => Some(crc32fast::hash(input).to_string().into_bytes()),
        Strategy::HashRange(ranges) => in_range(ranges, u64::from(crc32fast::hash(input))),
        Strategy::NoneValue(_) | Strategy::Default(_) => None,
        Strategy::Head(count) => {
            let text = String::from_utf8_lossy(input);
            Some(text.chars().take(*count).collect::<String>().into_bytes())
        }
        Strategy::Tail(count) => {
            let text = String::from_utf8_lossy(input);
            let skipped = text.chars().count().saturating_sub(*count);
            Some(text.chars().skip(skipped).collect::<String>().into_bytes())
        }
    }
}

fn whole_number(input: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(input).ok()?;
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn in_range(ranges: &[(u64, u64, String)], number: u64) -> Option<Vec<u8>> {
    ranges
        .iter()
        .find(|(start, end, _)| (*start..=*end).contains(&number))
        .map(|(_, _, result)| result.clone().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(strategy: &Strategy, input: &str, expected: Option<&str>) {
        let made = applied(strategy, input.as_bytes());
        assert_eq!(
            made.as_deref(),
            expected.map(str::as_bytes),
            "{strategy:?} {input}"
        );
    }

    #[test]
    fn every_strategy_makes_what_it_says() {
        let ranges = vec![(1, 5, "low".to_owned()), (6, u64::MAX, "high".to_owned())];
        let list = Strategy::List(vec![(vec!["a".to_owned(), "b".to_owned()], "x".to_owned())]);
        check(&list, "b", Some("x"));
        check(&list, "c", None);
        check(&Strategy::Range(ranges.clone()), "5", Some("low"));
        check(
            &Strategy::Range(ranges.clone()),
            "18446744073709551615",
            Some("high"),
        );
        check(
            &Strategy::Range(ranges.clone()),
            "18446744073709551616",
            None,
        );
        check(&Strategy::Range(ranges.clone()), "-1", None);
        // The check value of CRC-32 (IEEE): 0xCBF43926.
        check(&Strategy::Hash, "123456789", Some("3421780262"));
        check(&Strategy::HashRange(ranges), "123456789", Some("high"));
        check(&Strategy::Head(2), "éàü", Some("éà"));
        check(&Strategy::Tail(2), "éàü", Some("àü"));
        check(&Strategy::Tail(9), "é", Some("é"));
        check(&Strategy::Default("d".to_owned()), "a", None);
    }
}

//! The parameters of a request: what is unknown, wrong or out of range is refused by name.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::http::Refusal;
use crate::document::quantity::parse_duration;

/// The query of a request.
pub(super) type Query = [(String, String)];

/// Items of one page, where nobody says how many.
const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;
/// Items that may be left out before it. Beyond them a filter finds sooner.
const OFFSET_MAX: usize = 10_000;

pub(super) fn unknown(name: &str, known: &str) -> Refusal {
    Refusal(400, format!("unknown parameter `{name}`; known: {known}"))
}

pub(super) fn bad(name: &str, value: &str, wanted: &str) -> Refusal {
    Refusal(400, format!("{name}: \"{value}\" is not {wanted}"))
}

/// For what takes no parameters.
pub(super) fn none(query: &Query) -> Result<(), Refusal> {
    match query.first() {
        None => Ok(()),
        Some((name, _)) => Err(Refusal(
            400,
            format!("unknown parameter `{name}`; none is known here"),
        )),
    }
}

pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Refusal> {
    parse_duration(text).ok_or_else(|| bad(name, text, "a duration such as 500ms, 30s or 5m"))
}

pub(super) fn number(name: &str, text: &str, max: usize) -> Result<usize, Refusal> {
    match text.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(bad(name, text, &format!("a number up to {max}"))),
    }
}

/// One of `words`.
pub(super) fn choice<T: Copy>(name: &str, text: &str, words: &[(&str, T)]) -> Result<T, Refusal> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        bad(name, text, &format!("one of {}", known.join(", ")))
    })
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: usize,
    pub(super) offset: usize,
}

impl Window {
    pub(super) const DEFAULT: Self = Self {
        limit: PAGE,
        offset: 0,
    };

    /// Whether the parameter is one of a window's.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<bool, Refusal> {
        match name {
            "limit" => self.limit = number(name, value, PAGE_MAX)?,
            "offset" => self.offset = number(name, value, OFFSET_MAX)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Items that have to be known, from the first on.
    pub(super) fn reach(self) -> usize {
        self.offset + self.limit
    }

    pub(super) fn of<T>(self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        items
            .into_iter()
            .skip(self.offset)
            .take(self.limit)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_refused_by_name() {
        assert!(none(&[]).is_ok());
        let query = [("a".to_owned(), String::new())];
        assert!(none(&query).unwrap_err().1.contains("`a`"));
        assert_eq!(duration("over", "5m"), Ok(Duration::from_secs(300)));
        assert!(duration("over", "soon").is_err());
        assert_eq!(number("n", "7", 7), Ok(7));
        for text in ["8", "-1", "", "x"] {
            assert!(number("n", text, 7).is_err(), "{text}");
        }
        assert_eq!(choice("sort", "b", &[("a", 1), ("b", 2)]), Ok(2));
        let error = choice("sort", "c", &[("a", 1), ("b", 2)]).unwrap_err();
        assert_eq!(error.1, "sort: \"c\" is not one of a, b");
    }

    #[test]
    fn a_window_shows_a_part() {
        let mut window = Window::DEFAULT;
        assert_eq!(window.set("limit", "2"), Ok(true));
        assert_eq!(window.set("offset", "3"), Ok(true));
        assert_eq!(window.set("sort", "age"), Ok(false));
        assert_eq!(window.of(0..10), [3, 4]);
        assert_eq!(window.reach(), 5);
        assert!(window.set("limit", "10001").is_err());
        assert!(window.set("offset", "10001").is_err());
    }
}

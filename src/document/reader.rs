//! Taking typed values out of nodes: each mistake becomes a complaint, and reading goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::complaint::{Complaint, Place, Severity};
use super::node::{At, Entry, Node, Value};
use super::quantity::{format_duration, format_size, parse_duration, parse_size};
use super::spelling::likely;

/// The complaints about one file.
#[derive(Debug)]
pub(crate) struct Complaints {
    file: Arc<str>,
    /// Whether the file is one that the management API could have been given, whose codes then apply (spec 3.5).
    coded: bool,
    list: Vec<Complaint>,
    /// How many of them are errors; it is asked for at every operation of a file.
    errors: usize,
}

impl Complaints {
    /// About a file of ours.
    pub(crate) fn plain(file: &str) -> Self {
        Self {
            file: file.into(),
            coded: false,
            list: Vec::new(),
            errors: 0,
        }
    }

    /// About a definition.
    pub(crate) fn coded(file: &str) -> Self {
        Self {
            coded: true,
            ..Self::plain(file)
        }
    }

    pub(crate) fn push(&mut self, complaint: Complaint) {
        self.errors += usize::from(complaint.is_error());
        self.list.push(complaint);
    }

    pub(crate) fn error(
        &mut self,
        place: &Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(place.error(problem, remedy));
    }

    pub(crate) fn warning(
        &mut self,
        place: &Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(place.warning(problem, remedy));
    }

    /// An error with the management API's code, in files that know such codes.
    pub(crate) fn error_as(
        &mut self,
        code: &'static str,
        place: &Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let mut complaint = place.error(problem, remedy);
        complaint.code = self.coded.then_some(code);
        self.push(complaint);
    }

    /// How many errors there are, to see whether reading something added any.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// The complaints since the first `mark`, for a second thought about them.
    pub(crate) fn since(&mut self, mark: usize) -> &mut [Complaint] {
        self.list.get_mut(mark..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn into_list(self) -> Vec<Complaint> {
        self.list
    }

    fn place(&self, at: At, key: &str) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: at.line,
            column: at.column,
            key: key.to_owned(),
        }
    }
}

/// A node and the path to it.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> Item<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self {
            node,
            path: String::new(),
        }
    }

    /// What was written as text inside another document, at the path where that stands.
    pub(crate) fn embedded(node: &'a Node, path: &str) -> Self {
        Self {
            node,
            path: path.to_owned(),
        }
    }

    pub(crate) fn value(&self) -> &'a Value {
        &self.node.value
    }

    pub(crate) fn place(&self, complaints: &Complaints) -> Place {
        complaints.place(self.node.at, &self.path)
    }

    /// An empty list, table or string, a null or `false`: something that asks for nothing.
    pub(crate) fn is_blank(&self) -> bool {
        match &self.node.value {
            Value::Null | Value::Bool(false) => true,
            Value::List(items) => items.is_empty(),
            Value::Table(entries) => entries.is_empty(),
            Value::Text(text) => text.is_empty(),
            Value::Bool(true) | Value::Integer(_) | Value::Float(_) => false,
        }
    }

    /// A null or an empty string, as exports write what was not given.
    pub(crate) fn is_unset(&self) -> bool {
        self.node.value.is_unset()
    }

    pub(crate) fn table(&self, complaints: &mut Complaints) -> Option<Table<'a>> {
        match &self.node.value {
            Value::Table(entries) => Some(Table {
                entries,
                at: self.node.at,
                path: self.path.clone(),
                taken: vec![false; entries.len()],
                known: Vec::new(),
            }),
            _ => self.wrong_kind("a table", complaints),
        }
    }

    /// The items of a list; none where it is no list.
    pub(crate) fn list(&self, complaints: &mut Complaints) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| Self {
                    node,
                    path: format!("{}[{index}]", self.path),
                })
                .collect(),
            _ => self.wrong_kind("a list", complaints).unwrap_or_default(),
        }
    }

    pub(crate) fn text(&self, complaints: &mut Complaints) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.wrong_kind("a string", complaints),
        }
    }

    /// A string whose length in characters lies in `range`.
    pub(crate) fn text_of(
        &self,
        range: RangeInclusive<usize>,
        complaints: &mut Complaints,
    ) -> Option<&'a str> {
        let text = self.text(complaints)?;
        let length = text.chars().count();
        if range.contains(&length) {
            return Some(text);
        }
        let (code, problem) = if length < *range.start() {
            ("APIG.2005", "too short")
        } else {
            ("APIG.2006", "too long")
        };
        let place = self.place(complaints);
        complaints.error_as(
            code,
            &place,
            format!("{} are {problem}", plural(length, "character")),
            format!("{} to {} are allowed", range.start(), range.end()),
        );
        None
    }

    /// A string, or a number or boolean as it would be written: `default: 5` is `default: "5"`.
    pub(crate) fn scalar(&self, complaints: &mut Complaints) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Table(_) => {
                self.wrong_kind("a string or a number", complaints)
            }
        }
    }

    /// A finite number, as a number or as a string.
    pub(crate) fn number(&self, complaints: &mut Complaints) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a bound beyond 2^53 is compared with calls that are read as `f64` too"
        )]
        let number = match &self.node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let finite = number.filter(|number| number.is_finite());
        finite.or_else(|| self.wrong_kind("a number", complaints))
    }

    pub(crate) fn boolean(&self, complaints: &mut Complaints) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong_kind("true or false", complaints),
        }
    }

    /// An integer; exports write some of them as strings, which a definition may.
    pub(crate) fn integer(
        &self,
        range: RangeInclusive<i64>,
        complaints: &mut Complaints,
    ) -> Option<i64> {
        let number = match &self.node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) if complaints.coded => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => self.within(number, &range, ToString::to_string, complaints),
            None => self.wrong_kind("an integer", complaints),
        }
    }

    pub(crate) fn count(
        &self,
        range: RangeInclusive<usize>,
        complaints: &mut Complaints,
    ) -> Option<usize> {
        let bound = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.integer(bound(*range.start())..=bound(*range.end()), complaints)
            .and_then(|number| usize::try_from(number).ok())
    }

    pub(crate) fn duration(
        &self,
        range: RangeInclusive<Duration>,
        complaints: &mut Complaints,
    ) -> Option<Duration> {
        match &self.node.value {
            Value::Text(text) if parse_duration(text).is_some() => {
                let duration = parse_duration(text)?;
                self.within(duration, &range, |d| format_duration(*d), complaints)
            }
            _ => self.wrong_kind(
                "a duration such as \"200ms\", \"60s\" or \"5m\"",
                complaints,
            ),
        }
    }

    /// A size in bytes: an integer, or a string with a binary unit.
    pub(crate) fn size(
        &self,
        range: RangeInclusive<u64>,
        complaints: &mut Complaints,
    ) -> Option<u64> {
        let bytes = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) => parse_size(text),
            _ => None,
        };
        match bytes {
            Some(bytes) => self.within(bytes, &range, |b| format_size(*b), complaints),
            None => self.wrong_kind(
                "a number of bytes, or a size such as \"128KiB\" or \"4MiB\"",
                complaints,
            ),
        }
    }

    fn within<T: PartialOrd>(
        &self,
        value: T,
        range: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
        complaints: &mut Complaints,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (code, problem) = if value < *range.start() {
            ("APIG.2002", "too small")
        } else {
            ("APIG.2003", "too large")
        };
        complaints.error_as(
            code,
            &self.place(complaints),
            format!("{} is {problem}", show(&value)),
            format!(
                "{} to {} is allowed",
                show(range.start()),
                show(range.end())
            ),
        );
        None
    }

    /// One of few words, in any case where the file is a definition (spec 3.1).
    pub(crate) fn choice<T: Copy>(
        &self,
        choices: &[(&str, T)],
        complaints: &mut Complaints,
    ) -> Option<T> {
        let text = self.text(complaints)?;
        let found = choices.iter().find(|(name, _)| {
            *name == text || (complaints.coded && name.eq_ignore_ascii_case(text))
        });
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let names = choices.iter().map(|(name, _)| *name);
        let allowed = quoted(names.clone());
        let remedy = match likely(text, names) {
            Some(name) => format!("did you mean \"{name}\"? allowed: {allowed}"),
            None => format!("allowed: {allowed}"),
        };
        let place = self.place(complaints);
        complaints.error_as(
            "APIG.2011",
            &place,
            format!("\"{text}\" is not known here"),
            remedy,
        );
        None
    }

    /// A string that has to parse as `T`; `what` says what one looks like.
    pub(crate) fn parsed<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        complaints: &mut Complaints,
    ) -> Option<T> {
        let text = self.text(complaints)?;
        let value = parse(text);
        if value.is_none() {
            let place = self.place(complaints);
            complaints.error_as(
                "APIG.2012",
                &place,
                format!("\"{text}\" is not {what}"),
                format!("write {what}"),
            );
        }
        value
    }

    fn wrong_kind<T>(&self, expected: &str, complaints: &mut Complaints) -> Option<T> {
        let problem = match &self.node.value {
            Value::Text(text) if text.chars().count() <= 80 => {
                format!("\"{text}\" is not {expected}")
            }
            Value::Integer(number) => format!("{number} is not {expected}"),
            other => format!("{} is not {expected}", other.kind()),
        };
        let place = self.place(complaints);
        complaints.error_as("APIG.2012", &place, problem, format!("write {expected}"));
        None
    }
}

/// A table whose keys are taken one by one; what nobody took is unknown.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    entries: &'a [Entry],
    at: At,
    path: String,
    taken: Vec<bool>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) fn place(&self, complaints: &Complaints) -> Place {
        complaints.place(self.at, &self.path)
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        *self.taken.get_mut(index)? = true;
        self.entries.get(index).map(|entry| self.item(entry))
    }

    /// The first that is there of the spellings of one key.
    pub(crate) fn take_any(&mut self, keys: &[&'static str]) -> Option<Item<'a>> {
        keys.iter().filter_map(|key| self.take(key)).next()
    }

    /// The same, where an export may have some of the spellings without a value.
    pub(crate) fn take_any_set(&mut self, keys: &[&'static str]) -> Option<Item<'a>> {
        let mut items = keys.iter().filter_map(|key| self.take(key));
        items.find(|item| !item.is_unset())
    }

    /// Takes a key that is there without a value.
    pub(crate) fn take_unset(&mut self, key: &str) {
        for (entry, taken) in self.entries.iter().zip(&mut self.taken) {
            *taken |= entry.key == key && entry.node.value.is_unset();
        }
    }

    /// Takes keys that are known and change nothing.
    pub(crate) fn skip(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.take(key);
        }
    }

    /// Like `take`, and a missing key is an error; `remedy` says what to write.
    pub(crate) fn need(
        &mut self,
        key: &'static str,
        remedy: &str,
        complaints: &mut Complaints,
    ) -> Option<Item<'a>> {
        let item = self.take(key);
        if item.is_none() {
            let place = self.place(complaints);
            complaints.error_as("APIG.2001", &place, format!("`{key}` is missing"), remedy);
        }
        item
    }

    /// Every entry not taken yet, for tables whose keys are names; they all count as taken.
    pub(crate) fn rest(&mut self) -> Vec<(&'a str, Item<'a>)> {
        let rest = self
            .entries
            .iter()
            .zip(&self.taken)
            .filter(|(_, taken)| !**taken)
            .map(|(entry, _)| (entry.key.as_str(), self.item(entry)))
            .collect();
        self.taken.fill(true);
        rest
    }

    /// The entries whose key the predicate accepts; they count as taken.
    pub(crate) fn take_where(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        for (entry, taken) in self.entries.iter().zip(&mut self.taken) {
            *taken |= wanted(&entry.key);
        }
    }

    /// Complains about every key that nobody asked for.
    pub(crate) fn finish(self, severity: Severity, complaints: &mut Complaints) {
        for (entry, taken) in self.entries.iter().zip(&self.taken) {
            if !taken {
                self.complain_about(entry, severity, complaints);
            }
        }
    }

    fn complain_about(&self, entry: &Entry, severity: Severity, complaints: &mut Complaints) {
        let place = complaints.place(entry.key_at, &joined(&self.path, &entry.key));
        let problem = format!("unknown key `{}`", entry.key);
        let remedy = match likely(&entry.key, self.known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("remove it; known here: {}", self.known.join(", ")),
        };
        let mut complaint = match severity {
            Severity::Error => place.error(problem, remedy),
            Severity::Warning => place.warning(problem, remedy),
        };
        if complaint.is_error() && complaints.coded {
            complaint.code = Some("APIG.2012");
        }
        complaints.push(complaint);
    }

    fn item(&self, entry: &'a Entry) -> Item<'a> {
        Item {
            node: &entry.node,
            path: joined(&self.path, &entry.key),
        }
    }
}

/// `paths["/hello"].get`: a key that is no bare word stands in brackets.
fn joined(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match (bare, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `1 core`, `2 cores`.
pub(crate) fn plural(count: impl Display + PartialEq<usize>, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

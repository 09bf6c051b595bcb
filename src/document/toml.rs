//! TOML into nodes.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::complaint::{Complaint, Place};
use super::node::{At, Entry, Node, Value};

/// Parses on after a syntax error, so that all of them are reported at once.
pub(super) fn parse(file: &str, text: &str) -> (Node, Vec<Complaint>) {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let complaints = errors
        .iter()
        .map(|error| syntax_error(file, &lines, error))
        .collect();
    let root = Node {
        at: At { line: 1, column: 1 },
        value: tree(table.get_ref(), &lines),
    };
    (root, complaints)
}

fn syntax_error(file: &str, lines: &Lines<'_>, error: &::toml::de::Error) -> Complaint {
    let at = lines.at(error.span().map_or(0, |span| span.start));
    Place {
        file: file.into(),
        line: at.line,
        column: at.column,
        key: String::new(),
    }
    .error(error.message().trim(), "correct the TOML syntax")
}

fn tree(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().clone().into_owned(),
            key_at: lines.at(key.span().start),
            node: node(value, lines),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_at);
    Value::Table(entries)
}

fn node(spanned: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        // Integers beyond 64 bits are in nobody's range; as text they are refused with what was written.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Text(number.to_string()), Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Null, Value::Float),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(value) => Value::Text(value.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(table) => tree(table, lines),
    };
    Node {
        at: lines.at(spanned.span().start),
        value,
    }
}

/// Where each line starts, to turn offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    fn at(&self, offset: usize) -> At {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let column = self
            .text
            .get(start..offset)
            .map_or(0, |before| before.chars().count());
        At {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        }
    }
}

//! YAML and JSON into nodes.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, Spanned};

use super::complaint::{Complaint, Place};
use super::node::{At, Entry, Node, Value};

pub(super) fn parse(file: &str, text: &str) -> Result<Node, Complaint> {
    // A byte order mark is allowed in front of YAML (1.2.2 §5.2), and editors put it in front of JSON.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if file.ends_with(".json") {
        check_json(file, text)?;
    }
    serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options())
        .map(node)
        .map_err(|error| syntax_error(file, &error))
}

/// Tables and lists within each other. Reading one is a call within a call, up to 30 KiB of stack in a debug build.
const DEPTH_MAX: usize = 64;

/// What is called JSON has to be JSON (RFC 8259): the YAML reader alone would take trailing commas and comments, which the
/// cloud's import refuses.
fn check_json(file: &str, text: &str) -> Result<(), Complaint> {
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else {
        return Ok(());
    };
    let said = error.to_string();
    let problem = said.split(" at line ").next().unwrap_or_default();
    let place = Place {
        file: file.into(),
        line: u32::try_from(error.line()).unwrap_or(u32::MAX),
        column: u32::try_from(error.column().max(1)).unwrap_or(u32::MAX),
        key: String::new(),
    };
    let remedy = "correct the JSON, or call the file .yaml";
    Err(place.error(problem, remedy).with_code("APIG.3600"))
}

/// Room for a file of 10,000 APIs, and none for aliases that expand into more than a person could have meant.
fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_documents: 1,
            max_depth: DEPTH_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
    }
}

fn syntax_error(file: &str, error: &serde_saphyr::Error) -> Complaint {
    let at = error.location().map_or_else(At::default, at);
    let text = error.without_snippet().to_string();
    // The place is said in front already, and only the first line is about the mistake.
    let problem = text.lines().next().unwrap_or_default();
    let problem = problem.split(" at line ").next().unwrap_or(problem);
    Place {
        file: file.into(),
        line: at.line,
        column: at.column,
        key: String::new(),
    }
    .error(problem, "correct the YAML or JSON")
    .with_code("APIG.3600")
}

fn at(location: Location) -> At {
    At {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

fn node(raw: Spanned<Raw>) -> Node {
    Node {
        at: at(raw.referenced),
        value: raw.value.0,
    }
}

/// A value whose children already are nodes.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML or JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Integer))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Integer))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Raw>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry {
                key_at: at(key.referenced),
                key: key.value,
                node: node(map.next_value()?),
            });
        }
        Ok(Value::Table(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the stack of a main thread, on which files are read.
    #[test]
    fn a_document_may_not_be_deep() {
        let read = || {
            for (depth, readable) in [(60, true), (70, false), (200_000, false)] {
                for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
                    let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                    assert_eq!(parse("f", &text).is_ok(), readable, "{open} {depth}");
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(read);
        thread.unwrap().join().unwrap();
    }
}

//! What is written: values in the order in which they were made.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Syntax;

/// Integers that a float holds exactly are written as integers.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
}

pub(super) fn named(name: &str, tree: Tree) -> (String, Tree) {
    (name.to_owned(), tree)
}

pub(super) fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

pub(super) fn number(value: f64) -> Tree {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range that is exact"
    )]
    if value.fract() == 0.0 && value.abs() < EXACT_MAX {
        Tree::Integer(value as i64)
    } else {
        Tree::Float(value)
    }
}

/// A number that was given as text: written as a number where that reads as the same text again.
pub(super) fn numeral(value: &str) -> Tree {
    match value.parse::<i64>() {
        Ok(number) if number.to_string() == value => Tree::Integer(number),
        _ => text(value),
    }
}

impl Tree {
    pub(super) fn written(&self, syntax: Syntax) -> String {
        // Neither fails: there are no keys but strings, no numbers but finite ones, and no writer that could.
        match syntax {
            Syntax::Json => {
                let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
                json.push('\n');
                json
            }
            Syntax::Yaml => serde_saphyr::to_string(self).unwrap_or_default(),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

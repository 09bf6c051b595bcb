//! The path that a backend is asked for (spec 2.6): text with values in it.

use std::fmt;

use super::parameters::Value;
use super::target::{push_path, stays_in_segment};
use super::{MappingError, Source};
use crate::catalog::path::encode;

/// What path a backend is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendPath {
    /// The client's, as it came where that is unmistakable, else its normal form.
    Same,
    /// This one, with the client's query.
    Template(PathTemplate),
}

impl BackendPath {
    /// A path without values.
    pub fn fixed(path: &str) -> Self {
        Self::Template(PathTemplate(vec![Part::Text(encode(path))]))
    }
}

/// As a definition has it, escapes aside: `/rooms/{id}`. Nothing where the path is the client's.
impl fmt::Display for BackendPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Template(PathTemplate(parts)) = self else {
            return Ok(());
        };
        parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Value { name, .. } => write!(f, "{{{name}}}"),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Encoded.
    Text(String),
    Value {
        name: String,
        source: Source,
    },
}

impl PathTemplate {
    /// Reads a path with variables in place. `source` tells what fills a `{name}`; without it there is no template.
    pub(super) fn read(path: &str, mut source: impl FnMut(&str) -> Option<Source>) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = path;
        while let Some((text, name, after)) = split_at_value(rest) {
            if !text.is_empty() {
                parts.push(Part::Text(encode(text)));
            }
            let (name, source) = (name.to_owned(), source(name)?);
            parts.push(Part::Value { name, source });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(encode(rest)));
        }
        Some(Self(parts))
    }

    /// Appends the path with its values, each within its segment whoever reads it.
    pub(super) fn push<'a>(
        &'a self,
        target: &mut Vec<u8>,
        value: impl Fn(&'a Source) -> Value<'a>,
    ) -> Result<(), MappingError> {
        let mut last = None;
        for part in &self.0 {
            match part {
                Part::Text(text) => target.extend_from_slice(text.as_bytes()),
                Part::Value { name, source } => {
                    let value = value(source)
                        .filter(|value| stays_in_segment(value))
                        .ok_or_else(|| MappingError::Parameter(name.clone()))?;
                    push_path(target, &value);
                    last = Some(name);
                }
            }
        }
        // Harmless values can make `..` together. The first piece is before the leading slash, and the last one may be
        // empty: a path that ends in a slash.
        let dotted = |segment: &[u8]| !segment.is_empty() && !stays_in_segment(segment);
        match last {
            Some(name) if target.split(|b| *b == b'/').any(dotted) => {
                Err(MappingError::Parameter(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// What stands before the first `{name}`, the name, and what stands behind. Braces that belong to no pair are text.
fn split_at_value(path: &str) -> Option<(&str, &str, &str)> {
    let (text, rest) = path.split_once('{')?;
    let (name, after) = rest.split_once('}').filter(|(name, _)| !name.is_empty())?;
    Some((text, name, after))
}

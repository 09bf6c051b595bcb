//! What a defined path matches: its segments, parameters without their names.

use super::path::{encode, resolved};
use super::{MatchMode, normalize};
use crate::config::PathEscapes;

/// Stand for `{name}` and `{name+}` in a shape: no normal form has control characters.
const PARAMETER: u8 = 1;
const REST: u8 = 2;

/// A path as it is compared: two with the same shape match the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    form: Vec<u8>,
}

/// One segment of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// These bytes, decoded.
    Literal(&'a [u8]),
    /// `{name}`: one segment that is not empty.
    Parameter,
    /// `{name+}`: all that follows, and that is not empty.
    Rest,
}

impl Shape {
    /// The shape of a path as defined, percent-escapes decoded as those of requests are: `{a}` is a parameter, `%7Ba%7D`
    /// is text. The error says what is wrong.
    pub(super) fn of(path: &str, escapes: PathEscapes) -> Result<Self, String> {
        let unfit = || {
            "no request can have it: it does not begin with `/`, climbs above the root, or could be read in more ways \
             than one"
                .to_owned()
        };
        if !path.contains(['{', '}']) {
            let encoded = encode(path);
            let form = normalize(&encoded, escapes).map_err(|_| unfit())?;
            return Ok(Self {
                form: form.into_owned(),
            });
        }
        // First with a letter for each parameter, to see that all the rest is fit; then with the marks.
        let plain = marked(path, ["x", "x"])?;
        normalize(&plain, escapes).map_err(|_| unfit())?;
        let marks = [PARAMETER, REST].map(|mark| char::from(mark).to_string());
        let marked = marked(path, [&marks[0], &marks[1]])?;
        let form = resolved(&marked, escapes).ok_or_else(unfit)?;
        Ok(Self {
            form: form.into_owned(),
        })
    }

    /// The segments, and whether a slash has to follow them: the prefix `/test/` matches `/test/a`, not `/test`.
    pub(super) fn segments(&self, mode: MatchMode) -> (impl Iterator<Item = Segment<'_>>, bool) {
        let text = self.form.strip_prefix(b"/").unwrap_or(&self.form);
        let (text, open) = match (mode, text.strip_suffix(b"/")) {
            (MatchMode::Prefix, Some(text)) => (Some(text), true),
            (MatchMode::Prefix, None) if text.is_empty() => (None, true),
            _ => (Some(text), false),
        };
        let segments = text.into_iter().flat_map(|text| text.split(|b| *b == b'/'));
        (segments.map(Segment::of), open)
    }
}

impl<'a> Segment<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match bytes {
            [PARAMETER] => Self::Parameter,
            [REST] => Self::Rest,
            literal => Self::Literal(literal),
        }
    }
}

/// The path with everything outside parameters encoded, and these texts for `{name}` and `{name+}`.
fn marked(path: &str, [parameter, rest]: [&str; 2]) -> Result<String, String> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').enumerate().peekable();
    while let Some((index, segment)) = segments.next() {
        if index > 0 {
            out.push('/');
        }
        let name = segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
            .filter(|name| !name.is_empty() && !name.contains(['{', '}']));
        match name {
            Some(name) if name.ends_with('+') && segments.peek().is_some() => {
                return Err(format!(
                    "`{segment}` takes all that follows and has to stand last"
                ));
            }
            Some(name) => out.push_str(if name.ends_with('+') { rest } else { parameter }),
            None if segment.contains(['{', '}']) => {
                return Err(format!(
                    "a parameter is a whole segment, which `{segment}` is not"
                ));
            }
            None => out.push_str(&encode(segment)),
        }
    }
    Ok(out)
}

//! Complaints for people: each with the line that it is about, and a caret below its column.

use std::fmt::{self, Write};
use std::sync::Arc;

use super::complaint::{Complaint, Severity};

/// Characters of a source line that are shown. A definition in JSON may be one line of megabytes.
const WIDTH: usize = 100;

/// Writes complaints, which are in the order of their files.
pub struct Listing<'a> {
    coloured: bool,
    /// The text of a file, if there is one to show.
    text: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("coloured", &self.coloured)
            .finish_non_exhaustive()
    }
}

/// A run of one appearance, as ANSI has it (ECMA-48, 8.3.117).
#[derive(Clone, Copy)]
enum Style {
    Error,
    Warning,
    Bold,
    Dim,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }

    fn of(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
        }
    }
}

impl<'a> Listing<'a> {
    /// `text` is asked once for each file in a row.
    pub fn new(coloured: bool, text: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { coloured, text }
    }

    /// The first line of a complaint is as `Display` has it.
    pub fn render(&self, complaints: &[Complaint]) -> String {
        let mut out = String::new();
        let mut source = Source::default();
        for complaint in complaints {
            if source.file.as_ref() != Some(&complaint.file) {
                source = Source::new(&complaint.file, (self.text)(&complaint.file));
            }
            // Writing to a string does not fail.
            self.complaint(complaint, &mut out).ok();
            self.source(complaint, &source, &mut out).ok();
        }
        out
    }

    fn complaint(&self, complaint: &Complaint, out: &mut String) -> fmt::Result {
        let line = visible(&complaint.to_string());
        if !self.coloured {
            return writeln!(out, "{line}");
        }
        // The place is cut off where the label begins, which no part before it contains in this form.
        let label = format!(": {}: ", complaint.severity.label());
        let Some((place, said)) = line.split_once(&label) else {
            return writeln!(out, "{line}");
        };
        let (place, label) = (
            self.styled(Style::Bold, place),
            self.styled(
                Style::of(complaint.severity),
                label.trim_matches([':', ' ']),
            ),
        );
        writeln!(out, "{place}: {label}: {said}")
    }

    fn source(&self, complaint: &Complaint, source: &Source, out: &mut String) -> fmt::Result {
        // What is missing in the whole file stands nowhere in it.
        let whole = complaint.key.is_empty() && (complaint.line, complaint.column) == (1, 1);
        let Some(line) = source.line(complaint.line).filter(|_| !whole) else {
            return Ok(());
        };
        let (excerpt, before) = excerpt(line, complaint.column);
        if excerpt.trim().is_empty() {
            return Ok(());
        }
        let number = complaint.line.to_string();
        // A tab stays one, so that the caret below it is moved as far.
        let indent: String = excerpt
            .chars()
            .take(before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let caret = self.styled(Style::of(complaint.severity), "^");
        let bar = |number: &str| self.styled(Style::Dim, &format!("{number:>6} |"));
        writeln!(out, "{} {excerpt}", bar(&number))?;
        writeln!(out, "{} {indent}{caret}", bar(""))
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }
}

/// One file, cut into lines once however many complaints are about it.
#[derive(Default)]
struct Source {
    file: Option<Arc<str>>,
    text: String,
    starts: Vec<usize>,
}

impl Source {
    fn new(file: &Arc<str>, text: Option<String>) -> Self {
        let text = text.unwrap_or_default();
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self {
            file: Some(Arc::clone(file)),
            starts: std::iter::once(0).chain(ends).collect(),
            text,
        }
    }

    /// Counted from 1.
    fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.text.get(*self.starts.get(index)?..)?.lines().next()
    }
}

/// The part of `line` around `column`, and how many characters of it come before that.
fn excerpt(line: &str, column: u32) -> (String, usize) {
    let at = usize::try_from(column)
        .unwrap_or(usize::MAX)
        .saturating_sub(1)
        // A column behind the line's end is shown at its end.
        .min(line.chars().count());
    let start = if at < WIDTH { 0 } else { at - WIDTH / 2 };
    let mut text = String::new();
    if start > 0 {
        text.push('…');
    }
    let mut rest = line.chars().skip(start);
    text.extend(rest.by_ref().take(WIDTH).map(printable));
    if rest.next().is_some() {
        text.push('…');
    }
    (text, at - start + usize::from(start > 0))
}

/// What is in a file may not command the terminal.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// One line without commands to the terminal: control characters are written as escapes.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Place;

    fn place(file: &str, line: u32, column: u32) -> Place {
        Place {
            file: file.into(),
            line,
            column,
            key: "a.b".to_owned(),
        }
    }

    fn check(coloured: bool, text: &str, complaint: &Complaint, expected: &str) {
        let text_of = |_: &str| Some(text.to_owned());
        let listing = Listing::new(coloured, &text_of);
        assert_eq!(
            listing.render(std::slice::from_ref(complaint)),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn a_complaint_is_followed_by_its_line_and_a_caret() {
        let mistake = |line, column| place("f", line, column).error("bad", "mend it");
        for (text, complaint, expected) in [
            (
                "x = 1\n\ty = 22\n",
                mistake(2, 6),
                "f:2:6: error: a.b: bad; mend it\n     2 | \ty = 22\n       | \t    ^\n",
            ),
            // A line that is not there, or has nothing on it, is not shown.
            ("x", mistake(9, 1), "f:9:1: error: a.b: bad; mend it\n"),
            ("x\n\n", mistake(2, 1), "f:2:1: error: a.b: bad; mend it\n"),
            ("x", mistake(0, 0), "f: error: a.b: bad; mend it\n"),
            // A column behind the end is at the end.
            (
                "xy",
                mistake(1, 9),
                "f:1:9: error: a.b: bad; mend it\n     1 | xy\n       |   ^\n",
            ),
            // What a file holds does not reach the terminal as a command.
            (
                "\x1b[2Jx",
                mistake(1, 2),
                "f:1:2: error: a.b: bad; mend it\n     1 | \u{fffd}[2Jx\n       |  ^\n",
            ),
        ] {
            check(false, text, &complaint, expected);
        }
        let mut root = place("f", 1, 1);
        root.key.clear();
        let missing = root.error("there is no listener", "add one");
        check(
            false,
            "x = 1",
            &missing,
            "f:1:1: error: there is no listener; add one\n",
        );
        let quoting = place("f", 0, 0).warning("\"\x1b[2J\n\"", "mend it");
        check(
            false,
            "",
            &quoting,
            "f: warning: a.b: \"\\u{1b}[2J\\n\"; mend it\n",
        );
    }

    #[test]
    fn colours_mark_place_label_and_caret() {
        check(
            true,
            "ab",
            &place("f", 1, 2).warning("odd", "look"),
            "\x1b[1mf:1:2\x1b[0m: \x1b[1;33mwarning\x1b[0m: a.b: odd; look\n\x1b[2m     1 |\x1b[0m ab\n\x1b[2m       |\x1b[0m  \x1b[1;33m^\x1b[0m\n",
        );
    }

    #[test]
    fn a_long_line_is_shown_around_its_column() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, before) = excerpt(&line, 501);
        assert_eq!(shown.chars().count(), WIDTH + 2);
        assert_eq!(shown.chars().nth(before), Some('X'));
        let (shown, before) = excerpt(&line, 3);
        assert_eq!((shown.chars().count(), before), (WIDTH + 1, 2));
    }

    #[test]
    fn a_file_is_asked_for_once_in_a_row() {
        let asked = std::cell::Cell::new(0);
        let text = |_: &str| {
            asked.set(asked.get() + 1);
            None
        };
        let complaints: Vec<_> = ["f", "f", "g"]
            .iter()
            .map(|file| place(file, 1, 1).error("bad", "mend it"))
            .collect();
        Listing::new(false, &text).render(&complaints);
        assert_eq!(asked.get(), 2);
    }
}

//! Rows of text in columns, cut to the width that there is.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Space between columns.
const GAP: usize = 2;
/// The least that is left of a column that gives way.
const NAME_MIN: usize = 12;

/// The first column is for names, and gives way where room is short; so do the columns that are `left` aligned after it.
#[derive(Debug)]
pub(super) struct Table {
    left: &'static [usize],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// `left` are the columns of text; the others are numbers.
    pub(super) fn new(head: &[&str], left: &'static [usize]) -> Self {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Self {
            left,
            rows: vec![head],
        }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows
            .push(row.iter().map(|cell| visible(cell)).collect());
    }

    /// The head first.
    pub(super) fn lines(&self, columns: usize) -> Vec<String> {
        let count = self.rows.first().map_or(0, Vec::len);
        let mut widths: Vec<usize> = (0..count)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let wanted = widths.iter().sum::<usize>() + GAP * count.saturating_sub(1);
        let mut over = wanted.saturating_sub(columns);
        // Names give way, the widest of them first.
        while over > 0 {
            let widest = self
                .left
                .iter()
                .filter_map(|at| Some((widths.get(*at)?, at)));
            let Some((width, at)) = widest.max().filter(|(width, _)| **width > NAME_MIN) else {
                break;
            };
            let (width, at) = (*width, *at);
            if let Some(slot) = widths.get_mut(at) {
                *slot = width - 1;
                over -= 1;
            }
        }
        self.rows
            .iter()
            .map(|row| cut(&self.line(row, &widths), columns))
            .collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            if at > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = cut(cell, *width);
            let room = " ".repeat(width.saturating_sub(cell.width()));
            if self.left.contains(&at) {
                line = line + &cell + &room;
            } else {
                line = line + &room + &cell;
            }
        }
        line.trim_end().to_owned()
    }
}

/// Cut to so many columns of a terminal, with a mark where something is left out.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// One line without commands to the terminal: names come from files and from elsewhere.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["API", "OPEN"], &[0]);
        table.push(vec!["a-rather-long-name".to_owned(), "7".to_owned()]);
        table.push(vec!["聊天室".to_owned(), "1234".to_owned()]);
        table
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        assert_eq!(
            table().lines(80),
            [
                "API                 OPEN",
                "a-rather-long-name     7",
                "聊天室              1234",
            ]
        );
    }

    #[test]
    fn names_give_way_to_numbers() {
        assert_eq!(
            table().lines(20),
            [
                "API             OPEN",
                "a-rather-long…     7",
                "聊天室          1234",
            ]
        );
        // Narrower than anything fits: nothing wraps.
        for line in table().lines(9) {
            assert!(line.width() <= 9, "{line}");
        }
        assert_eq!(cut("聊天室", 4), "聊…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_name_does_not_command_the_terminal() {
        assert_eq!(visible("a\x1b[2Jb\n聊"), "a\\u{1b}[2Jb\\n聊");
    }
}

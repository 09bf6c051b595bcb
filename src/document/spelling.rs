//! The name that was probably meant.

/// The known name nearest to `written`, if it is near enough to be a slip of the hand.
pub(crate) fn likely<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let slips_max = written.chars().count().div_ceil(4).min(4);
    known
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance, letters compared without case and `_` with `-`, since those are the commonest slips.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(folded).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(folded).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn folded(c: char) -> char {
    if c == '_' {
        '-'
    } else {
        c.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_does_not() {
        let known = ["connections_max", "half_bytes_max", "path"];
        for (written, expected) in [
            ("conections_max", Some("connections_max")),
            ("connections-max", Some("connections_max")),
            ("Half_Bytes_Max", Some("half_bytes_max")),
            ("pth", Some("path")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(likely(written, known), expected, "{written}");
        }
    }

    #[test]
    fn the_distance_counts_single_slips() {
        for (a, b, expected) in [
            ("", "", 0),
            ("ab", "ba", 2),
            ("kitten", "sitting", 3),
            ("", "xyz", 3),
        ] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }
}

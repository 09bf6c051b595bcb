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

/// How many letters are wrong, missing, too many or swapped with their neighbour (optimal string alignment). Letters are
/// compared without case, and `_` with `-`, since those are the commonest slips.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(folded).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for x in a.chars().map(folded) {
        let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
        let mut row = vec![at(&last, 0) + 1];
        let mut left = None;
        for (index, y) in b.iter().copied().enumerate() {
            let replaced = at(&last, index) + usize::from(x != y);
            let mut least = replaced
                .min(at(&last, index + 1) + 1)
                .min(at(&row, index) + 1);
            if previous == Some(y) && left == Some(x) {
                least = least.min(at(&before_last, index - 1) + 1);
            }
            row.push(least);
            left = Some(y);
        }
        previous = Some(x);
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
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
            ("ab", "ba", 1),
            ("abcd", "acbd", 1),
            ("kitten", "sitting", 3),
            ("", "xyz", 3),
        ] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }
}

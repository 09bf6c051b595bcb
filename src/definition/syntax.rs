//! Names and variables as the cloud writes them (spec 1.2, 2.3, 3.1).

/// The pieces of a text with `#name#` variables (spec 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Splits at variables; `None` for a `#` that begins none.
pub(crate) fn references(mut text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    while let Some((before, rest)) = text.split_once('#') {
        let (name, after) = rest.split_once('#')?;
        if !is_variable_name(name) {
            return None;
        }
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Variable(name));
        text = after;
    }
    pieces.push(Piece::Text(text));
    Some(pieces)
}

/// Spec 2.3: 3 to 32 characters, a letter first, then letters, digits, `-`, `_`.
pub(crate) fn is_variable_name(name: &str) -> bool {
    (3..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Spec 2.6: 1 to 32 characters, a letter first, then letters, digits, `-`, `_`, `.`.
pub(super) fn is_parameter_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Spec 3.3: the name of a policy backend, 3 to 64 letters, digits and `_`, a letter first.
pub(super) fn is_policy_name(name: &str) -> bool {
    (3..=64).contains(&name.chars().count())
        && name.starts_with(|c: char| is_letter_or_digit(c) && !c.is_ascii_digit())
        && name.chars().all(|c| is_letter_or_digit(c) || c == '_')
}

/// Spec 5.4: the name of a set of gateway responses, 1 to 64 letters, digits, `-`, `_`.
pub(super) fn is_set_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A name that the gateway keeps for itself (spec 2.6), in any case of its letters.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "x-stage" || name.starts_with("x-apig-") || name.starts_with("x-sdk-")
}

/// Spec 3.1: 3 to 255 characters, of the kind that API names have.
pub(crate) fn is_group_name(name: &str) -> bool {
    is_api_name(name)
}

/// Spec 1.2: 3 to 255 characters; a letter (Latin or Chinese) or digit first.
pub(super) fn is_api_name(name: &str) -> bool {
    (3..=255).contains(&name.chars().count())
        && name.starts_with(is_letter_or_digit)
        && name
            .chars()
            .all(|c| is_letter_or_digit(c) || "-_./():（）：、".contains(c))
}

fn is_letter_or_digit(c: char) -> bool {
    c.is_ascii_alphanumeric() || ('\u{4e00}'..='\u{9fff}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_side_by_side() {
        use Piece::{Text, Variable};
        for (text, expected) in [
            ("plain", Some(vec![Text("plain")])),
            (
                "#address##port#",
                Some(vec![
                    Text(""),
                    Variable("address"),
                    Text(""),
                    Variable("port"),
                    Text(""),
                ]),
            ),
            (
                "/#path#/x",
                Some(vec![Text("/"), Variable("path"), Text("/x")]),
            ),
            ("#open", None),
            ("#ab#", None),
            ("#1abc#", None),
        ] {
            assert_eq!(references(text), expected, "{text}");
        }
    }

    #[test]
    fn names_keep_to_their_alphabet() {
        for (name, expected) in [
            ("API01", true),
            ("01", false),
            ("你好吗", true),
            ("_hidden", false),
            ("a/b(c):d", true),
            ("with space", false),
        ] {
            assert_eq!(is_api_name(name), expected, "{name}");
        }
    }
}

//! The README says what the program does.

use ringgate::config::defaults::TABLE;

#[test]
fn readme_has_every_default() {
    let readme = include_str!("../README.md");
    for (key, default, reason) in TABLE {
        let default = if default.is_empty() {
            "unset".to_owned()
        } else {
            format!("`{default}`")
        };
        let row = format!("| `{key}` | {default} | {reason} |");
        assert!(readme.contains(&row), "missing in README.md: {row}");
    }
}

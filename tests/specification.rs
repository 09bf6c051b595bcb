//! The checklist of the specification cites what there is.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A row of a table of rules.
struct Row<'a> {
    rule: &'a str,
    places: Vec<&'a str>,
    tests: Vec<&'a str>,
}

const FILE: &str = include_str!("../docs/specification.md");

fn rows() -> Vec<Row<'static>> {
    let cells = FILE.lines().filter_map(|line| {
        let line = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        <[&str; 4]>::try_from(cells).ok()
    });
    cells
        .filter(|[rule, ..]| *rule != "rule" && !rule.starts_with("---"))
        .map(|[rule, places, tests, _]| Row {
            rule,
            places: quoted(places),
            tests: quoted(tests),
        })
        .collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The names of all test functions below `folder`: those with `#[test]` above, and those that proptest and tables make.
fn test_names(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            test_names(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for after in text.split("#[test]").skip(1) {
                let name = after.split_once("fn ").map_or("", |(_, name)| name);
                let end = name.find(['(', '<']).unwrap_or(0);
                names.insert(name.get(..end).unwrap().to_owned());
            }
        }
    }
}

#[test]
fn the_checklist_names_files_and_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for folder in ["src", "tests"] {
        test_names(&root.join(folder), &mut names);
    }
    let exists = |path: &str| root.join(path).is_file();
    let rows = rows();
    assert!(rows.len() > 100, "the tables are not read any more");
    for row in rows {
        let lacking = row.places.is_empty() || row.tests.is_empty();
        assert!(!lacking, "{}: no file or no test", row.rule);
        for place in row.places {
            assert!(exists(place), "{}: there is no file {place}", row.rule);
        }
        for test in row.tests {
            let known = names.contains(test) || exists(test);
            assert!(known, "{}: there is no test {test}", row.rule);
        }
    }
}

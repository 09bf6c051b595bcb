//! File patterns: `*` and `?` within the names of a path. Three lines of need, so no dependency.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The files that match, in the order of their names. A path without wildcards matches itself if it is there.
pub(super) fn expand(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        found = match component {
            Component::Normal(name) if name.to_string_lossy().contains(['*', '?']) => {
                let name = name.to_string_lossy();
                if name.contains("**") {
                    return Err(format!("`**` in {} is not supported", pattern.display()));
                }
                matching(&found, &name)?
            }
            _ => found.into_iter().map(|path| path.join(component)).collect(),
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// The folders that a file which matches may come into, and those that such a folder may come into.
pub(super) fn folders(pattern: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut found = vec![PathBuf::new()];
    let mut components = pattern.components();
    while let Some(component) = components.next() {
        let rest = components.as_path();
        if rest.as_os_str().is_empty() {
            break;
        }
        found = match component {
            Component::Normal(name) if name.to_string_lossy().contains(['*', '?']) => {
                all.extend(found.iter().cloned());
                matching(&found, &name.to_string_lossy()).unwrap_or_default()
            }
            _ => found.into_iter().map(|path| path.join(component)).collect(),
        };
    }
    all.extend(found);
    all
}

/// The entries of `folders` whose name fits. Hidden ones (editors leave such files) only if the pattern says the dot.
fn matching(folders: &[PathBuf], pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in folders {
        let listed = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if !listed.is_dir() {
            continue;
        }
        let problem = |error| format!("{} cannot be listed: {error}", listed.display());
        for entry in fs::read_dir(listed).map_err(problem)? {
            let name = entry.map_err(problem)?.file_name();
            let text = name.to_string_lossy();
            if fits(pattern.as_bytes(), text.as_bytes())
                && text.starts_with('.') == pattern.starts_with('.')
            {
                found.push(folder.join(&name));
            }
        }
    }
    Ok(found)
}

/// Greedy with one way back: after a mismatch the last `*` takes one byte more.
fn fits(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut star: Option<(&[u8], &[u8])> = None;
    while !name.is_empty() {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                star = Some((rest, name));
                pattern = rest;
            }
            (Some((p, rest)), Some((n, after))) if *p == b'?' || p == n => {
                pattern = rest;
                name = after;
            }
            _ => {
                let Some((rest, from)) = star else {
                    return false;
                };
                name = from.get(1..).unwrap_or_default();
                star = Some((rest, name));
                pattern = rest;
            }
        }
    }
    pattern.iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_fit() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab", true),
            ("*ab", "aab", true),
            ("", "", true),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn patterns_name_the_files_of_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "x/b.yaml",
            "x/a.yaml",
            "y/c.yaml",
            "x/.hidden.yaml",
            "x/d.json",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            expand(&folder.path().join(pattern))
                .unwrap()
                .iter()
                .map(|path| {
                    path.strip_prefix(folder.path())
                        .unwrap()
                        .display()
                        .to_string()
                })
                .collect()
        };
        assert_eq!(names("x/*.yaml"), ["x/a.yaml", "x/b.yaml"]);
        assert_eq!(names("*/*.yaml"), ["x/a.yaml", "x/b.yaml", "y/c.yaml"]);
        assert_eq!(names("x/d.json"), ["x/d.json"]);
        assert_eq!(names("x/none.json"), Vec::<String>::new());
        assert!(expand(Path::new("**/a")).is_err());
    }
}

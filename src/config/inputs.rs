//! Everything that a configuration is read from, and how to see that some of it is another now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::glob;

/// Symbolic links that lead to one file; the kernel itself follows no more.
const LINKS_MAX: usize = 40;

/// What was read, or could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    pub(super) files: BTreeSet<PathBuf>,
    /// Of definition files, which may come and go.
    pub(super) patterns: BTreeSet<PathBuf>,
}

/// What tells one state of a file from another: device, inode, size, time of the last change in seconds and nanoseconds.
/// The kernel sets that time at every write and rename, and nobody can set it back.
type State = (u64, u64, u64, i64, i64);

/// The state of all files at one moment; `None` for one that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(BTreeMap<PathBuf, Option<State>>);

impl Stamp {
    /// When the last change was, in nanoseconds since 1970.
    pub fn last_change(&self) -> i128 {
        let times = self.0.values().flatten();
        let nanos = times
            .map(|(.., seconds, nanos)| i128::from(*seconds) * 1_000_000_000 + i128::from(*nanos));
        nanos.max().unwrap_or_default()
    }
}

impl Inputs {
    /// Those of both.
    pub fn and(mut self, other: &Self) -> Self {
        self.files.extend(other.files.iter().cloned());
        self.patterns.extend(other.patterns.iter().cloned());
        self
    }

    pub fn stamp(&self) -> Stamp {
        let matching = self.patterns.iter().flat_map(|pattern| {
            // What is wrong with it is told by whoever reads it.
            glob::expand(pattern).unwrap_or_default()
        });
        let files = self.files.iter().cloned().chain(matching);
        Stamp(
            files
                .map(|file| {
                    let state = fs::metadata(&file).ok().map(|found| {
                        let (at, nanos) = (found.ctime(), found.ctime_nsec());
                        (found.dev(), found.ino(), found.size(), at, nanos)
                    });
                    (file, state)
                })
                .collect(),
        )
    }

    /// The directories in which a change can be one of these: where each file stands, and each link on the way to it. Watching
    /// directories rather than files sees files that are replaced, as editors, renewals and mounted volumes do.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let mut directories = BTreeSet::new();
        for file in &self.files {
            add_way_to(file, &mut directories);
        }
        for pattern in &self.patterns {
            for folder in glob::folders(pattern) {
                // Whatever comes into it may fit.
                add_way_to(&folder.join("any"), &mut directories);
            }
            for file in glob::expand(pattern).unwrap_or_default() {
                add_way_to(&file, &mut directories);
            }
        }
        directories
    }
}

/// Adds the directory of `path`, that of what it is a link to, and those of links among its directories.
fn add_way_to(path: &Path, directories: &mut BTreeSet<PathBuf>) {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Some((link, target, rest)) = first_link(&path) else {
            break;
        };
        directories.insert(parent(&link));
        path = parent(&link).join(target).join(rest);
    }
    directories.insert(parent(&path));
}

/// The first part of `path` that is a link, what it says, and what follows it.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let mut so_far = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        so_far.push(component);
        if let Component::Normal(_) = component
            && let Ok(target) = fs::read_link(&so_far)
        {
            return Some((so_far, target, components.as_path().to_owned()));
        }
    }
    None
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_every_directory_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        // As Kubernetes mounts a ConfigMap.
        fs::create_dir_all(root.join("etc/..2026_1")).unwrap();
        fs::write(root.join("etc/..2026_1/a.toml"), "").unwrap();
        symlink("..2026_1", root.join("etc/..data")).unwrap();
        symlink("..data/a.toml", root.join("etc/a.toml")).unwrap();
        let inputs = Inputs {
            files: [root.join("etc/a.toml")].into(),
            patterns: [root.join("apis/*.yaml")].into(),
        };
        let expected = ["apis", "etc", "etc/..2026_1"].map(|name| root.join(name));
        assert_eq!(inputs.directories(), expected.into());
        let before = inputs.stamp();
        assert_eq!(before, inputs.stamp());
        fs::create_dir_all(root.join("etc/..2026_2")).unwrap();
        fs::write(root.join("etc/..2026_2/a.toml"), "").unwrap();
        symlink("..2026_2", root.join("etc/..tmp")).unwrap();
        fs::rename(root.join("etc/..tmp"), root.join("etc/..data")).unwrap();
        assert_ne!(before, inputs.stamp(), "the same size, and another file");
        let before = inputs.stamp();
        fs::create_dir(root.join("apis")).unwrap();
        fs::write(root.join("apis/new.yaml"), "").unwrap();
        assert_ne!(before, inputs.stamp(), "a file that fits has come");
    }
}

//! What the host says of itself below `/proc` and `/sys`. What is not there, or cannot be understood, is unknown.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most of a file that is read, in bytes. The largest that is looked at, `/proc/net/route`, has some hundred bytes a line.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most entries of a directory that are looked at.
const ENTRIES_MAX: usize = 4096;

/// Capabilities by the numbers of capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    BindService = 10,
    IpcLock = 14,
    SysNice = 23,
}

/// A soft and a hard limit; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Files of a host, below a root that tests and containers may choose, as one process sees them.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    root: PathBuf,
    process: String,
}

impl Host {
    /// `process` is the one whose limits count; this one where there is none.
    pub(crate) fn new(root: &Path, process: Option<u32>) -> Self {
        Self {
            root: root.to_owned(),
            process: process.map_or_else(|| "self".to_owned(), |id| id.to_string()),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file without the blanks around it.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.path(path)).ok()?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    pub(crate) fn numbers(&self, path: &str) -> Option<Vec<u64>> {
        let text = self.text(path)?;
        text.split_whitespace()
            .map(|word| word.parse().ok())
            .collect()
    }

    /// A setting by the name that sysctl(8) has for it.
    pub(crate) fn sysctl(&self, name: &str) -> Option<u64> {
        self.number(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    pub(crate) fn sysctl_list(&self, name: &str) -> Option<Vec<u64>> {
        self.numbers(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .take(ENTRIES_MAX)
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// A file of the process, such as `limits`.
    pub(crate) fn of_process(&self, name: &str) -> Option<String> {
        self.text(&format!("proc/{}/{name}", self.process))
    }

    /// A line of the process's `limits`, such as `Max open files`.
    pub(crate) fn limit(&self, name: &str) -> Option<Limit> {
        let text = self.of_process("limits")?;
        let values = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut values = values.split_whitespace().map(|word| match word {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        });
        Some(Limit {
            soft: values.next()??,
            hard: values.next()??,
        })
    }

    /// A line of the process's `status`.
    fn status(&self, key: &str) -> Option<String> {
        let text = self.of_process("status")?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    pub(crate) fn has(&self, capability: Capability) -> Option<bool> {
        let set = u64::from_str_radix(&self.status("CapEff")?, 16).ok()?;
        Some(set >> capability as u32 & 1 == 1)
    }

    /// The cores that the process may use.
    pub(crate) fn allowed_cores(&self) -> Option<Vec<usize>> {
        core_list(&self.status("Cpus_allowed_list")?)
    }

    /// Major and minor version of the kernel.
    pub(crate) fn kernel(&self) -> Option<(u32, u32)> {
        version(&self.kernel_release()?)
    }

    pub(crate) fn kernel_release(&self) -> Option<String> {
        self.text("proc/sys/kernel/osrelease")
    }

    /// What a control group's file says, for the process's own group and those around it. `v2` and `v1` are the file's
    /// names in both hierarchies, `controller` is that of version 1.
    pub(crate) fn cgroup(&self, controller: &str, v2: &str, v1: &str) -> Vec<String> {
        let mut found = Vec::new();
        for line in self.of_process("cgroup").unwrap_or_default().lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let (base, file) = if controllers.is_empty() {
                ("sys/fs/cgroup".to_owned(), v2)
            } else if controllers.split(',').any(|one| one == controller) {
                (format!("sys/fs/cgroup/{controller}"), v1)
            } else {
                continue;
            };
            // From the group itself up to the root of what is mounted.
            for group in Path::new(path.trim_start_matches('/')).ancestors() {
                found.extend(self.text(&format!("{base}/{}/{file}", group.display())));
            }
        }
        found
    }
}

/// `6.18.44-generic` is (6, 18).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The kernel's list format: `0-3,8`. At most so many cores as a kernel can have.
pub(crate) fn core_list(text: &str) -> Option<Vec<usize>> {
    const CORES_MAX: usize = 8192;
    let mut cores = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part
            .trim()
            .split_once('-')
            .unwrap_or_else(|| (part.trim(), part.trim()));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CORES_MAX || first > last || cores.len() > CORES_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;

    #[test]
    fn lists_and_versions_are_the_kernels_own() {
        for (text, cores) in [
            ("0", Some(vec![0])),
            ("0-2,5", Some(vec![0, 1, 2, 5])),
            ("", Some(vec![])),
            ("3-1", None),
            ("0-999999999", None),
            ("x", None),
        ] {
            assert_eq!(core_list(text), cores, "{text}");
        }
        for (text, expected) in [
            ("6.18.44-fc", Some((6, 18))),
            ("6.1.0-31-amd64", Some((6, 1))),
            ("5.15", Some((5, 15))),
            ("six", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_and_capabilities_are_those_of_the_process() {
        let fixture = Fixture::new()
            .with(
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max open files            1024                 524288               files\n\
                 Max locked memory         unlimited            unlimited            bytes\n",
            )
            .with(
                "proc/self/status",
                "Name:\tx\nCapEff:\t0000000000004400\nCpus_allowed_list:\t0-1\n",
            );
        let host = fixture.host();
        assert_eq!(
            host.limit("Max open files"),
            Some(Limit {
                soft: 1024,
                hard: 524_288
            })
        );
        assert_eq!(host.limit("Max locked memory").unwrap().hard, u64::MAX);
        assert_eq!(host.limit("Max realtime priority"), None);
        assert_eq!(host.has(Capability::BindService), Some(true));
        assert_eq!(host.has(Capability::IpcLock), Some(true));
        assert_eq!(host.has(Capability::SysNice), Some(false));
        assert_eq!(host.allowed_cores(), Some(vec![0, 1]));
    }

    #[test]
    fn groups_are_asked_from_the_inside_out() {
        let fixture = Fixture::new()
            .with("proc/self/cgroup", "3:cpu,cpuacct:/a/b\n0::/x/y\n")
            .with("sys/fs/cgroup/x/y/cpu.max", "max 100000")
            .with("sys/fs/cgroup/x/cpu.max", "150000 100000")
            .with("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1");
        let found = fixture.host().cgroup("cpu", "cpu.max", "cpu.cfs_quota_us");
        assert_eq!(found, ["-1", "max 100000", "150000 100000"]);
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let fixture = Fixture::new().with("proc/sys/fs/nr_open", "many");
        let host = fixture.host();
        assert_eq!(host.sysctl("fs.nr_open"), None);
        assert_eq!(host.sysctl_list("net.ipv4.tcp_mem"), None);
        assert_eq!(host.limit("Max open files"), None);
        assert_eq!(host.allowed_cores(), None);
        assert_eq!(host.kernel(), None);
        assert!(host.cgroup("cpu", "cpu.max", "x").is_empty());
        assert!(host.names("sys/class/net").is_empty());
    }
}

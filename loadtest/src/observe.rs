//! What a process under test costs, read from `/proc`: CPU time to the nanosecond and resident memory.

use std::fs;
use std::time::Duration;

use crate::report::Report;

/// Processes whose costs are added up: a proxy of several processes counts as one.
#[derive(Debug)]
pub(crate) struct Observer {
    pids: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) memory: Memory,
}

/// In bytes. Proportional: pages shared with other processes count in part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) anonymous: u64,
}

impl Observer {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    /// `None` if there is nothing to observe.
    pub(crate) fn sample(&self) -> Result<Option<Cost>, String> {
        let mut sum = Cost::default();
        for &pid in &self.pids {
            sum.cpu += cpu_time(pid)?;
            let memory = memory(pid)?;
            sum.memory.resident += memory.resident;
            sum.memory.proportional += memory.proportional;
            sum.memory.anonymous += memory.anonymous;
        }
        Ok((!self.pids.is_empty()).then_some(sum))
    }
}

impl Memory {
    pub(crate) fn report(&self, name: &str, report: &mut Report) {
        report.add(format!("{name}_rss_bytes"), self.resident);
        report.add(format!("{name}_pss_bytes"), self.proportional);
        report.add(format!("{name}_anonymous_bytes"), self.anonymous);
    }
}

/// The sum over all threads that live now: `/proc/PID/stat` would include those that ended, but counts in ticks of 10 ms.
fn cpu_time(pid: u32) -> Result<Duration, String> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))? {
        let path = task
            .map_err(|error| format!("{tasks}: {error}"))?
            .path()
            .join("schedstat");
        // A thread may end between being listed and being read.
        if let Ok(text) = fs::read_to_string(&path) {
            sum += parse_schedstat(&text)
                .ok_or_else(|| format!("{}: not understood", path.display()))?;
        }
    }
    Ok(sum)
}

fn memory(pid: u32) -> Result<Memory, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    parse_rollup(&text).ok_or_else(|| format!("{path}: not understood"))
}

/// The first number is the time on a CPU in nanoseconds.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let bytes = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory {
        resident: bytes("Rss:")?,
        proportional: bytes("Pss:")?,
        anonymous: bytes("Anonymous:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_understood() {
        assert_eq!(
            parse_schedstat("28331624 10721783 82\n"),
            Some(Duration::from_nanos(28_331_624))
        );
        let rollup = "00400000-7fff ---p 0 00:00 0 [rollup]\nRss:    1756 kB\nPss:     367 kB\nPss_Anon: 1 kB\nAnonymous:   116 kB\n";
        let expected = Memory {
            resident: 1756 * 1024,
            proportional: 367 * 1024,
            anonymous: 116 * 1024,
        };
        assert_eq!(parse_rollup(rollup), Some(expected));
        assert_eq!(parse_rollup("Rss: 1 kB"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let cost = Observer::new(vec![std::process::id()])
            .sample()
            .unwrap()
            .unwrap();
        assert!(cost.memory.resident > 0);
        assert_eq!(Observer::new(Vec::new()).sample(), Ok(None));
        assert!(Observer::new(vec![u32::MAX]).sample().is_err());
    }
}

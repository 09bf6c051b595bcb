//! What processes under test cost, read from `/proc`: CPU time to the nanosecond, memory, descriptors, and what their
//! sockets hold in the kernel.

use std::time::Duration;
use std::{fs, io};

use crate::report::Report;

/// Bytes of a page: what `/proc/net/sockstat` counts in. 4 KiB on every machine this is likely to run on; asked anyway.
fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Processes whose costs are added up: a proxy of several processes counts as one.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pids: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) memory: Memory,
    pub(crate) descriptors: u64,
    pub(crate) kernel: Kernel,
}

/// In bytes. Proportional: pages shared with other processes count in part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) anonymous: u64,
}

/// Of all processes in the network namespace of the first one, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Data in TCP sockets' buffers.
    pub(crate) socket_buffers: u64,
    /// Sockets, their inodes, files, directory entries and epoll entries, of the whole machine; `None` if only root may
    /// know.
    pub(crate) socket_slabs: Option<u64>,
    pub(crate) sockets: u64,
}

impl Observer {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    /// `None` if there is nothing to observe.
    pub(crate) fn sample(&self) -> Result<Option<Cost>, String> {
        let Some(first) = self.pids.first() else {
            return Ok(None);
        };
        let mut sum = Cost {
            kernel: kernel(*first)?,
            ..Cost::default()
        };
        for &pid in &self.pids {
            sum.cpu += cpu_time(pid)?;
            sum.descriptors += descriptors(pid)?;
            let memory = memory(pid)?;
            sum.memory.resident += memory.resident;
            sum.memory.proportional += memory.proportional;
            sum.memory.anonymous += memory.anonymous;
        }
        Ok(Some(sum))
    }
}

impl Cost {
    pub(crate) fn report(&self, name: &str, report: &mut Report) {
        report.add(format!("{name}_rss_bytes"), self.memory.resident);
        report.add(format!("{name}_pss_bytes"), self.memory.proportional);
        report.add(format!("{name}_anonymous_bytes"), self.memory.anonymous);
        report.add(format!("{name}_descriptors"), self.descriptors);
        report.add(
            format!("{name}_socket_buffer_bytes"),
            self.kernel.socket_buffers,
        );
        report.add(
            format!("{name}_socket_slab_bytes"),
            self.kernel.socket_slabs,
        );
    }
}

/// What of `/proc/PID` could not be read, and why.
fn explain(pid: u32, what: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no process {pid} to observe"),
        io::ErrorKind::PermissionDenied => format!(
            "process {pid} may not be observed ({what}): its memory and descriptors are for its own user and for root"
        ),
        // Its memory map is asked for when it has just ended.
        _ if error.raw_os_error() == Some(libc::ESRCH) => {
            format!("there is no process {pid} to observe")
        }
        _ => format!("process {pid}, {what}: {error}"),
    }
}

fn read(pid: u32, what: &str) -> Result<String, String> {
    fs::read_to_string(format!("/proc/{pid}/{what}")).map_err(|error| explain(pid, what, &error))
}

fn not_understood(pid: u32, what: &str) -> String {
    format!("process {pid}, {what}: not understood")
}

/// The sum over all threads that live now: `/proc/PID/stat` would include those that ended, but counts in ticks of 10 ms.
fn cpu_time(pid: u32) -> Result<Duration, String> {
    let fail = |error| explain(pid, "task", &error);
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(fail)? {
        let path = task.map_err(fail)?.path().join("schedstat");
        // A thread may end between being listed and being read.
        if let Ok(text) = fs::read_to_string(&path) {
            sum += parse_schedstat(&text).ok_or_else(|| not_understood(pid, "schedstat"))?;
        }
    }
    Ok(sum)
}

fn descriptors(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/fd");
    let fail = |error| explain(pid, "fd", &error);
    // Linux 6.2 gives the number as the directory's size, which saves listing it.
    match fs::metadata(&path).map_err(fail)?.len() {
        0 => Ok(fs::read_dir(&path).map_err(fail)?.count() as u64),
        count => Ok(count),
    }
}

fn memory(pid: u32) -> Result<Memory, String> {
    let what = "smaps_rollup";
    parse_rollup(&read(pid, what)?).ok_or_else(|| not_understood(pid, what))
}

fn kernel(pid: u32) -> Result<Kernel, String> {
    let what = "net/sockstat";
    let (sockets, pages) =
        parse_sockstat(&read(pid, what)?).ok_or_else(|| not_understood(pid, what))?;
    Ok(Kernel {
        socket_buffers: pages * page_bytes(),
        socket_slabs: fs::read_to_string("/proc/slabinfo")
            .ok()
            .map(|text| sum_slabs(&text)),
        sockets,
    })
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

/// TCP sockets (of both address families) and pages in their buffers.
fn parse_sockstat(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    let (mut sockets, mut pages) = (None, None);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            "alloc" => sockets = value.parse().ok(),
            "mem" => pages = value.parse().ok(),
            _ => {}
        }
    }
    sockets.zip(pages)
}

/// The slab caches that grow with sockets.
const SLABS: [&str; 7] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "filp",
    "dentry",
    "eventpoll_epi",
    "eventpoll_pwq",
];

/// Objects times their size: the fourth column is bytes of one, the third how many there are.
fn sum_slabs(text: &str) -> u64 {
    let bytes = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|name| SLABS.contains(name))?;
        let (_, count, size) = (words.next()?, words.next()?, words.next()?);
        Some(count.parse::<u64>().ok()? * size.parse::<u64>().ok()?)
    });
    bytes.sum()
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
        let sockstat =
            "sockets: used 30\nTCP: inuse 5 orphan 0 tw 2 alloc 9 mem 3\nUDP: inuse 0 mem 0\n";
        assert_eq!(parse_sockstat(sockstat), Some((9, 3)));
        let slabs = "slabinfo - version: 2.1\nTCP 10 12 2560 12 8 : tunables 0 0 0\nTCPx 1 1 1 1 1\nfilp 5 6 256 16 1\n";
        assert_eq!(sum_slabs(slabs), 12 * 2560 + 6 * 256);
    }

    #[test]
    fn this_process_costs_something() {
        let cost = Observer::new(vec![std::process::id()])
            .sample()
            .unwrap()
            .unwrap();
        assert!(cost.memory.resident > 0 && cost.descriptors > 2);
        assert_eq!(Observer::new(Vec::new()).sample(), Ok(None));
        let error = Observer::new(vec![u32::MAX]).sample().unwrap_err();
        assert_eq!(error, "there is no process 4294967295 to observe");
    }
}

//! What the kernel says of this process, read from `/proc` when somebody asks.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Sizes in bytes, as far as they are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident: Option<u64>,
    pub(super) virtual_: Option<u64>,
    pub(super) swapped: Option<u64>,
}

/// `status` rather than `statm`: its unit is not the page, whose size differs by machine.
pub(super) fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status");
    status.map_or_else(|_| Memory::default(), |status| parse_memory(&status))
}

fn parse_memory(status: &str) -> Memory {
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Memory {
        resident: of("VmRSS:"),
        virtual_: of("VmSize:"),
        swapped: of("VmSwap:"),
    }
}

/// Open descriptors. From Linux 6.2 the directory's size is their number; before, it is zero and they are counted,
/// which takes tens of milliseconds with a hundred thousand of them.
pub(super) fn open_descriptors() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.size() {
        0 => Some(fs::read_dir(DIRECTORY).ok()?.count() as u64),
        number => Some(number),
    }
}

/// The soft limit on descriptors; `None` where there is none.
pub(super) fn descriptors_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Time on the CPU, of all threads.
pub(super) fn cpu_time() -> Option<Duration> {
    parse_cpu(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// What the kernel calls `USER_HZ` is 100 on every architecture that this runs on.
const TICK: Duration = Duration::from_millis(10);

fn parse_cpu(stat: &str) -> Option<Duration> {
    // The name in brackets may hold anything; utime and stime are the 12th and 13th field behind it (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()? + TICK * ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        let status = "VmSize:\t 9 kB\nVmRSS:\t    1234 kB\n";
        let expected = Memory {
            resident: Some(1_263_616),
            virtual_: Some(9_216),
            swapped: None,
        };
        assert_eq!(parse_memory(status), expected);
        let ours = memory();
        assert!(ours.resident.unwrap() > 100_000 && ours.virtual_ > ours.resident);
        assert!(ours.swapped.is_some());
    }

    #[test]
    fn time_on_the_cpu_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 9 0 1";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(4)));
        assert!(cpu_time().is_some());
    }

    #[test]
    fn descriptors_are_counted() {
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..100)
            .map(|_| fs::File::open("/proc/self/status").unwrap())
            .collect();
        // Other tests of this process open and close files meanwhile.
        assert!(open_descriptors().unwrap() + 50 > before + files.len() as u64);
        assert!(descriptors_max().is_none_or(|max| max > 10));
    }
}

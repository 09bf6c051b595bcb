//! What the kernel says of this process, read from `/proc` when somebody asks.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Resident memory in bytes. `status` rather than `statm`: its unit is not the page, whose size differs by machine.
pub(super) fn resident_bytes() -> Option<u64> {
    parse_resident(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read() {
        assert_eq!(
            parse_resident("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"),
            Some(1_263_616)
        );
        assert_eq!(parse_resident("VmPeak:\t 9 kB\n"), None);
        assert!(resident_bytes().unwrap() > 100_000);
    }

    #[test]
    fn descriptors_are_counted() {
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..100)
            .map(|_| fs::File::open("/proc/self/status").unwrap())
            .collect();
        // Other tests of this process open and close files meanwhile.
        assert!(open_descriptors().unwrap() + 50 > before + files.len() as u64);
    }
}

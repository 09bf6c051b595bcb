//! What this kernel offers, and what to do where it offers too little.

use std::fmt;
use std::io;

use super::kernel::{Found, KernelRing, Size};

/// What was found on this machine.
#[derive(Debug)]
pub struct Features {
    /// As `uname -r` says it.
    pub kernel: String,
    found: Found,
}

impl Features {
    /// Each feature that is looked for, and whether it was found.
    pub fn list(&self) -> [(&'static str, bool); 3] {
        [
            (
                "incremental provided buffers (Linux 6.12)",
                self.found.incremental_buffers,
            ),
            (
                "submission queue without index array (Linux 6.6)",
                self.found.no_sq_array,
            ),
            (
                "registered ring descriptor (Linux 5.18)",
                self.found.registered_ring,
            ),
        ]
    }
}

/// Why no ring can be had.
#[derive(Debug)]
pub struct Unavailable {
    kernel: String,
    error: io::Error,
}

/// Builds a ring as a relay would, and takes it down again.
pub fn probe() -> Result<Features, Unavailable> {
    probe_of(1, 256 << 10)
}

/// The same with a ring for that many sockets, with that many bytes of buffers.
pub fn probe_of(sockets_max: usize, buffer_bytes: usize) -> Result<Features, Unavailable> {
    let kernel = crate::sys::kernel_release();
    let unavailable = |error| Unavailable {
        kernel: kernel.clone(),
        error,
    };
    let wake = crate::sys::eventfd().map_err(unavailable)?;
    let ring = KernelRing::new(
        Size {
            sockets_max,
            buffer_bytes,
        },
        wake,
    )
    .map_err(unavailable)?;
    Ok(Features {
        kernel: kernel.clone(),
        found: ring.found(),
    })
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, error } = self;
        write!(f, "io_uring cannot be used (kernel {kernel}): {error}. ")?;
        match error.raw_os_error() {
            Some(libc::ENOSYS) => f.write_str(
                "The kernel has no io_uring, or a container's seccomp profile hides it: use Linux 6.1 or later, and allow \
                 io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
            ),
            Some(libc::EPERM | libc::EACCES) => f.write_str(
                "It is forbidden: set `sysctl kernel.io_uring_disabled=0` (or add this user to kernel.io_uring_group), and \
                 allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
            ),
            Some(libc::EINVAL) => f.write_str("The kernel is too old: Linux 6.1 or later is needed"),
            Some(libc::ENOMEM) => {
                f.write_str("Locked memory is used up: raise the limit (`ulimit -l`, systemd LimitMEMLOCK=infinity)")
            }
            _ => f.write_str("Linux 6.1 or later with io_uring enabled is needed"),
        }
    }
}

impl std::error::Error for Unavailable {}

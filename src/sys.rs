//! System calls that std and socket2 do not offer, each behind a safe function.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A descriptor that wakes whoever polls it.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Wakes whoever polls `eventfd`.
pub fn eventfd_signal(eventfd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is eight bytes long and lives through the call. A full counter (EAGAIN) wakes as well.
    unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Makes `eventfd` quiet again.
pub fn eventfd_drain(eventfd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is eight bytes long and lives through the call. An empty counter (EAGAIN) is as good.
    unsafe { libc::read(eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Ends the sending direction of a socket.
pub fn shutdown_write(fd: i32) {
    // SAFETY: the call takes no pointers. On a socket whose peer is gone it fails, and there is nothing left to shut down.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Makes the coming close of a socket a reset: what is unsent is dropped, the peer sees RST.
pub fn set_reset_on_close(fd: i32) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option value is a `linger` of the length given, and lives through the call.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            u32::try_from(size_of::<libc::linger>()).unwrap_or(0),
        )
    };
}

/// The kernel's release, as `uname -r` says it.
pub fn kernel_release() -> String {
    // SAFETY: all-zero bytes are a valid `utsname`: arrays of characters.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a `utsname` that lives through the call.
    unsafe { libc::uname(&mut name) };
    // SAFETY: the kernel ends the field with a zero byte within the array; the zeroed value has one in any case.
    let release = unsafe { CStr::from_ptr(name.release.as_ptr()) };
    release.to_string_lossy().into_owned()
}

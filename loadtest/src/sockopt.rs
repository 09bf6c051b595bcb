//! The one home of `unsafe` here: a socket option that neither socket2 nor rustix knows.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};

/// Makes `bind` to port 0 choose an address only. The port is then found by `connect`, and need only be unique for that
/// pair of addresses: 28,000 connections from one source to *each* destination instead of to all (ip(7), Linux 4.2).
pub(crate) fn bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and `on` outlives the call, which reads `len`
    // bytes of it, its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            len,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

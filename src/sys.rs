//! System calls that std and socket2 do not offer, each behind a safe function.

use std::ffi::CStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use monoio::net::TcpStream;
use socket2::{SockAddr, SockAddrStorage, Socket};

/// The descriptors that a supervisor has passed to this process, each with its name (sd_listen_fds(3)). To be called once.
pub fn passed_descriptors() -> io::Result<Vec<(OwnedFd, String)>> {
    let passed = sd_notify::listen_fds_with_names()?;
    let owned = |(fd, name)| {
        // SAFETY: the protocol gives us these descriptors, and nobody else takes them: this is called once, at the start.
        let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
        (descriptor, name)
    };
    Ok(passed.map(owned).collect())
}

/// The process at the other end of a unix socket: that which listens, or that which connected (unix(7), SO_PEERCRED).
pub fn peer_process(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = len_of::<libc::ucred>();
    // SAFETY: the kernel writes at most `len` bytes into `peer`, which lives on this stack frame.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    check(result).ok()?;
    // Zero is somebody in a process namespace that we do not see.
    u32::try_from(peer.pid).ok().filter(|pid| *pid != 0)
}

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
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
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

/// Has the allocator give whole free pages back to the kernel, where it can.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointers, and locks what it touches.
    unsafe {
        libc::malloc_trim(0)
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

/// The descriptor of a monoio socket, for calls that monoio does not have.
pub fn descriptor_of(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: `stream` owns the descriptor and stays borrowed for as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Whether the peer of a socket has ended its sending direction, or is gone, even behind bytes that nobody has read.
pub fn peer_has_left(socket: BorrowedFd<'_>) -> bool {
    polls_as(socket, libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR)
}

/// Whether nothing can be sent to the peer of a socket any more: it has reset the connection, say.
pub fn peer_is_gone(socket: BorrowedFd<'_>) -> bool {
    polls_as(socket, libc::POLLHUP | libc::POLLERR)
}

/// Whether a poll that waits for nothing tells any of `events`.
fn polls_as(socket: BorrowedFd<'_>, events: libc::c_short) -> bool {
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: the pointer names one `pollfd`, which lives through the call; a timeout of zero only looks.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & events != 0
}

/// What somebody waits for on a descriptor; nothing at all is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    pub fd: BorrowedFd<'a>,
    pub read: bool,
    pub write: bool,
}

/// Waits until one of the descriptors can be used as wished, has failed, or the time is up; says which. A signal ends the
/// wait as well, with none ready. Without a timeout it waits for as long as it takes.
pub fn poll<const N: usize>(
    interests: [Interest<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled = interests.map(|interest| libc::pollfd {
        // The kernel passes over negative descriptors; else it would report the end of one that nobody asks about.
        fd: if interest.read || interest.write {
            interest.fd.as_raw_fd()
        } else {
            -1
        },
        events: if interest.read { libc::POLLIN } else { 0 }
            | if interest.write { libc::POLLOUT } else { 0 },
        revents: 0,
    });
    // Rounded up, so that whoever waits for a point in time does not spin through its last millisecond.
    let milliseconds = timeout.map_or(-1, |time| {
        i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    let count = libc::nfds_t::try_from(N).unwrap_or(0);
    // SAFETY: the pointer names `N` `pollfd`s, which live through the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), count, milliseconds) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::Interrupted => Ok([false; N]),
            _ => Err(error),
        };
    }
    Ok(polled.map(|entry| entry.revents != 0))
}

/// What the kernel knows of how right its clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Something disciplines the clock (NTP, PTP).
    pub synchronised: bool,
    /// The most it may be wrong by, as far as that something knows.
    pub error_max: Duration,
}

/// Reads the state of the system's clock, and changes nothing.
pub fn clock_state() -> io::Result<ClockState> {
    // SAFETY: all-zero bytes are a valid `timex`: numbers, and `modes` of zero asks without setting.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `state` is a `timex` that lives through the call.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    check(result)?;
    Ok(ClockState {
        synchronised: state.status & libc::STA_UNSYNC == 0,
        error_max: Duration::from_micros(u64::try_from(state.maxerror).unwrap_or(u64::MAX)),
    })
}

/// Takes the descriptor out of a monoio socket, on which no operation may be pending.
pub fn into_descriptor(stream: TcpStream) -> OwnedFd {
    let fd = stream.into_raw_fd();
    // SAFETY: `into_raw_fd` has just given up the ownership of an open descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// What became of an attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, non-blocking and closed on exec, with its peer.
    Connection(Socket, SocketAddr),
    /// Nobody is waiting.
    Nobody,
    /// No descriptor or memory was left; whoever waits goes on waiting.
    Exhausted(io::Error),
    /// A connection ended before it was accepted; the next may be there.
    Lost(io::Error),
    /// The listener itself is of no use.
    Failed(io::Error),
}

/// Accepts one connection, if one is waiting at the non-blocking `listener`.
pub fn accept(listener: BorrowedFd<'_>) -> Accepted {
    let accept4 = |storage: *mut SockAddrStorage, len: *mut libc::socklen_t| {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: `storage` and `len` come from `try_init`, which keeps both valid through the call.
        let fd = unsafe { libc::accept4(listener.as_raw_fd(), storage.cast(), len, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    // SAFETY: on success the kernel has written an address into the storage, and its length into `len`.
    match unsafe { SockAddr::try_init(accept4) } {
        Ok((fd, address)) => match address.as_socket() {
            Some(peer) => Accepted::Connection(Socket::from(fd), peer),
            None => Accepted::Lost(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        },
        Err(error) => refused_accept(error),
    }
}

fn refused_accept(error: io::Error) -> Accepted {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Accepted::Nobody,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            Accepted::Exhausted(error)
        }
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
            Accepted::Failed(error)
        }
        // accept(2) lists network errors of the new connection that are to be treated like EAGAIN; a firewall adds EPERM.
        _ => Accepted::Lost(error),
    }
}

/// Leaves the choice of a local port to `connect`, where the kernel may use a port towards several destinations at once.
/// Without it `bind` to a source address takes a port for itself alone.
pub fn set_bind_address_no_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option value is an `int` of the length given, and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            len_of::<libc::c_int>(),
        )
    };
    check(result)
}

/// How the kernel schedules the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    pub policy: Policy,
    pub nice: i32,
    /// The time slice of `Policy::Other`; `None` where the kernel does not tell (before Linux 6.12).
    pub slice: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Other,
    /// Real time, with this priority.
    Fifo(u8),
    /// Something that we do not set.
    Unknown(u32),
}

impl Scheduling {
    /// What is in effect for the calling thread, whatever was asked for.
    pub fn current() -> io::Result<Self> {
        let attributes = SchedAttr::current()?;
        let policy = match attributes.policy {
            SCHED_OTHER => Policy::Other,
            SCHED_FIFO => Policy::Fifo(u8::try_from(attributes.priority).unwrap_or(u8::MAX)),
            policy => Policy::Unknown(policy),
        };
        let slice = Duration::from_nanos(attributes.runtime);
        Ok(Self {
            policy,
            nice: attributes.nice,
            slice: (!slice.is_zero()).then_some(slice),
        })
    }
}

/// Sets the nice value of the calling thread.
pub fn set_nice(nice: i32) -> io::Result<()> {
    let attributes = SchedAttr {
        nice,
        ..SchedAttr::other()
    };
    attributes.apply()
}

/// Sets the time slice of the calling thread and keeps its nice value. Kernels before Linux 6.12 take it and do nothing:
/// `Scheduling::current` tells.
pub fn set_slice(slice: Duration) -> io::Result<()> {
    let attributes = SchedAttr {
        nice: SchedAttr::current()?.nice,
        runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        ..SchedAttr::other()
    };
    attributes.apply()
}

/// Makes the calling thread a real-time one, which runs before all ordinary ones.
pub fn set_fifo(priority: u8) -> io::Result<()> {
    let attributes = SchedAttr {
        policy: SCHED_FIFO,
        priority: u32::from(priority),
        ..SchedAttr::other()
    };
    attributes.apply()
}

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;

/// `struct sched_attr` of the kernel in its first version, which glibc does not wrap.
#[repr(C)]
#[derive(Debug)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SCHED_ATTR_LEN: u32 = 48;
const _: () = assert!(size_of::<SchedAttr>() == SCHED_ATTR_LEN as usize);

impl SchedAttr {
    fn other() -> Self {
        Self {
            size: SCHED_ATTR_LEN,
            policy: SCHED_OTHER,
            flags: 0,
            nice: 0,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
        }
    }

    fn current() -> io::Result<Self> {
        let mut attributes = Self::other();
        // SAFETY: the kernel writes at most the length given into `attributes`, which lives through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_sched_getattr,
                0,
                &raw mut attributes,
                SCHED_ATTR_LEN,
                0,
            )
        };
        check(result)?;
        Ok(attributes)
    }

    fn apply(&self) -> io::Result<()> {
        // SAFETY: the kernel reads `size` bytes of `self`, which lives through the call.
        check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *self, 0) })
    }
}

/// Raises the soft limit of open descriptors to the hard one, and says how many that is.
pub fn raise_fd_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is an `rlimit` that lives through the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        ..limit
    };
    // SAFETY: `raised` is an `rlimit` that lives through the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    // A hard limit above the kernel's own maximum can't be had; the soft one stays good.
    let in_effect = if result == 0 { raised } else { limit };
    Ok(usize::try_from(in_effect.rlim_cur).unwrap_or(usize::MAX))
}

fn check(result: impl Into<i64>) -> io::Result<()> {
    if result.into() < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn len_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;

    #[test]
    fn accept_says_when_nobody_waits() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(matches!(accept(listener.as_fd()), Accepted::Nobody));
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let Accepted::Connection(socket, peer) = accept(listener.as_fd()) else {
            panic!("a client is waiting");
        };
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(socket.nonblocking().unwrap());
        assert!(matches!(accept(listener.as_fd()), Accepted::Nobody));
    }

    #[test]
    fn accept_tells_exhaustion_from_a_lost_connection() {
        let outcome = |errno| refused_accept(io::Error::from_raw_os_error(errno));
        assert!(matches!(outcome(libc::EMFILE), Accepted::Exhausted(_)));
        assert!(matches!(outcome(libc::ENFILE), Accepted::Exhausted(_)));
        assert!(matches!(outcome(libc::ECONNABORTED), Accepted::Lost(_)));
        assert!(matches!(outcome(libc::EPERM), Accepted::Lost(_)));
        assert!(matches!(outcome(libc::EINVAL), Accepted::Failed(_)));
    }

    #[test]
    fn a_thread_is_scheduled_as_asked() {
        // On a thread of its own: a nice value can't be lowered again.
        let scheduling = thread::spawn(|| {
            set_nice(5).unwrap();
            set_slice(Duration::from_micros(100)).unwrap();
            Scheduling::current().unwrap()
        });
        let scheduling = scheduling.join().unwrap();
        assert_eq!(scheduling.policy, Policy::Other);
        assert_eq!(scheduling.nice, 5);
        // Kernels before 6.12 have no slice to tell.
        if let Some(slice) = scheduling.slice {
            assert_eq!(slice, Duration::from_micros(100));
        }
    }

    #[test]
    fn the_descriptor_limit_is_at_its_hard_maximum() {
        let limit = raise_fd_limit().unwrap();
        assert!(limit >= 256);
        assert_eq!(raise_fd_limit().unwrap(), limit);
    }

    #[test]
    fn poll_says_who_is_ready() {
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let interest = |fd, read, write| Interest { fd, read, write };
        let at_once = Some(Duration::ZERO);
        let wishes = || {
            [
                interest(far.as_fd(), true, false),
                interest(far.as_fd(), false, true),
                interest(far.as_fd(), false, false),
            ]
        };
        assert_eq!(poll(wishes(), at_once).unwrap(), [false, true, false]);
        std::io::Write::write_all(&mut near, b"x").unwrap();
        assert_eq!(poll(wishes(), None).unwrap(), [true, true, false]);
        drop(near);
        assert_eq!(poll(wishes(), None).unwrap(), [true, true, false]);
    }

    #[test]
    fn the_clock_can_be_asked() {
        // Containers may forbid it, and nothing is known then.
        if let Ok(state) = clock_state() {
            assert!(!state.synchronised || state.error_max < Duration::from_secs(3600));
        }
    }

    #[test]
    fn a_port_may_be_chosen_late() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        set_bind_address_no_port(socket.as_fd()).unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        if let Ok(socket) = socket {
            set_bind_address_no_port(socket.as_fd()).unwrap();
        }
    }
}

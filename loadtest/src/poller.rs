//! Edge-triggered epoll: sockets are registered once for everything and never changed on the way of a message.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// What happened to the socket that was registered under `key`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    /// The peer has ended its direction, so the end follows whatever is still to be read.
    pub(crate) ended: bool,
}

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// `events_max` bounds how many sockets one wait reports.
    pub(crate) fn new(events_max: usize) -> io::Result<Self> {
        // The default slack of 50 us would show in the latency of an open loop; it is this thread's alone.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(events_max),
        })
    }

    pub(crate) fn add(&self, socket: &impl AsFd, key: u64) -> io::Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(key), interest())?;
        Ok(())
    }

    /// Makes a socket that is ready be reported again, though it is edge-triggered.
    pub(crate) fn rearm(&self, socket: &impl AsFd, key: u64) -> io::Result<()> {
        epoll::modify(&self.epoll, socket, EventData::new_u64(key), interest())?;
        Ok(())
    }

    /// Waits for something to happen and moves it into `ready`, which is empty after a timeout.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let over = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        ready.extend(self.events.iter().map(|event| Ready {
            key: event.data.u64(),
            ended: { event.flags }.intersects(over),
        }));
        Ok(())
    }
}

fn interest() -> EventFlags {
    EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
}

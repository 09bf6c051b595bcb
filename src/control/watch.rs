//! Watching the files that a configuration consists of, on a thread of its own: a change that has come to rest is told.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use inotify::{Inotify, WatchDescriptor, WatchMask};

use crate::config::{Inputs, Stamp};
use crate::sys::{self, Interest};

/// How long nothing may have happened before a change counts as done, and how long that is waited for at most.
const QUIET: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel's times of files are those of its last tick: as much as a change can be later than it says.
const TICK: Duration = Duration::from_millis(20);

/// A watch under way. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    orders: Sender<Order>,
    wake: OwnedFd,
}

/// What to watch, and when reading it began.
#[derive(Debug)]
struct Order(Inputs, SystemTime);

impl Watch {
    /// Starts with nothing to watch. `changed` is called, on the thread of the watch, after each change.
    pub fn start(changed: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (orders, ordered) = channel();
        let wake = sys::eventfd()?;
        let watching = Watching {
            inotify: Inotify::init()?,
            woken: wake.try_clone()?,
            ordered,
            inputs: Inputs::default(),
            stamp: Stamp::default(),
            doubted: Stamp::default(),
            watched: HashMap::new(),
            stirred: None,
        };
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                if let Err(error) = watching.run(changed) {
                    tracing::error!(%error, "the configuration is not watched any more; SIGHUP still reads it again");
                }
            })?;
        Ok(Self { orders, wake })
    }

    /// Watches these from now on. What has changed since `read_at` may not have been read.
    pub fn follow(&self, inputs: Inputs, read_at: SystemTime) {
        // A watch that has failed has said so.
        drop(self.orders.send(Order(inputs, read_at)));
        sys::eventfd_signal(&self.wake);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (closed, _) = channel();
        self.orders = closed;
        sys::eventfd_signal(&self.wake);
    }
}

/// What the thread has.
struct Watching {
    inotify: Inotify,
    woken: OwnedFd,
    ordered: Receiver<Order>,
    inputs: Inputs,
    /// What was told last, or read since.
    stamp: Stamp,
    /// What was told because it may have changed unseen: once is enough, whatever the clocks say.
    doubted: Stamp,
    watched: HashMap<PathBuf, WatchDescriptor>,
    /// When the first and the last of what has happened since did.
    stirred: Option<(Instant, Instant)>,
}

impl Watching {
    fn run(mut self, mut changed: impl FnMut()) -> io::Result<()> {
        loop {
            let left = self.due().map(|due| due.saturating_duration_since(now()));
            let readable = |fd| Interest {
                fd,
                read: true,
                write: false,
            };
            let interests = [readable(self.inotify.as_fd()), readable(self.woken.as_fd())];
            let [stirred, woken] = sys::poll(interests, left)?;
            if stirred && self.read_events()? {
                self.stir();
            }
            if woken && !self.take_orders()? {
                return Ok(());
            }
            if self.due().is_some_and(|due| due <= now()) {
                self.stirred = None;
                self.watch_directories()?;
                let stamp = self.inputs.stamp();
                if stamp != self.stamp {
                    self.stamp = stamp;
                    changed();
                }
            }
        }
    }

    /// When what has happened counts as done.
    fn due(&self) -> Option<Instant> {
        let (first, last) = self.stirred?;
        Some((last + QUIET).min(first + PATIENCE))
    }

    fn stir(&mut self) {
        let now = now();
        let first = self.stirred.map_or(now, |(first, _)| first);
        self.stirred = Some((first, now));
    }

    /// Takes what has happened, whatever it was: names say less than the files themselves.
    fn read_events(&mut self) -> io::Result<bool> {
        let mut buf = [0; 4096];
        let mut any = false;
        loop {
            match self.inotify.read_events(&mut buf) {
                Ok(events) => any |= events.count() > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
                Err(error) => return Err(error),
            }
        }
    }

    /// `false` when nobody is interested any more.
    fn take_orders(&mut self) -> io::Result<bool> {
        sys::eventfd_drain(&self.woken);
        loop {
            match self.ordered.try_recv() {
                Ok(Order(inputs, read_at)) => self.follow(inputs, read_at)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn follow(&mut self, inputs: Inputs, read_at: SystemTime) -> io::Result<()> {
        self.inputs = inputs;
        self.watch_directories()?;
        self.stamp = self.inputs.stamp();
        let since_1970 = read_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let surely_read = since_1970.saturating_sub(TICK).as_nanos();
        let surely_read = i128::try_from(surely_read).unwrap_or(i128::MAX);
        if self.stamp.last_change() >= surely_read && self.stamp != self.doubted {
            // Before it was watched, and perhaps after it was read.
            self.doubted = std::mem::take(&mut self.stamp);
            self.stir();
        }
        Ok(())
    }

    fn watch_directories(&mut self) -> io::Result<()> {
        let mut watched = HashMap::new();
        for directory in self.inputs.directories() {
            if let Some((directory, watch)) = self.watch_existing(&directory)? {
                watched.insert(directory, watch);
            }
        }
        let mut watches = self.inotify.watches();
        for (_, old) in std::mem::replace(&mut self.watched, watched) {
            if !self.watched.values().any(|watch| *watch == old) {
                // One whose directory is gone went with it.
                watches.remove(old).ok();
            }
        }
        Ok(())
    }

    /// Watches a directory, or as long as it is not there, what is nearest above.
    fn watch_existing(&self, directory: &Path) -> io::Result<Option<(PathBuf, WatchDescriptor)>> {
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        for directory in directory.ancestors() {
            let directory = match directory.as_os_str().is_empty() {
                true => Path::new("."),
                false => directory,
            };
            match self.inotify.watches().add(directory, mask) {
                Ok(watch) => return Ok(Some((directory.to_owned(), watch))),
                Err(error) if is_absence(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(directory = %directory.display(), %error, "a directory can't be watched");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the watch reads the clock"
)]
fn now() -> Instant {
    Instant::now()
}

//! Counters by API and by backend. There is a `Series` for each pair of the two, and one for each API's requests that
//! reach no backend; sums over them are what an API, or a backend, has had.
//!
//! ```text
//!  Book ─► Series (group, environment, API, backend) ─► core 0 ─► EdgeSeries    one writer: the edge of that core
//!   ▲        ▲                                       │         └─► RelaySeries   one writer: its relay; tunnels hold it
//!   │        └─ APIs of the catalog                  └─► core 1 ─► …
//!   └─ whoever asks: the scraper, the admin API
//! ```
//! A series takes its memory with its first request, and that of a core with the first one there: 10,000 APIs that nobody
//! calls cost 10,000 small keys. It lives as long as its API is served or a tunnel of it is open, so that a reload starts
//! no counter anew.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::metrics::{ByClass, ByEnd, Counter, RarelyByReason};
use crate::close::{CloseReason, LABELS, Side};

/// What a series counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub group: String,
    pub environment: String,
    pub api: String,
    /// `host:port` as configured, so that names with changing addresses stay one; empty for requests that reach none.
    pub backend: String,
}

/// One of the process's workers, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    pub index: usize,
    pub of: usize,
}

impl Core {
    /// Where there is only one worker.
    pub const ONLY: Self = Self { index: 0, of: 1 };
}

/// The counters of one API and one backend.
#[derive(Debug, Default)]
pub struct Series {
    key: Arc<Key>,
    cores: OnceLock<Box<[OfCore]>>,
}

#[derive(Debug, Default)]
struct OfCore {
    edge: OnceLock<Box<EdgeSeries>>,
    relay: OnceLock<Arc<RelaySeries>>,
}

/// What one edge counts of a series.
#[derive(Debug, Default)]
pub struct EdgeSeries {
    /// Opening handshakes that became a tunnel, and the others.
    pub upgraded: Counter,
    pub not_upgraded: RarelyByReason,
    /// Calls that were no upgrades.
    pub calls: ByClass,
    /// Connects to the backend that were tried, and those that failed.
    pub connects: Counter,
    pub connects_failed: RarelyByReason,
    /// When the last handshake became a tunnel, in milliseconds since 1970; 0 for never.
    succeeded_at: Counter,
    /// When the last one did not, in milliseconds since 1970 times 256, plus the index of its reason; 0 for never.
    failed_at: Counter,
}

/// What one relay counts of a series. Every open tunnel holds one. It begins a line of the cache, so that two cores never
/// write to the same one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RelaySeries {
    pub tunnels: Counter,
    pub opened: Counter,
    pub closed: ByEnd,
    pub from_client: Flow,
    pub from_backend: Flow,
}

/// What went in one direction, named by its source.
#[derive(Debug, Default)]
pub struct Flow {
    pub bytes: Counter,
    pub messages: Counter,
}

impl RelaySeries {
    pub fn from(&self, source: Side) -> &Flow {
        match source {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }
}

impl EdgeSeries {
    /// Counts an opening handshake that ended at `at`.
    pub fn count_handshake(&self, result: Result<(), CloseReason>, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                self.upgraded.add(1);
                self.succeeded_at.set(millis);
            }
            Err(reason) => {
                self.not_upgraded.count(reason);
                let index = reason.index() as u64;
                self.failed_at.set(millis << REASON_BITS | index);
            }
        }
    }

    /// When a handshake last became a tunnel.
    pub fn last_success(&self) -> Option<SystemTime> {
        moment(self.succeeded_at.value())
    }

    /// When one last did not, and why: a value of the `reason` label.
    pub fn last_failure(&self) -> Option<(SystemTime, &'static str)> {
        let packed = self.failed_at.value();
        let index = usize::try_from(packed % (1 << REASON_BITS)).unwrap_or(usize::MAX);
        let reason = LABELS.get(index).copied().unwrap_or_default();
        Some((moment(packed >> REASON_BITS)?, reason))
    }
}

fn moment(millis: u64) -> Option<SystemTime> {
    (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
}

const REASON_BITS: u32 = 8;
const _: () = assert!(LABELS.len() <= 1 << REASON_BITS);

impl Series {
    pub fn new(key: Arc<Key>) -> Self {
        Self {
            key,
            cores: OnceLock::new(),
        }
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What the edge of `core` counts here.
    pub fn edge(&self, core: Core) -> Option<&EdgeSeries> {
        let of_core = self.of_core(core)?;
        Some(of_core.edge.get_or_init(Box::default))
    }

    /// What the relay of `core` counts here, for a tunnel to hold.
    pub fn relay(&self, core: Core) -> Arc<RelaySeries> {
        let of_core = self.of_core(core);
        let counted = of_core.map(|of_core| of_core.relay.get_or_init(Arc::default));
        counted.cloned().unwrap_or_default()
    }

    /// `None` for a worker that is none of ours.
    fn of_core(&self, core: Core) -> Option<&OfCore> {
        let cores = self
            .cores
            .get_or_init(|| (0..core.of).map(|_| OfCore::default()).collect());
        cores.get(core.index)
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = &EdgeSeries> {
        let cores = self.cores.get().into_iter().flatten();
        cores.filter_map(|of_core| of_core.edge.get().map(Box::as_ref))
    }

    pub(super) fn relays(&self) -> impl Iterator<Item = &Arc<RelaySeries>> {
        let cores = self.cores.get().into_iter().flatten();
        cores.filter_map(|of_core| of_core.relay.get())
    }

    /// There has been a request.
    pub(super) fn is_used(&self) -> bool {
        self.cores.get().is_some()
    }

    /// A tunnel counts here.
    pub(super) fn has_tunnels(&self) -> bool {
        self.relays().any(|relay| Arc::strong_count(relay) > 1)
    }
}

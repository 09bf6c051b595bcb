//! Connections to backends between two calls: kept for the next one to the same address, latest first.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use monoio::time::{Instant, sleep};

use crate::catalog::Member;
use crate::config::Scheme;
use crate::edge::Edge;
use crate::edge::connect::Connected;

/// How often connections are looked after that nobody uses: one that its backend has closed, or that is too old, keeps
/// its descriptor no longer than this.
const SWEEP: Duration = Duration::from_secs(1);

/// One address's connections, the latest at the back.
type Bucket = VecDeque<Idle>;

struct Idle {
    connected: Connected,
    since: Instant,
}

/// The idle connections of one core.
#[derive(Default)]
pub(in crate::edge) struct IdleBackends {
    /// By scheme and then by what `Host` says of the address: host and port.
    buckets: RefCell<[HashMap<String, Bucket>; 2]>,
    count: Cell<usize>,
    /// A task looks after them.
    swept: Cell<bool>,
}

impl IdleBackends {
    /// The latest connection to `member` that is fit for use.
    pub(super) fn take(&self, edge: &Edge, member: &Member) -> Option<Connected> {
        let mut buckets = self.buckets.borrow_mut();
        let bucket = of_scheme(&mut buckets, member.scheme).get_mut(&member.authority)?;
        while let Some(idle) = bucket.pop_back() {
            self.set_count(edge, self.count.get().saturating_sub(1));
            if idle.is_fresh(edge) && idle.is_quiet(edge) {
                return Some(idle.connected);
            }
        }
        None
    }

    /// Keeps a connection on which both sides have said their last about a call. The oldest makes room.
    pub(super) fn put(edge: &Rc<Edge>, member: &Member, connected: Connected) {
        let this = &edge.idle_backends;
        let max = edge.live().config.backends.idle_connections_max;
        if max == 0 || edge.stopping.get() {
            return;
        }
        if this.count.get() >= max {
            this.drop_oldest(edge);
        }
        let idle = Idle {
            connected,
            since: Instant::now(),
        };
        let mut buckets = this.buckets.borrow_mut();
        let of_scheme = of_scheme(&mut buckets, member.scheme);
        match of_scheme.get_mut(&member.authority) {
            Some(bucket) => bucket.push_back(idle),
            None => drop(of_scheme.insert(member.authority.clone(), Bucket::from([idle]))),
        }
        this.set_count(edge, this.count.get() + 1);
        if !this.swept.replace(true) {
            monoio::spawn(sweep(Rc::clone(edge)));
        }
    }

    /// False if there is none.
    pub(in crate::edge) fn drop_oldest(&self, edge: &Edge) -> bool {
        let mut buckets = self.buckets.borrow_mut();
        let fronts = buckets.iter_mut().flat_map(HashMap::values_mut);
        let oldest = fronts
            .filter(|bucket| !bucket.is_empty())
            .min_by_key(|bucket| bucket.front().map(|idle| idle.since));
        let dropped = oldest.and_then(Bucket::pop_front).is_some();
        if dropped {
            self.set_count(edge, self.count.get().saturating_sub(1));
        }
        dropped
    }

    /// Closes all of them.
    pub(in crate::edge) fn clear(&self, edge: &Edge) {
        for of_scheme in self.buckets.borrow_mut().iter_mut() {
            of_scheme.clear();
        }
        self.set_count(edge, 0);
    }

    /// Closes what is too old or left; returns how many are kept.
    fn retain_fit(&self, edge: &Edge) -> usize {
        let mut kept = 0;
        for of_scheme in self.buckets.borrow_mut().iter_mut() {
            of_scheme.retain(|_, bucket| {
                bucket.retain(|idle| idle.is_fresh(edge) && !idle.connected.stream.peer_has_left());
                kept += bucket.len();
                !bucket.is_empty()
            });
        }
        self.set_count(edge, kept);
        kept
    }

    fn set_count(&self, edge: &Edge, count: usize) {
        self.count.set(count);
        edge.metrics.backends_idle.set(count as u64);
    }
}

/// Runs as long as there is something to look after.
async fn sweep(edge: Rc<Edge>) {
    let every = SWEEP.min(edge.live().config.backends.idle_timeout);
    loop {
        sleep(every.max(Duration::from_millis(10))).await;
        if edge.idle_backends.retain_fit(&edge) == 0 {
            edge.idle_backends.swept.set(false);
            return;
        }
    }
}

impl Idle {
    fn is_fresh(&self, edge: &Edge) -> bool {
        self.since.elapsed() < edge.live().config.backends.idle_timeout
    }

    /// Whatever came unasked, an end or an answer, makes the next answer doubtful.
    fn is_quiet(&self, edge: &Edge) -> bool {
        let mut unasked = edge.pool.buffer();
        self.connected.stream.is_quiet(&edge.scratch, &mut unasked)
    }
}

fn of_scheme(
    buckets: &mut [HashMap<String, Bucket>; 2],
    scheme: Scheme,
) -> &mut HashMap<String, Bucket> {
    let [http, https] = buckets;
    match scheme {
        Scheme::Http => http,
        Scheme::Https => https,
    }
}

//! All series of the process, and what they add up to for an API or a backend.
//!
//! `Book::apis` and `Book::backends` are for whoever shows them: they read counters and stop nobody.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use super::series::{Flow, Key, Series};

/// All series of the process. Clones are the same book.
///
/// Its lock is taken by those who load a configuration and by those who ask, never by a worker: a worker reaches its
/// counters through the API of its request, or its tunnel.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<RwLock<BTreeMap<Arc<Key>, Arc<Series>>>>);

impl Book {
    /// The series of `key`: the one that there is, or a new one.
    pub fn series(&self, key: Key) -> Arc<Series> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(&key) {
            return Arc::clone(series);
        }
        let key = Arc::new(key);
        let series = Arc::new(Series::new(Arc::clone(&key)));
        all.insert(key, Arc::clone(&series));
        series
    }

    /// Forgets what is not served any more and has no tunnels.
    pub fn prune(&self) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, series| Arc::strong_count(series) > 1 || series.has_tunnels());
    }

    /// Every API that has ever had a request, by group, environment and name.
    pub fn apis(&self) -> Vec<ApiSnapshot> {
        let mut apis: Vec<ApiSnapshot> = Vec::new();
        for series in self.used() {
            let Key {
                group,
                environment,
                api,
                ..
            } = series.key();
            // An API's series follow one another.
            let same = |last: &&mut ApiSnapshot| {
                (&last.group, &last.environment, &last.api) == (group, environment, api)
            };
            match apis.last_mut().filter(same) {
                Some(last) => last.totals.add(&series),
                None => {
                    let mut first = ApiSnapshot {
                        group: group.clone(),
                        environment: environment.clone(),
                        api: api.clone(),
                        totals: Totals::default(),
                    };
                    first.totals.add(&series);
                    apis.push(first);
                }
            }
        }
        apis
    }

    /// Every backend that has ever been asked for anything, by its address as configured.
    pub fn backends(&self) -> Vec<BackendSnapshot> {
        let mut backends: BTreeMap<String, Totals> = BTreeMap::new();
        for series in self.used() {
            let backend = &series.key().backend;
            if !backend.is_empty() {
                backends.entry(backend.clone()).or_default().add(&series);
            }
        }
        let snapshot = |(backend, totals)| BackendSnapshot { backend, totals };
        backends.into_iter().map(snapshot).collect()
    }

    /// Copies the pointers, so that the lock is held for a moment only.
    fn used(&self) -> Vec<Arc<Series>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let used = all.values().filter(|series| series.is_used());
        used.map(Arc::clone).collect()
    }
}

/// What one API has had so far, over all cores and backends.
#[derive(Clone, Debug, Default)]
pub struct ApiSnapshot {
    pub group: String,
    pub environment: String,
    pub api: String,
    pub totals: Totals,
}

/// What one backend has had so far, over all cores and APIs.
#[derive(Clone, Debug, Default)]
pub struct BackendSnapshot {
    /// `host:port` as configured.
    pub backend: String,
    pub totals: Totals,
}

/// Sums of counters at one moment. Labels and their values come in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Open now.
    pub tunnels: u64,
    pub opened: u64,
    /// Reason and side of each end that has happened, with its number.
    pub closed: Labelled<(&'static str, &'static str)>,
    pub from_client: FlowTotals,
    pub from_backend: FlowTotals,
    /// Opening handshakes that became a tunnel.
    pub upgraded: u64,
    /// The reason of each handshake that did not.
    pub not_upgraded: Labelled<&'static str>,
    /// Calls that were no upgrades, by the class of their status.
    pub calls: Labelled<&'static str>,
    /// Connects to backends that were tried.
    pub connects: u64,
    /// The reason of each that failed.
    pub connects_failed: Labelled<&'static str>,
    pub last_success: Option<SystemTime>,
    /// When a handshake last failed, and why.
    pub last_failure: Option<(SystemTime, &'static str)>,
}

/// Messages and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTotals {
    pub bytes: u64,
    pub messages: u64,
}

/// Values by label, without those that were never counted.
pub type Labelled<L> = BTreeMap<L, u64>;

impl Totals {
    fn add(&mut self, series: &Series) {
        for edge in series.edges() {
            self.upgraded += edge.upgraded.value();
            self.connects += edge.connects.value();
            add_counted(&mut self.not_upgraded, edge.not_upgraded.values());
            add_counted(&mut self.calls, edge.calls.values());
            add_counted(&mut self.connects_failed, edge.connects_failed.values());
            self.last_success = self.last_success.max(edge.last_success());
            self.last_failure = self.last_failure.max(edge.last_failure());
        }
        for relay in series.relays() {
            self.tunnels += relay.tunnels.value();
            self.opened += relay.opened.value();
            add_counted(&mut self.closed, relay.closed.values());
            self.from_client.add(&relay.from_client);
            self.from_backend.add(&relay.from_backend);
        }
    }
}

impl FlowTotals {
    fn add(&mut self, carried: &Flow) {
        self.bytes += carried.bytes.value();
        self.messages += carried.messages.value();
    }
}

fn add_counted<L: Ord>(sums: &mut Labelled<L>, values: impl Iterator<Item = (L, u64)>) {
    for (label, n) in values.filter(|(_, n)| *n > 0) {
        *sums.entry(label).or_default() += n;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::series::Core;
    use super::*;
    use crate::close::{CloseReason, Side};

    fn key(api: &str, backend: &str) -> Key {
        Key {
            group: "DEFAULT".to_owned(),
            environment: "RELEASE".to_owned(),
            api: api.to_owned(),
            backend: backend.to_owned(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn sums_go_over_cores_and_over_backends_or_apis() {
        let book = Book::default();
        let none = book.series(key("a", ""));
        let first = book.series(key("a", "192.0.2.1:80"));
        let second = book.series(key("a", "192.0.2.2:80"));
        let other = book.series(key("b", "192.0.2.2:80"));
        for index in 0..2 {
            let core = Core { index, of: 2 };
            for (n, series) in [(1, &first), (10, &second), (100, &other)] {
                let relay = series.relay(core);
                relay.tunnels.add(n);
                relay.opened.add(2 * n);
                relay
                    .closed
                    .count(CloseReason::Finished, Some(Side::Client));
                relay.from_client.messages.add(n);
            }
            let refused = none.edge(core).unwrap();
            refused.count_handshake(Err(CloseReason::NoPermit), at(5));
            first.edge(core).unwrap().count_handshake(Ok(()), at(6));
        }
        let apis = book.apis();
        let names: Vec<_> = apis.iter().map(|api| api.api.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let a = &apis[0].totals;
        assert_eq!((a.tunnels, a.opened, a.from_client.messages), (22, 44, 22));
        assert_eq!(a.closed, [(("finished", "client"), 4)].into());
        assert_eq!(a.upgraded, 2);
        assert_eq!(a.not_upgraded, [("no_permit", 2)].into());
        assert_eq!(a.last_success, Some(at(6)));
        assert_eq!(a.last_failure, Some((at(5), "no_permit")));
        let backends = book.backends();
        let open = |backend: &BackendSnapshot| (backend.backend.clone(), backend.totals.tunnels);
        let open: Vec<_> = backends.iter().map(open).collect();
        let expected = [("192.0.2.1:80", 2), ("192.0.2.2:80", 220)];
        assert_eq!(open, expected.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn series_live_as_long_as_somebody_counts_there() {
        let book = Book::default();
        let served = book.series(key("a", "x:1"));
        let tunnel = served.relay(Core::ONLY);
        tunnel.tunnels.add(1);
        drop(served);
        drop(book.series(key("b", "x:1")));
        book.prune();
        // The API is gone, its tunnel is not; and when the API comes back, it goes on where it was.
        assert_eq!(book.apis().len(), 1);
        let again = book.series(key("a", "x:1"));
        assert_eq!(again.relay(Core::ONLY).tunnels.value(), 1);
        drop((tunnel, again));
        book.prune();
        assert_eq!(book.apis().len(), 0);
    }

    #[test]
    fn what_nobody_asked_for_is_not_told() {
        let book = Book::default();
        let _served = book.series(key("a", ""));
        assert!(book.apis().is_empty() && book.backends().is_empty());
    }
}

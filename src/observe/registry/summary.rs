//! The counters of the process as one value: what the status page, `ringgate top` and `GET /v1/state` show. Prometheus has
//! more of them, for machines; here are those that a person looks at.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::page::Worker;
use super::{ProcessFacts, Registry};
use crate::observe::metrics::{Counter, DirectionMetrics, Histogram, Scale, Waits};
use crate::observe::process;

/// Sums over all cores. Names and units are part of the admin API.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    connections: Connections,
    tunnels: Tunnels,
    handshakes: Handshakes,
    /// Connections and requests that ended without a tunnel or an answer of their API, by reason.
    refused: Counted,
    /// Calls that were no upgrades, by status; `none` got no answer.
    calls: Counted,
    memory: Memory,
    cores: Vec<Core>,
}

/// Values by label, without those that were never counted.
type Counted = BTreeMap<Cow<'static, str>, u64>;

#[derive(Debug, Serialize)]
struct Connections {
    /// Tunnels included.
    open: u64,
    limit: usize,
    accepted: u64,
    tls_handshakes: u64,
    tls_resumptions: u64,
    /// Times that accepting was paused because no descriptor was left.
    accept_pauses: u64,
}

#[derive(Debug, Serialize)]
struct Tunnels {
    open: u64,
    opened: u64,
    /// By reason.
    closed: Counted,
    /// By the side whose Close frame came first, or that went away.
    closed_by: Counted,
    from_client: Traffic,
    from_backend: Traffic,
}

#[derive(Debug, Serialize)]
struct Traffic {
    bytes: u64,
    messages: u64,
    pings: u64,
    pongs: u64,
    /// Close frames by code.
    close_codes: Counted,
    /// Tunnels in which this side is not received from now, because the other does not keep up.
    held_back: u64,
    /// From a ping passing towards this side to its pong.
    round_trip: Times,
}

/// Opening handshakes, from the first byte of a request head to its 101.
#[derive(Debug, Serialize)]
struct Handshakes {
    upgraded: u64,
    /// Those that got no tunnel, by reason.
    failed: Counted,
    #[serde(flatten)]
    times: Times,
}

#[derive(Debug, Serialize)]
struct Times {
    total_ms: f64,
    /// How many took so long at most; the last bucket has no bound.
    buckets: Vec<Bucket>,
}

#[derive(Debug, Serialize)]
struct Bucket {
    up_to_ms: Option<f64>,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    resident_bytes: Option<u64>,
    descriptors: Option<u64>,
    buffers_free: u64,
    spill_bytes: u64,
}

/// What one worker does.
#[derive(Debug, Serialize)]
struct Core {
    core: usize,
    edge_connections: u64,
    tunnels: u64,
    accepted: u64,
    opened: u64,
    messages: u64,
    bytes: u64,
    turns: u64,
    buffers_free: u64,
    spill_bytes: u64,
}

impl Registry {
    pub(crate) fn facts(&self) -> &ProcessFacts {
        &self.sources.facts
    }

    /// Reloads that took effect, those that did not, and the number of what runs.
    pub(crate) fn reloads(&self) -> (u64, u64, u64) {
        let reloads = &self.sources.reloads;
        let [succeeded, failed, generation] =
            [&reloads.successes, &reloads.failures, &reloads.generation].map(Counter::value);
        (succeeded, failed, generation)
    }

    pub(crate) fn summary(&self) -> Summary {
        let all = &self.workers;
        let tls = || {
            all.iter()
                .flat_map(|worker| worker.edge.tls_clients.values())
        };
        let tunnels = self.sum(|worker| &worker.relay.tunnels);
        let limit = match self.sources.running.config().limits.connections_max {
            0 => self.facts().connections_max,
            max => max,
        };
        Summary {
            connections: Connections {
                open: self.sum(|worker| &worker.edge.connections) + tunnels,
                limit,
                accepted: self.sum(|worker| &worker.edge.accepted),
                tls_handshakes: tls().map(|(_, n)| n).sum(),
                tls_resumptions: tls()
                    .filter(|((_, resumed), _)| *resumed == "true")
                    .map(|(_, n)| n)
                    .sum(),
                accept_pauses: self.sum(|worker| &worker.edge.accept_pauses),
            },
            tunnels: Tunnels {
                open: tunnels,
                opened: self.sum(|worker| &worker.relay.opened),
                closed: counted(self.ends().map(|((reason, _), n)| (reason, n))),
                closed_by: counted(self.ends().map(|((_, side), n)| (side, n))),
                from_client: self.traffic(|worker| &worker.relay.from_client),
                from_backend: self.traffic(|worker| &worker.relay.from_backend),
            },
            handshakes: Handshakes {
                upgraded: self.sum(|worker| &worker.edge.upgraded),
                failed: counted(
                    all.iter()
                        .flat_map(|worker| worker.edge.not_upgraded.values()),
                ),
                times: self.times(|worker| &worker.edge.handshake),
            },
            refused: counted(all.iter().flat_map(|worker| worker.edge.refused.values())),
            calls: counted(all.iter().flat_map(|worker| {
                let calls = worker.edge.calls.values();
                calls.map(|(status, n)| (status_label(status), n))
            })),
            memory: Memory {
                resident_bytes: process::memory().resident,
                descriptors: process::open_descriptors(),
                buffers_free: self.sum(|worker| &worker.relay.buffers_free),
                spill_bytes: self.sum(|worker| &worker.relay.spill_bytes),
            },
            cores: all.iter().map(Core::of).collect(),
        }
    }

    fn sum(&self, counter: impl Fn(&Worker) -> &Counter) -> u64 {
        self.workers
            .iter()
            .map(|worker| counter(worker).value())
            .sum()
    }

    /// Reason and side of each end, with its number.
    fn ends(&self) -> impl Iterator<Item = ((&'static str, &'static str), u64)> {
        self.workers
            .iter()
            .flat_map(|worker| worker.relay.closed.values())
    }

    fn traffic(&self, direction: fn(&Worker) -> &DirectionMetrics) -> Traffic {
        let codes = self
            .workers
            .iter()
            .flat_map(|worker| direction(worker).closes.values());
        Traffic {
            bytes: self.sum(|worker| &direction(worker).bytes),
            messages: self.sum(|worker| &direction(worker).messages),
            pings: self.sum(|worker| &direction(worker).pings),
            pongs: self.sum(|worker| &direction(worker).pongs),
            close_codes: counted(codes),
            held_back: self.sum(|worker| &direction(worker).paused),
            round_trip: self.times(|worker| &direction(worker).round_trip),
        }
    }

    fn times(&self, histogram: impl Fn(&Worker) -> &Histogram<Waits>) -> Times {
        // Nanoseconds of a few centuries at most: a float has them as exactly as anybody wants.
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let bounds = Waits::BOUNDS.iter().map(|bound| Some(millis(*bound)));
        let mut buckets: Vec<_> = bounds
            .chain([None])
            .map(|up_to_ms| Bucket { up_to_ms, count: 0 })
            .collect();
        for worker in &self.workers {
            for (bucket, count) in buckets.iter_mut().zip(histogram(worker).counts()) {
                bucket.count += count;
            }
        }
        let sums = self.workers.iter().map(|worker| histogram(worker).sum());
        Times {
            total_ms: millis(sums.sum()),
            buckets,
        }
    }
}

impl Core {
    fn of(worker: &Worker) -> Self {
        let (edge, relay) = (&worker.edge, &worker.relay);
        let both = |counter: fn(&DirectionMetrics) -> &Counter| {
            counter(&relay.from_client).value() + counter(&relay.from_backend).value()
        };
        Self {
            // It was a number when the worker was added.
            core: worker.core.parse().unwrap_or_default(),
            edge_connections: edge.connections.value(),
            tunnels: relay.tunnels.value(),
            accepted: edge.accepted.value(),
            opened: relay.opened.value(),
            messages: both(|direction| &direction.messages),
            bytes: both(|direction| &direction.bytes),
            turns: relay.turns.counts().sum(),
            buffers_free: relay.buffers_free.value(),
            spill_bytes: relay.spill_bytes.value(),
        }
    }
}

fn status_label(status: u16) -> Cow<'static, str> {
    match status {
        0 => "none".into(),
        1 => "other".into(),
        status => status.to_string().into(),
    }
}

fn counted<L: Into<Cow<'static, str>>>(values: impl Iterator<Item = (L, u64)>) -> Counted {
    let mut sums = Counted::new();
    for (label, n) in values.filter(|(_, n)| *n > 0) {
        *sums.entry(label.into()).or_default() += n;
    }
    sums
}

//! Every counter of the process in one place, summed over the workers and written out for a scraper.
#![forbid(unsafe_code)]

mod series;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::access_log::AccessLog;
use super::book::Book;
use super::metrics::{
    BOUNDS, ByReason, CloseCodes, Counter, DirectionMetrics, EdgeMetrics, Histogram, RelayMetrics,
    ReloadMetrics,
};
use super::process;
use super::prometheus::{Families, Kind};
use crate::config::Config;

/// The value of `Content-Type` for what `render` writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct ProcessFacts {
    pub version: &'static str,
    pub started_at: SystemTime,
    /// Connections that are let in, tunnels included.
    pub connections_max: usize,
    pub relay_buffer_bytes: usize,
    pub relay_spill_bytes_max: usize,
}

impl ProcessFacts {
    /// `connections_max` is the number in force: the configuration may leave it to the descriptor limit.
    pub fn new(config: &Config, connections_max: usize, started_at: SystemTime) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at,
            connections_max,
            relay_buffer_bytes: config.limits.relay_buffer_bytes,
            relay_spill_bytes_max: config.limits.relay_spill_bytes_max,
        }
    }
}

/// Reads the counters that the workers write.
#[derive(Debug)]
pub struct Registry {
    facts: ProcessFacts,
    access_log: AccessLog,
    reloads: Arc<ReloadMetrics>,
    book: Book,
    edges: Vec<Arc<EdgeMetrics>>,
    relays: Vec<Arc<RelayMetrics>>,
}

impl Registry {
    pub fn new(
        facts: ProcessFacts,
        access_log: AccessLog,
        reloads: Arc<ReloadMetrics>,
        book: Book,
    ) -> Self {
        Self {
            facts,
            access_log,
            reloads,
            book,
            edges: Vec::new(),
            relays: Vec::new(),
        }
    }

    pub fn add_worker(&mut self, edge: Arc<EdgeMetrics>, relay: Arc<RelayMetrics>) {
        self.edges.push(edge);
        self.relays.push(relay);
    }

    /// What is counted by API and by backend.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Appends everything in Prometheus' text format 0.0.4.
    pub fn render(&self, out: &mut String) {
        let families = &mut Families::new(out);
        self.render_process(families);
        self.render_reloads(families);
        self.render_edge(families);
        self.render_handshake(families);
        self.render_tunnels(families);
        self.render_frames(families);
        self.render_relay(families);
        series::render(&self.book, families);
    }

    fn render_process(&self, families: &mut Families<'_>) {
        let facts = &self.facts;
        families
            .family(
                "ringgate_build_info",
                Kind::Gauge,
                "Always 1; the version is its label.",
            )
            .sample(&[("version", facts.version)], 1);
        families.gauge(
            "ringgate_start_time_seconds",
            "When the process started, in seconds since 1970.",
            seconds(
                facts
                    .started_at
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
        );
        families.gauge(
            "ringgate_workers",
            "Workers, one for each core in use.",
            self.edges.len(),
        );
        families.gauge(
            "ringgate_connections_limit",
            "Client connections that are let in, tunnels included.",
            facts.connections_max,
        );
        families.gauge(
            "ringgate_relay_buffer_limit_bytes",
            "Provided buffers of all relays.",
            facts.relay_buffer_bytes * self.relays.len(),
        );
        families.gauge(
            "ringgate_relay_spill_limit_bytes",
            "Memory that all relays may use beyond their provided buffers.",
            facts.relay_spill_bytes_max * self.relays.len(),
        );
        if let Some(bytes) = process::resident_bytes() {
            families.gauge(
                "ringgate_process_resident_memory_bytes",
                "Resident memory of the process.",
                bytes,
            );
        }
        if let Some(number) = process::open_descriptors() {
            families.gauge(
                "ringgate_process_open_fds",
                "Open descriptors of the process.",
                number,
            );
        }
        families.counter(
            "ringgate_access_log_lines_dropped_total",
            "Lines that found the log's queue full.",
            self.access_log.dropped(),
        );
    }

    fn render_reloads(&self, families: &mut Families<'_>) {
        families.gauge(
            "ringgate_config_generation",
            "Reloads that took effect since the start.",
            self.reloads.generation.value(),
        );
        let mut reloads = families.family(
            "ringgate_config_reloads_total",
            Kind::Counter,
            "Reloads, by what came of them.",
        );
        reloads.sample(&[("result", "success")], self.reloads.successes.value());
        reloads.sample(&[("result", "failure")], self.reloads.failures.value());
    }

    fn render_edge(&self, families: &mut Families<'_>) {
        families.counter(
            "ringgate_connections_accepted_total",
            "Client connections accepted.",
            self.edge(|edge| &edge.accepted),
        );
        families.gauge(
            "ringgate_connections",
            "Open client connections, tunnels included.",
            self.edge(|edge| &edge.connections) + self.relay(|relay| &relay.tunnels),
        );
        families.gauge(
            "ringgate_edge_connections",
            "Open client connections that are not tunnels (yet).",
            self.edge(|edge| &edge.connections),
        );
        families.counter(
            "ringgate_accept_pauses_total",
            "Times that accepting was paused because no descriptor was left.",
            self.edge(|edge| &edge.accept_pauses),
        );
        families.counter(
            "ringgate_tls_handshakes_total",
            "TLS handshakes completed with clients.",
            self.edge(|edge| &edge.tls_handshakes),
        );
        families.counter(
            "ringgate_tls_resumptions_total",
            "TLS handshakes that resumed an earlier session.",
            self.edge(|edge| &edge.tls_resumptions),
        );
        let mut handshakes = families.family(
            "ringgate_handshakes_total",
            Kind::Counter,
            "Opening handshakes, by what came of them: success, or why there is no tunnel.",
        );
        handshakes.sample(&[("result", "success")], self.edge(|edge| &edge.upgraded));
        let failed = self.edges.iter().map(|edge| edge.not_upgraded.values());
        for (reason, n) in sum_by_label(failed).into_iter().filter(|(_, n)| *n > 0) {
            handshakes.sample(&[("result", reason)], n);
        }
        let mut refused = families.family(
            "ringgate_requests_refused_total",
            Kind::Counter,
            "Connections and requests that ended without a tunnel or an answer of their API, by reason.",
        );
        let of_edge = |position| !is_tunnel_end(position);
        for (reason, n) in reasons(self.edges.iter().map(|edge| &edge.refused), of_edge) {
            refused.sample(&[("reason", reason)], n);
        }
        let mut calls = families.family(
            "ringgate_calls_total",
            Kind::Counter,
            "Calls that were no upgrades, by the class of the status they got.",
        );
        let by_class = self.edges.iter().map(|edge| edge.calls.values());
        for (status, n) in sum_by_label(by_class) {
            calls.sample(&[("status", status)], n);
        }
        families.counter(
            "ringgate_backend_connections_reused_total",
            "Calls asked on a connection that an earlier call had left.",
            self.edge(|edge| &edge.backends_reused),
        );
        families.gauge(
            "ringgate_backend_connections_idle",
            "Connections to backends that wait for a call.",
            self.edge(|edge| &edge.backends_idle),
        );
        families.counter(
            "ringgate_ports_exhausted_total",
            "Connects to backends that found no local port.",
            self.edge(|edge| &edge.ports_exhausted),
        );
        families.gauge(
            "ringgate_head_buffer_bytes",
            "Memory held in buffers for request and answer heads.",
            self.edge(|edge| &edge.head_bytes),
        );
    }

    fn render_handshake(&self, families: &mut Families<'_>) {
        let mut family = families.family(
            "ringgate_handshake_duration_seconds",
            Kind::Histogram,
            "From the first byte of a request head to its 101.",
        );
        let histograms = || self.edges.iter().map(|edge| &edge.handshake);
        let counts = histograms()
            .map(Histogram::counts)
            .fold([0; BOUNDS.len() + 1], |sums, counts| {
                std::array::from_fn(|bucket| sums[bucket] + counts[bucket])
            });
        let labels = BOUNDS.iter().map(|(_, label)| *label).chain(["+Inf"]);
        let mut so_far = 0;
        for (label, count) in labels.zip(counts) {
            so_far += count;
            family.suffixed("_bucket", &[("le", label)], so_far);
        }
        let sum = histograms().map(Histogram::sum).sum();
        family.suffixed("_sum", &[], seconds(sum));
        family.suffixed("_count", &[], so_far);
    }

    fn render_tunnels(&self, families: &mut Families<'_>) {
        families.gauge(
            "ringgate_tunnels",
            "Open tunnels.",
            self.relay(|relay| &relay.tunnels),
        );
        families.counter(
            "ringgate_tunnels_opened_total",
            "Tunnels taken over by a relay.",
            self.relay(|relay| &relay.opened),
        );
        let mut closed = families.family(
            "ringgate_tunnels_closed_total",
            Kind::Counter,
            "Tunnels that ended, by reason and by the side that brought it about.",
        );
        for ((reason, side), n) in sum_by_label(self.relays.iter().map(|r| r.closed.values())) {
            closed.sample(&[("reason", reason), ("side", side)], n);
        }
        self.render_directions(
            families,
            "ringgate_tunnel_bytes_total",
            "Bytes received after the handshake, without TLS, by the side that sent them.",
            |direction| &direction.bytes,
        );
    }

    fn render_frames(&self, families: &mut Families<'_>) {
        self.render_directions(
            families,
            "ringgate_messages_total",
            "Messages relayed (text and binary), by the side that sent them.",
            |direction| &direction.messages,
        );
        self.render_directions(
            families,
            "ringgate_pings_total",
            "Ping frames relayed, by the side that sent them.",
            |direction| &direction.pings,
        );
        self.render_directions(
            families,
            "ringgate_pongs_total",
            "Pong frames relayed, by the side that sent them.",
            |direction| &direction.pongs,
        );
        let mut closes = families.family(
            "ringgate_close_frames_total",
            Kind::Counter,
            "Close frames relayed, by code and by the side that sent them.",
        );
        for (side, direction) in DIRECTIONS {
            let codes = self.relays.iter().map(|relay| &direction(relay).closes);
            for (code, n) in sum_by_label(codes.map(CloseCodes::values)) {
                closes.sample(&[("side", side), ("code", code)], n);
            }
        }
    }

    fn render_relay(&self, families: &mut Families<'_>) {
        families.counter(
            "ringgate_relay_no_buffers_total",
            "Receives that found no provided buffer.",
            self.relay(|relay| &relay.no_buffers),
        );
        families.counter(
            "ringgate_relay_paused_total",
            "Times that a direction stopped receiving because its receiver did not keep up.",
            self.relay(|relay| &relay.paused),
        );
        families.gauge(
            "ringgate_relay_buffers_free",
            "Provided buffers that hold nothing.",
            self.relay(|relay| &relay.buffers_free),
        );
        families.gauge(
            "ringgate_relay_spill_bytes",
            "Memory in use beyond the provided buffers.",
            self.relay(|relay| &relay.spill_bytes),
        );
        families.counter(
            "ringgate_relay_cq_overflows_total",
            "Completions that the kernel had to keep because the completion queue was full.",
            self.relay(|relay| &relay.cq_overflows),
        );
        families.counter(
            "ringgate_relay_turns_total",
            "Turns of the relay loops.",
            self.relay(|relay| &relay.turns),
        );
        families.counter(
            "ringgate_relay_completions_total",
            "Completions reaped.",
            self.relay(|relay| &relay.completions),
        );
        families.counter(
            "ringgate_relay_timers_total",
            "Timers that fired.",
            self.relay(|relay| &relay.timers),
        );
    }

    fn render_directions(
        &self,
        families: &mut Families<'_>,
        name: &'static str,
        help: &'static str,
        counter: impl Fn(&DirectionMetrics) -> &Counter,
    ) {
        let mut family = families.family(name, Kind::Counter, help);
        for (side, direction) in DIRECTIONS {
            let sum = self.relay(|relay| counter(direction(relay)));
            family.sample(&[("side", side)], sum);
        }
    }

    fn edge(&self, counter: impl Fn(&EdgeMetrics) -> &Counter) -> u64 {
        self.edges.iter().map(|edge| counter(edge).value()).sum()
    }

    fn relay(&self, counter: impl Fn(&RelayMetrics) -> &Counter) -> u64 {
        self.relays.iter().map(|relay| counter(relay).value()).sum()
    }
}

type Direction = fn(&RelayMetrics) -> &DirectionMetrics;

/// The two directions, under the label of the side they come from.
const DIRECTIONS: [(&str, Direction); 2] = [
    ("client", |relay| &relay.from_client),
    ("backend", |relay| &relay.from_backend),
];

/// The reasons of this phase, and any other that was counted nevertheless: better a label too many than an end
/// that nobody sees.
fn reasons<'a>(
    workers: impl Iterator<Item = &'a ByReason>,
    of_phase: impl Fn(usize) -> bool,
) -> Vec<(&'static str, u64)> {
    sum_by_label(workers.map(ByReason::values))
        .into_iter()
        .enumerate()
        .filter(|(position, (_, n))| of_phase(*position) || *n > 0)
        .map(|(_, sample)| sample)
        .collect()
}

/// Whether a position in `close::LABELS` is one of the ends that a tunnel can have; the others come before a 101.
fn is_tunnel_end(position: usize) -> bool {
    position < crate::close::CloseReason::ClientGone.index()
}

/// Adds up sequences of labelled values that name the same labels in the same order.
fn sum_by_label<T>(workers: impl Iterator<Item = impl Iterator<Item = (T, u64)>>) -> Vec<(T, u64)> {
    let mut sums: Vec<(T, u64)> = Vec::new();
    for worker in workers {
        for (position, (label, n)) in worker.enumerate() {
            match sums.get_mut(position) {
                Some((_, sum)) => *sum += n,
                None => sums.push((label, n)),
            }
        }
    }
    sums
}

/// Whole milliseconds say more than any of these needs, and `f64` writes them without an exponent.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;

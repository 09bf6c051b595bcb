//! What the relays count: tunnels, frames, memory, the turns of their loops.

use super::page::{Name, Page, Worker};
use crate::observe::metrics::{CloseCodes, Counter as Number, DirectionMetrics};
use crate::observe::prometheus::Kind::{self, Counter, Gauge};

pub(super) fn render(page: &mut Page<'_>) {
    render_tunnels(page);
    render_messages(page);
    render_closes(page);
    render_back_pressure(page);
    render_loop(page);
}

fn render_tunnels(page: &mut Page<'_>) {
    page.relays(Name("ringgate_tunnels", Gauge, "Open tunnels."), |relay| {
        &relay.tunnels
    });
    page.relays(
        Name(
            "ringgate_tunnels_opened_total",
            Counter,
            "Tunnels taken over by a relay.",
        ),
        |relay| &relay.opened,
    );
    page.labelled(
        Name(
            "ringgate_tunnels_closed_total",
            Counter,
            "Tunnels that ended, by reason and by the side that brought it about.",
        ),
        ["reason", "side"],
        |worker| {
            let ends = worker.relay.closed.values();
            let of = |((reason, side), n): ((&'static str, &'static str), u64)| {
                ([reason.into(), side.into()], n)
            };
            ends.map(of).collect()
        },
        |[reason, _]| reason != "other",
    );
    page.histograms(
        (
            "ringgate_tunnel_lifetime_seconds",
            "From the 101 to the end, of tunnels that have ended.",
        ),
        &[(&[], |worker| &worker.relay.lifetime)],
    );
}

fn render_messages(page: &mut Page<'_>) {
    by_side(
        page,
        "ringgate_tunnel_bytes_total",
        Counter,
        "Bytes received after the handshake, without TLS, by the side that sent them.",
        |direction| &direction.bytes,
    );
    by_side(
        page,
        "ringgate_messages_total",
        Counter,
        "Messages relayed (text and binary), by the side that sent them.",
        |direction| &direction.messages,
    );
    page.histograms(
        (
            "ringgate_message_size_bytes",
            "Payload of messages as it is on the wire, by the side that sent them.",
        ),
        &[
            (&CLIENT, |worker| &worker.relay.from_client.sizes),
            (&BACKEND, |worker| &worker.relay.from_backend.sizes),
        ],
    );
    by_side(
        page,
        "ringgate_pings_total",
        Counter,
        "Ping frames relayed, by the side that sent them.",
        |direction| &direction.pings,
    );
    by_side(
        page,
        "ringgate_pongs_total",
        Counter,
        "Pong frames relayed, by the side that sent them.",
        |direction| &direction.pongs,
    );
    page.histograms(
        (
            "ringgate_ping_round_trip_seconds",
            "From a ping passing towards a side to its pong coming back from there.",
        ),
        &[
            (&CLIENT, |worker| &worker.relay.from_client.round_trip),
            (&BACKEND, |worker| &worker.relay.from_backend.round_trip),
        ],
    );
}

fn render_closes(page: &mut Page<'_>) {
    by_code(
        page,
        "ringgate_close_frames_total",
        "Close frames seen, by code and by the side that sent them.",
        |direction| &direction.closes,
    );
    by_code(
        page,
        "ringgate_close_frames_sent_total",
        "Close frames of our own, by code and by the side that they were sent to.",
        |direction| &direction.closes_sent,
    );
}

fn render_back_pressure(page: &mut Page<'_>) {
    by_side(
        page,
        "ringgate_relay_halves_paused",
        Gauge,
        "Directions in which nothing is received because the receiver does not keep up, by the side they come from.",
        |direction| &direction.paused,
    );
    by_side(
        page,
        "ringgate_relay_pauses_total",
        Counter,
        "Times that a direction stopped receiving because its receiver did not keep up, by the side it comes from.",
        |direction| &direction.pauses,
    );
    page.relays(
        Name(
            "ringgate_relay_no_buffers_total",
            Counter,
            "Receives that found no provided buffer.",
        ),
        |relay| &relay.no_buffers,
    );
    page.relays(
        Name("ringgate_relay_buffers", Gauge, "Provided buffers."),
        |relay| &relay.buffers,
    );
    page.relays(
        Name(
            "ringgate_relay_buffers_free",
            Gauge,
            "Provided buffers that hold nothing.",
        ),
        |relay| &relay.buffers_free,
    );
    page.relays(
        Name(
            "ringgate_relay_spill_bytes",
            Gauge,
            "Memory in use beyond the provided buffers.",
        ),
        |relay| &relay.spill_bytes,
    );
}

fn render_loop(page: &mut Page<'_>) {
    page.histograms(
        (
            "ringgate_relay_turn_completions",
            "Completions that each turn of a relay's loop reaped.",
        ),
        &[(&[], |worker| &worker.relay.turns)],
    );
    page.relays(
        Name(
            "ringgate_relay_cq_overflows_total",
            Counter,
            "Completions that the kernel had to keep because the completion queue was full.",
        ),
        |relay| &relay.cq_overflows,
    );
    page.relays(
        Name(
            "ringgate_relay_timers",
            Gauge,
            "Timers that are set in the wheels.",
        ),
        |relay| &relay.timers_set,
    );
    page.relays(
        Name(
            "ringgate_relay_timers_fired_total",
            Counter,
            "Timers that fired.",
        ),
        |relay| &relay.timers,
    );
}

const CLIENT: [(&str, &str); 1] = [("side", "client")];
const BACKEND: [(&str, &str); 1] = [("side", "backend")];

/// What comes from each side.
fn directions(worker: &Worker) -> [(&'static str, &DirectionMetrics); 2] {
    [
        ("client", &worker.relay.from_client),
        ("backend", &worker.relay.from_backend),
    ]
}

fn by_side(
    page: &mut Page<'_>,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    number: fn(&DirectionMetrics) -> &Number,
) {
    page.labelled(
        Name(name, kind, help),
        ["side"],
        |worker| {
            let of = move |(side, direction)| ([Into::into(side)], number(direction).value());
            directions(worker).map(of).into()
        },
        |_| true,
    );
}

fn by_code(
    page: &mut Page<'_>,
    name: &'static str,
    help: &'static str,
    codes: fn(&DirectionMetrics) -> &CloseCodes,
) {
    page.labelled(
        Name(name, Counter, help),
        ["side", "code"],
        |worker| {
            let of = move |(side, direction): (&'static str, _)| {
                let codes = codes(direction).values();
                let of_code = move |(code, n): (&'static str, u64)| ([side.into(), code.into()], n);
                codes.map(of_code).collect::<Vec<_>>()
            };
            directions(worker).into_iter().flat_map(of).collect()
        },
        |_| true,
    );
}

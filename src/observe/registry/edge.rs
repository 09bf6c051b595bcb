//! What the edges count: connections, TLS, opening handshakes, calls, connections to backends.

use std::borrow::Cow;

use super::page::{Name, Page};
use crate::close::CloseReason;
use crate::observe::prometheus::Kind::{Counter, Gauge};

pub(super) fn render(page: &mut Page<'_>) {
    render_connections(page);
    render_tls(page);
    render_handshakes(page);
    render_calls(page);
    render_backends(page);
}

fn render_connections(page: &mut Page<'_>) {
    page.edges(
        Name(
            "ringgate_connections_accepted_total",
            Counter,
            "Client connections accepted.",
        ),
        |edge| &edge.accepted,
    );
    page.each(
        Name(
            "ringgate_connections",
            Gauge,
            "Open client connections, tunnels included.",
        ),
        |worker| worker.edge.connections.value() + worker.relay.tunnels.value(),
    );
    page.edges(
        Name(
            "ringgate_edge_connections",
            Gauge,
            "Open client connections that are not tunnels (yet).",
        ),
        |edge| &edge.connections,
    );
    page.edges(
        Name(
            "ringgate_accept_pauses_total",
            Counter,
            "Times that accepting was paused because no descriptor was left.",
        ),
        |edge| &edge.accept_pauses,
    );
    page.labelled(
        Name(
            "ringgate_requests_refused_total",
            Counter,
            "Connections and requests that ended without a tunnel or an answer of their API, by reason.",
        ),
        ["reason"],
        |worker| {
            let refused = worker.edge.refused.values();
            refused.map(|(reason, n)| ([reason.into()], n)).collect()
        },
        |[reason]| !is_tunnel_end(reason),
    );
    page.edges(
        Name(
            "ringgate_head_buffer_bytes",
            Gauge,
            "Memory held in buffers for request and answer heads.",
        ),
        |edge| &edge.head_bytes,
    );
}

/// Whether a reason is one of the ends that a tunnel can have; the others come before a 101.
fn is_tunnel_end(reason: &str) -> bool {
    let ends = crate::close::LABELS
        .iter()
        .take(CloseReason::ClientGone.index());
    ends.into_iter().any(|end| *end == reason)
}

fn render_tls(page: &mut Page<'_>) {
    let of = |side: &'static str| {
        move |((version, resumed), n): ((&'static str, &'static str), u64)| {
            ([side.into(), version.into(), resumed.into()], n)
        }
    };
    page.labelled(
        Name(
            "ringgate_tls_handshakes_total",
            Counter,
            "TLS handshakes completed, by side, version and whether an earlier session was resumed.",
        ),
        ["side", "version", "resumed"],
        |worker| {
            let clients = worker.edge.tls_clients.values().map(of("client"));
            let backends = worker.edge.tls_backends.values().map(of("backend"));
            clients.chain(backends).collect()
        },
        |_| true,
    );
}

fn render_handshakes(page: &mut Page<'_>) {
    page.labelled(
        Name(
            "ringgate_handshakes_total",
            Counter,
            "Opening handshakes, by what came of them: success, or why there is no tunnel.",
        ),
        ["result"],
        |worker| {
            let success = [("success", worker.edge.upgraded.value())].into_iter();
            let all = success.chain(worker.edge.not_upgraded.values());
            all.map(|(result, n)| ([result.into()], n)).collect()
        },
        |[result]| result == "success",
    );
    page.histograms(
        (
            "ringgate_handshake_duration_seconds",
            "From the first byte of a request head to its 101.",
        ),
        &[(&[], |worker| &worker.edge.handshake)],
    );
}

fn render_calls(page: &mut Page<'_>) {
    let status = |status| match status {
        0 => Cow::Borrowed("none"),
        1 => Cow::Borrowed("other"),
        status => Cow::Owned(u16::to_string(&status)),
    };
    page.labelled(
        Name(
            "ringgate_calls_total",
            Counter,
            "Calls that were no upgrades, by the status they got.",
        ),
        ["status"],
        |worker| {
            let calls = worker.edge.calls.values();
            calls.map(|(of, n)| ([status(of)], n)).collect()
        },
        |_| false,
    );
}

fn render_backends(page: &mut Page<'_>) {
    page.edges(
        Name(
            "ringgate_idle_backend_connections",
            Gauge,
            "Connections to backends that wait for a call.",
        ),
        |edge| &edge.backends_idle,
    );
    page.edges(
        Name(
            "ringgate_idle_backend_connections_reused_total",
            Counter,
            "Calls asked on a connection that an earlier call had left.",
        ),
        |edge| &edge.backends_reused,
    );
    page.edges(
        Name(
            "ringgate_ports_exhausted_total",
            Counter,
            "Connects to backends that found no local port.",
        ),
        |edge| &edge.ports_exhausted,
    );
    page.edges(
        Name(
            "ringgate_dns_overloads_total",
            Counter,
            "Names that were not looked up, because too many waited already.",
        ),
        |edge| &edge.dns_overloads,
    );
}

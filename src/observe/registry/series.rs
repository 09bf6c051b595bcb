//! What is counted by API and by backend. Only those that have had a request have series, so that a scrape grows with
//! what is used and not with what is configured.

use super::page::{Name, Page};
use crate::observe::book::{ApiSnapshot, BackendSnapshot, Book, Totals};
use crate::observe::prometheus::Kind;

/// The labels of an API or a backend, and its sums.
type Row<'a> = (Vec<(&'static str, &'a str)>, &'a Totals);

pub(super) fn render(book: &Book, page: &mut Page<'_>) {
    let apis = book.apis();
    let rows: Vec<Row<'_>> = apis.iter().map(of_api).collect();
    render_rows(&OF_APIS, &rows, page);
    let backends = book.backends();
    let rows: Vec<Row<'_>> = backends.iter().map(of_backend).collect();
    render_rows(&OF_BACKENDS, &rows, page);
}

fn of_api(api: &ApiSnapshot) -> Row<'_> {
    let labels = vec![
        ("group", api.group.as_str()),
        ("environment", api.environment.as_str()),
        ("api", api.api.as_str()),
    ];
    (labels, &api.totals)
}

fn of_backend(backend: &BackendSnapshot) -> Row<'_> {
    (vec![("backend", &backend.backend)], &backend.totals)
}

/// A family: its name and help, and what each row has in it.
struct Column(&'static str, Kind, &'static str, fn(&Totals, Put<'_>));

/// Takes one sample: the labels beside those of the row, and the value.
type Put<'a> = &'a mut dyn FnMut(&[(&str, &str)], u64);

const OF_APIS: [Column; 7] = [
    Column(
        "ringgate_api_tunnels",
        Kind::Gauge,
        "Open tunnels of an API.",
        |totals, put| put(&[], totals.tunnels),
    ),
    Column(
        "ringgate_api_tunnels_opened_total",
        Kind::Counter,
        "Tunnels of an API taken over by a relay.",
        |totals, put| put(&[], totals.opened),
    ),
    Column(
        "ringgate_api_tunnels_closed_total",
        Kind::Counter,
        "Tunnels of an API that ended, by reason and by the side that brought it about.",
        closed,
    ),
    Column(
        "ringgate_api_messages_total",
        Kind::Counter,
        "Messages of an API's tunnels, by the side that sent them.",
        messages,
    ),
    Column(
        "ringgate_api_tunnel_bytes_total",
        Kind::Counter,
        "Bytes of an API's tunnels, without TLS, by the side that sent them.",
        bytes,
    ),
    Column(
        "ringgate_api_handshakes_total",
        Kind::Counter,
        "Opening handshakes for an API, by what came of them: success, or why there is no tunnel.",
        handshakes,
    ),
    Column(
        "ringgate_api_calls_total",
        Kind::Counter,
        "Calls of an API that were no upgrades, by the class of their status.",
        calls,
    ),
];

const OF_BACKENDS: [Column; 9] = [
    Column(
        "ringgate_backend_tunnels",
        Kind::Gauge,
        "Open tunnels to a backend.",
        |totals, put| put(&[], totals.tunnels),
    ),
    Column(
        "ringgate_backend_tunnels_opened_total",
        Kind::Counter,
        "Tunnels to a backend taken over by a relay.",
        |totals, put| put(&[], totals.opened),
    ),
    Column(
        "ringgate_backend_tunnels_closed_total",
        Kind::Counter,
        "Tunnels to a backend that ended, by reason and by the side that brought it about.",
        closed,
    ),
    Column(
        "ringgate_backend_messages_total",
        Kind::Counter,
        "Messages of tunnels to a backend, by the side that sent them.",
        messages,
    ),
    Column(
        "ringgate_backend_tunnel_bytes_total",
        Kind::Counter,
        "Bytes of tunnels to a backend, without TLS, by the side that sent them.",
        bytes,
    ),
    Column(
        "ringgate_backend_handshakes_total",
        Kind::Counter,
        "Opening handshakes that a backend was asked for, by what came of them.",
        handshakes,
    ),
    Column(
        "ringgate_backend_calls_total",
        Kind::Counter,
        "Calls that a backend was asked, by the class of their status.",
        calls,
    ),
    Column(
        "ringgate_backend_connects_total",
        Kind::Counter,
        "Connects to a backend that were tried.",
        |totals, put| put(&[], totals.connects),
    ),
    Column(
        "ringgate_backend_connect_failures_total",
        Kind::Counter,
        "Connects to a backend that failed, by reason.",
        |totals, put| {
            for (reason, n) in &totals.connects_failed {
                put(&[("reason", reason)], *n);
            }
        },
    ),
];

fn closed(totals: &Totals, put: Put<'_>) {
    for ((reason, side), n) in &totals.closed {
        put(&[("reason", reason), ("side", side)], *n);
    }
}

fn messages(totals: &Totals, put: Put<'_>) {
    put(&[("side", "client")], totals.from_client.messages);
    put(&[("side", "backend")], totals.from_backend.messages);
}

fn bytes(totals: &Totals, put: Put<'_>) {
    put(&[("side", "client")], totals.from_client.bytes);
    put(&[("side", "backend")], totals.from_backend.bytes);
}

fn handshakes(totals: &Totals, put: Put<'_>) {
    put(&[("result", "success")], totals.upgraded);
    for (reason, n) in &totals.not_upgraded {
        put(&[("result", reason)], *n);
    }
}

fn calls(totals: &Totals, put: Put<'_>) {
    for (class, n) in &totals.calls {
        put(&[("class", class)], *n);
    }
}

fn render_rows(columns: &[Column], rows: &[Row<'_>], page: &mut Page<'_>) {
    for Column(name, kind, help, samples) in columns {
        let mut family = page.family(Name(name, *kind, help));
        for (labels, totals) in rows {
            samples(totals, &mut |more, value| {
                let all: Vec<_> = labels.iter().chain(more).copied().collect();
                family.sample(&all, value);
            });
        }
    }
}

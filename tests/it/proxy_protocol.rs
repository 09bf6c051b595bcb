//! Listeners behind a load balancer that speaks the PROXY protocol (spec 2.9): demanded, and only from those listed.

use std::net::{IpAddr, Shutdown};

use crate::support::Transport::{Plain, Tls};
use crate::support::backend::{Backend, refusing};
use crate::support::client::{Client, field, upgrade_but};
use crate::support::frame::{TEXT, masked};
use crate::support::program::Ringgate;
use crate::support::settings::Settings;
use crate::support::{TRANSPORTS, Transport};

const TEXT_HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 8443\r\n";

/// Version 2 with the source 192.0.2.1:5000 and the destination 198.51.100.2:8443, and a vector that nobody knows.
const BINARY_HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x01\xc6\x33\x64\x02\x13\x88\x20\xfb\xee\0\x02ab";

/// The sender's own health check.
const LOCAL_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const REFUSED: &str = "ringgate_requests_refused_total{reason=\"no_proxy_header\"}";

fn behind_loopback(settings: Settings) -> Ringgate {
    Ringgate::run(&Settings {
        proxy_protocol: &["192.0.2.0/24", "127.0.0.0/8", "::1"],
        ..settings
    })
}

/// A program in front of a backend that hands out the requests it accepted.
fn program() -> (Backend<String>, Ringgate) {
    let backend = Backend::start(|mut peer| {
        let request = peer.accept();
        peer.echo();
        request
    });
    let program = behind_loopback(Settings::hello(backend.address));
    (backend, program)
}

/// A connection that begins with `header`, in one segment with what follows where that is TLS.
fn connect(program: &Ringgate, transport: Transport, header: &[u8]) -> Client {
    let address = program.listener(transport).address;
    match transport {
        Plain => {
            let mut client = Client::plain(address);
            client.send(header);
            client
        }
        Tls => Client::tls_behind(header, address, program.workspace.certificate.client()),
    }
}

/// An opening handshake for the API, with the address in `Host` that a client means to have come to.
fn to(host: &str) -> String {
    upgrade_but("/hello", "Host", Some(host))
}

#[track_caller]
fn assert_forwarded(request: &str, client: &str, port: u16) {
    assert_eq!(field(request, "X-Forwarded-For"), Some(client), "{request}");
    assert_eq!(field(request, "X-Real-IP"), Some(client), "{request}");
    let port = port.to_string();
    assert_eq!(
        field(request, "X-Forwarded-Port"),
        Some(&*port),
        "{request}"
    );
}

/// Opens a tunnel, uses and leaves it, and returns the request that the backend saw.
fn converse(client: &mut Client, backend: &Backend<String>, host: &str) -> String {
    let answer = client.ask(to(host));
    assert_eq!(answer.status, 101, "{answer:?}");
    client.send(masked(TEXT, b"hello"));
    assert_eq!(client.read_frame().payload, b"hello");
    client.finish();
    client.rest();
    backend.result()
}

#[test]
fn header_says_who_the_client_is_and_where_it_went() {
    let (backend, program) = program();
    for transport in TRANSPORTS {
        for header in [TEXT_HEADER, BINARY_HEADER] {
            let mut client = connect(&program, transport, header);
            let request = converse(&mut client, &backend, "198.51.100.2");
            assert_forwarded(&request, "192.0.2.1", 8443);
            let proto = match transport {
                Plain => "http",
                Tls => "https",
            };
            assert_eq!(field(&request, "X-Forwarded-Proto"), Some(proto));
            let id = field(&request, "X-Request-Id").unwrap();
            let line = program.log_line("tunnel_close", |line| line["id"] == id);
            assert_eq!(line["client"], "192.0.2.1:5000", "{line}");
        }
    }
}

#[test]
fn group_is_found_by_the_headers_destination() {
    let (_backend, program) = program();
    for transport in TRANSPORTS {
        // The listener's own address is not the one that the client went to.
        let mut client = connect(&program, transport, TEXT_HEADER);
        assert_eq!(client.ask(to("127.0.0.1")).status, 404);
    }
}

#[test]
fn ipv6_addresses_are_passed_on() {
    let (backend, program) = program();
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    for address in ["2001:db8::1", "2001:db8::2"] {
        match address.parse().unwrap() {
            IpAddr::V6(address) => binary.extend(address.octets()),
            IpAddr::V4(_) => panic!("{address}"),
        }
    }
    binary.extend([0x13, 0x88, 0x20, 0xfb]);
    let text = b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 8443\r\n";
    for header in [&text[..], &binary] {
        let mut client = connect(&program, Plain, header);
        let request = converse(&mut client, &backend, "[2001:db8::2]:8443");
        assert_forwarded(&request, "2001:db8::1", 8443);
    }
}

#[test]
fn header_without_addresses_leaves_the_connections_own() {
    let (backend, program) = program();
    for transport in TRANSPORTS {
        for header in [LOCAL_HEADER, b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n"] {
            let mut client = connect(&program, transport, header);
            let request = converse(&mut client, &backend, "127.0.0.1");
            let port = program.listener(transport).address.port();
            assert_forwarded(&request, "127.0.0.1", port);
        }
    }
}

#[test]
fn header_may_be_cut_anywhere() {
    let (backend, program) = program();
    for header in [TEXT_HEADER, BINARY_HEADER] {
        let mut client = Client::plain(program.listener(Plain).address);
        for byte in [header, to("198.51.100.2").as_bytes()].concat() {
            client.send([byte]);
        }
        assert_eq!(client.answer().status, 101);
        client.finish();
        assert_forwarded(&backend.result(), "192.0.2.1", 8443);

        // TLS in one segment with the header's last byte, for which the program waits.
        let (last, start) = header.split_last().unwrap();
        let tls = program.workspace.certificate.client();
        let mut client = Client::tls_in_pieces(start, &[*last], program.listener(Tls).address, tls);
        let request = converse(&mut client, &backend, "198.51.100.2");
        assert_forwarded(&request, "192.0.2.1", 8443);
    }
}

#[test]
fn what_follows_the_header_in_one_segment_is_not_lost() {
    let (backend, program) = program();
    let mut client = Client::plain(program.listener(Plain).address);
    // As much as one read takes, and early frames besides.
    let request = to("198.51.100.2").replace(
        "\r\n\r\n",
        &format!("\r\nX-Long: {}\r\n\r\n", "x".repeat(8000)),
    );
    let frame = masked(TEXT, &[b'y'; 4000]);
    client.send([BINARY_HEADER, request.as_bytes(), &frame].concat());
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.read_frame().payload, [b'y'; 4000]);
    client.finish();
    assert_eq!(field(&backend.result(), "X-Long").map(str::len), Some(8000));
}

#[test]
fn only_the_first_bytes_of_a_connection_are_a_header() {
    let (_backend, program) = program();
    let mut client = connect(&program, Plain, TEXT_HEADER);
    // Two requests of one connection, the second without a header.
    for _ in 0..2 {
        let request = "GET /nothing HTTP/1.1\r\nHost: 198.51.100.2\r\n\r\n";
        assert_eq!(client.ask(request).status, 404);
    }
    client.send(TEXT_HEADER);
    assert_eq!(client.answer().status, 400);
}

#[test]
fn whoever_is_not_listed_is_closed_at_once() {
    let program = Ringgate::run(&Settings {
        proxy_protocol: &["192.0.2.0/24", "::1"],
        ..Settings::hello(refusing())
    });
    for (count, transport) in (1..).zip(TRANSPORTS) {
        let mut client = Client::plain(program.listener(transport).address);
        client.assert_closed();
        program.await_metric(REFUSED, f64::from(count));
    }
    let line = program.log_line("refused", |_| true);
    assert_eq!(line["reason"], "no_proxy_header", "{line}");
    assert_eq!(line["status"], serde_json::Value::Null, "{line}");
}

#[test]
fn connection_without_a_right_header_is_closed_without_an_answer() {
    let (backend, program) = program();
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let request = to("127.0.0.1");
    let cases: [&[u8]; 7] = [
        request.as_bytes(),
        hello,
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\nGET",
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff",
    ];
    let mut count = 0;
    for transport in TRANSPORTS {
        for case in cases {
            let mut client = Client::plain(program.listener(transport).address);
            client.send(case);
            client.assert_closed();
            count += 1;
        }
    }
    program.await_metric(REFUSED, f64::from(count));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn header_that_ends_early_or_never_is_refused() {
    let program =
        behind_loopback(Settings::hello(refusing()).with("[timeouts]\nhandshake = \"300ms\"\n"));
    let mut count = 0;
    for transport in TRANSPORTS {
        for header in [TEXT_HEADER, BINARY_HEADER] {
            for leaves in [true, false] {
                let mut client = Client::plain(program.listener(transport).address);
                client.send(&header[..header.len() - 1]);
                if leaves {
                    client.finish();
                }
                client.assert_closed();
                count += 1;
            }
        }
    }
    program.await_metric(REFUSED, f64::from(count));
}

/// A load balancer asks whether the port is open, with LOCAL or without a byte.
#[test]
fn health_checks_are_no_errors() {
    let (_backend, program) = program();
    for transport in TRANSPORTS {
        for header in [LOCAL_HEADER, b"PROXY UNKNOWN\r\n", b""] {
            let mut client = Client::plain(program.listener(transport).address);
            client.send(header);
            client.socket().shutdown(Shutdown::Write).unwrap();
            client.assert_closed();
        }
    }
    let (_, _, metrics) = program.admin("/metrics");
    let refused = metrics.lines().filter(|line| {
        line.starts_with("ringgate_requests_refused_total") && !line.ends_with(" 0")
    });
    assert_eq!(refused.collect::<Vec<_>>(), [""; 0]);
}

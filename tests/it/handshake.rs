//! The opening handshake from end to end: what the backend is asked, what the client is answered, and what came early.

use std::io::Write;
use std::net::SocketAddr;

use serde_json::Value;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::backend::{Backend, Peer, switching};
use crate::support::client::{
    ACCEPT, field, request, upgrade, upgrade_but, websocket_request, websocket_with,
};
use crate::support::echo::{Echo, Event, SUBPROTOCOL};
use crate::support::frame::{BINARY, CLOSE, TEXT, close, masked, unmasked};
use crate::support::program::Ringgate;
use crate::support::settings::{Route, Settings};
use crate::support::{TRANSPORTS, Transport};

/// A backend that agrees and tells what it was asked.
fn recording() -> Backend<String> {
    Backend::start(|mut peer| {
        let request = peer.accept();
        peer.echo();
        request
    })
}

fn program_for(backend: SocketAddr) -> Ringgate {
    Ringgate::run(&Settings::hello(backend))
}

#[test]
fn reference_scenario_reaches_its_backend() {
    let backend = recording();
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let answer = client.upgrade("/hello?name=value&x=%20");
        assert_eq!(answer.field("Upgrade").unwrap(), "websocket");
        assert_eq!(answer.field("Sec-WebSocket-Accept").unwrap(), ACCEPT);
        client.send(masked(TEXT, b"hello"));
        assert_eq!(client.read_frame().payload, b"hello");
        let id = answer.request_id().to_owned();
        drop(client);

        let asked = backend.result();
        // Path `/` of the definition, with the client's query.
        assert!(
            asked.starts_with("GET /?name=value&x=%20 HTTP/1.1\r\n"),
            "{asked}"
        );
        assert_eq!(field(&asked, "X-Request-Id"), Some(id.as_str()));
    }
}

#[test]
fn backend_is_told_who_asks_and_how() {
    let backend = recording();
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let listener = program.listener(transport);
        let host = listener.address.to_string();
        let mut client = program.connect_to(listener);
        let fields = [
            ("X-Forwarded-For", "198.51.100.7"),
            ("X-Real-IP", "198.51.100.7"),
            ("X-Forwarded-Proto", "gopher"),
            ("X-Request-Id", "mine"),
            ("Cookie", "a=b; c=d"),
            ("Authorization", "Bearer t"),
            ("Origin", "https://app.example"),
            ("X-Stage", "RELEASE"),
        ];
        let mut asked = upgrade("/hello", &fields);
        asked = asked.replace("Host: 127.0.0.1\r\n", &format!("Host: {host}\r\n"));
        let answer = client.ask(asked);
        assert_eq!(answer.status, 101, "{answer:?}");
        drop(client);

        let asked = backend.result();
        let (proto, port) = match transport {
            Transport::Plain => ("http", listener.address.port().to_string()),
            Transport::Tls => ("https", listener.address.port().to_string()),
        };
        for (name, value) in [
            ("Host", Some(backend.address.to_string().as_str())),
            ("X-Forwarded-For", Some("198.51.100.7, 127.0.0.1")),
            ("X-Real-IP", Some("127.0.0.1")),
            ("X-Forwarded-Proto", Some(proto)),
            ("X-Forwarded-Port", Some(port.as_str())),
            ("X-Forwarded-Host", Some(host.as_str())),
            ("X-Request-Id", Some(answer.request_id())),
            ("Cookie", Some("a=b; c=d")),
            ("Authorization", Some("Bearer t")),
            ("Origin", Some("https://app.example")),
            ("X-Stage", None),
            ("Sec-WebSocket-Version", Some("13")),
        ] {
            assert_eq!(field(&asked, name), value, "{name} in {asked}");
        }
    }
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let backend = recording();
    let program = program_for(backend.address);
    let mut client = program.connect();
    let fields = [
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Mine", "dropped"),
        ("X-Other", "kept"),
        ("Authorization", "Bearer t"),
        ("Cookie", "a=b"),
    ];
    let connection =
        "upgrade, x-mine, authorization, cookie, x-forwarded-for, sec-websocket-key, keep-alive";
    let asked = upgrade("/hello", &fields)
        .replace("Connection: Upgrade", &format!("Connection: {connection}"));
    assert_eq!(client.ask(asked).status, 101);
    drop(client);

    let asked = backend.result();
    for (name, value) in [
        ("Keep-Alive", None),
        ("TE", None),
        ("Proxy-Authorization", None),
        ("X-Mine", None),
        ("X-Other", Some("kept")),
        // A client can't have these removed by naming them.
        ("Authorization", Some("Bearer t")),
        ("Cookie", Some("a=b")),
        ("X-Forwarded-For", Some("127.0.0.1")),
    ] {
        assert_eq!(field(&asked, name), value, "{name} in {asked}");
    }
    assert!(
        field(&asked, "Connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    assert!(
        field(&asked, "Upgrade")
            .unwrap()
            .eq_ignore_ascii_case("websocket")
    );
}

#[test]
fn proxy_forwards_every_path_as_it_is() {
    let backend = recording();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/any/p%61th//x?q=1&r");
        drop(client);
        let asked = backend.result();
        assert!(
            asked.starts_with("GET /any/p%61th//x?q=1&r HTTP/1.1\r\n"),
            "{asked}"
        );
    }
}

#[test]
fn proxy_with_a_path_serves_no_other() {
    let backend = recording();
    let program = Ringgate::proxy_with(Transport::Plain, &[backend.address], &["--path", "/hello"]);
    program.connect().upgrade("/hello");
    assert_eq!(program.connect().ask(upgrade("/other", &[])).status, 404);
}

#[test]
fn backends_take_turns() {
    let (one, two) = (recording(), recording());
    let program = Ringgate::proxy(Transport::Plain, &[one.address, two.address]);
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = program.connect();
            client.upgrade("/");
            client
        })
        .collect();
    assert_eq!((one.connections(), two.connections()), (3, 3));
    drop(clients);
}

#[tokio::test]
async fn subprotocol_is_agreed_between_the_ends() {
    let echo = Echo::start();
    let program = program_for(echo.address);
    for transport in TRANSPORTS {
        let listener = program.listener(transport);
        let mut request = websocket_request(listener, "/hello");
        let offer = HeaderValue::from_static("echo.v1, echo.v2");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", offer);
        let (socket, response) = websocket_with(&program, listener, request).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], SUBPROTOCOL);
        assert_eq!(echo.event(), Event::Opened("/".into()));
        drop(socket);
        assert_eq!(echo.end(), Event::Lost);
    }
}

#[test]
fn frames_right_behind_the_101_reach_the_client() {
    let backend = Backend::start(|mut peer| {
        let behind = [unmasked(TEXT, b"first"), unmasked(BINARY, &[7; 3000])].concat();
        peer.accept_and_send(&[], &behind);
        peer.echo()
    });
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        client.upgrade("/hello");
        assert_eq!(client.read_frame().payload, b"first");
        assert_eq!(client.read_frame().payload, [7; 3000]);
    }
}

#[test]
fn frames_right_behind_the_request_reach_the_backend_after_its_101() {
    let backend = Backend::start(|mut peer| {
        let request = peer.request();
        // Nothing but the head may come before the 101.
        peer.socket.set_nonblocking(true).unwrap();
        let early = std::io::Read::read(&mut peer.socket, &mut [0; 16]);
        peer.socket.set_nonblocking(false).unwrap();
        peer.send(switching(&request, &[]));
        peer.echo();
        early.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    });
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let mut bytes = upgrade("/hello", &[]).into_bytes();
        bytes.extend(masked(TEXT, b"one"));
        bytes.extend(masked(TEXT, &[b'2'; 5000]));
        assert_eq!(client.ask(bytes).status, 101);
        client.send(masked(TEXT, b"three"));
        assert_eq!(client.read_frame().payload, b"one");
        assert_eq!(client.read_frame().payload, [b'2'; 5000]);
        assert_eq!(client.read_frame().payload, b"three");
        drop(client);
        assert!(backend.result(), "early bytes were forwarded too early");
    }
}

#[test]
fn head_may_come_byte_by_byte() {
    let backend = recording();
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        for byte in upgrade("/hello", &[]).bytes() {
            client.write_all(&[byte]).unwrap();
            client.flush().unwrap();
        }
        assert_eq!(client.answer().status, 101);
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let backend = Backend::start(|mut peer| {
        let request = peer.request();
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        peer.send(switching(&request, &[]));
        peer.echo()
    });
    let program = program_for(backend.address);
    program.connect().upgrade("/hello");
}

#[test]
fn any_other_answer_is_relayed_with_its_body() {
    let head = "HTTP/1.1 403 No Way\r\nServer: theirs\r\nX-Theirs: yes\r\nSet-Cookie: a=b\r\n";
    for framing in [
        "Content-Length: 9\r\n\r\nforbidden",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nfor\r\n6;x=y\r\nbidden\r\n0\r\n\r\n",
        "\r\nforbidden",
    ] {
        let answer = format!("{head}{framing}");
        let backend = Backend::start(move |mut peer| {
            peer.request();
            peer.send(&answer);
        });
        let program = program_for(backend.address);
        for transport in TRANSPORTS {
            let mut client = program.connect_to(program.listener(transport));
            let answer = client.ask(upgrade("/hello", &[]));
            assert_eq!(answer.status, 403, "{framing:?}");
            assert_eq!(answer.text(), "forbidden", "{framing:?}");
            assert_eq!(answer.field("Server"), Some("theirs"));
            assert_eq!(answer.field("X-Theirs"), Some("yes"));
            assert_eq!(answer.field("Set-Cookie"), Some("a=b"));
            answer.request_id();
            client.assert_closed();
        }
    }
}

#[test]
fn answer_with_a_broken_body_is_a_502() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n";
    let (program, _backend) = with_answer(move |_| answer.into());
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let refused = client.ask(upgrade("/hello", &[]));
        refused.assert_error(502, "APIG.0202", "Backend unavailable");
    }
}

#[test]
fn answer_without_content_says_no_length() {
    let (program, _backend) =
        with_answer(|_| "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".into());
    let mut client = program.connect();
    client.send(upgrade("/hello", &[]));
    let answer = client.answer();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.field("Content-Length"), None);
    client.assert_closed();
}

#[test]
fn large_answers_are_relayed_whole() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 500 Oh\r\nContent-Length: 3000000\r\n\r\n");
        peer.send(vec![b'x'; 3_000_000]);
    });
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let answer = client.ask(upgrade("/hello", &[]));
        assert_eq!((answer.status, answer.body.len()), (500, 3_000_000));
    }
}

/// Sends the client's request to a backend that answers it with `answer`.
fn with_answer(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (Ringgate, Backend<bool>) {
    let backend = Backend::start(move |mut peer: Peer| {
        let request = peer.request();
        peer.send(answer(&request));
        peer.is_closed()
    });
    (program_for(backend.address), backend)
}

#[test]
fn wrong_101_makes_no_tunnel() {
    type Spoil = fn(String) -> String;
    let spoils: [(&str, Spoil); 8] = [
        ("accept", |a| {
            a.replace("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x")
        }),
        ("no accept", |a| {
            a.replace("Sec-WebSocket-Accept", "X-Accept")
        }),
        ("upgrade", |a| {
            a.replace("Upgrade: websocket", "Upgrade: h2c")
        }),
        ("no upgrade", |a| a.replace("Upgrade: websocket\r\n", "")),
        ("no connection", |a| {
            a.replace("Connection: Upgrade\r\n", "")
        }),
        ("version", |a| a.replace("HTTP/1.1 101", "HTTP/1.0 101")),
        ("subprotocol", |a| {
            a.replace(
                "Upgrade: websocket",
                "Upgrade: websocket\r\nSec-WebSocket-Protocol: unasked",
            )
        }),
        ("extension", |a| {
            a.replace(
                "Upgrade: websocket",
                "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate",
            )
        }),
    ];
    for (name, spoil) in spoils {
        let (program, backend) = with_answer(move |request| spoil(switching(request, &[])));
        let mut client = program.connect();
        client.send(upgrade("/hello", &[]));
        let answer = client.answer();
        assert_eq!(answer.status, 502, "{name}: {answer:?}");
        answer.assert_error(502, "APIG.0202", "Backend unavailable");
        assert!(backend.result(), "{name}: the backend's connection stays");
        program.log_line("refused", |line| {
            line["reason"] == "bad_answer" && line["status"] == 502
        });
    }
}

#[test]
fn answer_that_is_no_http_is_a_502() {
    let (program, _backend) = with_answer(|_| "220 mail.example ESMTP\r\n\r\n".into());
    let answer = program.connect().ask(upgrade("/hello", &[]));
    answer.assert_error(502, "APIG.0202", "Backend unavailable");
}

#[test]
fn backend_that_hangs_up_is_a_502() {
    let backend = Backend::start(|mut peer| {
        peer.request();
    });
    let program = program_for(backend.address);
    let answer = program.connect().ask(upgrade("/hello", &[]));
    answer.assert_error(502, "APIG.0202", "Backend unavailable");
}

#[test]
fn ipv6_carries_both_sides() {
    let backend = Backend::start_on("[::1]:0".parse().unwrap(), |mut peer| {
        let request = peer.accept();
        peer.echo();
        request
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy_with(transport, &[backend.address], &["--listen", "[::1]:0"]);
        assert!(program.address().is_ipv6());
        let mut client = program.connect();
        client.upgrade("/six");
        client.send(masked(TEXT, b"6"));
        assert_eq!(client.read_frame().payload, b"6");
        drop(client);
        let asked = backend.result();
        assert_eq!(field(&asked, "X-Real-IP"), Some("::1"));
        assert_eq!(
            field(&asked, "Host"),
            Some(backend.address.to_string().as_str())
        );
    }
}

#[test]
fn names_are_resolved() {
    let backend = recording();
    let mut route = Route::hello(backend.address);
    route.backend = format!("localhost:{}", backend.address.port());
    let expected = route.backend.clone();
    let program = Ringgate::run(&Settings::new(vec![route]));
    program.connect().upgrade("/hello");
    let asked = backend.result();
    assert_eq!(field(&asked, "Host"), Some(expected.as_str()));
}

#[test]
fn log_tells_of_a_tunnel_at_both_its_ends() {
    let backend = recording();
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        let local = client.socket().local_addr().unwrap().to_string();
        let answer = client.upgrade("/hello?token=secret");
        let id = answer.request_id();
        let open = program.log_line("tunnel_open", |line| line["id"] == id);
        for (key, value) in [
            ("api", "API01"),
            ("group", "DEFAULT"),
            ("environment", "RELEASE"),
            ("client", local.as_str()),
            ("backend", backend.address.to_string().as_str()),
            (
                "scheme",
                if transport == Transport::Tls {
                    "wss"
                } else {
                    "ws"
                },
            ),
        ] {
            assert_eq!(open[key], value, "{key} in {open}");
        }
        client.send(masked(TEXT, b"four"));
        client.read_frame();
        client.send(masked(BINARY, b"and five"));
        client.read_frame();
        client.send(masked(CLOSE, &close(1000, "")));
        client.read_frame();
        drop(client);

        let close = program.log_line("tunnel_close", |line| line["id"] == id);
        for (key, value) in [
            ("reason", Value::from("finished")),
            ("messages_from_client", Value::from(2)),
            ("messages_from_backend", Value::from(2)),
            // Headers of 6 and 2 bytes around 4, 8 and 2 bytes of payload.
            ("bytes_from_client", Value::from(10 + 14 + 8)),
            ("bytes_from_backend", Value::from(6 + 10 + 4)),
            ("close_code_client", Value::from(1000)),
            ("close_code_backend", Value::from(1000)),
            ("closed_by", Value::from("client")),
        ] {
            assert_eq!(close[key], value, "{key} in {close}");
        }
        assert!(!close.to_string().contains("secret") && !open.to_string().contains("secret"));
    }
}

#[test]
fn refused_upgrade_ends_the_connection() {
    let backend = recording();
    let program = program_for(backend.address);
    for transport in TRANSPORTS {
        let mut client = program.connect_to(program.listener(transport));
        // What follows could be read as a request of its own, were the connection to go on.
        let mut bytes = upgrade("/nothing", &[]).into_bytes();
        bytes.extend(request("GET /hello HTTP/1.1", &[("Host", "127.0.0.1")]).bytes());
        assert_eq!(client.ask(bytes).status, 404);
        client.assert_closed();

        let mut client = program.connect_to(program.listener(transport));
        let mut bytes = upgrade_but("/hello", "Sec-WebSocket-Key", None).into_bytes();
        bytes.extend(upgrade("/hello", &[]).bytes());
        assert_eq!(client.ask(bytes).status, 400);
        client.assert_closed();
    }
    assert_eq!(backend.connections(), 0);
}

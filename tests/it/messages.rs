//! Conversations: messages of every size and kind, control frames, close codes, ends of one direction.

use std::io::Read;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::support::backend::{Backend, Peer};
use crate::support::client::{WebSocket, websocket};
use crate::support::echo::{Echo, Event};
use crate::support::frame::{
    self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, encode, masked, unmasked,
};
use crate::support::program::Ringgate;
use crate::support::{DEADLINE, TRANSPORTS, Transport, eventually, raise_descriptor_limit};

const MIB: usize = 1 << 20;

async fn next(socket: &mut WebSocket) -> Message {
    let message = tokio::time::timeout(DEADLINE, socket.next()).await;
    message.unwrap().unwrap().unwrap()
}

/// Bytes that repeat late, so that a shift or a swap shows.
fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|n| u8::try_from((n * 31 + n / 251) % 256).unwrap())
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn messages_come_back_as_they_were() {
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        let mut socket = websocket(&program, "/").await;
        for size in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000, MIB] {
            let binary = Message::Binary(pattern(size));
            socket.send(binary.clone()).await.unwrap();
            assert_eq!(
                next(&mut socket).await,
                binary,
                "{size} bytes, {transport:?}"
            );
            let text = Message::text("\u{e9}".repeat(size / 2));
            socket.send(text.clone()).await.unwrap();
            assert_eq!(
                next(&mut socket).await,
                text,
                "{size} bytes of text, {transport:?}"
            );
        }
        socket.close(None).await.unwrap();
        assert_eq!(echo.end(), Event::Closed(None));
        drop(socket);
        let line = program.tunnel_close();
        assert_eq!(line["messages_from_client"], 18);
        assert_eq!(line["messages_from_backend"], 18);
    }
}

#[tokio::test]
async fn sixteen_mebibytes_come_back_as_they_were() {
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        let mut socket = websocket(&program, "/").await;
        let sent = Message::Binary(pattern(16 * MIB));
        socket.send(sent.clone()).await.unwrap();
        assert!(next(&mut socket).await == sent, "{transport:?}");
    }
}

#[tokio::test]
async fn many_small_messages_keep_their_order() {
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        let socket = websocket(&program, "/").await;
        let (mut sender, mut receiver) = socket.split();
        let count = 5000;
        tokio::spawn(async move {
            for n in 0..count {
                sender.feed(Message::text(n.to_string())).await.unwrap();
            }
            sender.flush().await.unwrap();
            sender
        });
        for n in 0..count {
            let message = receiver.next().await.unwrap().unwrap();
            assert_eq!(message, Message::text(n.to_string()));
        }
    }
}

#[test]
fn fragments_pass_with_control_frames_between() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        let frames: Vec<_> = (0..5).map(|_| peer.read_frame()).collect();
        // The same sequence in the other direction.
        for frame in &frames {
            let first = frame.opcode | if frame.last { 0x80 } else { 0 };
            peer.send(encode(first, &frame.payload, false));
        }
        frames
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        let sequence: [(u8, bool, &[u8]); 5] = [
            (TEXT, false, b"one "),
            (PING, true, b"between"),
            (CONTINUATION, false, b"two "),
            (PONG, true, b""),
            (CONTINUATION, true, b"three"),
        ];
        for (opcode, last, payload) in sequence {
            let first = opcode | if last { 0x80 } else { 0 };
            client.send(encode(first, payload, true));
        }
        for (opcode, last, payload) in sequence {
            let frame = client.read_frame();
            assert_eq!(
                (frame.opcode, frame.last, frame.payload.as_slice()),
                (opcode, last, payload)
            );
            assert!(!frame.masked);
        }
        for (frame, (opcode, last, payload)) in backend.result().into_iter().zip(sequence) {
            assert_eq!(
                (frame.opcode, frame.last, frame.payload.as_slice()),
                (opcode, last, payload)
            );
            assert!(frame.masked);
        }
        drop(client);
        let line = program.tunnel_close();
        assert_eq!(line["messages_from_client"], 1, "{line}");
        assert_eq!(line["messages_from_backend"], 1, "{line}");
    }
}

#[test]
fn frames_may_be_cut_anywhere() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        let message = masked(BINARY, &pattern(300));
        for piece in message.chunks(1) {
            client.send(piece);
        }
        assert_eq!(client.read_frame().payload, pattern(300));
    }
}

#[tokio::test]
async fn close_of_the_client_reaches_the_backend() {
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        for (code, reason) in [
            (1000, "done"),
            (1001, "going away"),
            (4321, "because \u{1f600}"),
        ] {
            let mut socket = websocket(&program, "/").await;
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: reason.into(),
            };
            socket.close(Some(frame.clone())).await.unwrap();
            assert_eq!(next(&mut socket).await, Message::Close(Some(frame)));
            assert!(socket.next().await.is_none());
            drop(socket);
            assert_eq!(echo.end(), Event::Closed(Some((code, reason.into()))));
            let line = program.log_line("tunnel_close", |line| line["close_code_client"] == code);
            assert_eq!(line["close_code_backend"], code);
            assert_eq!(line["closed_by"], "client");
            assert_eq!(line["reason"], "finished");
        }
    }
}

#[tokio::test]
async fn close_of_the_backend_reaches_the_client() {
    for (code, reason) in [(1000, "done"), (1001, "restarting"), (4321, "quota")] {
        let backend = Backend::start(move |mut peer| {
            peer.accept();
            peer.send(unmasked(CLOSE, &close(code, reason)));
            // Returning closes the connection, which is the server's part (RFC 6455 §7.1.1).
            peer.read_close()
        });
        for transport in TRANSPORTS {
            let program = Ringgate::proxy(transport, &[backend.address]);
            let mut socket = websocket(&program, "/").await;
            let Message::Close(Some(frame)) = next(&mut socket).await else {
                panic!("no Close")
            };
            assert_eq!(
                (u16::from(frame.code), frame.reason.as_str()),
                (code, reason)
            );
            // Polling on sends tungstenite's answer.
            let rest = async { while let Some(Ok(_)) = socket.next().await {} };
            tokio::time::timeout(DEADLINE, rest).await.unwrap();
            assert_eq!(backend.result(), Some(code));
            drop(socket);
            let line = program.tunnel_close();
            assert_eq!(line["close_code_backend"], code);
            assert_eq!(line["closed_by"], "backend");
        }
    }
}

#[tokio::test]
async fn pings_and_pongs_go_end_to_end() {
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        let mut socket = websocket(&program, "/").await;
        let payload = Bytes::from_static(b"are you there");
        socket.send(Message::Ping(payload.clone())).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::Pong(payload.clone()));
        assert_eq!(echo.event(), Event::Opened("/".into()));
        assert_eq!(echo.event(), Event::Pinged(payload.to_vec()));
        program.await_metric("ringgate_pings_total{side=\"client\"}", 1.0);
        program.await_metric("ringgate_pongs_total{side=\"backend\"}", 1.0);
        drop(socket);
        assert_eq!(echo.end(), Event::Lost);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_sockets_at_once() {
    raise_descriptor_limit();
    let echo = Echo::start();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[echo.address]);
        let mut sockets = Vec::new();
        // In batches, so that the backlogs of test and program hold them all.
        for _ in 0..10 {
            let batch = (0..50).map(|_| websocket(&program, "/many"));
            sockets.extend(futures_util::future::join_all(batch).await);
        }
        program.await_metric("ringgate_tunnels ", 500.0);
        for round in 0..3 {
            for (n, socket) in sockets.iter_mut().enumerate() {
                socket
                    .send(Message::text(format!("{round} {n}")))
                    .await
                    .unwrap();
            }
            for (n, socket) in sockets.iter_mut().enumerate() {
                assert_eq!(next(socket).await, Message::text(format!("{round} {n}")));
            }
        }
        drop(sockets);
        program.await_metric("ringgate_tunnels ", 0.0);
        program.await_metric("ringgate_connections ", 0.0);
    }
}

#[test]
fn end_of_one_direction_leaves_the_other_open() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        let mut received = Vec::new();
        // To the end of the client's direction.
        peer.socket.read_to_end(&mut received).unwrap();
        peer.send(unmasked(TEXT, b"still here"));
        received
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        let last = masked(TEXT, &pattern(100_000));
        client.send(&last);
        client.finish();
        assert_eq!(client.read_frame().payload, b"still here");
        assert!(backend.result() == last, "{transport:?}");
        client.assert_closed();
        assert_eq!(program.tunnel_close()["reason"], "end_of_stream");
    }
}

#[test]
fn last_message_survives_the_end_of_its_connection() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.send(unmasked(BINARY, &pattern(MIB)));
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        assert!(client.read_frame().payload == pattern(MIB), "{transport:?}");
        client.assert_closed();
    }
}

#[test]
fn slow_reader_gets_everything() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.send(unmasked(BINARY, &pattern(8 * MIB)));
        peer.echo()
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        // More than the program may hold waits for a reader that has not begun.
        eventually("a pause", || {
            program.metric("ringgate_relay_pauses_total{side=\"backend\"}") > 0.0
        });
        assert!(
            client.read_frame().payload == pattern(8 * MIB),
            "{transport:?}"
        );
    }
}

/// The code of the Close that comes, after answering it in kind.
fn answered_close(peer: &mut Peer) -> Option<u16> {
    let code = peer.read_close();
    peer.send(unmasked(CLOSE, &close(code.unwrap(), "")));
    code
}

const IDLE: Duration = Duration::from_millis(300);

#[test]
fn idle_tunnel_is_closed_with_1001() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        (answered_close(&mut peer), peer.is_closed())
    });
    for transport in TRANSPORTS {
        let program =
            Ringgate::proxy_with(transport, &[backend.address], &["--idle-timeout", "300ms"]);
        let mut client = program.connect();
        let opened = Instant::now();
        client.upgrade("/");
        assert_eq!(client.read_frame().close_code(), Some(1001));
        let waited = opened.elapsed();
        assert!(waited >= IDLE, "too early: {waited:?}");
        assert!(waited < IDLE * 10, "too late: {waited:?}");
        client.send(masked(CLOSE, &close(1001, "")));
        client.assert_closed();
        assert_eq!(backend.result(), (Some(1001), true));
        let line = program.tunnel_close();
        assert_eq!(line["reason"], "idle");
        assert_eq!(line["blame"], "nobody");
        program.await_metric(
            "ringgate_tunnels_closed_total{reason=\"idle\",side=\"nobody\"}",
            1.0,
        );
    }
}

#[test]
fn pings_keep_a_tunnel_open() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        loop {
            let frame = peer.read_frame();
            match frame.opcode {
                PING => peer.send(unmasked(PONG, &frame.payload)),
                _ => return frame.close_code(),
            }
        }
    });
    let program = Ringgate::proxy_with(
        Transport::Plain,
        &[backend.address],
        &["--idle-timeout", "300ms"],
    );
    let mut client = program.connect();
    client.upgrade("/");
    let opened = Instant::now();
    // Three times the timeout, with a ping well within each.
    while opened.elapsed() < 3 * IDLE {
        client.send(masked(PING, b"x"));
        assert_eq!(client.read_frame().opcode, PONG);
        std::thread::sleep(IDLE / 10);
    }
    let last = Instant::now();
    assert_eq!(client.read_frame().close_code(), Some(1001));
    assert!(last.elapsed() >= IDLE * 8 / 10);
    assert_eq!(backend.result(), Some(1001));
}

#[test]
fn violation_of_the_client_ends_both_sides_with_1002() {
    let cases = [
        ("unmasked", unmasked(TEXT, b"bare")),
        ("reserved bit", encode(0xc1, b"x", true)),
        ("reserved opcode", encode(0x83, b"x", true)),
        ("fragmented ping", encode(PING, b"x", true)),
        ("long ping", masked(PING, &[b'x'; 126])),
        ("stray continuation", masked(CONTINUATION, b"x")),
        ("close of one byte", masked(CLOSE, b"x")),
    ];
    let backend = Backend::start(|mut peer| {
        peer.accept();
        (answered_close(&mut peer), peer.is_closed())
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        for (name, bytes) in &cases {
            let mut client = program.connect();
            let answer = client.upgrade("/");
            client.send(bytes);
            assert_eq!(client.read_frame().close_code(), Some(1002), "{name}");
            client.send(masked(CLOSE, &close(1002, "")));
            client.assert_closed();
            assert_eq!(backend.result(), (Some(1002), true), "{name}");
            let id = answer.request_id();
            let line = program.log_line("tunnel_close", |line| line["id"] == id);
            assert_eq!(line["reason"], "bad_frame", "{name}");
            assert_eq!(line["blame"], "client", "{name}");
        }
    }
}

#[test]
fn violation_of_the_backend_ends_both_sides_with_1002() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.send(unmasked(TEXT, b"fine"));
        // §5.1: a server masks nothing.
        peer.send(masked(TEXT, b"masked"));
        (answered_close(&mut peer), peer.is_closed())
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        assert_eq!(client.read_frame().payload, b"fine");
        assert_eq!(client.read_frame().close_code(), Some(1002));
        client.send(masked(CLOSE, &close(1002, "")));
        client.assert_closed();
        assert_eq!(backend.result(), (Some(1002), true));
        assert_eq!(program.tunnel_close()["blame"], "backend");
    }
}

#[test]
fn neighbours_share_nothing() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    });
    let program = Ringgate::proxy(Transport::Plain, &[backend.address]);
    let mut clients: Vec<_> = (0..20).map(|_| program.connect()).collect();
    for client in &mut clients {
        client.upgrade("/");
    }
    for round in 0..20u8 {
        for (n, client) in (0u8..).zip(&mut clients) {
            client.send(masked(BINARY, &[round, n]));
        }
        for (n, client) in (0u8..).zip(&mut clients) {
            assert_eq!(frame::read(client).unwrap().payload, [round, n]);
        }
    }
}

//! What goes wrong around ordinary HTTP calls: peers that close one direction, leave, or say more than they should.

use std::io::Write;

use crate::support::TRANSPORTS;
use crate::support::backend::Backend;
use crate::support::client::{field, read_head, request};
use crate::support::program::Ringgate;

/// More than all the buffers between a backend and a client that does not read.
const LARGE: usize = 8 << 20;

fn call(line: &str, fields: &[(&str, &str)]) -> String {
    request(line, &[&[("Host", "edge.example")], fields].concat())
}

#[test]
fn client_that_has_asked_all_it_had_to_is_answered() {
    let backend = Backend::start(|mut peer| {
        while let Ok(head) = read_head(&mut peer.socket) {
            if field(&head, "Content-Length").is_some() {
                let mut body = [0; 4];
                std::io::Read::read_exact(&mut peer.socket, &mut body).unwrap();
            }
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
            ));
            peer.send(vec![b'x'; LARGE]);
        }
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        let post = call("POST /b HTTP/1.1", &[("Content-Length", "4")]) + "body";
        client.send(call("GET /a HTTP/1.1", &[]) + &post);
        client.finish();
        for _ in 0..2 {
            let answer = client.answer();
            assert_eq!((answer.status, answer.body.len()), (200, LARGE));
        }
        client.assert_closed();
        program.await_metric("ringgate_edge_connections", 0.0);
    }
}

#[test]
fn endless_answer_ends_with_a_client_that_has_closed() {
    let backend = Backend::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.socket.write_all(b"data: again\n\n").is_ok() {}
    });
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.send(call("GET / HTTP/1.1", &[]));
        read_head(&mut client).unwrap();
        drop(client);
        backend.result();
        program.log_line("call", |line| line["reason"] == "client_gone");
        program.await_metric("ringgate_edge_connections", 0.0);
    }
}

//! TLS towards clients: versions, names, resumption, records of every cut.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

use crate::support::Transport::Tls;
use crate::support::backend::Backend;
use crate::support::client::{Client, upgrade};
use crate::support::frame::{BINARY, CLOSE, TEXT, close, masked};
use crate::support::program::Ringgate;

fn program() -> Ringgate {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    });
    Ringgate::proxy(Tls, &[backend.address])
}

fn connect(program: &Ringgate, config: ClientConfig) -> Client {
    Client::tls(program.address(), Arc::new(config))
}

fn config(program: &Ringgate) -> ClientConfig {
    ClientConfig::clone(&program.workspace.certificate.client())
}

fn session(client: &Client) -> &rustls::ClientConnection {
    match client {
        Client::Tls(stream) => &stream.conn,
        Client::Plain(_) => panic!("no TLS"),
    }
}

fn converse(client: &mut Client) {
    client.upgrade("/");
    for size in [1, 1000, 100_000] {
        client.send(masked(BINARY, &vec![3; size]));
        assert_eq!(client.read_frame().payload, vec![3; size]);
    }
}

/// The metric that counts such handshakes of clients.
fn handshakes(version: &str, resumed: bool) -> String {
    format!(
        "ringgate_tls_handshakes_total{{side=\"client\",version=\"{version}\",resumed=\"{resumed}\"}}"
    )
}

#[test]
fn both_versions_carry_tunnels() {
    let program = program();
    let certificate = &program.workspace.certificate;
    for (version, number) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = certificate.client_with(&[version]);
        let mut client = Client::tls(program.address(), config);
        assert_eq!(session(&client).protocol_version(), Some(number));
        converse(&mut client);
        client.send(masked(CLOSE, &close(1000, "")));
        assert_eq!(client.read_frame().close_code(), Some(1000));
        // An error, were the end not announced by close_notify.
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
    for version in ["1.2", "1.3"] {
        program.await_metric(&handshakes(version, false), 1.0);
    }
}

#[test]
fn name_and_address_get_the_same_certificate() {
    let program = program();
    let config = program.workspace.certificate.client();
    let name = ServerName::try_from("localhost").unwrap();
    let mut by_name = Client::tls_named(program.address(), Arc::clone(&config), name);
    converse(&mut by_name);
    let mut by_address = Client::tls(program.address(), config);
    converse(&mut by_address);
}

#[test]
fn http_1_is_agreed_on_where_it_is_offered() {
    let program = program();
    for (offered, agreed) in [
        (vec!["h2", "http/1.1"], Some("http/1.1")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ] {
        let mut config = config(&program);
        config.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let mut client = connect(&program, config);
        assert_eq!(session(&client).alpn_protocol(), agreed.map(str::as_bytes));
        converse(&mut client);
    }
}

#[test]
fn sessions_are_resumed() {
    let program = program();
    for version in [&TLS13, &TLS12] {
        let config = program.workspace.certificate.client_with(&[version]);
        let mut first = Client::tls(program.address(), Arc::clone(&config));
        converse(&mut first);
        assert_eq!(session(&first).handshake_kind(), Some(HandshakeKind::Full));
        drop(first);
        let mut second = Client::tls(program.address(), config);
        converse(&mut second);
        assert_eq!(
            session(&second).handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
    }
    for version in ["1.2", "1.3"] {
        program.await_metric(&handshakes(version, true), 1.0);
    }
}

#[test]
fn records_may_be_cut_anywhere() {
    let program = program();
    let Client::Tls(mut stream) = program.connect() else {
        panic!("no TLS")
    };
    let mut client = {
        let mut records = Vec::new();
        stream
            .conn
            .writer()
            .write_all(upgrade("/", &[]).as_bytes())
            .unwrap();
        stream
            .conn
            .writer()
            .write_all(&masked(TEXT, &[b'x'; 700]))
            .unwrap();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut records).unwrap();
        }
        for byte in records {
            stream.sock.write_all(&[byte]).unwrap();
        }
        Client::Tls(stream)
    };
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.read_frame().payload, [b'x'; 700]);
}

#[test]
fn keys_may_be_updated() {
    let program = program();
    let mut client = program.connect();
    converse(&mut client);
    for _ in 0..3 {
        let Client::Tls(stream) = &mut client else {
            panic!("no TLS")
        };
        stream.conn.refresh_traffic_keys().unwrap();
        client.send(masked(TEXT, b"with new keys"));
        assert_eq!(client.read_frame().payload, b"with new keys");
    }
}

#[test]
fn end_without_close_notify_is_a_truncation() {
    let program = program();
    let mut client = program.connect();
    client.upgrade("/");
    client.send(masked(TEXT, b"x"));
    client.read_frame();
    // A bare FIN.
    client.socket().shutdown(std::net::Shutdown::Write).unwrap();
    let line = program.tunnel_close();
    assert_eq!(line["reason"], "truncated", "{line}");
    assert_eq!(line["blame"], "client", "{line}");
}

#[test]
fn broken_record_ends_the_tunnel() {
    let program = program();
    let mut client = program.connect();
    converse(&mut client);
    let record = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    client.socket().write_all(&record).unwrap();
    client.rest();
    let line = program.tunnel_close();
    assert_eq!(line["reason"], "tls", "{line}");
    assert_eq!(line["blame"], "client", "{line}");
}

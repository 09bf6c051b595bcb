//! Both roles against each other, in memory.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::ProtocolVersion;
use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::server::{ResolvesServerCert, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{Opened, RECORD_HEADER_LEN, TlsError, TlsSession};
use crate::config::{Config, Tls};

fn certificate() -> Arc<dyn ResolvesServerCert> {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der());
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key.unwrap()).unwrap();
    let certified = CertifiedKey::new(vec![issued.cert.der().clone()], key);
    Arc::new(SingleCertAndKey::from(certified))
}

struct Configs(Arc<ServerConfig>, Arc<ClientConfig>);

impl Configs {
    fn new(tls13: bool) -> Self {
        let tls = Tls {
            certificates: Vec::new(),
            tls13,
        };
        let tickets = super::ticketer().unwrap();
        Self(
            super::server_config(&tls, certificate(), tickets).unwrap(),
            super::client_config(&Config::base().backends).unwrap(),
        )
    }

    fn ends(&self) -> (End, End) {
        let name = ServerName::try_from("localhost").unwrap();
        (
            End::new(TlsSession::client(self.1.clone(), name).unwrap()),
            End::new(TlsSession::server(self.0.clone()).unwrap()),
        )
    }

    fn connected(&self) -> (End, End) {
        let (mut client, mut server) = self.ends();
        shake(&mut client, &mut server, usize::MAX);
        (client, server)
    }
}

/// A session with the buffers that its owner would have.
struct End {
    session: TlsSession,
    input: Vec<u8>,
    output: Vec<u8>,
    plaintext: Vec<u8>,
}

impl End {
    fn new(session: TlsSession) -> Self {
        Self {
            session,
            input: Vec::new(),
            output: Vec::new(),
            plaintext: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Opened, TlsError> {
        self.input.extend_from_slice(bytes);
        let plaintext = &mut self.plaintext;
        let opened = self.session.open(
            &mut self.input,
            &mut |bytes| plaintext.extend_from_slice(bytes),
            &mut self.output,
        )?;
        self.input.drain(..opened.consumed);
        Ok(opened)
    }

    fn send(&mut self, plaintext: &[u8]) {
        self.session.seal(plaintext, &mut self.output).unwrap();
    }

    fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

/// Runs the handshake, handing over at most `step` bytes at a time.
fn shake(client: &mut End, server: &mut End, step: usize) {
    client.receive(&[]).unwrap();
    for _ in 0..10 {
        deliver(client, server, step);
        deliver(server, client, step);
    }
    assert!(!client.session.is_handshaking());
    assert!(!server.session.is_handshaking());
}

fn deliver(from: &mut End, to: &mut End, step: usize) {
    for piece in from.sent().chunks(step.max(1)) {
        to.receive(piece).unwrap();
    }
}

#[test]
fn a_handshake_does_not_depend_on_the_cuts() {
    for (tls13, version) in [
        (true, ProtocolVersion::TLSv1_3),
        (false, ProtocolVersion::TLSv1_2),
    ] {
        for step in [1, 2, 3, 5, 64, 1000, usize::MAX] {
            let (mut client, mut server) = Configs::new(tls13).ends();
            shake(&mut client, &mut server, step);
            assert_eq!(client.session.version(), Some(version));
            assert_eq!(server.session.version(), Some(version));
            assert_eq!(server.session.alpn(), Some(&b"http/1.1"[..]));
            assert!(client.input.is_empty() && server.input.is_empty());
        }
    }
}

#[test]
fn data_does_not_depend_on_the_cut() {
    for tls13 in [true, false] {
        let configs = Configs::new(tls13);
        let (mut client, mut server) = configs.connected();
        let mut cut = 0;
        loop {
            // A session can't be copied: the same data is sent anew for each cut, and takes as many bytes each time.
            client.send(b"hello ");
            client.send(b"world");
            let wire = client.sent();
            let Some((head, tail)) = wire.split_at_checked(cut) else {
                break;
            };
            server.receive(head).unwrap();
            server.receive(tail).unwrap();
            assert_eq!(server.plaintext, b"hello world");
            assert!(server.input.is_empty());
            server.plaintext.clear();

            server.send(b"and back");
            deliver(&mut server, &mut client, cut);
            assert_eq!(client.plaintext, b"and back");
            client.plaintext.clear();
            cut += 1;
        }
    }
}

proptest! {
    #[test]
    fn long_data_arrives_whole(len in 0..100_000_usize, step in 1..40_000_usize, tls13: bool) {
        let (mut client, mut server) = Configs::new(tls13).connected();
        let data: Vec<u8> = (0..251).cycle().take(len).collect();
        server.send(&data);
        deliver(&mut server, &mut client, step);
        prop_assert_eq!(&client.plaintext, &data);
        prop_assert!(client.input.is_empty());
    }
}

#[test]
fn a_second_connection_takes_up_the_session() {
    for tls13 in [true, false] {
        let configs = Configs::new(tls13);
        let (client, server) = configs.connected();
        assert!(!client.session.is_resumed() && !server.session.is_resumed());
        let (client, server) = configs.connected();
        assert!(client.session.is_resumed() && server.session.is_resumed());
    }
}

#[test]
fn a_ticket_is_good_at_every_worker() {
    let mut configs = Configs::new(true);
    let tickets = super::ticketer().unwrap();
    let tls = Tls {
        certificates: Vec::new(),
        tls13: true,
    };
    configs.0 = super::server_config(&tls, certificate(), tickets.clone()).unwrap();
    configs.connected();
    configs.0 = super::server_config(&tls, certificate(), tickets).unwrap();
    assert!(configs.connected().1.session.is_resumed());
}

#[test]
fn close_notify_is_sent_once_and_seen() {
    for tls13 in [true, false] {
        let (mut client, mut server) = Configs::new(tls13).connected();
        client.send(b"last");
        client.session.close_notify(&mut client.output);
        let len = client.output.len();
        client.session.close_notify(&mut client.output);
        assert_eq!(client.output.len(), len);

        let wire = client.sent();
        let opened = server.receive(&wire).unwrap();
        assert_eq!(server.plaintext, b"last");
        assert!(opened.peer_closed && server.session.peer_closed());
        assert!(server.receive(b"noise").unwrap().peer_closed);

        // The other direction stays open (RFC 8446 §6.1).
        if tls13 {
            server.send(b"answer");
        }
        server.session.close_notify(&mut server.output);
        let wire = server.sent();
        assert!(client.receive(&wire).unwrap().peer_closed);
        assert_eq!(client.plaintext, if tls13 { &b"answer"[..] } else { b"" });
    }
}

#[test]
fn an_unfinished_handshake_message_is_kept_and_harms_nobody() {
    let (mut client, mut server) = Configs::new(true).ends();
    client.receive(&[]).unwrap();
    let hello = client.sent();
    let (header, message) = hello.split_at(RECORD_HEADER_LEN);
    let mut halves = message.chunks(message.len() / 2).map(|half| {
        let len = u16::try_from(half.len()).unwrap().to_be_bytes();
        [&header[..3], &len, half].concat()
    });
    let opened = server.receive(&halves.next().unwrap()).unwrap();
    assert_eq!(opened.consumed, 0);
    // Nothing of this may look for the parked record.
    server.session.close_notify(&mut server.output);
    assert_eq!(
        server.session.seal(b"x", &mut server.output),
        Err(TlsError::NotOpen)
    );
    for half in halves {
        server.receive(&half).unwrap();
    }
    shake(&mut client, &mut server, usize::MAX);
}

#[test]
fn garbage_is_answered_with_an_alert() {
    let (_, mut server) = Configs::new(true).ends();
    let error = server.receive(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert!(matches!(error, TlsError::Protocol(_)));
    let alert = 21;
    assert_eq!(server.output.first(), Some(&alert));
    // A broken session stays broken, and quiet.
    server.output.clear();
    assert_eq!(server.receive(&[]), Err(TlsError::NotOpen));
    assert!(server.session.seal(b"x", &mut server.output).is_err());
    server.session.close_notify(&mut server.output);
    assert!(server.output.is_empty());
}

#[test]
fn a_flipped_bit_ends_the_session() {
    for tls13 in [true, false] {
        let (mut client, mut server) = Configs::new(tls13).connected();
        client.send(b"payload");
        let mut wire = client.sent();
        *wire.last_mut().unwrap() ^= 1;
        assert!(server.receive(&wire).is_err());
        assert!(!server.output.is_empty(), "an alert is due");
        assert!(server.plaintext.is_empty());
    }
}

#[test]
fn only_tls_1_2_runs_out_of_records() {
    for tls13 in [true, false] {
        let (mut client, _) = Configs::new(tls13).connected();
        assert!(!client.session.records_left_low());
        client.session.sealed = 1 << 24;
        assert_eq!(client.session.records_left_low(), !tls13);
    }
}

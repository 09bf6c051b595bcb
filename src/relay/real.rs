//! The relay over the real ring and real sockets: the little that the simulation cannot show.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::drain::{DrainOrder, DrainPlan, Which};
use super::policy::{FrameMode, IdleEnd, TunnelPolicy};
use super::{Endpoint, Limits, RelayHandle, Tunnel, prepare};
use crate::config::Scheme;
use crate::observe::access_log::{AccessLog, TunnelFacts};
use crate::observe::metrics::RelayMetrics;
use crate::observe::request_id::RequestId;
use crate::proto::handshake::{Extensions, Upgraded};

struct Running {
    handle: RelayHandle,
    metrics: Arc<RelayMetrics>,
    thread: JoinHandle<()>,
}

fn start(half_bytes_max: usize) -> Running {
    let limits = Limits {
        tunnels_max: 64,
        buffer_bytes: 1 << 20,
        half_bytes_max,
        spill_bytes_max: 4 << 20,
        slow_consumer: Duration::from_secs(30),
        close_grace: Duration::from_secs(1),
        adopt_per_turn: 4,
        report_every: Duration::ZERO,
    };
    let metrics = Arc::<RelayMetrics>::default();
    let (handle, prepared) = prepare(limits, Arc::clone(&metrics), AccessLog::off().0).unwrap();
    let thread = std::thread::spawn(move || prepared.run(|| {}).unwrap());
    Running {
        handle,
        metrics,
        thread,
    }
}

impl Running {
    fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap();
        assert_eq!(self.metrics.tunnels.value(), 0);
    }

    fn open(&self) -> (TcpStream, TcpStream) {
        let (client, socket) = pair();
        let backend = self.adopt(plain(socket));
        (client, backend)
    }

    /// Adopts a tunnel between `client` and a new plain backend, whose end is returned.
    #[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn adopt(&self, client: Endpoint) -> TcpStream {
        let (backend, backend_socket) = pair();
        let policy = Arc::new(TunnelPolicy {
            api: "API01".into(),
            group: "DEFAULT".into(),
            environment: "RELEASE".into(),
            backend: String::new(),
            address: String::new(),
            version: 0,
            idle_timeout: Duration::from_secs(60),
            idle_end: IdleEnd::Close,
            frames: FrameMode::Strict,
            message_bytes_max: 0,
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let facts = TunnelFacts {
            id: RequestId([0; 16]),
            policy,
            scheme: Scheme::Http,
            client: address,
            backend: address,
            opened_at: SystemTime::now(),
            handshake: Duration::ZERO,
            request: None,
        };
        let upgraded = Upgraded::assumed(Extensions::None);
        let permit = self.handle.permit().unwrap();
        self.handle.adopt(Tunnel::new(
            upgraded,
            client,
            plain(backend_socket),
            facts,
            Arc::default(),
            permit,
        ));
        backend
    }
}

fn plain(socket: TcpStream) -> Endpoint {
    Endpoint {
        socket: socket.into(),
        tls: None,
        plaintext: Vec::new(),
        ciphertext: Vec::new(),
        eof: false,
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    for socket in [&ours, &theirs] {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
    }
    (ours, theirs)
}

/// Waits for what has to come about, with a deadline.
#[expect(clippy::disallowed_methods, reason = "a test's deadline")]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// A binary frame of `len` bytes, masked with zero.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((len as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend((0..len).map(|i| i.to_le_bytes()[0]));
    frame
}

#[test]
fn messages_of_all_sizes_pass() {
    let relay = start(64 << 10);
    let (mut client, mut backend) = relay.open();
    for len in [0, 1, 70_000, 4 << 20] {
        let sent = frame(len.max(65_536));
        let writer = std::thread::spawn({
            let (mut client, sent) = (client.try_clone().unwrap(), sent.clone());
            move || client.write_all(&sent).unwrap()
        });
        let mut received = vec![0; sent.len()];
        backend.read_exact(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == sent);
    }
    backend.write_all(&[0x81, 2, b'h', b'i']).unwrap();
    let mut text = [0; 4];
    client.read_exact(&mut text).unwrap();
    assert_eq!(text, [0x81, 2, b'h', b'i']);
    drop(client);
    assert_eq!(backend.read(&mut text).unwrap(), 0);
    drop(backend);
    relay.stop();
}

#[test]
fn reader_that_falls_behind_loses_nothing() {
    let relay = start(64 << 10);
    let (client, mut backend) = relay.open();
    let sent = frame(16 << 20);
    let writer = std::thread::spawn({
        let (mut client, sent) = (client.try_clone().unwrap(), sent.clone());
        move || client.write_all(&sent).unwrap()
    });
    // Nothing is read until the relay has had to hold back.
    eventually("the relay holds back", || {
        relay.metrics.from_client.pauses.value() + relay.metrics.from_backend.pauses.value() > 0
    });
    let mut received = vec![0; sent.len()];
    backend.read_exact(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent);
    relay.stop();
}

#[test]
fn drain_tells_both_sides() {
    let relay = start(64 << 10);
    let (mut client, mut backend) = relay.open();
    client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).unwrap();
    let mut ping = [0; 6];
    backend.read_exact(&mut ping).unwrap();
    relay.handle.drain(Arc::new(DrainOrder::new(
        Which::All,
        DrainPlan::default(),
        super::now(),
    )));
    let mut close = [0; 4];
    client.read_exact(&mut close).unwrap();
    assert_eq!(close, [0x88, 12, 0x03, 0xe9]);
    let mut close = Vec::new();
    drop(client);
    backend.read_to_end(&mut close).unwrap();
    assert_eq!(close.get(..2), Some(&[0x88, 0x80 | 12][..]));
    drop(backend);
    relay.stop();
}

#[test]
fn many_tunnels_come_and_go() {
    let relay = start(64 << 10);
    for _ in 0..20 {
        let mut open: Vec<_> = (0..32).map(|_| relay.open()).collect();
        for (client, backend) in &mut open {
            client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).unwrap();
            let mut ping = [0; 6];
            backend.read_exact(&mut ping).unwrap();
        }
        drop(open);
        // Slots come back when both sockets are at rest.
        eventually("every slot is free", || relay.metrics.tunnels.value() == 0);
    }
    assert_eq!(relay.metrics.opened.value(), 640);
    relay.stop();
}

/// A TLS client with its handshake done, and the other end ready for the relay.
fn tls_pair(
    tls13: bool,
) -> (
    rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
    Endpoint,
) {
    let (ours, mut theirs) = pair();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = crate::config::Certificate::from_pem(
        issued.cert.pem().as_bytes(),
        issued.signing_key.serialize_pem().as_bytes(),
    );
    let tls = crate::config::Tls {
        certificates: vec![certificate.unwrap()],
        tls13,
    };
    let server = crate::tls::server_config(&tls, tls.resolver(), crate::tls::ticketer().unwrap());
    let mut session = crate::tls::TlsSession::server(server.unwrap()).unwrap();
    let client = crate::tls::client_config(&crate::config::Config::base().backends).unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(client, name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, ours);
    let shaking = std::thread::spawn(move || {
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    });
    let (mut input, mut early) = (Vec::new(), Vec::new());
    while session.is_handshaking() {
        let mut bytes = [0; 4096];
        let n = theirs.read(&mut bytes).unwrap();
        input.extend_from_slice(&bytes[..n]);
        let mut output = Vec::new();
        let mut plaintext = |bytes: &[u8]| early.extend_from_slice(bytes);
        let opened = session
            .open(&mut input, &mut plaintext, &mut output)
            .unwrap();
        input.drain(..opened.consumed);
        theirs.write_all(&output).unwrap();
    }
    let endpoint = Endpoint {
        socket: theirs.into(),
        tls: Some(Box::new(session)),
        plaintext: early,
        ciphertext: input,
        eof: false,
    };
    (shaking.join().unwrap(), endpoint)
}

fn tls_carries_messages(tls13: bool) {
    let relay = start(64 << 10);
    let (mut client, endpoint) = tls_pair(tls13);
    let backend = relay.adopt(endpoint);
    for len in [65_536, 3 << 20] {
        let sent = frame(len);
        let reader = std::thread::spawn({
            let (mut backend, len) = (backend.try_clone().unwrap(), sent.len());
            move || {
                let mut received = vec![0; len];
                backend.read_exact(&mut received).unwrap();
                received
            }
        });
        client.write_all(&sent).unwrap();
        assert!(reader.join().unwrap() == sent);
        // The way back, where backends do not mask.
        let mut back = vec![0x82, 127];
        back.extend((len as u64).to_be_bytes());
        back.extend((0..len).map(|i| i.to_le_bytes()[0]));
        let writer = std::thread::spawn({
            let (mut backend, back) = (backend.try_clone().unwrap(), back.clone());
            move || backend.write_all(&back).unwrap()
        });
        let mut received = vec![0; back.len()];
        client.read_exact(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == back);
    }
    relay.handle.drain(Arc::new(DrainOrder::new(
        Which::All,
        DrainPlan::default(),
        super::now(),
    )));
    let mut close = [0; 4];
    client.read_exact(&mut close).unwrap();
    assert_eq!(close, [0x88, 12, 0x03, 0xe9]);
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    // The end is announced: close_notify, and only then the end of the stream.
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 10);
    drop(backend);
    relay.stop();
}

#[test]
fn tls_1_3_carries_messages() {
    tls_carries_messages(true);
}

#[test]
fn tls_1_2_carries_messages() {
    tls_carries_messages(false);
}

#[test]
fn tls_stream_cut_short_is_a_truncation() {
    let relay = start(64 << 10);
    let (client, endpoint) = tls_pair(true);
    let mut backend = relay.adopt(endpoint);
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    backend.read_to_end(&mut rest).unwrap();
    drop(client);
    drop(backend);
    eventually("every slot is free", || relay.metrics.tunnels.value() == 0);
    let ends: Vec<_> = relay
        .metrics
        .closed
        .values()
        .filter(|(_, n)| *n > 0)
        .collect();
    assert!(matches!(ends[..], [(("truncated", _), 1)]), "{ends:?}");
    relay.stop();
}

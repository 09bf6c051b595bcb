//! Relaying plain messages allocates nothing: the relay's memory is fixed once it is warm.
#![expect(
    unsafe_code,
    reason = "a global allocator that counts can be written in no other way"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use ringgate::config::Scheme;
use ringgate::observe::access_log::{AccessLog, TunnelFacts};
use ringgate::observe::metrics::RelayMetrics;
use ringgate::observe::request_id::RequestId;
use ringgate::proto::handshake::{Upgraded, check_answer, check_request};
use ringgate::proto::head::{HeadLimits, parse_request, parse_response};
use ringgate::relay::policy::{FrameMode, IdleEnd, TunnelPolicy};
use ringgate::relay::{Endpoint, Limits, Tunnel, prepare};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`; what is given back came from the system's allocator.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn upgraded() -> Upgraded {
    let limits = HeadLimits {
        target_bytes_max: 1024,
        field_bytes_max: 1024,
        fields_bytes_max: 1024,
    };
    let request = parse_request(REQUEST, &limits).unwrap().unwrap();
    let facts = request.check(REQUEST).unwrap();
    let offer = check_request(&request, &facts, REQUEST).unwrap();
    let answer = parse_response(ANSWER, &limits).unwrap().unwrap();
    check_answer(&answer, ANSWER, &offer, REQUEST).unwrap()
}

fn pair() -> (TcpStream, Endpoint) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    let endpoint = Endpoint {
        socket: theirs.into(),
        tls: None,
        plaintext: Vec::new(),
        ciphertext: Vec::new(),
        eof: false,
    };
    (ours, endpoint)
}

#[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn facts() -> TunnelFacts {
    let policy = TunnelPolicy {
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
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    TunnelFacts {
        id: RequestId([0; 16]),
        policy: Arc::new(policy),
        scheme: Scheme::Http,
        client: address,
        backend: address,
        opened_at: SystemTime::now(),
        handshake: Duration::ZERO,
        request: None,
    }
}

/// Sends a masked and an unmasked message through, in each direction one.
fn exchange(client: &mut TcpStream, backend: &mut TcpStream) {
    let (masked, plain) = ([0x82, 0x83, 0, 0, 0, 0, 1, 2, 3], [0x82, 3, 1, 2, 3]);
    let mut at_backend = [0; 9];
    client.write_all(&masked).unwrap();
    backend.read_exact(&mut at_backend).unwrap();
    let mut at_client = [0; 5];
    backend.write_all(&plain).unwrap();
    client.read_exact(&mut at_client).unwrap();
    assert_eq!((at_backend, at_client), (masked, plain));
}

#[test]
fn plain_messages_allocate_nothing() {
    let limits = Limits {
        tunnels_max: 4,
        buffer_bytes: 1 << 20,
        half_bytes_max: 64 << 10,
        spill_bytes_max: 1 << 20,
        slow_consumer: Duration::from_secs(30),
        close_grace: Duration::from_secs(1),
        adopt_per_turn: 4,
        report_every: Duration::ZERO,
    };
    let (handle, prepared) =
        prepare(limits, Arc::<RelayMetrics>::default(), AccessLog::off().0).unwrap();
    let relay = std::thread::spawn(move || prepared.run(|| {}).unwrap());
    let ((mut client, client_end), (mut backend, backend_end)) = (pair(), pair());
    let permit = handle.permit().unwrap();
    handle.adopt(Tunnel::new(
        upgraded(),
        client_end,
        backend_end,
        facts(),
        Arc::default(),
        permit,
    ));
    for _ in 0..5_000 {
        exchange(&mut client, &mut backend);
    }
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..5_000 {
        exchange(&mut client, &mut backend);
    }
    assert_eq!(ALLOCATIONS.load(Relaxed) - before, 0);
    handle.stop();
    relay.join().unwrap();
}

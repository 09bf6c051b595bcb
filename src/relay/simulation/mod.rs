//! The relay over a seeded ring: peers that send and read as they like, every fault the kernel can show, jumps of the
//! clock. After each turn buffers, segments and slots add up; at the end all is at rest. A failure names its seed.

mod fake;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::fake::{FakeRing, Faults, Random};
use super::policy::{FrameMode, IdleEnd, TunnelPolicy};
use super::shelf::{Bounds, Tick};
use super::tunnel::{Early, Start, Tunnel};
use super::turn::{Adopted, Relay, Setup};
use crate::close::{CloseReason, Side};
use crate::config::Scheme;
use crate::observe::access_log::{AccessLog, TunnelFacts};
use crate::observe::metrics::RelayMetrics;
use crate::observe::request_id::RequestId;
use crate::proto::frame::close_frame;
use crate::proto::handshake::Extensions;
use crate::uring::{Fd, Memory};

const SLOW: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(10);

struct World {
    relay: Relay<FakeRing>,
    metrics: Arc<RelayMetrics>,
    now: Instant,
    pairs: Vec<Pair>,
}

struct Pair {
    client: Fd,
    backend: Fd,
    /// What each peer has sent, to be found again at the other.
    from_client: Vec<u8>,
    from_backend: Vec<u8>,
}

fn calm() -> Faults {
    Faults {
        no_buffers: 0,
        disarmed: 0,
        delay: 0,
    }
}

fn policy() -> TunnelPolicy {
    TunnelPolicy {
        api: "API01".into(),
        group: "DEFAULT".into(),
        environment: "RELEASE".into(),
        idle_timeout: IDLE,
        idle_end: IdleEnd::Close,
        frames: FrameMode::Strict,
        message_bytes_max: 0,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn facts(policy: &Arc<TunnelPolicy>) -> TunnelFacts {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    TunnelFacts {
        id: RequestId([0; 16]),
        policy: Arc::clone(policy),
        scheme: Scheme::Http,
        client: address,
        backend: address,
        opened_at: SystemTime::now(),
        handshake: Duration::ZERO,
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn new(ring: FakeRing) -> Self {
        let metrics = Arc::<RelayMetrics>::default();
        let bounds = Bounds {
            half_bytes_max: 2000,
            slow_consumer: SLOW,
            close_grace: GRACE,
            linger: GRACE,
            linger_bytes_max: 64 << 10,
        };
        let mut key = 0u8;
        let mask = move || {
            key = key.wrapping_add(1);
            [key; 4]
        };
        let setup = Setup {
            bounds,
            spill_bytes_max: 1 << 20,
            metrics: Arc::clone(&metrics),
            log: AccessLog::off().0,
            mask: Box::new(mask),
        };
        let now = Instant::now();
        Self {
            relay: Relay::new(ring, setup, now),
            metrics,
            now,
            pairs: Vec::new(),
        }
    }

    fn open(&mut self, policy: TunnelPolicy) -> usize {
        self.open_with(policy, b"", b"")
    }

    fn open_with(
        &mut self,
        policy: TunnelPolicy,
        from_client: &[u8],
        from_backend: &[u8],
    ) -> usize {
        let client = self.relay.ring_mut().open();
        let backend = self.relay.ring_mut().open();
        let policy = Arc::new(policy);
        let early = |bytes: &[u8]| Early {
            plaintext: bytes.to_vec(),
            ciphertext: Vec::new(),
            eof: false,
        };
        let start = |fd| Start { fd, tls: None };
        let facts = facts(&policy);
        let ticks =
            self.now.duration_since(self.relay.began()).as_millis() / Tick::STEP.as_millis();
        let now = Tick(u32::try_from(ticks).unwrap());
        let tunnel = Tunnel::new(start(client), start(backend), Extensions::None, policy, now);
        self.relay.insert(Adopted {
            tunnel,
            client: early(from_client),
            backend: early(from_backend),
            facts,
            permit: None,
        });
        let pair = Pair {
            client,
            backend,
            from_client: from_client.to_vec(),
            from_backend: from_backend.to_vec(),
        };
        self.pairs.push(pair);
        self.pairs.len() - 1
    }

    fn turn(&mut self) {
        self.relay.sleep(true).unwrap();
        self.relay.work(self.now);
        self.check();
    }

    fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.turn();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn check(&self) {
        let ring = self.relay.ring();
        let held = self.relay.held_segments() + ring.parked_segments();
        assert_eq!(ring.account().live(), held, "segments do not add up");
        let slots = self.relay.slots();
        assert_eq!(
            self.metrics.tunnels.value(),
            slots as u64,
            "slots do not add up"
        );
        let open = ring.sockets.iter().filter(|socket| !socket.closed).count();
        assert!(open <= 2 * slots, "a freed slot has an open socket");
    }

    fn send(&mut self, pair: usize, from: Side, bytes: &[u8]) {
        let Pair {
            client,
            backend,
            from_client,
            from_backend,
        } = &mut self.pairs[pair];
        let (fd, sent) = match from {
            Side::Client => (*client, from_client),
            Side::Backend => (*backend, from_backend),
        };
        sent.extend_from_slice(bytes);
        self.relay.ring_mut().socket(fd).inbound.extend(bytes);
    }

    fn fd(&self, pair: usize, side: Side) -> Fd {
        match side {
            Side::Client => self.pairs[pair].client,
            Side::Backend => self.pairs[pair].backend,
        }
    }

    fn received(&mut self, pair: usize, side: Side) -> Vec<u8> {
        let fd = self.fd(pair, side);
        self.relay.ring_mut().socket(fd).outbound.clone()
    }

    fn leave(&mut self, pair: usize, side: Side) {
        let fd = self.fd(pair, side);
        self.relay.ring_mut().socket(fd).inbound_eof = true;
    }

    /// Everything that was sent has arrived, or never will.
    fn is_settled(&mut self, pair: usize) -> bool {
        let sides = [Side::Client, Side::Backend];
        let closed = sides.iter().any(|side| self.closed(pair, *side));
        let to_backend =
            self.received(pair, Side::Backend).len() >= self.pairs[pair].from_client.len();
        let to_client =
            self.received(pair, Side::Client).len() >= self.pairs[pair].from_backend.len();
        closed || (to_backend && to_client)
    }

    fn closed(&mut self, pair: usize, side: Side) -> bool {
        let fd = self.fd(pair, side);
        self.relay.ring_mut().socket(fd).closed
    }

    fn ended_by(&self, reason: CloseReason) -> u64 {
        let mut values = self.metrics.closed.values();
        values
            .find(|(label, _)| *label == reason.label())
            .unwrap()
            .1
    }

    /// Lets every stage run out, and sees that nothing is left.
    fn rest(&mut self) {
        for _ in 0..40 {
            self.turns(30);
            self.pass(Duration::from_millis(500));
        }
        self.turns(50);
        assert!(self.relay.is_empty(), "a tunnel outlived its end");
        let ring = self.relay.ring();
        assert_eq!(ring.in_flight(), 0);
        assert_eq!((ring.account().live(), self.relay.owned_bytes()), (0, 0));
        let all_closed = ring.sockets.iter().all(|socket| socket.closed);
        assert!(all_closed, "a socket was left open");
    }
}

/// A frame as a client (masked) or a backend sends it.
fn frame(from: Side, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    let mask = if from == Side::Client { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..126 => frame.push(mask | u8::try_from(len).unwrap()),
        len @ 126..65536 => {
            frame.push(mask | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(mask | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if from == Side::Client {
        frame.extend([0; 4]);
    }
    frame.extend_from_slice(payload);
    frame
}

fn world(buffers: u16, size: usize) -> World {
    World::new(FakeRing::new(1, buffers, size, true, calm()))
}

#[test]
fn bytes_pass_both_ways_unchanged() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    world.send(pair, Side::Client, &frame(Side::Client, 1, b"hello"));
    world.send(pair, Side::Backend, &frame(Side::Backend, 2, &[7; 3000]));
    world.turns(100);
    assert_eq!(
        world.received(pair, Side::Backend),
        world.pairs[pair].from_client
    );
    assert_eq!(
        world.received(pair, Side::Client),
        world.pairs[pair].from_backend
    );
    assert_eq!(world.metrics.from_client.messages.value(), 1);
    world.leave(pair, Side::Client);
    world.turns(20);
    let backend = world.fd(pair, Side::Backend);
    assert!(
        world.relay.ring_mut().socket(backend).shut,
        "an end of stream is passed on"
    );
    world.leave(pair, Side::Backend);
    world.rest();
    assert_eq!(world.ended_by(CloseReason::EndOfStream(Side::Client)), 1);
}

#[test]
fn half_closed_tunnel_still_carries_the_other_direction() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    world.leave(pair, Side::Client);
    world.turns(5);
    world.send(pair, Side::Backend, &frame(Side::Backend, 1, b"late"));
    world.turns(20);
    assert_eq!(
        world.received(pair, Side::Client),
        world.pairs[pair].from_backend
    );
    world.leave(pair, Side::Backend);
    world.rest();
}

#[test]
fn early_bytes_go_first() {
    let mut world = world(8, 512);
    let early = frame(Side::Client, 1, b"first");
    let pair = world.open_with(policy(), &early[..3], b"");
    world.send(pair, Side::Client, &early[3..]);
    world.turns(20);
    assert_eq!(world.received(pair, Side::Backend), early);
    world.leave(pair, Side::Client);
    world.leave(pair, Side::Backend);
    world.rest();
}

#[test]
fn idle_tunnel_gets_close_1001_on_both_sides_and_not_early() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    world.send(pair, Side::Client, &frame(Side::Client, 9, b"ping"));
    world.turns(20);
    world.pass(IDLE - Duration::from_millis(1));
    world.turns(5);
    assert!(world.received(pair, Side::Client).is_empty());
    world.pass(Duration::from_millis(101));
    world.turns(20);
    let expected = close_frame(1001, "idle timeout", None);
    assert_eq!(world.received(pair, Side::Client), expected.as_slice());
    let backend = world.received(pair, Side::Backend);
    let masked = close_frame(1001, "idle timeout", Some([1; 4]));
    assert_eq!(
        &backend[frame(Side::Client, 9, b"ping").len()..],
        masked.as_slice()
    );
    world.rest();
    assert_eq!(world.ended_by(CloseReason::Idle), 1);
}

#[test]
fn pings_keep_a_tunnel_alive() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    for _ in 0..10 {
        world.pass(IDLE - Duration::from_millis(500));
        world.send(pair, Side::Client, &frame(Side::Client, 9, b""));
        world.turns(10);
    }
    assert!(world.received(pair, Side::Client).is_empty());
    assert_eq!(world.metrics.from_client.pings.value(), 10);
    world.pass(Duration::from_secs(60));
    world.rest();
}

#[test]
fn violation_tells_both_sides_1002_after_what_was_right() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    let good = frame(Side::Client, 1, b"good");
    world.send(pair, Side::Client, &good);
    // Opcode 3 is reserved (RFC 6455 §5.2).
    world.send(pair, Side::Client, &frame(Side::Client, 3, b"bad"));
    world.turns(50);
    let backend = world.received(pair, Side::Backend);
    let close = close_frame(1002, "protocol error", Some([1; 4]));
    assert_eq!(backend, [good.as_slice(), close.as_slice()].concat());
    assert_eq!(
        world.received(pair, Side::Client),
        close_frame(1002, "protocol error", None).as_slice()
    );
    world.rest();
}

#[test]
fn close_of_ours_waits_for_the_frame_boundary() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    let whole = frame(Side::Backend, 2, &[5; 300]);
    world.send(pair, Side::Backend, &whole[..100]);
    world.turns(30);
    world.relay.drain();
    world.turns(5);
    assert_eq!(world.received(pair, Side::Client), whole[..100]);
    world.send(pair, Side::Backend, &whole[100..]);
    world.turns(60);
    let close = close_frame(1001, "going away", None);
    assert_eq!(
        world.received(pair, Side::Client),
        [whole.as_slice(), close.as_slice()].concat()
    );
    world.rest();
    assert_eq!(world.ended_by(CloseReason::Drained), 1);
}

#[test]
fn boundary_that_never_comes_is_not_waited_for_longer_than_the_grace() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    let whole = frame(Side::Backend, 2, &[5; 300]);
    world.send(pair, Side::Backend, &whole[..100]);
    world.turns(30);
    world.relay.drain();
    world.turns(5);
    for _ in 0..4 {
        world.pass(GRACE + Duration::from_millis(100));
        world.turns(10);
    }
    assert_eq!(world.received(pair, Side::Client), whole[..100]);
    assert!(world.closed(pair, Side::Client) && world.closed(pair, Side::Backend));
    world.rest();
}

#[test]
fn slow_client_is_reset_and_its_backend_told() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    let client = world.fd(pair, Side::Client);
    world.relay.ring_mut().socket(client).stuck = true;
    world.send(pair, Side::Backend, &frame(Side::Backend, 2, &[1; 10_000]));
    world.turns(50);
    assert!(
        world.metrics.paused.value() > 0,
        "its source is not received from"
    );
    for _ in 0..12 {
        world.pass(Duration::from_millis(500));
        world.turns(5);
    }
    assert!(world.relay.ring_mut().socket(client).reset);
    let close = close_frame(1008, "too slow", Some([1; 4]));
    assert_eq!(world.received(pair, Side::Backend), close.as_slice());
    world.rest();
    assert_eq!(world.ended_by(CloseReason::SlowConsumer(Side::Client)), 1);
}

#[test]
fn slow_sockets_do_not_starve_their_neighbours() {
    let mut world = world(8, 512);
    let stuck: Vec<usize> = (0..8).map(|_| world.open(policy())).collect();
    let good = world.open(policy());
    for &pair in &stuck {
        let client = world.fd(pair, Side::Client);
        world.relay.ring_mut().socket(client).stuck = true;
        world.send(pair, Side::Backend, &frame(Side::Backend, 2, &[1; 1500]));
    }
    world.send(good, Side::Backend, &frame(Side::Backend, 2, &[2; 5000]));
    for _ in 0..60 {
        world.pass(Duration::from_millis(30));
        world.turns(10);
    }
    assert_eq!(
        world.received(good, Side::Client),
        world.pairs[good].from_backend
    );
    world.pass(Duration::from_secs(60));
    world.rest();
}

#[test]
fn reset_closes_the_other_side_after_what_came_before() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    world.send(pair, Side::Backend, &frame(Side::Backend, 1, b"last words"));
    let backend = world.fd(pair, Side::Backend);
    world.relay.ring_mut().socket(backend).failure = Some(libc::ECONNRESET);
    world.turns(60);
    assert_eq!(
        world.received(pair, Side::Client),
        world.pairs[pair].from_backend
    );
    assert!(world.closed(pair, Side::Client) && world.closed(pair, Side::Backend));
    world.rest();
    assert_eq!(
        world.metrics.closed.values().map(|(_, n)| n).sum::<u64>(),
        1
    );
}

#[test]
fn opaque_tunnel_relays_anything() {
    let mut world = world(8, 512);
    let pair = world.open(TunnelPolicy {
        frames: FrameMode::Opaque,
        ..policy()
    });
    world.send(pair, Side::Client, &[0xff; 999]);
    world.turns(40);
    assert_eq!(world.received(pair, Side::Backend), [0xff; 999]);
    world.leave(pair, Side::Client);
    world.leave(pair, Side::Backend);
    world.rest();
}

#[test]
fn observed_tunnel_relays_violations_unchanged() {
    let mut world = world(8, 512);
    let pair = world.open(TunnelPolicy {
        frames: FrameMode::Observe,
        ..policy()
    });
    world.send(pair, Side::Client, &frame(Side::Client, 1, b"good"));
    world.send(
        pair,
        Side::Client,
        &frame(Side::Client, 3, b"reserved opcode"),
    );
    world.send(pair, Side::Client, &[0xff; 99]);
    world.turns(80);
    assert_eq!(
        world.received(pair, Side::Backend),
        world.pairs[pair].from_client
    );
    world.leave(pair, Side::Client);
    world.leave(pair, Side::Backend);
    world.rest();
}

/// Everything at once. `RINGGATE_SEEDS` sets how many seeds, `RINGGATE_SEED` runs one.
#[test]
fn random_worlds_come_to_rest() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match number("RINGGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGGATE_SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| random_world(seed));
        assert!(result.is_ok(), "RINGGATE_SEED={seed}");
    }
}

fn random_world(seed: u64) {
    let mut random = Random::new(seed);
    let faults = Faults {
        no_buffers: random.next() % 10,
        disarmed: random.next() % 20,
        delay: random.next() % 60,
    };
    let (buffers, size) = (4 << random.below(3), 128 << random.below(4));
    let incremental = random.chance(70);
    let ring = FakeRing::new(
        seed,
        u16::try_from(buffers).unwrap(),
        size,
        incremental,
        faults,
    );
    let mut world = World::new(ring);
    let pairs = 1 + random.below(12);
    // A pair that nothing bad happens to has to get every byte across.
    let mut unharmed = Vec::new();
    for _ in 0..pairs {
        let mode = [FrameMode::Strict, FrameMode::Observe, FrameMode::Opaque][random.below(3)];
        let pair = world.open(TunnelPolicy {
            frames: mode,
            ..policy()
        });
        unharmed.push(true);
        world.turns(random.below(3));
        assert_eq!(pair + 1, unharmed.len());
    }
    for _ in 0..random.below(400) {
        let pair = random.below(pairs);
        let side = if random.chance(50) {
            Side::Client
        } else {
            Side::Backend
        };
        let fd = world.fd(pair, side);
        match random.below(100) {
            0..60 => {
                let opcode = [1, 2, 9, 10][random.below(4)];
                let len = if opcode > 2 {
                    random.below(126)
                } else {
                    random.below(3000)
                };
                let payload: Vec<u8> = (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
                if !world.relay.ring_mut().socket(fd).inbound_eof {
                    world.send(pair, side, &frame(side, opcode, &payload));
                }
            }
            60..63 => {
                unharmed[pair] = false;
                world.leave(pair, side);
            }
            63..65 => {
                unharmed[pair] = false;
                // Every number, but for the two that mean something else here.
                let errno = i32::try_from(1 + random.below(133)).unwrap();
                let errno = match errno {
                    libc::ECANCELED | libc::ENOBUFS => libc::EPIPE,
                    errno => errno,
                };
                world.relay.ring_mut().socket(fd).failure = Some(errno);
            }
            65..67 => {
                unharmed[pair] = false;
                let stuck = random.chance(50);
                world.relay.ring_mut().socket(fd).stuck = stuck;
            }
            67..68 => {
                unharmed[pair] = false;
                let junk: Vec<u8> = (0..random.below(40))
                    .map(|_| random.next().to_le_bytes()[0])
                    .collect();
                world.send(pair, side, &junk);
            }
            68..70 => {
                unharmed[pair] = false;
                world.send(pair, side, &frame(side, 8, &[3, 232]));
            }
            70..72 => world.pass(Duration::from_millis(random.next() % 3000)),
            _ => world.turn(),
        }
    }
    for _ in 0..100 {
        world.turns(200);
        world.pass(Duration::from_millis(30));
        if (0..pairs)
            .filter(|pair| unharmed[*pair])
            .all(|pair| world.is_settled(pair))
        {
            break;
        }
    }
    for (pair, _) in unharmed
        .iter()
        .enumerate()
        .filter(|(_, unharmed)| **unharmed)
    {
        let (client, backend) = (world.fd(pair, Side::Client), world.fd(pair, Side::Backend));
        if world.relay.ring_mut().socket(client).closed
            || world.relay.ring_mut().socket(backend).closed
        {
            continue; // It was idle for too long while the clock jumped.
        }
        for side in [Side::Client, Side::Backend] {
            let sent = match side {
                Side::Client => world.pairs[pair].from_backend.clone(),
                Side::Backend => world.pairs[pair].from_client.clone(),
            };
            let received = world.received(pair, side);
            let common = received.len().min(sent.len());
            assert!(
                received[..common] == sent[..common],
                "bytes changed on the way to the {}",
                side.label()
            );
            assert!(
                received.len() >= sent.len(),
                "bytes were lost on the way to the {}",
                side.label()
            );
        }
    }
    if random.chance(50) {
        world.relay.drain();
    } else if random.chance(20) {
        world.relay.stop();
    }
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.turns(10);
    }
    world.rest();
}

#[test]
fn sender_of_single_bytes_is_held_back_by_what_they_cost() {
    let mut world = world(8, 512);
    let pair = world.open(TunnelPolicy {
        frames: FrameMode::Opaque,
        ..policy()
    });
    let backend = world.fd(pair, Side::Backend);
    world.relay.ring_mut().socket(backend).stuck = true;
    for _ in 0..400 {
        world.send(pair, Side::Client, b"x");
        world.turn();
    }
    assert!(world.metrics.paused.value() > 0);
    world.relay.ring_mut().socket(backend).stuck = false;
    world.turns(400);
    assert_eq!(world.received(pair, Side::Backend), [b'x'; 400]);
    world.leave(pair, Side::Client);
    world.leave(pair, Side::Backend);
    world.rest();
}

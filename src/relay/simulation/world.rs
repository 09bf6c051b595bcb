//! A relay between peers that do as they are told: what the simulation's tests are written with.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::policy::{FrameMode, IdleEnd, TunnelPolicy};
use super::super::shelf::{Bounds, Tick};
use super::super::tunnel::{Early, Start, Tunnel};
use super::super::turn::{Adopted, Relay, Setup};
use super::fake::{FakeRing, Faults};
use crate::close::{CloseReason, Side};
use crate::config::Scheme;
use crate::observe::access_log::{AccessLog, TunnelFacts};
use crate::observe::metrics::RelayMetrics;
use crate::observe::request_id::RequestId;
use crate::observe::series::RelaySeries;
use crate::proto::handshake::Extensions;
use crate::uring::{Fd, Memory};

pub(super) const SLOW: Duration = Duration::from_secs(5);
pub(super) const GRACE: Duration = Duration::from_secs(1);
pub(super) const IDLE: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) relay: Relay<FakeRing>,
    pub(super) metrics: Arc<RelayMetrics>,
    pub(super) series: Arc<RelaySeries>,
    pub(super) now: Instant,
    pub(super) pairs: Vec<Pair>,
}

pub(super) struct Pair {
    pub(super) client: Fd,
    pub(super) backend: Fd,
    /// What each peer has sent, to be found again at the other.
    pub(super) from_client: Vec<u8>,
    pub(super) from_backend: Vec<u8>,
}

pub(super) fn calm() -> Faults {
    Faults {
        no_buffers: 0,
        disarmed: 0,
        delay: 0,
    }
}

pub(super) fn policy() -> TunnelPolicy {
    TunnelPolicy {
        api: "API01".into(),
        group: "DEFAULT".into(),
        environment: "RELEASE".into(),
        backend: String::new(),
        address: String::new(),
        version: 0,
        idle_timeout: IDLE,
        idle_end: IdleEnd::Close,
        frames: FrameMode::Strict,
        message_bytes_max: 0,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
pub(super) fn facts(policy: &Arc<TunnelPolicy>) -> TunnelFacts {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    TunnelFacts {
        id: RequestId([0; 16]),
        policy: Arc::clone(policy),
        scheme: Scheme::Http,
        client: address,
        backend: address,
        opened_at: SystemTime::now(),
        handshake: Duration::ZERO,
        request: None,
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
    pub(super) fn new(ring: FakeRing) -> Self {
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
            report_every: Duration::ZERO,
        };
        let now = Instant::now();
        Self {
            relay: Relay::new(ring, setup, now),
            metrics,
            series: Arc::default(),
            now,
            pairs: Vec::new(),
        }
    }

    pub(super) fn open(&mut self, policy: TunnelPolicy) -> usize {
        self.open_with(policy, b"", b"")
    }

    pub(super) fn open_with(
        &mut self,
        policy: TunnelPolicy,
        from_client: &[u8],
        from_backend: &[u8],
    ) -> usize {
        self.open_under(Arc::new(policy), from_client, from_backend)
    }

    pub(super) fn open_under(
        &mut self,
        policy: Arc<TunnelPolicy>,
        from_client: &[u8],
        from_backend: &[u8],
    ) -> usize {
        let client = self.relay.ring_mut().open();
        let backend = self.relay.ring_mut().open();
        let early = |bytes: &[u8]| Early {
            plaintext: bytes.to_vec(),
            ciphertext: Vec::new(),
            eof: false,
        };
        let start = |fd| Start { fd, tls: None };
        let mut facts = facts(&policy);
        facts.id = RequestId((self.pairs.len() as u128).to_be_bytes());
        let ticks =
            self.now.duration_since(self.relay.began()).as_millis() / Tick::STEP.as_millis();
        let now = Tick(u32::try_from(ticks).unwrap());
        let came_by = Arc::clone(&policy);
        let tunnel = Tunnel::new(
            start(client),
            start(backend),
            Extensions::None,
            policy,
            Arc::clone(&self.series),
            now,
        );
        let target = self.relay.insert(Adopted {
            tunnel,
            client: early(from_client),
            backend: early(from_backend),
            facts,
            permit: None,
        });
        self.relay.join_drain(target, &came_by);
        let pair = Pair {
            client,
            backend,
            from_client: from_client.to_vec(),
            from_backend: from_backend.to_vec(),
        };
        self.pairs.push(pair);
        self.pairs.len() - 1
    }

    pub(super) fn turn(&mut self) {
        self.relay.sleep(true).unwrap();
        self.relay.work(self.now);
        self.check();
    }

    pub(super) fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.turn();
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn check(&self) {
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

    pub(super) fn send(&mut self, pair: usize, from: Side, bytes: &[u8]) {
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

    pub(super) fn fd(&self, pair: usize, side: Side) -> Fd {
        match side {
            Side::Client => self.pairs[pair].client,
            Side::Backend => self.pairs[pair].backend,
        }
    }

    pub(super) fn received(&mut self, pair: usize, side: Side) -> Vec<u8> {
        let fd = self.fd(pair, side);
        self.relay.ring_mut().socket(fd).outbound.clone()
    }

    pub(super) fn leave(&mut self, pair: usize, side: Side) {
        let fd = self.fd(pair, side);
        self.relay.ring_mut().socket(fd).inbound_eof = true;
    }

    /// Everything that was sent has arrived, or never will.
    pub(super) fn is_settled(&mut self, pair: usize) -> bool {
        let sides = [Side::Client, Side::Backend];
        let closed = sides.iter().any(|side| self.closed(pair, *side));
        let to_backend =
            self.received(pair, Side::Backend).len() >= self.pairs[pair].from_client.len();
        let to_client =
            self.received(pair, Side::Client).len() >= self.pairs[pair].from_backend.len();
        closed || (to_backend && to_client)
    }

    pub(super) fn closed(&mut self, pair: usize, side: Side) -> bool {
        let fd = self.fd(pair, side);
        self.relay.ring_mut().socket(fd).closed
    }

    /// Times that a side was not received from any more.
    pub(super) fn pauses(&self) -> u64 {
        let RelayMetrics {
            from_client,
            from_backend,
            ..
        } = &*self.metrics;
        from_client.pauses.value() + from_backend.pauses.value()
    }

    pub(super) fn ended_by(&self, reason: CloseReason) -> u64 {
        let ends = self.metrics.closed.values();
        ends.filter(|((label, _), _)| *label == reason.label())
            .map(|(_, n)| n)
            .sum()
    }

    /// Lets every stage run out, and sees that nothing is left.
    pub(super) fn rest(&mut self) {
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
pub(super) fn frame(from: Side, opcode: u8, payload: &[u8]) -> Vec<u8> {
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

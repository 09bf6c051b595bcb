//! The relay over a seeded ring: peers that send and read as they like, every fault the kernel can show, jumps of the
//! clock. After each turn buffers, segments and slots add up; at the end all is at rest. A failure names its seed.

mod fake;
mod world;

use std::time::Duration;

use self::fake::{FakeRing, Faults, Random};
use super::drain::{DrainOrder, DrainPlan, Pace, Which};
use super::listing::{Filter, Listing, Question};
use super::policy::{FrameMode, Policies, PolicyChanges, TunnelPolicy};
use crate::close::{CloseReason, DrainCause, Side};
use crate::observe::request_id::RequestId;
use crate::proto::frame::close_frame;

use self::world::{GRACE, IDLE, World, calm, frame, policy};

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
    world.relay.drain(drain_all());
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
    assert_eq!(world.ended_by(CloseReason::Drained(DrainCause::Stop)), 1);
}

#[test]
fn open_tunnels_are_listed_and_one_is_closed_by_order() {
    let mut world = world(64, 512);
    for _ in 0..600 {
        world.open(policy());
    }
    world.turns(5);
    let ask = |world: &mut World, filter: Filter| {
        let (reply, listed) = futures_channel::oneshot::channel();
        let question = Question {
            filter,
            most: 1000,
            ..Question::default()
        };
        world.relay.list(Listing::new(question.into(), reply));
        world.turns(20);
        assert!(!world.relay.is_walking());
        let mut listed = listed;
        listed.try_recv().unwrap().unwrap()
    };
    let all = ask(&mut world, Filter::default());
    assert_eq!((all.tunnels.len(), all.more), (600, 0));
    let id = all.tunnels[17].id;
    let one = ask(
        &mut world,
        Filter {
            id: Some(id),
            ..Filter::default()
        },
    );
    assert_eq!(one.tunnels.len(), 1);
    let none = ask(
        &mut world,
        Filter {
            api: Some("other".to_owned()),
            ..Filter::default()
        },
    );
    assert!(none.tunnels.is_empty());
    assert!(world.relay.end(id, 1008));
    assert!(!world.relay.end(RequestId([0xff; 16]), 1008));
    world.turns(20);
    for _ in 0..4 {
        world.pass(GRACE + Duration::from_millis(100));
        world.turns(200);
    }
    assert_eq!(world.ended_by(CloseReason::Ordered(1008)), 1);
}

#[test]
fn a_changed_idle_timeout_reaches_an_open_tunnel() {
    let mut world = world(8, 512);
    let old = std::sync::Arc::new(policy());
    let pair = world.open_under(std::sync::Arc::clone(&old), b"", b"");
    world.turns(10);
    let shorter = TunnelPolicy {
        idle_timeout: IDLE / 4,
        ..policy()
    };
    let changes = PolicyChanges::new(vec![(old, std::sync::Arc::new(shorter))]);
    world.relay.change(std::sync::Arc::new(changes), Vec::new());
    world.turns(2);
    world.pass(IDLE / 4 + Duration::from_millis(150));
    world.turns(20);
    let close = close_frame(1001, "idle timeout", None);
    assert_eq!(world.received(pair, Side::Client), close.as_slice());
    for _ in 0..4 {
        world.pass(GRACE + Duration::from_millis(100));
        world.turns(10);
    }
    world.rest();
}

#[test]
fn a_change_reaches_every_tunnel_a_few_slots_a_turn() {
    let mut world = world(64, 512);
    let old = std::sync::Arc::new(policy());
    for _ in 0..600 {
        world.open_under(std::sync::Arc::clone(&old), b"", b"");
    }
    world.turns(5);
    let newer = std::sync::Arc::new(TunnelPolicy {
        version: 1,
        ..policy()
    });
    let changes = PolicyChanges::new(vec![(old, newer)]);
    world.relay.change(std::sync::Arc::new(changes), Vec::new());
    world.turn();
    assert!(world.relay.is_walking(), "not all in one turn");
    world.turns(10);
    let question = Question {
        count_only: true,
        ..Question::default()
    };
    let (reply, mut listed) = futures_channel::oneshot::channel();
    world.relay.list(Listing::new(question.into(), reply));
    world.turns(20);
    assert!(!world.relay.is_walking());
    let counts = listed.try_recv().unwrap().unwrap().counts;
    let counts: Vec<_> = counts
        .into_values()
        .map(|(by, n)| (by.version, n))
        .collect();
    assert_eq!(counts, [(1, 600)]);
}

#[test]
fn no_close_of_ours_follows_one_that_was_relayed() {
    let mut world = world(8, 4096);
    let pair = world.open(policy());
    let whole = frame(Side::Client, 2, &[5; 300]);
    world.send(pair, Side::Client, &whole[..100]);
    world.turns(30);
    world.relay.drain(drain_all());
    world.turns(5);
    // The rest of the message and a Close come in one piece.
    let close = close_frame(1000, "", Some([1, 2, 3, 4]));
    let rest = [&whole[100..], close.as_slice()].concat();
    world.send(pair, Side::Client, &rest);
    world.turns(60);
    assert_eq!(
        world.received(pair, Side::Backend),
        [whole.as_slice(), close.as_slice()].concat()
    );
    world.rest();
}

#[test]
fn a_paced_drain_ends_each_in_its_turn() {
    let mut world = world(64, 512);
    let count = 40;
    for _ in 0..count {
        world.open(policy());
    }
    let plan = DrainPlan {
        pace: Pace::Over(Duration::from_secs(4)),
        cause: DrainCause::Restart,
        ..DrainPlan::default()
    };
    let order = DrainOrder::new(Which::Everyone, plan, world.now);
    let order = std::sync::Arc::new(order);
    world.relay.drain(order.clone());
    for second in 1..=4 {
        world.pass(Duration::from_secs(1));
        world.turns(5);
        let progress = order.progress();
        assert_eq!(progress.closed, second * count / 4, "after {second} s");
    }
    assert_eq!(order.progress().waiting(), 0);
    // Whoever still comes ends as well.
    world.open(policy());
    world.turns(5);
    assert_eq!(order.progress().closed, count + 1);
    for _ in 0..6 {
        world.pass(GRACE + Duration::from_millis(100));
        world.turns(40);
    }
    world.rest();
    assert_eq!(
        world.ended_by(CloseReason::Drained(DrainCause::Restart)),
        count + 1
    );
}

#[test]
fn who_comes_by_what_a_reload_took_away_ends_with_those_inside() {
    let mut world = world(8, 4096);
    let gone = std::sync::Arc::new(policy());
    let inside = world.open_under(std::sync::Arc::clone(&gone), b"", b"");
    world.turns(5);
    let order = order(Which::Under(Policies::new(vec![gone.clone()])));
    world.relay.change(
        std::sync::Arc::new(PolicyChanges::default()),
        vec![order.clone()],
    );
    let late = world.open_under(gone, b"", b"");
    let other = world.open(policy());
    world.turns(10);
    assert_eq!(order.progress().closed, 2);
    let mut told = |pair| !world.received(pair, Side::Client).is_empty();
    assert!(told(inside) && told(late) && !told(other));
    for _ in 0..6 {
        world.pass(GRACE + Duration::from_millis(100));
        world.turns(40);
    }
    let progress = order.progress();
    assert_eq!((progress.ended, progress.open()), (2, 0));
    world.leave(other, Side::Client);
    world.leave(other, Side::Backend);
    world.rest();
}

#[test]
fn a_limit_cuts_those_who_do_not_answer_and_who_left_is_counted_at_once() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    let whole = frame(Side::Backend, 2, &[5; 300]);
    world.send(pair, Side::Backend, &whole[..100]);
    let leaving = world.open(policy());
    world.turns(30);
    let plan = DrainPlan {
        pace: Pace::Over(Duration::from_secs(3600)),
        limit: Some(GRACE / 4),
        ..DrainPlan::default()
    };
    let order = std::sync::Arc::new(DrainOrder::new(Which::All, plan, world.now));
    world.relay.drain(order.clone());
    world.leave(leaving, Side::Client);
    world.leave(leaving, Side::Backend);
    world.turns(30);
    assert_eq!((order.progress().left, order.progress().open()), (1, 1));
    world.pass(GRACE / 4 + Duration::from_millis(10));
    world.turns(10);
    assert!(world.closed(pair, Side::Client) && world.closed(pair, Side::Backend));
    assert_eq!((order.progress().closed, order.progress().open()), (1, 0));
    world.rest();
}

#[test]
fn boundary_that_never_comes_is_not_waited_for_longer_than_the_grace() {
    let mut world = world(8, 512);
    let pair = world.open(policy());
    let whole = frame(Side::Backend, 2, &[5; 300]);
    world.send(pair, Side::Backend, &whole[..100]);
    world.turns(30);
    world.relay.drain(drain_all());
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
    assert!(world.pauses() > 0, "its source is not received from");
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
        world.relay.drain(drain_all());
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
    assert!(world.pauses() > 0);
    world.relay.ring_mut().socket(backend).stuck = false;
    world.turns(400);
    assert_eq!(world.received(pair, Side::Backend), [b'x'; 400]);
    world.leave(pair, Side::Client);
    world.leave(pair, Side::Backend);
    world.rest();
}

fn drain_all() -> std::sync::Arc<DrainOrder> {
    order(Which::Everyone)
}

/// An order to end these at once.
fn order(which: Which) -> std::sync::Arc<DrainOrder> {
    let plan = DrainPlan {
        pace: Pace::Over(Duration::ZERO),
        ..DrainPlan::default()
    };
    std::sync::Arc::new(DrainOrder::new(which, plan, super::now()))
}

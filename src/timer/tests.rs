use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn due(wheel: &mut Wheel, now: u64) -> Vec<u32> {
    let mut due = Vec::new();
    wheel.advance(now, &mut |id| due.push(id));
    due
}

#[track_caller]
fn check(now: u64, timers: &[(u32, u64)], steps: &[(u64, &[u32])]) {
    let mut wheel = Wheel::new(now, 8);
    for (id, tick) in timers {
        wheel.schedule(*id, *tick);
    }
    for (now, expected) in steps {
        assert_eq!(due(&mut wheel, *now), *expected, "at {now}");
    }
}

#[test]
fn timers_are_due_at_their_tick_and_not_before() {
    check(0, &[(0, 5)], &[(4, &[]), (5, &[0]), (6, &[])]);
    check(
        70,
        &[(0, 71), (1, 130)],
        &[(70, &[]), (71, &[0]), (129, &[]), (130, &[1])],
    );
    check(63, &[(0, 64)], &[(63, &[]), (64, &[0])]);
    check(
        0,
        &[(0, 4096), (1, 4095)],
        &[(4094, &[]), (4095, &[1]), (4096, &[0])],
    );
}

#[test]
fn a_jump_takes_all_in_the_order_of_their_ticks() {
    let far = u64::MAX - 1;
    check(
        3,
        &[(0, far), (1, 300_000), (2, 4), (3, 70), (4, u64::MAX)],
        &[(far, &[2, 3, 1, 0]), (u64::MAX, &[4])],
    );
}

#[test]
fn the_past_is_due_at_once() {
    check(100, &[(0, 100), (1, 99), (2, 0)], &[(100, &[2, 1, 0])]);
}

#[test]
fn time_that_goes_back_stands_still() {
    let mut wheel = Wheel::new(100, 0);
    wheel.schedule(0, 101);
    assert!(due(&mut wheel, 0).is_empty());
    assert_eq!(due(&mut wheel, 101), [0]);
}

#[test]
fn a_timer_has_one_place() {
    let mut wheel = Wheel::new(0, 0);
    wheel.schedule(7, 1000);
    wheel.schedule(7, 10);
    assert_eq!(wheel.next_tick(), Some(10));
    assert_eq!(due(&mut wheel, 2000), [7]);
    wheel.schedule(7, 3000);
    wheel.cancel(7);
    wheel.cancel(7);
    wheel.cancel(8);
    assert!(!wheel.is_scheduled(7));
    assert_eq!(wheel.next_tick(), None);
}

#[test]
fn an_expired_timer_can_be_set_again_at_once() {
    let mut wheel = Wheel::new(0, 2);
    wheel.schedule(0, 10);
    wheel.schedule(1, 10);
    let mut seen = 0;
    while let Some(id) = wheel.pop(10) {
        seen += 1;
        wheel.schedule(id, 20);
    }
    assert_eq!((seen, wheel.next_tick()), (2, Some(20)));
}

#[test]
fn a_warm_wheel_does_not_grow() {
    let mut wheel = Wheel::new(0, 1000);
    let capacity = wheel.entries.capacity();
    for id in 0..1000 {
        wheel.schedule(id, u64::from(id));
    }
    assert_eq!(wheel.entries.capacity(), capacity);
}

/// The same, as a map: slow and plainly right.
#[derive(Default)]
struct Oracle(BTreeMap<u32, u64>);

impl Oracle {
    /// The timers due at `now` by their ticks, taken out.
    fn take_due(&mut self, now: u64) -> Vec<(u64, u32)> {
        let due = self.0.iter().filter(|(_, tick)| **tick <= now);
        let mut due: Vec<_> = due.map(|(id, tick)| (*tick, *id)).collect();
        self.0.retain(|_, tick| *tick > now);
        due.sort_unstable();
        due
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Schedule(u32, u64),
    Cancel(u32),
    Advance(u64),
    AdvanceToNext,
}

/// Distances of every size, as near ones and far ones take different ways.
fn any_distance() -> impl Strategy<Value = u64> {
    (0..40u32, any::<u64>()).prop_map(|(bits, distance)| distance & ((1 << bits) - 1))
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..48u32, any_distance()).prop_map(|(id, after)| Operation::Schedule(id, after)),
        2 => (0..48u32).prop_map(Operation::Cancel),
        2 => any_distance().prop_map(Operation::Advance),
        2 => Just(Operation::AdvanceToNext),
    ]
}

/// Advances both, and compares what is due.
fn advance(wheel: &mut Wheel, oracle: &mut Oracle, now: u64) {
    let expected = oracle.take_due(now);
    let ticks: BTreeMap<u32, u64> = expected.iter().map(|(tick, id)| (*id, *tick)).collect();
    let mut seen: Vec<_> = due(wheel, now)
        .iter()
        .map(|id| (ticks.get(id).copied(), *id))
        .collect();
    assert!(
        seen.is_sorted_by_key(|(tick, _)| *tick),
        "in the order of ticks"
    );
    seen.sort_unstable();
    let expected: Vec<_> = expected
        .iter()
        .map(|(tick, id)| (Some(*tick), *id))
        .collect();
    assert_eq!(seen, expected, "at {now}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_wheel_does_what_a_sorted_list_would(
        start in any_distance(), operations in prop::collection::vec(any_operation(), 1..200),
    ) {
        let mut now = start;
        let mut wheel = Wheel::new(now, 0);
        let mut oracle = Oracle::default();
        for operation in operations {
            match operation {
                Operation::Schedule(id, after) => {
                    wheel.schedule(id, now + after);
                    oracle.0.insert(id, now + after);
                }
                Operation::Cancel(id) => {
                    wheel.cancel(id);
                    oracle.0.remove(&id);
                }
                Operation::Advance(after) => {
                    now += after;
                    advance(&mut wheel, &mut oracle, now);
                }
                Operation::AdvanceToNext => {
                    now = wheel.next_tick().unwrap_or(now);
                    advance(&mut wheel, &mut oracle, now);
                }
            }
            let earliest = oracle.0.values().min().copied();
            prop_assert_eq!(wheel.next_tick().is_some(), earliest.is_some());
            prop_assert!(wheel.next_tick() <= earliest, "never late");
            for id in 0..48 {
                prop_assert_eq!(wheel.is_scheduled(id), oracle.0.contains_key(&id));
            }
        }
        // Each step of `next_tick` gets somewhere: a timer at least once in every eleven.
        let mut steps = 0;
        while let Some(tick) = wheel.next_tick() {
            now = tick;
            advance(&mut wheel, &mut oracle, now);
            steps += 1;
            prop_assert!(steps <= 48 * LEVELS);
        }
        prop_assert!(oracle.0.is_empty());
    }
}

//! Ending tunnels because somebody asked for it: which of them, spread over what time, and how far that is. It is told
//! the time and where randomness comes from.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::close::DrainCause;
use crate::observe::access_log::TunnelFacts;

use super::policy::TunnelPolicy;

/// An order to end tunnels politely, given to every relay.
#[derive(Debug)]
pub struct DrainOrder {
    which: Which,
    pace: Pace,
    cause: DrainCause,
    cancelled: AtomicBool,
    chosen: AtomicU64,
    closed: AtomicU64,
    left: AtomicU64,
}

/// How the ends of an order are spread, evenly and with jitter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// A hundred a second on each core, faster where that would take longer than ten seconds.
    #[default]
    Gentle,
    /// Over this time; zero ends all at once.
    Over(Duration),
}

const GENTLE_PER_SECOND: u32 = 100;
const GENTLE_MAX: Duration = Duration::from_secs(10);

impl Pace {
    fn span(self, count: u32) -> Duration {
        match self {
            Self::Gentle => (Duration::from_secs(1) * count / GENTLE_PER_SECOND).min(GENTLE_MAX),
            Self::Over(span) => span,
        }
    }
}

/// The tunnels that an order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them, and those that still come.
    All,
    /// Those of an API in every environment.
    Api { group: String, api: String },
    /// Those to this address.
    Backend(SocketAddr),
    /// Those that live by one of these policies: what a reload took away or changed.
    Under(Vec<Arc<TunnelPolicy>>),
}

impl Which {
    fn includes(&self, facts: &TunnelFacts) -> bool {
        match self {
            Self::All => true,
            Self::Api { group, api } => facts.policy.group == *group && facts.policy.api == *api,
            Self::Backend(address) => facts.backend == *address,
            Self::Under(policies) => policies
                .iter()
                .any(|policy| Arc::ptr_eq(policy, &facts.policy)),
        }
    }
}

/// How far an order is, over all relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tunnels that were open when it was given, and those that came into it later.
    pub chosen: u64,
    /// Those that were told to close.
    pub closed: u64,
    /// Those that had ended before their turn came.
    pub left: u64,
}

impl Progress {
    /// Tunnels whose turn is still to come.
    pub fn waiting(self) -> u64 {
        self.chosen.saturating_sub(self.closed + self.left)
    }
}

impl DrainOrder {
    pub fn new(which: Which, pace: Pace, cause: DrainCause) -> Self {
        Self {
            which,
            pace,
            cause,
            cancelled: AtomicBool::new(false),
            chosen: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }

    /// Whose turn has not come goes on living.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    pub fn progress(&self) -> Progress {
        Progress {
            chosen: self.chosen.load(Relaxed),
            closed: self.closed.load(Relaxed),
            left: self.left.load(Relaxed),
        }
    }

    pub(super) fn cause(&self) -> DrainCause {
        self.cause
    }

    pub(super) fn is_about_all(&self) -> bool {
        self.which == Which::All
    }

    pub(super) fn includes(&self, facts: &TunnelFacts) -> bool {
        self.which.includes(facts)
    }

    pub(super) fn count_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub(super) fn count_left(&self) {
        self.left.fetch_add(1, Relaxed);
    }
}

/// A tunnel by its slot, which may have another one by the time its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) slot: u32,
    pub(super) generation: u16,
}

/// An order under way in one relay.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) order: Arc<DrainOrder>,
    ends: Instant,
    /// The last to come first.
    turns: Vec<(Instant, Target)>,
}

impl Drain {
    /// Gives each of `targets` its turn. `seed` decides the order and the jitter.
    pub(super) fn new(
        order: Arc<DrainOrder>,
        mut targets: Vec<Target>,
        now: Instant,
        seed: [u8; 4],
    ) -> Self {
        let mut random = Random(u32::from_le_bytes(seed) | 1);
        let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        // Fisher and Yates: who came first must not be the first to go.
        for last in (1..targets.len()).rev() {
            targets.swap(last, random.below(last + 1));
        }
        let span = order.pace.span(count);
        let turn = |index: u32, jitter: u16| {
            let part = (u128::from(index) << 16) + u128::from(jitter);
            let nanos = span.as_nanos() * part / (u128::from(count.max(1)) << 16);
            now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let turns = (0..count)
            .rev()
            .zip(targets)
            .map(|(index, target)| (turn(index, random.next_u16()), target))
            .collect();
        order.chosen.fetch_add(u64::from(count), Relaxed);
        Self {
            ends: now + span,
            order,
            turns,
        }
    }

    /// Gives a newcomer the last turn.
    pub(super) fn add(&mut self, target: Target) {
        self.order.chosen.fetch_add(1, Relaxed);
        self.turns.insert(0, (self.ends, target));
    }

    /// The next target whose turn has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Target> {
        if self.order.cancelled.load(Relaxed) {
            self.turns.clear();
        }
        self.turns
            .pop_if(|(turn, _)| *turn <= now)
            .map(|(_, target)| target)
    }

    /// When the next turn is.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.turns.last().map(|(turn, _)| *turn)
    }

    /// Whether it has nothing to do any more, now or later.
    pub(super) fn is_over(&self) -> bool {
        self.turns.is_empty() && (!self.order.is_about_all() || self.order.cancelled.load(Relaxed))
    }
}

/// Marsaglia's xorshift: it spreads load, and keeps no secret.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn next_u16(&mut self) -> u16 {
        let [high, low, ..] = self.next().to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() as usize).checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(count: u32, pace: Pace, now: Instant) -> Drain {
        let order = Arc::new(DrainOrder::new(Which::All, pace, DrainCause::Stop));
        let target = |slot| Target {
            slot,
            generation: 7,
        };
        Drain::new(order, (0..count).map(target).collect(), now, [1, 2, 3, 4])
    }

    fn popped(drain: &mut Drain, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| drain.pop(now).map(|target| target.slot)).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn turns_are_spread_over_the_whole_time() {
        let now = start();
        let mut drain = drain(1000, Pace::Over(Duration::from_secs(100)), now);
        let mut order = Vec::new();
        for second in 1..=100u32 {
            let due = popped(&mut drain, now + Duration::from_secs(second.into()));
            assert_eq!(due.len(), 10, "in second {second}");
            order.extend(due);
        }
        assert!(!order.is_sorted(), "not in the order of their slots");
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000), "each has one turn");
        assert_eq!(drain.order.progress().chosen, 1000);
    }

    #[test]
    fn no_time_ends_all_at_once_and_newcomers_with_them() {
        let now = start();
        let mut drain = drain(3, Pace::Over(Duration::ZERO), now);
        assert_eq!(popped(&mut drain, now).len(), 3);
        assert!(!drain.is_over(), "others may still come");
        let newcomer = Target {
            slot: 9,
            generation: 1,
        };
        drain.add(newcomer);
        assert_eq!(drain.next_turn(), Some(now));
        assert_eq!(drain.pop(now), Some(newcomer));
    }

    #[test]
    fn a_cancelled_order_ends_nobody_else() {
        let now = start();
        let mut drain = drain(10, Pace::Over(Duration::from_secs(10)), now);
        let first = popped(&mut drain, now + Duration::from_secs(5));
        assert_eq!(first.len(), 5);
        drain.order.cancel();
        assert!(popped(&mut drain, now + Duration::from_secs(20)).is_empty());
        assert!(drain.is_over());
    }

    #[test]
    fn a_gentle_pace_keeps_nobody_waiting_for_long() {
        for (count, millis) in [(0, 0), (10, 100), (500, 5_000), (100_000, 10_000)] {
            assert_eq!(Pace::Gentle.span(count), Duration::from_millis(millis));
        }
    }

    #[test]
    fn what_waits_is_what_has_neither_been_closed_nor_left() {
        let progress = Progress {
            chosen: 10,
            closed: 4,
            left: 1,
        };
        assert_eq!(progress.waiting(), 5);
    }
}

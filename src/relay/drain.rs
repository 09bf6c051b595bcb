//! Ending tunnels because somebody asked for it: which of them, spread over what time, and how far that is. It is told
//! the time and where randomness comes from.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::close::DrainCause;
use crate::observe::access_log::TunnelFacts;

use super::policy::{Policies, TunnelPolicy};

/// How tunnels are to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainPlan {
    /// How long nothing happens yet.
    pub notice: Duration,
    /// How the ends are spread, from then on.
    pub pace: Pace,
    /// What peers are told: 1001, or 1012.
    pub cause: DrainCause,
    /// What is still open this long after the notice is cut.
    pub limit: Option<Duration>,
}

/// An order to end tunnels politely, given to every relay.
#[derive(Debug)]
pub struct DrainOrder {
    which: Which,
    plan: DrainPlan,
    given_at: Instant,
    cancelled: AtomicBool,
    chosen: AtomicU64,
    closed: AtomicU64,
    left: AtomicU64,
    ended: AtomicU64,
    /// The last turn in any relay, in microseconds after `given_at`.
    last_turn: AtomicU64,
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
    /// All of them.
    All,
    /// All of them, and those that still come: a stop.
    Everyone,
    /// Those of an API in every environment.
    Api { group: String, api: String },
    /// Those to this address.
    Backend(SocketAddr),
    /// Those that live by one of these policies, which a reload took away or changed, and those that still come by them.
    Under(Policies),
}

impl Which {
    fn includes(&self, facts: &TunnelFacts) -> bool {
        match self {
            Self::All | Self::Everyone => true,
            Self::Api { group, api } => facts.policy.group == *group && facts.policy.api == *api,
            Self::Backend(address) => facts.backend == *address,
            Self::Under(policies) => policies.contains(&facts.policy),
        }
    }

    /// Whether a tunnel that opens later, by this policy, is one of them.
    fn includes_newcomer(&self, policy: &Arc<TunnelPolicy>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Under(policies) => policies.contains(policy),
            Self::All | Self::Api { .. } | Self::Backend(_) => false,
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
    /// Those that ended before their turn came.
    pub left: u64,
    /// Those that were told to close, and have ended.
    pub ended: u64,
}

impl Progress {
    /// Tunnels that are open, told to close or not.
    pub fn open(self) -> u64 {
        self.chosen.saturating_sub(self.left + self.ended)
    }

    /// Tunnels whose turn is still to come.
    pub fn waiting(self) -> u64 {
        self.chosen.saturating_sub(self.closed + self.left)
    }
}

impl DrainOrder {
    /// An order that is given `now`.
    pub fn new(which: Which, plan: DrainPlan, now: Instant) -> Self {
        Self {
            which,
            plan,
            given_at: now,
            cancelled: AtomicBool::new(false),
            chosen: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            left: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            last_turn: AtomicU64::new(0),
        }
    }

    pub fn plan(&self) -> &DrainPlan {
        &self.plan
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
            ended: self.ended.load(Relaxed),
        }
    }

    /// Until the last turn has come; nothing if nobody waits for one.
    pub fn time_left(&self, now: Instant) -> Duration {
        if self.is_cancelled() || self.progress().waiting() == 0 {
            return Duration::ZERO;
        }
        let last_turn = Duration::from_micros(self.last_turn.load(Relaxed));
        (self.given_at + last_turn).saturating_duration_since(now)
    }

    pub(super) fn cause(&self) -> DrainCause {
        self.plan.cause
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

    pub(super) fn count_ended(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    fn note_last_turn(&self, at: Instant) {
        let after = at.saturating_duration_since(self.given_at).as_micros();
        self.last_turn
            .fetch_max(u64::try_from(after).unwrap_or(u64::MAX), Relaxed);
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
    /// When those that are still open are cut.
    cut: Option<Instant>,
    /// The last to come first.
    turns: Vec<(Instant, Target)>,
    /// Those whose turn has come, where they may have to be cut.
    told: Vec<Target>,
    /// Whether tunnels that open later may be concerned.
    open_to_newcomers: bool,
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
        let begins = now + order.plan.notice;
        let span = order.plan.pace.span(count);
        let turn = |index: u32, jitter: u16| {
            let part = (u128::from(index) << 16) + u128::from(jitter);
            let nanos = span.as_nanos() * part / (u128::from(count.max(1)) << 16);
            begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let turns: Vec<_> = (0..count)
            .rev()
            .zip(targets)
            .map(|(index, target)| (turn(index, random.next_u16()), target))
            .collect();
        order.chosen.fetch_add(u64::from(count), Relaxed);
        if let Some((last, _)) = turns.first() {
            order.note_last_turn(*last);
        }
        Self {
            ends: begins + span,
            cut: order.plan.limit.map(|limit| begins + limit),
            open_to_newcomers: matches!(order.which, Which::Everyone | Which::Under(_)),
            order,
            turns,
            told: Vec::new(),
        }
    }

    /// Whether a tunnel that opens now, by this policy, is to end as well.
    pub(super) fn includes_newcomer(&self, policy: &Arc<TunnelPolicy>) -> bool {
        self.open_to_newcomers
            && !self.order.is_cancelled()
            && self.order.which.includes_newcomer(policy)
    }

    /// Another reload follows: what the one before it took away may be back.
    pub(super) fn close_to_newcomers(&mut self) {
        self.open_to_newcomers &= self.order.which == Which::Everyone;
    }

    /// Gives a newcomer the last turn.
    pub(super) fn add(&mut self, target: Target) {
        self.order.chosen.fetch_add(1, Relaxed);
        self.order.note_last_turn(self.ends);
        self.turns.insert(0, (self.ends, target));
    }

    /// The next target whose turn has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Target> {
        if self.order.is_cancelled() {
            self.turns.clear();
        }
        let (_, target) = self.turns.pop_if(|(turn, _)| *turn <= now)?;
        if self.cut.is_some() {
            self.told.push(target);
        }
        Some(target)
    }

    /// Everybody who may still be open, once the limit has passed.
    pub(super) fn cut(&mut self, now: Instant) -> Vec<Target> {
        if self.cut.is_none_or(|cut| now < cut) {
            return Vec::new();
        }
        let waiting = self.turns.drain(..).map(|(_, target)| target);
        waiting.chain(self.told.drain(..)).collect()
    }

    /// When there is something to do again.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let turn = self.turns.last().map(|(turn, _)| *turn);
        let cut = self.cut.filter(|_| !self.has_nobody_left());
        turn.into_iter().chain(cut).min()
    }

    fn has_nobody_left(&self) -> bool {
        self.turns.is_empty() && self.told.is_empty()
    }

    /// Whether it has nothing to do any more, now or later.
    pub(super) fn is_over(&self) -> bool {
        let may_come = self.open_to_newcomers && !self.order.is_cancelled();
        self.has_nobody_left() && !may_come
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
        let plan = DrainPlan {
            pace,
            ..DrainPlan::default()
        };
        by_plan(count, plan, now)
    }

    fn by_plan(count: u32, plan: DrainPlan, now: Instant) -> Drain {
        let order = Arc::new(DrainOrder::new(Which::Everyone, plan, now));
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
            ended: 3,
        };
        assert_eq!((progress.waiting(), progress.open()), (5, 6));
    }

    #[test]
    fn a_notice_comes_before_the_first_and_a_limit_after_the_last() {
        let now = start();
        let after = |seconds| now + Duration::from_secs(seconds);
        let plan = DrainPlan {
            notice: Duration::from_secs(5),
            pace: Pace::Over(Duration::from_secs(10)),
            limit: Some(Duration::from_secs(8)),
            ..DrainPlan::default()
        };
        let mut drain = by_plan(10, plan, now);
        assert!(popped(&mut drain, after(5)).is_empty());
        assert_eq!(popped(&mut drain, after(9)).len(), 4);
        assert_eq!(drain.order.time_left(after(15)), Duration::ZERO);
        assert!(drain.order.time_left(after(9)) > Duration::from_secs(5));
        assert!(drain.cut(after(12)).is_empty());
        assert_eq!(drain.cut(after(13)).len(), 10, "told or not");
        assert_eq!(drain.next_turn(), None);
    }
}

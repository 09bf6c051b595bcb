//! What a run is to do, worked out from the flags of its scenario.

use std::time::Duration;

use crate::cli::{
    ChurnOptions, EchoOptions, IdleOptions, LoadOptions, MessageOptions, MixedOptions,
    OneWayOptions, PushOptions, PushedOptions, SlowOptions, StormOptions,
};
use crate::payload::Kind;
use crate::role::{Mix, Role};
use crate::sizes::Sizes;

const SMALL: Sizes = Sizes::Fixed(64);
/// How slow shares are counted in.
const PARTS: f64 = 10_000.0;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: &'static str,
    /// By connection.
    pub(crate) roles: Vec<Role>,
    /// Messages a second over all connections; `None` is the closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) sizes: Sizes,
    pub(crate) kind: Kind,
    /// To each connection that is pushed to.
    pub(crate) push_rate: f64,
    pub(crate) push_bytes: usize,
    pub(crate) slow_bytes_per_second: usize,
    /// Connections a second; `None` is the closed loop.
    pub(crate) churn_rate: Option<f64>,
    /// One message each before measuring begins.
    pub(crate) touch: bool,
    /// From one drop of all connections to the next.
    pub(crate) storm_interval: Option<Duration>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) open_rate: f64,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

impl Plan {
    fn new(scenario: &'static str, roles: Vec<Role>, load: &LoadOptions) -> Self {
        Self {
            scenario,
            roles,
            rate: None,
            sizes: SMALL,
            kind: Kind::Binary,
            push_rate: 1.0,
            push_bytes: 64,
            slow_bytes_per_second: 1024,
            churn_rate: None,
            touch: false,
            storm_interval: None,
            ping_interval: load.ping_interval,
            open_rate: load.open_rate,
            warm_up: load.warm_up,
            duration: load.duration,
        }
    }

    fn with_messages(mut self, messages: &MessageOptions) -> Self {
        self.rate = messages.rate;
        self.sizes = messages.size.clone();
        self.kind = messages.kind;
        self
    }

    fn with_pushes(mut self, pushes: &PushedOptions) -> Self {
        self.push_rate = pushes.push_rate;
        self.push_bytes = usize::try_from(pushes.push_size).unwrap_or(usize::MAX);
        self.slow_bytes_per_second = pushes.slow_bytes_per_second;
        self
    }

    pub(crate) fn echo(options: &EchoOptions) -> Self {
        let roles = Mix::only(Role::Echo).deal(options.connections);
        Self::new("echo", roles, &options.load).with_messages(&options.messages)
    }

    pub(crate) fn one_way(options: &OneWayOptions) -> Self {
        let roles = Mix::only(Role::OneWay).deal(options.connections);
        Self::new("one-way", roles, &options.load).with_messages(&options.messages)
    }

    pub(crate) fn push(options: &PushOptions) -> Self {
        let roles = Mix::only(Role::Push).deal(options.connections);
        Self::new("push", roles, &options.load).with_pushes(&options.pushes)
    }

    pub(crate) fn idle(options: &IdleOptions) -> Self {
        let roles = Mix::only(Role::Idle).deal(options.connections);
        let plan = Self::new("idle", roles, &options.load);
        Self {
            touch: options.touch,
            warm_up: Duration::ZERO,
            ..plan
        }
    }

    pub(crate) fn churn(options: &ChurnOptions) -> Self {
        let roles = Mix::only(Role::Churn).deal(options.clients);
        let plan = Self::new("churn", roles, &options.load);
        Self {
            churn_rate: options.rate,
            ..plan
        }
    }

    pub(crate) fn storm(options: &StormOptions) -> Self {
        let roles = Mix::only(Role::Idle).deal(options.connections);
        let plan = Self::new("storm", roles, &options.load);
        Self {
            storm_interval: Some(options.every),
            warm_up: Duration::ZERO,
            ..plan
        }
    }

    pub(crate) fn slow(options: &SlowOptions) -> Self {
        let slow = part(options.slow_share);
        let mix = Mix::new(vec![
            (Role::Push, part(1.0).saturating_sub(slow)),
            (Role::Slow, slow),
        ]);
        let roles = mix.deal(options.connections);
        Self::new("slow", roles, &options.load).with_pushes(&options.pushes)
    }

    pub(crate) fn mixed(options: &MixedOptions) -> Self {
        let roles = options.mix.deal(options.connections);
        let plan = Self::new("mixed", roles, &options.load)
            .with_messages(&options.messages)
            .with_pushes(&options.pushes);
        Self {
            churn_rate: options.churn_rate,
            ..plan
        }
    }

    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether anything goes on in a closed loop, whose latency must not be mistaken for an open one's.
    pub(crate) fn loop_name(&self) -> Option<&'static str> {
        let name = |rate: Option<f64>| if rate.is_some() { "open" } else { "closed" };
        if self.roles.iter().any(|role| role.sends()) {
            return Some(name(self.rate));
        }
        if self.has(Role::Churn) {
            return Some(name(self.churn_rate));
        }
        let timed =
            self.storm_interval.is_some() || self.roles.iter().any(|role| role.is_pushed_to());
        timed.then_some("open")
    }

    /// The part that worker `number` of `count` takes: every `count`th connection and its share of the rates.
    pub(crate) fn share(&self, number: usize, count: usize) -> Self {
        let roles: Vec<_> = self
            .roles
            .iter()
            .skip(number)
            .step_by(count)
            .copied()
            .collect();
        let of = |rate: Option<f64>, counts: fn(Role) -> bool| {
            let all = self.roles.iter().filter(|role| counts(**role)).count();
            let ours = roles.iter().filter(|role| counts(**role)).count();
            rate.map(|rate| rate * ours as f64 / all.max(1) as f64)
        };
        Self {
            rate: of(self.rate, Role::sends),
            churn_rate: of(self.churn_rate, |role| role == Role::Churn),
            open_rate: self.open_rate / count as f64,
            roles,
            ..self.clone()
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1 of ten thousand"
)]
fn part(share: f64) -> u32 {
    (share * PARTS).round() as u32
}

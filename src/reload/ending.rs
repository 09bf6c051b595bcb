//! Which open tunnels a reload ends, and how.

use std::sync::Arc;

use crate::catalog::Event;
use crate::config::{ApiRules, Config, Fate};
use crate::control::drains;
use crate::relay::drain::{DrainOrder, DrainPlan, Which};
use crate::relay::policy::{Policies, TunnelPolicy};

/// Tunnels that a reload ends by one plan, for one reason.
pub(super) struct Ending {
    event: Event,
    plan: DrainPlan,
    policies: Vec<Arc<TunnelPolicy>>,
}

impl Ending {
    /// Those that are not kept.
    pub(super) fn sort(
        events: Vec<(Event, Arc<TunnelPolicy>)>,
        old: &Config,
        new: &Config,
    ) -> Vec<Self> {
        let mut endings: Vec<Self> = Vec::new();
        for (event, policy) in events {
            let Some((event, plan)) = ending(event, &policy.group, &policy.api, old, new) else {
                continue;
            };
            let same = |known: &&mut Self| known.event == event && known.plan == plan;
            match endings.iter_mut().find(same) {
                Some(known) => known.policies.push(policy),
                None => endings.push(Self {
                    event,
                    plan,
                    policies: vec![policy],
                }),
            }
        }
        endings
    }

    pub(super) fn into_order(self) -> (String, Arc<DrainOrder>) {
        let mut names: Vec<_> = self
            .policies
            .iter()
            .map(|policy| format!("{}:{}", policy.group, policy.api))
            .collect();
        names.sort_unstable();
        names.dedup();
        let more = match names.len() {
            0..=NAMED_MAX => String::new(),
            count => format!(" and {} more", count - NAMED_MAX),
        };
        names.truncate(NAMED_MAX);
        let which = format!("{}: {}{more}", self.event.label(), names.join(", "));
        let policies = Policies::new(self.policies);
        let order = DrainOrder::new(Which::Under(policies), self.plan, drains::now());
        (which, Arc::new(order))
    }
}

/// APIs that the description of a drain names.
const NAMED_MAX: usize = 3;

/// How the open tunnels of an API end because of what a reload does, and why; `None` if they live on. What is said for the
/// one API counts, and where it is gone, what was said for it before; else what is said for all.
pub(crate) fn ending(
    event: Event,
    group: &str,
    api: &str,
    old: &Config,
    new: &Config,
) -> Option<(Event, DrainPlan)> {
    let rules = new
        .api_rules(group, api)
        .or_else(|| old.api_rules(group, api));
    let own = |of: fn(&ApiRules) -> Option<Fate>| rules.and_then(of);
    let all = &new.reload;
    let fate = match event {
        Event::ApiRemoved => own(|rules| rules.when_removed).unwrap_or(all.removed_apis),
        Event::BackendRemoved => {
            own(|rules| rules.when_backend_removed).unwrap_or(all.removed_backends)
        }
        Event::ApiChanged => own(|rules| rules.when_changed).unwrap_or(all.changed_apis),
    };
    match (fate, event) {
        (Fate::Drain(plan), _) => Some((event, plan)),
        // An API that leads elsewhere has changed.
        (Fate::Keep, Event::BackendRemoved) => ending(Event::ApiChanged, group, api, old, new),
        (Fate::Keep, _) => None,
    }
}

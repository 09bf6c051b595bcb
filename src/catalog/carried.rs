//! What lives longer than a catalog: a reload hands it from one to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Catalog, DebugQuotas};
use crate::observe::book::Book;
use crate::relay::policy::{PolicyChanges, TunnelPolicy};

/// Counts of debugging calls, what is counted by API and backend, and the policies that open tunnels may live by.
#[derive(Debug, Default)]
pub struct Carried {
    pub(super) quotas: DebugQuotas,
    pub(super) book: Book,
    policies: HashSet<Arc<TunnelPolicy>>,
}

impl Carried {
    /// The same policy as before where nothing about it has changed: its tunnels need not be told.
    pub(super) fn policy(&mut self, policy: TunnelPolicy) -> Arc<TunnelPolicy> {
        if let Some(known) = self.policies.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.policies.insert(Arc::clone(&policy));
        policy
    }

    /// Forgets the policies that nobody has any more, and what was counted of APIs that are gone with all their tunnels.
    pub(super) fn prune(&mut self) {
        self.policies.retain(|policy| Arc::strong_count(policy) > 1);
        self.quotas.prune();
        self.book.prune();
    }

    /// What `new` means for all open tunnels, those that earlier reloads have left behind included. Only what `old`, which
    /// runs, still served can be gone or be another now.
    pub fn succession(&mut self, old: &Catalog, new: &Catalog) -> Succession {
        let served: HashSet<_> = old.policies().map(Arc::as_ptr).collect();
        let mut now: HashMap<ApiKey<'_>, Vec<&Arc<TunnelPolicy>>> = HashMap::new();
        for policy in new.policies() {
            now.entry(api_key(policy)).or_default().push(policy);
        }
        let none = Vec::new();
        let (mut pairs, mut events) = (Vec::new(), Vec::new());
        let living: Vec<_> = self.policies.iter().cloned().collect();
        for policy in living {
            let successors = now.get(&api_key(&policy)).unwrap_or(&none);
            let (successor, event) = self.fate(&policy, successors);
            if let Some(event) = event
                && served.contains(&Arc::as_ptr(&policy))
            {
                events.push((event, Arc::clone(&policy)));
            }
            if let Some(successor) = successor
                && !Arc::ptr_eq(&successor, &policy)
            {
                pairs.push((policy, successor));
            }
        }
        Succession {
            changes: PolicyChanges::new(pairs),
            events,
        }
    }

    /// What tunnels that live by `policy` are to live by, and what happened to their API, whose policies are `now`.
    fn fate(
        &mut self,
        policy: &TunnelPolicy,
        now: &[&Arc<TunnelPolicy>],
    ) -> (Option<Arc<TunnelPolicy>>, Option<Event>) {
        let named = |one: &&&Arc<TunnelPolicy>| one.backend == policy.backend;
        let same_place = |one: &&&Arc<TunnelPolicy>| one.address == policy.address;
        let same = now.iter().find(|one| named(one) && same_place(one));
        if let Some(same) = same {
            let changed = same.version != policy.version;
            return (Some(Arc::clone(same)), changed.then_some(Event::ApiChanged));
        }
        let Some(first) = now.first() else {
            return (None, Some(Event::ApiRemoved));
        };
        // They stay where they are, by the rules of those who come after them.
        let rules = now.iter().find(named).unwrap_or(first);
        let successor = self.policy(TunnelPolicy {
            backend: policy.backend.clone(),
            address: policy.address.clone(),
            ..TunnelPolicy::clone(rules)
        });
        let elsewhere = now.iter().any(|one| same_place(&one));
        let event = if elsewhere {
            Event::ApiChanged
        } else {
            Event::BackendRemoved
        };
        (Some(successor), Some(event))
    }
}

/// An API by what names it: group, environment, name.
type ApiKey<'a> = (&'a str, &'a str, &'a str);

fn api_key(policy: &TunnelPolicy) -> ApiKey<'_> {
    (&policy.group, &policy.environment, &policy.api)
}

/// What a new catalog means for the tunnels of the one before.
#[derive(Debug, Default)]
pub struct Succession {
    pub changes: PolicyChanges,
    /// What happened to those who live by the policies of the old one, where something did.
    pub events: Vec<(Event, Arc<TunnelPolicy>)>,
}

/// What a reload can do to what a tunnel was opened by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    ApiRemoved,
    /// The API leads elsewhere.
    BackendRemoved,
    ApiChanged,
}

impl Event {
    /// As the log and the listing of drains have it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ApiRemoved => "removed APIs",
            Self::BackendRemoved => "removed backends",
            Self::ApiChanged => "changed APIs",
        }
    }
}

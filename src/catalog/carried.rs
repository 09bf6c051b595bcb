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
}

/// What a new catalog means for the tunnels of the one before.
#[derive(Debug, Default)]
pub struct Succession {
    pub changes: PolicyChanges,
    /// Policies of backends that are not there any more.
    pub gone: Vec<Arc<TunnelPolicy>>,
}

impl Succession {
    pub fn between(old: &Catalog, new: &Catalog) -> Self {
        type Key<'a> = (&'a str, &'a str, &'a str, &'a str);
        fn key(policy: &TunnelPolicy) -> Key<'_> {
            (
                &policy.group,
                &policy.environment,
                &policy.api,
                &policy.backend,
            )
        }
        let now: HashMap<Key<'_>, &Arc<TunnelPolicy>> =
            new.policies().map(|policy| (key(policy), policy)).collect();
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for policy in old.policies() {
            match now.get(&key(policy)) {
                Some(successor) if Arc::ptr_eq(successor, policy) => {}
                Some(successor) => changed.push((Arc::clone(policy), Arc::clone(successor))),
                None => gone.push(Arc::clone(policy)),
            }
        }
        Self {
            changes: PolicyChanges::new(changed),
            gone,
        }
    }
}

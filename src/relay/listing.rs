//! What the tunnels of a relay are doing, for whoever asks: a few slots a turn, so that the answer delays no message.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_channel::oneshot;

use super::policy::TunnelPolicy;
use crate::config::Scheme;
use crate::observe::access_log::Traffic;
use crate::observe::request_id::RequestId;

/// Slots that are looked at in one turn.
pub(super) const SLOTS_PER_TURN: usize = 256;

/// Tunnels that one relay lists at most.
pub const LISTED_MAX: usize = 10_000;

/// Which tunnels are asked for; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub id: Option<RequestId>,
    pub group: Option<String>,
    pub api: Option<String>,
    pub client: Option<IpAddr>,
    pub backend: Option<SocketAddr>,
    pub older_than: Option<Duration>,
    pub idle_for: Option<Duration>,
    /// Those that fit are counted by what they live by, and not listed.
    pub count_only: bool,
}

/// One open tunnel at the moment it was looked at.
#[derive(Clone, Debug)]
pub struct TunnelInfo {
    pub id: RequestId,
    pub policy: Arc<TunnelPolicy>,
    pub scheme: Scheme,
    pub client: SocketAddr,
    pub backend: SocketAddr,
    pub opened_at: SystemTime,
    /// Since its 101.
    pub age: Duration,
    /// Since the last relayed byte, to a fortieth of a second.
    pub idle: Duration,
    pub from_client: Traffic,
    pub from_backend: Traffic,
    /// Bytes that the backend, and the client, have not accepted yet.
    pub waiting_for_backend: usize,
    pub waiting_for_client: usize,
    /// It is on its way out.
    pub closing: bool,
}

impl Filter {
    fn fits(&self, info: &TunnelInfo) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        is(self.id.as_ref(), &info.id)
            && is(self.group.as_ref(), &info.policy.group)
            && is(self.api.as_ref(), &info.policy.api)
            && is(self.client.as_ref(), &info.client.ip().to_canonical())
            && is(self.backend.as_ref(), &info.backend)
            && self.older_than.is_none_or(|age| info.age >= age)
            && self.idle_for.is_none_or(|idle| info.idle >= idle)
    }
}

/// What one relay found.
#[derive(Debug, Default)]
pub struct Listed {
    pub tunnels: Vec<TunnelInfo>,
    /// Tunnels that fit beyond `LISTED_MAX`.
    pub more: usize,
    /// Where they are only counted: policies by their address.
    pub counts: HashMap<usize, (Arc<TunnelPolicy>, u64)>,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Listing {
    filter: Arc<Filter>,
    /// The slot to go on with.
    pub(super) next: usize,
    found: Listed,
    reply: oneshot::Sender<Listed>,
}

impl Listing {
    pub(super) fn new(filter: Arc<Filter>, reply: oneshot::Sender<Listed>) -> Self {
        Self {
            filter,
            next: 0,
            found: Listed::default(),
            reply,
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_canceled()
    }

    pub(super) fn look_at(&mut self, info: TunnelInfo) {
        if !self.filter.fits(&info) {
            return;
        }
        if self.filter.count_only {
            let policy = info.policy;
            let by = Arc::as_ptr(&policy).addr();
            self.found.counts.entry(by).or_insert((policy, 0)).1 += 1;
        } else if self.found.tunnels.len() < LISTED_MAX {
            self.found.tunnels.push(info);
        } else {
            self.found.more += 1;
        }
    }

    pub(super) fn answer(self) {
        // Whoever asked may have left.
        drop(self.reply.send(self.found));
    }
}

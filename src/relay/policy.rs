//! What a tunnel has to know of its API: small, immutable, shared by all tunnels of one API.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

/// How strictly the relay looks at frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FrameMode {
    /// RFC 6455 is enforced: a violation ends the tunnel with 1002.
    #[default]
    Strict,
    /// Frames are counted, violations are not acted on.
    Observe,
    /// Bytes are relayed unseen; no Close frame of ours can be placed.
    Opaque,
}

/// How an idle tunnel is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IdleEnd {
    /// Close 1001 to both sides at a frame boundary.
    #[default]
    Close,
    /// Both transports are closed without a word (spec U4).
    Disconnect,
}

/// The rules a tunnel lives by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TunnelPolicy {
    /// Name of the API, for metrics and logs.
    pub api: String,
    pub group: String,
    pub environment: String,
    /// Which of the API's backends: the name of a backend policy, empty for the default one.
    pub backend: String,
    /// Where that backend is, as its definition says it; empty where it has several addresses.
    pub address: String,
    /// Tells versions of the API's definition apart.
    pub version: u64,
    /// Nothing relayed for this long ends the tunnel (spec 1.4).
    pub idle_timeout: Duration,
    pub idle_end: IdleEnd,
    pub frames: FrameMode,
    /// Most wire bytes of one message, 0 for no limit; more ends the tunnel with 1009.
    pub message_bytes_max: u64,
}

/// Some policies, for quick look-up by identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Vec<Arc<TunnelPolicy>>);

impl Policies {
    pub fn new(mut policies: Vec<Arc<TunnelPolicy>>) -> Self {
        policies.sort_unstable_by_key(Arc::as_ptr);
        Self(policies)
    }

    pub fn contains(&self, policy: &Arc<TunnelPolicy>) -> bool {
        let known = |known: &Arc<TunnelPolicy>| Arc::as_ptr(known);
        self.0
            .binary_search_by_key(&Arc::as_ptr(policy), known)
            .is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<TunnelPolicy>> {
        self.0.iter()
    }
}

/// Policies that open tunnels live by, and those that take their place.
#[derive(Clone, Debug, Default)]
pub struct PolicyChanges(Vec<(Arc<TunnelPolicy>, Arc<TunnelPolicy>)>);

impl PolicyChanges {
    /// Pairs of an old policy and the one that whoever lives by it is to live by.
    pub fn new(mut pairs: Vec<(Arc<TunnelPolicy>, Arc<TunnelPolicy>)>) -> Self {
        pairs.sort_unstable_by_key(|(old, _)| Arc::as_ptr(old));
        Self(pairs)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What takes the place of `current`, if anything does.
    pub(super) fn successor(&self, current: &Arc<TunnelPolicy>) -> Option<&Arc<TunnelPolicy>> {
        let at = self
            .0
            .binary_search_by_key(&Arc::as_ptr(current), |(old, _)| Arc::as_ptr(old));
        self.0.get(at.ok()?).map(|(_, new)| new)
    }
}

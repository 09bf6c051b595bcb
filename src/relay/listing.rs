//! What the tunnels of a relay are doing, for whoever asks: a few slots a turn, so that the answer delays no message.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
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
    /// More than so many bytes that have not been accepted yet, of both directions.
    pub waiting_over: Option<usize>,
}

/// Which tunnels come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Oldest first.
    #[default]
    Age,
    /// Most silent first.
    Idle,
    /// Those with most to be accepted first.
    Waiting,
    /// Those that carried most first.
    Bytes,
}

impl Sort {
    /// What the first has most of.
    pub fn key(self, tunnel: &TunnelInfo) -> u64 {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        match self {
            Self::Age => micros(tunnel.age),
            Self::Idle => micros(tunnel.idle),
            Self::Waiting => tunnel.waiting() as u64,
            Self::Bytes => tunnel.from_client.bytes + tunnel.from_backend.bytes,
        }
    }
}

/// A question after tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    pub filter: Filter,
    pub sort: Sort,
    /// How many of the first are told; the others are counted. One relay holds no more than these.
    pub most: usize,
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

impl TunnelInfo {
    /// Bytes that have not been accepted yet, of both directions.
    pub fn waiting(&self) -> usize {
        self.waiting_for_backend + self.waiting_for_client
    }
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
            && self.waiting_over.is_none_or(|bytes| info.waiting() > bytes)
    }
}

/// What one relay found.
#[derive(Debug, Default)]
pub struct Listed {
    /// The first in the order asked for, themselves in no order.
    pub tunnels: Vec<TunnelInfo>,
    /// Tunnels that fit beyond these.
    pub more: usize,
    /// Where they are only counted: policies by their address.
    pub counts: HashMap<usize, (Arc<TunnelPolicy>, u64)>,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Listing {
    question: Arc<Question>,
    /// The slot to go on with.
    pub(super) next: usize,
    found: Listed,
    /// Key and place in `found` of each that was kept; the one that gives way first on top.
    kept: BinaryHeap<Reverse<(u64, usize)>>,
    reply: oneshot::Sender<Listed>,
}

impl Listing {
    pub(super) fn new(question: Arc<Question>, reply: oneshot::Sender<Listed>) -> Self {
        Self {
            // In one piece: moving what has been found to a larger one would hold messages up.
            found: Listed {
                tunnels: Vec::with_capacity(question.most),
                more: 0,
                counts: HashMap::new(),
            },
            kept: BinaryHeap::with_capacity(question.most),
            question,
            next: 0,
            reply,
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_canceled()
    }

    pub(super) fn look_at(&mut self, info: TunnelInfo) {
        let Question {
            filter,
            sort,
            most,
            count_only,
        } = &*self.question;
        if !filter.fits(&info) {
            return;
        }
        if *count_only {
            let policy = info.policy;
            let by = Arc::as_ptr(&policy).addr();
            self.found.counts.entry(by).or_insert((policy, 0)).1 += 1;
            return;
        }
        let key = sort.key(&info);
        if self.found.tunnels.len() < *most {
            self.kept.push(Reverse((key, self.found.tunnels.len())));
            self.found.tunnels.push(info);
            return;
        }
        self.found.more += 1;
        let Some(mut last) = self.kept.peek_mut() else {
            return;
        };
        let Reverse((least, place)) = *last;
        if let Some(slot) = self.found.tunnels.get_mut(place).filter(|_| least < key) {
            *slot = info;
            *last = Reverse((key, place));
        }
    }

    pub(super) fn answer(self) {
        // Whoever asked may have left.
        drop(self.reply.send(self.found));
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::observe::access_log::Traffic;
    use crate::relay::policy::{FrameMode, IdleEnd};

    fn info(age: u64, waiting: usize) -> TunnelInfo {
        let none = Traffic::default();
        let address = ([127, 0, 0, 1], 1).into();
        TunnelInfo {
            id: RequestId([0; 16]),
            policy: Arc::new(TunnelPolicy {
                api: String::new(),
                group: String::new(),
                environment: String::new(),
                backend: String::new(),
                address: String::new(),
                version: 0,
                idle_timeout: Duration::ZERO,
                idle_end: IdleEnd::Close,
                frames: FrameMode::Strict,
                message_bytes_max: 0,
            }),
            scheme: Scheme::Http,
            client: address,
            backend: address,
            opened_at: UNIX_EPOCH,
            age: Duration::from_secs(age),
            idle: Duration::ZERO,
            from_client: none,
            from_backend: none,
            waiting_for_backend: waiting,
            waiting_for_client: 0,
            closing: false,
        }
    }

    /// The waiting bytes of those that are told, most first, and how many are only counted.
    fn told(question: Question, waiting: &[usize]) -> (Vec<usize>, usize) {
        let (reply, mut listed) = oneshot::channel();
        let mut listing = Listing::new(Arc::new(question), reply);
        for (age, waiting) in (0..).zip(waiting) {
            listing.look_at(info(age, *waiting));
        }
        listing.answer();
        let listed = listed.try_recv().unwrap().unwrap();
        let mut bytes: Vec<_> = listed.tunnels.iter().map(TunnelInfo::waiting).collect();
        bytes.sort_unstable();
        bytes.reverse();
        (bytes, listed.more)
    }

    #[test]
    fn the_first_are_told_wherever_they_stand_and_the_others_are_counted() {
        let waiting = [3, 9, 0, 7, 9, 1, 8];
        let by = |sort, most| Question {
            sort,
            most,
            ..Question::default()
        };
        assert_eq!(told(by(Sort::Waiting, 3), &waiting), (vec![9, 9, 8], 4));
        assert_eq!(told(by(Sort::Waiting, 9), &waiting).1, 0);
        assert_eq!(told(by(Sort::Waiting, 0), &waiting), (vec![], 7));
        // The oldest came last.
        assert_eq!(told(by(Sort::Age, 2), &waiting), (vec![8, 1], 5));
        let mut slow = by(Sort::Waiting, 1);
        slow.filter.waiting_over = Some(7);
        assert_eq!(told(slow, &waiting), (vec![9], 2));
    }
}

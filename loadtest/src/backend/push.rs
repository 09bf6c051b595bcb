//! Pushing the same message to many connections at once, by the clock that all processes of a machine share: push number
//! N of a rate is due at N intervals of it, so that every backend numbers alike.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::frame::{Opcode, encode_frame};
use crate::payload::{PUSH_HEAD_BYTES, Pattern};

const RATE_DEFAULT: f64 = 1.0;
const RATE_MAX: f64 = 100_000.0;
const BYTES_DEFAULT: usize = 64;
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Different orders at a time; whoever comes with yet another one is not pushed to.
const GROUPS_MAX: usize = 64;
/// Pushes that are sent in one go after a stall; those before them are skipped, which their receivers notice.
const BURST_MAX: u64 = 64;

/// What a connection wants to be pushed: how often, and bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PushOrder {
    rate: f64,
    size: usize,
}

impl PushOrder {
    /// What is missing or out of bounds becomes something that is not.
    pub(super) fn parse(rate: Option<&str>, size: Option<&str>) -> Self {
        let rate = rate
            .and_then(|text| text.parse().ok())
            .filter(|rate: &f64| rate.is_finite());
        let size = size.and_then(|text| text.parse().ok());
        Self {
            rate: rate.unwrap_or(RATE_DEFAULT).clamp(0.001, RATE_MAX),
            size: size
                .unwrap_or(BYTES_DEFAULT)
                .clamp(PUSH_HEAD_BYTES, BYTES_MAX),
        }
    }

    /// In nanoseconds of the shared clock.
    fn due(&self, number: u64) -> u64 {
        whole(number as f64 * 1e9 / self.rate)
    }

    fn number_after(&self, now: u64) -> u64 {
        whole(now as f64 * self.rate / 1e9).saturating_add(1)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's `as` saturates, and times and counts are positive"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[derive(Debug, Default)]
pub(super) struct Pusher {
    groups: Vec<Group>,
    payload: Vec<u8>,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct Group {
    order: PushOrder,
    pattern: Pattern,
    next: u64,
    members: BTreeSet<usize>,
}

impl Pusher {
    pub(super) fn add(&mut self, order: PushOrder, member: usize, now: u64) {
        if let Some(group) = self.groups.iter_mut().find(|group| group.order == order) {
            group.members.insert(member);
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.push(Group {
                order,
                pattern: Pattern::shared(order.size),
                next: order.number_after(now),
                members: BTreeSet::from([member]),
            });
        }
    }

    pub(super) fn remove(&mut self, member: usize) {
        for group in &mut self.groups {
            group.members.remove(&member);
        }
        self.groups.retain(|group| !group.members.is_empty());
    }

    /// Until the next push is due; `None` if there is none.
    pub(super) fn wait(&self, now: u64) -> Option<Duration> {
        let due = self
            .groups
            .iter()
            .map(|group| group.order.due(group.next))
            .min()?;
        Some(Duration::from_nanos(due.saturating_sub(now)))
    }

    /// Hands every frame that is due to `send`, with the member that it is for.
    pub(super) fn push_due(&mut self, now: u64, send: &mut dyn FnMut(usize, &[u8])) {
        for group in &mut self.groups {
            let latest = group.order.number_after(now).saturating_sub(1);
            group.next = group.next.max(latest.saturating_sub(BURST_MAX));
            while group.next <= latest {
                let due = group.order.due(group.next);
                group.pattern.write_push(group.next, due, &mut self.payload);
                self.frame.clear();
                encode_frame(Opcode::Text, None, &self.payload, &mut self.frame);
                group.next += 1;
                for member in &group.members {
                    send(*member, &self.frame);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_kept_within_bounds() {
        let check = |rate, size, expected_rate, expected_size| {
            let expected = PushOrder {
                rate: expected_rate,
                size: expected_size,
            };
            assert_eq!(PushOrder::parse(rate, size), expected);
        };
        check(Some("15"), Some("100"), 15.0, 100);
        check(None, Some("1"), RATE_DEFAULT, PUSH_HEAD_BYTES);
        check(Some("NaN"), Some("-1"), RATE_DEFAULT, BYTES_DEFAULT);
        check(Some("1e300"), Some("999999999"), RATE_MAX, BYTES_MAX);
        check(Some("-1"), None, 0.001, BYTES_DEFAULT);
    }

    #[test]
    fn everybody_is_pushed_to_at_each_interval_and_a_stall_is_made_up_for() {
        let mut pusher = Pusher::default();
        let order = PushOrder::parse(Some("10"), None);
        pusher.add(order, 7, 1_000_000_000);
        pusher.add(order, 3, 1_000_000_000);
        assert_eq!(pusher.wait(1_000_000_000), Some(Duration::from_millis(100)));
        let pushed = |pusher: &mut Pusher, now| {
            let mut members: Vec<usize> = Vec::new();
            pusher.push_due(now, &mut |member, frame| {
                assert_eq!(frame.len(), 2 + BYTES_DEFAULT);
                members.push(member);
            });
            members
        };
        assert_eq!(pushed(&mut pusher, 1_099_000_000), Vec::<usize>::new());
        assert_eq!(pushed(&mut pusher, 1_100_000_001), [3, 7]);
        assert_eq!(pushed(&mut pusher, 1_100_000_002), Vec::<usize>::new());
        pusher.remove(3);
        assert_eq!(pushed(&mut pusher, 1_400_000_001), [7, 7, 7]);
        pusher.remove(7);
        assert_eq!(pusher.wait(0), None);
    }
}

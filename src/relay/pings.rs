//! Round trips of pings that pass through a tunnel. Whoever pings wants to know whether the other side lives; the answer
//! tells us how long it took there and back from here.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::close::Side;

/// The pings of a tunnel that wait for their pongs: the first one of each side.
///
/// Payloads are not compared, since nothing is unmasked: a pong that nobody asked for (RFC 6455 §5.5.3) can answer early, and
/// of several pings under way the first is measured.
#[derive(Debug, Default)]
pub(super) struct Pings {
    from_client: Option<Instant>,
    from_backend: Option<Instant>,
}

impl Pings {
    /// A ping of `source` passes.
    pub(super) fn pass(&mut self, source: Side, now: Instant) {
        self.of(source).get_or_insert(now);
    }

    /// A pong of `source` passes: how long it took to come, if it was asked for.
    pub(super) fn answer(&mut self, source: Side, now: Instant) -> Option<Duration> {
        let asked = self.of(source.other()).take()?;
        Some(now.saturating_duration_since(asked))
    }

    fn of(&mut self, source: Side) -> &mut Option<Instant> {
        match source {
            Side::Client => &mut self.from_client,
            Side::Backend => &mut self.from_backend,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn a_pong_answers_the_first_ping_of_the_other_side() {
        let began = Instant::now();
        let after = |millis| began + Duration::from_millis(millis);
        let mut pings = Pings::default();
        assert_eq!(pings.answer(Side::Backend, began), None, "nobody asked");
        pings.pass(Side::Client, after(1));
        pings.pass(Side::Client, after(5));
        assert_eq!(pings.answer(Side::Client, after(6)), None);
        let time = Duration::from_millis(8);
        assert_eq!(pings.answer(Side::Backend, after(9)), Some(time));
        assert_eq!(pings.answer(Side::Backend, after(10)), None);
    }
}

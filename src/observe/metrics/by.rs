//! Counts by one label: why something ended, the class of a status, the code of a Close frame. Each label has few values,
//! all of which are known beforehand.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::Counter;
use crate::close::{CloseReason, LABELS, Side};

/// Counts by `CloseReason`.
#[derive(Debug)]
pub struct ByReason([Counter; LABELS.len()]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ByReason {
    pub fn count(&self, reason: CloseReason) {
        if let Some(counter) = self.0.get(reason.index()) {
            counter.add(1);
        }
    }

    /// Label and value, in the order of `LABELS`.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        LABELS
            .iter()
            .copied()
            .zip(self.0.iter().map(Counter::value))
    }
}

/// The same where it is rare that anything is counted at all: takes its memory with the first count.
#[derive(Debug, Default)]
pub struct RarelyByReason(OnceLock<Box<ByReason>>);

impl RarelyByReason {
    pub fn count(&self, reason: CloseReason) {
        self.0.get_or_init(Box::default).count(reason);
    }

    /// Label and value, in the order of `LABELS`; nothing before the first count.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.get().into_iter().flat_map(|counts| counts.values())
    }
}

/// The values of `reason` and `side` that the end of a tunnel can have: why it ended, and by whose doing.
pub const ENDS: [(&str, &str); 20] = [
    ("finished", "client"),
    ("finished", "backend"),
    ("finished", "nobody"),
    ("idle", "nobody"),
    ("drained", "proxy"),
    ("ordered", "proxy"),
    ("bad_frame", "client"),
    ("bad_frame", "backend"),
    ("slow_consumer", "client"),
    ("slow_consumer", "backend"),
    ("end_of_stream", "client"),
    ("end_of_stream", "backend"),
    ("truncated", "client"),
    ("truncated", "backend"),
    ("tls", "client"),
    ("tls", "backend"),
    ("tls_keys_used_up", "proxy"),
    ("io", "client"),
    ("io", "backend"),
    // Nothing that we know of leads here; better a label too many than an end that nobody sees.
    ("other", "nobody"),
];

/// Ends of tunnels, by reason and side.
#[derive(Debug, Default)]
pub struct ByEnd([Counter; ENDS.len()]);

impl ByEnd {
    /// Counts an end for `reason`. Where that blames nobody, it is put to the side whose Close frame came first.
    pub fn count(&self, reason: CloseReason, first_close: Option<Side>) {
        let side = match (reason, first_close) {
            (CloseReason::Finished, Some(side)) => side.label(),
            _ => reason.blame().label(),
        };
        let end = (reason.label(), side);
        let index = ENDS.iter().position(|known| *known == end);
        if let Some(counter) = self.0.get(index.unwrap_or(ENDS.len() - 1)) {
            counter.add(1);
        }
    }

    /// Labels and value, in the order of `ENDS`.
    pub fn values(&self) -> impl Iterator<Item = ((&'static str, &'static str), u64)> + '_ {
        ENDS.iter().copied().zip(self.0.iter().map(Counter::value))
    }
}

/// The values of the `status` label: the classes of RFC 9110 §15, and calls that got no answer.
pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts by the class of a status.
#[derive(Debug, Default)]
pub struct ByClass([Counter; CLASSES.len()]);

impl ByClass {
    pub fn count(&self, status: Option<u16>) {
        // Whoever invents a class above the fifth counts as an error of a server.
        let class = status.map_or(0, |status| usize::from(status / 100).clamp(1, 5));
        if let Some(counter) = self.0.get(class) {
            counter.add(1);
        }
    }

    /// Label and value, in the order of `CLASSES`.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLASSES
            .iter()
            .copied()
            .zip(self.0.iter().map(Counter::value))
    }
}

/// Counts by status, each on its own.
#[derive(Debug)]
pub struct ByStatus {
    /// From 100 on.
    known: Box<[Counter; 500]>,
    none: Counter,
    /// What no class of RFC 9110 §15 has.
    other: Counter,
}

impl Default for ByStatus {
    fn default() -> Self {
        Self {
            known: Box::new(std::array::from_fn(|_| Counter::default())),
            none: Counter::default(),
            other: Counter::default(),
        }
    }
}

impl ByStatus {
    pub fn count(&self, status: Option<u16>) {
        let known = |status: u16| self.known.get(usize::from(status).checked_sub(100)?);
        let counter = status.map_or(&self.none, |status| known(status).unwrap_or(&self.other));
        counter.add(1);
    }

    /// Status and number of all that were counted: 0 for calls without an answer, 1 for what is no status.
    pub fn values(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let known = (100..).zip(self.known.iter());
        let others = [(0, &self.none), (1, &self.other)].into_iter();
        let all = others.chain(known).map(|(status, n)| (status, n.value()));
        all.filter(|(_, n)| *n > 0)
    }
}

/// The values of `version` of TLS handshakes, and of `resumed`.
pub const TLS_HANDSHAKES: [(&str, &str); 4] = [
    ("1.2", "false"),
    ("1.2", "true"),
    ("1.3", "false"),
    ("1.3", "true"),
];

/// TLS handshakes, by version and by whether they took up an earlier session.
#[derive(Debug, Default)]
pub struct ByTls([Counter; TLS_HANDSHAKES.len()]);

impl ByTls {
    pub fn count(&self, is_tls13: bool, is_resumed: bool) {
        let index = 2 * usize::from(is_tls13) + usize::from(is_resumed);
        if let Some(counter) = self.0.get(index) {
            counter.add(1);
        }
    }

    /// Labels and value, in the order of `TLS_HANDSHAKES`.
    pub fn values(&self) -> impl Iterator<Item = ((&'static str, &'static str), u64)> + '_ {
        let counts = self.0.iter().map(Counter::value);
        TLS_HANDSHAKES.iter().copied().zip(counts)
    }
}

/// Close codes seen, in the few classes that keep labels bounded.
#[derive(Debug, Default)]
pub struct CloseCodes([Counter; CLOSE_CODES.len()]);

/// The values of the `code` label: those that RFC 6455 §7.4.1 and its registry name, absence, and the ranges for others.
pub const CLOSE_CODES: [&str; 18] = [
    "none",
    "1000",
    "1001",
    "1002",
    "1003",
    "1007",
    "1008",
    "1009",
    "1010",
    "1011",
    "1012",
    "1013",
    "1014",
    "1015",
    "3000-3999",
    "4000-4999",
    "1xxx",
    "other",
];

impl CloseCodes {
    pub fn count(&self, code: Option<u16>) {
        let index = match code {
            None => 0,
            Some(code @ 1000..=1003) => usize::from(code - 999),
            Some(code @ 1007..=1015) => usize::from(code - 1002),
            Some(3000..=3999) => 14,
            Some(4000..=4999) => 15,
            Some(1004..=1006 | 1016..=1999) => 16,
            Some(_) => 17,
        };
        if let Some(counter) = self.0.get(index) {
            counter.add(1);
        }
    }

    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLOSE_CODES
            .iter()
            .copied()
            .zip(self.0.iter().map(Counter::value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::{DrainCause, Errno};
    use crate::proto::frame::FrameError;

    #[test]
    fn ends_fall_under_their_reason_and_side() {
        for (reason, first_close, end) in [
            (CloseReason::Finished, None, ("finished", "nobody")),
            (
                CloseReason::Finished,
                Some(Side::Client),
                ("finished", "client"),
            ),
            (CloseReason::Idle, Some(Side::Client), ("idle", "nobody")),
            (
                CloseReason::Drained(DrainCause::Stop),
                Some(Side::Backend),
                ("drained", "proxy"),
            ),
            (CloseReason::Ordered(1008), None, ("ordered", "proxy")),
            (
                CloseReason::BadFrame(Side::Backend, FrameError::Masking),
                None,
                ("bad_frame", "backend"),
            ),
            (
                CloseReason::SlowConsumer(Side::Client),
                None,
                ("slow_consumer", "client"),
            ),
            (
                CloseReason::EndOfStream(Side::Client),
                None,
                ("end_of_stream", "client"),
            ),
            (
                CloseReason::Truncated(Side::Backend),
                None,
                ("truncated", "backend"),
            ),
            (CloseReason::Tls(Side::Client), None, ("tls", "client")),
            (
                CloseReason::TlsKeysUsedUp(Side::Client),
                None,
                ("tls_keys_used_up", "proxy"),
            ),
            (
                CloseReason::Io(Side::Backend, Errno(libc::ECONNRESET)),
                None,
                ("io", "backend"),
            ),
            (CloseReason::NoRoute, None, ("other", "nobody")),
        ] {
            let ends = ByEnd::default();
            ends.count(reason, first_close);
            let counted: Vec<_> = ends.values().filter(|(_, n)| *n > 0).collect();
            assert_eq!(counted, [(end, 1)], "{reason:?}");
        }
    }

    #[test]
    fn what_is_rare_takes_memory_when_it_comes() {
        let rare = RarelyByReason::default();
        assert_eq!(rare.values().count(), 0);
        rare.count(CloseReason::NoPermit);
        assert_eq!(rare.values().filter(|(_, n)| *n > 0).count(), 1);
    }

    #[test]
    fn statuses_fall_into_their_classes() {
        let classes = ByClass::default();
        for status in [
            None,
            Some(101),
            Some(200),
            Some(299),
            Some(404),
            Some(599),
            Some(600),
        ] {
            classes.count(status);
        }
        let counts: Vec<_> = classes.values().map(|(_, n)| n).collect();
        assert_eq!(counts, [1, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn each_status_has_its_own_count() {
        let statuses = ByStatus::default();
        for status in [None, Some(404), Some(404), Some(599), Some(99), Some(600)] {
            statuses.count(status);
        }
        let counted: Vec<_> = statuses.values().collect();
        assert_eq!(counted, [(0, 1), (1, 2), (404, 2), (599, 1)]);
    }

    #[test]
    fn tls_handshakes_fall_under_version_and_resumption() {
        let handshakes = ByTls::default();
        handshakes.count(true, false);
        let counted: Vec<_> = handshakes.values().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [(("1.3", "false"), 1)]);
    }

    #[test]
    fn close_codes_fall_under_their_labels() {
        for (code, label) in [
            (None, "none"),
            (Some(1000), "1000"),
            (Some(1003), "1003"),
            (Some(1005), "1xxx"),
            (Some(1007), "1007"),
            (Some(1015), "1015"),
            (Some(3000), "3000-3999"),
            (Some(4321), "4000-4999"),
            (Some(5000), "other"),
            (Some(0), "other"),
        ] {
            let codes = CloseCodes::default();
            codes.count(code);
            let counted: Vec<_> = codes.values().filter(|(_, n)| *n > 0).collect();
            assert_eq!(counted, [(label, 1)], "{code:?}");
        }
    }
}

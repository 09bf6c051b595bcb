//! One look at a running program: four answers of its admin API, and what can be read from two of them.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value as Json;

use crate::remote::Failure;
use crate::remote::ask::Door;

/// Long enough for a busy box, short enough that a dead one shows.
const PATIENCE: Duration = Duration::from_secs(5);

/// Items of each list that are asked for: more than a screen has.
const ITEMS: usize = 100;

/// Two looks that are further apart tell no rate of now.
const APART_MAX_MS: f64 = 150_000.0;

/// Which APIs come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Open,
    Messages,
    Bytes,
    Failures,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Open => Self::Messages,
            Self::Messages => Self::Bytes,
            Self::Bytes => Self::Failures,
            Self::Failures => Self::Open,
        }
    }

    /// As the admin API has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Failures => "failures",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) state: Json,
    pub(super) apis: Json,
    pub(super) backends: Json,
    pub(super) slow: Json,
}

impl Sample {
    pub(super) fn ask(door: &Door, sort: Sort) -> Result<Self, Failure> {
        let get = |path: &str| door.ask("GET", path, PATIENCE);
        Ok(Self {
            state: get("/v1/state")?,
            apis: get(&format!("/v1/apis?sort={}&limit={ITEMS}", sort.word()))?,
            backends: get(&format!("/v1/backends?sort=failures&limit={ITEMS}"))?,
            slow: get("/v1/tunnels?sort=waiting&waiting_over=0&limit=10")?,
        })
    }

    /// Whether it is of the same process as an earlier one.
    pub(super) fn follows(&self, earlier: &Self) -> bool {
        let same = |key: &str| self.state[key] == earlier.state[key];
        same("pid") && same("started_at")
    }
}

/// The number at a JSON pointer, 0 where there is none.
pub(super) fn number(json: &Json, pointer: &str) -> f64 {
    json.pointer(pointer).and_then(Json::as_f64).unwrap_or(0.0)
}

/// The sum of an object's numbers.
pub(super) fn sum(json: &Json, pointer: &str) -> f64 {
    let values = json.pointer(pointer).and_then(Json::as_object);
    // Not `sum`, which begins at -0.
    values.map_or(0.0, |all| {
        let numbers = all.values().filter_map(Json::as_f64);
        numbers.fold(0.0, |sum, n| sum + n)
    })
}

pub(super) fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

pub(super) fn list<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json[key].as_array().map_or(&[], Vec::as_slice)
}

/// Two values of which the later may have grown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) now: &'a Json,
    pub(super) before: Option<&'a Json>,
    /// Between them.
    pub(super) milliseconds: f64,
}

impl<'a> Pair<'a> {
    /// Of two answers, each with its `uptime_ms`.
    pub(super) fn of(now: &'a Json, before: Option<&'a Json>) -> Self {
        let uptime = |json| number(json, "/uptime_ms");
        let milliseconds = before.map_or(0.0, |before| uptime(now) - uptime(before));
        Self {
            now,
            before,
            milliseconds,
        }
    }

    /// What was added a second; nothing where that can't be known, as for a counter that began anew.
    pub(super) fn rate(self, read: impl Fn(&Json) -> f64) -> Option<f64> {
        let more = read(self.now) - read(self.before?);
        let apart = self.milliseconds > 0.0 && self.milliseconds <= APART_MAX_MS;
        (apart && more >= 0.0).then(|| more * 1e3 / self.milliseconds)
    }

    /// Items of a list, each with the same item of the earlier answer.
    pub(super) fn items(self, key: &str, name: impl Fn(&Json) -> String) -> Vec<Self> {
        let before: HashMap<String, &Json> = self
            .before
            .into_iter()
            .flat_map(|before| list(before, key))
            .map(|item| (name(item), item))
            .collect();
        let items = list(self.now, key).iter();
        items
            .map(|now| Self {
                now,
                before: before.get(&name(now)).copied(),
                milliseconds: self.milliseconds,
            })
            .collect()
    }

    /// The time in milliseconds that so large a part of what is counted at `pointer` took at most, between the two.
    pub(super) fn quantile(self, pointer: &str, part: f64) -> Option<f64> {
        let buckets = |state: &'a Json| {
            state
                .pointer(pointer)
                .map_or(&[][..], |times| list(times, "buckets"))
        };
        let earlier = buckets(self.before?);
        let counts: Vec<_> = buckets(self.now)
            .iter()
            .zip(earlier)
            .map(|(now, before)| {
                let more = number(now, "/count") - number(before, "/count");
                (now["up_to_ms"].as_f64(), more.max(0.0))
            })
            .collect();
        let all: f64 = counts.iter().map(|(_, n)| n).sum();
        let (mut rank, mut below) = (all * part, 0.0);
        for (up_to, n) in counts.iter().filter(|_| all > 0.0) {
            match up_to {
                // Beyond the last bound: that is all there is to say.
                None => return Some(below),
                Some(up_to) if rank <= *n && *n > 0.0 => {
                    return Some(below + (up_to - below) * rank / n);
                }
                Some(up_to) => below = *up_to,
            }
            rank -= n;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rates_are_per_second_of_the_programs_own_time() {
        let (before, now) = (
            json!({ "uptime_ms": 1000, "n": 10 }),
            json!({ "uptime_ms": 3000, "n": 30 }),
        );
        let read = |json: &Json| number(json, "/n");
        assert_eq!(Pair::of(&now, Some(&before)).rate(read), Some(10.0));
        assert_eq!(Pair::of(&now, None).rate(read), None);
        // A counter that began anew, and a clock that stood still.
        assert_eq!(Pair::of(&before, Some(&now)).rate(read), None);
        assert_eq!(Pair::of(&now, Some(&now)).rate(read), None);
    }

    #[test]
    fn items_are_found_again_by_name() {
        let item = |name: &str, n: u64| json!({ "name": name, "n": n });
        let before = json!({ "uptime_ms": 0, "all": [item("a", 1), item("b", 2)] });
        let now = json!({ "uptime_ms": 500, "all": [item("b", 4), item("c", 9)] });
        let items =
            Pair::of(&now, Some(&before)).items("all", |item| text(item, "name").to_owned());
        let rates: Vec<_> = items
            .iter()
            .map(|item| item.rate(|json| number(json, "/n")))
            .collect();
        assert_eq!(rates, [Some(4.0), None]);
    }

    #[test]
    fn quantiles_are_of_what_happened_between() {
        let state = |counts: [u64; 3]| {
            let buckets = [Some(1.0), Some(10.0), None].iter().zip(counts);
            let buckets: Vec<_> = buckets
                .map(|(up_to_ms, count)| json!({ "up_to_ms": up_to_ms, "count": count }))
                .collect();
            json!({ "handshakes": { "buckets": buckets } })
        };
        let (before, now) = (state([100, 0, 0]), state([100, 8, 2]));
        let pair = Pair::of(&now, Some(&before));
        assert_eq!(pair.quantile("/handshakes", 0.4), Some(1.0 + 9.0 * 0.5));
        assert_eq!(pair.quantile("/handshakes", 0.99), Some(10.0));
        assert_eq!(
            Pair::of(&now, Some(&now)).quantile("/handshakes", 0.5),
            None
        );
    }
}

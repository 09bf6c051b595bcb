//! What is to be seen of two samples, as lines: pure, so that it can be looked at in a test.

use std::time::Duration;

use serde_json::Value as Json;
use unicode_width::UnicodeWidthStr;

use super::numbers::{NONE, bytes, count, rate, span, time};
use super::sample::{Pair, Sample, Sort, list, number, sum, text};
use super::table::{Table, cut, visible};

/// The room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    /// `None` for as many as it takes.
    pub(super) rows: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// Of the whole.
    Title,
    /// Of a table.
    Head,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) style: Style,
    pub(super) text: String,
}

pub(super) struct Picture<'a> {
    now: &'a Sample,
    before: Option<&'a Sample>,
    sort: Sort,
    warning: Option<String>,
}

/// Rows that each table has at least, where the room is short: its head and two.
const TABLE_ROWS_MIN: usize = 3;

impl<'a> Picture<'a> {
    pub(super) fn new(now: &'a Sample, before: Option<&'a Sample>, sort: Sort) -> Self {
        Self {
            now,
            before,
            sort,
            warning: None,
        }
    }

    /// Says something that may not be missed.
    pub(super) fn warn(&mut self, warning: String) {
        self.warning = Some(visible(&warning));
    }

    pub(super) fn lines(&self, size: Size) -> Vec<Line> {
        let mut lines = self.summary(size.columns);
        let tables = [self.apis(), self.backends(), self.slow()];
        let ends = self.ends();
        // A blank line above each part.
        let used = lines.len() + tables.len() + 1 + ends.len();
        let heights = tables
            .each_ref()
            .map(|table| table.lines(size.columns).len());
        let rooms = share(heights, size.rows.map(|rows| rows.saturating_sub(used)));
        for (table, room) in tables.iter().zip(rooms) {
            lines.push(plain(String::new()));
            for (at, text) in table.lines(size.columns).into_iter().take(room).enumerate() {
                let style = if at == 0 { Style::Head } else { Style::Plain };
                lines.push(Line { style, text });
            }
        }
        lines.push(plain(String::new()));
        lines.extend(ends);
        for line in &mut lines {
            line.text = cut(&line.text, size.columns);
        }
        lines.truncate(size.rows.unwrap_or(usize::MAX));
        lines
    }

    fn state(&self) -> Pair<'a> {
        Pair::of(&self.now.state, self.before.map(|before| &before.state))
    }

    fn summary(&self, columns: usize) -> Vec<Line> {
        let (pair, state) = (self.state(), &self.now.state);
        let per_second = |pointer: &'static str| rate(pair.rate(|state| number(state, pointer)));
        let bytes_per_second =
            |pointer: &'static str| bytes(pair.rate(|state| number(state, pointer)));
        let uptime = Duration::from_secs_f64(number(state, "/uptime_ms") / 1e3);
        let title = format!(
            "ringgate {}  {}  up {}  process {}  generation {}",
            text(state, "version"),
            text(state, "readiness"),
            span(uptime),
            state["pid"],
            number(state, "/config/generation"),
        );
        let parts = [
            format!(
                "sockets {} open, {}/s new, {}/s ended",
                count(number(state, "/tunnels/open")),
                per_second("/tunnels/opened"),
                rate(pair.rate(|state| sum(state, "/tunnels/closed"))),
            ),
            format!(
                "connections {} of {}, {}/s new, {}/s refused",
                count(number(state, "/connections/open")),
                count(number(state, "/connections/limit")),
                per_second("/connections/accepted"),
                rate(pair.rate(|state| sum(state, "/refused"))),
            ),
            format!(
                "messages {}/s in, {}/s out",
                per_second("/tunnels/from_client/messages"),
                per_second("/tunnels/from_backend/messages"),
            ),
            format!(
                "bytes {}/s in, {}/s out",
                bytes_per_second("/tunnels/from_client/bytes"),
                bytes_per_second("/tunnels/from_backend/bytes"),
            ),
            format!(
                "handshakes p50 {}, p99 {}",
                time(pair.quantile("/handshakes", 0.5)),
                time(pair.quantile("/handshakes", 0.99)),
            ),
            format!(
                "pings p50 {} to clients, {} to backends",
                time(pair.quantile("/tunnels/from_client/round_trip", 0.5)),
                time(pair.quantile("/tunnels/from_backend/round_trip", 0.5)),
            ),
            format!(
                "memory {}",
                bytes(state["memory"]["resident_bytes"].as_f64())
            ),
        ];
        let mut lines = vec![Line {
            style: Style::Title,
            text: visible(&title),
        }];
        lines.extend(packed(&parts, columns).into_iter().map(plain));
        lines.extend(refused_reload(state));
        lines.extend(list(state, "drains").iter().rev().filter_map(drain));
        if let Some(warning) = &self.warning {
            lines.push(Line {
                style: Style::Bad,
                text: warning.clone(),
            });
        }
        lines
    }

    fn apis(&self) -> Table {
        let head = [
            "API",
            "OPEN",
            "NEW/S",
            "MSG/S IN",
            "OUT",
            "BYTES/S IN",
            "OUT",
            "FAILED",
        ];
        let sorted = match self.sort {
            Sort::Open => 1,
            Sort::Messages => 3,
            Sort::Bytes => 5,
            Sort::Failures => 7,
        };
        let head: Vec<_> = head
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{name}{}", if at == sorted { "*" } else { "" }))
            .collect();
        let head: Vec<_> = head.iter().map(String::as_str).collect();
        let mut table = Table::new(&head, &[0]);
        let name = |api: &Json| {
            ["group", "environment", "api", "method", "path"]
                .map(|key| text(api, key))
                .join("\n")
        };
        let pair = Pair::of(&self.now.apis, self.before.map(|before| &before.apis));
        for api in pair.items("apis", name) {
            let row = api.now;
            let mut name = format!("{}:{}", text(row, "group"), text(row, "api"));
            match text(row, "environment") {
                "RELEASE" => {}
                other => name.push_str(&format!(" ({other})")),
            }
            let mut cells = vec![name, count(number(row, "/tunnels/open"))];
            cells.extend(flow(api));
            cells.push(count(sum(row, "/handshakes/failed")));
            table.push(cells);
        }
        table
    }

    fn backends(&self) -> Table {
        let head = [
            "BACKEND",
            "OPEN",
            "NEW/S",
            "MSG/S TO",
            "FROM",
            "BYTES/S TO",
            "FROM",
            "UNREACHED",
            "FAILED",
            "LAST FAILURE",
        ];
        let mut table = Table::new(&head, &[0, 9]);
        let pair = Pair::of(
            &self.now.backends,
            self.before.map(|before| &before.backends),
        );
        for backend in pair.items("backends", |item| text(item, "backend").to_owned()) {
            let row = backend.now;
            let mut cells = vec![
                text(row, "backend").to_owned(),
                count(number(row, "/tunnels/open")),
            ];
            cells.extend(flow(backend));
            cells.push(count(sum(row, "/connects/failed")));
            cells.push(count(sum(row, "/handshakes/failed")));
            cells.push(match text(&row["last_failure"], "reason") {
                "" => NONE.to_owned(),
                reason => format!("{reason} {}", clock(text(&row["last_failure"], "at"))),
            });
            table.push(cells);
        }
        table
    }

    fn slow(&self) -> Table {
        let head = [
            "SLOWEST READERS",
            "API",
            "CLIENT",
            "BACKEND",
            "FOR CLIENT",
            "FOR BACKEND",
            "AGE",
        ];
        let mut table = Table::new(&head, &[0, 1, 2, 3]);
        for tunnel in list(&self.now.slow, "tunnels") {
            let waiting = |key: &str| bytes(tunnel[key].as_f64());
            let age = Duration::from_secs_f64(number(tunnel, "/age_ms") / 1e3);
            table.push(vec![
                text(tunnel, "id").to_owned(),
                text(tunnel, "api").to_owned(),
                text(tunnel, "client").to_owned(),
                text(tunnel, "backend").to_owned(),
                waiting("waiting_for_client_bytes"),
                waiting("waiting_for_backend_bytes"),
                span(age),
            ]);
        }
        table
    }

    /// Why sockets ended so far, and how many a second of each.
    fn ends(&self) -> Vec<Line> {
        let pair = self.state();
        let reasons = counted(pair, "/tunnels/closed");
        let codes = |side| counted(pair, side);
        vec![
            Line {
                style: Style::Head,
                text: "ENDED".to_owned(),
            },
            plain(format!("by reason         {reasons}")),
            plain(format!(
                "codes of clients  {}",
                codes("/tunnels/from_client/close_codes")
            )),
            plain(format!(
                "codes of backends {}",
                codes("/tunnels/from_backend/close_codes")
            )),
            plain(format!("refused           {}", counted(pair, "/refused"))),
        ]
    }
}

fn plain(text: String) -> Line {
    Line {
        style: Style::Plain,
        text,
    }
}

/// New tunnels, messages and bytes each way, as rates.
fn flow(item: Pair<'_>) -> [String; 5] {
    let per_second = |pointer: &'static str| item.rate(|item| number(item, pointer));
    [
        rate(per_second("/tunnels/opened")),
        rate(per_second("/from_client/messages")),
        rate(per_second("/from_backend/messages")),
        bytes(per_second("/from_client/bytes")),
        bytes(per_second("/from_backend/bytes")),
    ]
}

/// `finished 120 (+3.0/s)  idle 4`, most first.
fn counted(pair: Pair<'_>, pointer: &'static str) -> String {
    let all = pair.now.pointer(pointer).and_then(Json::as_object);
    let mut all: Vec<_> = all
        .into_iter()
        .flatten()
        .map(|(label, n)| (label, n.as_f64().unwrap_or(0.0)))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = all.into_iter().map(|(label, n)| {
        let more = pair.rate(|json| number(json, &format!("{pointer}/{label}")));
        let more = more.filter(|more| *more > 0.0);
        let more = more.map_or_else(String::new, |more| format!(" (+{}/s)", rate(Some(more))));
        visible(&format!("{label} {}{more}", count(n)))
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        NONE.to_owned()
    } else {
        shown.join("  ")
    }
}

/// As many to a line as fit.
fn packed(parts: &[String], columns: usize) -> Vec<String> {
    const GAP: &str = "   ";
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.width() + GAP.len() + part.width() <= columns => {
                line.push_str(GAP);
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
    }
    lines
}

/// What was wrong with the last reload, if anything was.
fn refused_reload(state: &Json) -> Option<Line> {
    let last = &state["reloads"]["last"];
    let refused = text(last, "result") == "failure";
    refused.then(|| Line {
        style: Style::Bad,
        text: visible(&format!(
            "last reload refused at {}: {}",
            clock(text(last, "at")),
            last["complaints"][0].as_str().unwrap_or_default()
        )),
    })
}

/// The time of day of a moment, in UTC as all times here.
fn clock(moment: &str) -> &str {
    moment.get(11..19).unwrap_or(moment)
}

/// Of a drain under way.
fn drain(drain: &Json) -> Option<Line> {
    let of = |key: &str| count(drain[key].as_f64().unwrap_or(0.0));
    let under_way = number(drain, "/waiting") > 0.0 && drain["cancelled"] != true;
    under_way.then(|| {
        plain(visible(&format!(
            "drain {}    {} over {}: {} told to close, {} left by themselves, {} of {} waiting",
            drain["drain"],
            text(drain, "which"),
            text(drain, "over"),
            of("closed"),
            of("left_by_themselves"),
            of("waiting"),
            of("chosen"),
        )))
    })
}

/// Gives each table its rows, or where room is short, what the others leave; the first gets most.
fn share(heights: [usize; 3], room: Option<usize>) -> [usize; 3] {
    let Some(room) = room else { return heights };
    let mut given = heights.map(|height| height.min(TABLE_ROWS_MIN));
    let mut left = room.saturating_sub(given.iter().sum());
    let mut shared = true;
    while std::mem::take(&mut shared) {
        // Two rows for APIs to each one of the others.
        for ((given, height), weight) in given.iter_mut().zip(heights).zip([2, 1, 1]) {
            let more = height.saturating_sub(*given).min(weight).min(left);
            *given += more;
            left -= more;
            shared |= more > 0;
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(seconds: u64) -> Sample {
        let n = seconds * 10;
        let had = json!({
            "tunnels": { "open": 4, "opened": n, "closed": {} },
            "from_client": { "messages": n, "bytes": 100 * n },
            "from_backend": { "messages": 2 * n, "bytes": 200 * n },
            "handshakes": { "upgraded": n, "failed": { "no_answer": 3 } },
            "connects": { "tried": n, "failed": {} },
        });
        let named = |names: &[(&str, &str)]| {
            let mut item = had.clone();
            for (key, name) in names {
                item[*key] = json!(name);
            }
            item
        };
        let traffic = json!({ "messages": n, "bytes": n, "close_codes": { "1000": n } });
        Sample {
            state: json!({
                "version": "1.2.3", "pid": 7, "readiness": "ready", "uptime_ms": seconds * 1000,
                "config": { "generation": 2 },
                "reloads": { "last": { "result": "failure", "at": "2026-01-01T00:00:00.000Z", "complaints": ["a:1: no\u{1b}[2J"] } },
                "drains": [{ "drain": 1, "which": "all", "over": "5m", "chosen": 10, "closed": 3, "left_by_themselves": 1, "waiting": 6, "cancelled": false }],
                "connections": { "open": 5, "limit": 100_000, "accepted": n },
                "tunnels": { "open": 4, "opened": n, "closed": { "finished": n, "idle": 1 }, "from_client": traffic, "from_backend": traffic },
                "handshakes": { "buckets": [{ "up_to_ms": 1.0, "count": n }] },
                "memory": { "resident_bytes": 3 << 20 },
            }),
            apis: json!({ "uptime_ms": seconds * 1000, "apis": [
                named(&[("group", "DEFAULT"), ("environment", "RELEASE"), ("api", "API01")]),
                named(&[("group", "chat"), ("environment", "TEST"), ("api", "聊天室")]),
            ] }),
            backends: json!({ "uptime_ms": seconds * 1000, "backends": [named(&[("backend", "192.0.2.20:8080")])] }),
            slow: json!({ "tunnels": [{ "id": "ab", "api": "API01", "client": "192.0.2.1:5", "backend": "192.0.2.20:8080",
                "waiting_for_client_bytes": 65536, "waiting_for_backend_bytes": 0, "age_ms": 90_000 }] }),
        }
    }

    fn lines(size: Size) -> Vec<String> {
        let (before, now) = (sample(10), sample(12));
        let mut picture = Picture::new(&now, Some(&before), Sort::Open);
        picture.warn("no answer".to_owned());
        let lines = picture.lines(size).into_iter();
        lines.map(|line| line.text).collect()
    }

    #[test]
    fn everything_is_there_where_there_is_room() {
        let text = lines(Size {
            columns: 200,
            rows: None,
        });
        let text = text.join("\n");
        for expected in [
            "ringgate 1.2.3  ready  up 12s  process 7  generation 2",
            "last reload refused at 00:00:00: a:1: no\\u{1b}[2J",
            "sockets 4 open, 10/s new, 10/s ended   connections 5 of 100k",
            "messages 10/s in, 10/s out   bytes 10B/s in, 10B/s out   handshakes p50 500us",
            "drain 1    all over 5m: 3 told to close, 1 left by themselves, 6 of 10 waiting",
            "no answer",
            "DEFAULT:API01 ",
            "chat:聊天室 (TEST)",
            "192.0.2.20:8080     4     10        10    20",
            "64.0KiB",
            "by reason         finished 120 (+10/s)  idle 1",
            "codes of clients  1000 120 (+10/s)",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn it_fits_whatever_the_size() {
        for rows in 0..40 {
            for columns in [1, 20, 80, 200] {
                let size = Size {
                    columns,
                    rows: Some(rows),
                };
                let lines = lines(size);
                assert!(lines.len() <= rows);
                for line in lines {
                    assert!(cut(&line, columns) == line, "{line}");
                }
            }
        }
    }

    #[test]
    fn parts_fill_lines() {
        let parts = ["abc", "def", "ghi"].map(str::to_owned);
        assert_eq!(packed(&parts, 9), ["abc   def", "ghi"]);
        assert_eq!(packed(&parts, 2), ["abc", "def", "ghi"]);
        assert_eq!(packed(&parts, 80), ["abc   def   ghi"]);
    }

    #[test]
    fn short_room_is_shared() {
        assert_eq!(share([50, 50, 50], Some(29)), [13, 8, 8]);
        assert_eq!(share([50, 2, 1], Some(30)), [27, 2, 1]);
        assert_eq!(share([2, 2, 2], Some(30)), [2, 2, 2]);
        assert_eq!(share([5, 5, 5], None), [5, 5, 5]);
    }
}

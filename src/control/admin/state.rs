//! `GET /v1/state`: the process, what it serves by, how the last reload went, and every number that a person looks at.
#![forbid(unsafe_code)]

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::Admin;
use super::http::{Answer, now};
use crate::control::State;
use crate::control::in_force::LastReload;
use crate::observe::utc::Utc;

/// What the answer has beside the summary of the counters.
#[derive(Serialize)]
struct Shown<S> {
    version: &'static str,
    pid: u32,
    started_at: Utc,
    now: Utc,
    /// What rates are counted against: it never jumps, as the time of day may.
    uptime_ms: u64,
    readiness: &'static str,
    config: Value,
    reloads: Value,
    drains: Value,
    #[serde(flatten)]
    counters: S,
}

impl Admin {
    pub(super) fn state(&self) -> Answer {
        let config = &self.in_force;
        let facts = self.registry.facts();
        let (succeeded, failed, generation) = self.registry.reloads();
        Answer::json(
            200,
            &Shown {
                version: facts.version,
                pid: std::process::id(),
                started_at: Utc(facts.started_at),
                now: Utc(now()),
                uptime_ms: self.uptime_ms(),
                readiness: match self.readiness.state() {
                    State::Starting => "starting",
                    State::Ready => "ready",
                    State::Stopping => "stopping",
                },
                config: json!({
                    "file": config.file().map(|file| file.display().to_string()),
                    "generation": generation,
                    "hash": config.config().fingerprint.map(|print| print.to_string()),
                    "since": Utc(config.since()),
                }),
                reloads: json!({
                    "succeeded": succeeded,
                    "failed": failed,
                    "last": config.last_reload().as_ref().map(last_reload),
                }),
                drains: json!(self.operations.drains.list()),
                counters: self.registry.summary(),
            },
        )
    }

    #[expect(clippy::disallowed_methods, reason = "once an answer")]
    pub(super) fn uptime_ms(&self) -> u64 {
        let uptime = Instant::now().saturating_duration_since(self.began);
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }
}

fn last_reload(last: &LastReload) -> Value {
    let at = Utc(last.at);
    match &last.outcome {
        Ok(summary) => json!({
            "at": at, "result": "success", "summary": summary, "complaints": [], "complaints_total": 0,
        }),
        Err((complaints, total)) => json!({
            "at": at, "result": "failure", "summary": null, "complaints": complaints, "complaints_total": total,
        }),
    }
}

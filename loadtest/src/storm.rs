//! The storm scenario: connect, TLS, upgrade, one echo, closing handshake, and again, as fast as the server takes it.

use std::time::Duration;

use crate::cli::StormOptions;
use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::fleet::Fleet;
use crate::lane::{Lane, Scratch, Step};
use crate::latency::Latency;
use crate::observe::Observer;
use crate::report::Report;
use crate::{Outcome, descriptors};

const MESSAGE_BYTES: usize = 64;
/// One connection, from connect to end.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
/// How often connections that take too long are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
/// So many failures before the first success mean that there is nothing to measure.
const FAILURES_MAX: u64 = 100;

pub(crate) fn run(options: StormOptions) -> Result<Outcome, String> {
    descriptors::ensure(options.clients)?;
    let target = options.load.target()?;
    let observer = Observer::new(options.load.observe);
    let mut fleet = Fleet::new(target, options.load.sources, options.clients, MESSAGE_BYTES)
        .map_err(|error| error.to_string())?;
    let mut storm = Storm {
        stages: vec![Stage::Opening; options.clients],
        finished: Vec::new(),
        connections: 0,
        handshake: Latency::new()?,
    };
    let before = observer.sample()?;
    let window = Window::new(clock::now(), options.load.duration);
    storm.rage(&mut fleet, window)?;
    let after = observer.sample()?;

    let mut report = Report::new("storm");
    report.add("clients", options.clients);
    report.add("seconds", window.seconds());
    report.add("connections", storm.connections);
    report.add(
        "connections_per_second",
        storm.connections as f64 / window.seconds(),
    );
    storm.handshake.report("handshake", &mut report);
    if let Some((before, after)) = before.zip(after) {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        report.add("cpu_share", cpu / window.seconds());
        report.add(
            "cpu_us_per_connection",
            cpu * 1e6 / storm.connections as f64,
        );
    }
    report.add_failures(&fleet.failures);
    Ok(Outcome::new(report, &fleet.failures))
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Echo,
    /// The server's Close in answer to ours.
    Close,
    /// The end: RFC 6455 §7.1.1 has the server close first, which also keeps TIME_WAIT off our ports.
    End,
}

#[derive(Debug)]
struct Storm {
    stages: Vec<Stage>,
    finished: Vec<usize>,
    connections: u64,
    handshake: Latency,
}

impl Storm {
    fn rage(&mut self, fleet: &mut Fleet, window: Window) -> Result<(), String> {
        for slot in 0..fleet.len() {
            self.connect(fleet, slot);
        }
        let mut expiry = window.start + EXPIRY_INTERVAL;
        loop {
            let now = clock::now();
            if now >= window.end {
                return Ok(());
            }
            if now >= expiry {
                fleet.expire(now.checked_sub(CONNECTION_MAX).unwrap_or(window.start));
                expiry = now + EXPIRY_INTERVAL;
            }
            fleet
                .turn(
                    Some(expiry.min(window.end) - now),
                    &mut |slot, lane, step, scratch| self.handle_step(slot, lane, step, scratch),
                )
                .map_err(|error| error.to_string())?;
            self.replace(fleet)?;
        }
    }

    fn handle_step(
        &mut self,
        slot: usize,
        lane: &mut Lane,
        step: Step,
        scratch: &mut Scratch,
    ) -> Result<(), ClientError> {
        let Some(stage) = self.stages.get_mut(slot) else {
            return Ok(());
        };
        *stage = match (*stage, step) {
            (Stage::Opening, Step::Opened) => {
                let now = clock::now();
                self.handshake
                    .record(now.saturating_duration_since(lane.started));
                lane.send(now, scratch)?;
                Stage::Echo
            }
            (Stage::Echo, Step::Echoed { .. }) => {
                lane.send_close(scratch)?;
                Stage::Close
            }
            (Stage::Close, Step::Closed) => Stage::End,
            (Stage::End, Step::Ended) => {
                self.connections += 1;
                self.finished.push(slot);
                Stage::End
            }
            (_, Step::Closed) => return Err(ClientError::Closed),
            (_, Step::Ended) => return Err(ClientError::Ended),
            (_, Step::Opened | Step::Echoed { .. } | Step::Mismatched) => {
                return Err(ClientError::Mismatch);
            }
        };
        Ok(())
    }

    /// Puts new connections in place of those that are over.
    fn replace(&mut self, fleet: &mut Fleet) -> Result<(), String> {
        if self.connections == 0 && fleet.failures.total() >= FAILURES_MAX {
            let error = fleet.failures.first().unwrap_or_default();
            return Err(format!("no connection succeeded: {error}"));
        }
        let mut over = fleet.take_failed();
        over.append(&mut self.finished);
        for slot in over {
            self.connect(fleet, slot);
        }
        Ok(())
    }

    fn connect(&mut self, fleet: &mut Fleet, slot: usize) {
        if let Some(stage) = self.stages.get_mut(slot) {
            *stage = Stage::Opening;
        }
        fleet.connect(slot);
    }
}

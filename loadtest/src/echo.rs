//! The echo scenario: messages on open connections, closed loop or at a fixed rate, each echo checked and timed.

use std::time::{Duration, Instant};

use crate::cli::EchoOptions;
use crate::clock::{self, Window};
use crate::error::ClientError;
use crate::fleet::{Fleet, expect_echo};
use crate::lane::Step;
use crate::latency::Latency;
use crate::observe::{Cost, Observer};
use crate::report::Report;
use crate::schedule::Schedule;
use crate::{Outcome, descriptors};

/// How long echoes may still come after the last message.
const DRAIN: Duration = Duration::from_secs(2);

pub(crate) fn run(options: EchoOptions) -> Result<Outcome, String> {
    descriptors::ensure(options.connections)?;
    let target = options.load.target()?;
    let observer = Observer::new(options.load.observe);
    let fleet = Fleet::new(
        target,
        options.load.sources,
        options.connections,
        options.size,
    );
    let mut run = Run {
        fleet: fleet.map_err(|error| error.to_string())?,
        counts: Counts {
            latency: Latency::new()?,
            window: None,
            messages: 0,
        },
    };
    run.fleet.open_all(options.load.open_rate)?;
    let pace = match options.rate {
        Some(rate) => Pace::Open(Schedule::new(clock::now(), rate)),
        None => Pace::Closed,
    };
    let (before, window, after) =
        run.measure(pace, options.warm_up, options.load.duration, &observer)?;
    Ok(run.report(options.rate, window, before.zip(after)))
}

#[derive(Debug)]
enum Pace {
    /// Each connection sends when its echo has come: shows what a message costs, hides how long a stall would be felt.
    Closed,
    /// Sends by the clock, so that a stall is felt by every message that was due in it.
    Open(Schedule),
}

struct Run {
    fleet: Fleet,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    latency: Latency,
    /// `None` while warming up.
    window: Option<Window>,
    messages: u64,
}

impl Run {
    fn measure(
        &mut self,
        mut pace: Pace,
        warm_up: Duration,
        length: Duration,
        observer: &Observer,
    ) -> Result<(Option<Cost>, Window, Option<Cost>), String> {
        if matches!(pace, Pace::Closed) {
            let now = clock::now();
            for slot in 0..self.fleet.len() {
                self.fleet.send(slot, now);
            }
        }
        self.drive(&mut pace, clock::now() + warm_up)?;
        let before = observer.sample()?;
        let window = Window::new(clock::now(), length);
        self.counts.window = Some(window);
        self.drive(&mut pace, window.end)?;
        let after = observer.sample()?;
        self.drain()?;
        Ok((before, window, after))
    }

    /// Sends and receives until `end`.
    fn drive(&mut self, pace: &mut Pace, end: Instant) -> Result<(), String> {
        loop {
            let now = clock::now();
            if now >= end {
                return Ok(());
            }
            let mut wake = end;
            if let Pace::Open(schedule) = pace {
                self.send_due(schedule, now);
                wake = end.min(schedule.next_due());
            }
            let answer = matches!(pace, Pace::Closed);
            self.turn(wake.saturating_duration_since(now), answer)?;
        }
    }

    fn send_due(&mut self, schedule: &mut Schedule, now: Instant) {
        let lanes = self.fleet.len() as u64;
        while let Some((number, due)) = schedule.poll(now) {
            let slot = usize::try_from(number % lanes).unwrap_or_default();
            self.fleet.send(slot, due);
        }
    }

    /// Waits for the echoes still outstanding; what has not come by then is lost.
    fn drain(&mut self) -> Result<(), String> {
        let end = clock::now() + DRAIN;
        while self.fleet.outstanding() > 0 && clock::now() < end {
            self.turn(Duration::from_millis(10), false)?;
        }
        let lost = self.fleet.outstanding() as u64;
        self.fleet.failures.count_many(&ClientError::Lost, lost);
        Ok(())
    }

    /// With `answer`, each echo is followed by the next message.
    fn turn(&mut self, timeout: Duration, answer: bool) -> Result<(), String> {
        let counts = &mut self.counts;
        self.fleet
            .turn(Some(timeout), &mut |_, lane, step, scratch| {
                expect_echo(step)?;
                if let Step::Echoed { due } = step {
                    let now = clock::now();
                    counts.record(due, now);
                    if answer {
                        lane.send(now, scratch)?;
                    }
                }
                Ok(())
            })
            .map_err(|error| error.to_string())
    }

    fn report(self, rate: Option<f64>, window: Window, costs: Option<(Cost, Cost)>) -> Outcome {
        let messages = self.counts.messages;
        let mut report = Report::new("echo");
        report.add("connections", self.fleet.len());
        report.add("loop", if rate.is_some() { "open" } else { "closed" });
        report.add("seconds", window.seconds());
        report.add("messages", messages);
        report.add("messages_per_second", messages as f64 / window.seconds());
        self.counts.latency.report("latency", &mut report);
        if let Some((before, after)) = costs {
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            report.add("cpu_share", cpu / window.seconds());
            // An echo is relayed twice: there and back.
            report.add(
                "cpu_us_per_relayed_message",
                cpu * 1e6 / (2.0 * messages as f64),
            );
            before.memory.report("before", &mut report);
            after.memory.report("after", &mut report);
        }
        report.add_failures(&self.fleet.failures);
        Outcome::new(report, &self.fleet.failures)
    }
}

impl Counts {
    /// Messages count when their echo comes, which is when they have cost what they cost. Latency counts for all that
    /// were due, also when they came late.
    fn record(&mut self, due: Instant, now: Instant) {
        let Some(window) = self.window else {
            return;
        };
        if window.contains(now) {
            self.messages += 1;
        }
        if window.contains(due) {
            self.latency.record(now.saturating_duration_since(due));
        }
    }
}

//! Many lanes on one thread: opens them at a bounded rate and hands on what each of them gets to.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::clock;
use crate::error::{ClientError, Failures};
use crate::lane::{Lane, Scratch, Step};
use crate::payload::Pattern;
use crate::poller::{Poller, Ready};
use crate::target::Target;
use crate::transport::Progress;

const EVENTS_MAX: usize = 512;
const RECEIVE_BYTES: usize = 64 * 1024;
/// Below the accept backlog of any server.
const OPENING_MAX: usize = 128;
/// Without any connection getting open for so long, opening has failed.
const OPENING_STALL: Duration = Duration::from_secs(10);

pub(crate) type OnStep<'a> =
    dyn FnMut(usize, &mut Lane, Step, &mut Scratch) -> Result<(), ClientError> + 'a;

pub(crate) struct Fleet {
    target: Target,
    sources: Vec<IpAddr>,
    pattern: Rc<Pattern>,
    poller: Poller,
    ready: Vec<Ready>,
    steps: Vec<Step>,
    scratch: Scratch,
    /// By slot, which is also the key in `poller`; `None` before it is opened and after it has failed.
    lanes: Vec<Option<Lane>>,
    connects: usize,
    failed: Vec<usize>,
    pub(crate) failures: Failures,
}

impl Fleet {
    pub(crate) fn new(
        target: Target,
        sources: Vec<IpAddr>,
        lanes: usize,
        message_bytes: usize,
    ) -> io::Result<Self> {
        let scratch = Scratch {
            received: vec![0; RECEIVE_BYTES],
            payload: Vec::new(),
            frame: Vec::new(),
        };
        Ok(Self {
            target,
            sources,
            pattern: Rc::new(Pattern::new(message_bytes)),
            poller: Poller::new(EVENTS_MAX)?,
            ready: Vec::with_capacity(EVENTS_MAX),
            steps: Vec::new(),
            scratch,
            lanes: (0..lanes).map(|_| None).collect(),
            connects: 0,
            failed: Vec::new(),
            failures: Failures::default(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.lanes.iter().flatten().map(Lane::outstanding).sum()
    }

    /// Opens every lane, at most `rate` a second, and gives up at the first that fails.
    pub(crate) fn open_all(&mut self, rate: f64) -> Result<(), String> {
        let begin = clock::now();
        let (mut started, mut opened, mut opened_at) = (0, 0, begin);
        while opened < self.len() {
            let now = clock::now();
            let allowed = 1.0 + now.duration_since(begin).as_secs_f64() * rate;
            while started < self.len()
                && started - opened < OPENING_MAX
                && (started as f64) < allowed
            {
                self.connect(started);
                started += 1;
            }
            let before = opened;
            self.turn(
                Some(Duration::from_millis(1)),
                &mut |_, _, step, _| match step {
                    Step::Opened => {
                        opened += 1;
                        Ok(())
                    }
                    step => expect_echo(step),
                },
            )
            .map_err(|error| error.to_string())?;
            if let Some(error) = self.failures.first() {
                return Err(format!(
                    "{opened} of {} connections opened, then: {error}",
                    self.len()
                ));
            }
            if opened > before {
                opened_at = now;
            } else if now.duration_since(opened_at) > OPENING_STALL {
                return Err(format!(
                    "only {opened} of {} connections opened",
                    self.len()
                ));
            }
        }
        Ok(())
    }

    /// Begins to open the lane of `slot`, in place of the one that was there.
    pub(crate) fn connect(&mut self, slot: usize) {
        let id = self.connects as u64;
        let source = match self.sources.len() {
            0 => None,
            len => self.sources.get(self.connects % len).copied(),
        };
        self.connects += 1;
        let started = clock::now();
        let client = Client::connect(&self.target, source).and_then(|client| {
            self.poller
                .add(client.socket(), slot as u64)
                .map_err(ClientError::Io)?;
            Ok(client)
        });
        match client {
            Ok(client) => {
                let lane = Lane::new(client, id, Rc::clone(&self.pattern), started);
                if let Some(place) = self.lanes.get_mut(slot) {
                    *place = Some(lane);
                }
            }
            Err(error) => self.fail(slot, &error),
        }
    }

    /// Sends a message on the lane of `slot`, unless that has failed.
    pub(crate) fn send(&mut self, slot: usize, due: Instant) {
        let Some(Some(lane)) = self.lanes.get_mut(slot) else {
            return;
        };
        match lane.send(due, &mut self.scratch) {
            Ok(()) => {}
            // The connection is slow, not broken.
            Err(error @ ClientError::Overrun) => self.failures.count(&error),
            Err(error) => self.fail(slot, &error),
        }
    }

    /// Waits until something happens, at most for `timeout`, and hands on each step. A lane whose step is answered with
    /// an error is closed and the error counted.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        on_step: &mut OnStep<'_>,
    ) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(timeout, &mut ready)?;
        for event in &ready {
            let Ok(slot) = usize::try_from(event.key) else {
                continue;
            };
            if let Err(error) = self.advance(slot, event.ended, on_step) {
                self.fail(slot, &error);
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn advance(
        &mut self,
        slot: usize,
        ended: bool,
        on_step: &mut OnStep<'_>,
    ) -> Result<(), ClientError> {
        let Some(Some(lane)) = self.lanes.get_mut(slot) else {
            return Ok(());
        };
        let progress = lane.on_ready(ended, &mut self.scratch.received, &mut self.steps);
        // What was reached before an error counts all the same.
        for step in self.steps.drain(..) {
            on_step(slot, lane, step, &mut self.scratch)?;
        }
        if progress? == Progress::More {
            self.poller
                .rearm(lane.socket(), slot as u64)
                .map_err(ClientError::Io)?;
        }
        Ok(())
    }

    /// Closes lanes that were started before `limit`.
    pub(crate) fn expire(&mut self, limit: Instant) {
        for slot in 0..self.lanes.len() {
            if let Some(Some(lane)) = self.lanes.get(slot)
                && lane.started < limit
            {
                self.fail(slot, &ClientError::TimedOut);
            }
        }
    }

    /// The slots whose lanes have failed since this was last asked.
    pub(crate) fn take_failed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.failed)
    }

    fn fail(&mut self, slot: usize, error: &ClientError) {
        self.failures.count(error);
        self.failed.push(slot);
        let lane = self.lanes.get_mut(slot).and_then(Option::take);
        let lost = lane.map_or(0, |lane| lane.outstanding());
        self.failures.count_many(&ClientError::Lost, lost as u64);
    }
}

/// For conversations in which the server has nothing else to do than to echo.
pub(crate) fn expect_echo(step: Step) -> Result<(), ClientError> {
    match step {
        Step::Opened | Step::Echoed { .. } => Ok(()),
        Step::Mismatched => Err(ClientError::Mismatch),
        Step::Closed => Err(ClientError::Closed),
        Step::Ended => Err(ClientError::Ended),
    }
}

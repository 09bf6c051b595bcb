//! Many lanes on one thread: connects them and hands on what each of them gets to.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::addresses::Addresses;
use crate::client::Client;
use crate::error::{ClientError, Failures};
use crate::lane::{Lane, Patterns, Scratch, Step};
use crate::payload::Pattern;
use crate::plan::Plan;
use crate::poller::{Poller, Ready};
use crate::role::Role;
use crate::target::Target;
use crate::transport::{Endpoints, Progress};

const EVENTS_MAX: usize = 512;
const RECEIVE_BYTES: usize = 64 * 1024;
const SLOW_RECEIVE_BUFFER: usize = 4096;

pub(crate) type OnStep<'a> =
    dyn FnMut(usize, &mut Lane, Step, &mut Scratch) -> Result<(), ClientError> + 'a;

/// Where a worker's connections go from and to, and which worker of how many it is.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) target: Target,
    pub(crate) source: Addresses,
    pub(crate) destination: Addresses,
    pub(crate) worker: u64,
    pub(crate) workers: u64,
}

pub(crate) struct Fleet {
    setup: Setup,
    push_path: String,
    count_path: String,
    patterns: Patterns,
    poller: Poller,
    ready: Vec<Ready>,
    steps: Vec<Step>,
    scratch: Scratch,
    /// By slot, which is also the key in `poller`; `None` before it is opened and after it has failed.
    lanes: Vec<Option<Lane>>,
    roles: Vec<Role>,
    connects: u64,
    failed: Vec<usize>,
    pub(crate) failures: Failures,
}

impl Fleet {
    pub(crate) fn new(setup: Setup, plan: &Plan) -> io::Result<Self> {
        let scratch = Scratch {
            received: vec![0; RECEIVE_BYTES],
            payload: Vec::new(),
            frame: Vec::new(),
        };
        let push = format!("mode=push&rate={}&size={}", plan.push_rate, plan.push_bytes);
        Ok(Self {
            push_path: setup.target.path_with(&push),
            count_path: setup.target.path_with("mode=count"),
            patterns: Patterns {
                kind: plan.kind,
                messages: Rc::new(Pattern::new(plan.sizes.clone(), plan.kind)),
                pushes: Rc::new(Pattern::shared(plan.push_bytes)),
            },
            poller: Poller::new(EVENTS_MAX)?,
            ready: Vec::with_capacity(EVENTS_MAX),
            steps: Vec::new(),
            scratch,
            lanes: plan.roles.iter().map(|_| None).collect(),
            roles: plan.roles.clone(),
            connects: 0,
            failed: Vec::new(),
            failures: Failures::default(),
            setup,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.lanes.iter().flatten().map(Lane::outstanding).sum()
    }

    /// Lanes whose upgrade is done.
    pub(crate) fn open_count(&self) -> usize {
        let lanes = self.lanes.iter().flatten();
        lanes.filter(|lane| lane.is_open()).count()
    }

    pub(crate) fn lane(&self, slot: usize) -> Option<&Lane> {
        self.lanes.get(slot)?.as_ref()
    }

    /// Begins to open the lane of `slot`, in place of the one that was there; its latency counts from `started`.
    pub(crate) fn connect(&mut self, slot: usize, started: Instant) {
        let Some(role) = self.roles.get(slot).copied() else {
            return;
        };
        // Numbers of different workers never meet.
        let id = self.connects * self.setup.workers + self.setup.worker;
        self.connects += 1;
        let client = self.begin(role, id).and_then(|client| {
            self.poller
                .add(client.socket(), slot as u64)
                .map_err(ClientError::Io)?;
            Ok(client)
        });
        match client {
            Ok(client) => {
                let lane = Lane::new(client, id, role, self.patterns.clone(), started);
                if let Some(place) = self.lanes.get_mut(slot) {
                    *place = Some(lane);
                }
            }
            Err(error) => self.fail(slot, &error),
        }
    }

    fn begin(&self, role: Role, id: u64) -> Result<Client, ClientError> {
        let Setup {
            target,
            source,
            destination,
            ..
        } = &self.setup;
        let mut address = target.address;
        if let Some(ip) = destination.nth(id) {
            address.set_ip(ip);
        }
        let endpoints = Endpoints {
            address,
            source: source.nth(id),
            tls: target.tls.as_ref(),
            // As little as the kernel allows, so that a slow reader is felt by the server soon.
            receive_buffer: (role == Role::Slow).then_some(SLOW_RECEIVE_BUFFER),
        };
        let path = match role {
            Role::Push | Role::Slow => &self.push_path,
            Role::OneWay => &self.count_path,
            Role::Echo | Role::Idle | Role::Churn => &target.path,
        };
        Client::connect(endpoints, &target.authority, path)
    }

    /// Drops the lane of `slot` without a word, as a lost network would.
    pub(crate) fn drop_lane(&mut self, slot: usize) {
        if let Some(place) = self.lanes.get_mut(slot) {
            *place = None;
        }
    }

    /// Does something with the lane of `slot`; an error fails it. Says whether there is one and it went well.
    pub(crate) fn with_lane(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Lane, &mut Scratch) -> Result<(), ClientError>,
    ) -> bool {
        let Some(Some(lane)) = self.lanes.get_mut(slot) else {
            return false;
        };
        match act(lane, &mut self.scratch) {
            Ok(()) => return true,
            // The connection is slow, not broken.
            Err(error @ ClientError::Overrun) => self.failures.count(&error),
            Err(error) => self.fail(slot, &error),
        }
        false
    }

    /// Lets the slow reader of `slot` read up to `bytes`.
    pub(crate) fn tick(&mut self, slot: usize, bytes: usize, on_step: &mut OnStep<'_>) {
        let Some(Some(lane)) = self.lanes.get_mut(slot) else {
            return;
        };
        if !lane.is_open() {
            return;
        }
        let len = bytes.min(self.scratch.received.len());
        let received = self.scratch.received.get_mut(..len).unwrap_or_default();
        let mut outcome = lane.on_tick(received, &mut self.steps);
        for step in self.steps.drain(..) {
            if outcome.is_ok() {
                outcome = on_step(slot, lane, step, &mut self.scratch);
            }
        }
        if let Err(error) = outcome {
            self.fail(slot, &error);
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

    /// Closes lanes for which `is_late` holds.
    pub(crate) fn expire(&mut self, is_late: impl Fn(&Lane) -> bool) {
        for slot in 0..self.lanes.len() {
            if let Some(Some(lane)) = self.lanes.get(slot)
                && is_late(lane)
            {
                self.fail(slot, &ClientError::TimedOut);
            }
        }
    }

    /// The slots whose lanes have failed since this was last asked.
    pub(crate) fn take_failed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.failed)
    }

    /// Ends the lane of `slot` and counts why, unless a server gave up a slow reader, which is its right.
    pub(crate) fn fail(&mut self, slot: usize, error: &ClientError) {
        let lane = self.lanes.get_mut(slot).and_then(Option::take);
        let given_up = matches!(
            error,
            ClientError::Io(_) | ClientError::Closed | ClientError::Ended
        ) && lane
            .as_ref()
            .is_some_and(|lane| lane.role == Role::Slow && lane.is_open());
        if !given_up {
            self.failures.count(error);
        }
        self.failed.push(slot);
        let lost = lane.map_or(0, |lane| lane.outstanding());
        self.failures.count_many(&ClientError::Lost, lost as u64);
    }
}

//! The workers: on each core two pinned threads, an edge and a relay, started, told what to do, and joined.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use crate::config::{Config, Workers as WorkersConfig};
use crate::control;
use crate::edge::{self, EdgeHandle};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{EdgeMetrics, RelayMetrics};
use crate::observe::series::Core;
use crate::relay::drain::DrainOrder;
use crate::relay::{self, RelayHandle};
use crate::sys::{self, Scheduling};

/// What runs on one core.
pub struct Worker {
    edge: EdgeHandle,
    relay: RelayHandle,
    edge_metrics: Arc<EdgeMetrics>,
    relay_metrics: Arc<RelayMetrics>,
    threads: [JoinHandle<()>; 2],
}

/// Why a worker could not start.
#[derive(Debug)]
pub enum WorkerError {
    /// The thread could not be made, or its ring not be built.
    Io(usize, &'static str, io::Error),
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Io(core, part, error) = self;
        write!(f, "the {part} of core {core} could not start: {error}")
    }
}

impl std::error::Error for WorkerError {}

/// What all workers share, and what each takes along.
pub struct Plan {
    pub config: Arc<Config>,
    pub cores: Vec<core_affinity::CoreId>,
    /// Tunnels that one relay takes; any core may get them all.
    pub tunnels_max: usize,
    pub access_log: AccessLog,
}

/// Starts one worker on every core of the plan. `edge` makes the edge of a core, given where it hands its tunnels to;
/// `register` gets the number of each core, and what is counted there.
pub fn start(
    plan: &Plan,
    mut edge: impl FnMut(
        Core,
        RelayHandle,
        Arc<EdgeMetrics>,
    ) -> io::Result<(EdgeHandle, edge::Prepared)>,
    mut register: impl FnMut(usize, Arc<EdgeMetrics>, Arc<RelayMetrics>),
) -> Result<Vec<Worker>, WorkerError> {
    let (ready, started) = channel();
    let mut workers = Vec::with_capacity(plan.cores.len());
    for (index, &core) in plan.cores.iter().enumerate() {
        let at_core = Core {
            index,
            of: plan.cores.len(),
        };
        let at = |part| move |error| WorkerError::Io(core.id, part, error);
        let (edge_metrics, relay_metrics) = (
            Arc::<EdgeMetrics>::default(),
            Arc::<RelayMetrics>::default(),
        );
        let limits = relay_limits(&plan.config, plan.tunnels_max);
        let (relay, prepared) =
            relay::prepare(limits, Arc::clone(&relay_metrics), plan.access_log.clone())
                .map_err(at("relay"))?;
        let relay_thread = spawn_relay(core, plan, prepared, &ready).map_err(at("relay"))?;
        let (edge, prepared) =
            edge(at_core, relay.clone(), Arc::clone(&edge_metrics)).map_err(at("edge"))?;
        let edge_thread = spawn_edge(core, plan, prepared, &ready).map_err(at("edge"))?;
        register(
            core.id,
            Arc::clone(&edge_metrics),
            Arc::clone(&relay_metrics),
        );
        workers.push(Worker {
            edge,
            relay,
            edge_metrics,
            relay_metrics,
            threads: [edge_thread, relay_thread],
        });
    }
    drop(ready);
    for _ in 0..2 * workers.len() {
        match started.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => break,
        }
    }
    Ok(workers)
}

type Ready = Sender<Result<(), WorkerError>>;

pub fn relay_limits(config: &Config, tunnels_max: usize) -> relay::Limits {
    relay::Limits {
        tunnels_max,
        buffer_bytes: config.limits.relay_buffer_bytes,
        half_bytes_max: config.limits.half_bytes_max,
        spill_bytes_max: config.limits.relay_spill_bytes_max,
        slow_consumer: config.timeouts.slow_consumer,
        close_grace: config.timeouts.close_grace,
        adopt_per_turn: config.workers.adopt_per_turn,
        report_every: config.log.access_interval,
    }
}

fn spawn_relay(
    core: core_affinity::CoreId,
    plan: &Plan,
    prepared: relay::Prepared,
    ready: &Ready,
) -> io::Result<JoinHandle<()>> {
    let (config, ready) = (plan.config.workers.clone(), ready.clone());
    thread::Builder::new()
        .name(format!("relay-{}", core.id))
        .spawn(move || {
            pin(core);
            report_scheduling(core, "relay", schedule_relay(&config));
            let (stood, report) = (ready.clone(), ready);
            let result = prepared.run(move || drop(stood.send(Ok(()))));
            finish(core, "relay", result, &report);
        })
}

fn spawn_edge(
    core: core_affinity::CoreId,
    plan: &Plan,
    prepared: edge::Prepared,
    ready: &Ready,
) -> io::Result<JoinHandle<()>> {
    let (nice, ready) = (plan.config.workers.edge_nice, ready.clone());
    thread::Builder::new()
        .name(format!("edge-{}", core.id))
        .spawn(move || {
            pin(core);
            report_scheduling(core, "edge", sys::set_nice(nice));
            let (stood, report) = (ready.clone(), ready);
            let result = prepared.run(move || drop(stood.send(Ok(()))));
            finish(core, "edge", result, &report);
        })
}

/// Reports how a thread ended. Once the start is over nobody waits for the report, and a core without its worker would
/// take connections that nobody serves: the program ends, and its supervisor starts it again.
fn finish(core: core_affinity::CoreId, part: &'static str, result: io::Result<()>, report: &Ready) {
    let Err(error) = result else { return };
    tracing::error!(core = core.id, part, %error, "a worker's thread failed");
    if report
        .send(Err(WorkerError::Io(core.id, part, error)))
        .is_err()
    {
        std::process::exit(1);
    }
}

fn pin(core: core_affinity::CoreId) {
    if !core_affinity::set_for_current(core) {
        tracing::warn!(core = core.id, "the thread could not be pinned to its core");
    }
}

/// Lets a woken relay preempt the edge of its core.
fn schedule_relay(config: &WorkersConfig) -> io::Result<()> {
    match config.relay_fifo {
        Some(priority) => sys::set_fifo(priority),
        None if config.relay_slice.is_zero() => Ok(()),
        None => sys::set_slice(config.relay_slice),
    }
}

/// Says what is in effect for the calling thread. What the kernel or our rights do not allow is a warning: everything
/// works without it, with a longer tail under a storm of newcomers.
fn report_scheduling(core: core_affinity::CoreId, part: &str, wanted: io::Result<()>) {
    let core = core.id;
    if let Err(error) = wanted {
        tracing::warn!(core, part, %error, "the scheduling asked for is not in effect");
    }
    match sys::Scheduling::current() {
        Ok(Scheduling {
            policy,
            nice,
            slice,
        }) => {
            tracing::info!(core, part, ?policy, nice, ?slice, "scheduling");
        }
        Err(error) => tracing::warn!(core, part, %error, "the scheduling cannot be read back"),
    }
}

/// All workers, as the control thread sees them.
pub struct Workers(Vec<Worker>);

impl Workers {
    pub fn new(workers: Vec<Worker>) -> Self {
        Self(workers)
    }

    /// The ways to the workers, for those who change what they serve.
    pub fn handles(&self) -> Vec<(EdgeHandle, RelayHandle)> {
        let handles = |worker: &Worker| (worker.edge.clone(), worker.relay.clone());
        self.0.iter().map(handles).collect()
    }

    /// Waits for every thread to end.
    pub fn join(self) {
        for worker in self.0 {
            for thread in worker.threads {
                if thread.join().is_err() {
                    tracing::error!("a worker's thread panicked");
                }
            }
        }
    }
}

impl control::Workers for &Workers {
    fn stop_accepting(&self) {
        for worker in &self.0 {
            worker.edge.stop_accepting();
        }
    }

    fn drain(&self, order: &Arc<DrainOrder>) {
        for worker in &self.0 {
            worker.relay.drain(Arc::clone(order));
        }
    }

    fn tunnels_open(&self) -> u64 {
        self.0
            .iter()
            .map(|worker| worker.relay_metrics.tunnels.value() + worker.edge.on_their_way())
            .sum()
    }

    fn newcomers(&self) -> u64 {
        let newcomers = |worker: &Worker| worker.edge.newcomers();
        self.0.iter().map(newcomers).sum()
    }

    fn stop_now(&self) {
        for worker in &self.0 {
            worker.edge.stop();
            worker.relay.stop();
        }
    }

    fn relays(&self) -> Vec<RelayHandle> {
        self.0.iter().map(|worker| worker.relay.clone()).collect()
    }

    fn accepted(&self) -> u64 {
        let accepted = |worker: &Worker| worker.edge_metrics.accepted.value();
        self.0.iter().map(accepted).sum()
    }
}

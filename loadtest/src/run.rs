//! A run: starts its workers, has them conducted, and says what was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::LoadOptions;
use crate::clock;
use crate::conductor::Conductor;
use crate::fleet::Setup;
use crate::observe::{Cost, Observer};
use crate::plan::Plan;
use crate::tally::Tally;
use crate::timeline::Interval;
use crate::worker::{GivenUp, Orders, Post, Worker};

/// Everything that was seen of a run.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) plan: Plan,
    pub(crate) threads: usize,
    pub(crate) interrupted: bool,
    /// Connections open when measuring ended.
    pub(crate) open: usize,
    /// Length of what was measured.
    pub(crate) seconds: f64,
    pub(crate) tally: Tally,
    /// Before the first connection; when measuring began and ended.
    pub(crate) costs: Option<[Cost; 3]>,
    pub(crate) observe_error: Option<String>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) intervals: Vec<Interval>,
}

/// The processes under test and the connections at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the run began.
    pub(crate) seconds: f64,
    pub(crate) open: usize,
    /// The load had begun.
    pub(crate) loaded: bool,
    pub(crate) cost: Option<Cost>,
}

pub(crate) fn run(plan: Plan, load: &LoadOptions) -> Result<Seen, String> {
    let target = load.target()?;
    let observer = Observer::new(load.observe.clone());
    let baseline = observer.sample()?;
    let cores = allowed_cores()?;
    let threads = load
        .threads
        .unwrap_or(cores.len())
        .clamp(1, plan.roles.len().max(1));
    let orders = Arc::new(Orders::new(clock::now()));
    let stop = Arc::clone(&orders.stop);
    catch_signals(&stop)?;
    let (sender, posts) = mpsc::channel();
    let mut handles = Vec::new();
    for number in 0..threads {
        let setup = Setup {
            target: target.clone(),
            source: load.source.clone().unwrap_or_default(),
            destination: load.destination.clone().unwrap_or_default(),
            worker: number as u64,
            workers: threads as u64,
        };
        let (plan, orders, sender) = (
            plan.share(number, threads),
            Arc::clone(&orders),
            sender.clone(),
        );
        let core = (threads > 1)
            .then(|| cores.get(number % cores.len()).copied())
            .flatten();
        handles.push(thread::spawn(move || {
            pin(core);
            match Worker::new(plan, setup, orders, sender.clone()) {
                Ok(worker) => worker.run(),
                // Who does not listen any more has given up already.
                Err(error) => drop(sender.send(Post::GaveUp(GivenUp::Broken(error)))),
            }
        }));
    }
    drop(sender);
    let mut conductor = Conductor::new(plan, threads, observer, orders, load.json)?;
    let outcome = conductor.conduct(&posts, baseline);
    stop.store(true, Ordering::Relaxed);
    for handle in handles {
        handle.join().map_err(|_| "a worker panicked".to_owned())?;
    }
    outcome?;
    conductor.into_seen(baseline)
}

/// The first Ctrl-C ends the run early, the second at once.
fn catch_signals(stop: &Arc<AtomicBool>) -> Result<(), String> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))
            .map_err(|error| error.to_string())?;
    }
    end_on_signals(stop)
}

/// Ctrl-C and SIGTERM set `stop`.
pub(crate) fn end_on_signals(stop: &Arc<AtomicBool>) -> Result<(), String> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn allowed_cores() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(None).map_err(|error| error.to_string())?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Best effort: a thread that wanders is only a little slower.
fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).ok();
    }
}

//! Reloads: what is to be served is read and built beside what runs, on a thread of its own, and takes its place only when
//! all of it is right. Until then, and after any mistake, what runs goes on as if nothing had been asked.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::thread;

use futures_channel::oneshot;

use super::drains::{Drains, Origin};
use super::in_force::InForce;
use super::supervisor;
use crate::config::certificates;
use crate::observe::metrics::ReloadMetrics;
use crate::relay::drain::{DrainOrder, DrainPlan};

/// Room for definitions that nest as deep as they may, in a debug build too.
const LOADER_STACK_BYTES: usize = 8 << 20;

/// Where a configuration comes from, again and again.
pub trait Source: Send + 'static {
    /// Reads, checks and builds everything, and opens what is new. It may block; it changes nothing that runs. What it
    /// returns is swapped in at once.
    fn prepare(&mut self) -> Result<Next, Mistakes>;
}

/// What is ready to take the place of what runs.
pub struct Next {
    /// For people: `12 APIs, 0 warnings`.
    pub summary: String,
    /// Swaps it in. Nothing in here may block or fail.
    pub swap: Box<dyn FnOnce() -> Swapped + Send>,
}

/// What follows from a configuration that has come into force.
#[derive(Debug)]
pub struct Swapped {
    /// How a stop is to go from now on.
    pub drain: DrainPlan,
    /// What ends tunnels, and which, for people.
    pub orders: Vec<(String, Arc<DrainOrder>)>,
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Next").field(&self.summary).finish()
    }
}

/// Everything that is wrong with it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub String);

/// Somebody who wants to know how a reload went.
type Waiter = oneshot::Sender<Result<String, Mistakes>>;

/// Where the source is.
enum At {
    /// There is no file to read again.
    Nowhere,
    Here(Box<dyn Source>),
    /// On the thread that reads it.
    Loading(oneshot::Receiver<(Box<dyn Source>, Result<Next, Mistakes>)>),
}

/// The reloads of one process, one at a time.
pub struct Reloader {
    source: At,
    /// How a stop is to go.
    drain: DrainPlan,
    drains: Drains,
    /// Asked for while one was under way, which may have read what has changed since.
    again: bool,
    /// Who waits for the outcome of what is under way, and of what follows it.
    waiting: Vec<Waiter>,
    waiting_again: Vec<Waiter>,
    metrics: Arc<ReloadMetrics>,
    /// Who is told how it went, besides those who wait.
    in_force: Option<Arc<InForce>>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("loading", &matches!(self.source, At::Loading(_)))
            .finish_non_exhaustive()
    }
}

impl Reloader {
    pub fn new(
        source: Option<Box<dyn Source>>,
        drain: DrainPlan,
        drains: Drains,
        metrics: Arc<ReloadMetrics>,
        in_force: Option<Arc<InForce>>,
    ) -> Self {
        Self {
            source: source.map_or(At::Nowhere, At::Here),
            drain,
            drains,
            again: false,
            waiting: Vec::new(),
            waiting_again: Vec::new(),
            metrics,
            in_force,
        }
    }

    /// As `begin`, for somebody who waits for the outcome of a reload that began after he asked.
    pub fn begin_for(&mut self, waiter: Waiter) {
        if let At::Nowhere = self.source {
            let mistakes = Mistakes("this command has no configuration file".to_owned());
            return drop(waiter.send(Err(mistakes)));
        }
        if let At::Loading(_) = self.source {
            self.waiting_again.push(waiter);
        } else {
            self.waiting.push(waiter);
        }
        self.begin();
    }

    /// Waits for nothing any more: those who do are told that the process is stopping, by the end of their channel.
    pub fn abandon(&mut self) {
        self.waiting.clear();
        self.waiting_again.clear();
    }

    /// How a stop is to go, by what runs now.
    pub fn drain(&self) -> &DrainPlan {
        &self.drain
    }

    /// Begins a reload, or has another one follow that which is under way.
    pub fn begin(&mut self) {
        match std::mem::replace(&mut self.source, At::Nowhere) {
            At::Nowhere => {
                tracing::warn!("nothing to reload: this command has no configuration file");
            }
            At::Loading(loading) => {
                self.source = At::Loading(loading);
                self.again = true;
            }
            At::Here(source) => self.load(source),
        }
    }

    fn load(&mut self, mut source: Box<dyn Source>) {
        let (done, loading) = oneshot::channel();
        // Definitions nest, and reading them does as well.
        let loader = thread::Builder::new()
            .name("reload".to_owned())
            .stack_size(LOADER_STACK_BYTES);
        supervisor::reloading();
        let spawned = loader.spawn(move || {
            let outcome = source.prepare();
            drop(done.send((source, outcome)));
        });
        match spawned {
            Ok(_) => self.source = At::Loading(loading),
            // The source went with the thread that there is not: the process is past helping itself.
            Err(error) => self.fail(&Mistakes(format!("no thread to load with: {error}"))),
        }
    }

    /// Waits until a reload is through; for ever where none is under way. Giving it up loses nothing.
    pub async fn finished(&mut self) {
        let At::Loading(loading) = &mut self.source else {
            return std::future::pending().await;
        };
        match loading.await {
            Ok((source, outcome)) => {
                self.source = At::Here(source);
                match outcome {
                    Ok(next) => self.swap(next),
                    Err(mistakes) => self.fail(&mistakes),
                }
            }
            Err(_) => {
                self.source = At::Nowhere;
                self.fail(&Mistakes("the loader gave up".to_owned()));
            }
        }
        self.waiting = std::mem::take(&mut self.waiting_again);
        if std::mem::take(&mut self.again) {
            self.begin();
        }
    }

    fn swap(&mut self, next: Next) {
        let Next { summary, swap } = next;
        let Swapped { drain, orders } = swap();
        self.drain = drain;
        let generation = self.metrics.succeeded(certificates::now());
        tracing::info!(generation, "reloaded: {summary}");
        for (which, order) in orders {
            self.drains.add(Origin::Reload, which, order);
        }
        supervisor::ready(&format!("generation {generation}: {summary}"));
        self.tell(&Ok(summary));
    }

    fn fail(&mut self, mistakes: &Mistakes) {
        let generation = self.metrics.failed();
        // One event a complaint, each of which names its file and line.
        for line in mistakes.0.lines() {
            tracing::error!("{line}");
        }
        tracing::error!(generation, "not reloaded: what runs goes on");
        let first = mistakes.0.lines().next().unwrap_or_default();
        supervisor::ready(&format!(
            "generation {generation}; the last reload failed: {first}"
        ));
        self.tell(&Err(mistakes.clone()));
    }

    fn tell(&mut self, outcome: &Result<String, Mistakes>) {
        if let Some(in_force) = &self.in_force {
            in_force.note(outcome);
        }
        for waiter in self.waiting.drain(..) {
            // Whoever asked may have left.
            drop(waiter.send(outcome.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use monoio::{IoUringDriver, RuntimeBuilder};

    use super::*;
    use crate::config::Config;

    /// Counts how often it was prepared and swapped in; every second one is wrong.
    #[derive(Default)]
    struct Counting {
        prepared: Arc<AtomicU64>,
        swapped: Arc<AtomicU64>,
    }

    impl Source for Counting {
        fn prepare(&mut self) -> Result<Next, Mistakes> {
            if self.prepared.fetch_add(1, Relaxed) % 2 == 1 {
                return Err(Mistakes("a.toml:1:1: error: wrong".to_owned()));
            }
            let swapped = Arc::clone(&self.swapped);
            Ok(Next {
                summary: "1 API".to_owned(),
                swap: Box::new(move || {
                    swapped.fetch_add(1, Relaxed);
                    Swapped {
                        drain: Config::base().drain,
                        orders: Vec::new(),
                    }
                }),
            })
        }
    }

    #[test]
    fn what_is_right_is_swapped_in_and_what_is_wrong_changes_nothing() {
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(64)
            .enable_timer()
            .build()
            .unwrap();
        runtime.block_on(async {
            let source = Counting::default();
            let (prepared, swapped) = (Arc::clone(&source.prepared), Arc::clone(&source.swapped));
            let metrics = Arc::<ReloadMetrics>::default();
            let mut reloader = Reloader::new(
                Some(Box::new(source)),
                Config::base().drain,
                Drains::default(),
                Arc::clone(&metrics),
                None,
            );
            reloader.begin();
            // Asked for twice more meanwhile, which one more reload answers.
            reloader.begin();
            reloader.begin();
            reloader.finished().await;
            assert_eq!(swapped.load(Relaxed), 1);
            reloader.finished().await;
            assert_eq!(prepared.load(Relaxed), 2);
            assert_eq!(swapped.load(Relaxed), 1);
            assert_eq!(
                (metrics.successes.value(), metrics.failures.value()),
                (1, 1)
            );
            assert_eq!(metrics.generation.value(), 1);
            assert!(matches!(reloader.source, At::Here(_)));
        });
    }

    #[test]
    fn without_a_file_nothing_is_reloaded() {
        let plan = Config::base().drain;
        let mut reloader = Reloader::new(None, plan, Drains::default(), Arc::default(), None);
        reloader.begin();
        assert!(matches!(reloader.source, At::Nowhere));
    }
}

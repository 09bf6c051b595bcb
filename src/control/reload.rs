//! Reloads: what is to be served is read and built beside what runs, on a thread of its own, and takes its place only when
//! all of it is right. Until then, and after any mistake, what runs goes on as if nothing had been asked.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::thread;

use futures_channel::oneshot;

use super::supervisor;
use crate::observe::metrics::ReloadMetrics;

/// Where a configuration comes from, again and again.
pub trait Source: Send + Sync + 'static {
    /// Reads, checks and builds everything, and opens what is new. It may block; it changes nothing that runs.
    fn prepare(&self) -> Result<Next, Mistakes>;
}

/// What is ready to take the place of what runs.
pub struct Next {
    /// For people: `12 APIs, 0 warnings`.
    pub summary: String,
    /// Swaps it in. Nothing in here may block or fail.
    pub swap: Box<dyn FnOnce() + Send>,
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

/// The reloads of one process, one at a time.
pub struct Reloader {
    /// `None` where there is no file to read again.
    source: Option<Arc<dyn Source>>,
    loading: Option<oneshot::Receiver<Result<Next, Mistakes>>>,
    /// Asked for while one was under way, which may have read what has changed since.
    again: bool,
    /// Who waits for the outcome of what is under way, and of what follows it.
    waiting: Vec<Waiter>,
    waiting_again: Vec<Waiter>,
    metrics: Arc<ReloadMetrics>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("loading", &self.loading.is_some())
            .finish_non_exhaustive()
    }
}

impl Reloader {
    pub fn new(source: Option<Arc<dyn Source>>, metrics: Arc<ReloadMetrics>) -> Self {
        Self {
            source,
            loading: None,
            again: false,
            waiting: Vec::new(),
            waiting_again: Vec::new(),
            metrics,
        }
    }

    /// As `begin`, for somebody who waits for the outcome of a reload that began after he asked.
    pub fn begin_for(&mut self, waiter: Waiter) {
        if self.source.is_none() {
            let mistakes = Mistakes("this command has no configuration file".to_owned());
            return drop(waiter.send(Err(mistakes)));
        }
        if self.loading.is_some() {
            self.waiting_again.push(waiter);
        } else {
            self.waiting.push(waiter);
        }
        self.begin();
    }

    /// Begins a reload, or has another one follow that which is under way.
    pub fn begin(&mut self) {
        let Some(source) = &self.source else {
            tracing::warn!("nothing to reload: this command has no configuration file");
            return;
        };
        if self.loading.is_some() {
            self.again = true;
            return;
        }
        let (done, loading) = oneshot::channel();
        let source = Arc::clone(source);
        let loader = thread::Builder::new().name("reload".to_owned());
        supervisor::reloading();
        let spawned = loader.spawn(move || drop(done.send(source.prepare())));
        match spawned {
            Ok(_) => self.loading = Some(loading),
            Err(error) => self.fail(&Mistakes(format!("no thread to load with: {error}"))),
        }
    }

    /// Waits until a reload is through; for ever where none is under way. Giving it up loses nothing.
    pub async fn finished(&mut self) {
        let Some(loading) = &mut self.loading else {
            return std::future::pending().await;
        };
        let outcome = loading.await;
        self.loading = None;
        match outcome {
            Ok(Ok(next)) => self.swap(next),
            Ok(Err(mistakes)) => self.fail(&mistakes),
            Err(_) => self.fail(&Mistakes("the loader gave up".to_owned())),
        }
        self.waiting = std::mem::take(&mut self.waiting_again);
        if std::mem::take(&mut self.again) {
            self.begin();
        }
    }

    fn swap(&mut self, next: Next) {
        let Next { summary, swap } = next;
        swap();
        let generation = self.metrics.succeeded();
        tracing::info!(generation, "reloaded: {summary}");
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

    /// Counts how often it was prepared and swapped in; every second one is wrong.
    #[derive(Default)]
    struct Counting {
        prepared: AtomicU64,
        swapped: Arc<AtomicU64>,
    }

    impl Source for Counting {
        fn prepare(&self) -> Result<Next, Mistakes> {
            if self.prepared.fetch_add(1, Relaxed) % 2 == 1 {
                return Err(Mistakes("a.toml:1:1: error: wrong".to_owned()));
            }
            let swapped = Arc::clone(&self.swapped);
            Ok(Next {
                summary: "1 API".to_owned(),
                swap: Box::new(move || {
                    swapped.fetch_add(1, Relaxed);
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
            let source = Arc::new(Counting::default());
            let metrics = Arc::<ReloadMetrics>::default();
            let mut reloader = Reloader::new(Some(source.clone()), Arc::clone(&metrics));
            reloader.begin();
            // Asked for twice more meanwhile, which one more reload answers.
            reloader.begin();
            reloader.begin();
            reloader.finished().await;
            assert_eq!(source.swapped.load(Relaxed), 1);
            reloader.finished().await;
            assert_eq!(source.prepared.load(Relaxed), 2);
            assert_eq!(source.swapped.load(Relaxed), 1);
            assert_eq!(
                (metrics.successes.value(), metrics.failures.value()),
                (1, 1)
            );
            assert_eq!(metrics.generation.value(), 1);
            assert!(reloader.loading.is_none());
        });
    }

    #[test]
    fn without_a_file_nothing_is_reloaded() {
        let mut reloader = Reloader::new(None, Arc::default());
        reloader.begin();
        assert!(reloader.loading.is_none());
    }
}

//! The control thread: it answers the admin listener, waits for signals, and leads the way out.

pub mod admin;
pub mod drains;
pub mod in_force;
pub mod reload;
pub mod resolver;
pub mod signals;
mod supervisor;
pub mod watch;

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use futures_channel::mpsc::{Receiver, Sender, channel};
use monoio::time::{sleep, timeout};
use monoio::{IoUringDriver, RuntimeBuilder};

use self::admin::{Admin, Doors, Operations, Request};
use self::drains::{Drains, Origin};
use self::in_force::InForce;
use self::reload::Reloader;
use self::signals::{Signal, Signals};
use crate::observe::access_log::AccessLog;
use crate::observe::registry::Registry;
use crate::race::{First, race};
use crate::relay::RelayHandle;
use crate::relay::drain::{DrainOrder, DrainPlan, Progress, Which};
use crate::sys;

/// How often the open tunnels are counted during a drain: what a stop may be late by.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Whether new connections are welcome, as `/readyz` says it. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Ready,
    Stopping,
}

impl Readiness {
    pub fn state(&self) -> State {
        match self.0.load(Relaxed) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Stopping,
        }
    }

    pub fn set(&self, state: State) {
        self.0.store(state as u8, Relaxed);
    }
}

/// The workers, as far as a stop is concerned. None of these may block.
pub trait Workers {
    /// Closes the listeners. Connections that have no tunnel yet may finish their handshake or be refused.
    fn stop_accepting(&self);
    /// Begins to close tunnels at a frame boundary, as `order` says.
    fn drain(&self, order: &Arc<DrainOrder>);
    /// Tunnels that are open, and those on their way from an edge to its relay.
    fn tunnels_open(&self) -> u64;
    /// Listeners that are being emptied, and clients who have asked for nothing yet.
    fn newcomers(&self) -> u64;
    /// Ends the threads, whatever is still open.
    fn stop_now(&self);
    /// Connections accepted since the start.
    fn accepted(&self) -> u64;
    /// The ways to the relays, for those who ask after tunnels.
    fn relays(&self) -> Vec<RelayHandle>;
}

/// What the control thread works with.
#[derive(Debug)]
pub struct Control<W> {
    pub workers: W,
    pub signals: Signals,
    pub admin: Doors,
    pub registry: Registry,
    pub access_log: AccessLog,
    pub readiness: Readiness,
    pub reloader: Reloader,
    pub in_force: Arc<InForce>,
    pub drains: Drains,
    /// The way to ask the control loop, and its other end.
    pub asked: Sender<Request>,
    pub requests: Receiver<Request>,
}

/// A way to ask the control loop for something, which does not exist yet.
pub fn requests() -> (Sender<Request>, Receiver<Request>) {
    channel(REQUESTS_MAX)
}

/// Serves until a signal has stopped the workers. Returning at all is a success: the process exits with 0.
pub fn run<W: Workers>(control: Control<W>) -> io::Result<()> {
    let mut uring = io_uring_06::IoUring::builder();
    uring.setup_single_issuer().setup_coop_taskrun();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(256)
        .uring_builder(uring)
        .enable_timer()
        .build()?;
    runtime.block_on(control.serve())
}

impl<W: Workers> Control<W> {
    async fn serve(self) -> io::Result<()> {
        let Self {
            workers,
            signals,
            admin,
            registry,
            access_log,
            readiness,
            mut reloader,
            in_force,
            drains,
            asked,
            mut requests,
        } = self;
        let mut signals = signals.listen()?;
        let operations = Operations::new(workers.relays(), asked, drains.clone());
        let telling = Admin::new(registry, readiness.clone(), operations, in_force);
        // Held to the end: dropping it removes the socket's file.
        let _serving = Rc::new(telling).serve(admin)?;
        supervisor::ready("serving");
        let work = async {
            let stop = wait_for_stop(&mut signals, &mut requests, &access_log, &mut reloader).await;
            readiness.set(State::Stopping);
            if stop == Stop::Politely {
                supervisor::stopping("draining");
                let plan = *reloader.drain();
                reloader.abandon();
                let draining = drain(&workers, &mut signals, &plan, &drains);
                // What else is asked for is not done any more: dropping a request says so.
                let refusing = async {
                    loop {
                        drop(next_request(&mut requests).await);
                    }
                };
                match race(draining, refusing).await {
                    First::Work(()) => {}
                    First::Other(never) => never,
                }
            }
        };
        let chores = race(supervisor::watchdog(), drains.report());
        let chores = race(give_memory_back(&workers), chores);
        match race(work, chores).await {
            First::Work(()) => {}
            First::Other(
                First::Work(never) | First::Other(First::Work(never) | First::Other(never)),
            ) => match never {},
        }
        workers.stop_now();
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Politely,
    Now,
}

async fn wait_for_stop(
    signals: &mut Receiver<Signal>,
    requests: &mut Receiver<Request>,
    access_log: &AccessLog,
    reloader: &mut Reloader,
) -> Stop {
    loop {
        let others = race(reloader.finished(), next_request(requests));
        let signal = match race(signals.recv(), others).await {
            First::Work(signal) => signal,
            First::Other(First::Work(())) => continue,
            First::Other(First::Other(Request::Reload(reply))) => {
                reloader.begin_for(reply);
                continue;
            }
            First::Other(First::Other(Request::FilesChanged)) => {
                tracing::info!("files of the configuration have changed");
                reloader.begin();
                continue;
            }
        };
        match signal {
            Ok(Signal::Stop) => return Stop::Politely,
            Ok(Signal::StopNow) => return Stop::Now,
            Ok(Signal::Reload) => reloader.begin(),
            Ok(Signal::ReopenLogs) => {
                access_log.reopen();
                tracing::info!("access log will be reopened");
            }
            // The senders live as long as this thread's runtime.
            Err(_) => return Stop::Now,
        }
    }
}

/// What the admin API asks for; nothing, for ever, where there is no admin socket.
async fn next_request(requests: &mut Receiver<Request>) -> Request {
    match requests.recv().await {
        Ok(request) => request,
        Err(_) => std::future::pending().await,
    }
}

/// Requests of the admin API that may wait for the control loop.
const REQUESTS_MAX: usize = 16;

/// How long nobody may have come before memory is looked after.
const QUIET: Duration = Duration::from_secs(1);

/// Handshakes leave holes between what lives on: when a wave of them is over, the allocator gives whole free pages back. Not
/// during one, since it locks each arena for a while. Never ends.
async fn give_memory_back<W: Workers>(workers: &W) -> Infallible {
    let (mut before, mut trimmed) = (0, 0);
    loop {
        sleep(QUIET).await;
        let accepted = workers.accepted();
        if accepted == before && accepted != trimmed {
            sys::give_memory_back();
            trimmed = accepted;
        }
        before = accepted;
    }
}

/// Ends everything politely: after the notice nobody is let in any more, and open tunnels are closed in turn.
async fn drain<W: Workers>(
    workers: &W,
    signals: &mut Receiver<Signal>,
    plan: &DrainPlan,
    drains: &Drains,
) {
    let DrainPlan { notice, limit, .. } = *plan;
    tracing::info!(
        tunnels = workers.tunnels_open(),
        ?notice,
        ?limit,
        "draining"
    );
    if let First::Work(()) = race(hurried(signals), sleep(notice)).await {
        return cut_short(workers);
    }
    workers.stop_accepting();
    // The notice is over, and the limit is about calls as well.
    let plan = DrainPlan {
        notice: Duration::ZERO,
        limit: None,
        ..*plan
    };
    let order = Arc::new(DrainOrder::new(Which::Everyone, plan, drains::now()));
    workers.drain(&order);
    drains.add(Origin::Stop, "everything".to_owned(), Arc::clone(&order));
    let waiting = race(hurried(signals), wait_until_empty(workers));
    let ended = match limit {
        Some(limit) => timeout(limit, waiting).await,
        None => Ok(waiting.await),
    };
    match ended {
        Ok(First::Other(())) => {
            let Progress { closed, left, .. } = order.progress();
            tracing::info!(closed, left, "drained");
        }
        Ok(First::Work(())) => cut_short(workers),
        Err(_) => tracing::warn!(tunnels = workers.tunnels_open(), "drain limit reached"),
    }
}

fn cut_short<W: Workers>(workers: &W) {
    let tunnels = workers.tunnels_open();
    tracing::warn!(tunnels, "drain cut short by a second signal");
}

/// Waits for a signal that cuts a drain short.
async fn hurried(signals: &mut Receiver<Signal>) {
    loop {
        match signals.recv().await {
            Ok(Signal::Stop | Signal::StopNow) | Err(_) => return,
            Ok(Signal::Reload | Signal::ReopenLogs) => {}
        }
    }
}

/// How often newcomers are looked for once everybody else has left: two seconds are enough for a handshake.
const NEWCOMER_POLLS: u32 = 100;

async fn wait_until_empty<W: Workers>(workers: &W) {
    let mut patience = NEWCOMER_POLLS;
    loop {
        if workers.tunnels_open() == 0 {
            if workers.newcomers() == 0 || patience == 0 {
                return;
            }
            patience -= 1;
        }
        sleep(DRAIN_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[derive(Default)]
    struct Log {
        calls: RefCell<Vec<&'static str>>,
        tunnels: Cell<u64>,
        /// Tunnels that end each time they are counted.
        ending: u64,
    }

    impl Workers for Log {
        fn stop_accepting(&self) {
            self.calls.borrow_mut().push("stop_accepting");
        }

        fn drain(&self, _order: &Arc<DrainOrder>) {
            self.calls.borrow_mut().push("drain");
        }

        fn tunnels_open(&self) -> u64 {
            let open = self.tunnels.get();
            self.tunnels.set(open.saturating_sub(self.ending));
            open
        }

        fn newcomers(&self) -> u64 {
            0
        }

        fn stop_now(&self) {
            self.calls.borrow_mut().push("stop_now");
        }

        fn accepted(&self) -> u64 {
            0
        }

        fn relays(&self) -> Vec<RelayHandle> {
            Vec::new()
        }
    }

    fn within(limit: Duration) -> DrainPlan {
        DrainPlan {
            limit: Some(limit),
            ..DrainPlan::default()
        }
    }

    fn on_runtime(test: impl AsyncFnOnce(Sender<Signal>, Receiver<Signal>)) {
        let (sender, receiver) = channel(8);
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(64)
            .enable_timer()
            .build()
            .unwrap();
        runtime.block_on(test(sender, receiver));
    }

    #[test]
    fn drain_ends_when_the_last_tunnel_has() {
        on_runtime(async |_sender, mut signals| {
            let workers = Log {
                tunnels: Cell::new(3),
                ending: 1,
                ..Log::default()
            };
            let plan = within(Duration::from_secs(60));
            drain(&workers, &mut signals, &plan, &Drains::default()).await;
            assert_eq!(*workers.calls.borrow(), ["stop_accepting", "drain"]);
            assert_eq!(workers.tunnels.get(), 0);
        });
    }

    #[test]
    fn drain_ends_at_its_limit() {
        on_runtime(async |_sender, mut signals| {
            let workers = Log {
                tunnels: Cell::new(3),
                ..Log::default()
            };
            let plan = within(Duration::from_millis(50));
            drain(&workers, &mut signals, &plan, &Drains::default()).await;
            assert_eq!(workers.tunnels_open(), 3);
        });
    }

    #[test]
    fn second_signal_ends_a_drain() {
        on_runtime(async |mut sender, mut signals| {
            let workers = Log {
                tunnels: Cell::new(3),
                ..Log::default()
            };
            sender.try_send(Signal::Reload).unwrap();
            sender.try_send(Signal::Stop).unwrap();
            let plan = within(Duration::from_secs(60));
            drain(&workers, &mut signals, &plan, &Drains::default()).await;
            assert_eq!(workers.tunnels_open(), 3);
        });
    }

    #[test]
    fn only_stop_signals_stop() {
        on_runtime(async |mut sender, mut signals| {
            let (log, _guard) = AccessLog::off();
            for signal in [Signal::Reload, Signal::ReopenLogs, Signal::Stop] {
                sender.try_send(signal).unwrap();
            }
            let plan = within(Duration::ZERO);
            let mut reloader = Reloader::new(None, plan, Drains::default(), Arc::default(), None);
            let (_asked, mut requests) = channel(1);
            let stop = wait_for_stop(&mut signals, &mut requests, &log, &mut reloader).await;
            assert_eq!(stop, Stop::Politely);
            sender.try_send(Signal::StopNow).unwrap();
            let stop = wait_for_stop(&mut signals, &mut requests, &log, &mut reloader).await;
            assert_eq!(stop, Stop::Now);
        });
    }

    #[test]
    fn readiness_is_shared_by_clones() {
        let readiness = Readiness::default();
        let clone = readiness.clone();
        assert_eq!(clone.state(), State::Starting);
        for state in [State::Ready, State::Stopping] {
            readiness.set(state);
            assert_eq!(clone.state(), state);
        }
    }
}

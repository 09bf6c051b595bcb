//! Names to addresses: `getaddrinfo` on a thread of its own, so that a slow name server holds up no worker.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use crate::observe::metrics::DnsMetrics;

/// How long an answer is believed. `getaddrinfo` does not tell a record's own time.
const FOUND_FOR: Duration = Duration::from_secs(10);
/// Long enough that a storm of handshakes asks once, short enough that a name that appears is soon found.
const NOT_FOUND_FOR: Duration = Duration::from_secs(1);
/// Names remembered by each clone. They come from the configuration, so this bounds a mistake and not the use.
const NAMES_MAX: usize = 1024;
/// Questions that may wait for the thread, over all workers.
const QUESTIONS_MAX: usize = 256;

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    NotFound,
    /// Too many questions wait already.
    Overloaded,
}

type Answer = Result<Vec<SocketAddr>, ResolveError>;

struct Question {
    host: String,
    answer: oneshot::Sender<Answer>,
}

/// Asks the thread, and remembers its answers. A clone for each worker, shared by the worker's tasks: clones have the
/// thread in common and nothing else, so that the memory needs no lock.
#[derive(Debug)]
pub struct Resolver {
    questions: SyncSender<Question>,
    known: RefCell<HashMap<String, Entry>>,
}

impl Clone for Resolver {
    fn clone(&self) -> Self {
        Self::new(self.questions.clone())
    }
}

#[derive(Debug)]
enum Entry {
    Known {
        answer: Answer,
        until: Instant,
    },
    /// A task has asked; these wait for what it hears.
    Asked(Vec<oneshot::Sender<Answer>>),
}

/// What a task has to do next.
enum Step {
    Done(Answer),
    Wait(oneshot::Receiver<Answer>),
    Ask,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Starts the thread, which ends when the last clone is gone.
    pub fn start(metrics: Arc<DnsMetrics>) -> io::Result<Self> {
        Self::start_with(metrics, |host| {
            let found: Vec<_> = (host, 0).to_socket_addrs().ok()?.collect();
            Some(found)
        })
    }

    fn start_with(
        metrics: Arc<DnsMetrics>,
        look_up: impl FnMut(&str) -> Option<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        thread::Builder::new()
            .name("ringgate-resolve".into())
            .spawn(move || answer_all(&asked, &metrics, look_up))?;
        Ok(Self::new(questions))
    }

    fn new(questions: SyncSender<Question>) -> Self {
        Self {
            questions,
            known: RefCell::default(),
        }
    }

    /// The addresses of `host`, which is a name or an IP literal without brackets, with `port`.
    pub async fn resolve(&self, host: &str, port: u16) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut addresses = self.look_up(host).await?;
        for address in &mut addresses {
            address.set_port(port);
        }
        Ok(addresses)
    }

    async fn look_up(&self, host: &str) -> Answer {
        loop {
            match self.step(host, now()) {
                Step::Done(answer) => return answer,
                Step::Ask => return self.ask(host).await,
                Step::Wait(heard) => {
                    if let Ok(answer) = heard.await {
                        return answer;
                    }
                    // The task that asked was dropped, with its client. The first to come here asks instead.
                }
            }
        }
    }

    fn step(&self, host: &str, now: Instant) -> Step {
        match self.known.borrow_mut().get_mut(host) {
            Some(Entry::Known { answer, until }) if now < *until => Step::Done(answer.clone()),
            Some(Entry::Asked(waiting)) => {
                let (tell, heard) = oneshot::channel();
                waiting.push(tell);
                Step::Wait(heard)
            }
            Some(Entry::Known { .. }) | None => Step::Ask,
        }
    }

    async fn ask(&self, host: &str) -> Answer {
        if !self.make_room(host, now()) {
            return Err(ResolveError::Overloaded);
        }
        let asking = Asking::begin(self, host);
        let (tell, heard) = oneshot::channel();
        let question = Question {
            host: host.to_owned(),
            answer: tell,
        };
        let answer = match self.questions.try_send(question) {
            Ok(()) => heard.await.unwrap_or(Err(ResolveError::Overloaded)),
            Err(_) => Err(ResolveError::Overloaded),
        };
        asking.finish(&answer, now());
        answer
    }

    /// Whether `host` may have an entry, after outdated ones had to leave.
    fn make_room(&self, host: &str, now: Instant) -> bool {
        let mut known = self.known.borrow_mut();
        if known.len() < NAMES_MAX || known.contains_key(host) {
            return true;
        }
        known.retain(|_, entry| match entry {
            Entry::Known { until, .. } => now < *until,
            Entry::Asked(_) => true,
        });
        known.len() < NAMES_MAX
    }
}

/// The entry of a question that is out: it must not stay if the task that asked is dropped.
struct Asking<'a> {
    names: &'a Resolver,
    host: &'a str,
}

impl<'a> Asking<'a> {
    fn begin(names: &'a Resolver, host: &'a str) -> Self {
        let asked = Entry::Asked(Vec::new());
        names.known.borrow_mut().insert(host.to_owned(), asked);
        Self { names, host }
    }

    /// Tells everybody who waits, and remembers.
    fn finish(self, answer: &Answer, now: Instant) {
        if let Some(Entry::Asked(waiting)) = self.names.known.borrow_mut().remove(self.host) {
            for tell in waiting {
                // Who has gone meanwhile hears nothing.
                drop(tell.send(answer.clone()));
            }
        }
        let lifetime = match answer {
            Ok(_) => FOUND_FOR,
            Err(ResolveError::NotFound) => NOT_FOUND_FOR,
            // Says nothing of the name.
            Err(ResolveError::Overloaded) => return,
        };
        let entry = Entry::Known {
            answer: answer.clone(),
            until: now + lifetime,
        };
        self.names
            .known
            .borrow_mut()
            .insert(self.host.to_owned(), entry);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut known = self.names.known.borrow_mut();
        // Dropping the senders wakes those who wait.
        if let Some(Entry::Asked(_)) = known.get(self.host) {
            known.remove(self.host);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the resolver reads the clock; the steps are told the time"
)]
fn now() -> Instant {
    Instant::now()
}

fn answer_all(
    asked: &Receiver<Question>,
    metrics: &DnsMetrics,
    mut look_up: impl FnMut(&str) -> Option<Vec<SocketAddr>>,
) {
    for Question { host, answer } in asked {
        // Everybody who asked may be gone by now: a stalled name server makes a queue of such.
        if answer.is_canceled() {
            continue;
        }
        let began = now();
        let found = look_up(&host).filter(|addresses| !addresses.is_empty());
        metrics
            .duration
            .observe_time(now().saturating_duration_since(began));
        let counter = match found {
            Some(_) => &metrics.found,
            None => &metrics.not_found,
        };
        counter.add(1);
        // The worker may have given up meanwhile, which is no concern of ours.
        drop(answer.send(found.ok_or(ResolveError::NotFound)));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc::channel;

    use monoio::{IoUringDriver, RuntimeBuilder};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(64)
            .enable_timer()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    /// A resolver that knows `there`, counts questions, and takes a permit before each answer.
    fn scripted() -> (Resolver, Arc<AtomicUsize>, std::sync::mpsc::Sender<()>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let (permit, permits) = channel();
        let resolver = Resolver::start_with(Arc::default(), move |host| {
            counter.fetch_add(1, SeqCst);
            permits.recv().ok()?;
            (host == "there").then(|| vec!["192.0.2.1:0".parse().unwrap()])
        });
        (resolver.unwrap(), asked, permit)
    }

    fn there(port: u16) -> Answer {
        Ok(vec![SocketAddr::new("192.0.2.1".parse().unwrap(), port)])
    }

    #[test]
    fn literals_ask_nobody() {
        let (resolver, asked, _permit) = scripted();
        let names = Rc::new(resolver);
        block_on(async {
            for (host, text) in [
                ("192.0.2.9", "192.0.2.9:80"),
                ("2001:db8::1", "[2001:db8::1]:80"),
            ] {
                let found = names.resolve(host, 80).await.unwrap();
                assert_eq!(found, [text.parse().unwrap()]);
            }
        });
        assert_eq!(asked.load(SeqCst), 0);
    }

    #[test]
    fn system_knows_localhost_and_not_invalid() {
        let names = Resolver::start(Arc::default()).unwrap();
        block_on(async {
            let found = names.resolve("localhost", 8080).await.unwrap();
            assert!(
                found
                    .iter()
                    .all(|a| a.ip().is_loopback() && a.port() == 8080)
            );
            assert_eq!(
                names.resolve("no-such-name.invalid", 80).await,
                Err(ResolveError::NotFound)
            );
        });
    }

    #[test]
    fn answers_are_remembered() {
        let (resolver, asked, permit) = scripted();
        let names = Rc::new(resolver);
        block_on(async {
            permit.send(()).unwrap();
            permit.send(()).unwrap();
            assert_eq!(names.resolve("there", 1).await, there(1));
            assert_eq!(names.resolve("there", 2).await, there(2));
            assert_eq!(names.resolve("gone", 1).await, Err(ResolveError::NotFound));
            assert_eq!(names.resolve("gone", 1).await, Err(ResolveError::NotFound));
        });
        assert_eq!(asked.load(SeqCst), 2);
    }

    #[test]
    fn answers_grow_old() {
        let (resolver, _, permit) = scripted();
        let names = Rc::new(resolver);
        permit.send(()).unwrap();
        block_on(names.resolve("there", 1)).unwrap();
        let now = super::now();
        assert!(matches!(names.step("there", now), Step::Done(_)));
        assert!(matches!(names.step("there", now + FOUND_FOR), Step::Ask));
    }

    #[test]
    fn concurrent_asks_are_one_question() {
        let (resolver, asked, permit) = scripted();
        let names = Rc::new(resolver);
        block_on(async {
            let tasks: Vec<_> = (0..100)
                .map(|port| {
                    let names = Rc::clone(&names);
                    monoio::spawn(async move { names.resolve("there", port).await })
                })
                .collect();
            // Every task has run once: one has asked, the others wait.
            monoio::time::sleep(Duration::from_millis(1)).await;
            permit.send(()).unwrap();
            for (port, task) in (0..).zip(tasks) {
                assert_eq!(task.await, there(port));
            }
        });
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[test]
    fn dropped_asker_leaves_nobody_waiting() {
        let (resolver, _, permit) = scripted();
        let names = Rc::new(resolver);
        block_on(async {
            let limit = Duration::from_millis(10);
            let asker = {
                let names = Rc::clone(&names);
                monoio::spawn(async move {
                    monoio::time::timeout(limit, names.resolve("there", 1))
                        .await
                        .is_err()
                })
            };
            monoio::time::sleep(Duration::from_millis(1)).await;
            let waiter = {
                let names = Rc::clone(&names);
                monoio::spawn(async move { names.resolve("there", 2).await })
            };
            assert!(asker.await, "the first gives up");
            permit.send(()).unwrap();
            permit.send(()).unwrap();
            assert_eq!(waiter.await, there(2));
        });
    }

    #[test]
    fn full_queue_is_an_answer() {
        let (resolver, _, permit) = scripted();
        let names = Rc::new(resolver);
        block_on(async {
            let tasks: Vec<_> = (0..QUESTIONS_MAX + 50)
                .map(|n| {
                    let names = Rc::clone(&names);
                    monoio::spawn(async move { names.resolve(&format!("name{n}"), 1).await })
                })
                .collect();
            monoio::time::sleep(Duration::from_millis(1)).await;
            // Every further look-up fails at once.
            drop(permit);
            let mut overloaded = 0;
            for task in tasks {
                if task.await == Err(ResolveError::Overloaded) {
                    overloaded += 1;
                }
            }
            assert!((1..=50).contains(&overloaded), "{overloaded}");
        });
    }

    #[test]
    fn memory_is_bounded() {
        let (resolver, _, permit) = scripted();
        let names = Rc::new(resolver);
        drop(permit);
        block_on(async {
            for n in 0..NAMES_MAX + 10 {
                let answer = names.resolve(&format!("name{n}"), 1).await;
                let expected = match n {
                    n if n < NAMES_MAX => ResolveError::NotFound,
                    _ => ResolveError::Overloaded,
                };
                assert_eq!(answer, Err(expected), "{n}");
            }
        });
        assert_eq!(names.known.borrow().len(), NAMES_MAX);
    }
}

//! `ringgate top`: what a running program does, live on a terminal, or once as a table. It asks the admin listener like
//! anybody else, on a thread of its own, so that keys are heard while an answer is awaited.
#![forbid(unsafe_code)]

mod numbers;
mod picture;
mod sample;
mod table;
mod terminal;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use self::picture::{Picture, Size};
use self::sample::{Sample, Sort};
use self::terminal::{Event, Key, Terminal, Waker};
use crate::cli::Top;
use crate::remote::ask::Door;
use crate::remote::{self, Failure};

/// How far the columns of a table go that is printed for no terminal.
const PLAIN_COLUMNS: usize = 160;

/// Runs the command.
pub(crate) fn run(command: &Top) -> Result<(), Failure> {
    let door = Door::find(&command.socket)?;
    let first = Sample::ask(&door, Sort::Open)?;
    if command.once || !io::stdout().is_terminal() {
        return print_once(&door, command.interval, first);
    }
    watch(door, command.interval, first)
}

/// Rates need two looks.
fn print_once(door: &Door, interval: Duration, first: Sample) -> Result<(), Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "there is nothing else to do meanwhile"
    )]
    thread::sleep(interval);
    let second = Sample::ask(door, Sort::Open)?;
    let size = Size {
        columns: PLAIN_COLUMNS,
        rows: None,
    };
    let lines = Picture::new(&second, Some(&first), Sort::Open).lines(size);
    let text: String = lines
        .iter()
        .map(|line| format!("{}\n", line.text))
        .collect();
    remote::print(&text)
}

/// The picture until somebody has seen enough.
fn watch(door: Door, interval: Duration, first: Sample) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure(format!("the terminal: {error}"));
    let (mut terminal, waker) = Terminal::enter().map_err(failed)?;
    let (wanted, wishes) = channel();
    let (told, answers) = channel();
    thread::spawn(move || ask_on(&door, interval, &wishes, &told, &waker));
    let mut watched = Watched {
        now: first,
        before: None,
        error: None,
        sort: Sort::Open,
        held: false,
        seen: now(),
    };
    loop {
        watched.take(&answers);
        let size = terminal.size();
        terminal.draw(&watched.lines(size)).map_err(failed)?;
        match terminal.wait().map_err(failed)? {
            Event::Key(Key::Leave) => return Ok(()),
            Event::Key(Key::Sort) => {
                watched.sort = watched.sort.next();
                // Whoever asks lives as long as this does.
                wanted.send(watched.sort).ok();
            }
            Event::Key(Key::Hold) => watched.held = !watched.held,
            Event::Look => {}
        }
    }
}

type Answers = Receiver<Result<Sample, Failure>>;

/// Asks again and again, at once where another order is wished for.
fn ask_on(
    door: &Door,
    interval: Duration,
    wishes: &Receiver<Sort>,
    told: &Sender<Result<Sample, Failure>>,
    waker: &Waker,
) {
    let mut sort = Sort::Open;
    loop {
        match wishes.recv_timeout(interval) {
            Ok(wished) => sort = wished,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if told.send(Sample::ask(door, sort)).is_err() {
            return;
        }
        waker.wake();
    }
}

/// What is on the screen.
struct Watched {
    now: Sample,
    before: Option<Sample>,
    error: Option<String>,
    sort: Sort,
    held: bool,
    /// When `now` came.
    seen: Instant,
}

impl Watched {
    fn take(&mut self, answers: &Answers) {
        for answer in answers.try_iter() {
            match answer {
                Ok(_) if self.held => {}
                Ok(sample) => {
                    let before = std::mem::replace(&mut self.now, sample);
                    // Another process: its counters began anew.
                    self.before = self.now.follows(&before).then_some(before);
                    self.error = None;
                    self.seen = now();
                }
                Err(Failure(error)) => self.error = Some(error),
            }
        }
    }

    fn lines(&self, size: Size) -> Vec<picture::Line> {
        let mut picture = Picture::new(&self.now, self.before.as_ref(), self.sort);
        let age = now().saturating_duration_since(self.seen).as_secs();
        if let Some(error) = &self.error {
            picture.warn(format!(
                "no answer, and what is shown is {age} s old: {error}"
            ));
        } else if self.held {
            picture.warn(format!("held {age} s ago; space lets it go on"));
        }
        picture.lines(size)
    }
}

#[expect(clippy::disallowed_methods, reason = "once a picture")]
fn now() -> Instant {
    Instant::now()
}

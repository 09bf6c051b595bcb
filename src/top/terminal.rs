//! The terminal: another screen and keys without Enter while this lives, and everything as it was afterwards, however it
//! ends: by a key, an error, a signal or a panic.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::{emulate_default_handler, pipe};

use super::picture::{Line, Size, Style};
use crate::cli::Color;
use crate::commands::is_coloured;

/// Another screen, no cursor, no wrapping; and back (xterm's private modes, which all terminals of today have).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How the terminal was.
static BEFORE: OnceLock<Termios> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Leave,
    Sort,
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Key(Key),
    /// There may be something new to draw.
    Look,
}

/// Wakes the terminal from its wait.
#[derive(Debug)]
pub(super) struct Waker(UnixStream);

impl Waker {
    pub(super) fn wake(&self) {
        // A full pipe wakes as well.
        (&self.0).write_all(&[0]).ok();
    }
}

#[derive(Debug)]
pub(super) struct Terminal {
    woken: UnixStream,
    signals: Vec<(i32, Arc<AtomicBool>)>,
    /// Where keys come from; nowhere if standard input is something else.
    keys: Option<io::Stdin>,
    coloured: bool,
}

impl Terminal {
    pub(super) fn enter() -> io::Result<(Self, Waker)> {
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let all = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH];
        let mut signals = Vec::new();
        for signal in all {
            let seen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&seen))?;
            pipe::register(signal, waker.try_clone()?)?;
            signals.push((signal, seen));
        }
        let stdin = io::stdin();
        let keys = stdin.is_terminal().then_some(stdin);
        if let Some(keys) = &keys {
            let before = tcgetattr(keys)?;
            BEFORE.get_or_init(|| before);
        }
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
        let terminal = Self {
            woken,
            signals,
            keys,
            coloured: is_coloured(Color::Auto, &io::stdout()),
        };
        terminal.prepare()?;
        Ok((terminal, Waker(waker)))
    }

    fn prepare(&self) -> io::Result<()> {
        if let (Some(keys), Some(before)) = (&self.keys, BEFORE.get()) {
            let mut modes = before.clone();
            // Keys at once and unseen; those that send signals still do.
            modes
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(keys, OptionalActions::Drain, &modes)?;
        }
        put(ENTER)
    }

    /// The room there is; a terminal that does not know has 80 by 24.
    pub(super) fn size(&self) -> Size {
        let known = tcgetwinsize(io::stdout()).ok();
        let (columns, rows) = known
            .filter(|size| size.ws_col > 0 && size.ws_row > 0)
            .map_or((80, 24), |size| (size.ws_col, size.ws_row));
        Size {
            columns: columns.into(),
            rows: Some(rows.into()),
        }
    }

    /// Draws everything anew, in one piece and without clearing, so that nothing flickers.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut frame = String::from("\x1b[?2026h\x1b[H");
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                frame.push_str("\r\n");
            }
            match self.style(line.style) {
                "" => frame.push_str(&line.text),
                style => frame.push_str(&format!("\x1b[{style}m{}\x1b[0m", line.text)),
            }
            frame.push_str("\x1b[K");
        }
        frame.push_str("\x1b[J\x1b[?2026l");
        put(&frame)
    }

    fn style(&self, style: Style) -> &'static str {
        match (style, self.coloured) {
            (Style::Plain, _) => "",
            (Style::Title, _) => "1",
            (Style::Head, _) => "7",
            (Style::Bad, true) => "1;31",
            (Style::Bad, false) => "1",
        }
    }

    /// Waits for a key, a signal or the waker. A signal that ends the program ends it here, with the terminal as it was.
    pub(super) fn wait(&mut self) -> io::Result<Event> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN)];
        if let Some(keys) = &self.keys {
            fds.push(PollFd::from_borrowed_fd(keys.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let typed = fds.get(1).is_some_and(|keys| !keys.revents().is_empty());
        drop(fds);
        // However many have knocked, one look is enough.
        while matches!(self.woken.read(&mut [0; 64]), Ok(1..)) {}
        if self.take_signals()? {
            return Ok(Event::Key(Key::Leave));
        }
        if typed {
            return self.key();
        }
        Ok(Event::Look)
    }

    /// Whether it is time to leave.
    fn take_signals(&self) -> io::Result<bool> {
        for (signal, seen) in &self.signals {
            if !seen.swap(false, SeqCst) {
                continue;
            }
            match *signal {
                SIGINT => return Ok(true),
                SIGTERM | SIGHUP | SIGQUIT => {
                    restore();
                    emulate_default_handler(*signal)?;
                }
                SIGTSTP => {
                    restore();
                    emulate_default_handler(SIGTSTP)?;
                }
                SIGCONT => self.prepare()?,
                _ => {}
            }
        }
        Ok(false)
    }

    fn key(&self) -> io::Result<Event> {
        let mut typed = [0; 32];
        let n = match rustix::io::read(io::stdin(), &mut typed) {
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => return Ok(Event::Look),
            Err(error) => return Err(error.into()),
        };
        Ok(match typed.get(..n).unwrap_or_default() {
            // The terminal has gone.
            [] => Event::Key(Key::Leave),
            // Escape alone; cursor keys begin with it.
            [0x1b] => Event::Key(Key::Leave),
            [b'q' | b'Q', ..] => Event::Key(Key::Leave),
            [b's' | b'S', ..] => Event::Key(Key::Sort),
            [b' ', ..] => Event::Key(Key::Hold),
            _ => Event::Look,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes everything as it was. May be called again.
fn restore() {
    if let Some(before) = BEFORE.get() {
        tcsetattr(io::stdin(), OptionalActions::Drain, before).ok();
    }
    put(LEAVE).ok();
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

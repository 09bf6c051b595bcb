//! The conversation after the 101: what is typed goes out, what comes is shown, until either side closes.
//!
//! One thread waits for the socket, standard input and Ctrl-C together, so that nothing has to be passed between threads
//! and no message is shown before the one that came first.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::lines::{Lines, Next};
use super::show::Show;
use super::stream::{Stream, now};
use crate::sys::{self, Interest};

/// How long our Close waits for its answer: a live server needs a round trip.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have sent a Close; the server's code, if it had one.
    Closed(Option<u16>),
    /// The connection ended without a Close from the server.
    Lost,
    /// A second Ctrl-C.
    Interrupted,
}

/// Where messages come from.
#[derive(Debug)]
pub(super) enum Input {
    /// The command line.
    Given(VecDeque<String>),
    /// Lines of standard input.
    Lines(Lines),
}

#[derive(Debug)]
pub(super) struct Session {
    socket: WebSocket<Stream>,
    input: Option<Input>,
    /// How long to go on listening when the input has ended.
    wait: Duration,
    interrupts: UnixStream,
    show: Show,
    /// When we close, or give up waiting for the answer to our Close.
    until: Option<Instant>,
    closing: bool,
    interrupted: bool,
    /// The code of the server's Close, once one has come.
    closed: Option<Option<u16>>,
    unsent: bool,
}

/// What was ready.
struct Ready {
    socket: bool,
    input: bool,
    interrupt: bool,
}

impl Session {
    /// `behind` came with the handshake's answer; `interrupts` is readable after Ctrl-C.
    pub(super) fn new(
        stream: Stream,
        behind: Vec<u8>,
        input: Input,
        wait: Duration,
        interrupts: UnixStream,
        show: Show,
    ) -> io::Result<Self> {
        stream.socket().set_nonblocking(true)?;
        interrupts.set_nonblocking(true)?;
        let config = WebSocketConfig::default();
        let role = tungstenite::protocol::Role::Client;
        Ok(Self {
            socket: WebSocket::from_partially_read(stream, behind, role, Some(config)),
            input: Some(input),
            wait,
            interrupts,
            show,
            until: None,
            closing: false,
            interrupted: false,
            closed: None,
            unsent: false,
        })
    }

    /// Until either side ends it.
    pub(super) fn run(mut self) -> io::Result<End> {
        self.show.prompt()?;
        loop {
            if let Some(end) = self.receive()? {
                return Ok(end);
            }
            self.send_next()?;
            if let Some(end) = self.flush()? {
                return Ok(end);
            }
            if self.can_send() && self.input.as_ref().is_some_and(Input::has_more) {
                continue;
            }
            let ready = self.await_ready()?;
            if ready.interrupt {
                self.clear_interrupt();
                if self.interrupted {
                    return Ok(End::Interrupted);
                }
                self.interrupted = true;
                self.close();
            }
            if ready.input
                && let Some(Input::Lines(lines)) = &mut self.input
            {
                lines.read()?;
            }
            if !ready.socket && self.until.is_some_and(|until| now() >= until) {
                if self.closing {
                    return Ok(self.end());
                }
                self.close();
            }
        }
    }

    fn can_send(&self) -> bool {
        !self.unsent && !self.closing
    }

    /// Shows everything that has come.
    fn receive(&mut self) -> io::Result<Option<End>> {
        loop {
            match self.socket.read() {
                Ok(message) => self.handle(message)?,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return self.ended(error).map(Some),
            }
        }
    }

    fn handle(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Text(text) => self.show.text(text.as_str()),
            Message::Binary(bytes) => self.show.binary(&bytes),
            Message::Ping(payload) => {
                // tungstenite has queued the pong.
                self.unsent = true;
                self.show.control("ping", &payload)
            }
            Message::Close(frame) => {
                self.closed = Some(frame.as_ref().map(|frame| frame.code.into()));
                self.unsent = true;
                self.closing = true;
                self.until = Some(now() + CLOSE_WAIT);
                self.show.close(frame.as_ref())
            }
            Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// What an error of the socket means.
    fn ended(&self, error: Error) -> io::Result<End> {
        if self.closed.is_some() {
            return Ok(self.end());
        }
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => {}
            Error::Io(error) => self.show.aside(&format!("connection lost: {error}"))?,
            other => self.show.aside(&format!("connection lost: {other}"))?,
        }
        Ok(End::Lost)
    }

    fn end(&self) -> End {
        self.closed.map_or(End::Lost, End::Closed)
    }

    /// Takes one message from the input, if the last one has gone.
    fn send_next(&mut self) -> io::Result<()> {
        if !self.can_send() {
            return Ok(());
        }
        let Some(input) = &mut self.input else {
            return Ok(());
        };
        match input.next()? {
            Next::Message(message) => {
                // A failure shows again at the flush.
                self.unsent = true;
                drop(self.socket.write(message));
                self.show.prompt()?;
            }
            Next::Later => {}
            Next::End => {
                self.input = None;
                // Who ends a terminal's input wants to go; a script's last answers may still be on their way.
                let wait = if self.show.has_prompt() {
                    Duration::ZERO
                } else {
                    self.wait
                };
                self.until = Some(now() + wait);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<Option<End>> {
        if !self.unsent {
            return Ok(None);
        }
        match self.socket.flush() {
            Ok(()) => {
                self.unsent = false;
                Ok(None)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => self.ended(error).map(Some),
        }
    }

    fn close(&mut self) {
        if !self.closing {
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            // A failure shows again at the flush.
            drop(self.socket.close(Some(frame)));
            self.closing = true;
            self.unsent = true;
            self.input = None;
        }
        self.until = Some(now() + CLOSE_WAIT);
    }

    fn await_ready(&self) -> io::Result<Ready> {
        let stdin = io::stdin();
        let wants_lines = self.can_send() && matches!(&self.input, Some(Input::Lines(_)));
        let timeout = self
            .until
            .map(|until| until.saturating_duration_since(now()));
        let [socket, input, interrupt] = sys::poll(
            [
                Interest {
                    fd: self.socket.get_ref().socket().as_fd(),
                    read: true,
                    write: self.unsent,
                },
                Interest {
                    fd: stdin.as_fd(),
                    read: wants_lines,
                    write: false,
                },
                Interest {
                    fd: self.interrupts.as_fd(),
                    read: true,
                    write: false,
                },
            ],
            timeout,
        )?;
        Ok(Ready {
            socket,
            input,
            interrupt,
        })
    }

    fn clear_interrupt(&mut self) {
        // Whatever is in the pipe stands for one Ctrl-C.
        let mut bytes = [0; 64];
        drop(self.interrupts.read(&mut bytes));
    }
}

impl Input {
    fn next(&mut self) -> io::Result<Next> {
        match self {
            Self::Given(messages) => Ok(messages
                .pop_front()
                .map_or(Next::End, |text| Next::Message(Message::text(text)))),
            Self::Lines(lines) => lines.next(),
        }
    }

    /// Whether `next` has something without waiting.
    fn has_more(&self) -> bool {
        match self {
            Self::Given(_) => true,
            Self::Lines(lines) => lines.has_more(),
        }
    }
}

//! Lines of standard input as messages, out of pieces of any size.
#![forbid(unsafe_code)]

use std::io::{self, Read};

use tungstenite::Message;

/// Longest line that is read, in bytes. What is longer is no line that somebody typed.
const LINE_BYTES_MAX: usize = 16 << 20;

/// How much of standard input is read at once. Not less than the buffer of `Stdin`, which is then passed by: what it held
/// back would not show when the descriptor is polled.
const READ_BYTES: usize = 16 << 10;

/// What an input gives when it is asked.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Message(Message),
    /// Nothing is there yet.
    Later,
    End,
}

/// Lines out of pieces of standard input.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// Whether `next` has something without a further read.
    pub(super) fn has_more(&self) -> bool {
        self.ended || self.buffer.contains(&b'\n')
    }

    /// Takes what is there; to be called when the descriptor is readable.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; READ_BYTES];
        let len = io::stdin().lock().read(&mut piece)?;
        self.take(piece.get(..len).unwrap_or_default())
    }

    /// Nothing is the end of the input.
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.ended |= piece.is_empty();
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "a line of more than {} MiB on standard input",
                LINE_BYTES_MAX >> 20
            )));
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n');
        let mut line = match end {
            Some(end) => {
                let rest = self.buffer.split_off(end + 1);
                std::mem::replace(&mut self.buffer, rest)
            }
            None if self.ended && !self.buffer.is_empty() => std::mem::take(&mut self.buffer),
            None if self.ended => return Ok(Next::End),
            None => return Ok(Next::Later),
        };
        if line.ends_with(b"\n") {
            line.pop();
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        // RFC 6455 §5.6: text is UTF-8.
        Ok(Next::Message(match String::from_utf8(line) {
            Ok(text) => Message::text(text),
            Err(error) => Message::binary(error.into_bytes()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: &[Message]) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.take(piece).unwrap();
            while let Next::Message(message) = lines.next().unwrap() {
                found.push(message);
            }
        }
        assert_eq!(found, expected, "{pieces:?}");
    }

    #[test]
    fn lines_become_messages_wherever_they_were_cut() {
        let (a, b) = (Message::text("a"), Message::text("bc"));
        check(&[b"a\nbc\n", b""], &[a.clone(), b.clone()]);
        check(&[b"a\r\nb", b"c", b"\n"], &[a.clone(), b.clone()]);
        check(&[b"a\nbc", b""], &[a, b]);
        check(&[b"\n", b""], &[Message::text("")]);
        check(&[b"\xff\n"], &[Message::binary(&b"\xff"[..])]);
        check(&[b""], &[]);
    }

    #[test]
    fn the_end_comes_after_the_last_line() {
        let mut lines = Lines::default();
        assert_eq!(lines.next().unwrap(), Next::Later);
        lines.take(b"x").unwrap();
        assert_eq!(lines.next().unwrap(), Next::Later);
        lines.take(b"").unwrap();
        assert_eq!(lines.next().unwrap(), Next::Message(Message::text("x")));
        assert_eq!(lines.next().unwrap(), Next::End);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        assert!(lines.take(&vec![b'x'; LINE_BYTES_MAX]).is_ok());
        assert!(lines.take(b"x").is_err());
    }
}

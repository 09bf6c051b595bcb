//! What a person or a script gets to see: messages on standard output, everything about them on standard error.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use tungstenite::protocol::CloseFrame;

use super::handshake::Head;

/// Bytes of a binary message that are shown.
const BINARY_SHOWN_MAX: usize = 64;

/// How things are shown. Prompt, arrows and escapes are for terminals: what is piped on gets messages and nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    /// A person types, and reads the answers on the same screen.
    prompt: bool,
    /// Messages go to a terminal.
    terminal: bool,
}

impl Show {
    pub(super) fn new(reads_input: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            prompt: reads_input && terminal && io::stdin().is_terminal(),
            terminal,
        }
    }

    pub(super) fn head(self, head: &Head) -> io::Result<()> {
        for line in head.text.lines() {
            self.aside(&printable(line))?;
        }
        Ok(())
    }

    /// The body of a refusal, as it came.
    pub(super) fn body(self, body: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal {
            let text = String::from_utf8_lossy(body);
            let lines: Vec<_> = text.lines().map(printable).collect();
            writeln!(out, "{}", lines.join("\n"))?;
        } else {
            out.write_all(body)?;
        }
        out.flush()
    }

    pub(super) fn text(self, text: &str) -> io::Result<()> {
        if self.terminal {
            let lines: Vec<_> = text.split('\n').map(printable).collect();
            self.message(&lines.join("\n  "))
        } else {
            self.message(text)
        }
    }

    pub(super) fn binary(self, bytes: &[u8]) -> io::Result<()> {
        self.message(&format!("{} bytes: {}", bytes.len(), hexadecimal(bytes)))
    }

    fn message(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.prompt {
            // The prompt's line is taken for the message, and the prompt comes again below.
            write!(out, "\r\x1b[K< {text}\n> ")?;
        } else if self.terminal {
            writeln!(out, "< {text}")?;
        } else {
            writeln!(out, "{text}")?;
        }
        out.flush()
    }

    /// About the connection rather than from it.
    pub(super) fn aside(self, text: &str) -> io::Result<()> {
        let mut errors = io::stderr().lock();
        if self.prompt {
            writeln!(errors, "\r\x1b[K{text}")?;
        } else {
            writeln!(errors, "{text}")?;
        }
        errors.flush()
    }

    pub(super) fn prompt(self) -> io::Result<()> {
        if self.prompt {
            let mut out = io::stdout().lock();
            write!(out, "\r> ")?;
            out.flush()?;
        }
        Ok(())
    }

    pub(super) fn has_prompt(self) -> bool {
        self.prompt
    }

    pub(super) fn control(self, name: &str, payload: &[u8]) -> io::Result<()> {
        if payload.is_empty() {
            return self.aside(&format!("{name}, answered"));
        }
        let what = match std::str::from_utf8(payload) {
            Ok(text) => printable(text),
            Err(_) => hexadecimal(payload),
        };
        self.aside(&format!("{name} ({what}), answered"))
    }

    pub(super) fn close(self, frame: Option<&CloseFrame>) -> io::Result<()> {
        self.aside(&match frame {
            None => "closed by the server without a code".to_owned(),
            Some(frame) => {
                let code = u16::from(frame.code);
                let mut text = format!("closed with {code} ({})", meaning(code));
                if !frame.reason.is_empty() {
                    text += &format!(": {}", printable(&frame.reason));
                }
                text
            }
        })
    }
}

/// A server may send what a terminal takes for commands: control characters are shown and not obeyed.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(BINARY_SHOWN_MAX) {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    if bytes.len() > BINARY_SHOWN_MAX {
        text.push_str("...");
    }
    text
}

/// RFC 6455 §7.4.1 and the registry it founded.
fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid payload",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "extension missing",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        3000..=3999 => "registered",
        4000..=4999 => "private use",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_given_commands() {
        assert_eq!(printable("a\tb\x1b[2Jc\r"), "a\tb\\u{1b}[2Jc\\r");
        assert_eq!(printable("gr\u{fc}\u{df}e"), "gr\u{fc}\u{df}e");
    }

    #[test]
    fn long_binary_messages_are_cut() {
        assert_eq!(hexadecimal(b"hello"), "68656c6c6f");
        assert_eq!(hexadecimal(&[0; 65]).len(), 2 * 64 + 3);
    }
}

//! The commands that serve nothing: they read a configuration and say something about it.
#![forbid(unsafe_code)]

mod apis;
mod check;
mod diff;
mod export;
mod manual;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::Color;
use crate::document::{Complaint, Listing};

pub(crate) use apis::apis;
pub(crate) use check::check;
pub(crate) use diff::diff;
pub(crate) use export::export;
pub(crate) use manual::write as write_manual;

/// Shows complaints on standard error, in colour where that is a terminal.
pub(crate) fn show_complaints(complaints: &[Complaint]) {
    let coloured = is_coloured(Color::Auto, &io::stderr());
    let text = Listing::new(coloured, &source).render(complaints);
    // Where standard error is gone there is nobody to tell.
    io::stderr().write_all(text.as_bytes()).ok();
}

/// Writes the answer of a command. A reader who has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("ringgate: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// <https://no-color.org>: set and not empty means no colours, unless the command line asks for them.
pub(crate) fn is_coloured(color: Color, stream: &impl IsTerminal) -> bool {
    let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => stream.is_terminal() && !unwanted() && !dumb(),
    }
}

/// The text that a complaint is about. Only of regular files: what came through a pipe is gone, and opening a named one
/// again would wait for another writer.
fn source(file: &str) -> Option<String> {
    let regular = std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file());
    regular
        .then(|| std::fs::read_to_string(file).ok())
        .flatten()
}

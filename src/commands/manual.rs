//! The manual pages, made of what `--help` says, so that the two cannot differ.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;

/// Writes a page for each command into `dir`, or the main one to standard output.
///
/// # Errors
///
/// The first file that could not be written, by its name.
pub(crate) fn write(dir: Option<&Path>) -> io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else {
        return io::stdout().lock().write_all(&page(&command)?);
    };
    write_page(&command, dir)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write_page(command, dir))
}

fn write_page(command: &Command, dir: &Path) -> io::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.1"));
    let fail =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fs::write(&path, page(command)?).map_err(fail)
}

/// As `Man::render`, but for the synopsis, which would not show what options take, and for what stands below the options: it
/// would be one section, its tables filled like prose.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .source(concat!("ringgate ", env!("CARGO_PKG_VERSION")))
        .manual("ringgate");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    let usage = command.clone().render_usage().to_string();
    section(&mut out, "SYNOPSIS", usage.trim_start_matches("Usage: "))?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let below = command.get_after_help().map(ToString::to_string);
    for block in below.iter().flat_map(|text| text.split("\n\n")) {
        match block.split_once(":\n") {
            Some((heading, rest)) if !heading.contains('\n') => {
                section(&mut out, &heading.to_uppercase(), rest)?;
            }
            _ => section(&mut out, "NOTES", block)?,
        }
    }
    Ok(out)
}

/// Its lines as they are.
fn section(out: &mut Vec<u8>, heading: &str, text: &str) -> io::Result<()> {
    writeln!(out, ".SH \"{heading}\"\n.nf")?;
    for line in text.lines() {
        // `\&` keeps a dot or a quote at the beginning from being a command.
        let line = line.replace('\\', "\\\\").replace('-', "\\-");
        writeln!(out, "\\&{line}")?;
    }
    writeln!(out, ".fi")
}

//! The program: everything is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ringgate::program::main(ringgate::cli::Cli::parse())
}

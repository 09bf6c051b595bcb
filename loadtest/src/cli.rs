//! Flags.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::target::Target;

/// WebSocket load on a server or proxy, and the echo backend behind it.
#[derive(Debug, Parser)]
#[command(name = "ringgate-loadtest", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve WebSockets that echo every message.
    Backend(BackendOptions),
    /// Send messages over open connections; check and time each echo.
    Echo(EchoOptions),
    /// Open connections and hold them; report the memory they take.
    Idle(IdleOptions),
    /// Connect, upgrade, echo once, close, over and over.
    Storm(StormOptions),
}

#[derive(Debug, Args)]
pub(crate) struct BackendOptions {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub(crate) listen: SocketAddr,
    /// Threads, each with a listener of its own on the same port.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) threads: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EchoOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Messages a second over all connections, sent by the clock and timed from when they were due (open loop).
    /// Without it each connection sends as soon as its echo has come (closed loop).
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Bytes of payload in a message.
    #[arg(long, default_value_t = 64, value_parser = message_bytes)]
    pub(crate) size: usize,
    /// Time under load before measuring begins.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) warm_up: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct IdleOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Send one message on each connection before it falls idle.
    #[arg(long)]
    pub(crate) touch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StormOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Connections in progress at any time.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) clients: usize,
}

#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// ws:// or wss:// URL; certificates are not verified.
    #[arg(long)]
    pub(crate) url: String,
    /// How long to measure or hold, such as 5s, 500ms, 2m.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Connections opened a second before measuring.
    #[arg(long, default_value = "2000", value_parser = rate)]
    pub(crate) open_rate: f64,
    /// Local addresses used in turn: each has ports for some 28,000 connections to one server.
    #[arg(long, value_delimiter = ',')]
    pub(crate) sources: Vec<IpAddr>,
    /// Processes whose CPU time and memory are reported, as one.
    #[arg(long, value_delimiter = ',', value_name = "PID")]
    pub(crate) observe: Vec<u32>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    pub(crate) json: bool,
}

impl LoadOptions {
    pub(crate) fn target(&self) -> Result<Target, String> {
        Target::parse(&self.url)
    }
}

/// Above it a message would not fit into the memory of a small machine many times over.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

fn message_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 0..=MESSAGE_BYTES_MAX) => Ok(size),
        _ => Err(format!("a number of bytes up to {MESSAGE_BYTES_MAX}")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("a whole number from 1".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a number a second from 0.001 to 1e9".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("ms") => 1e-3,
        Some("" | "s") => 1.0,
        Some("m") => 60.0,
        Some("h") => 3600.0,
        _ => return Err("a number with ms, s, m or h".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "a number with ms, s, m or h".to_owned())?;
    match number * unit {
        seconds @ 0.0..=86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("at most 24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        let check = |text, expected| assert_eq!(duration(text).ok(), expected, "{text}");
        check("500ms", Some(Duration::from_millis(500)));
        check("5s", Some(Duration::from_secs(5)));
        check("1.5", Some(Duration::from_millis(1500)));
        check("2m", Some(Duration::from_secs(120)));
        for text in ["", "s", "5 days", "-1s", "25h", "nan"] {
            check(text, None);
        }
    }
}

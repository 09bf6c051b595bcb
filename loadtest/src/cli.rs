//! Flags.

use std::net::SocketAddr;
use std::num::NonZeroI32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::addresses::Addresses;
use crate::payload::Kind;
use crate::role::Mix;
use crate::sizes::Sizes;
use crate::target::Target;
use crate::values::{at_least_one, duration, interval, rate, share};

/// WebSocket load on a server or proxy, and the backend behind it.
#[derive(Debug, Parser)]
#[command(name = "ringgate-loadtest", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send messages over open connections; check and time each echo.
    Echo(EchoOptions),
    /// Let this tool's backend push to every connection at once; check and time what arrives.
    Push(PushOptions),
    /// Send messages that nobody answers; the backend's receipt at the end tells whether all arrived.
    OneWay(OneWayOptions),
    /// Open connections and hold them; report the memory they take.
    Idle(IdleOptions),
    /// Connect, upgrade, echo once, close, over and over.
    Churn(ChurnOptions),
    /// Drop all connections and reconnect them at once, again and again; time how long it takes.
    Storm(StormOptions),
    /// Push to connections of which some hardly read; time the others.
    Slow(SlowOptions),
    /// Several of these at once, each on its share of the connections.
    Mixed(MixedOptions),
    /// Serve WebSockets that echo, count or push.
    Backend(BackendOptions),
    /// Run several proxies side by side, in turns, and compare them.
    Compare(CompareOptions),
    /// Start a command of a comparison so that it ends with it.
    #[command(hide = true)]
    Child(ChildOptions),
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
    #[command(flatten)]
    pub(crate) messages: MessageOptions,
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) connections: usize,
}

#[derive(Debug, Args)]
pub(crate) struct OneWayOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) messages: MessageOptions,
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) connections: usize,
}

#[derive(Debug, Args)]
pub(crate) struct PushOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) pushes: PushedOptions,
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) connections: usize,
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
pub(crate) struct ChurnOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Connections in progress at any time; with --rate, at most.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) clients: usize,
    /// Connections a second, begun by the clock and timed from when they were due (open loop). Without it each one that
    /// is over is followed by another (closed loop).
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct StormOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Time from one storm to the next.
    #[arg(long, default_value = "5s", value_parser = interval)]
    pub(crate) every: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct SlowOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) pushes: PushedOptions,
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Share of the connections that read slowly.
    #[arg(long, default_value = "0.1", value_parser = share)]
    pub(crate) slow_share: f64,
}

#[derive(Debug, Args)]
pub(crate) struct MixedOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) messages: MessageOptions,
    #[command(flatten)]
    pub(crate) pushes: PushedOptions,
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Parts of the connections by what they do: echo, one-way, push, slow, idle, churn.
    #[arg(long, default_value = "echo=60,push=20,idle=15,slow=1,churn=4")]
    pub(crate) mix: Mix,
    /// Connections a second that the churning part begins, by the clock. Without it: as fast as they end.
    #[arg(long, value_parser = rate)]
    pub(crate) churn_rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct MessageOptions {
    /// Messages a second over all connections, sent by the clock and timed from when they were due (open loop).
    /// Without it each connection sends as soon as its echo has come, or one way as fast as it can (closed loop).
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Bytes of payload: 64, 64..4096 (uniform), 64:90,64KiB:10 (weighted) or exp:512 (exponential).
    #[arg(long, default_value = "64")]
    pub(crate) size: Sizes,
    #[arg(long, value_enum, default_value = "binary")]
    pub(crate) kind: Kind,
}

#[derive(Debug, Args)]
pub(crate) struct PushedOptions {
    /// Pushes a second to each connection, to all at the same moment.
    #[arg(long, default_value = "10", value_parser = rate)]
    pub(crate) push_rate: f64,
    /// Bytes of payload of a push.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(32..=16_777_216))]
    pub(crate) push_size: u32,
    /// Bytes a second that a slow reader takes.
    #[arg(long, default_value_t = 1024, value_parser = at_least_one)]
    pub(crate) slow_bytes_per_second: usize,
}

#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// ws:// or wss:// URL; certificates are not verified, sessions not resumed.
    #[arg(long)]
    pub(crate) url: String,
    /// How long to measure or hold, such as 5s, 500ms, 2m.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Time under load before measuring begins.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) warm_up: Duration,
    /// Connections opened a second before measuring.
    #[arg(long, default_value = "2000", value_parser = rate)]
    pub(crate) open_rate: f64,
    /// Local addresses used in turn, as 127.0.0.0/8 or 10.0.0.1,10.0.0.2: each has ports for some 28,000 connections to
    /// one server address and port.
    #[arg(long, visible_alias = "sources", value_name = "ADDRESSES")]
    pub(crate) source: Option<Addresses>,
    /// Server addresses used in turn, instead of the one that the URL's host has.
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) destination: Option<Addresses>,
    /// Threads of load, each on a core of its own. Default: one for each core that the process may use.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
    /// Ping each open connection this often, and time the pongs.
    #[arg(long, value_parser = interval)]
    pub(crate) ping_interval: Option<Duration>,
    /// Processes whose CPU time, memory, descriptors and sockets are reported, as one.
    #[arg(long, value_delimiter = ',', value_name = "PID")]
    pub(crate) observe: Vec<u32>,
    /// Directory for report.json, latency.hlog and the charts as SVG.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON on a terminal too.
    #[arg(long)]
    pub(crate) json: bool,
}

impl LoadOptions {
    pub(crate) fn target(&self) -> Result<Target, String> {
        Target::parse(&self.url)
    }
}

#[derive(Debug, Args)]
pub(crate) struct CompareOptions {
    /// Proxies and scenarios; loadtest/compare/scenarios.toml is one.
    pub(crate) file: PathBuf,
    /// Interleaved rounds, instead of the file's number.
    #[arg(long, value_parser = at_least_one)]
    pub(crate) rounds: Option<usize>,
    /// Length of each measurement, instead of the file's.
    #[arg(long, value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Only scenarios whose name contains this; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) scenario: Vec<String>,
    /// Only these proxies; others are compared to the first.
    #[arg(long, value_delimiter = ',')]
    pub(crate) proxies: Vec<String>,
    /// Directory for results.json, tables.md and the charts as SVG.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChildOptions {
    /// The comparison.
    #[arg(long)]
    pub(crate) parent: NonZeroI32,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Options::command().debug_assert();
    }
}

//! Flags, and what each command starts: the demo, a configuration file, or one route without a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::call::Call;
use crate::doctor::Doctor;

/// A WebSocket edge proxy that takes the API definitions of a cloud gateway as its configuration.
///
/// Without a command it runs the demo: a self-signed certificate, a built-in echo backend, and the reference scenario
/// in front of it, with wss on 127.0.0.1:8443 and ws on 127.0.0.1:8080.
#[derive(Debug, Parser)]
#[command(name = "ringgate", disable_version_flag = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Print the version, the kernel, and what was found of io_uring
    #[arg(short = 'V', long)]
    pub version: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER_HELP: &str = "\
Signals:
  TERM, QUIT  stop accepting, close open tunnels with 1001 at a frame boundary, exit 0; again: at once
  INT         stop at once
  USR1        reopen the access log

Exit codes:
  0  stopped as asked, or the configuration is right
  1  the configuration is wrong, or the program could not start
  2  the command line is wrong

Environment:
  NO_COLOR  no colours in messages";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the reference scenario on built-in defaults
    Demo,
    /// Serve what a configuration file says
    Run(ConfigFile),
    /// Check a configuration file and every definition it names, and serve nothing
    ///
    /// Prints every complaint with file, line, key and remedy. Exits with 0 if the configuration can be served.
    Check(ConfigFile),
    /// Serve one route without a file
    Proxy(Proxy),
    /// Talk to a WebSocket API: print the handshake's answer, send lines, print messages
    Call(Call),
    /// Say what will break on this host, at how many connections, and how to mend it
    ///
    /// Looks at the host's limits and settings, the configuration, its certificates and its backends. Changes nothing.
    Doctor(Doctor),
    /// Write the manual pages
    #[command(hide = true)]
    Man(Man),
}

#[derive(Args, Debug)]
pub struct Man {
    /// The directory that gets a page for each command; without it the main page goes to standard output
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/ringgate/ringgate.toml"
    )]
    pub config: PathBuf,
}

#[derive(Args, Debug)]
pub struct Proxy {
    /// Where to listen; several may be given. A port of 0 takes a free one
    #[arg(long, value_name = "ADDR", required = true)]
    pub listen: Vec<SocketAddr>,

    /// Where to forward to, as ws://host:port/path (http, wss and https as well); several are used in turn, and have to
    /// agree on their path, which needs --path
    #[arg(long, value_name = "URL", required = true, num_args = 1..)]
    pub backend: Vec<String>,

    /// The only path that is served. Without it, every path is forwarded as it is
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,

    /// The cores that get a worker, as 0,1. Default: all that the process may use
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub cores: Vec<usize>,

    /// Close a tunnel on which nothing was relayed for this long (1ms to 24h). The backend has as long to answer, and at
    /// most a minute
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = idle_timeout)]
    pub idle_timeout: Duration,

    /// Certificate chain in PEM: makes every listener speak TLS
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Most client connections at a time. Default: what the descriptor limit allows
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub connections_max: usize,

    /// Unix socket for /livez, /readyz and /metrics
    #[arg(long, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,

    /// Where the JSON lines about tunnels go: stdout, off, or a file
    #[arg(long, value_name = "WHERE", default_value = "stdout")]
    pub access_log: String,
}

fn idle_timeout(text: &str) -> Result<Duration, String> {
    let allowed = || "allowed: 1ms to 24h, for example 60s".to_owned();
    let time = crate::document::quantity::parse_duration(text).ok_or_else(allowed)?;
    let range = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
    if range.contains(&time) {
        Ok(time)
    } else {
        Err(allowed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cores_are_a_list() {
        let line = "ringgate proxy --listen 127.0.0.1:0 --backend ws://a:1 ws://b:2 --cores 0,1";
        let cli = Cli::parse_from(line.split(' '));
        let Some(Command::Proxy(proxy)) = cli.command else {
            panic!("not a proxy")
        };
        assert_eq!((proxy.cores, proxy.backend.len()), (vec![0, 1], 2));
    }

    #[test]
    fn idle_timeout_has_a_range() {
        assert_eq!(idle_timeout("1500ms"), Ok(Duration::from_millis(1500)));
        for text in ["0s", "25h", "soon"] {
            assert!(idle_timeout(text).is_err(), "{text}");
        }
    }
}

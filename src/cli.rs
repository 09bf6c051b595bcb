//! Flags, and what each command starts: the demo, a configuration file, or one route without a file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::explain::{Field, Url};

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
  HUP         read the configuration again; with any mistake, what runs goes on
  TERM, QUIT  stop accepting, close open tunnels in turn at a frame boundary, exit 0; again: at once
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
    #[command(long_about = RUN)]
    Run(Run),
    /// Check a configuration file and every definition it names, and serve nothing
    #[command(long_about = CHECK, after_help = CHECK_OUTPUT)]
    Check(Check),
    /// List every API that a configuration serves
    #[command(long_about = APIS, after_help = APIS_OUTPUT)]
    Apis(Apis),
    /// Print the definitions of a group as the cloud's gateway imports them
    Export(Export),
    /// Say what becomes of one request, and why
    ///
    /// Prints the listener, group, environment and API that a request would take, why no other API was taken, and what the
    /// backend would be asked. Nothing is sent. Exits with 0 if the request would be served, with 1 if it would be refused.
    Explain(Explain),
    /// Serve one route without a file
    Proxy(Proxy),
    /// Have a running program read its configuration again
    ///
    /// Prints every complaint, and exits with 1, if it was not right; what runs then goes on.
    Reload(Reload),
    /// Say what a reload would change, and how many open tunnels are concerned
    #[command(long_about = DIFF, after_help = DIFF_OUTPUT)]
    Diff(Diff),
    /// List the open tunnels of a running program
    Tunnels(Tunnels),
    /// Watch a running program: rates, APIs, backends, slow readers, why sockets end
    #[command(after_help = TOP_KEYS)]
    Top(Top),
    /// Close one tunnel politely, with a Close frame to both sides
    Close(Close),
    /// Close tunnels politely, spread over a time; alone, show the drains so far
    Drain(Drain),
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

/// Where the running program is asked.
#[derive(Args, Debug)]
pub struct Socket {
    /// Its admin socket. Default: admin.socket of the configuration file, or else its admin.listen
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Its admin listener on loopback, as http://127.0.0.1:9901, instead of the socket
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    pub admin: Option<String>,

    /// The file with the token for --admin. Default: admin.token_file of the configuration file
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub token_file: Option<PathBuf>,

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
pub struct Reload {
    #[command(flatten)]
    pub socket: Socket,
}

const DIFF: &str = "\
Say what a reload would change, and how many open tunnels are concerned

Reads a configuration as `check` does, asks the running program what it serves, and compares the two: APIs one by one,
listeners, certificates, domains, settings, and what a reload would refuse because it needs a restart. Nothing changes.
Exits with 0 if there is no difference, with 1 if there is one, with 2 if the configuration is wrong or the program cannot
be asked.";

const DIFF_OUTPUT: &str = "\
JSON:
  {\"same\": false, \"refused\": false, \"open_tunnels\": 12, \"apis\": [{\"change\": \"changed\", \"group\": \"DEFAULT\", \"environment\":
   \"RELEASE\", \"name\": \"API01\", \"open_tunnels\": 12, \"fate\": [{\"tunnels\": 12, \"because\": \"changed\", \"fate\": \"keep\"}],
   \"differences\": [{\"name\": \"backend timeout\", \"from\": \"60s\", \"to\": \"30s\"}]}],
   \"listeners\": [], \"certificates\": [], \"domains\": [], \"settings\": [], \"restart\": []}
  change is added, removed or changed; from or to is null where there is none; a value that begins with # is a digest of one
  that takes more than a few words. What restart holds is refused by a reload. Further members may be added; these stay.";

#[derive(Args, Debug)]
pub struct Diff {
    #[command(flatten)]
    pub socket: Socket,

    /// How the differences are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args, Debug)]
pub struct Tunnels {
    #[command(flatten)]
    pub socket: Socket,

    /// Only those of this API
    #[arg(long, value_name = "NAME")]
    pub api: Option<String>,

    /// Only those of APIs of this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,

    /// Only those from this address
    #[arg(long, value_name = "IP")]
    pub client: Option<String>,

    /// Only those to this backend
    #[arg(long, value_name = "ADDR")]
    pub backend: Option<String>,

    /// Only those open for longer than this
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,

    /// Only those on which nothing was relayed for this long
    #[arg(long, value_name = "TIME")]
    pub idle_for: Option<String>,

    /// Which come first: age, idle, waiting or bytes
    #[arg(long, value_name = "KEY", default_value = "age")]
    pub sort: String,

    /// How many are shown
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub limit: usize,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const TOP_KEYS: &str = "\
Keys:
  q, Escape, Ctrl-C  leave
  s                  sort APIs by the next of: open, messages, bytes, failures
  space              hold the picture, and let it go on";

#[derive(Args, Debug)]
pub struct Top {
    #[command(flatten)]
    pub socket: Socket,

    /// Print one picture and leave, as is done where standard output is no terminal
    #[arg(long, visible_alias = "batch")]
    pub once: bool,

    /// How often it is asked (200ms to 60s)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}

#[derive(Args, Debug)]
pub struct Close {
    #[command(flatten)]
    pub socket: Socket,

    /// The id of the tunnel, as `ringgate tunnels` and the access log have it
    pub id: String,

    /// The close code that both sides get (RFC 6455 section 7.4)
    #[arg(long, default_value_t = 1001)]
    pub code: u16,
}

#[derive(Args, Debug)]
pub struct Drain {
    #[command(flatten)]
    pub socket: Socket,

    /// Every tunnel that is open now. New ones are let in, and stay
    #[arg(long, conflicts_with_all = ["api", "backend", "cancel"])]
    pub all: bool,

    /// The tunnels of this API
    #[arg(long, value_name = "NAME", conflicts_with_all = ["backend", "cancel"])]
    pub api: Option<String>,

    /// The group of the API. Default: DEFAULT
    #[arg(long, value_name = "NAME", requires = "api")]
    pub group: Option<String>,

    /// The tunnels to this backend
    #[arg(long, value_name = "ADDR", conflicts_with = "cancel")]
    pub backend: Option<String>,

    /// Spread them over this time. Default: 100 a second on each core, or all within 10 s
    #[arg(long, value_name = "TIME")]
    pub over: Option<String>,

    /// Do nothing for this long
    #[arg(long, value_name = "TIME")]
    pub notice: Option<String>,

    /// Cut what is still open this long after the notice. Default: each has to answer its Close within
    /// timeouts.close_grace
    #[arg(long, value_name = "TIME")]
    pub limit: Option<String>,

    /// Say 1012 (service restart) instead of 1001 (going away)
    #[arg(long)]
    pub restart: bool,

    /// Cancel the drain of this number
    #[arg(long, value_name = "NUMBER")]
    pub cancel: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub file: ConfigFile,

    /// The group; needed where there are several
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,

    /// The environment that the APIs are published in
    #[arg(long, value_name = "NAME", default_value = "RELEASE")]
    pub environment: String,

    /// The format: OpenAPI 3.0 or Swagger 2.0
    #[arg(long, value_enum, default_value_t = ExportFormat::Openapi)]
    pub format: ExportFormat,

    /// Write JSON instead of YAML
    #[arg(long, conflicts_with = "yaml")]
    pub json: bool,

    /// Write YAML, as is the default
    #[arg(long)]
    pub yaml: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    Openapi,
    Swagger,
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

const RUN: &str = "\
Serve what a configuration file says

Sockets that a supervisor passes (LISTEN_FDS, as systemd's socket units do) are matched to [[listeners]] by address, or by
their name where a listener has a socket_name; with fewer sockets than workers, the workers share them.";

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub file: ConfigFile,

    /// Start beside a ringgate that runs with the same listeners, as its successor
    ///
    /// Both let clients in until the other one is stopped. Once this one serves, it has the admin socket; the other's goes
    /// on under that path with its process id behind (admin.sock.4711). With net.ipv4.tcp_migrate_req=1 nobody is refused
    /// when the other one closes its listeners.
    #[arg(long)]
    pub beside: bool,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub file: ConfigFile,

    /// How the complaints are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,

    /// Whether text is coloured; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
}

#[derive(Args, Debug)]
pub struct Apis {
    #[command(flatten)]
    pub file: ConfigFile,

    /// How the list is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

const CHECK: &str = "\
Check a configuration file and every definition it names, and serve nothing

Prints every complaint with file, line, column, key and remedy, and below it the line that it is about. Exits with 0 if
the configuration can be served; warnings do not keep it from that.";

const CHECK_OUTPUT: &str = "\
Text:
  FILE:LINE:COLUMN: error: KEY: PROBLEM; REMEDY (CODE)
  The key and the code are left out where there is none, line and column where the whole file is meant. CODE is the
  management API's for the same mistake.

JSON:
  {\"ok\": true, \"apis\": 3, \"errors\": 0, \"warnings\": 1, \"complaints\": [{\"severity\": \"warning\", \"file\": \"...\", \"line\": 7,
   \"column\": 3, \"key\": \"...\", \"problem\": \"...\", \"remedy\": \"...\", \"code\": null}]}
  apis is null where nothing would be served; line and column are null where the whole file is meant, and so are key
  and code where there is none. Further members may be added; these stay.";

const APIS: &str = "\
List every API that a configuration serves: where it is found, where it leads, and which hosts lead to it

Wide cells are neither cut nor wrapped: what reads the table sees one line an API. Complaints go to standard error.";

const APIS_OUTPUT: &str = "\
JSON:
  A list with an object for each API: group, environment, schemes (http, https; WebSocket included), method, path, match
  (exact, prefix), name, id, cors, backends (URLs), mock (its status, or null), timeout_ms (null for a mock), hosts.
  Further members may be added; these stay.";

#[derive(Args, Debug)]
pub struct Explain {
    #[command(flatten)]
    pub file: ConfigFile,

    /// The method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,

    /// A header field of the request, as 'X-Stage: TEST'; may be given several times
    #[arg(long, value_name = "FIELD")]
    pub header: Vec<Field>,

    /// The address the client comes from. Default: 127.0.0.1
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,

    /// The address and port the client connects to, where they are not those of the URL (behind NAT)
    #[arg(long, value_name = "IP:PORT")]
    pub inbound: Option<SocketAddr>,

    /// What the client calls: ws, wss, http or https
    #[arg(value_name = "URL")]
    pub url: Url,
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

    /// Where the JSON lines about tunnels and calls go: stdout, off, a file, or a FIFO
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

fn interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(200)..=Duration::from_secs(60);
    let time = crate::document::quantity::parse_duration(text);
    time.filter(|time| range.contains(time))
        .ok_or_else(|| "allowed: 200ms to 60s, for example 2s".to_owned())
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

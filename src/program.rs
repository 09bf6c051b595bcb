//! What each command does: from flags to a configuration and a catalog, and from these to running workers.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use crate::call;
use crate::catalog::{self, BackendPath, Carried, Catalog, Forward, Member, Schemes};
use crate::cli::{Cli, Command, Proxy, Run};
use crate::commands;
use crate::config::{self, AccessLog as AccessLogConfig, Config, Running, Scheme};
use crate::control::admin::Doors;
use crate::control::drains::Drains;
use crate::control::in_force::InForce;
use crate::control::reload::{Reloader, Source};
use crate::control::resolver::Resolver;
use crate::control::signals::Signals;
use crate::control::{self, Control, Readiness, State};
use crate::demo;
use crate::doctor;
use crate::edge;
use crate::explain;
use crate::observe::access_log::AccessLog;
use crate::observe::events;
use crate::observe::metrics::{DnsMetrics, ReloadMetrics};
use crate::observe::registry::{ProcessFacts, Registry, Sources};
use crate::relay::policy::TunnelPolicy;
use crate::reload::{self, FileSource, Listening};
use crate::remote;
use crate::sys;
use crate::tls::Tickets;
use crate::top;
use crate::uring::probe::probe;
use crate::worker::{self, Plan, Workers};

/// Why the program could not start, for a person.
type Failure = Box<dyn Display>;

/// Runs the command of `cli`, and says how it went.
pub fn main(cli: Cli) -> ExitCode {
    if cli.version {
        return commands::print(&version(), ExitCode::SUCCESS);
    }
    let result = match cli.command.unwrap_or(Command::Demo) {
        Command::Demo => run_demo(),
        Command::Run(run) => run_file(&run),
        Command::Check(check) => return commands::check(&check),
        Command::Apis(apis) => return commands::apis(&apis),
        Command::Export(arguments) => return commands::export(&arguments),
        Command::Explain(explain) => return explain::run(&explain),
        Command::Proxy(proxy) => run_proxy(proxy),
        Command::Diff(diff) => return commands::diff(&diff),
        Command::Reload(command) => remote::reload(&command).map_err(failure),
        Command::Tunnels(command) => remote::tunnels(&command).map_err(failure),
        Command::Top(command) => top::run(&command).map_err(failure),
        Command::Close(command) => remote::close(&command).map_err(failure),
        Command::Drain(command) => remote::drain(&command).map_err(failure),
        Command::Call(call) => return call::run(call),
        Command::Doctor(doctor) => return doctor::run(&doctor),
        Command::Man(man) => commands::write_manual(man.dir.as_deref()).map_err(failure),
    };
    exit(result)
}

fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringgate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn version() -> String {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let rings = match probe() {
        Ok(features) => {
            let list = features.list().into_iter();
            let found = list
                .map(|(name, found)| format!("\n  {name}: {}", if found { "yes" } else { "no" }));
            format!("usable{}", found.collect::<String>())
        }
        Err(error) => error.to_string(),
    };
    format!(
        "ringgate {}\nbuild: {build}, {}-{}\nkernel: {}\nio_uring: {rings}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        sys::kernel_release(),
    )
}

fn run_file(run: &Run) -> Result<(), Failure> {
    let path = &run.file.config;
    let read_at = reload::time_of_day();
    let mut carried = Carried::default();
    let loaded = catalog::load_beside(path, &mut carried).map_err(|report| {
        commands::show_complaints(&report.complaints);
        failure(report.summary())
    })?;
    commands::show_complaints(&loaded.warnings);
    let start = if run.beside {
        Start::Beside
    } else {
        Start::Alone
    };
    let listeners = open(&loaded.config.listeners, start)?;
    let file = FromFile {
        path: path.to_owned(),
        carried,
        inputs: loaded.inputs,
        read_at,
    };
    serve(
        loaded.config,
        loaded.catalog,
        listeners,
        &[],
        Some(file),
        start,
    )
}

/// One route without a file.
fn run_proxy(proxy: Proxy) -> Result<(), Failure> {
    let mut config = Config::base();
    config.workers.cores = proxy.cores;
    config.limits.connections_max = proxy.connections_max;
    config.admin.socket = proxy.admin_socket;
    config.log.access = match proxy.access_log.as_str() {
        "stdout" => AccessLogConfig::Stdout,
        "off" => AccessLogConfig::Off,
        path => AccessLogConfig::File(path.into()),
    };
    let scheme = if proxy.cert.is_some() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    if let (Some(cert), Some(key)) = (&proxy.cert, &proxy.key) {
        config.tls.certificates.push(read_certificate(cert, key)?);
    }
    let forward = forward(&proxy.backend, proxy.path, proxy.idle_timeout)?;
    let catalog =
        Catalog::forward_all(forward).map_err(|problem| failure(format!("--path: {problem}")))?;
    config.listeners = proxy
        .listen
        .iter()
        .map(|&address| config::Listener::plain(address, scheme))
        .collect();
    let listeners = open(&config.listeners, Start::Alone)?;
    serve(config, catalog, listeners, &[], None, Start::Alone)
}

fn read_certificate(cert: &Path, key: &Path) -> Result<config::Certificate, Failure> {
    let read = |flag, path: &Path| {
        std::fs::read(path).map_err(|error| failure(format!("{flag} {}: {error}", path.display())))
    };
    let (chain, key_bytes) = (read("--cert", cert)?, read("--key", key)?);
    let problem = |problem| {
        failure(format!(
            "--cert {} --key {}: {problem}",
            cert.display(),
            key.display()
        ))
    };
    config::Certificate::from_pem(&chain, &key_bytes).map_err(problem)
}

fn forward(
    urls: &[String],
    path: Option<String>,
    idle_timeout: std::time::Duration,
) -> Result<Forward, Failure> {
    let mut members = Vec::new();
    let mut backend_path: Option<&str> = None;
    for url in urls {
        let problem = || {
            failure(format!(
                "--backend {url}: not a URL such as ws://127.0.0.1:9000/path"
            ))
        };
        let (member, path) = Member::from_url(url).ok_or_else(problem)?;
        let path = path.filter(|path| *path != "/");
        if !members.is_empty() && backend_path != path {
            return Err(failure(format!(
                "--backend {url}: all backends have to have the same path"
            )));
        }
        backend_path = path;
        members.push(member);
    }
    let backend_path = match (backend_path, &path) {
        (Some(path), Some(_)) => BackendPath::fixed(path),
        (Some(unused), None) => {
            return Err(failure(format!(
                "--backend: without --path every path is forwarded as it is, so that {unused} would never be asked for; \
                 leave it out, or say with --path which path leads there"
            )));
        }
        // The reference scenario: /hello in, / out.
        (None, Some(_)) => BackendPath::fixed("/"),
        (None, None) => BackendPath::Same,
    };
    let base = Config::base().tunnel;
    let policy = TunnelPolicy {
        api: "proxy".to_owned(),
        group: catalog::DEFAULT_GROUP.to_owned(),
        environment: catalog::RELEASE.to_owned(),
        backend: String::new(),
        address: String::new(),
        version: 0,
        idle_timeout,
        idle_end: base.idle_end,
        frames: base.frames,
        message_bytes_max: base.message_bytes_max,
    };
    Ok(Forward {
        members,
        path,
        backend_path,
        schemes: Schemes::Both,
        policy,
        timeout: idle_timeout.min(BACKEND_TIMEOUT),
    })
}

/// The embedded default: the reference scenario in front of a backend of our own.
fn run_demo() -> Result<(), Failure> {
    let backend =
        demo::echo_backend().map_err(|error| failure(format!("the demo's backend: {error}")))?;
    let mut config = Config::base();
    config.tls.certificates.push(demo_certificate()?);
    let member = Member::new(Scheme::Http, &backend.ip().to_string(), backend.port());
    let mut forward = forward(
        &[format!("ws://{}/", member.authority)],
        Some("/hello".to_owned()),
        BACKEND_TIMEOUT,
    )?;
    forward.policy.api = "API01".to_owned();
    let catalog = Catalog::forward_all(forward).map_err(failure)?;
    let mut listeners = Vec::new();
    for (scheme, port) in [(Scheme::Https, 8443), (Scheme::Http, 8080)] {
        let wanted = config::Listener::plain((Ipv4Addr::LOCALHOST, port).into(), scheme);
        let bound = edge::bind_from(&wanted).map_err(failure)?;
        config
            .listeners
            .push(config::Listener::plain(bound.address(), scheme));
        listeners.push(bound);
    }
    let [wss, ws] = [Scheme::Https, Scheme::Http].map(|scheme| {
        let found = listeners
            .iter()
            .find(|listener| listener.scheme() == scheme);
        found.map_or(0, |listener| listener.address().port())
    });
    let hints = [
        format!(
            "serving wss://127.0.0.1:{wss}/hello and ws://127.0.0.1:{ws}/hello, an echo backend behind both"
        ),
        format!("try it:  websocat -k wss://127.0.0.1:{wss}/hello"),
        format!("or:      pip install websockets && websockets ws://127.0.0.1:{ws}/hello"),
    ];
    serve(config, catalog, listeners, &hints, None, Start::Alone)
}

/// The longest a backend may take to answer where no definition says it: the reference scenario's timeout (spec 1.2).
const BACKEND_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// A self-signed certificate for loopback, made in memory.
fn demo_certificate() -> Result<config::Certificate, Failure> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(failure)?;
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    config::Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map_err(failure)
}

/// What a reload begins with.
struct FromFile {
    path: PathBuf,
    carried: Carried,
    inputs: config::Inputs,
    read_at: SystemTime,
}

/// Whether another ringgate may be running with the same configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// What somebody listens on is taken.
    Alone,
    /// Its listeners are shared, and its admin socket steps aside.
    Beside,
}

/// A listener for each of `wanted`: on the sockets that were passed for it, or on its own.
fn open(wanted: &[config::Listener], start: Start) -> Result<Vec<edge::Listener>, Failure> {
    let passed = sys::passed_descriptors().map_err(failure)?;
    let some_passed = !passed.is_empty();
    let passed = passed
        .into_iter()
        .map(|(descriptor, name)| edge::Passed::new(descriptor, name))
        .collect::<Result<_, _>>()
        .map_err(failure)?;
    let matched = edge::match_up(wanted, passed).map_err(failure)?;
    let open = |(wanted, matched): (&config::Listener, Option<edge::Listener>)| {
        if let Some(listener) = matched {
            return Ok(listener);
        }
        let address = wanted.address;
        if some_passed {
            eprintln!(
                "ringgate: warning: no socket was passed for the listener on {address}; it opens its own"
            );
        }
        let bound = match start {
            Start::Alone => edge::bind(wanted),
            Start::Beside => edge::bind_again(wanted),
        };
        bound.map_err(|error| {
            let remedy = match (start, error.kind()) {
                (Start::Alone, io::ErrorKind::AddrInUse) => {
                    "; if it is a ringgate that this one is to take over from, start with --beside"
                }
                _ => "",
            };
            failure(format!("cannot listen on {address}: {error}{remedy}"))
        })
    };
    wanted.iter().zip(matched).map(open).collect()
}

/// Serves until a signal ends it. `file` is what a reload reads again.
#[expect(clippy::disallowed_methods, reason = "the start time of the process")]
fn serve(
    config: Config,
    catalog: Catalog,
    listeners: Vec<edge::Listener>,
    hints: &[String],
    file: Option<FromFile>,
    start: Start,
) -> Result<(), Failure> {
    let (levels, losses, _events) = events::init(&config.log).map_err(failure)?;
    probe().map_err(failure)?;
    let signals = Signals::register().map_err(failure)?;
    let cores = cores(&config.workers.cores)?;
    let connections_max = connections_max(&config, cores.len())?;
    let (access_log, access_guard) = AccessLog::open(&config.log).map_err(|error| {
        let log = &config.log.access;
        failure(format!("log.access {log}: {error}"))
    })?;
    let admin = match start {
        Start::Alone => Doors::open(&config.admin),
        Start::Beside => Doors::open_beside(&config.admin),
    };
    let admin = admin.map_err(failure)?;
    let facts = ProcessFacts::new(&config, connections_max, SystemTime::now());
    let reloads = Arc::<ReloadMetrics>::default();
    reloads.loaded_at.set(config::certificates::now());
    let dns = Arc::<DnsMetrics>::default();
    let config = Arc::new(config);
    let running = Running::new(Arc::clone(&config));
    let mut registry = Registry::new(Sources {
        facts,
        access_log: access_log.clone(),
        messages: Some(losses),
        reloads: Arc::clone(&reloads),
        dns: Arc::clone(&dns),
        running: running.clone(),
        book: catalog.book().clone(),
    });

    let tickets = Tickets::new().map_err(failure)?;
    let shared = edge::Shared {
        generation: edge::Generation {
            config: Arc::clone(&config),
            catalog: Arc::new(catalog),
            tls: tickets.configs(&config).map_err(failure)?,
        },
        resolver: Resolver::start(dns).map_err(failure)?,
        access_log: access_log.clone(),
        connections: edge::Connections::new(connections_max),
    };
    let plan = Plan {
        config: Arc::clone(&config),
        cores,
        tunnels_max: connections_max,
        access_log: access_log.clone(),
    };
    let workers = worker::start(
        &plan,
        |core, relay, metrics| edge::prepare(core, &shared, &listeners, relay, metrics),
        |core, edge, relay| registry.add_worker(core, edge, relay),
    )
    .map_err(failure)?;
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| (listener.scheme(), listener.address()))
        .collect();
    let listening = config.listeners.iter().zip(&listeners);
    let listening = listening.map(|(config, listener)| Listening {
        config: config.clone(),
        address: listener.address(),
        passed: listener.is_passed(),
    });
    let listening: Vec<_> = listening.collect();
    drop(listeners);
    // The workers have theirs: the first catalog goes with its last user, and not with the program.
    let edge::Shared {
        generation: edge::Generation { catalog, .. },
        connections,
        ..
    } = shared;
    announce(
        &config,
        &catalog,
        &plan,
        connections_max,
        &addresses,
        admin.address(),
        hints,
    )
    .map_err(failure)?;

    let workers = Workers::new(workers);
    let readiness = Readiness::default();
    readiness.set(State::Ready);
    let (asked, requests) = control::requests();
    let in_force = Arc::new(InForce::new(
        file.as_ref().map(|file| file.path.clone()),
        running,
        Arc::clone(&catalog),
        connections_max,
    ));
    let source = file.map(|file| {
        let source = FileSource {
            path: file.path,
            config: Arc::clone(&config),
            catalog,
            carried: file.carried,
            watching: reload::Watching::new(file.inputs, asked.clone()),
            listeners: listening,
            workers: workers.handles(),
            connections_made_for: connections_max,
            connections,
            tickets,
            access_log: access_log.clone(),
            levels,
            in_force: Arc::clone(&in_force),
        };
        Box::new(source.watched(file.read_at)) as Box<dyn Source>
    });
    // Whoever is asked at its path from now on serves already.
    let admin = admin.step_in().map_err(failure)?;
    let drains = Drains::default();
    let reloader = Reloader::new(
        source,
        config.drain,
        drains.clone(),
        reloads,
        Some(Arc::clone(&in_force)),
    );
    control::run(Control {
        workers: &workers,
        signals,
        admin,
        registry,
        access_log,
        readiness,
        reloader,
        in_force,
        drains,
        asked,
        requests,
    })
    .map_err(failure)?;
    workers.join();
    drop(access_guard);
    Ok(())
}

/// The cores that get a worker: those asked for, all of which have to be there, or all that the process may use.
fn cores(wanted: &[usize]) -> Result<Vec<core_affinity::CoreId>, Failure> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    if wanted.is_empty() {
        return if usable.is_empty() {
            Err(failure("no core may be used"))
        } else {
            Ok(usable)
        };
    }
    let find = |id: &usize| {
        usable
            .iter()
            .find(|core| core.id == *id)
            .copied()
            .ok_or_else(|| {
                let ids: Vec<_> = usable.iter().map(|core| core.id.to_string()).collect();
                failure(format!(
                    "core {id} may not be used by this process; allowed: {}",
                    ids.join(", ")
                ))
            })
    };
    wanted.iter().map(find).collect()
}

/// Descriptors of the process that are not for connections: standard streams, signals, logs, the control thread's ring,
/// the two admin listeners with sixteen callers each, name resolution.
const DESCRIPTORS_RESERVED: usize = 64;

/// Those of one worker: two rings and what wakes them; and for each listener its socket, a duplicate and a reserve.
const DESCRIPTORS_OF_WORKER: usize = 8;
const DESCRIPTORS_OF_LISTENER: usize = 4;

/// Descriptors that are not for connections, of the whole process.
pub(crate) fn descriptors_reserved(config: &Config, workers: usize) -> usize {
    let of_worker = DESCRIPTORS_OF_WORKER + DESCRIPTORS_OF_LISTENER * config.listeners.len();
    DESCRIPTORS_RESERVED + workers * of_worker
}

/// How many connections the descriptor limit allows: each takes one, and one more once it has a backend.
fn connections_max(config: &Config, workers: usize) -> Result<usize, Failure> {
    let limit = sys::raise_fd_limit().map_err(failure)?;
    let reserved = descriptors_reserved(config, workers);
    let possible = limit.saturating_sub(reserved) / 2;
    match config.limits.connections_max {
        0 if possible == 0 => Err(failure(format!(
            "the descriptor limit of {limit} leaves none for connections; raise it above {} (ulimit -n)",
            reserved + 2
        ))),
        0 => Ok(possible),
        wanted if wanted > possible => {
            tracing::warn!(
                wanted,
                possible,
                "limits.connections_max is more than the descriptor limit allows; needed: {}",
                reserved + 2 * wanted
            );
            Ok(wanted)
        }
        wanted => Ok(wanted),
    }
}

/// Says on standard output what is served; the last line is for whoever waits for the start.
fn announce(
    config: &Config,
    catalog: &Catalog,
    plan: &Plan,
    connections_max: usize,
    listeners: &[(Scheme, SocketAddr)],
    admin: Option<SocketAddr>,
    hints: &[String],
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let cores: Vec<_> = plan.cores.iter().map(|core| core.id.to_string()).collect();
    writeln!(
        out,
        "ringgate {}: workers on cores {}",
        env!("CARGO_PKG_VERSION"),
        cores.join(",")
    )?;
    writeln!(
        out,
        "memory: {}",
        config.memory_bounds(plan.cores.len(), connections_max)
    )?;
    for api in catalog.apis() {
        writeln!(out, "serving {api}")?;
    }
    for hint in hints {
        writeln!(out, "{hint}")?;
    }
    for (scheme, address) in listeners {
        let scheme = if *scheme == Scheme::Https {
            "wss"
        } else {
            "ws"
        };
        writeln!(out, "listening on {scheme}://{address}")?;
    }
    if let Some(address) = admin {
        writeln!(out, "status page on http://{address}/")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

fn failure(error: impl Display + 'static) -> Failure {
    Box::new(error)
}

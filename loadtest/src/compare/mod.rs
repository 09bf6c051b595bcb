//! Several proxies side by side: each started afresh for each measurement, pinned as told, in turns within each round,
//! so that no proxy always has the quieter moment.

mod file;
mod process;
mod results;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::CompareOptions;
use crate::descriptors;
use crate::output::write_file;
use crate::run::end_on_signals;

use file::{File, Proxy, Scenario, fill};
use process::{Process, free_port, said};
use results::Case;

/// The open sockets of the load have warmed up when the background begins, and it is on before measuring does.
const BACKGROUND_LEAD: Duration = Duration::from_secs(1);
const BACKGROUND_WARM_UP: Duration = Duration::from_secs(3);

/// Says whether everything could be measured and went without errors.
pub(crate) fn run(options: &CompareOptions) -> Result<bool, String> {
    // Children are groups of their own, which a terminal's Ctrl-C does not reach: they end with the bench.
    let stop = Arc::new(AtomicBool::new(false));
    end_on_signals(&stop)?;
    let bench = Bench::prepare(options, Arc::clone(&stop))?;
    let cases = bench.measure()?;
    let tables: Vec<_> = cases.iter().map(|case| case.table(&bench.names)).collect();
    let tables = tables.join("\n");
    println!("{tables}");
    if let Some(directory) = &options.out {
        bench.write(directory, &cases, &tables)?;
    }
    if stop.load(Ordering::Relaxed) {
        return Err("interrupted; what was measured until then is above".to_owned());
    }
    Ok(cases.iter().all(|case| case.failures.is_empty()))
}

struct Bench {
    file: File,
    /// Beside the file, where templates are.
    directory: PathBuf,
    scratch: Scratch,
    tool: String,
    names: Vec<String>,
    values: BTreeMap<&'static str, String>,
    /// Words before a command that give it real-time priority; none where that is not to be had.
    realtime: Vec<String>,
    backend: Process,
    /// Set when the comparison is to end early.
    stop: Arc<AtomicBool>,
}

/// A directory that goes when the comparison does.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

impl Bench {
    fn prepare(options: &CompareOptions, stop: Arc<AtomicBool>) -> Result<Self, String> {
        descriptors::raise();
        let mut file = File::read(&options.file)?;
        file.rounds = options.rounds.unwrap_or(file.rounds);
        file.seconds = options
            .duration
            .map_or(file.seconds, |length| length.as_secs_f64());
        select(&mut file, options)?;
        let directory = options
            .file
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        let directory = if directory.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            directory
        };
        let scratch =
            Scratch(std::env::temp_dir().join(format!("ringgate-compare-{}", std::process::id())));
        make_scratch(&scratch.0)?;
        let tool = std::env::current_exe().map_err(|error| error.to_string())?;
        let tools = tool.parent().map(Path::to_path_buf).unwrap_or_default();
        let realtime = realtime_prefix();
        if realtime.is_empty() {
            eprintln!(
                "no real-time priority: the load core's own delays show in latencies beside a background"
            );
        }
        let tool = tool.display().to_string();
        // Before the load where they compete for their core, so that what is measured is the proxy's delay.
        let mut words = realtime.clone();
        words.extend([&tool, "backend", "--listen", "127.0.0.1:0"].map(str::to_owned));
        let mut backend = Process::start("backend", &words, &file.pin.backend, None)?;
        let line = backend.first_line()?;
        let address = line
            .strip_prefix("listening on ")
            .ok_or("the backend does not listen")?;
        let mut values = BTreeMap::from([
            ("tools", tools.display().to_string()),
            ("backend", address.to_owned()),
            ("descriptors", descriptors::soft_limit().to_string()),
            ("cores", list(&file.pin.proxy)),
            ("workers", file.pin.proxy.len().to_string()),
        ]);
        for name in ["certificate", "key", "pem"] {
            values.insert(
                name,
                scratch.0.join(format!("{name}.pem")).display().to_string(),
            );
        }
        let mut names: Vec<String> = Vec::new();
        for proxy in &file.proxies {
            let program = proxy
                .start
                .first()
                .map(|word| fill(word, "ws", &values))
                .unwrap_or_default();
            if exists(&program) {
                names.push(proxy.name.clone());
            } else {
                eprintln!("{}: {program} is not here, left out", proxy.name);
            }
        }
        if names.is_empty() {
            return Err("no proxy to measure".to_owned());
        }
        Ok(Self {
            file,
            directory,
            scratch,
            tool,
            names,
            values,
            realtime,
            backend,
            stop,
        })
    }

    fn measure(&self) -> Result<Vec<Case>, String> {
        let mut cases: Vec<(Case, &Scenario, &str)> = Vec::new();
        for scenario in &self.file.scenarios {
            for scheme in &scenario.schemes {
                let case = Case {
                    title: format!("{}, {scheme}", scenario.name),
                    figures: scenario.figures.clone().into_iter().collect(),
                    chart: scenario.chart.clone(),
                    values: BTreeMap::new(),
                    failures: Vec::new(),
                };
                cases.push((case, scenario, scheme));
            }
        }
        for round in 0..self.file.rounds {
            for (case, scenario, scheme) in &mut cases {
                let turn = round % self.names.len();
                for name in self.names.iter().cycle().skip(turn).take(self.names.len()) {
                    if self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    eprintln!(
                        "round {} of {}: {}, {name}",
                        round + 1,
                        self.file.rounds,
                        case.title
                    );
                    let proxy = self.file.proxies.iter().find(|proxy| proxy.name == *name);
                    let measured = proxy
                        .ok_or_else(|| "gone".to_owned())
                        .and_then(|proxy| self.run_one(proxy, scenario, scheme));
                    match measured {
                        Ok(report) => case.add(name, &report),
                        // No failure of the proxy.
                        Err(_) if self.stop.load(Ordering::Relaxed) => {}
                        Err(error) => {
                            eprintln!("  failed: {error}");
                            case.failures.push(format!("{name}: {error}"));
                        }
                    }
                }
            }
        }
        Ok(cases.into_iter().map(|(case, ..)| case).collect())
    }

    fn run_one(&self, proxy: &Proxy, scenario: &Scenario, scheme: &str) -> Result<Value, String> {
        let port = free_port()?;
        let log = self.scratch.0.join("proxy.log");
        let words = self.start_words(proxy, scheme, port)?;
        let mut running = Process::start(&proxy.name, &words, &self.file.pin.proxy, Some(&log))?;
        running.await_answer(port, &log, &self.stop)?;
        let url = format!("{scheme}://127.0.0.1:{port}{}", proxy.path);
        let length = Duration::from_secs_f64(self.file.seconds);
        let mut extra = vec!["--observe".to_owned(), running.pids(), "--json".to_owned()];
        if scenario.background.is_empty() {
            let load = self.load("load", &[], &scenario.load, &url, length, &extra)?;
            return report(load, &self.stop);
        }
        extra.extend([
            "--warm-up".to_owned(),
            format!("{}ms", BACKGROUND_WARM_UP.as_millis()),
        ]);
        let load = self.load("load", &self.realtime, &scenario.load, &url, length, &extra)?;
        thread::park_timeout(BACKGROUND_LEAD);
        let all = length + BACKGROUND_WARM_UP;
        let background = self.load(
            "background",
            &[],
            &scenario.background,
            &url,
            all,
            &["--warm-up".to_owned(), "0s".to_owned()],
        )?;
        let mut figures = report(load, &self.stop)?;
        let behind = report(background, &self.stop)?;
        if let (Some(figures), Some(behind)) = (figures.as_object_mut(), behind.as_object()) {
            figures.extend(
                behind
                    .iter()
                    .map(|(name, value)| (format!("background_{name}"), value.clone())),
            );
        }
        Ok(figures)
    }

    fn load(
        &self,
        name: &str,
        prefix: &[String],
        words: &[String],
        url: &str,
        length: Duration,
        extra: &[String],
    ) -> Result<Process, String> {
        let mut command = prefix.to_vec();
        command.push(self.tool.clone());
        command.extend_from_slice(words);
        command.extend(["--url".to_owned(), url.to_owned()]);
        command.extend(["--duration".to_owned(), format!("{}ms", length.as_millis())]);
        command.extend_from_slice(extra);
        Process::start(name, &command, &self.file.pin.load, None)
    }

    fn start_words(&self, proxy: &Proxy, scheme: &str, port: u16) -> Result<Vec<String>, String> {
        let mut values = self.values.clone();
        values.insert("port", port.to_string());
        values.insert("directory", self.scratch.0.display().to_string());
        if let Some(name) = &proxy.config {
            let path = self.directory.join(name);
            let template = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let config = fill(&template, scheme, &values);
            write_file(&self.scratch.0, "proxy.conf", config.as_bytes())?;
            values.insert(
                "config",
                self.scratch.0.join("proxy.conf").display().to_string(),
            );
        }
        let more = if scheme == "wss" {
            proxy.start_wss.as_slice()
        } else {
            &[]
        };
        Ok(proxy
            .start
            .iter()
            .chain(more)
            .map(|word| fill(word, scheme, &values))
            .collect())
    }

    fn write(&self, directory: &Path, cases: &[Case], tables: &str) -> Result<(), String> {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let results = json!({
            "environment": self.environment(),
            "rounds": self.file.rounds,
            "seconds": self.file.seconds,
            "cases": cases.iter().map(|case| case.json(&self.names)).collect::<Vec<_>>(),
        });
        write_file(
            directory,
            "results.json",
            format!("{results:#}\n").as_bytes(),
        )?;
        write_file(directory, "tables.md", tables.as_bytes())?;
        for (name, scheme) in [("ws", ", ws"), ("wss", ", wss")] {
            let (chosen, _): (Vec<_>, Vec<_>) =
                cases.iter().partition(|case| case.title.ends_with(scheme));
            if let Some(chart) = results::chart(&chosen, &self.names) {
                write_file(directory, &format!("compare-{name}.svg"), chart.as_bytes())?;
            }
        }
        Ok(())
    }

    fn environment(&self) -> Value {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let versions: serde_json::Map<_, _> = self
            .file
            .proxies
            .iter()
            .map(|proxy| {
                let words: Vec<_> = proxy
                    .version
                    .iter()
                    .map(|word| fill(word, "ws", &self.values))
                    .collect();
                (proxy.name.clone(), said(&words).into())
            })
            .collect();
        json!({
            "kernel": kernel.trim(),
            "cpu": model.map(|text| text.trim_start_matches([' ', '\t', ':'])),
            "cores": thread::available_parallelism().map_or(0, usize::from),
            "versions": versions,
            "backend_processes": self.backend.pids().split(',').count(),
        })
    }
}

/// Leaves what the flags ask for.
fn select(file: &mut File, options: &CompareOptions) -> Result<(), String> {
    if !options.scenario.is_empty() {
        file.scenarios.retain(|scenario| {
            options
                .scenario
                .iter()
                .any(|part| scenario.name.contains(part))
        });
    }
    if !options.proxies.is_empty() {
        let mut chosen = Vec::new();
        for name in &options.proxies {
            let proxy = file.proxies.iter().find(|proxy| proxy.name == *name);
            chosen.push(
                proxy
                    .cloned()
                    .ok_or_else(|| format!("{name}: not a proxy of this file"))?,
            );
        }
        file.proxies = chosen;
    }
    match file.scenarios.is_empty() {
        true => Err("no scenario has such a name".to_owned()),
        false => Ok(()),
    }
}

/// The directory, with one certificate for all: ECDSA P-256, self-signed, also as HAProxy wants it, in one file.
fn make_scratch(directory: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(fail)?;
    // Proxies that drop root look into it.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(fail)?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    write_file(directory, "certificate.pem", certificate.as_bytes())?;
    write_file(directory, "key.pem", key.as_bytes())?;
    write_file(
        directory,
        "pem.pem",
        format!("{certificate}{key}").as_bytes(),
    )
}

fn realtime_prefix() -> Vec<String> {
    let prefix = ["chrt", "-f", "1"].map(str::to_owned);
    let mut words = prefix.to_vec();
    words.push("true".to_owned());
    let works = words.split_first().is_some_and(|(program, arguments)| {
        let status = std::process::Command::new(program)
            .args(arguments)
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    });
    if works { prefix.to_vec() } else { Vec::new() }
}

fn exists(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

fn list(cores: &[usize]) -> String {
    let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

/// 1 is a run with errors, which the report counts.
fn report(load: Process, stop: &AtomicBool) -> Result<Value, String> {
    let output = load.output(stop)?;
    match output.status.code() {
        Some(0 | 1) => serde_json::from_slice(&output.stdout).map_err(|error| error.to_string()),
        _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

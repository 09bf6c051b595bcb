//! What is measured with: the backend and the files that proxies start from, and the turns that everybody takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cli::CompareOptions;
use crate::descriptors;

use super::child;
use super::file::{File, Proxy, Scenario, fill};
use super::process::{Process, free_port};
use super::results::Case;
use super::scratch::Scratch;

/// The open sockets of the load have warmed up when the background begins, and it is on before measuring does.
const BACKGROUND_LEAD: Duration = Duration::from_secs(1);
const BACKGROUND_WARM_UP: Duration = Duration::from_secs(3);

pub(super) struct Bench {
    pub(super) file: File,
    /// Beside the file, where templates are.
    directory: PathBuf,
    scratch: Scratch,
    tool: String,
    /// Words before a command that end it with the comparison.
    child: Vec<String>,
    /// Proxies that are here.
    pub(super) names: Vec<String>,
    pub(super) values: BTreeMap<&'static str, String>,
    /// Words before a command that give it real-time priority; none where that is not to be had.
    realtime: Vec<String>,
    pub(super) backend: Process,
    /// Set when the comparison is to end early.
    stop: Arc<AtomicBool>,
}

impl Bench {
    pub(super) fn prepare(options: &CompareOptions, stop: Arc<AtomicBool>) -> Result<Self, String> {
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
        let scratch = Scratch::make()?;
        let tool = std::env::current_exe().map_err(|error| error.to_string())?;
        let tools = tool.parent().map(Path::to_path_buf).unwrap_or_default();
        let realtime = realtime_prefix();
        if realtime.is_empty() {
            eprintln!(
                "no real-time priority: the load core's own delays show in latencies beside a background"
            );
        }
        let child = child::prefix(&tool);
        let tool = tool.display().to_string();
        // Before the load where they compete for their core, so that what is measured is the proxy's delay.
        let words = [&tool, "backend", "--listen", "127.0.0.1:0"].map(str::to_owned);
        let words = [&child[..], &realtime[..], &words[..]].concat();
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
            let path = scratch.path(&format!("{name}.pem"));
            values.insert(name, path.display().to_string());
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
            child,
            names,
            values,
            realtime,
            backend,
            stop,
        })
    }

    pub(super) fn measure(&self) -> Result<Vec<Case>, String> {
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
        let log = self.scratch.path("proxy.log");
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
        let mut command = [&self.child[..], prefix].concat();
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
        values.insert("directory", self.scratch.directory().display().to_string());
        if let Some(name) = &proxy.config {
            let path = self.directory.join(name);
            let template = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let config = fill(&template, scheme, &values);
            self.scratch.write("proxy.conf", &config)?;
            let path = self.scratch.path("proxy.conf");
            values.insert("config", path.display().to_string());
        }
        let more = if scheme == "wss" {
            proxy.start_wss.as_slice()
        } else {
            &[]
        };
        let words = proxy.start.iter().chain(more);
        let words = words.map(|word| fill(word, scheme, &values));
        Ok(self.child.iter().cloned().chain(words).collect())
    }
}

/// Leaves what the flags ask for.
fn select(file: &mut File, options: &CompareOptions) -> Result<(), String> {
    let named = |scenario: &Scenario, part: &String| scenario.name.contains(part);
    for part in &options.scenario {
        if !file.scenarios.iter().any(|scenario| named(scenario, part)) {
            let names = file.scenarios.iter().map(|scenario| &*scenario.name);
            let names: Vec<_> = names.collect();
            return Err(format!(
                "--scenario {part}: no scenario has that in its name; there are: {}",
                names.join("; ")
            ));
        }
    }
    if !options.scenario.is_empty() {
        let asked = |scenario: &Scenario| options.scenario.iter().any(|part| named(scenario, part));
        file.scenarios.retain(asked);
    }
    if !options.proxies.is_empty() {
        let mut chosen = Vec::new();
        for name in &options.proxies {
            let proxy = file.proxies.iter().find(|proxy| proxy.name == *name);
            chosen.push(
                proxy
                    .cloned()
                    .ok_or_else(|| format!("--proxies {name}: not a proxy of this file"))?,
            );
        }
        file.proxies = chosen;
    }
    match file.scenarios.is_empty() {
        true => Err("the file has no scenarios".to_owned()),
        false => Ok(()),
    }
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

//! `ringgate diff`: what a reload with a configuration would change in the running program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::{print, show_complaints};
use crate::catalog::{self, Event};
use crate::cli::{Diff, Format};
use crate::config::Config;
use crate::config::Fate;
use crate::document::plural;
use crate::reload::ending;
use crate::remote::ANSWER_TIMEOUT;
use crate::remote::ask::Door;
use crate::snapshot::{ApiName, ApiSnapshot, Snapshot, Values, fate};

/// As `diff(1)` has it.
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

pub(crate) fn diff(arguments: &Diff) -> ExitCode {
    let loaded = match catalog::load(&arguments.socket.config) {
        Ok(loaded) => loaded,
        Err(report) => {
            show_complaints(&report.complaints);
            return trouble(&report.summary());
        }
    };
    show_complaints(&loaded.warnings);
    let running = match running(arguments) {
        Ok(running) => running,
        Err(problem) => return trouble(&problem),
    };
    let new = Snapshot::of(&loaded.config, &loaded.catalog);
    let differences = Differences::between(&running, &new, &loaded.config);
    let text = match arguments.format {
        Format::Text => differences.to_string(),
        Format::Json => match serde_json::to_string_pretty(&differences) {
            Ok(text) => text + "\n",
            Err(error) => return trouble(&error.to_string()),
        },
    };
    let code = if differences.same { 0 } else { DIFFERENT };
    print(&text, ExitCode::from(code))
}

fn trouble(problem: &str) -> ExitCode {
    eprintln!("ringgate: {problem}");
    ExitCode::from(TROUBLE)
}

/// What the program says of itself.
fn running(arguments: &Diff) -> Result<Snapshot, String> {
    let answer = Door::find(&arguments.socket)
        .and_then(|door| door.ask("GET", "/v1/snapshot", ANSWER_TIMEOUT));
    let answer = answer.map_err(|failure| failure.to_string())?;
    serde_json::from_value(answer)
        .map_err(|error| format!("the running program is another version: {error}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added,
    Removed,
    Changed,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Differences {
    same: bool,
    /// A reload would be: something needs a restart.
    refused: bool,
    /// Those of APIs that are gone or others.
    open_tunnels: u64,
    apis: Vec<ApiDifference>,
    listeners: Vec<Difference>,
    certificates: Vec<Difference>,
    domains: Vec<Difference>,
    settings: Vec<ValueDifference>,
    restart: Vec<ValueDifference>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ApiDifference {
    change: Change,
    #[serde(flatten)]
    api: ApiName,
    open_tunnels: u64,
    fate: Vec<TunnelFate>,
    differences: Vec<ValueDifference>,
}

/// What becomes of some open tunnels.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct TunnelFate {
    tunnels: u64,
    because: &'static str,
    fate: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    change: Change,
    name: String,
    differences: Vec<ValueDifference>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ValueDifference {
    name: String,
    from: Option<String>,
    to: Option<String>,
}

impl Differences {
    fn between(old: &Snapshot, new: &Snapshot, config: &Config) -> Self {
        let apis = apis(old, new, config);
        let listeners = things(&old.listeners, &new.listeners);
        let certificates = things(&old.certificates, &new.certificates);
        let domains = things(&old.domains, &new.domains);
        let mut settings = values(&old.settings, &new.settings);
        let mut restart = values(&old.restart, &new.restart);
        if new.connections_made_for > old.connections_made_for {
            let key = "limits.connections_max";
            settings.retain(|difference| difference.name != key);
            restart.push(ValueDifference {
                name: key.to_owned(),
                from: Some(old.connections_made_for.to_string()),
                to: Some(new.connections_made_for.to_string()),
            });
        }
        let same = apis.is_empty()
            && listeners.is_empty()
            && certificates.is_empty()
            && domains.is_empty()
            && settings.is_empty()
            && restart.is_empty();
        Self {
            same,
            refused: !restart.is_empty(),
            open_tunnels: apis.iter().map(|api| api.open_tunnels).sum(),
            apis,
            listeners,
            certificates,
            domains,
            settings,
            restart,
        }
    }
}

fn apis(old: &Snapshot, new: &Snapshot, config: &Config) -> Vec<ApiDifference> {
    fn named(snapshot: &Snapshot) -> BTreeMap<&ApiName, &ApiSnapshot> {
        let apis = snapshot.apis.iter();
        apis.map(|api| (&api.name, api)).collect()
    }
    let (before, after) = (named(old), named(new));
    let mut found = Vec::new();
    for (name, now) in &after {
        let Some(was) = before.get(name) else {
            found.push(ApiDifference {
                change: Change::Added,
                api: (*name).clone(),
                open_tunnels: 0,
                fate: Vec::new(),
                differences: Vec::new(),
            });
            continue;
        };
        let differences = values(&was.values, &now.values);
        if !differences.is_empty() {
            let fate = fates(old, name, Some(now), None, config);
            found.push(ApiDifference {
                change: Change::Changed,
                api: (*name).clone(),
                open_tunnels: fate.iter().map(|fate| fate.tunnels).sum(),
                fate,
                differences,
            });
        }
    }
    for (name, was) in before {
        if !after.contains_key(name) {
            let fate = fates(old, name, None, was.when_removed.clone(), config);
            found.push(ApiDifference {
                change: Change::Removed,
                api: name.clone(),
                open_tunnels: fate.iter().map(|fate| fate.tunnels).sum(),
                fate,
                differences: Vec::new(),
            });
        }
    }
    found.sort_by(|a, b| a.api.cmp(&b.api));
    found
}

/// What becomes of the open tunnels of an API that is `now` this, or nothing.
fn fates(
    old: &Snapshot,
    name: &ApiName,
    now: Option<&ApiSnapshot>,
    own: Option<String>,
    config: &Config,
) -> Vec<TunnelFate> {
    let mut open: BTreeMap<&'static str, (u64, Event)> = BTreeMap::new();
    for count in old.tunnels.iter().filter(|count| count.api == *name) {
        let (because, event) = match now {
            None => ("removed", Event::ApiRemoved),
            Some(now) if now.addresses.contains(&count.address) => ("changed", Event::ApiChanged),
            Some(_) => ("backend removed", Event::BackendRemoved),
        };
        open.entry(because).or_insert((0, event)).0 += count.open;
    }
    let told = |(because, (tunnels, event))| {
        let ending = ending(event, &name.group, &name.name, config, config);
        let said = ending.map_or(Fate::Keep, |(_, plan)| Fate::Drain(plan));
        TunnelFate {
            tunnels,
            because,
            fate: own.clone().unwrap_or_else(|| fate(&said)),
        }
    };
    open.into_iter().map(told).collect()
}

fn things(old: &BTreeMap<String, Values>, new: &BTreeMap<String, Values>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (change, differences) = match (old.get(name), new.get(name)) {
            (Some(was), Some(is)) => (Change::Changed, values(was, is)),
            (None, _) => (Change::Added, Vec::new()),
            (_, None) => (Change::Removed, Vec::new()),
        };
        if change != Change::Changed || !differences.is_empty() {
            found.push(Difference {
                change,
                name: name.clone(),
                differences,
            });
        }
    }
    found
}

/// An empty value is none.
fn values(old: &Values, new: &Values) -> Vec<ValueDifference> {
    let value = |values: &Values, name: &String| {
        let value = values.get(name).cloned();
        value.filter(|value| !value.is_empty())
    };
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| ValueDifference {
            name: name.clone(),
            from: value(old, name),
            to: value(new, name),
        })
        .filter(|difference| difference.from != difference.to)
        .collect()
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.same {
            return f.write_str("no difference\n");
        }
        if !self.apis.is_empty() {
            f.write_str("APIs\n")?;
        }
        for api in &self.apis {
            let ApiName {
                group,
                environment,
                name,
            } = &api.api;
            let mut head = format!("{group}:{name} in {environment}");
            for fate in &api.fate {
                let count = usize::try_from(fate.tunnels).unwrap_or(usize::MAX);
                let tunnels = plural(count, "open tunnel");
                write!(head, "; {tunnels}, {}: {}", fate.because, fate.fate)?;
            }
            entry(f, api.change, &head, &api.differences)?;
        }
        for (title, found) in [
            ("listeners", &self.listeners),
            ("certificates", &self.certificates),
            ("domains", &self.domains),
        ] {
            if !found.is_empty() {
                writeln!(f, "{title}")?;
            }
            for one in found {
                entry(f, one.change, &one.name, &one.differences)?;
            }
        }
        for (title, found) in [
            ("settings", &self.settings),
            ("needs a restart; a reload is refused", &self.restart),
        ] {
            if !found.is_empty() {
                writeln!(f, "{title}")?;
            }
            for one in found {
                writeln!(f, "  {one}")?;
            }
        }
        Ok(())
    }
}

fn entry(
    f: &mut std::fmt::Formatter<'_>,
    change: Change,
    head: &str,
    differences: &[ValueDifference],
) -> std::fmt::Result {
    let sign = match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    };
    writeln!(f, "  {sign} {head}")?;
    differences
        .iter()
        .try_for_each(|one| writeln!(f, "      {one}"))
}

impl std::fmt::Display for ValueDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, from, to } = self;
        let is_digest =
            |value: &Option<String>| value.as_deref().is_some_and(|value| value.starts_with('#'));
        match (from, to) {
            (Some(_), Some(_)) if is_digest(from) => write!(f, "{name}: changed"),
            _ => {
                let shown = |value: &Option<String>| match value {
                    None => "none".to_owned(),
                    Some(_) if is_digest(value) => "some".to_owned(),
                    Some(value) => value.clone(),
                };
                write!(f, "{name}: {} -> {}", shown(from), shown(to))
            }
        }
    }
}

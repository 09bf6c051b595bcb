//! The comparison's file: proxies, scenarios, and where they run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Rounds and seconds are chosen so that a whole comparison takes minutes; more of both narrow the spread.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) pin: Pin,
    #[serde(default)]
    pub(super) proxies: Vec<Proxy>,
    #[serde(default)]
    pub(super) scenarios: Vec<Scenario>,
}

/// Cores of each part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) proxy: Vec<usize>,
    pub(super) load: Vec<usize>,
    pub(super) backend: Vec<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proxy {
    pub(super) name: String,
    /// Program and arguments; `@@name` stands for a value of the run.
    pub(super) start: Vec<String>,
    /// Added for wss.
    #[serde(default)]
    pub(super) start_wss: Vec<String>,
    /// A template beside this file; the proxy finds what became of it as `@@config`.
    #[serde(default)]
    pub(super) config: Option<String>,
    /// Prints the version.
    #[serde(default)]
    pub(super) version: Vec<String>,
    /// Path of the URL.
    #[serde(default = "slash")]
    pub(super) path: String,
}

fn slash() -> String {
    "/".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    /// `ws`, `wss` or both.
    pub(super) schemes: Vec<String>,
    /// This tool's command and flags, without URL and duration.
    pub(super) load: Vec<String>,
    /// Another load through the same proxy meanwhile: the first then has real-time priority where it is to be had, so
    /// that its latency is the proxy's.
    #[serde(default)]
    pub(super) background: Vec<String>,
    /// Names of figures of the report, each with what it is called in the table.
    pub(super) figures: BTreeMap<String, String>,
    /// The figure in the chart.
    pub(super) chart: String,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.rounds == 0 || !(0.1..=86_400.0).contains(&file.seconds) {
            return Err("rounds begin at 1, seconds at 0.1".to_owned());
        }
        if file.pin.proxy.is_empty() || file.pin.load.is_empty() || file.pin.backend.is_empty() {
            return Err("pin: each part needs a core".to_owned());
        }
        for proxy in &file.proxies {
            if proxy.start.is_empty() {
                return Err(format!("{}: no start command", proxy.name));
            }
        }
        for scenario in &file.scenarios {
            let known = |scheme: &String| scheme == "ws" || scheme == "wss";
            if scenario.schemes.is_empty() || !scenario.schemes.iter().all(known) {
                return Err(format!("{}: schemes are ws and wss", scenario.name));
            }
            if !scenario.figures.contains_key(&scenario.chart) {
                return Err(format!(
                    "{}: {} is not among its figures",
                    scenario.name, scenario.chart
                ));
            }
        }
        Ok(file)
    }
}

/// Puts values in place of `@@name`, longest names first. A line that begins with `@ws ` or `@wss ` is there for that
/// scheme only.
pub(super) fn fill(template: &str, scheme: &str, values: &BTreeMap<&str, String>) -> String {
    let mut text = String::new();
    for line in template.split_inclusive('\n') {
        let (only, rest) = match line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
            Some((only @ ("ws" | "wss"), rest)) => (Some(only), rest),
            _ => (None, line),
        };
        if only.is_none_or(|only| only == scheme) {
            text.push_str(rest);
        }
    }
    let mut names: Vec<_> = values.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in names {
        text = text.replace(&format!("@@{name}"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_right() {
        let file = File::parse(include_str!("../../compare/scenarios.toml")).unwrap();
        assert!(file.proxies.len() >= 3 && file.scenarios.len() >= 8);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = File::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let head = "rounds = 1\nseconds = 1.0\n[pin]\nproxy = [0]\nload = [1]\nbackend = [1]\n";
        check(
            "rounds = 0\nseconds = 1.0\n[pin]\nproxy = []\nload = []\nbackend = []",
            "rounds begin at 1",
        );
        check(
            &format!("{head}[[proxies]]\nname = \"a\"\nstart = []"),
            "a: no start command",
        );
        check(&format!("{head}colour = 1"), "colour");
        let scenario = "[[scenarios]]\nname = \"s\"\nload = []\nchart = \"x\"\n";
        check(
            &format!("{head}{scenario}schemes = [\"http\"]\nfigures = {{ x = \"X\" }}"),
            "schemes are",
        );
        check(
            &format!("{head}{scenario}schemes = [\"ws\"]\nfigures = {{ y = \"Y\" }}"),
            "x is not among",
        );
    }

    #[test]
    fn templates_are_filled_by_scheme() {
        let values = BTreeMap::from([("port", "80".to_owned()), ("port_tls", "443".to_owned())]);
        let template = "listen @@port;\n@wss tls @@port_tls;\n@ws plain;\n";
        assert_eq!(fill(template, "ws", &values), "listen 80;\nplain;\n");
        assert_eq!(fill(template, "wss", &values), "listen 80;\ntls 443;\n");
    }
}

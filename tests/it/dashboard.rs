//! That others can read the metrics, and that the dashboard, the alerts and the manual speak of those that there are.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;

use crate::support::backend::{Backend, refusing};
use crate::support::client;
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::Ringgate;
use crate::support::python;
use crate::support::scrape::Scrape;
use crate::support::settings::{Route, Settings};

/// A program that has had a bit of everything.
fn exercised() -> Ringgate {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    });
    let named = format!("localhost:{}", backend.address.port());
    let route = |name, path, backend: &str| Route {
        name,
        path,
        backend: backend.to_owned(),
        ..Route::hello(refusing())
    };
    let program = Ringgate::run(&Settings::new(vec![
        route("CHAT", "/chat", &named),
        route("DEAD", "/dead", &refusing().to_string()),
    ]));
    let mut client = program.connect();
    client.upgrade("/chat");
    client.send(masked(TEXT, b"hello"));
    client.read_frame();
    client.send(masked(CLOSE, &close(1000, "")));
    client.read_frame();
    let mut refused = program.connect();
    assert_eq!(refused.ask(client::upgrade("/dead", &[])).status, 502);
    let mut caller = program.connect();
    assert_eq!(
        caller
            .ask(client::request(
                "GET /dead HTTP/1.1",
                &[("Host", "127.0.0.1")]
            ))
            .status,
        502
    );
    program.await_metric("ringgate_tunnels ", 0.0);
    let calls = "ringgate_calls_total{status=\"502\"}";
    program.await_metric(calls, 1.0);
    program
}

#[test]
fn prometheus_reads_every_family() {
    if !python::available_with("prometheus_client") {
        return;
    }
    let program = exercised();
    for path in ["/metrics", "/metrics?per_core=1"] {
        let (_, _, text) = program.admin(path);
        let mut parser = Command::new("python3")
            .arg(python::script("exposition.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        parser
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = parser.wait_with_output().unwrap();
        assert!(output.status.success(), "{path}");
        let families: Value = serde_json::from_slice(&output.stdout).unwrap();
        let helps = text
            .lines()
            .filter(|line| line.starts_with("# HELP "))
            .count();
        assert_eq!(families.as_object().unwrap().len(), helps, "{path}");
        let of = |name: &str| families[name]["type"].as_str().unwrap().to_owned();
        assert_eq!(of("ringgate_api_tunnels"), "gauge");
        // The library names counters without their ending.
        assert_eq!(of("ringgate_messages"), "counter");
        assert_eq!(of("ringgate_message_size_bytes"), "histogram");
    }
}

/// Every expression in a tree of objects and lists, and every template of an annotation.
fn texts<'a>(tree: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match tree {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    value => texts(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

#[test]
fn dashboard_and_alerts_use_what_there_is() {
    let read = |path: &str| {
        let root = env!("CARGO_MANIFEST_DIR");
        fs::read_to_string(format!("{root}/tuning/{path}")).unwrap()
    };
    let dashboard: Value = serde_json::from_str(&read("grafana/ringgate.json")).unwrap();
    let alerts: Value = serde_saphyr::from_str(&read("prometheus/alerts.yml")).unwrap();
    let scrape = Scrape::of(&exercised(), "/metrics");
    let labels = scrape.labels();
    let mut expressions = Vec::new();
    for tree in [&dashboard, &alerts] {
        texts(tree, "expr", &mut expressions);
    }
    assert!(expressions.len() > 80, "{}", expressions.len());
    let metric = Regex::new(r"\b(ringgate_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let selected = Regex::new(r"([a-z_]+)(?:=~|!~|!=|=)").unwrap();
    let grouped = Regex::new(r"by \(([^)]*)\)").unwrap();
    let mut used = BTreeSet::new();
    for expression in expressions {
        // What the scraper adds.
        let mut known: BTreeSet<String> = ["instance", "job"].map(str::to_owned).into();
        for found in metric.captures_iter(expression) {
            let name = &found[1];
            let own = labels.get(name);
            let own = own.unwrap_or_else(|| panic!("no metric {name}: {expression}"));
            used.insert(name.to_owned());
            let selectors = found.get(2).map_or("", |selectors| selectors.as_str());
            for label in selected.captures_iter(selectors) {
                let fits = own.contains(&label[1]) || known.contains(&label[1]);
                assert!(fits, "no label {} in {name}: {expression}", &label[1]);
            }
            known.extend(own.iter().cloned());
        }
        for group in grouped.captures_iter(expression) {
            for label in group[1].split(", ") {
                assert!(known.contains(label), "no label {label}: {expression}");
            }
        }
    }
    // And the other way round: what there is can be seen on the dashboard.
    for family in scrape.types.keys() {
        let shown = used.iter().any(|name| name.starts_with(family.as_str()));
        assert!(shown, "{family} is on no panel");
    }
    let mut names = Vec::new();
    texts(&alerts, "alert", &mut names);
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"));
    let manual = manual.unwrap();
    for name in names {
        assert!(
            manual.contains(&format!("`{name}`")),
            "{name} is in no runbook"
        );
    }
    for family in scrape.types.keys() {
        assert!(
            manual.contains(family.as_str()),
            "{family} is not explained"
        );
    }
}

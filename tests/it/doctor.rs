//! `ringgate doctor` on this host, whatever it is like, with configurations whose faults are known.

use serde_json::Value;

use crate::support::backend::refusing;
use crate::support::echo::Echo;
use crate::support::program::{Workspace, command};
use crate::support::settings::Settings;

fn doctor(settings: &Settings, arguments: &[&str]) -> (Option<i32>, Value) {
    let workspace = Workspace::new();
    settings.write(&workspace);
    let all = [
        &["doctor", "-c", "ringgate.toml", "--format", "json"],
        arguments,
    ]
    .concat();
    let output = command(&all, &workspace.path(""));
    let report = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.code, report)
}

/// The levels and texts of an area.
fn area<'a>(report: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["area"] == name)
        .map(|f| (f["level"].as_str().unwrap(), f["says"].as_str().unwrap()))
        .collect()
}

#[test]
fn backend_that_echoes_is_well() {
    let echo = Echo::start();
    let (code, report) = doctor(
        &Settings::hello(echo.address),
        &["--connections", "10", "--probe"],
    );
    let backends = area(&report, "backends");
    assert!(
        backends.iter().all(|(level, _)| *level == "ok"),
        "{backends:?}"
    );
    assert!(
        backends.iter().any(|(_, says)| says.starts_with("agreed")),
        "{backends:?}"
    );
    let failed = report["verdict"] == "fail";
    assert_eq!(code, Some(i32::from(failed)), "{report}");
    assert_eq!(report["connections"], 10);
}

#[test]
fn process_that_is_not_there_is_a_failure() {
    let echo = Echo::start();
    // More than any kernel hands out.
    let (code, report) = doctor(&Settings::hello(echo.address), &["--pid", "4294967295"]);
    assert_eq!(code, Some(1));
    let says = area(&report, "configuration");
    assert!(
        says.contains(&("fail", "there is no such process")),
        "{report}"
    );
}

#[test]
fn backend_that_is_down_is_a_failure() {
    let (code, report) = doctor(&Settings::hello(refusing()), &["--connections", "10"]);
    assert_eq!(code, Some(1));
    assert!(
        matches!(area(&report, "backends")[..], [("fail", _)]),
        "{report}"
    );
}

#[test]
fn self_signed_certificate_is_a_warning_and_strict_minds() {
    let echo = Echo::start();
    let settings = Settings::hello(echo.address);
    let (_, report) = doctor(&settings, &["--connections", "10"]);
    let certificates = area(&report, "certificates");
    let warned = |says: &&(&str, &str)| says.0 == "warn" && says.1.contains("self-signed");
    assert!(
        certificates.iter().any(|says| warned(&says)),
        "{certificates:?}"
    );
    let (code, _) = doctor(&settings, &["--connections", "10", "--strict"]);
    assert_eq!(code, Some(1));
}

#[test]
fn a_billion_connections_are_too_many() {
    let (code, report) = doctor(
        &Settings::hello(refusing()),
        &["--connections", "1000000000"],
    );
    assert_eq!(code, Some(1));
    for name in ["descriptors", "ports", "memory"] {
        let found = area(&report, name);
        assert!(
            found.iter().any(|(level, _)| *level == "fail"),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn mistakes_of_the_configuration_are_findings() {
    let (code, report) = doctor(
        &Settings::hello(refusing()).with("[timeouts]\nhandshake = \"soon\""),
        &["--connections", "10"],
    );
    assert_eq!(code, Some(1));
    let found = area(&report, "configuration");
    assert!(
        found
            .iter()
            .any(|(_, says)| says.contains("timeouts.handshake")),
        "{found:?}"
    );
    assert!(!area(&report, "descriptors").is_empty());
}

#[test]
fn text_has_levels_and_a_sum() {
    let workspace = Workspace::new();
    Settings::hello(refusing()).write(&workspace);
    let arguments = ["doctor", "-c", "ringgate.toml", "--connections", "10"];
    let output = command(&arguments, &workspace.path(""));
    assert!(
        output.stdout.contains("\nbackends\n  fail    ws://"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains(" unknown, "), "{}", output.stdout);
    assert!(!output.stdout.contains('\x1b'), "no colours in a pipe");
}

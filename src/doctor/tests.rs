//! What the areas' tests share: a host made of files, and plans to hold against it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::plan::Upstream;
use super::*;
use crate::catalog::Member;
use crate::config::{Listener, Scheme};

/// A host of which only these files are known.
#[derive(Debug)]
pub(super) struct Fixture(TempDir);

impl Fixture {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn with(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(super) fn host(&self) -> Host {
        Host::new(self.0.path(), None)
    }
}

/// `/proc/self/limits` with one line.
pub(super) fn limits(name: &str, soft: u64, hard: u64) -> String {
    format!("Limit  Soft Limit  Hard Limit  Units\n{name:<26}{soft:<21}{hard:<21}units\n")
}

/// One worker on core 0, and nothing that is served.
pub(super) fn plan(connections: u64) -> Plan {
    Plan {
        connections,
        ..plan_on(&[0])
    }
}

pub(super) fn plan_on(cores: &[usize]) -> Plan {
    Plan {
        config: Config::base(),
        connections: 1000,
        cores: cores.to_vec(),
        accept_rate: 100,
        upstreams: Vec::new(),
    }
}

pub(super) fn upstream(address: &str, sharers: usize) -> Upstream {
    Upstream {
        member: Member::from_address(Scheme::Http, address).unwrap(),
        sharers,
        trial: Some(plan::Trial {
            api: "API01".to_owned(),
            path: "/".to_owned(),
        }),
    }
}

pub(super) fn listener(address: &str) -> Listener {
    Listener::plain(address.parse().unwrap(), Scheme::Http)
}

fn doctor(root: &Path, config: Option<&Path>) -> Doctor {
    Doctor {
        config: config.map(Path::to_owned),
        connections: Some(1000),
        accept_rate: None,
        probe: false,
        pid: None,
        root: root.to_owned(),
        strict: false,
        format: Format::Text,
    }
}

#[test]
fn a_host_that_tells_nothing_is_unknown_and_not_broken() {
    let fixture = Fixture::new();
    let report = examine(&doctor(fixture.0.path(), None));
    let from_files = report.findings.iter().filter(|finding| {
        // These are asked of the running system and not of files.
        !matches!(
            finding.area,
            Area::IoUring | Area::Certificates | Area::Configuration
        )
    });
    for finding in from_files {
        assert!(finding.level <= Level::Unknown, "{finding:?}");
    }
}

#[test]
fn findings_come_by_area() {
    let fixture = Fixture::new();
    let report = examine(&doctor(fixture.0.path(), None));
    assert!(report.findings.is_sorted_by_key(|finding| finding.area));
}

#[test]
fn a_broken_configuration_does_not_hide_the_host() {
    let fixture = Fixture::new()
        .with(
            "ringgate.toml",
            "[[listeners]]\naddress = \"127.0.0.1:8080\"\nprotocol = \"smoke\"\n",
        )
        .with("proc/sys/fs/nr_open", "10");
    let file = fixture.0.path().join("ringgate.toml");
    let report = examine(&doctor(fixture.0.path(), Some(&file)));
    let fails = |area| {
        let mut findings = report.findings.iter();
        findings.any(|finding| finding.area == area && finding.level == Level::Fail)
    };
    assert!(
        fails(Area::Configuration) && fails(Area::Descriptors),
        "{report:?}"
    );
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let fixture = Fixture::new();
    let file = fixture.0.path().join("absent.toml");
    let report = examine(&doctor(fixture.0.path(), Some(&file)));
    assert_eq!(report.findings[0].level, Level::Fail, "{report:?}");
}

#[test]
fn no_file_of_a_host_can_break_the_program() {
    // The same few texts for every file that is read anywhere.
    let paths = [
        "proc/self/limits",
        "proc/self/status",
        "proc/self/cgroup",
        "proc/meminfo",
        "proc/net/route",
        "proc/net/if_inet6",
        "proc/sys/kernel/osrelease",
        "proc/sys/kernel/io_uring_disabled",
        "proc/sys/fs/nr_open",
        "proc/sys/fs/file-max",
        "proc/sys/fs/file-nr",
        "proc/sys/net/ipv4/ip_local_port_range",
        "proc/sys/net/ipv4/ip_local_reserved_ports",
        "proc/sys/net/ipv4/tcp_mem",
        "proc/sys/net/ipv4/tcp_tw_reuse",
        "proc/sys/net/core/somaxconn",
        "proc/sys/net/netfilter/nf_conntrack_max",
        "sys/class/net/eth0/queues/rx-0/rps_cpus",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
    ];
    for text in [
        "",
        "\0\u{ff}",
        "18446744073709551615 18446744073709551615 18446744073709551615",
        "-1 -1 -1",
        "0-99999999999999999999",
        "Max open files\nMax locked memory x\nCpus_allowed_list:\nCapEff:\tzz\n0::\n::\nMemTotal:",
        "a\neth0\teth0\teth0\n",
    ] {
        let mut fixture = Fixture::new();
        for path in paths {
            fixture = fixture.with(path, text);
        }
        let report = examine(&doctor(fixture.0.path(), None));
        assert!(!report.text(true).is_empty(), "{text}");
    }
}

//! `tuning/apply` on a host made of files, and what every setting has to say for itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::program::{Output, output_of};

const TUNING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning");

/// A host with two cores, one interface with one queue, and 64 GiB of memory.
#[derive(Debug)]
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("proc/meminfo", "MemTotal:       67108864 kB\n"),
            ("proc/sys/fs/nr_open", "1048576\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/core/rps_sock_flow_entries", "0\n"),
            ("proc/sys/net/ipv4/tcp_mem", "1\t2\t3\n"),
            ("proc/sys/net/ipv4/tcp_tw_reuse", "1\n"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
            ("proc/irq/40/smp_affinity_list", "0-1\n"),
            ("proc/irq/41/smp_affinity_list", "0-1\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "powersave\n",
            ),
            ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2\n"),
            ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0\n"),
            (
                "sys/devices/system/cpu/cpu0/cpuidle/state2/latency",
                "133\n",
            ),
            ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0\n"),
            (
                "sys/class/net/eth0/queues/rx-0/rps_cpus",
                "00000000,00000000\n",
            ),
            ("sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "0\n"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "00000000\n"),
            ("sys/class/net/eth0/device/msi_irqs/40", ""),
            ("sys/class/net/eth0/device/msi_irqs/41", ""),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            ),
            (
                "etc/security/limits.d/60-ringgate.conf",
                "ringgate hard nofile 10\n",
            ),
            // What ethtool(8) would say; the one below reads and writes it.
            (
                "ethtool/L/eth0",
                "Pre-set maximums:\nCombined:\t1\nCurrent hardware settings:\nCombined:\t1\n",
            ),
            (
                "ethtool/K/eth0",
                "generic-receive-offload: on\nlarge-receive-offload: on\ntcp-segmentation-offload: off [fixed]\n",
            ),
        ] {
            host.write(path, text);
        }
        host.write(
            "bin/ethtool",
            "#!/bin/sh\n\
             cd \"$(dirname \"$0\")/../ethtool\" || exit 1\n\
             case $1 in\n\
             -k) cat \"K/$2\" ;;\n\
             -l) cat \"L/$2\" ;;\n\
             -K) test \"$3\" = lro && sed -i \"s/^large-receive-offload: .*/large-receive-offload: $4/\" \"K/$2\" ;;\n\
             *) exit 1 ;;\n\
             esac\n",
        );
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(host.path("bin/ethtool"), mode).unwrap();
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path))
            .unwrap()
            .trim()
            .to_owned()
    }

    fn apply(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("bash");
        command.arg(Path::new(TUNING).join("apply")).args(arguments);
        command.arg("--root").arg(self.0.path());
        let search = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{search}", self.path("bin").display()));
        output_of(&mut command)
    }

    /// Every file with its text.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read_to_string(&path).unwrap();
                    // The kernel's own files do not care about kinds of blanks.
                    let words: Vec<_> = text.split_whitespace().collect();
                    files.insert(path, words.join(" "));
                }
            }
        }
        files
    }
}

const EVERYTHING: [&str; 7] = [
    "sysctl",
    "files",
    "cpu",
    "nic",
    "hugepages",
    "--interface",
    "eth0",
];

fn with<'a>(arguments: &[&'a str], more: &'a str) -> Vec<&'a str> {
    [arguments, &[more]].concat()
}

#[test]
fn showing_changes_nothing() {
    let host = Host::new();
    let before = host.files();
    let output = host.apply(&EVERYTHING);
    assert_eq!(output.code, Some(0), "{output:?}");
    for expected in [
        "/proc/sys/fs/nr_open: 1048576 -> 2200000",
        "/proc/sys/net/ipv4/tcp_mem: 1 2 3 -> 1500000 2000000 3000000",
        "/proc/sys/net/ipv4/ip_local_reserved_ports: (empty) -> 8080,8443",
        "absent   /proc/sys/net/ipv4/tcp_migrate_req",
        "missing  /etc/sysctl.d/60-ringgate.conf",
        "-ringgate hard nofile 10",
        "scaling_governor: powersave -> performance",
        "state2/disable: 0 -> 1",
        "rx-0/rps_cpus: 0 -> 3",
        "/proc/irq/41/smp_affinity_list: 0-1 -> 1",
        "large-receive-offload: on -> off",
        "transparent_hugepage/enabled: always -> madvise",
    ] {
        assert!(
            output.stdout.contains(expected),
            "{expected} is missing in\n{}",
            output.stdout
        );
    }
    assert!(
        !output.stdout.contains("tcp_tw_reuse"),
        "it is as it should be"
    );
    assert!(!output.stdout.contains("state1"), "its latency is small");
    assert!(!output.stdout.contains("offload: off -> on"), "it is fixed");
    assert!(
        !output.stdout.contains("Combined:"),
        "the card has no more queues"
    );
    assert_eq!(host.files(), before);
}

#[test]
fn what_was_applied_can_be_taken_back() {
    let host = Host::new();
    let before = host.files();
    let output = host.apply(&with(&EVERYTHING, "--apply"));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(host.read("proc/sys/fs/nr_open"), "2200000");
    assert_eq!(host.read("sys/class/net/eth0/queues/rx-0/rps_cpus"), "3");
    assert_eq!(host.read("proc/irq/40/smp_affinity_list"), "0");
    assert!(
        host.read("ethtool/K/eth0")
            .contains("large-receive-offload: off")
    );
    let shipped = fs::read_to_string(Path::new(TUNING).join("limits.d/60-ringgate.conf")).unwrap();
    assert_eq!(
        host.read("etc/security/limits.d/60-ringgate.conf"),
        shipped.trim()
    );

    // Kernels show a choice among its alternatives.
    host.write(
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    );
    let again = host.apply(&with(&EVERYTHING, "--apply"));
    assert!(
        again.stdout.contains("everything is as it should be"),
        "{again:?}"
    );

    let output = host.apply(&["--undo"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    // The choice was remembered as the kernel takes it.
    assert_eq!(
        host.read("sys/kernel/mm/transparent_hugepage/enabled"),
        "always"
    );
    host.write(
        "sys/kernel/mm/transparent_hugepage/enabled",
        "[always] madvise never\n",
    );
    let (mut after, mut before) = (host.files(), before);
    for path in ["rps_cpus", "xps_cpus"] {
        // Masks come back without the zeros in front.
        after.retain(|name, _| !name.ends_with(path));
        before.retain(|name, _| !name.ends_with(path));
    }
    assert_eq!(after, before);
    let output = host.apply(&["--undo"]);
    assert!(output.stdout.contains("nothing to take back"), "{output:?}");
}

/// The kernel's own files, but of a network that is there for this test only; what concerns the whole machine is read-only,
/// and so refused.
#[test]
fn a_real_kernel_is_set_and_taken_back() {
    const SCRIPT: &str = r#"
        set -eu
        mount --make-rprivate /
        mount -t tmpfs tmpfs /var/lib
        for global in fs kernel vm; do
            mount --bind "/proc/sys/$global" "/proc/sys/$global"
            mount -o remount,bind,ro "/proc/sys/$global"
        done
        show() {
            echo "== $1"
            for key in core/somaxconn ipv4/tcp_migrate_req ipv4/ip_local_port_range ipv4/ip_local_reserved_ports; do
                cat "/proc/sys/net/$key"
            done
        }
        show before
        "$1" sysctl --apply 2>&1 || echo "exit $?"
        show applied
        "$1" --undo
        show undone
    "#;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "bash", "-c", SCRIPT, "bash"]);
    command.arg(Path::new(TUNING).join("apply"));
    let output = output_of(&mut command);
    if output.stderr.contains("unshare failed") {
        eprintln!("skipped: no namespaces here: {}", output.stderr);
        return;
    }
    assert_eq!(output.code, Some(0), "{output:?}");
    let part = |name: &str| {
        let (_, rest) = output.stdout.split_once(&format!("== {name}\n")).unwrap();
        rest.lines().take(4).collect::<Vec<_>>()
    };
    assert_eq!(part("applied"), ["65535", "1", "1024\t65535", "8080,8443"]);
    assert_eq!(part("undone"), part("before"));
    assert_ne!(part("before"), part("applied"));
    let refused = "FAILED   /proc/sys/fs/nr_open: 2200000 was refused";
    assert!(output.stdout.contains(refused), "{output:?}");
    assert!(output.stdout.contains("exit 1"), "{output:?}");
}

#[test]
fn parts_are_taken_back_one_by_one() {
    let host = Host::new();
    host.apply(&["sysctl", "cpu", "--apply"]);
    let output = host.apply(&["cpu", "--undo"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    assert_eq!(host.read(governor), "powersave");
    assert_eq!(host.read("proc/sys/fs/nr_open"), "2200000");
    host.apply(&["--undo"]);
    assert_eq!(host.read("proc/sys/fs/nr_open"), "1048576");
}

#[test]
fn a_small_host_keeps_its_tcp_mem() {
    let host = Host::new();
    host.write("proc/meminfo", "MemTotal:       16777216 kB\n");
    let output = host.apply(&["sysctl", "files", "--apply"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(host.read("proc/sys/net/ipv4/tcp_mem"), "1\t2\t3");
    let file = host.read("etc/sysctl.d/60-ringgate.conf");
    assert!(!file.contains("\nnet.ipv4.tcp_mem"), "{file}");
}

#[test]
fn command_line_mistakes_change_nothing() {
    let host = Host::new();
    let before = host.files();
    for arguments in [
        &["nic", "--apply"][..],
        &["nic", "--interface", "../../x", "--apply"],
        &["nic", "--interface", "eth7", "--apply"],
        &["cpu", "--cores", "0-x", "--apply"],
        &["--apply", "--undo"],
        &["everything"],
        &["--root"],
    ] {
        let output = host.apply(arguments);
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
    }
    assert_eq!(host.files(), before);
}

#[test]
fn script_is_clean() {
    for script in [
        "apply",
        "keepalived/check-ready",
        "debian/build",
        "debian/postinst",
        "debian/prerm",
        "debian/postrm",
    ] {
        let mut command = Command::new("shellcheck");
        command.arg(Path::new(TUNING).join(script));
        let Ok(output) = command.output() else {
            eprintln!("skipped: no shellcheck");
            return;
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn units_are_right() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ringgate.service", "ringgate-tuning.service"] {
        let unit = fs::read_to_string(Path::new(TUNING).join("systemd").join(name)).unwrap();
        // Programs are looked for, and these are not installed.
        let unit = unit
            .replace("/usr/bin/ringgate", env!("CARGO_BIN_EXE_ringgate"))
            .replace("/usr/share/ringgate/tuning", TUNING);
        fs::write(dir.path().join(name), unit).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    command.arg(dir.path().join("ringgate.service"));
    command.arg(dir.path().join("ringgate-tuning.service"));
    let Ok(output) = command.output() else {
        eprintln!("skipped: no systemd");
        return;
    };
    // It warns of what it would ignore, and succeeds.
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("ringgate"))
        .collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn package_has_the_version_of_the_program() {
    let changelog = fs::read_to_string(Path::new(TUNING).join("debian/changelog")).unwrap();
    let newest = format!("ringgate ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&newest), "{changelog}");
}

#[test]
fn package_has_every_folder_that_does_not_build_from_the_source() {
    let manifest = include_str!("../../Cargo.toml");
    for entry in fs::read_dir(TUNING).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "docker" && name != "debian" {
            let target = format!("\"usr/share/ringgate/tuning/{name}/\"");
            assert!(manifest.contains(&target), "not packaged: {name}");
        }
    }
}

#[test]
fn every_setting_says_why_and_how_to_undo_it() {
    for file in [
        "sysctl.d/60-ringgate.conf",
        "sysctl.d/61-ringgate-vrrp.conf",
        "limits.d/60-ringgate.conf",
    ] {
        let text = fs::read_to_string(Path::new(TUNING).join(file)).unwrap();
        for paragraph in text.split("\n\n") {
            let is_setting = |line: &&str| !line.starts_with('#') && !line.is_empty();
            if paragraph.lines().any(|line| is_setting(&line)) {
                for word in ["why:", "default:", "gain:", "undo:"] {
                    assert!(
                        paragraph.contains(word),
                        "{file}: no {word} in\n{paragraph}"
                    );
                }
            }
        }
    }
}

#[test]
fn manual_has_a_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    let output = output_of(command.arg("man").arg(dir.path()));
    assert_eq!(output.code, Some(0), "{output:?}");
    for (page, word) in [
        ("ringgate.1", "ringgate\\-doctor(1)"),
        ("ringgate-call.1", "\\-\\-insecure"),
        ("ringgate-doctor.1", "\\-\\-connections"),
        ("ringgate-run.1", "\\-\\-config"),
        ("ringgate-doctor.1", "ringgate doctor [OPTIONS]"),
        // A section of its own, its lines as they are.
        ("ringgate-doctor.1", ".SH \"EXIT CODES\"\n.nf\n"),
    ] {
        let text = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(word), "{page} has no {word}");
    }
    // It is for whoever builds a package.
    assert!(!dir.path().join("ringgate-man.1").exists());
}

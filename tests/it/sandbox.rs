//! The shipped system-call filter: the unit and the container's profile allow the same, and the program needs no more.

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::echo::Echo;
use crate::support::eventually;
use crate::support::frame::{TEXT, masked};
use crate::support::program::{Ringgate, Workspace};
use crate::support::settings::{Route, Settings};
use crate::support::system_calls::number;

const BINARY: &str = env!("CARGO_BIN_EXE_ringgate");

/// The names in `SystemCallFilter=` of the unit.
fn unit() -> BTreeSet<&'static str> {
    let unit = include_str!("../../tuning/systemd/ringgate.service");
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    lines.flat_map(str::split_whitespace).collect()
}

/// A filter as systemd would load it, but that what is not allowed kills: an error could be handled, and so go unseen.
fn filter(names: &BTreeSet<&str>) -> Vec<libc::sock_filter> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let rule = |code, k, if_true, if_false| libc::sock_filter {
        code,
        jt: if_true,
        jf: if_false,
        k,
    };
    // The number of the system call is the first field of `struct seccomp_data`.
    let mut rules = vec![rule(LOAD_WORD, 0, 0, 0)];
    for name in names {
        let number = number(name).unwrap_or_else(|| panic!("no system call: {name}"));
        let Ok(number) = u32::try_from(number) else {
            continue;
        };
        rules.push(rule(JUMP_IF_EQUAL, number, 0, 1));
        rules.push(rule(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    }
    rules.push(rule(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0));
    rules
}

/// Has `command` start under the filter.
#[expect(
    unsafe_code,
    reason = "a filter is loaded between fork and exec, which no safe function offers"
)]
fn confine(command: &mut Command, names: &BTreeSet<&str>) {
    let rules = filter(names);
    let load = move || {
        let program = libc::sock_fprog {
            len: u16::try_from(rules.len()).unwrap_or(0),
            filter: rules.as_ptr().cast_mut(),
        };
        // SAFETY: the call takes no pointers. A process without privileges may only confine itself after it.
        let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: `program` names the rules and their count, which live through the call; the kernel only reads them.
        let loaded = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        if promised == 0 && loaded == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec the closure only makes system calls: it neither allocates nor locks.
    unsafe { command.pre_exec(load) };
}

#[test]
fn unit_and_profile_allow_the_same_calls() {
    let profile: Value =
        serde_json::from_str(include_str!("../../tuning/seccomp/ringgate.json")).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let mut names = BTreeSet::new();
    for group in profile["syscalls"].as_array().unwrap() {
        assert_eq!(group["action"], "SCMP_ACT_ALLOW");
        for name in group["names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert!(names.insert(name), "twice: {name}");
            assert!(number(name).is_some(), "no system call: {name}");
        }
    }
    assert_eq!(names, unit());
}

#[test]
fn filter_ends_what_it_does_not_allow() {
    let mut names = unit();
    assert!(names.remove("io_uring_setup"));
    let mut command = Command::new(BINARY);
    command
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    confine(&mut command, &names);
    assert_eq!(command.status().unwrap().signal(), Some(libc::SIGSYS));
}

#[test]
fn program_serves_under_the_shipped_filter() {
    let echo = Echo::start();
    // A name, so that it is resolved.
    let route = Route {
        backend: format!("localhost:{}", echo.address.port()),
        ..Route::hello(echo.address)
    };
    let workspace = Workspace::new();
    let log = workspace.path("access.log");
    let settings = Settings::new(vec![route]).with(&format!("[log]\naccess = {log:?}"));
    let file = settings.write(&workspace);
    let mut command = Command::new(BINARY);
    command.arg("run").arg("-c").arg(file);
    confine(&mut command, &unit());
    let mut program = Ringgate::start(command, workspace);

    for listener in program.listeners.clone() {
        let mut client = program.connect_to(&listener);
        client.upgrade("/hello");
        client.send(masked(TEXT, b"hello"));
        assert_eq!(client.read_frame().payload, b"hello");
    }
    assert_eq!(program.admin("/readyz").0, 200);
    std::fs::rename(&log, program.workspace.path("old.log")).unwrap();
    program.signal("USR1");
    eventually("the signal is seen", || {
        program.errors().contains("access log will be reopened")
    });
    // The next line is what opens the file.
    program.connect().upgrade("/hello");
    eventually("the log is opened again", || log.exists());
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn other_commands_run_under_the_shipped_filter() {
    for arguments in [&["-V"][..], &["doctor", "--connections", "10"], &["man"]] {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        confine(&mut command, &unit());
        let status = command.status().unwrap();
        assert_eq!(status.signal(), None, "{arguments:?}");
    }
}

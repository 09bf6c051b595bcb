//! The command line: what it prints, and what it exits with.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Transport;
use crate::support::backend::refusing;
use crate::support::client::Client;
use crate::support::frame::{TEXT, masked};
use crate::support::program::{Ringgate, Workspace, command};
use crate::support::settings::{Route, Settings};

#[test]
fn check_accepts_what_run_accepts() {
    let workspace = Workspace::new();
    Settings::hello(refusing()).write(&workspace);
    let checked = command(&["check", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn check_names_every_mistake_with_its_place() {
    let workspace = Workspace::new();
    let settings = Settings::hello(refusing())
        .with("[timeouts]\nhandshake = \"soon\"\n\n[limits]\nconections_max = 5");
    let toml = settings.toml();
    let line_of = |text: &str| {
        1 + toml
            .lines()
            .position(|line| line.starts_with(text))
            .unwrap()
    };
    let places = [line_of("handshake"), line_of("conections_max")];
    workspace.write("ringgate.toml", &toml);
    let definition = settings
        .definition()
        .replace("timeout: 60000", "timeout: 999999");
    let timeout = 1 + definition
        .lines()
        .position(|line| line.contains("999999"))
        .unwrap();
    workspace.write("api.yaml", &definition);

    let checked = command(&["check", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let said = checked.stdout + &checked.stderr;
    for expected in [
        format!("ringgate.toml:{}", places[0]),
        "timeouts.handshake".into(),
        format!("ringgate.toml:{}", places[1]),
        "conections_max".into(),
        "connections_max".into(),
        format!("api.yaml:{timeout}"),
        "timeout".into(),
    ] {
        assert!(
            said.contains(&expected),
            "{expected} is missing in:\n{said}"
        );
    }
}

/// A workspace with a configuration that has one mistake, and the complaint about it.
fn mistaken() -> (Workspace, String) {
    let workspace = Workspace::new();
    let settings = Settings::hello(refusing()).with("[limits]\nhalf_bytes_max = 5");
    let toml = settings.toml();
    let line = toml.lines().position(|line| line.starts_with("half"));
    workspace.write("ringgate.toml", &toml);
    workspace.write("api.yaml", &settings.definition());
    let line = line.unwrap() + 1;
    let said = format!(
        "ringgate.toml:{line}:18: error: limits.half_bytes_max: 5B is too small; 4KiB to 1GiB is allowed\n\
         {line:>6} | half_bytes_max = 5\n       |                  ^\n"
    );
    (workspace, said)
}

#[test]
fn check_shows_the_line_that_is_wrong() {
    let (workspace, said) = mistaken();
    let checked = command(&["check", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(checked.code, Some(1));
    assert_eq!(checked.stdout, format!("{said}1 error, 0 warnings\n"));
    // What starting says is the same, on standard error.
    let ran = command(&["run", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr, format!("{said}ringgate: 1 error, 0 warnings\n"));
}

#[test]
fn check_is_coloured_where_it_is_asked_to_be() {
    let (workspace, _) = mistaken();
    for (when, coloured) in [("always", true), ("never", false), ("auto", false)] {
        let arguments = ["check", "-c", "ringgate.toml", "--color", when];
        let checked = command(&arguments, &workspace.path(""));
        let red = checked.stdout.contains("\x1b[1;31merror\x1b[0m: ");
        assert_eq!(red, coloured, "{when}: {}", checked.stdout);
        assert_eq!(checked.stdout.contains('\x1b'), coloured, "{when}");
    }
}

#[test]
fn a_terminal_gets_colours_unless_it_wants_none() {
    let (workspace, _) = mistaken();
    for (name, value, coloured) in [
        ("NO_COLOR", "", true),
        ("NO_COLOR", "1", false),
        ("TERM", "dumb", false),
    ] {
        let mut python = Command::new("python3");
        let script = "import pty, sys; pty.spawn(sys.argv[1:])";
        python
            .args(["-c", script, env!("CARGO_BIN_EXE_ringgate")])
            .args(["check", "-c", "ringgate.toml"])
            .current_dir(workspace.path(""))
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env(name, value)
            .stdin(Stdio::null());
        let Ok(output) = python.output() else {
            eprintln!("skipped: no python3");
            return;
        };
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains("half_bytes_max"), "{stdout}");
        assert_eq!(
            stdout.contains('\x1b'),
            coloured,
            "{name}={value}: {stdout}"
        );
    }
}

#[test]
fn check_speaks_json() {
    let json = |workspace: &Workspace| -> (Option<i32>, Value) {
        let arguments = ["check", "-c", "ringgate.toml", "--format", "json"];
        let checked = command(&arguments, &workspace.path(""));
        (checked.code, serde_json::from_str(&checked.stdout).unwrap())
    };
    let (workspace, said) = mistaken();
    let line: u32 = said.split(':').nth(1).unwrap().parse().unwrap();
    let expected = serde_json::json!({
        "ok": false, "apis": null, "errors": 1, "warnings": 0,
        "complaints": [{
            "severity": "error", "file": "ringgate.toml", "line": line, "column": 18, "key": "limits.half_bytes_max",
            "problem": "5B is too small", "remedy": "4KiB to 1GiB is allowed", "code": null,
        }],
    });
    assert_eq!(json(&workspace), (Some(1), expected));

    let settings = Settings::hello(refusing()).with("[features]\ngzip = \"on\"");
    settings.write(&workspace);
    let (code, said) = json(&workspace);
    assert_eq!(code, Some(0));
    assert_eq!(
        (&said["ok"], &said["apis"], &said["warnings"]),
        (&true.into(), &1.into(), &1.into())
    );
    assert_eq!(said["complaints"][0]["key"], "features.gzip");

    // A file as a whole has no line, and a definition's mistake has the management API's code.
    std::fs::remove_file(workspace.path("ringgate.toml")).unwrap();
    let (_, said) = json(&workspace);
    assert_eq!(said["complaints"][0]["line"], Value::Null);
    let definition = settings.definition() + &settings.definition().replace("openapi", "x");
    settings.write(&workspace);
    workspace.write("api.yaml", &definition);
    let (_, said) = json(&workspace);
    assert_eq!(said["complaints"][0]["code"], "APIG.3600", "{said:#}");
}

#[test]
fn features_are_carried_over() {
    let workspace = Workspace::new();
    for (feature, code, said) in [
        ("request_body_size = \"104857600\"", 0, "0 warnings"),
        (
            "app_secret = \"on\"",
            0,
            "`app_secret` is not enforced by this version",
        ),
        ("request_body_size = 1", 1, "1MiB to 9536MiB is allowed"),
        (
            "request_body_sise = 1",
            1,
            "did you mean `request_body_size`?",
        ),
        (
            "backend_timeout = 500\n[limits]\nbackend_timeout_max = \"1s\"",
            1,
            "`limits.backend_timeout_max` on line",
        ),
    ] {
        // The API's own timeout is not to be what is wrong.
        Settings::hello(refusing())
            .with_timeout(400)
            .with(&format!("[features]\n{feature}"))
            .write(&workspace);
        let checked = command(&["check", "-c", "ringgate.toml"], &workspace.path(""));
        assert_eq!(checked.code, Some(code), "{feature}: {checked:?}");
        assert!(
            checked.stdout.contains(said),
            "{feature}: {}",
            checked.stdout
        );
    }
}

#[test]
fn apis_lists_what_is_served() {
    let workspace = Workspace::new();
    let backend = refusing();
    let mut second = Route::hello(backend);
    (second.name, second.path, second.schemes) = ("API02", "/a-longer-path", &["https"]);
    let routes = vec![Route::hello(backend), second];
    Settings::new(routes)
        .with("[[domains]]\nname = \"api.example.com\"\ngroup = \"DEFAULT\"")
        .write(&workspace);
    let listed = command(&["apis", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let lines: Vec<&str> = listed.stdout.lines().collect();
    let words = |line: usize| -> Vec<&str> { lines[line].split_whitespace().collect() };
    assert_eq!(
        words(0)[..6],
        ["GROUP", "ENVIRONMENT", "SCHEMES", "METHOD", "PATH", "MATCH"]
    );
    assert_eq!(
        words(1)[..6],
        [
            "DEFAULT",
            "RELEASE",
            "https",
            "GET",
            "/a-longer-path",
            "exact"
        ]
    );
    assert_eq!(words(2)[2], "http,https");
    assert_eq!(words(2).last(), Some(&"127.0.0.1,api.example.com"));
    // Columns stand below their headings.
    for heading in ["METHOD", "PATH", "API", "BACKEND", "HOSTS"] {
        let at = lines[0].find(heading).unwrap();
        for line in &lines {
            assert_eq!(&line[at - 2..at], "  ", "{heading}: {line}");
            assert_ne!(&line[at..=at], " ", "{heading}: {line}");
        }
    }

    let arguments = ["apis", "-c", "ringgate.toml", "--format", "json"];
    let listed = command(&arguments, &workspace.path(""));
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed[1]["name"], "API01");
    assert_eq!(listed[1]["backends"][0], format!("http://{backend}/"));
    assert_eq!(listed[1]["timeout_ms"], 60_000);
    assert_eq!(
        listed[1]["hosts"],
        serde_json::json!(["127.0.0.1", "api.example.com"])
    );
}

#[test]
fn apis_refuses_what_check_refuses() {
    let (workspace, said) = mistaken();
    let listed = command(&["apis", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!((listed.code, listed.stdout.as_str()), (Some(1), ""));
    assert!(listed.stderr.starts_with(&said), "{}", listed.stderr);
}

#[test]
fn run_refuses_what_check_refuses() {
    let workspace = Workspace::new();
    let settings = Settings::hello(refusing()).with("[workers]\nno_such_key = 1");
    workspace.write("ringgate.toml", &settings.toml());
    workspace.write("api.yaml", &settings.definition());
    let ran = command(&["run", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn missing_file_is_named() {
    let workspace = Workspace::new();
    for verb in ["run", "check"] {
        let output = command(&[verb, "-c", "absent.toml"], &workspace.path(""));
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!((output.stdout + &output.stderr).contains("absent.toml"));
    }
}

#[test]
fn protected_apis_are_not_served_unprotected() {
    let workspace = Workspace::new();
    let settings = Settings::hello(refusing());
    workspace.write("ringgate.toml", &settings.toml());
    let protected = settings.definition().replace(
        "      responses:",
        "      security:\n        - apig-auth-app: []\n      responses:",
    ) + "components:\n  securitySchemes:\n    apig-auth-app:\n      type: apiKey\n      in: header\n      name: Authorization\n      x-apigateway-auth-type: AppSigv1\n";
    workspace.write("api.yaml", &protected);
    let checked = command(&["check", "-c", "ringgate.toml"], &workspace.path(""));
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!((checked.stdout + &checked.stderr).contains("api.yaml"));
}

#[test]
fn version_tells_of_build_and_kernel() {
    let workspace = Workspace::new();
    let output = command(&["-V"], &workspace.path(""));
    assert_eq!(output.code, Some(0), "{output:?}");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for expected in [env!("CARGO_PKG_VERSION"), kernel.trim(), "io_uring"] {
        assert!(
            output.stdout.contains(expected),
            "{expected} is missing in {}",
            output.stdout
        );
    }
}

#[test]
fn proxy_says_what_is_wrong_with_its_arguments() {
    let workspace = Workspace::new();
    for arguments in [
        &["proxy", "--listen", "127.0.0.1:0"][..],
        &[
            "proxy",
            "--listen",
            "nowhere",
            "--backend",
            "ws://127.0.0.1:1",
        ],
        &[
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "gopher://127.0.0.1:1",
        ],
        &[
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "ws://127.0.0.1:1",
            "--cert",
            "cert.pem",
        ],
        &[
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "ws://127.0.0.1:1",
            "--cert",
            "absent.pem",
            "--key",
            "key.pem",
        ],
        &[
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "ws://127.0.0.1:1",
            "--path",
            "no-slash",
        ],
        &[
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "ws://127.0.0.1:1",
            "--cores",
            "9999",
        ],
        // Every path is forwarded as it is, so that this one would be lost.
        &[
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "ws://127.0.0.1:1/elsewhere",
        ],
    ] {
        let output = command(arguments, &workspace.path(""));
        assert!(
            matches!(output.code, Some(1 | 2)),
            "{arguments:?}: {output:?}"
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let workspace = Workspace::new();
    let output = command(
        &[
            "proxy",
            "--listen",
            &address,
            "--backend",
            "ws://127.0.0.1:1",
        ],
        &workspace.path(""),
    );
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&address), "{}", output.stderr);
}

#[test]
fn demo_echoes_over_both_schemes() {
    let workspace = Workspace::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    command.arg("demo").stderr(Stdio::piped());
    let program = Ringgate::start(command, workspace);
    for transport in [Transport::Plain, Transport::Tls] {
        let listener = program.listener(transport);
        assert!(listener.address.ip().is_loopback());
        let mut client = match transport {
            Transport::Plain => Client::plain(listener.address),
            // Its certificate is made anew at each start, and nobody can know it.
            Transport::Tls => continue,
        };
        client.upgrade("/hello");
        client.send(masked(TEXT, b"hello"));
        assert_eq!(client.read_frame().payload, b"hello");
    }
}

#[test]
fn line_before_ready_names_where_it_listens() {
    let program = Ringgate::run(&Settings::hello(refusing()));
    let [plain, tls] = program.listeners.as_slice() else {
        panic!("two listeners, not {:?}", program.listeners)
    };
    assert_eq!(
        (plain.transport, tls.transport),
        (Transport::Plain, Transport::Tls)
    );
    assert_ne!(plain.address.port(), 0);
    assert_ne!(plain.address, tls.address);
}

#[test]
fn forbidden_io_uring_is_one_message_with_its_remedy() {
    // EPERM is what a profile or the sysctl gives, ENOSYS what an old kernel or another profile gives.
    for (errno, remedy) in [(1, "kernel.io_uring_disabled"), (38, "Linux 6.1")] {
        let output = Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/it/peers/without_io_uring.py"
            ))
            .args([&errno.to_string(), env!("CARGO_BIN_EXE_ringgate"), "demo"])
            .stdin(Stdio::null())
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: no python3");
            return;
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(
            stderr.matches("io_uring cannot be used").count(),
            1,
            "{stderr}"
        );
        assert!(
            stderr.contains(remedy) && stderr.contains("seccomp"),
            "{stderr}"
        );
    }
}

#[test]
fn export_prints_what_can_be_imported_again() {
    let workspace = Workspace::new();
    let settings = Settings::hello(refusing());
    settings.write(&workspace);
    let export = |more: &[&str]| {
        let line = [&["export", "-c", "ringgate.toml"], more].concat();
        command(&line, &workspace.path(""))
    };
    for format in ["openapi", "swagger"] {
        let exported = export(&["--format", format]);
        assert_eq!(exported.code, Some(0), "{exported:?}");
        assert!(exported.stdout.starts_with(format), "{exported:?}");
        workspace.write("api.yaml", &exported.stdout);
        assert_eq!(export(&["--format", format]).stdout, exported.stdout);
    }
    let json = export(&["--json", "--group", "DEFAULT"]);
    assert!(json.stdout.starts_with("{\n"), "{json:?}");
    for (more, said) in [
        (["--group", "nobody"], "DEFAULT"),
        (["--environment", "TEST"], "nothing is published in TEST"),
    ] {
        let refused = export(&more);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}

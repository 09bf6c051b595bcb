//! `ringgate diff`: what a reload would change, asked of the running program, which nothing happens to.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::frame::{TEXT, masked};
use crate::support::program::{Output, Ringgate, command};
use crate::support::settings::{Route, Settings};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

fn routes(backend: SocketAddr) -> Vec<Route> {
    let route = |name, path| Route {
        name,
        path,
        ..Route::hello(backend)
    };
    vec![
        route("API01", "/one"),
        route("API02", "/two"),
        route("API03", "/three"),
    ]
}

fn diff(program: &Ringgate, settings: &Settings, format: &str) -> Output {
    let directory = program.workspace.path("");
    program.workspace.write("new.yaml", &settings.definition());
    let toml = settings.toml().replace("api.yaml", "new.yaml");
    program.workspace.write("new.toml", &toml);
    command(&["diff", "-c", "new.toml", "--format", format], &directory)
}

#[test]
fn every_kind_of_difference_is_shown_with_the_tunnels_concerned() {
    let (here, there) = (echoing(), echoing());
    let program = Ringgate::run(&Settings::new(routes(here.address)));
    let open = |path: &str| {
        let mut client = program.connect();
        client.upgrade(path);
        client
    };
    let mut clients = [open("/one"), open("/one"), open("/two"), open("/three")];
    program.await_metric("ringgate_tunnels ", 4.0);

    let same = diff(&program, &Settings::new(routes(here.address)), "text");
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (Some(0), "no difference\n"),
        "{same:?}"
    );

    // API01 moves, API02 has another timeout, API03 goes, API04 comes.
    let mut changed = routes(here.address);
    changed[0].backend = there.address.to_string();
    changed[1].timeout_ms = 30_000;
    changed[2] = Route {
        name: "API04",
        path: "/four",
        ..Route::hello(here.address)
    };
    let more = r#"
[reload]
removed_apis = { over = "5m" }
[timeouts]
handshake = "5s"
[limits]
early_bytes_max = "1KiB"
[[domains]]
name = "ws.example.com"
group = "DEFAULT"
"#;
    let settings = Settings::new(changed).with(more);
    let text = diff(&program, &settings, "text");
    assert_eq!(text.code, Some(1), "{text:?}");
    let (from, to) = (here.address, there.address);
    for line in [
        "  ~ DEFAULT:API01 in RELEASE; 2 open tunnels, backend removed: keep\n".to_owned(),
        format!("      backend: http://{from} -> http://{to}\n"),
        "  ~ DEFAULT:API02 in RELEASE; 1 open tunnel, changed: keep\n".to_owned(),
        "      backend timeout: 60s -> 30s\n".replace("60s", "1m"),
        "  - DEFAULT:API03 in RELEASE; 1 open tunnel, removed: drain over 5m\n".to_owned(),
        "  + DEFAULT:API04 in RELEASE\n".to_owned(),
        "domains\n  + ws.example.com\n".to_owned(),
        "  timeouts.handshake: 10s -> 5s\n".to_owned(),
        "needs a restart; a reload is refused\n  limits.early_bytes_max: 16KiB -> 1KiB\n"
            .to_owned(),
    ] {
        assert!(text.stdout.contains(&line), "{line} not in {}", text.stdout);
    }
    let json = diff(&program, &settings, "json");
    assert_eq!(json.code, Some(1));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&json["same"], &json["refused"]),
        (&false.into(), &true.into())
    );
    assert_eq!(json["open_tunnels"], 4);
    let moved = &json["apis"][0];
    assert_eq!(
        (&moved["change"], &moved["open_tunnels"]),
        (&"changed".into(), &2.into())
    );
    assert_eq!(moved["fate"][0]["because"], "backend removed");
    assert_eq!(json["restart"][0]["from"], "16KiB");

    // Nothing has happened to anybody.
    for client in &mut clients {
        client.send(masked(TEXT, b"x"));
        assert_eq!(client.read_frame().payload, b"x");
    }
    assert_eq!(program.metric("ringgate_config_generation"), 0.0);
    assert_eq!(
        program.metric("ringgate_config_reloads_total{result=\"failure\"}"),
        0.0
    );
}

#[test]
fn what_cannot_be_compared_is_neither_same_nor_different() {
    let backend = echoing();
    let mut program = Ringgate::run(&Settings::hello(backend.address));
    let wrong = Settings::hello(backend.address).with("[timeouts]\nhandshake = \"soon\"");
    let answer = diff(&program, &wrong, "text");
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("timeouts.handshake"), "{answer:?}");
    let listeners = Settings {
        listeners: vec![(crate::support::Transport::Plain, "127.0.0.1:1")],
        ..Settings::hello(backend.address)
    };
    let answer = diff(&program, &listeners, "text");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(
        answer.stdout.contains("listeners\n  - 127.0.0.1:0\n"),
        "{answer:?}"
    );
    program.signal("TERM");
    program.wait();
    let answer = diff(&program, &Settings::hello(backend.address), "text");
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(
        answer.stderr.contains("is the program running?"),
        "{answer:?}"
    );
}

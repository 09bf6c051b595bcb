//! Draining at size, and what the supervisor, the log and the admin API hear of it.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::client::Client;
use crate::support::frame::{BINARY, CLOSE, TEXT, close, encode, masked};
use crate::support::program::{Ringgate, Workspace, command};
use crate::support::settings::{Route, Settings};
use crate::support::{DEADLINE, eventually, raise_descriptor_limit};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

fn drains(program: &Ringgate) -> Vec<Value> {
    let (_, _, body) = program.admin("/v1/drains");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["drains"].as_array().unwrap().clone()
}

/// A thousand sockets, half of them in the middle of a message: `RINGGATE_DRAIN=5000 cargo test a_thousand` has more.
#[test]
fn a_thousand_sockets_end_with_close_frames_at_frame_boundaries() {
    raise_descriptor_limit();
    let count = std::env::var("RINGGATE_DRAIN").map_or(1_000, |count| count.parse().unwrap());
    let backend = echoing();
    let settings = Settings::hello(backend.address).with(
        "[drain]\ncause = \"restart\"\nover = \"3s\"\nlimit = \"1h\"\n[timeouts]\nclose_grace = \"1h\"",
    );
    let mut program = Ringgate::run(&settings);
    let message = encode(0x80 | BINARY, &[7; 2_000], true);
    let open = |number: usize| {
        let mut client = program.connect();
        client.upgrade("/hello");
        client.send(masked(TEXT, b"x"));
        client.read_frame();
        let cut = if number.is_multiple_of(2) {
            900
        } else {
            message.len()
        };
        let (now, later) = message.split_at(cut);
        client.send(now);
        (client, later)
    };
    let mut clients: Vec<_> = (0..count).map(open).collect();
    program.signal("TERM");
    // The ends come one after the other: the number of those told is seen to grow.
    let mut told = BTreeSet::new();
    eventually("the ends are spread", || {
        if let Some(drain) = drains(&program).first() {
            assert_eq!(drain["ordered_by"], "stop");
            told.insert(drain["closed"].as_u64().unwrap());
        }
        told.len() >= 10
    });
    for (client, later) in &mut clients {
        client.send(*later);
        // The echo comes before the Close or not at all, and never in part.
        let mut frame = client.read_frame();
        if frame.opcode == BINARY {
            assert_eq!(frame.payload, [7; 2_000]);
            frame = client.read_frame();
        }
        assert_eq!(frame.close_code(), Some(1012));
        client.send(masked(CLOSE, &close(1012, "")));
        client.assert_closed();
    }
    for _ in &clients {
        // A message that was cut would be no frame, and no code.
        assert_eq!(backend.result(), Some(1012));
    }
    assert_eq!(program.wait().code(), Some(0));
    let drained = format!("drained closed={count} left=0");
    assert!(program.errors().contains(&drained), "{}", program.errors());
}

/// What the program tells its supervisor.
struct Supervisor(UnixDatagram);

impl Supervisor {
    /// Starts the program under one.
    fn of(settings: &Settings) -> (Self, Ringgate) {
        let workspace = Workspace::new();
        let path = workspace.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let program = Ringgate::run_in(workspace, settings, |command| {
            command.env("NOTIFY_SOCKET", &path);
            command.env("WATCHDOG_USEC", "200000");
        });
        (Self(socket), program)
    }

    /// The next message that says this.
    fn hear(&self, wanted: &str) -> String {
        loop {
            let mut text = [0; 4096];
            let len = self.0.recv(&mut text).unwrap();
            let text = String::from_utf8(text[..len].to_vec()).unwrap();
            if text.contains(wanted) {
                return text;
            }
        }
    }
}

#[test]
fn the_supervisor_hears_how_far_a_stop_is_and_is_not_left_without_a_sign_of_life() {
    let backend = echoing();
    let settings = Settings::hello(backend.address)
        .with("[drain]\nover = \"0s\"\nlimit = \"1h\"\n[timeouts]\nclose_grace = \"1h\"");
    let (supervisor, mut program) = Supervisor::of(&settings);
    let mut client = program.connect();
    client.upgrade("/hello");
    program.signal("TERM");
    supervisor.hear("STOPPING=1");
    let status = supervisor.hear("STATUS=draining everything: ");
    assert!(status.contains("1 open, 1 told to close"), "{status}");
    // As long as the drain lasts, whatever the supervisor's patience is.
    for _ in 0..3 {
        supervisor.hear("WATCHDOG=1");
    }
    let directory = program.workspace.path("");
    let cancel = command(
        &["drain", "--cancel", "1", "-c", "ringgate.toml"],
        &directory,
    );
    assert_eq!(cancel.code, Some(1), "{cancel:?}");
    assert!(cancel.stderr.contains("cannot be taken back"), "{cancel:?}");
    // What is asked for now is refused rather than left unanswered.
    let reload = command(&["reload", "-c", "ringgate.toml"], &directory);
    assert!(reload.stderr.contains("stopping"), "{reload:?}");
    assert_eq!(client.read_frame().close_code(), Some(1001));
    client.send(masked(CLOSE, &close(1001, "")));
    client.assert_closed();
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_bad_reload_is_reported_everywhere_with_all_its_mistakes() {
    let backend = echoing();
    let (supervisor, program) = Supervisor::of(&Settings::hello(backend.address));
    supervisor.hear("READY=1");
    let mut route = Route::hello(backend.address);
    route.timeout_ms = 0;
    let wrong = Settings::new(vec![route]).with("[timeouts]\nhandshake = \"soon\"\npermit = 7");
    wrong.write(&program.workspace);
    let directory = program.workspace.path("");
    let answer = command(&["reload", "-c", "ringgate.toml"], &directory);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let status = supervisor.hear("the last reload failed");
    assert!(
        status.contains("READY=1\nSTATUS=generation 0; "),
        "{status}"
    );
    for mistake in ["timeouts.handshake", "timeouts.permit", "timeout"] {
        assert!(answer.stderr.contains(mistake), "{mistake}: {answer:?}");
        eventually("the log has it", || program.errors().contains(mistake));
    }
    assert!(answer.stderr.contains("api.yaml:"), "{answer:?}");
    eventually("the log has the outcome", || {
        program.errors().contains("what runs goes on")
    });
    program.await_metric("ringgate_config_reloads_total{result=\"failure\"}", 1.0);
    Settings::hello(backend.address).write(&program.workspace);
    program.signal("HUP");
    supervisor.hear("RELOADING=1");
    supervisor.hear("STATUS=generation 1: 1 APIs");
}

#[test]
fn the_status_line_of_a_drain_gives_way_to_that_of_before() {
    let backend = echoing();
    let (supervisor, program) = Supervisor::of(&Settings::hello(backend.address));
    let mut client = program.connect();
    client.upgrade("/hello");
    program.await_metric("ringgate_tunnels ", 1.0);
    let directory = program.workspace.path("");
    let all = [
        "drain",
        "--all",
        "--over",
        "2h",
        "--limit",
        "3h",
        "-c",
        "ringgate.toml",
    ];
    let ordered = command(&all, &directory);
    assert!(
        ordered.stdout.starts_with("drain 1: all over 2h"),
        "{ordered:?}"
    );
    supervisor.hear("STATUS=draining all: 1 open, 0 told to close");
    // Who comes now is none of those.
    let mut newcomer: Client = program.connect();
    newcomer.upgrade("/hello");
    drop(client);
    supervisor.hear("STATUS=serving");
    eventually("the log says so", || {
        program.errors().contains("drain over")
    });
    let shown = command(&["drain", "-c", "ringgate.toml"], &directory);
    assert!(shown.stdout.contains("0 open of 1"), "{shown:?}");
    // Without a turn of its own: it has been left alone.
    newcomer.send(masked(TEXT, b"x"));
    assert_eq!(newcomer.read_frame().payload, b"x");
}

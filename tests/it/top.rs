//! `ringgate top`: once as a table, and live on a terminal of its own.

use std::process::Command;

use crate::support::backend::Backend;
use crate::support::frame::{TEXT, masked};
use crate::support::program::{Ringgate, command, output_of};
use crate::support::python;
use crate::support::settings::Settings;

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

#[test]
fn it_prints_a_table_where_there_is_no_terminal() {
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = program.connect();
    client.upgrade("/hello");
    client.send(masked(TEXT, b"hello"));
    client.read_frame();
    program.await_metric("ringgate_tunnels", 1.0);
    let directory = program.workspace.path("");
    let run = |arguments: &[&str]| command(arguments, &directory);
    for arguments in [
        &["top", "-c", "ringgate.toml", "--interval", "200ms"][..],
        &[
            "top",
            "-c",
            "ringgate.toml",
            "--once",
            "--interval",
            "200ms",
        ],
    ] {
        let shown = run(arguments);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        for expected in [
            "ringgate ",
            "ready",
            "sockets 1 open",
            "DEFAULT:API01",
            &backend.address.to_string(),
            "ENDED",
        ] {
            assert!(shown.stdout.contains(expected), "{expected}: {shown:?}");
        }
        assert!(!shown.stdout.contains('\x1b'), "{shown:?}");
    }
    let nobody = run(&["top", "--socket", "nobody.sock"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(
        nobody.stderr.contains("is the program running?"),
        "{nobody:?}"
    );
}

/// On a pseudo-terminal: what is drawn, that a resize is heard, and that each way out leaves the terminal as it was.
#[test]
fn it_lives_on_a_terminal_and_leaves_it_as_it_was() {
    if !python::available_with("pty, termios") {
        return;
    }
    let backend = echoing();
    let program = Ringgate::run(&Settings::hello(backend.address));
    let mut client = program.connect();
    client.upgrade("/hello");
    program.await_metric("ringgate_tunnels", 1.0);
    for way_out in ["q", "escape", "INT", "TERM", "HUP", "TSTP"] {
        let mut watch = Command::new("python3");
        watch
            .arg(python::script("terminal.py"))
            .args([
                way_out,
                env!("CARGO_BIN_EXE_ringgate"),
                "top",
                "--interval",
                "200ms",
                "--socket",
            ])
            .arg(program.admin_socket());
        let watched = output_of(&mut watch);
        assert_eq!(watched.code, Some(0), "{way_out}: {watched:?}");
    }
}

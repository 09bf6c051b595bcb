//! The admin socket of the running program.

use std::os::unix::fs::PermissionsExt;

use crate::support::backend::Backend;
use crate::support::frame::{CLOSE, PING, TEXT, close, masked};
use crate::support::program::{Ringgate, command};
use crate::support::settings::Settings;
use crate::support::{TRANSPORTS, Transport};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

#[test]
fn probes_answer() {
    let program = Ringgate::proxy(Transport::Plain, &[echoing().address]);
    for (path, status, body) in [
        ("/livez", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/nothing", 404, "Not Found\n"),
    ] {
        let (answered, head, text) = program.admin(path);
        assert_eq!((answered, text.as_str()), (status, body), "{path}");
        assert!(head.contains("Connection: close"), "{head}");
    }
    let (status, head, body) = program.admin_raw("HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("Content-Length: 3"), "{head}");
    assert_eq!(
        program
            .admin_raw("DELETE /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            .0,
        405
    );
    let mode = std::fs::metadata(program.admin_socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn metrics_follow_what_happens() {
    let backend = echoing();
    for transport in TRANSPORTS {
        let program = Ringgate::proxy(transport, &[backend.address]);
        let mut client = program.connect();
        client.upgrade("/");
        client.send(masked(TEXT, b"hello"));
        client.read_frame();
        client.send(masked(PING, b""));
        client.read_frame();
        let tls = if transport == Transport::Tls {
            1.0
        } else {
            0.0
        };
        for (series, value) in [
            ("ringgate_workers ", 1.0),
            ("ringgate_connections_accepted_total ", 1.0),
            ("ringgate_connections ", 1.0),
            ("ringgate_edge_connections ", 0.0),
            ("ringgate_tunnels ", 1.0),
            ("ringgate_tunnels_opened_total ", 1.0),
            ("ringgate_upgrades_total ", 1.0),
            ("ringgate_backend_connects_total ", 1.0),
            ("ringgate_backend_connect_failures_total ", 0.0),
            ("ringgate_tls_handshakes_total ", tls),
            ("ringgate_handshake_duration_seconds_count ", 1.0),
            ("ringgate_messages_total{side=\"client\"}", 1.0),
            ("ringgate_messages_total{side=\"backend\"}", 1.0),
            ("ringgate_pings_total{side=\"client\"}", 1.0),
            ("ringgate_tunnel_bytes_total{side=\"client\"}", 11.0 + 6.0),
            ("ringgate_tunnel_bytes_total{side=\"backend\"}", 7.0 + 2.0),
        ] {
            program.await_metric(series, value);
        }
        client.send(masked(CLOSE, &close(4321, "")));
        client.read_frame();
        drop(client);
        for (series, value) in [
            ("ringgate_tunnels ", 0.0),
            ("ringgate_connections ", 0.0),
            ("ringgate_tunnels_closed_total{reason=\"finished\"}", 1.0),
            (
                "ringgate_close_frames_total{side=\"client\",code=\"4000-4999\"}",
                1.0,
            ),
            (
                "ringgate_close_frames_total{side=\"backend\",code=\"4000-4999\"}",
                1.0,
            ),
            ("ringgate_access_log_lines_dropped_total ", 0.0),
        ] {
            program.await_metric(series, value);
        }
        assert!(program.metric("ringgate_relay_turns_total ") > 0.0);
        assert!(program.metric("ringgate_relay_completions_total ") > 0.0);
        assert!(program.metric("ringgate_relay_buffers_free ") > 0.0);
        assert!(program.metric("ringgate_process_resident_memory_bytes ") > 0.0);
        assert!(program.metric("ringgate_process_open_fds ") > 3.0);
    }
}

#[test]
fn socket_of_a_living_program_is_not_taken() {
    let program = Ringgate::run(&Settings::hello(echoing().address));
    let dir = program.workspace.path("");
    let second = command(&["run", "-c", "ringgate.toml"], &dir);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("admin.sock"), "{}", second.stderr);
    assert_eq!(program.admin("/livez").0, 200);
}

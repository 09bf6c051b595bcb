//! A new binary takes the place of the old one, and no newcomer is refused meanwhile.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use crate::support::Transport;
use crate::support::backend::Backend;
use crate::support::client::{self, Client};
use crate::support::eventually;
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::{Output, Ringgate, Workspace, output_of};
use crate::support::python::{require, script};
use crate::support::settings::Settings;

const BINARY: &str = env!("CARGO_BIN_EXE_ringgate");

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

/// Clients who come one after the other, until they are told that it is enough.
struct Newcomers {
    enough: Arc<AtomicBool>,
    coming: Vec<JoinHandle<usize>>,
}

impl Newcomers {
    fn to(address: SocketAddr) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let come = |_| {
            let enough = Arc::clone(&enough);
            thread::spawn(move || {
                let mut served = 0;
                while !enough.load(SeqCst) {
                    // Any refusal or reset is a panic here.
                    let answer = Client::plain(address).ask(client::upgrade("/hello", &[]));
                    assert_eq!(answer.status, 101, "{answer:?}");
                    served += 1;
                }
                served
            })
        };
        Self {
            coming: (0..4).map(come).collect(),
            enough,
        }
    }

    /// How many were served; nobody was refused.
    fn all_served(mut self) -> usize {
        self.enough.store(true, SeqCst);
        let coming = std::mem::take(&mut self.coming);
        coming.into_iter().map(|one| one.join().unwrap()).sum()
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        self.enough.store(true, SeqCst);
    }
}

/// The listener on a port of its own, which another process can have as well.
fn on(address: SocketAddr, backend: SocketAddr) -> Settings {
    Settings {
        listeners: vec![(Transport::Plain, address.to_string().leak())],
        ..Settings::hello(backend)
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn open(address: SocketAddr) -> Client {
    let mut client = Client::plain(address);
    client.upgrade("/hello");
    client.send(masked(TEXT, b"x"));
    client.read_frame();
    client
}

fn assert_echoes(client: &mut Client) {
    client.send(masked(TEXT, b"still here"));
    assert_eq!(client.read_frame().payload, b"still here");
}

/// `supervise.py` with these sockets, running the program on `workspace`.
fn supervised(sockets: &[&str], workspace: &Workspace) -> Command {
    let mut command = Command::new("python3");
    command.arg(script("supervise.py")).args(sockets);
    command.args(["--", BINARY, "run", "-c"]);
    command.arg(workspace.path("ringgate.toml"));
    command
}

/// The listener with the name that its socket is passed under.
fn named(settings: &Settings, name: &str) -> String {
    let with_name = format!("protocol = \"http\"\nsocket_name = \"{name}\"");
    settings.toml().replace("protocol = \"http\"", &with_name)
}

fn python() -> bool {
    let mut probe = Command::new("python3");
    probe.arg("--version");
    require(probe, "there is no python3")
}

#[test]
fn a_supervisor_keeps_the_socket_over_a_restart() {
    if !python() {
        return;
    }
    let backend = echoing();
    let workspace = Workspace::new();
    let settings = Settings {
        listeners: vec![(Transport::Plain, "127.0.0.1:0")],
        ..Settings::hello(backend.address)
    };
    settings.write(&workspace);
    // Two workers on one core, who share the one socket.
    let toml = named(&settings, "ws").replace("cores = [0]", "cores = [0, 1]");
    workspace.write("ringgate.toml", &toml);
    let program = Ringgate::start(supervised(&["ws=127.0.0.1:0"], &workspace), workspace);
    let address = program.address();
    let mut old = open(address);
    let workers = program.metric("ringgate_workers");
    assert!((workers - 2.0).abs() < f64::EPSILON);
    let newcomers = Newcomers::to(address);
    program.signal("TERM");
    assert_eq!(old.read_frame().close_code(), Some(1001));
    old.send(masked(CLOSE, &close(1001, "")));
    old.assert_closed();
    eventually("it has ended", || program.errors().contains("drained"));
    let socket = program.admin_socket();
    eventually("the next one serves", || {
        program.metric_at(&socket, "ringgate_tunnels_opened_total ") > 0.0
            && !program
                .metric_at(
                    &socket,
                    "ringgate_tunnels_closed_total{reason=\"drained\",side=\"proxy\"}",
                )
                .is_normal()
    });
    assert_echoes(&mut open(address));
    assert!(newcomers.all_served() > 0);
}

#[test]
fn sockets_are_matched_by_address_and_what_fits_nowhere_is_an_error() {
    if !python() {
        return;
    }
    let backend = echoing();
    let run = |sockets: &[&str], settings: &Settings, toml: Option<String>| -> Output {
        let workspace = Workspace::new();
        settings.write(&workspace);
        if let Some(toml) = toml {
            workspace.write("ringgate.toml", &toml);
        }
        output_of(&mut supervised(sockets, &workspace))
    };
    let address = free_address();
    let settings = on(address, backend.address);
    let passed = format!("x={address}");
    let workspace = Workspace::new();
    settings.write(&workspace);
    let program = Ringgate::start(supervised(&[&passed], &workspace), workspace);
    assert_echoes(&mut open(address));
    // What the supervisor keeps open is not closed by a reload.
    let moved = on(free_address(), backend.address);
    moved.write(&program.workspace);
    let answer = crate::support::program::command(
        &["reload", "-c", "ringgate.toml"],
        &program.workspace.path(""),
    );
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("its socket unit"), "{answer:?}");
    assert_echoes(&mut open(address));
    drop(program);

    let other = run(
        &["a=127.0.0.1:0"],
        &on(free_address(), backend.address),
        None,
    );
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other.stderr.contains("1 socket passed and no listener's"),
        "{other:?}"
    );
    let settings = on(free_address(), backend.address);
    let toml = named(&settings, "wss");
    let missing = run(&["ws=127.0.0.1:0"], &settings, Some(toml));
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(
        missing.stderr.contains("no socket named `wss`"),
        "{missing:?}"
    );
}

#[test]
fn systemd_s_own_tool_passes_sockets_that_are_taken() {
    // Not every machine that runs tests is one of systemd's: `supervise.py` shows the same everywhere.
    let mut probe = Command::new("systemd-socket-activate");
    if probe.arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-socket-activate");
        return;
    }
    let backend = echoing();
    let workspace = Workspace::new();
    let address = free_address();
    let settings = on(address, backend.address);
    settings.write(&workspace);
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={address}"));
    command.arg("--fdname=wss");
    command.args([BINARY, "run", "-c"]);
    command.arg(workspace.path("ringgate.toml"));
    // It starts the program once somebody has come.
    let first = thread::spawn(move || {
        let mut client = None;
        eventually("the socket is there", || {
            client = std::net::TcpStream::connect(address).ok();
            client.is_some()
        });
        client
    });
    let program = Ringgate::start(command, workspace);
    drop(first.join());
    assert_eq!(program.address(), address);
    assert_echoes(&mut open(address));
}

/// The rest runs in a network of its own, where requests for connections move from a listener that closes to its neighbour.
#[test]
fn a_successor_beside_the_old_one_lets_everybody_in() {
    let mut probe = Command::new("unshare");
    probe.args([
        "--net",
        "sh",
        "-c",
        "ip link set lo up && sysctl -q -w net.ipv4.tcp_migrate_req=1",
    ]);
    if !require(
        probe,
        "no network of its own: unshare(1), ip(8) and sysctl(8) are needed, and the right to use them",
    ) {
        return;
    }
    let mut inside = Command::new("unshare");
    let script = "ip link set lo up && sysctl -q -w net.ipv4.tcp_migrate_req=1 && exec \"$0\" --exact --ignored \"$1\"";
    inside.args(["--net", "sh", "-c", script]);
    inside.arg(std::env::current_exe().unwrap());
    inside.arg("handover::inside_a_network_of_its_own");
    let output = output_of(&mut inside);
    assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

#[test]
#[ignore = "run by a_successor_beside_the_old_one_lets_everybody_in"]
fn inside_a_network_of_its_own() {
    let backend = echoing();
    let address = free_address();
    let settings = on(address, backend.address)
        .with("[drain]\nover = \"0s\"\nlimit = \"1h\"\n[timeouts]\nclose_grace = \"1h\"")
        .with_page(&free_address().to_string());
    let mut old = Ringgate::run(&settings);
    let mut tunnels: Vec<_> = (0..8).map(|_| open(address)).collect();
    let newcomers = Newcomers::to(address);

    // Without being told so, nobody listens beside somebody else.
    let directory = old.workspace.path("");
    let refused = crate::support::program::command(&["run", "-c", "ringgate.toml"], &directory);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--beside"), "{refused:?}");

    // The path of the admin socket leads somewhere at every moment.
    let watched = old.admin_socket();
    let done = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&done);
    let watcher = thread::spawn(move || {
        while !until.load(SeqCst) {
            std::os::unix::net::UnixStream::connect(&watched).unwrap();
        }
    });
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--beside", "-c"])
        .arg(old.workspace.path("ringgate.toml"));
    let _successor = Ringgate::start(command, Workspace::new());
    done.store(true, SeqCst);
    watcher.join().unwrap();

    let aside = old.workspace.path(&format!("admin.sock.{}", old.id()));
    let tunnels_of = |socket: &std::path::Path| {
        let listed = crate::support::program::command(
            &["tunnels", "--json", "--socket", socket.to_str().unwrap()],
            &directory,
        );
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        listed["total"].as_u64().unwrap()
    };
    assert!(tunnels_of(&aside) >= 8);
    eventually("the successor serves newcomers", || {
        old.metric_at(&old.admin_socket(), "ringgate_connections_accepted_total ") >= 10.0
    });
    old.signal("TERM");
    for client in &mut tunnels {
        assert_echoes_until_told(client);
    }
    // Those who were told and have not answered keep their tunnel: the others get by without it.
    eventually("the old one has closed its listeners", || {
        old.errors().contains("drain ordered")
    });
    let before = old.metric_at(&old.admin_socket(), "ringgate_connections_accepted_total ");
    eventually("newcomers go on coming", || {
        old.metric_at(&old.admin_socket(), "ringgate_connections_accepted_total ") > before + 20.0
    });
    assert!(old.is_running());
    for client in &mut tunnels {
        client.send(masked(CLOSE, &close(1001, "")));
        client.rest();
    }
    assert!(old.wait().success());
    assert!(!aside.exists());
    assert!(newcomers.all_served() > 30);
    assert!(old.admin_socket().exists(), "it is the successor's");
    let page = format!("http://{}", old.page.unwrap());
    eventually("the successor has the page's address too", || {
        let tunnels = ["tunnels", "--admin", &page, "-c", "ringgate.toml"];
        crate::support::program::command(&tunnels, &directory).code == Some(0)
    });
    assert_echoes(&mut open(address));
}

/// Echoes on the old process, until its Close comes.
fn assert_echoes_until_told(client: &mut Client) {
    client.send(masked(TEXT, b"still here"));
    let frame = client.read_frame();
    if frame.opcode == TEXT {
        assert_eq!(frame.payload, b"still here");
        assert_eq!(client.read_frame().close_code(), Some(1001));
    } else {
        assert_eq!(frame.close_code(), Some(1001));
    }
}

//! What a scraper sees: by API and by backend, over reloads, and under load.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use crate::support::backend::{Backend, refusing};
use crate::support::client::{self, Client};
use crate::support::eventually;
use crate::support::frame::{CLOSE, PING, PONG, TEXT, close, masked, unmasked};
use crate::support::program::{Ringgate, command};
use crate::support::scrape::Scrape;
use crate::support::settings::{Route, Settings};

fn echoing() -> Backend<Option<u16>> {
    Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    })
}

fn open(program: &Ringgate, path: &str) -> Client {
    let mut client = program.connect();
    client.upgrade(path);
    client
}

fn echo(client: &mut Client, text: &[u8]) {
    client.send(masked(TEXT, text));
    assert_eq!(client.read_frame().payload, text);
}

fn of_api(name: &str, api: &str, more: &str) -> String {
    format!("{name}{{group=\"DEFAULT\",environment=\"RELEASE\",api=\"{api}\"{more}}}")
}

#[test]
fn apis_and_backends_are_counted_apart() {
    let (chat, news) = (echoing(), echoing());
    let silent = refusing();
    let route = |name, path, address| Route {
        name,
        path,
        ..Route::hello(address)
    };
    let program = Ringgate::run(&Settings::new(vec![
        route("CHAT", "/chat", chat.address),
        route("NEWS", "/news", news.address),
        route("DEAD", "/dead", silent),
        route("IDLE", "/idle", news.address),
    ]));
    let mut chatting: Vec<_> = (0..3).map(|_| open(&program, "/chat")).collect();
    let mut reading = open(&program, "/news");
    for client in chatting.iter_mut().chain([&mut reading]) {
        echo(client, b"hello");
    }
    let mut refused = program.connect();
    assert_eq!(refused.ask(client::upgrade("/dead", &[])).status, 502);
    let mut last = chatting.pop().unwrap();
    last.send(masked(CLOSE, &close(1000, "")));
    last.read_frame();
    drop(last);

    let at =
        |name: &str, backend: &str, more: &str| format!("{name}{{backend=\"{backend}\"{more}}}");
    let (chats, dead) = (chat.address.to_string(), silent.to_string());
    let finished = ",reason=\"finished\",side=\"client\"";
    for (series, value) in [
        (of_api("ringgate_api_tunnels", "CHAT", ""), 2.0),
        (of_api("ringgate_api_tunnels_opened_total", "CHAT", ""), 3.0),
        (
            of_api("ringgate_api_tunnels_closed_total", "CHAT", finished),
            1.0,
        ),
        (
            of_api(
                "ringgate_api_handshakes_total",
                "CHAT",
                ",result=\"success\"",
            ),
            3.0,
        ),
        (
            of_api("ringgate_api_messages_total", "CHAT", ",side=\"client\""),
            3.0,
        ),
        (
            of_api(
                "ringgate_api_tunnel_bytes_total",
                "NEWS",
                ",side=\"backend\"",
            ),
            7.0,
        ),
        (of_api("ringgate_api_tunnels", "NEWS", ""), 1.0),
        (
            of_api(
                "ringgate_api_handshakes_total",
                "DEAD",
                ",result=\"connect_failed\"",
            ),
            1.0,
        ),
        (at("ringgate_backend_tunnels", &chats, ""), 2.0),
        (at("ringgate_backend_connects_total", &chats, ""), 3.0),
        // A GET is asked for once more (spec 2.7).
        (at("ringgate_backend_connects_total", &dead, ""), 2.0),
        (
            at(
                "ringgate_backend_connect_failures_total",
                &dead,
                ",reason=\"connect_failed\"",
            ),
            2.0,
        ),
        ("ringgate_tunnels ".to_owned(), 3.0),
    ] {
        program.await_metric(&series, value);
    }
    // Nobody has called it, and it costs the scraper nothing.
    let (_, _, text) = program.admin("/metrics");
    assert!(!text.contains("api=\"IDLE\""), "{text}");
}

#[test]
fn a_reload_starts_no_counter_anew_and_forgets_what_is_gone() {
    let backend = echoing();
    let settings = Settings::hello(backend.address);
    let other = Settings::new(vec![Route {
        name: "API02",
        path: "/other",
        ..Route::hello(backend.address)
    }]);
    let program = Ringgate::run(&settings);
    let reload = |settings: &Settings| {
        settings.write(&program.workspace);
        let directory = program.workspace.path("");
        let done = command(&["reload", "-c", "ringgate.toml"], &directory);
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    let tunnels = of_api("ringgate_api_tunnels", "API01", "");
    let messages = of_api("ringgate_api_messages_total", "API01", ",side=\"client\"");
    let mut client = open(&program, "/hello");
    echo(&mut client, b"one");
    reload(&other);
    echo(&mut client, b"two");
    program.await_metric(&messages, 2.0);
    // Another one, which the tunnel of an API that is gone outlives, and then the API is back.
    reload(&other);
    program.await_metric(&tunnels, 1.0);
    reload(&settings);
    echo(&mut client, b"three");
    program.await_metric(&messages, 3.0);
    client.send(masked(CLOSE, &close(1000, "")));
    client.read_frame();
    drop(client);
    program.await_metric(&tunnels, 0.0);
    assert!(program.admin("/metrics").2.contains(&tunnels));
    // What is neither served nor open goes, when a reload finds that nobody has it any more.
    eventually("the API is forgotten", || {
        reload(&other);
        !program.admin("/metrics").2.contains("API01")
    });
}

#[test]
fn what_runs_is_told_apart_and_a_failed_reload_shows() {
    let settings = Settings::hello(refusing());
    let program = Ringgate::run(&settings);
    let directory = program.workspace.path("");
    let reload = || command(&["reload", "-c", "ringgate.toml"], &directory);
    let hash = || program.metric("ringgate_config_hash ");
    let succeeded = || program.metric("ringgate_config_last_reload_successful ");
    let first = hash();
    assert!(first > 0.0);
    assert_eq!(succeeded(), 1.0, "the start counts");
    let scrape = Scrape::of(&program, "/metrics");
    let expiry = scrape.sum("ringgate_certificate_expiry_timestamp_seconds", "name=");
    assert!(
        expiry > scrape.samples["ringgate_start_time_seconds"],
        "{expiry}"
    );
    // Another definition is another configuration, although its own file is the same.
    settings
        .clone()
        .with_timeout(5_000)
        .write(&program.workspace);
    assert_eq!(reload().code, Some(0));
    let second = hash();
    assert!((first - second).abs() > 0.5, "{first} {second}");
    let wrong = settings.clone().with("[timeouts]\nhandshake = \"soon\"");
    wrong.write(&program.workspace);
    assert_eq!(reload().code, Some(1));
    assert_eq!((succeeded(), hash()), (0.0, second));
    settings.write(&program.workspace);
    assert_eq!(reload().code, Some(0));
    assert_eq!((succeeded(), hash()), (1.0, first));
}

#[test]
fn a_scrape_under_load_loses_nothing() {
    const CLIENTS: u32 = 6;
    let backend = echoing();
    let settings = Settings::hello(backend.address).with("[limits]\nhalf_bytes_max = \"64KiB\"");
    let program = Ringgate::run(&settings);
    let scraped = AtomicBool::new(false);
    let sent: u64 = thread::scope(|scope| {
        let talkers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = open(&program, "/hello");
                let scraped = &scraped;
                scope.spawn(move || {
                    let mut sent = 0;
                    // Talks until the last scrape has begun, and some more.
                    while !scraped.load(SeqCst) || sent % 100 != 0 {
                        echo(&mut client, b"under load");
                        sent += 1;
                    }
                    client.send(masked(CLOSE, &close(1000, "")));
                    client.read_frame();
                    sent
                })
            })
            .collect();
        program.await_metric("ringgate_tunnels ", f64::from(CLIENTS));
        let mut last = Scrape::of(&program, "/metrics");
        for _ in 0..60 {
            let next = Scrape::of(&program, "/metrics");
            for (series, before) in last.rising() {
                let now = next.samples.get(series);
                assert!(
                    now.is_some_and(|now| *now >= before),
                    "{series}: {before}, {now:?}"
                );
            }
            last = next;
        }
        // They move while sockets are open, and nobody was closed for the scraper's sake.
        assert!(last.sum("ringgate_messages_total", "client") > 0.0);
        assert_eq!(last.samples["ringgate_tunnels"], f64::from(CLIENTS));
        scraped.store(true, SeqCst);
        talkers
            .into_iter()
            .map(|talker| talker.join().unwrap())
            .sum()
    });
    program.await_metric("ringgate_tunnels ", 0.0);
    let end = Scrape::of(&program, "/metrics");
    #[expect(clippy::cast_precision_loss, reason = "few enough")]
    let sent = sent as f64;
    for (name, label) in [
        ("ringgate_messages_total", "side=\"client\""),
        ("ringgate_messages_total", "side=\"backend\""),
        ("ringgate_api_messages_total", "side=\"client\""),
        ("ringgate_backend_messages_total", "side=\"backend\""),
        ("ringgate_message_size_bytes_count", "side=\"client\""),
    ] {
        assert_eq!(end.sum(name, label), sent, "{name} {label}");
    }
    assert_eq!(
        end.sum("ringgate_message_size_bytes_sum", "client"),
        10.0 * sent
    );
    let clients = f64::from(CLIENTS);
    assert_eq!(end.sum("ringgate_close_frames_total", "client"), clients);
    assert_eq!(
        end.samples["ringgate_tunnel_lifetime_seconds_count"],
        clients
    );
    let cores = Scrape::of(&program, "/metrics?per_core=1");
    let of_core = "ringgate_messages_total{core=\"0\",side=\"client\"}";
    assert_eq!(cores.samples.get(of_core), Some(&sent));
    assert_eq!(program.admin("/metrics?per_socket=1").0, 400);
}

#[test]
fn pings_and_closes_of_our_own_are_measured() {
    let backend = Backend::start(|mut peer| {
        peer.accept();
        let ping = peer.read_frame();
        peer.send(unmasked(PONG, &ping.payload));
        peer.echo()
    });
    let settings = Settings::hello(backend.address);
    let program = Ringgate::run(&settings);
    let mut client = open(&program, "/hello");
    client.send(masked(PING, b"there?"));
    assert_eq!(client.read_frame().opcode, PONG);
    program.await_metric(
        "ringgate_ping_round_trip_seconds_count{side=\"backend\"}",
        1.0,
    );
    program.await_metric(
        "ringgate_ping_round_trip_seconds_count{side=\"client\"}",
        0.0,
    );
    let directory = program.workspace.path("");
    let drained = command(
        &[
            "drain",
            "--all",
            "--over",
            "1s",
            "--restart",
            "-c",
            "ringgate.toml",
        ],
        &directory,
    );
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert_eq!(client.read_frame().opcode, CLOSE);
    for side in ["client", "backend"] {
        let series = format!("ringgate_close_frames_sent_total{{side=\"{side}\",code=\"1012\"}}");
        program.await_metric(&series, 1.0);
    }
}

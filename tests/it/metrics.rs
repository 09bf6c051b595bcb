//! What a scraper sees: by API and by backend, over reloads, in a form that others read, and under load.

use crate::support::backend::{Backend, refusing};
use crate::support::client::{self, Client};
use crate::support::eventually;
use crate::support::frame::{CLOSE, TEXT, close, masked};
use crate::support::program::{Ringgate, command};
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

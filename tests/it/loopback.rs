//! The admin listener on loopback: who gets in, and what the commands say through it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::DEADLINE;
use crate::support::backend::Backend;
use crate::support::program::{Ringgate, Workspace, command};
use crate::support::settings::{Settings, TOKEN};

fn program() -> Ringgate {
    // Nobody is asked to answer there.
    let backend = SocketAddr::from(([127, 0, 0, 1], 9));
    Ringgate::run(&Settings::hello(backend).with_page("127.0.0.1:0"))
}

/// Status, head and body.
fn ask(page: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

#[test]
fn without_the_token_nothing_is_told() {
    let program = program();
    let page = program.page.unwrap();
    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/state",
        "/none",
    ] {
        let (status, head, body) = ask(
            page,
            &format!("GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n"),
        );
        assert_eq!(status, 401, "{path}");
        assert!(
            head.contains("\r\nWWW-Authenticate: Bearer realm=\"ringgate\""),
            "{head}"
        );
        assert!(!body.contains("ready"), "{body}");
        let wrong = "0".repeat(TOKEN.len());
        let (status, head, _) = ask(
            page,
            &format!(
                "GET {path} HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {wrong}\r\n\r\n"
            ),
        );
        assert_eq!(status, 401, "{path}");
        assert!(head.contains("error=\"invalid_token\""), "{head}");
    }
    let right = format!("Host: {page}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    assert_eq!(ask(page, &format!("GET /livez HTTP/1.1\r\n{right}")).0, 200);
    assert_eq!(ask(page, &format!("GET /none HTTP/1.1\r\n{right}")).0, 404);
    assert_eq!(ask(page, &format!("PUT /livez HTTP/1.1\r\n{right}")).0, 405);
    // The page itself tells nothing, and loads nothing.
    let (status, head, body) = ask(page, &format!("GET / HTTP/1.1\r\nHost: {page}\r\n\r\n"));
    assert_eq!(status, 200);
    assert!(
        head.contains("Content-Security-Policy: default-src 'none'"),
        "{head}"
    );
    assert!(body.starts_with("<!doctype html>"), "{body}");
    assert!(!head.contains("Access-Control"), "{head}");
}

#[test]
fn web_sites_are_kept_out() {
    let program = program();
    let page = program.page.unwrap();
    let reload = |fields: &str| {
        let request = format!(
            "POST /v1/reload HTTP/1.1\r\n{fields}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        ask(page, &request).0
    };
    assert_eq!(reload("Host: rebound.example:9901"), 421);
    assert_eq!(
        reload(&format!("Host: {page}\r\nOrigin: http://evil.example")),
        403
    );
    assert_eq!(
        reload(&format!("Host: {page}\r\nOrigin: http://{page}")),
        200
    );
    // Through a forwarded unix socket as well.
    let (status, ..) = program.admin_raw(
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
    );
    assert_eq!(status, 403);
}

#[test]
fn commands_come_in_with_the_token() {
    let program = program();
    let url = format!("http://{}", program.page.unwrap());
    let directory = program.workspace.path("");
    let run = |arguments: &[&str]| command(arguments, &directory);
    let named = run(&["tunnels", "--admin", &url, "--token-file", "admin.token"]);
    assert_eq!(named.code, Some(0), "{named:?}");
    assert!(named.stdout.ends_with("0 tunnels, 0 shown\n"), "{named:?}");
    // The file of the configuration will do.
    let found = run(&["reload", "--admin", &url, "-c", "ringgate.toml"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    for (arguments, said) in [
        (
            vec!["tunnels", "--admin", &url, "--token-file", "none"],
            "cannot be read",
        ),
        (
            vec![
                "tunnels",
                "--admin",
                "http://192.0.2.1:1",
                "--token-file",
                "admin.token",
            ],
            "loopback",
        ),
        (vec!["tunnels", "--admin", &url], "--token-file"),
    ] {
        let failed = run(&arguments);
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.stderr.contains(said), "{failed:?}");
    }
}

#[test]
fn another_token_comes_into_force_by_a_reload() {
    let program = program();
    let page = program.page.unwrap();
    let livez = |token: &str| {
        let request =
            format!("GET /livez HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {token}\r\n\r\n");
        ask(page, &request).0
    };
    let other = "f".repeat(40);
    program.workspace.write_secret("admin.token", &other);
    let directory = program.workspace.path("");
    let reloaded = command(&["reload", "-c", "ringgate.toml"], &directory);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert_eq!((livez(TOKEN), livez(&other)), (401, 200));
}

#[test]
fn an_open_door_is_refused() {
    let workspace = Workspace::new();
    let directory = workspace.path("");
    let check = |admin: &str, mode: u32, token: &str| {
        use std::os::unix::fs::PermissionsExt;
        let settings = Settings::hello(SocketAddr::from(([127, 0, 0, 1], 9)));
        settings.write(&workspace);
        let text = settings
            .toml()
            .replace("[admin]\n", &format!("[admin]\n{admin}\n"));
        workspace.write("ringgate.toml", &text);
        let file = workspace.write("admin.token", token);
        std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
        command(&["check", "-c", "ringgate.toml"], &directory)
    };
    let listen = "listen = \"127.0.0.1:9901\"";
    let file = "token_file = \"admin.token\"";
    let both = format!("{listen}\n{file}");
    let right = check(&both, 0o640, TOKEN);
    assert_eq!(right.code, Some(0), "{right:?}");
    for (admin, mode, token, said) in [
        (
            format!("listen = \"0.0.0.0:9901\"\n{file}"),
            0o600,
            TOKEN,
            "can be reached from beyond this box",
        ),
        (listen.to_owned(), 0o600, TOKEN, "there is no token_file"),
        (file.to_owned(), 0o600, TOKEN, "there is no listen"),
        (both.clone(), 0o644, TOKEN, "open to everybody"),
        (both.clone(), 0o600, "short", "holds 5 bytes"),
        (
            both.replace("admin.token", "none"),
            0o600,
            TOKEN,
            "cannot be read",
        ),
    ] {
        let wrong = check(&admin, mode, token);
        let said_all = wrong.stdout.clone() + &wrong.stderr;
        assert_eq!(wrong.code, Some(1), "{admin}: {wrong:?}");
        assert!(said_all.contains(said), "{admin}: {wrong:?}");
        assert!(said_all.contains("ringgate.toml:"), "{wrong:?}");
    }
}

#[test]
fn every_number_of_the_state_is_there() {
    let backend: Backend<Option<u16>> = Backend::start(|mut peer| {
        peer.accept();
        peer.echo()
    });
    let program = Ringgate::run(&Settings::hello(backend.address).with_page("127.0.0.1:0"));
    let mut client = program.connect();
    client.upgrade("/hello");
    program.await_metric("ringgate_tunnels", 1.0);
    let get = |path: &str| -> Value {
        let (status, _, body) = program.admin(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let state = get("/v1/state");
    assert_eq!(state["readiness"], "ready");
    assert_eq!(state["tunnels"]["open"], 1);
    assert_eq!(state["handshakes"]["upgraded"], 1);
    assert_eq!(state["cores"][0]["tunnels"], 1);
    assert_eq!(state["config"]["generation"], 0);
    assert_eq!(state["config"]["hash"].as_str().unwrap().len(), 12);
    assert!(state["reloads"]["last"].is_null());

    let config = get("/v1/config");
    assert_eq!(
        config["admin"]["token_file"],
        program.workspace.path("admin.token").to_str().unwrap()
    );
    assert_eq!(config["certificates"][0]["names"][0], "localhost");
    assert!(!config.to_string().contains(TOKEN), "{config}");

    let apis = get("/v1/apis?api=API01&sort=open&limit=1");
    assert_eq!(
        (&apis["total"], &apis["apis"][0]["tunnels"]["open"]),
        (&1.into(), &1.into())
    );
    assert_eq!(apis["apis"][0]["path"], "/hello");
    assert_eq!(get("/v1/apis?api=none")["total"], 0);
    assert_eq!(get("/v1/apis?offset=1")["apis"], Value::Array(Vec::new()));
    let backends = get(&format!("/v1/backends?backend={}", backend.address));
    assert_eq!(backends["backends"][0]["tunnels"]["open"], 1);
    assert_eq!(backends["backends"][0]["served"], true);
    for path in [
        "/v1/apis?colour=red",
        "/v1/backends?sort=colour",
        "/v1/state?x",
        "/v1/apis?limit=10001",
    ] {
        assert_eq!(program.admin(path).0, 400, "{path}");
    }

    // What was wrong with a reload stays to be seen.
    program.workspace.write("ringgate.toml", "nothing = 1\n");
    program.signal("HUP");
    program.await_metric("ringgate_config_reloads_total{result=\"failure\"}", 1.0);
    let last = get("/v1/state")["reloads"]["last"].clone();
    assert_eq!(last["result"], "failure");
    assert!(
        last["complaints"][0]
            .as_str()
            .unwrap()
            .contains("ringgate.toml:1"),
        "{last}"
    );
}

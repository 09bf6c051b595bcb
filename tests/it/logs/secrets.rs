//! What the lines keep to themselves, and what nobody can make them look like.

use std::fs;

use super::*;

#[test]
fn secrets_are_in_no_log_whatever_its_format() {
    let fields = [
        ("Authorization", "Bearer header-secret"),
        ("Proxy-Authorization", "Basic header-secret"),
        ("Cookie", "session=header-secret"),
        ("X-Sdk-Date", "header-secret"),
        ("X-Api-Key", "header-secret"),
        ("Sec-WebSocket-Protocol", "header-secret"),
        ("User-Agent", "agent eyJhbGciOiJIUzI1NiJ9.agent-secret.x"),
    ];
    let targets = [
        "/hello?access_token=query-secret",
        "/hello?%74oken=query-secret",
        "/hello?X-Apig-AppKey=query-secret&room=7",
        "/hello?u=query-secret",
        "/hello?long=query-secret-query-secret",
        "/hello?query-secret-query-secret",
        "/other/eyJhbGciOiJIUzI1NiJ9.path-secret.x",
    ];
    let backend = backend();
    for format in ["json", "apig", "apig_json"] {
        let log = format!(
            "access_format = \"{format}\"\naccess_secrets = [\"u\"]\naccess_open = true\nlevel = \"trace\""
        );
        let program = Ringgate::run(&settings(backend.address, &log));
        for target in targets {
            let mut client = program.connect();
            client.send(upgrade(target, &fields));
            client.answer();
            client.reset();
            let host = [("Host", "127.0.0.1")];
            let line = format!("GET {target} HTTP/1.1");
            program
                .connect()
                .ask(request(&line, &[&host, &fields[..]].concat()));
        }
        // Twice for a tunnel, once for each refusal and call.
        let text = lines(&access_log(&program), 6 * 3 + 2).join("\n");
        let both = text + &program.errors();
        for secret in [
            "query-secret",
            "header-secret",
            "path-secret",
            "agent-secret",
        ] {
            assert!(!both.contains(secret), "{secret} in {format}: {both}");
        }
        assert!(both.contains("room=7"), "{both}");
    }
}

#[test]
fn nobody_else_can_begin_a_line_or_move_a_cursor() {
    let backend = backend();
    for format in ["json", "apig", "apig_json"] {
        let log = format!("access_format = \"{format}\"\naccess_open = true\nlevel = \"trace\"");
        let program = Ringgate::run(&settings(backend.address, &log));
        tunnel(&program);
        call(&program);
        let mut client = program.connect();
        client.ask(request(
            "GET /%0a%1b%5b31m?a=%0d HTTP/1.1",
            &[
                ("Host", "127.0.0.1"),
                ("User-Agent", "\u{85}{}\" 1 \"\u{9b}2J"),
            ],
        ));
        let path = access_log(&program);
        lines(&path, 4);
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8(bytes).unwrap() + &program.errors();
        let is_bad = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{2028}';
        assert_eq!(text.chars().find(is_bad), None, "{format}");
        for line in fs::read_to_string(access_log(&program)).unwrap().lines() {
            match format {
                "apig" => assert_eq!(split(line).len(), 54, "{line}"),
                _ => assert!(json(line).is_object(), "{line}"),
            }
        }
    }
}

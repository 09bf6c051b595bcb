//! The program's own messages.

use std::process::Command;

use super::*;

#[test]
fn one_id_is_in_the_answer_at_the_backend_and_in_both_logs() {
    let backend = backend();
    let program = Ringgate::run(&settings(
        backend.address,
        "level = \"debug\"\nformat = \"json\"",
    ));
    let (id, _, _) = tunnel(&program);
    let (answer, _) = call(&program);
    let ids = [id, answer.request_id().to_owned()];
    for id in &ids {
        let head = backend.result();
        assert_eq!(field(&head, "X-Request-Id"), Some(id.as_str()));
    }
    let lines = lines(&access_log(&program), 3);
    let logged: Vec<_> = lines.iter().map(|line| json(line)["id"].clone()).collect();
    assert_eq!(
        logged,
        [0, 0, 1].map(|at: usize| Value::from(ids[at].as_str()))
    );
    for id in &ids {
        let about = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["id"] == id.as_str()).then_some(line)
        };
        eventually("the program's own message", || {
            program
                .errors()
                .lines()
                .filter_map(about)
                .any(|line| line["message"] == "routed")
        });
    }
    // Also of a backend that can't be asked.
    let dead = refusing();
    let program = Ringgate::run(&settings(dead, "level = \"debug\""));
    let (answer, _) = call(&program);
    assert_eq!(answer.status, 502);
    let id = answer.request_id();
    eventually("the message about it", || {
        let errors = program.errors();
        let mut lines = errors.lines().filter(|line| line.contains(id));
        lines.any(|line| line.contains("no connection to a backend"))
    });
    let line = json(&self::lines(&access_log(&program), 1)[0]);
    assert_eq!(line["id"], id);
    assert_eq!(line["backend"], dead.to_string());
}

#[test]
fn the_journal_is_told_priorities() {
    let backend = backend();
    let workspace = Workspace::new();
    let (file, log) = (
        workspace.path("ringgate.toml"),
        "level = \"debug\"\nformat = \"text\"",
    );
    let program = Ringgate::run_in(workspace, &settings(backend.address, log), |command| {
        // As systemd says it: the stream that standard error is.
        let script = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$0\" run -c \"$1\"";
        *command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_ringgate")])
            .arg(file);
    });
    call(&program);
    program.signal("USR1");
    eventually("messages", || program.errors().contains("reopened"));
    let errors = program.errors();
    for line in errors.lines() {
        let (priority, text) = line.split_once('>').unwrap();
        let level = match priority {
            "<3" => "ERROR",
            "<4" => "WARN",
            "<6" => "INFO",
            "<7" => "DEBUG",
            other => panic!("{other} in {line}"),
        };
        // The journal knows the time.
        assert!(text.trim_start().starts_with(level), "{line}");
    }
    assert!(errors.contains("<7>") && errors.contains("<6>"), "{errors}");
}

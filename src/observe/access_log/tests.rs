use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::*;
use crate::close::{CloseReason, Errno, Side};
use crate::config::{LogFormat, Scheme};
use crate::observe::request_id::RequestId;
use crate::relay::policy::{FrameMode, IdleEnd, TunnelPolicy};

fn facts() -> TunnelFacts {
    TunnelFacts {
        id: RequestId([0xab; 16]),
        policy: Arc::new(TunnelPolicy {
            api: "API01".into(),
            group: "DEFAULT".into(),
            environment: "RELEASE".into(),
            backend: String::new(),
            idle_timeout: Duration::from_secs(60),
            idle_end: IdleEnd::Close,
            frames: FrameMode::Strict,
            message_bytes_max: 0,
        }),
        scheme: Scheme::Https,
        client: "192.0.2.7:40000".parse().unwrap(),
        backend: "[2001:db8::1]:8080".parse().unwrap(),
        opened_at: UNIX_EPOCH + Duration::from_millis(1_767_225_599_250),
        handshake: Duration::from_micros(1_500),
    }
}

fn log_to(path: &Path, queue_lines_max: usize) -> Log {
    Log {
        format: LogFormat::Text,
        level: "info".into(),
        access: config::AccessLog::File(path.to_owned()),
        queue_lines_max,
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn tunnel_leaves_one_line_at_each_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (log, guard) = AccessLog::open(&log_to(&path, 16)).unwrap();
    let facts = facts();
    log.tunnel_open(&facts);
    log.tunnel_close(
        &facts,
        &TunnelEnd {
            reason: CloseReason::Io(Side::Backend, Errno(libc::ECONNRESET)),
            duration: Duration::from_millis(1_750),
            from_client: Traffic {
                bytes: 70,
                messages: 2,
                close_code: Some(4321),
            },
            from_backend: Traffic::default(),
            closed_by: Some(Side::Client),
        },
    );
    drop(guard);

    let written = lines(&path);
    let [open, close] = written.as_slice() else {
        panic!("two lines, not {written:?}")
    };
    assert_eq!(open["time"], "2025-12-31T23:59:59.250Z");
    assert_eq!(open["event"], "tunnel_open");
    assert_eq!(open["id"], "ab".repeat(16));
    assert_eq!(open["api"], "API01");
    assert_eq!(open["group"], "DEFAULT");
    assert_eq!(open["environment"], "RELEASE");
    assert_eq!(open["scheme"], "wss");
    assert_eq!(open["client"], "192.0.2.7:40000");
    assert_eq!(open["backend"], "[2001:db8::1]:8080");
    assert_eq!(open["handshake_ms"], 1.5);
    assert_eq!(close["time"], "2026-01-01T00:00:01.000Z");
    assert_eq!(close["event"], "tunnel_close");
    assert_eq!(close["id"], open["id"]);
    assert_eq!(close["reason"], "io");
    assert_eq!(
        close["detail"],
        "Io(Backend, Connection reset by peer (os error 104))"
    );
    assert_eq!(close["blame"], "backend");
    assert_eq!(close["duration_ms"], 1750.0);
    assert_eq!(close["bytes_from_client"], 70);
    assert_eq!(close["messages_from_client"], 2);
    assert_eq!(close["close_code_client"], 4321);
    assert_eq!(close["bytes_from_backend"], 0);
    assert_eq!(close["close_code_backend"], Value::Null);
    assert_eq!(close["closed_by"], "client");
    assert_eq!(log.dropped(), 0);
}

#[test]
fn refusal_names_status_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (log, guard) = AccessLog::open(&log_to(&path, 16)).unwrap();
    log.refused(&Refusal {
        id: RequestId([1; 16]),
        reason: CloseReason::NoRoute,
        scheme: Scheme::Http,
        client: "[::1]:5000".parse().unwrap(),
        status: Some(404),
        at: UNIX_EPOCH,
        duration: Duration::ZERO,
    });
    drop(guard);
    let written = lines(&path);
    assert_eq!(written[0]["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(written[0]["event"], "refused");
    assert_eq!(written[0]["status"], 404);
    assert_eq!(written[0]["reason"], "no_route");
    assert_eq!(written[0]["client"], "[::1]:5000");
}

/// A target that takes nothing until its sender is gone.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(self.0.recv().is_err(), "nothing is ever sent");
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn stuck_target_costs_lines_and_no_time() {
    let (release, stuck) = std::sync::mpsc::channel();
    let config = log_to(Path::new("unused"), 4);
    let (log, guard) = AccessLog::start(Stuck(stuck), &config, None);
    for _ in 0..100 {
        log.tunnel_open(&facts());
    }
    // Four wait in the queue, and one may be in the writer's hands.
    assert!((95..=96).contains(&log.dropped()), "{}", log.dropped());
    drop(release);
    drop(guard);
}

#[test]
fn rotated_file_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("a"), dir.path().join("b"));
    let (reopen, told) = channel();
    let mut file = LogFile::open(&path, told).unwrap();
    file.write_all(b"1\n").unwrap();
    fs::rename(&path, &moved).unwrap();
    file.write_all(b"2\n").unwrap();
    reopen.send(None).unwrap();
    file.write_all(b"3\n").unwrap();
    assert_eq!(fs::read(&moved).unwrap(), b"1\n2\n");
    assert_eq!(fs::read(&path).unwrap(), b"3\n");
}

#[test]
fn off_keeps_nothing() {
    let (log, _guard) = AccessLog::off();
    log.tunnel_open(&facts());
    log.reopen();
    assert_eq!(log.dropped(), 0);
}

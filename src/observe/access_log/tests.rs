use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::*;
use crate::close::{Errno, Side};
use crate::config::{Config, Scheme};
use crate::observe::request_id::RequestId;
use crate::relay::policy::{FrameMode, IdleEnd, TunnelPolicy};

fn asked() -> Asked<'static> {
    Asked {
        method: b"GET",
        host: b"api.example.com",
        path: b"/hello",
        query: b"token=abc&room=7",
        protocol: "HTTP/1.1",
        user_agent: b"agent \"1\"\x7f",
        forwarded_for: b"198.51.100.1, 198.51.100.2"[..].into(),
        upstream_target: b"/?token=abc",
    }
}

fn upstream() -> Upstream {
    Upstream {
        scheme: Some(Scheme::Http),
        address: Some("[2001:db8::1]:8080".parse().unwrap()),
        status: Some(101),
        connect: Some(Duration::from_micros(400)),
        header: Some(Duration::from_millis(1)),
        response: Some(Duration::from_millis(1)),
        all: Some(Duration::from_millis(1)),
    }
}

fn caller() -> Caller {
    Caller {
        ip: "198.51.100.1".parse().unwrap(),
        introduced: None,
    }
}

fn facts() -> TunnelFacts {
    TunnelFacts {
        id: RequestId([0xab; 16]),
        policy: Arc::new(TunnelPolicy {
            api: "API01".into(),
            group: "DEFAULT".into(),
            environment: "RELEASE".into(),
            backend: String::new(),
            address: String::new(),
            version: 0,
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
        request: Some(Box::new(TunnelRequest {
            asked: AskedBuf::new(&asked()),
            caller: caller(),
            upstream: upstream(),
            head_bytes: 200,
            answer_bytes: 100,
        })),
    }
}

fn so_far() -> SoFar {
    SoFar {
        duration: Duration::from_millis(1_750),
        from_client: Traffic {
            bytes: 70,
            messages: 2,
            close_code: Some(4321),
        },
        from_backend: Traffic::default(),
        closed_by: Some(Side::Client),
    }
}

/// What `write` leaves in a log of this format.
fn written(format: AccessFormat, open: Option<bool>, write: impl FnOnce(&AccessLog)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = Log {
        access: config::AccessLog::File(path.clone()),
        access_format: format,
        access_open: open,
        ..Config::base().log
    };
    let (log, guard) = AccessLog::open(&log).unwrap();
    write(&log);
    drop(guard);
    assert_eq!(log.dropped(), 0);
    fs::read_to_string(path).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const RESET: CloseReason = CloseReason::Io(Side::Backend, Errno(libc::ECONNRESET));

#[test]
fn tunnel_leaves_a_line_at_each_end_and_between() {
    let text = written(AccessFormat::Json, None, |log| {
        let mut facts = facts();
        log.tunnel_open(&mut facts);
        assert!(facts.request.is_none(), "no later line needs it");
        log.tunnel_progress(&facts, &so_far());
        log.tunnel_close(&facts, RESET, &so_far());
    });
    let written = lines(&text);
    let [open, progress, close] = written.as_slice() else {
        panic!("three lines, not {written:?}")
    };
    for (line, expected) in [
        (
            open,
            serde_json::json!({
                "time": "2025-12-31T23:59:59.250Z", "event": "tunnel_open", "id": "ab".repeat(16), "api": "API01",
                "group": "DEFAULT", "environment": "RELEASE", "scheme": "wss", "client": "192.0.2.7:40000",
                "backend": "[2001:db8::1]:8080", "status": 101, "handshake_ms": 1.5, "client_ip": "198.51.100.1",
                "method": "GET", "host": "api.example.com", "target": "/hello?token=***&room=7",
                "protocol": "HTTP/1.1", "user_agent": "agent \"1\"\u{7f}",
                "forwarded_for": "198.51.100.1, 198.51.100.2", "connect_ms": 0.4, "answer_ms": 1.0,
            }),
        ),
        (
            close,
            serde_json::json!({
                "time": "2026-01-01T00:00:01.000Z", "event": "tunnel_close", "id": "ab".repeat(16), "api": "API01",
                "group": "DEFAULT", "environment": "RELEASE", "scheme": "wss", "client": "192.0.2.7:40000",
                "backend": "[2001:db8::1]:8080", "status": 101, "handshake_ms": 1.5, "reason": "io",
                "detail": "Io(Backend, Connection reset by peer (os error 104))", "blame": "backend",
                "duration_ms": 1750.0, "bytes_from_client": 70, "bytes_from_backend": 0, "messages_from_client": 2,
                "messages_from_backend": 0, "close_code_client": 4321, "close_code_backend": null,
                "closed_by": "client",
            }),
        ),
    ] {
        assert_eq!(*line, expected);
    }
    assert_eq!(progress["event"], "tunnel_progress");
    assert_eq!(progress["bytes_from_client"], 70);
    assert!(text.contains("agent \\\"1\\\"\\u007f"), "{text}");
}

#[test]
fn a_tunnel_has_the_clouds_fields() {
    let text = written(AccessFormat::Apig, None, |log| {
        let mut facts = facts();
        log.tunnel_open(&mut facts);
        log.tunnel_close(&facts, RESET, &so_far());
    });
    let api_id = crate::catalog::api_id("DEFAULT", "API01");
    let id = "ab".repeat(16);
    let expected = format!(
        "198.51.100.1 {id} {api_id} - - \"31/Dec/2025:23:59:59 +0000\" 1.751 GET https api.example.com \
         \"/hello?token=***&room=7\" HTTP/1.1 101 100 270 \"agent \\x221\\x22\\x7F\" \"198.51.100.1, 198.51.100.2\" \
         [2001:db8::1]:8080 \"/?token=***\" 101 0.000 0.001 1.751 - 1.751 0 NONE - - 0.000 - - - 0 API01 - - - \
         \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" remote - http DEFAULT - -\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn lines_before_the_end_have_no_time_in_the_clouds_format() {
    let text = written(AccessFormat::ApigJson, Some(true), |log| {
        let mut facts = facts();
        log.tunnel_open(&mut facts);
        log.tunnel_progress(&facts, &so_far());
        log.tunnel_close(&facts, RESET, &so_far());
    });
    let lines = lines(&text);
    let times: Vec<_> = lines.iter().map(|line| &line["request_time"]).collect();
    assert_eq!(times, [&Value::Null, &Value::Null, &Value::from(1.751)]);
    for line in &lines {
        assert_eq!(line.as_object().unwrap().len(), 54);
        assert_eq!(line["status"], 101);
    }
    assert_eq!(lines[1]["request_length"], 270);
}

fn refusal(reason: CloseReason, status: Option<u16>) -> RequestEnd<'static> {
    RequestEnd {
        kind: RequestKind::Refusal,
        id: RequestId([1; 16]),
        reason,
        scheme: Scheme::Http,
        client: "[::1]:5000".parse().unwrap(),
        caller: Caller {
            ip: "::1".parse().unwrap(),
            introduced: None,
        },
        asked: None,
        api: None,
        upstream: Upstream::default(),
        status,
        bytes: Bytes::default(),
        at: UNIX_EPOCH,
        duration: Duration::ZERO,
    }
}

#[test]
fn refusal_names_status_and_reason() {
    let end = refusal(CloseReason::NoRoute, Some(404));
    let text = written(AccessFormat::Json, None, |log| log.request(&end));
    let line = &lines(&text)[0];
    assert_eq!(line["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(line["event"], "refused");
    assert_eq!(line["status"], 404);
    assert_eq!(line["reason"], "no_route");
    assert_eq!(line["client"], "[::1]:5000");
    let text = written(AccessFormat::ApigJson, None, |log| log.request(&end));
    let line = &lines(&text)[0];
    assert_eq!(line["apig_err_code"], "APIG.0101");
    assert_eq!(line["response_source"], "local");
    assert_eq!(line["errorType"], 0);
}

#[test]
fn whose_answer_it_was_is_told() {
    for (reason, status, upstream, source) in [
        (
            CloseReason::Answered(200),
            Some(200),
            Some(200),
            Value::from("remote"),
        ),
        (
            CloseReason::Answered(200),
            Some(200),
            None,
            Value::from("local"),
        ),
        (
            CloseReason::UpgradeRefused(403),
            Some(403),
            Some(403),
            Value::from("remote"),
        ),
        (
            CloseReason::BackendGone,
            Some(502),
            None,
            Value::from("local"),
        ),
        (CloseReason::ClientGone, None, None, Value::Null),
        (
            CloseReason::DebugQuota,
            Some(429),
            None,
            Value::from("local"),
        ),
    ] {
        let mut end = refusal(reason, status);
        end.upstream.status = upstream;
        let text = written(AccessFormat::ApigJson, None, |log| log.request(&end));
        let line = &lines(&text)[0];
        assert_eq!(line["response_source"], source, "{reason:?}");
        let throttled = u64::from(reason == CloseReason::DebugQuota);
        assert_eq!(line["errorType"], throttled);
    }
}

#[test]
fn lines_can_go_elsewhere_or_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let file = |name: &str| config::AccessLog::File(path(name));
    let log = Log {
        access: config::AccessLog::Off,
        ..Config::base().log
    };
    let (log, guard) = AccessLog::open(&log).unwrap();
    let open = |target: &config::AccessLog| Opened::open(target).unwrap();
    let end = refusal(CloseReason::NoRoute, Some(404));
    log.request(&end);
    log.move_to(open(&file("a")));
    log.request(&end);
    log.move_to(open(&config::AccessLog::Off));
    assert!(!log.is_on());
    log.request(&end);
    log.move_to(open(&file("b")));
    log.request(&end);
    drop(guard);
    let count = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(count(&path("a")) + count(&path("b")), 2);
    assert!(count(&path("b")) >= 1);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn off_keeps_nothing() {
    let (log, _guard) = AccessLog::off();
    let mut facts = facts();
    log.tunnel_open(&mut facts);
    assert!(facts.request.is_none());
    log.reopen();
    assert_eq!(log.dropped(), 0);
}

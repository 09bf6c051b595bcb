//! JSON lines: one when a tunnel opens, one when it ends, one for each call, one for a request that got neither.
//!
//! Payload, cookies, tokens, paths and query strings never appear here. Neither does the subprotocol: some clients carry
//! a bearer token in it.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder};

use super::events::Guard;
use super::request_id::RequestId;
use super::utc::Utc;
use crate::close::{CloseReason, Side};
use crate::config::{self, Log, Scheme};
use crate::relay::policy::TunnelPolicy;

/// What is known of a tunnel from its first moment on.
#[derive(Clone, Debug)]
pub struct TunnelFacts {
    pub id: RequestId,
    pub policy: Arc<TunnelPolicy>,
    /// The protocol the client came by.
    pub scheme: Scheme,
    pub client: SocketAddr,
    pub backend: SocketAddr,
    pub opened_at: SystemTime,
    /// From the first byte of the request head to the 101.
    pub handshake: Duration,
}

/// What is known of a tunnel when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct TunnelEnd {
    pub reason: CloseReason,
    /// From the 101 to the end.
    pub duration: Duration,
    pub from_client: Traffic,
    pub from_backend: Traffic,
    /// The side whose Close frame came first, if one did.
    pub closed_by: Option<Side>,
}

/// What one side sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
    /// The code of its Close frame: 1005 for a Close without one (RFC 6455 §7.1.5), `None` without a Close.
    pub close_code: Option<u16>,
}

/// A request that got an answer other than 101, or none.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub id: RequestId,
    pub reason: CloseReason,
    pub scheme: Scheme,
    pub client: SocketAddr,
    /// The status that was sent.
    pub status: Option<u16>,
    pub at: SystemTime,
    /// From the first byte of the request head to the answer.
    pub duration: Duration,
}

/// A call for an API that was known, however it went.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd<'a> {
    pub id: RequestId,
    pub api: &'a str,
    pub group: &'a str,
    pub environment: &'a str,
    pub method: &'a str,
    pub scheme: Scheme,
    pub client: SocketAddr,
    /// The last one that was asked.
    pub backend: Option<SocketAddr>,
    /// The status that was sent.
    pub status: Option<u16>,
    pub reason: CloseReason,
    /// Of the bodies, framing included.
    pub bytes_from_client: u64,
    pub bytes_from_backend: u64,
    pub at: SystemTime,
    /// From the first byte of the request head to the end of the answer.
    pub duration: Duration,
}

/// Writes the lines. A clone for each thread; nothing here ever blocks: a line that finds the queue full is dropped
/// and counted.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Sink>);

#[derive(Clone, Debug)]
struct Sink {
    queue: RefCell<Queue>,
    dropped: ErrorCounter,
    /// Has a file opened anew: another, or the same if none is named. Absent where lines go to standard output.
    file: Option<Sender<Option<PathBuf>>>,
}

#[derive(Clone, Debug)]
struct Queue {
    writer: NonBlocking,
    /// Kept, so that only the queue's own copy of a line is allocated.
    line: Vec<u8>,
}

impl AccessLog {
    /// Opens what the configuration says. Lines are written as long as the guard lives.
    pub fn open(config: &Log) -> io::Result<(Self, Guard)> {
        match &config.access {
            config::AccessLog::Off => Ok(Self::off()),
            config::AccessLog::Stdout => Ok(Self::start(io::stdout(), config, None)),
            config::AccessLog::File(path) => {
                let (reopen, told) = channel();
                let file = LogFile::open(path, told)?;
                Ok(Self::start(file, config, Some(reopen)))
            }
        }
    }

    /// A log that keeps nothing.
    pub fn off() -> (Self, Guard) {
        (Self(None), Guard::from(None))
    }

    fn start(
        target: impl Write + Send + 'static,
        config: &Log,
        file: Option<Sender<Option<PathBuf>>>,
    ) -> (Self, Guard) {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(config.queue_lines_max.max(1))
            .lossy(true)
            .thread_name("ringgate-access")
            .finish(target);
        let dropped = writer.error_counter();
        let queue = RefCell::new(Queue {
            writer,
            line: Vec::with_capacity(1024),
        });
        let sink = Sink {
            queue,
            dropped,
            file,
        };
        (Self(Some(sink)), Guard::from(Some(guard)))
    }

    pub fn tunnel_open(&self, facts: &TunnelFacts) {
        self.write(|| TunnelOpen {
            time: Utc(facts.opened_at),
            event: "tunnel_open",
            tunnel: TunnelFields::from(facts),
        });
    }

    pub fn tunnel_close(&self, facts: &TunnelFacts, end: &TunnelEnd) {
        self.write(|| TunnelClose {
            // The wall clock may have been set in between; the duration was measured on one that is not.
            time: Utc(facts.opened_at + end.duration),
            event: "tunnel_close",
            tunnel: TunnelFields::from(facts),
            reason: end.reason.label(),
            detail: format!("{:?}", end.reason),
            blame: end.reason.blame().label(),
            duration_ms: Millis(end.duration),
            bytes_from_client: end.from_client.bytes,
            bytes_from_backend: end.from_backend.bytes,
            messages_from_client: end.from_client.messages,
            messages_from_backend: end.from_backend.messages,
            close_code_client: end.from_client.close_code,
            close_code_backend: end.from_backend.close_code,
            closed_by: end.closed_by.map(Side::label),
        });
    }

    pub fn refused(&self, refusal: &Refusal) {
        self.write(|| Refused {
            time: Utc(refusal.at),
            event: "refused",
            id: refusal.id,
            scheme: scheme(refusal.scheme),
            client: refusal.client,
            status: refusal.status,
            reason: refusal.reason.label(),
            detail: format!("{:?}", refusal.reason),
            blame: refusal.reason.blame().label(),
            duration_ms: Millis(refusal.duration),
        });
    }

    pub fn call(&self, end: &CallEnd<'_>) {
        self.write(|| CallLine {
            time: Utc(end.at),
            event: "call",
            id: end.id,
            api: end.api,
            group: end.group,
            environment: end.environment,
            method: end.method,
            scheme: match end.scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            },
            client: end.client,
            backend: end.backend,
            status: end.status,
            reason: end.reason.label(),
            detail: format!("{:?}", end.reason),
            blame: end.reason.blame().label(),
            duration_ms: Millis(end.duration),
            bytes_from_client: end.bytes_from_client,
            bytes_from_backend: end.bytes_from_backend,
        });
    }

    /// Lines that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |sink| sink.dropped.dropped_lines() as u64)
    }

    /// Has the file opened anew before its next line, after a rotation moved it away.
    pub fn reopen(&self) {
        self.tell_file(None);
    }

    /// Whether lines can go to `target` without a restart: from one file to another, or where they go now.
    pub fn can_move_to(&self, target: &config::AccessLog) -> bool {
        match (&self.0, target) {
            (None, config::AccessLog::Off) => true,
            (Some(sink), config::AccessLog::Stdout) => sink.file.is_none(),
            (Some(sink), config::AccessLog::File(_)) => sink.file.is_some(),
            (None, _) | (Some(_), config::AccessLog::Off) => false,
        }
    }

    /// Sends lines to another file from the next one on.
    pub fn move_to(&self, target: &config::AccessLog) {
        if let config::AccessLog::File(path) = target {
            self.tell_file(Some(path.clone()));
        }
    }

    fn tell_file(&self, path: Option<PathBuf>) {
        let file = self.0.as_ref().and_then(|sink| sink.file.as_ref());
        if let Some(file) = file {
            // The writer lives as long as its guard; without it nothing is written anyway.
            drop(file.send(path));
        }
    }

    /// `line` is made only if somebody is to read it.
    fn write<T: Serialize>(&self, line: impl FnOnce() -> T) {
        let Some(sink) = &self.0 else { return };
        let mut queue = sink.queue.borrow_mut();
        let Queue { writer, line: text } = &mut *queue;
        text.clear();
        if let Err(error) = serde_json::to_writer(&mut *text, &line()) {
            debug_assert!(false, "a line of plain fields serialises: {error}");
            return;
        }
        text.push(b'\n');
        // A lossy writer takes every line or counts it as dropped.
        let taken = writer.write_all(text);
        debug_assert!(taken.is_ok(), "a lossy writer does not fail");
    }
}

#[derive(Serialize)]
struct TunnelOpen<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
}

#[derive(Serialize)]
struct TunnelClose<'a> {
    time: Utc,
    event: &'static str,
    #[serde(flatten)]
    tunnel: TunnelFields<'a>,
    reason: &'static str,
    detail: String,
    blame: &'static str,
    duration_ms: Millis,
    bytes_from_client: u64,
    bytes_from_backend: u64,
    messages_from_client: u64,
    messages_from_backend: u64,
    close_code_client: Option<u16>,
    close_code_backend: Option<u16>,
    closed_by: Option<&'static str>,
}

#[derive(Serialize)]
struct TunnelFields<'a> {
    id: RequestId,
    api: &'a str,
    group: &'a str,
    environment: &'a str,
    scheme: &'static str,
    client: SocketAddr,
    backend: SocketAddr,
    handshake_ms: Millis,
}

impl<'a> From<&'a TunnelFacts> for TunnelFields<'a> {
    fn from(facts: &'a TunnelFacts) -> Self {
        Self {
            id: facts.id,
            api: &facts.policy.api,
            group: &facts.policy.group,
            environment: &facts.policy.environment,
            scheme: scheme(facts.scheme),
            client: facts.client,
            backend: facts.backend,
            handshake_ms: Millis(facts.handshake),
        }
    }
}

#[derive(Serialize)]
struct Refused {
    time: Utc,
    event: &'static str,
    id: RequestId,
    scheme: &'static str,
    client: SocketAddr,
    status: Option<u16>,
    reason: &'static str,
    detail: String,
    blame: &'static str,
    duration_ms: Millis,
}

#[derive(Serialize)]
struct CallLine<'a> {
    time: Utc,
    event: &'static str,
    id: RequestId,
    api: &'a str,
    group: &'a str,
    environment: &'a str,
    method: &'a str,
    scheme: &'static str,
    client: SocketAddr,
    backend: Option<SocketAddr>,
    status: Option<u16>,
    reason: &'static str,
    detail: String,
    blame: &'static str,
    duration_ms: Millis,
    bytes_from_client: u64,
    bytes_from_backend: u64,
}

fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "ws",
        Scheme::Https => "wss",
    }
}

/// Milliseconds with three decimals.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.as_secs_f64() * 1e6).round() / 1e3)
    }
}

/// A file that can be asked, from any thread, to open its path anew.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    told: Receiver<Option<PathBuf>>,
}

impl LogFile {
    fn open(path: &Path, told: Receiver<Option<PathBuf>>) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append_to(path)?,
            told,
        })
    }
}

impl Write for LogFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        while let Ok(path) = self.told.try_recv() {
            let path = path.unwrap_or_else(|| self.path.clone());
            match append_to(&path) {
                Ok(file) => (self.file, self.path) = (file, path),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "access log not opened, the old file goes on");
                }
            }
        }
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::UNIX_EPOCH;

    use serde_json::Value;

    use super::*;
    use crate::close::Errno;
    use crate::config::LogFormat;
    use crate::relay::policy::{FrameMode, IdleEnd};

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
}

//! What the parsers make of mutated messages, held against an independent one: h11, a strict reader of RFC 9112.
//!
//! Whatever is accepted here has to be accepted there, with the same fields and the same end. That h11 takes more than we
//! do is no matter: we refuse what two readers could see differently.

use std::fmt::Write;
use std::process::Command;

use ringgate::proto::body::{BodyLength, BodyScanner};
use ringgate::proto::head::{Field, HeadLimits, Version, parse_request, parse_response};
use serde_json::{Value, json};

use crate::support::program::output_of;
use crate::support::python::{available_with, script};

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 1 << 15,
    field_bytes_max: 1 << 15,
    fields_bytes_max: 1 << 17,
};

/// Cases of each kind.
const CASES: usize = 6000;
/// Of so many the parsers have to be asked about the end, lest the mutations leave nothing to compare.
const ACCEPTED_MIN: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Answer,
    AnswerToHead,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::AnswerToHead => "answer-to-head",
        }
    }
}

#[test]
fn requests_are_framed_as_an_independent_parser_frames_them() {
    compare(Kind::Request, &REQUESTS);
}

#[test]
fn answers_are_framed_as_an_independent_parser_frames_them() {
    compare(Kind::Answer, &ANSWERS);
    compare(Kind::AnswerToHead, &ANSWERS);
}

fn compare(kind: Kind, seeds: &[&str]) {
    if !available_with("h11") {
        return;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let cases: Vec<_> = (0..CASES).map(|_| mutated(&mut random, seeds)).collect();
    let theirs = read_by_h11(kind, &cases);
    assert_eq!(theirs.len(), cases.len());
    let mut accepted = 0;
    for (case, theirs) in cases.iter().zip(theirs) {
        let Some(ours) = read(kind, case) else {
            continue;
        };
        accepted += 1;
        let shown = case.escape_ascii();
        if ours != theirs && explanation(kind, case, &ours, &theirs).is_none() {
            panic!("{kind:?} {shown}\n  is read as {ours}\n  h11 has    {theirs}");
        }
    }
    assert!(accepted >= ACCEPTED_MIN, "only {accepted} were accepted");
}

/// Why the two may differ on a case that is accepted here.
fn explanation(kind: Kind, case: &[u8], ours: &Value, theirs: &Value) -> Option<&'static str> {
    let refused = theirs.get("refused").is_some();
    let target = ours["line"][1].as_str().unwrap();
    let is_request = kind == Kind::Request;
    [
        (
            is_request && refused && case.starts_with(b"\r\n"),
            "RFC 9112 §2.2: empty lines before a request are passed over; h11 takes them for the end of a head",
        ),
        (
            is_request && refused && !target.is_ascii(),
            "raw bytes above 0x7f in a target are wrong, common, and read alike by everybody who takes them",
        ),
        (
            !is_request && ours["line"][0] == "101",
            "h11 refuses a 101 that it did not ask for; ours is held against the request elsewhere",
        ),
        (
            !is_request && target.is_empty() && same_but_reason(ours, theirs),
            "RFC 9112 §4: a reason phrase means nothing; httparse drops one that is not ASCII",
        ),
    ]
    .into_iter()
    .find_map(|(applies, why)| applies.then_some(why))
}

fn same_but_reason(ours: &Value, theirs: &Value) -> bool {
    let mut theirs = theirs.clone();
    if let Some(reason) = theirs.pointer_mut("/line/1") {
        *reason = json!("");
    }
    *ours == theirs
}

fn read_by_h11(kind: Kind, cases: &[Vec<u8>]) -> Vec<Value> {
    let mut text = String::new();
    for case in cases {
        write!(text, "{} ", kind.word()).unwrap();
        for byte in case {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cases");
    std::fs::write(&file, text).unwrap();
    let output = output_of(Command::new("python3").arg(script("framing.py")).arg(file));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let lines = output.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What we make of the first message of `bytes`, in h11's terms; `None` if it is refused, or its head not complete.
fn read(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let (line, version, fields, head_len, length) = match kind {
        Kind::Request => {
            let head = parse_request(bytes, &LIMITS).ok()??;
            let facts = head.check(bytes).ok()?;
            let line = [head.method, head.target].map(|span| text(span.of(bytes)));
            (line, head.version, head.fields, head.len, facts.body.into())
        }
        Kind::Answer | Kind::AnswerToHead => {
            let head = parse_response(bytes, &LIMITS).ok()??;
            let length = head.body(bytes, kind == Kind::AnswerToHead).ok()?;
            let line = [head.status.to_string(), text(head.reason.of(bytes))];
            (line, head.version, head.fields, head.len, length)
        }
    };
    let mut scanner = BodyScanner::new(length);
    let body_len = scanner.scan(bytes.get(head_len..)?).ok()?;
    let ending = match length {
        _ if scanner.is_complete() => "complete",
        BodyLength::UntilClose => "until close",
        BodyLength::None | BodyLength::Length(_) | BodyLength::Chunked => "incomplete",
    };
    let version = match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    };
    let fields: Vec<_> = fields.iter().map(|field| described(field, bytes)).collect();
    let [first, second] = line;
    let mut facts = json!({
        "line": [first, second, version],
        "fields": fields,
        "ending": ending,
    });
    if ending == "complete" {
        facts["end"] = json!(head_len + body_len);
    }
    Some(facts)
}

fn described(field: &Field, bytes: &[u8]) -> [String; 2] {
    let name = text(field.name.of(bytes)).to_ascii_lowercase();
    let value = text(field.value.of(bytes));
    // h11 gives the name of a coding in lower case.
    match &*name {
        "transfer-encoding" => [name, value.to_ascii_lowercase()],
        _ => [name, value],
    }
}

/// Each byte as the character of its number, as Python's latin-1 has it.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// A fixed sequence (xorshift), so that a failure can be seen again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

fn mutated(random: &mut Random, seeds: &[&str]) -> Vec<u8> {
    let mut message = random.one_of(seeds).as_bytes().to_vec();
    for _ in 0..random.below(4) {
        mutate(random, &mut message);
    }
    message
}

fn mutate(random: &mut Random, message: &mut Vec<u8>) {
    if message.is_empty() {
        return;
    }
    let at = random.below(message.len() + 1);
    let in_text = random.below(message.len());
    match random.below(9) {
        0 => message.insert(at, random.one_of(BYTES)),
        1 => message[in_text] = random.one_of(BYTES),
        2 => drop(message.drain(at..(at + random.below(3)).min(message.len()))),
        3 => message.truncate(at),
        4 => message.extend_from_slice(
            random
                .one_of(&["GET / HTTP/1.1\r\n", "\r\n", "x", "0\r\n\r\n"])
                .as_bytes(),
        ),
        5 => message[in_text] ^= 0x20,
        6 => duplicate_line(random, message),
        _ => {
            let line = random.one_of(FIELDS);
            insert_line(random, message, line);
        }
    }
}

fn line_starts(message: &[u8]) -> Vec<usize> {
    let ends = message.windows(2).enumerate();
    ends.filter(|(_, pair)| pair == b"\r\n")
        .map(|(at, _)| at + 2)
        .collect()
}

fn insert_line(random: &mut Random, message: &mut Vec<u8>, line: &str) {
    let starts = line_starts(message);
    if !starts.is_empty() {
        let at = random.one_of(&starts);
        message.splice(at..at, line.bytes());
    }
}

fn duplicate_line(random: &mut Random, message: &mut Vec<u8>) {
    let starts = line_starts(message);
    let lines: Vec<_> = starts
        .windows(2)
        .map(|pair| message[pair[0]..pair[1]].to_vec())
        .collect();
    if !lines.is_empty() {
        let line = lines[random.below(lines.len())].clone();
        let at = random.one_of(&starts);
        message.splice(at..at, line);
    }
}

/// Bytes that parsers stumble over.
const BYTES: &[u8] = b"\r\n\t\x0b\x0c\0\x1c\x7f\x80\x85\xa0\xff :;,\"'+-_0123456789aFx/?#@%[]()GH";

/// Lines that say how a message is framed, or seem to.
const FIELDS: &[&str] = &[
    "Content-Length: 5\r\n",
    "Content-Length: 05\r\n",
    "content-length:\t5 \r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length: 000000000000000000000005\r\n",
    "Content-Length : 5\r\n",
    "Content-Length:\r\n 5\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "TRANSFER-ENCODING:CHUNKED\t\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked;a=b\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding\t: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "Trailer: A\r\n",
    "Host: b\r\n",
    "A: b\r\n c\r\n",
    "5;a=\"b\"\r\nhello\r\n",
    "0\r\n\r\n",
    "00\r\nA: b\r\n\r\n",
    "ffffffffffffffff\r\n",
    "5 \r\nhello\r\n",
    "5\nhello\n",
];

const REQUESTS: [&str; 9] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a?b=c HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nX-Empty:\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT /a HTTP/1.0\r\nContent-Length: 12\r\n\r\nhello\r\nworld",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1A;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\nGET",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\n\r\n\r\n0;last\r\nA: b\r\nC:\t\r\n\r\n",
];

const ANSWERS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nServer: a\r\nX-Empty:\r\n\r\nall of the rest\r\n",
    "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1A;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\nHTTP",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\r\n\r\n000;last\r\nA: b\r\nC:\t\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    "HTTP/1.1 999 \u{e4}\r\nContent-Length: 1\r\n\r\na",
];

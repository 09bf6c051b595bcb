//! Whole messages, one behind the other: where each ends is what a naive reader of RFC 9112 finds, however they were cut.
#![forbid(unsafe_code)]

use super::super::body::{BodyError, BodyLength, BodyScanner};
use super::super::head::{self, HeadError, HeadLimits, HeadSeeker};
use super::pieces;

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 1 << 15,
    field_bytes_max: 1 << 15,
    fields_bytes_max: 1 << 17,
};

/// Requests of one connection; the first byte says where they are cut.
pub fn fuzz_request_framing(data: &[u8]) {
    if let [cuts, input @ ..] = data {
        check(*cuts, input, Kind::Requests);
    }
}

/// Responses of one connection, to HEAD or to something else.
pub fn fuzz_response_framing(data: &[u8]) {
    if let [cuts, is_head, input @ ..] = data {
        let to_head = is_head & 1 == 1;
        check(*cuts, input, Kind::Responses { to_head });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Requests,
    Responses { to_head: bool },
}

fn check(cuts: u8, input: &[u8], kind: Kind) {
    let whole = walk(0, input, kind);
    assert_eq!(walk(cuts, input, kind), whole, "cut by {cuts}");
    assert_eq!(walk(1, input, kind), whole, "byte by byte");
    let mut start = 0;
    for message in &whole.messages {
        let (before, rest) = input.split_at(message.head_end);
        let (_, head) = before.split_at(start);
        let expected = match message.has_no_body {
            true => Some(0),
            false => naive::body_len(head, rest, kind == Kind::Requests),
        };
        let found = message.end.map(|end| end - message.head_end);
        // Of a body that is refused, the naive reader may see an end.
        if found.is_some() || whole.error.is_none() {
            assert_eq!(found, expected, "{}", head.escape_ascii());
        }
        start = message.end.unwrap_or(input.len());
    }
}

/// What came of a stream of messages.
#[derive(Debug, PartialEq, Eq)]
struct Walk {
    messages: Vec<Message>,
    error: Option<Error>,
}

#[derive(Debug, PartialEq, Eq)]
struct Message {
    head_end: usize,
    /// The head alone says that nothing follows: a 204, say.
    has_no_body: bool,
    /// `None` for the last one, if its end has not come.
    end: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Error {
    Head(HeadError),
    Body(BodyError),
    /// After a 101 follows another protocol.
    Switched,
}

fn walk(cuts: u8, input: &[u8], kind: Kind) -> Walk {
    let mut reader = Reader {
        kind,
        at: 0,
        part: Part::Head(seeker(kind)),
        messages: Vec::new(),
    };
    let mut len = 0;
    let mut error = None;
    for piece in pieces(cuts, input) {
        len += piece.len();
        let (received, _) = input.split_at(len);
        error = reader.read(received).err();
        if error.is_some() {
            break;
        }
    }
    Walk {
        messages: reader.messages,
        error,
    }
}

fn seeker(kind: Kind) -> HeadSeeker {
    match kind {
        Kind::Requests => HeadSeeker::request(),
        Kind::Responses { .. } => HeadSeeker::response(),
    }
}

struct Reader {
    kind: Kind,
    at: usize,
    part: Part,
    messages: Vec<Message>,
}

enum Part {
    Head(HeadSeeker),
    Body(BodyScanner),
}

impl Reader {
    /// Reads on, in all that was received so far.
    fn read(&mut self, received: &[u8]) -> Result<(), Error> {
        loop {
            let (_, unread) = received.split_at(self.at);
            match &mut self.part {
                Part::Head(seeker) => match head(self.kind, seeker, unread)? {
                    None => return Ok(()),
                    Some((len, length)) => {
                        self.at += len;
                        self.messages.push(Message {
                            head_end: self.at,
                            has_no_body: length == BodyLength::None,
                            end: None,
                        });
                        self.part = Part::Body(BodyScanner::new(length));
                    }
                },
                Part::Body(scanner) => {
                    self.at += scanner.scan(unread).map_err(Error::Body)?;
                    if !scanner.is_complete() {
                        return Ok(());
                    }
                    if let Some(message) = self.messages.last_mut() {
                        message.end = Some(self.at);
                    }
                    self.part = Part::Head(seeker(self.kind));
                }
            }
        }
    }
}

/// Length of the head, and what it says of the body.
fn head(
    kind: Kind,
    seeker: &mut HeadSeeker,
    unread: &[u8],
) -> Result<Option<(usize, BodyLength)>, Error> {
    match kind {
        Kind::Requests => {
            let head = head::resume_request(seeker, unread, &LIMITS).map_err(Error::Head)?;
            let Some(head) = head else { return Ok(None) };
            let facts = head.check(unread).map_err(Error::Head)?;
            Ok(Some((head.len, facts.body.into())))
        }
        Kind::Responses { to_head } => {
            let head = head::resume_response(seeker, unread, &LIMITS).map_err(Error::Head)?;
            let Some(head) = head else { return Ok(None) };
            if head.status == 101 {
                return Err(Error::Switched);
            }
            let length = head.body(unread, to_head).map_err(Error::Head)?;
            Ok(Some((head.len, length)))
        }
    }
}

/// The rules of RFC 9112 §6 and §7 once more, over text that is all there, without a thought for speed.
mod naive {
    /// The length of the body at the front of `rest`; `None` if it ends outside of it, or with the connection.
    pub(super) fn body_len(head: &[u8], rest: &[u8], is_request: bool) -> Option<usize> {
        let head = String::from_utf8_lossy(head).to_lowercase();
        let values = |name: &str| -> Vec<String> {
            let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
            let named = fields.filter(|(found, _)| *found == name);
            named
                .map(|(_, value)| value.trim_matches([' ', '\t']).to_owned())
                .collect()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        match (&lengths[..], &codings[..]) {
            ([], []) if is_request => Some(0),
            ([], []) => None,
            ([length], []) => {
                let length = length.parse::<u64>().ok();
                assert!(length.is_some(), "a length is a number: {lengths:?}");
                let length = length.and_then(|length| usize::try_from(length).ok());
                length.filter(|length| *length <= rest.len())
            }
            ([], [coding]) => {
                assert_eq!(coding, "chunked");
                chunked_len(rest)
            }
            _ => {
                assert!(lengths.is_empty() && codings.is_empty(), "one says it");
                None
            }
        }
    }

    fn chunked_len(body: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let line = line(body, at)?;
            at += line.len() + 2;
            let text = String::from_utf8_lossy(line);
            let digits = text.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).ok()?;
            if size == 0 {
                break;
            }
            at = at.checked_add(size)?.checked_add(2)?;
        }
        loop {
            let line = line(body, at)?;
            at += line.len() + 2;
            if line.is_empty() {
                return Some(at);
            }
        }
    }

    /// What stands before the next CRLF.
    fn line(body: &[u8], at: usize) -> Option<&[u8]> {
        let rest = body.get(at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        rest.get(..end)
    }
}

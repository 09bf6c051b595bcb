//! What holds for any bytes whatever, asserted: called by the fuzz targets, the property tests and the replay of corpora.
//!
//! The first bytes of `data` choose settings and where to cut, the others are the input.
#![forbid(unsafe_code)]

mod framing;

use std::fmt::Debug;

use super::body::{BodyLength, BodyScanner};
use super::frame::{FrameError, FrameScanner, Masking, SIZE_BOUNDS, Tally};
use super::handshake::{self, Extensions, Intent};
use super::head::{self, Field, HeadError, HeadLimits, HeadSeeker, RequestHead, is_token};
use super::proxy_protocol::{self, HEADER_BYTES_MAX};
pub use framing::{fuzz_request_framing, fuzz_response_framing};

/// Prefixes longer than this are not all tried, as that takes time by the square of it.
const PREFIX_BYTES_MAX: usize = 512;

/// Heads: a prefix says *more* or what the whole says, and so does a seeker that has seen some of it before.
pub fn fuzz_head(data: &[u8]) {
    let [cuts, small, input @ ..] = data else {
        return;
    };
    let unit = usize::from(*small) + 1;
    let limits = HeadLimits {
        target_bytes_max: unit,
        field_bytes_max: unit * 2,
        fields_bytes_max: unit * 3,
    };
    let request = check_cuts(
        *cuts,
        input,
        |bytes| head::parse_request(bytes, &limits),
        &mut HeadSeeker::request(),
        |seeker, bytes| head::resume_request(seeker, bytes, &limits),
    );
    if let Ok(Some(request)) = request {
        check_fields(&request.fields, input, request.len);
        check_facts(&request, input);
    }
    let response = check_cuts(
        *cuts,
        input,
        |bytes| head::parse_response(bytes, &limits),
        &mut HeadSeeker::response(),
        |seeker, bytes| head::resume_response(seeker, bytes, &limits),
    );
    if let Ok(Some(response)) = response {
        check_fields(&response.fields, input, response.len);
        let _length = response.body(input, false);
    }
}

/// What an attempt to parse a head gave.
type Parsed<T> = Result<Option<T>, HeadError>;

fn check_cuts<T: Debug + PartialEq>(
    cuts: u8,
    input: &[u8],
    parse: impl Fn(&[u8]) -> Parsed<T>,
    seeker: &mut HeadSeeker,
    resume: impl Fn(&mut HeadSeeker, &[u8]) -> Parsed<T>,
) -> Parsed<T> {
    let whole = parse(input);
    for len in 0..=input.len().min(PREFIX_BYTES_MAX) {
        let (prefix, _) = input.split_at(len);
        let parsed = parse(prefix);
        assert!(
            parsed == Ok(None) || parsed == whole,
            "the first {len} bytes say {parsed:?}, all say {whole:?}"
        );
    }
    let mut len = 0;
    let resumed = pieces(cuts, input).find_map(|piece| {
        len += piece.len();
        let (prefix, _) = input.split_at(len);
        resume(seeker, prefix).transpose()
    });
    assert_eq!(resumed.transpose(), whole, "resumed against at once");
    whole
}

fn check_fields(fields: &[Field], input: &[u8], head_len: usize) {
    for field in fields {
        assert!(is_token(field.name.of(input)), "a name is a token");
        let value = field.value.of(input);
        let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        assert!(!value.iter().any(breaks), "a value is one line");
        assert!(field.value.end as usize <= head_len, "inside the head");
    }
}

fn check_facts(request: &RequestHead, input: &[u8]) {
    let (head, _) = input.split_at(request.len);
    let facts = request.check(head);
    assert_eq!(facts, request.check(input), "what follows changes nothing");
    if let Ok(facts) = facts {
        assert!(!facts.path_of(input).is_empty(), "there is always a path");
        let host = facts.host.map(|host| host.of(input));
        assert!(
            host.is_none_or(|host| !host.is_empty()),
            "a host has a name"
        );
    }
}

/// PROXY headers: a prefix says *more* or what the whole says, and what follows a header changes nothing.
pub fn fuzz_proxy_protocol(input: &[u8]) {
    let whole = proxy_protocol::decode(input);
    for len in 0..=input.len().min(PREFIX_BYTES_MAX) {
        let (prefix, _) = input.split_at(len);
        let decoded = proxy_protocol::decode(prefix);
        assert!(
            decoded == Ok(None) || decoded == whole,
            "the first {len} bytes say {decoded:?}, all say {whole:?}"
        );
    }
    match whole {
        Ok(Some(header)) => {
            assert!(header.len <= input.len().min(HEADER_BYTES_MAX));
            let (exact, _) = input.split_at(header.len);
            assert_eq!(proxy_protocol::decode(exact), whole, "nothing is missing");
        }
        Ok(None) => assert!(input.len() < HEADER_BYTES_MAX, "it has an end"),
        Err(_) => {}
    }
}

/// Handshakes: nothing but a 101 with the right answer to the key makes an upgrade. The response follows the request.
pub fn fuzz_handshake(input: &[u8]) {
    let limits = HeadLimits {
        target_bytes_max: 1 << 15,
        field_bytes_max: 1 << 15,
        fields_bytes_max: 1 << 17,
    };
    let Ok(Some(request)) = head::parse_request(input, &limits) else {
        return;
    };
    let Ok(facts) = request.check(input) else {
        return;
    };
    let (request_buf, answer) = input.split_at(request.len);
    let Ok(offer) = handshake::check_request(&request, &facts, request_buf) else {
        return;
    };
    assert_eq!(handshake::intent(&request, input), Intent::Upgrade);
    assert!(facts.body.is_empty(), "an upgrade has no body");
    let Ok(Some(response)) = head::parse_response(answer, &limits) else {
        return;
    };
    let upgraded = handshake::check_answer(&response, answer, &offer, request_buf);
    if let Ok(upgraded) = upgraded {
        assert_eq!(response.status, 101);
        let accept: Vec<_> = response.values(answer, "sec-websocket-accept").collect();
        assert_eq!(accept, [&offer.accept]);
        let deflate = upgraded.extensions() == Extensions::Deflate;
        assert!(!deflate || offer.has_deflate(request_buf), "it was offered");
    }
}

/// Bodies: where one ends, or what is wrong with it, does not depend on how it was cut.
pub fn fuzz_body(data: &[u8]) {
    let [kind, cuts, input @ ..] = data else {
        return;
    };
    let length = match kind % 4 {
        0 => BodyLength::None,
        1 => BodyLength::Length(u64::from(*kind)),
        2 => BodyLength::UntilClose,
        _ => BodyLength::Chunked,
    };
    let mut whole = BodyScanner::new(length);
    let whole_len = whole.scan(input);

    let mut cut = BodyScanner::new(length);
    let cut_len = pieces(*cuts, input).try_fold(0, |len, piece| Ok(len + cut.scan(piece)?));
    assert_eq!(cut_len, whole_len);
    assert_eq!(cut.is_complete(), whole.is_complete());
    assert_eq!(cut.is_complete_at_eof(), whole.is_complete_at_eof());
    if let Ok(len) = whole_len {
        assert!(
            len == input.len() || whole.is_complete(),
            "only an end stops it"
        );
    }
}

/// Frames: all at once, in pieces, and by a reader that is written for clarity alone, the same is passed on and counted.
pub fn fuzz_frame(data: &[u8]) {
    let [kind, limit, cuts, input @ ..] = data else {
        return;
    };
    let masking = if kind & 1 == 0 {
        Masking::Required
    } else {
        Masking::Forbidden
    };
    let extensions = match (kind >> 1) % 3 {
        0 => Extensions::None,
        1 => Extensions::Deflate,
        _ => Extensions::Unknown,
    };
    let message_bytes_max = u64::from(*limit) * 4;
    let expected = naive::walk(input, masking, extensions, message_bytes_max);
    for cuts in [0, *cuts] {
        let mut scanner = FrameScanner::new(masking, extensions);
        let seen = scan_pieces(&mut scanner, cuts, input, message_bytes_max);
        assert_eq!(seen, expected, "cut by {cuts}");
    }
}

/// What came of a stream of frames.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walked {
    forwarded: usize,
    tally: Tally,
    violation: Option<FrameError>,
    at_boundary: bool,
    close_seen: bool,
}

fn scan_pieces(
    scanner: &mut FrameScanner,
    cuts: u8,
    input: &[u8],
    message_bytes_max: u64,
) -> Walked {
    let mut walked = Walked::default();
    let mut forwarded = Vec::new();
    for piece in pieces(cuts, input) {
        let mut tally = Tally::default();
        let scan = scanner.scan(piece, message_bytes_max, &mut tally);
        let (forward, rest) = piece.split_at(scan.forward);
        forwarded.extend_from_slice(scan.held.as_slice());
        forwarded.extend_from_slice(forward);
        add(&mut walked.tally, tally);
        if walked.violation.is_none() && scan.violation.is_some() {
            let as_it_came = [&forwarded, scanner.held(), rest].concat();
            assert!(input.starts_with(&as_it_came), "nothing is lost");
        } else if walked.violation.is_some() {
            assert_eq!((scan.forward, scan.violation), (0, walked.violation));
        }
        walked.violation = scan.violation;
    }
    assert!(input.starts_with(&forwarded), "in order and unchanged");
    walked.forwarded = forwarded.len();
    walked.at_boundary = scanner.at_boundary();
    walked.close_seen = scanner.close_seen();
    if walked.violation.is_none() && !walked.close_seen {
        let all = [&forwarded, scanner.held()].concat();
        assert_eq!(all, input, "what is not forwarded is held");
    }
    walked
}

fn add(sum: &mut Tally, tally: Tally) {
    sum.frames += tally.frames;
    sum.messages += tally.messages;
    for (sum, n) in sum.sizes.classes.iter_mut().zip(tally.sizes.classes) {
        *sum += n;
    }
    sum.sizes.bytes += tally.sizes.bytes;
    sum.pings += tally.pings;
    sum.pongs += tally.pongs;
    sum.close = sum.close.or(tally.close);
}

/// `input` in pieces of sizes that `cuts` chooses; in one for 0.
fn pieces(cuts: u8, input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    let mut state = u32::from(cuts);
    std::iter::from_fn(move || {
        // A linear congruential generator; its high bits are the better ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = match cuts {
            0 => rest.len(),
            1 => 1,
            _ => 1 + (state >> 28) as usize,
        };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The rules of RFC 6455 §5 once more, over the whole input, without a thought for speed.
mod naive {
    use super::{Extensions, FrameError, Masking, SIZE_BOUNDS, Tally, Walked};

    pub(super) fn walk(
        mut input: &[u8],
        masking: Masking,
        extensions: Extensions,
        message_bytes_max: u64,
    ) -> Walked {
        let mut walked = Walked {
            at_boundary: true,
            ..Walked::default()
        };
        let mut message = None;
        while !walked.close_seen && walked.at_boundary {
            match frame(input, masking, extensions, message, message_bytes_max) {
                Err(error) => {
                    walked.violation = Some(error);
                    return walked;
                }
                Ok(None) => return walked,
                Ok(Some(frame)) => {
                    let present = frame.len.min(input.len() as u128);
                    let (bytes, after) = input.split_at(usize::try_from(present).unwrap_or(0));
                    walked.forwarded += bytes.len();
                    walked.at_boundary = frame.len == present;
                    if walked.at_boundary {
                        count(&mut walked, &frame, bytes);
                    }
                    message = frame.message;
                    input = after;
                }
            }
        }
        walked
    }

    struct Frame {
        opcode: u8,
        fin: bool,
        header_len: usize,
        len: u128,
        message: Option<u64>,
        /// Payload of the message so far, for a frame of one.
        message_bytes: u64,
    }

    /// The frame that `input` begins with; `None` if its header is not complete.
    fn frame(
        input: &[u8],
        masking: Masking,
        extensions: Extensions,
        message: Option<u64>,
        message_bytes_max: u64,
    ) -> Result<Option<Frame>, FrameError> {
        let [first, second, rest @ ..] = input else {
            return Ok(None);
        };
        let (fin, rsv, opcode) = (first >> 7 == 1, first >> 4 & 7, first & 15);
        let (masked, short) = (second >> 7 == 1, second & 127);
        let rsv_allowed = match extensions {
            Extensions::None => 0,
            Extensions::Deflate if opcode == 1 || opcode == 2 => 4,
            Extensions::Deflate => 0,
            Extensions::Unknown => 7,
        };
        let control = opcode >= 8;
        let size = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let rules = [
            (rsv & !rsv_allowed != 0, FrameError::ReservedBits),
            (opcode == 0 && message.is_none(), FrameError::Fragmentation),
            (
                (opcode == 1 || opcode == 2) && message.is_some(),
                FrameError::Fragmentation,
            ),
            (matches!(opcode, 3..=7 | 11..), FrameError::ReservedOpcode),
            (control && !fin, FrameError::FragmentedControl),
            (
                masked != (masking == Masking::Required),
                FrameError::Masking,
            ),
            (control && short > 125, FrameError::ControlTooLong),
            (opcode == 8 && short == 1, FrameError::CloseBody),
        ];
        if let Some((_, error)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(error);
        }
        let Some((long, rest)) = rest.split_at_checked(size) else {
            return Ok(None);
        };
        let long = long.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let payload = match short {
            126 if long < 126 => return Err(FrameError::Length),
            127 if long < 65536 || long > i64::MAX as u64 => return Err(FrameError::Length),
            126 | 127 => long,
            _ => u64::from(short),
        };
        let key_len = if masked { 4 } else { 0 };
        if rest.len() < key_len {
            return Ok(None);
        }
        let sum = u128::from(message.unwrap_or(0)) + u128::from(payload);
        let message_bytes = u64::try_from(sum).unwrap_or(u64::MAX);
        let message = match control {
            true => message,
            false => {
                if message_bytes_max > 0 && sum > u128::from(message_bytes_max) {
                    return Err(FrameError::MessageTooBig);
                }
                (!fin).then_some(message_bytes)
            }
        };
        let header_len = 2 + size + key_len;
        Ok(Some(Frame {
            opcode,
            fin,
            header_len,
            len: header_len as u128 + u128::from(payload),
            message,
            message_bytes,
        }))
    }

    fn count(walked: &mut Walked, frame: &Frame, bytes: &[u8]) {
        let tally: &mut Tally = &mut walked.tally;
        tally.frames += 1;
        match frame.opcode {
            8 => {
                let (header, payload) = bytes.split_at(frame.header_len);
                let key = header.get(2..).filter(|key| !key.is_empty());
                let key = key.unwrap_or(&[0; 4]);
                let plain: Vec<u8> = payload.iter().zip(key).map(|(a, b)| a ^ b).collect();
                let code = plain.first_chunk().map(|code| u16::from_be_bytes(*code));
                tally.close = Some(code);
                walked.close_seen = true;
            }
            9 => tally.pings += 1,
            10 => tally.pongs += 1,
            _ if frame.fin => {
                tally.messages += 1;
                let class = SIZE_BOUNDS
                    .iter()
                    .position(|max| frame.message_bytes <= *max);
                tally.sizes.classes[class.unwrap_or(SIZE_BOUNDS.len())] += 1;
                tally.sizes.bytes += frame.message_bytes;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Runs `target` on every committed input for it.
    #[track_caller]
    fn replay(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let files = fs::read_dir(corpus.join(name)).unwrap();
        let inputs: Vec<_> = files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert!(!inputs.is_empty(), "a target has inputs to start from");
        inputs.iter().for_each(|input| target(input));
    }

    #[test]
    fn the_corpora_hold() {
        replay("head", fuzz_head);
        replay("handshake", fuzz_handshake);
        replay("body", fuzz_body);
        replay("frame", fuzz_frame);
        replay("proxy_protocol", fuzz_proxy_protocol);
        replay("request_framing", fuzz_request_framing);
        replay("response_framing", fuzz_response_framing);
    }
}

use proptest::prelude::*;

use super::*;
use crate::proto::fuzz::fuzz_body;

#[track_caller]
fn check(length: BodyLength, bytes: &str, expected: Result<(usize, bool), BodyError>) {
    let mut scanner = BodyScanner::new(length);
    let scanned = scanner.scan(bytes.as_bytes());
    let scanned = scanned.map(|len| (len, scanner.is_complete()));
    assert_eq!(scanned, expected, "{bytes:?}");
}

#[test]
fn a_length_is_counted_down() {
    check(BodyLength::None, "abc", Ok((0, true)));
    check(BodyLength::Length(0), "abc", Ok((0, true)));
    check(BodyLength::Length(3), "abc", Ok((3, true)));
    check(BodyLength::Length(2), "abc", Ok((2, true)));
    check(BodyLength::Length(u64::MAX), "abc", Ok((3, false)));
}

/// However the bytes are cut, what the body says is the same.
#[test]
fn data_is_told_from_the_framing_around_it() {
    let chunked = "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\nnext";
    for (length, bytes, expected) in [
        (BodyLength::None, "abc", ""),
        (BodyLength::Length(2), "abc", "ab"),
        (BodyLength::UntilClose, "abc", "abc"),
        (BodyLength::Chunked, chunked, "abc0123456789"),
    ] {
        for cut in 0..=bytes.len() {
            let mut scanner = BodyScanner::new(length);
            let mut data = Vec::new();
            let (first, second) = bytes.split_at(cut);
            for piece in [first, second] {
                let decoded = scanner.decode(piece.as_bytes(), &mut |bytes| data.extend(bytes));
                assert!(decoded.is_ok(), "{bytes:?} cut at {cut}");
            }
            assert_eq!(
                String::from_utf8(data).unwrap(),
                expected,
                "{bytes:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn only_a_body_until_close_is_ended_by_it() {
    check(BodyLength::UntilClose, "abc", Ok((3, false)));
    assert!(BodyScanner::new(BodyLength::UntilClose).is_complete_at_eof());
    assert!(!BodyScanner::new(BodyLength::Chunked).is_complete_at_eof());
    assert!(!BodyScanner::new(BodyLength::Length(1)).is_complete_at_eof());
}

#[test]
fn chunks_end_with_the_empty_line_after_the_last() {
    for (body, complete) in [
        ("", false),
        ("0\r\n", false),
        ("0\r\n\r", false),
        ("0\r\n\r\n", true),
        ("000\r\n\r\n", true),
        ("3\r\nabc\r\n0\r\n\r\n", true),
        ("A;x=\"y z\";q\r\n0123456789\r\n0;last\r\n\r\n", true),
        ("2\r\n\r\n\r\n0\r\n\r\n", true),
        ("0\r\nA: b\r\nC:\t\r\n\r\n", true),
        (
            "0\r\nHosts: b\r\nContent-Length-Of-What-Was-Sent: 5\r\n\r\n",
            true,
        ),
        ("fffffffffffffff\r\n", false),
    ] {
        check(BodyLength::Chunked, body, Ok((body.len(), complete)));
    }
    check(BodyLength::Chunked, "0\r\n\r\nGET", Ok((5, true)));
}

#[test]
fn chunks_that_others_could_read_differently_are_refused() {
    for (body, error) in [
        ("\r\n", BodyError::ChunkSize),
        (";x\r\n", BodyError::ChunkSize),
        ("g\r\n", BodyError::ChunkSize),
        ("0x1\r\n", BodyError::ChunkSize),
        ("-1\r\n", BodyError::ChunkSize),
        (" 1\r\n", BodyError::ChunkSize),
        ("1 \r\n", BodyError::ChunkSize),
        ("1\n", BodyError::ChunkSize),
        ("0000000000000000", BodyError::ChunkSize),
        ("1;a\nb", BodyError::ChunkExtension),
        ("1;a\0b", BodyError::ChunkExtension),
        ("1\ra", BodyError::LineEnd),
        ("1;\r\r\n", BodyError::LineEnd),
        ("1\r\nab", BodyError::LineEnd),
        ("1\r\na\n", BodyError::LineEnd),
        ("1\r\na\r\r", BodyError::LineEnd),
        ("0\r\n\n", BodyError::Trailer),
        ("0\r\n: a\r\n", BodyError::Trailer),
        ("0\r\nA: b\r\nContent-Length: 5\r\n\r\n", BodyError::Trailer),
        ("0\r\ntransfer-ENCODING:chunked\r\n\r\n", BodyError::Trailer),
        ("0\r\nHost: a\r\n\r\n", BodyError::Trailer),
        (
            "0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
            BodyError::Trailer,
        ),
        ("0\r\nA\r\n", BodyError::Trailer),
        ("0\r\nA: b\r\n c\r\n", BodyError::Trailer),
        ("FFFFFFFFFFFFFFFF\r\n", BodyError::ChunkSize),
        ("+1\r\n", BodyError::ChunkSize),
        ("1_0\r\n", BodyError::ChunkSize),
        ("1\t;a\r\n", BodyError::ChunkSize),
        ("1\x0b\r\n", BodyError::ChunkSize),
        ("1;a\x0b\r\n", BodyError::ChunkExtension),
        ("0\r\na : b\r\n", BodyError::Trailer),
        ("0\r\n a: b\r\n", BodyError::Trailer),
        ("0\r\na: b\0\r\n", BodyError::Trailer),
        ("0\r\na: b\n", BodyError::Trailer),
        ("0\r\na: b\r\r", BodyError::LineEnd),
        ("0\r\n\ra", BodyError::LineEnd),
    ] {
        check(BodyLength::Chunked, body, Err(error));
    }
}

#[test]
fn what_is_no_content_is_bounded() {
    let extension = format!("1;{}\r\n", "x".repeat(257));
    check(
        BodyLength::Chunked,
        &extension,
        Err(BodyError::ChunkExtension),
    );
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(200));
    let body = chunk.repeat(42);
    check(BodyLength::Chunked, &body, Err(BodyError::ChunkExtension));
    // Signatures of chunks, as some clients of object stores send them, are little beside the data.
    let chunk = format!("400;{}\r\n{}\r\n", "x".repeat(200), "a".repeat(0x400));
    let body = chunk.repeat(100);
    check(BodyLength::Chunked, &body, Ok((body.len(), false)));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(8 * 1024));
    check(
        BodyLength::Chunked,
        &trailers,
        Err(BodyError::TrailersTooLong),
    );
}

#[test]
fn a_refused_body_stays_refused() {
    let mut scanner = BodyScanner::new(BodyLength::Chunked);
    assert_eq!(scanner.scan(b"x"), Err(BodyError::ChunkSize));
    assert_eq!(scanner.scan(b"0\r\n\r\n"), Err(BodyError::ChunkSize));
    assert!(!scanner.is_complete_at_eof());
}

proptest! {
    #[test]
    fn the_end_of_what_was_encoded_is_found(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cuts in any::<u8>(),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let mut scanner = BodyScanner::new(BodyLength::Chunked);
        prop_assert_eq!(scanner.scan(&[&body[..], b"GET /"].concat()), Ok(body.len()));
        prop_assert!(scanner.is_complete());
        fuzz_body(&[&[3, cuts], &body[..]].concat());
    }

    #[test]
    fn the_result_does_not_depend_on_where_a_body_was_cut(
        kind in any::<u8>(), cuts in any::<u8>(), body in "([0-9a-f]{1,2}(;[a-z]{0,3})?\r?\n?|[a-z: ]{0,9}|\r\n|0\r\n){0,9}",
    ) {
        fuzz_body(&[&[kind, cuts], body.as_bytes()].concat());
    }
}

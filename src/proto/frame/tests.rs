use proptest::prelude::*;

use super::*;
use crate::proto::fuzz::fuzz_frame;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame with the shortest length; masked if `key` is given.
fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mask_bit = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(mask_bit | u8::try_from(len).unwrap()),
        Ok(len) => {
            frame.push(mask_bit | 126);
            frame.extend(len.to_be_bytes());
        }
        Err(_) => {
            frame.push(mask_bit | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(key.into_iter().flatten());
    let key = key.unwrap_or_default().into_iter().cycle();
    frame.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    frame
}

fn from_backend(extensions: Extensions) -> FrameScanner {
    FrameScanner::new(Masking::Forbidden, extensions)
}

/// Scans `frames` from a backend with no extension: what is forwarded and counted, or the rule that the last one breaks.
#[track_caller]
fn check(frames: &[&[u8]], expected: Result<Tally, FrameError>) {
    check_with(&mut from_backend(Extensions::None), frames, expected);
}

#[track_caller]
fn check_with(scanner: &mut FrameScanner, frames: &[&[u8]], expected: Result<Tally, FrameError>) {
    let bytes = frames.concat();
    let mut tally = Tally::default();
    let scan = scanner.scan(&bytes, 0, &mut tally);
    let refused = frames.last().map_or(0, |frame| frame.len());
    match expected {
        Ok(expected) => {
            assert_eq!((scan.violation, scan.forward), (None, bytes.len()));
            tally.sizes = expected.sizes;
            assert_eq!(tally, expected);
        }
        Err(error) => {
            assert_eq!(scan.violation, Some(error));
            assert_eq!(scan.forward, bytes.len() - refused, "up to the bad frame");
        }
    }
    assert!(scanner.at_boundary());
}

fn counted(frames: u32, messages: u32) -> Tally {
    Tally {
        frames,
        messages,
        ..Tally::default()
    }
}

#[test]
fn messages_and_control_frames_are_counted() {
    let text = frame(0x81, b"hello", None);
    let ping = frame(0x89, b"", None);
    let pong = frame(0x8a, &[7; 125], None);
    let start = frame(0x02, b"", None);
    let middle = frame(0x00, &[1; 126], None);
    let end = frame(0x80, &[2; 65536], None);
    check(
        &[&text, &ping, &start, &middle, &ping, &end, &pong],
        Ok(Tally {
            frames: 7,
            messages: 2,
            pings: 2,
            pongs: 1,
            close: None,
            ..Tally::default()
        }),
    );
}

#[test]
fn sizes_are_those_of_whole_messages() {
    let small = frame(0x81, &[1; 64], None);
    let ping = frame(0x89, &[1; 100], None);
    let start = frame(0x02, &[1; 60], None);
    let end = frame(0x80, &[2; 5], None);
    let mut tally = Tally::default();
    let bytes = [&small[..], &start, &ping, &end, &small].concat();
    let _scan = from_backend(Extensions::None).scan(&bytes, 0, &mut tally);
    assert_eq!(tally.sizes.classes[..3], [2, 1, 0]);
    assert_eq!(tally.sizes.bytes, 64 + 65 + 64);
}

#[test]
fn reserved_bits_are_what_was_negotiated() {
    let compressed = frame(0xc1, b"a", None);
    let compressed_start = frame(0x41, b"a", None);
    let continued = frame(0x80, b"a", None);
    let continued_compressed = frame(0xc0, b"a", None);
    let marked_ping = frame(0xc9, b"", None);
    for rsv in [0x10, 0x20, 0x40] {
        let marked = frame(0x81 | rsv, b"a", None);
        check(&[&marked], Err(FrameError::ReservedBits));
        let mut unknown = from_backend(Extensions::Unknown);
        check_with(&mut unknown, &[&marked], Ok(counted(1, 1)));
    }
    let deflate = || from_backend(Extensions::Deflate);
    check_with(&mut deflate(), &[&compressed], Ok(counted(1, 1)));
    check_with(
        &mut deflate(),
        &[&compressed_start, &continued],
        Ok(counted(2, 1)),
    );
    check_with(
        &mut deflate(),
        &[&compressed_start, &continued_compressed],
        Err(FrameError::ReservedBits),
    );
    check_with(
        &mut deflate(),
        &[&marked_ping],
        Err(FrameError::ReservedBits),
    );
    check_with(
        &mut deflate(),
        &[&frame(0xa1, b"a", None)],
        Err(FrameError::ReservedBits),
    );
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in (3..=7).chain(11..=15) {
        let frame = frame(0x80 | opcode, b"", None);
        check(&[&frame], Err(FrameError::ReservedOpcode));
    }
}

#[test]
fn masking_is_as_the_direction_has_it() {
    let masked = frame(0x81, b"a", Some(KEY));
    let plain = frame(0x81, b"a", None);
    check(&[&plain, &masked], Err(FrameError::Masking));
    let mut from_client = FrameScanner::new(Masking::Required, Extensions::None);
    check_with(
        &mut from_client,
        &[&masked, &plain],
        Err(FrameError::Masking),
    );
}

#[test]
fn fragmented_control_frames_are_refused() {
    for opcode in [8, 9, 10] {
        let frame = frame(opcode, b"", None);
        check(&[&frame], Err(FrameError::FragmentedControl));
    }
}

#[test]
fn long_control_frames_are_refused() {
    for opcode in [8, 9, 10] {
        let frame = frame(0x80 | opcode, &[0; 126], None);
        check(&[&frame], Err(FrameError::ControlTooLong));
    }
}

#[test]
fn fragments_have_a_message_of_their_own() {
    let text = frame(0x81, b"a", None);
    let start = frame(0x01, b"a", None);
    let end = frame(0x80, b"a", None);
    check(&[&end], Err(FrameError::Fragmentation));
    check(&[&text, &end], Err(FrameError::Fragmentation));
    check(&[&start, &text], Err(FrameError::Fragmentation));
    check(&[&start, &start], Err(FrameError::Fragmentation));
    check(&[&start, &end, &end], Err(FrameError::Fragmentation));
}

#[test]
fn lengths_have_their_shortest_form() {
    for header in [
        &[0x82, 126, 0, 125][..],
        &[0x82, 126, 0, 0],
        &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        check(&[header], Err(FrameError::Length));
    }
}

#[test]
fn the_code_of_a_close_is_read_wherever_it_is_cut() {
    for (key, masking) in [(None, Masking::Forbidden), (Some(KEY), Masking::Required)] {
        let close = frame(0x88, b"\x10\xe1gone", key);
        for cut in 0..=close.len() {
            let (start, end) = close.split_at(cut);
            let mut scanner = FrameScanner::new(masking, Extensions::None);
            let mut tally = Tally::default();
            let _forwarded_in_part = scanner.scan(start, 0, &mut tally);
            assert_eq!(scanner.close_seen(), end.is_empty());
            let _the_rest = scanner.scan(end, 0, &mut tally);
            assert_eq!(tally.close, Some(Some(4321)), "cut at {cut}");
            assert!(scanner.close_seen() && scanner.at_boundary());
        }
    }
}

#[test]
fn a_close_without_code_is_one_and_half_a_code_is_none() {
    let mut tally = Tally::default();
    let scan = from_backend(Extensions::None).scan(&frame(0x88, b"", None), 0, &mut tally);
    assert_eq!((scan.forward, tally.close), (2, Some(None)));
    check(&[&frame(0x88, b"a", None)], Err(FrameError::CloseBody));
}

#[test]
fn what_follows_a_close_is_discarded() {
    let close = frame(0x88, b"\x03\xe8", None);
    let mut scanner = from_backend(Extensions::None);
    let mut tally = Tally::default();
    let scan = scanner.scan(&[&close[..], b"\xff\xff\xff"].concat(), 0, &mut tally);
    assert_eq!((scan.forward, scan.violation), (close.len(), None));
    let scan = scanner.scan(b"\xff\xff\xff", 0, &mut tally);
    assert_eq!((scan.forward, scan.violation), (0, None));
    assert_eq!((tally.frames, scanner.held()), (1, &[][..]));
}

#[test]
fn an_incomplete_header_is_held_until_it_is_complete() {
    let frame = frame(0x82, &[1; 300], Some(KEY));
    let header_len = 8;
    let mut scanner = FrameScanner::new(Masking::Required, Extensions::None);
    let mut tally = Tally::default();
    let (header, payload) = frame.split_at(header_len);
    let (last, start) = header.split_last().unwrap();
    for byte in start {
        let scan = scanner.scan(&[*byte], 0, &mut tally);
        assert_eq!((scan.forward, scan.held.is_empty()), (0, true));
        assert!(scanner.at_boundary(), "nothing was forwarded");
    }
    assert_eq!(scanner.held(), start);
    let scan = scanner.scan(&[*last], 0, &mut tally);
    assert_eq!((scan.held.as_slice(), scan.forward), (start, 1));
    assert!(!scanner.at_boundary() && scanner.held().is_empty());
    let scan = scanner.scan(payload, 0, &mut tally);
    assert_eq!((scan.held.is_empty(), scan.forward), (true, 300));
    assert_eq!((tally.frames, tally.messages), (1, 1));
    assert_eq!(tally.sizes.bytes, 300);
}

#[test]
fn a_header_that_is_refused_is_not_forwarded_and_not_lost() {
    let mut scanner = from_backend(Extensions::None);
    let mut tally = Tally::default();
    let scan = scanner.scan(b"\x81\x01a\x83", 0, &mut tally);
    assert_eq!((scan.forward, scan.violation), (3, None));
    for input in [&b"\x00"[..], b"more"] {
        let scan = scanner.scan(input, 0, &mut tally);
        assert_eq!(scan.violation, Some(FrameError::ReservedOpcode));
        assert_eq!((scan.forward, scan.held.is_empty()), (0, true));
        assert_eq!(scanner.held(), b"\x83");
    }
    assert!(scanner.at_boundary() && !scanner.close_seen());
}

#[test]
fn messages_have_a_size_limit_over_all_their_frames() {
    let start = frame(0x01, &[0; 6], None);
    let ping = frame(0x89, &[0; 100], None);
    let end = frame(0x80, &[0; 4], None);
    let two = [&start[..], &ping, &end].concat().repeat(2);
    for (max, forward, violation) in [
        (0, two.len(), None),
        (10, two.len(), None),
        (9, start.len() + ping.len(), Some(FrameError::MessageTooBig)),
        (5, 0, Some(FrameError::MessageTooBig)),
    ] {
        let mut tally = Tally::default();
        let scan = from_backend(Extensions::None).scan(&two, max, &mut tally);
        assert_eq!((scan.forward, scan.violation), (forward, violation));
    }
}

#[test]
fn a_huge_message_does_not_overflow() {
    let huge = [&[0x02, 127, 0x7f][..], &[0xff; 7]].concat();
    let mut scanner = from_backend(Extensions::None);
    let mut tally = Tally::default();
    let scan = scanner.scan(&huge, 0, &mut tally);
    assert_eq!((scan.forward, scan.violation), (huge.len(), None));
    assert!(!scanner.at_boundary());
    let scan = scanner.scan(&huge, 0, &mut tally);
    assert_eq!(scan.forward, huge.len(), "now it is payload");
}

#[test]
fn our_close_frames_are_frames() {
    let long = "\u{e4}".repeat(100);
    for (reason, kept) in [("", 0), ("idle", 4), (long.as_str(), 122)] {
        for (mask, masking) in [(None, Masking::Forbidden), (Some(KEY), Masking::Required)] {
            let close = close_frame(1001, reason, mask);
            let (kept, _) = reason.as_bytes().split_at(kept);
            let payload = [b"\x03\xe9", kept].concat();
            assert_eq!(close.as_slice(), frame(0x88, &payload, mask));
            let mut tally = Tally::default();
            let mut scanner = FrameScanner::new(masking, Extensions::None);
            let scan = scanner.scan(close.as_slice(), 0, &mut tally);
            assert_eq!(scan.forward, close.as_slice().len());
            assert_eq!(tally.close, Some(Some(1001)));
        }
    }
}

/// Frames that follow the rules more often than not.
fn any_frame(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => prop::sample::select(vec![0xc1, 0x41, 0xc0]),
        1 => any::<u8>(),
    ];
    let len = prop_oneof![12 => 0..20usize, 2 => 120..130usize, 1 => 65_530..65_540usize];
    let key = prop::option::weighted(if masked { 0.95 } else { 0.05 }, any::<[u8; 4]>());
    (first, len, any::<u8>(), key)
        .prop_map(|(first, len, fill, key)| frame(first, &vec![fill; len], key))
}

fn any_stream() -> impl Strategy<Value = (bool, Vec<u8>)> {
    any::<bool>().prop_flat_map(|masked| {
        let frames = prop::collection::vec(any_frame(masked), 0..12);
        let cut = any::<prop::sample::Index>();
        (frames, cut).prop_map(move |(frames, cut)| {
            let mut stream = frames.concat();
            stream.truncate(cut.index(stream.len() + 1).max(stream.len() / 2));
            (masked, stream)
        })
    })
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_where_frames_were_cut(
        (masked, stream) in any_stream(), extensions in 0..3u8, limit in any::<u8>(), cuts in any::<u8>(),
    ) {
        let kind = extensions << 1 | u8::from(!masked);
        let limit = if limit < 128 { 0 } else { limit };
        fuzz_frame(&[&[kind, limit, cuts], &stream[..]].concat());
    }
}

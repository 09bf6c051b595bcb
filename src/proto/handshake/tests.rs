use proptest::prelude::*;

use super::extensions::BadExtensions;
use super::*;
use crate::proto::fuzz::fuzz_handshake;
use crate::proto::head::{HeadLimits, parse_request, parse_response};

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 1 << 15,
    field_bytes_max: 1 << 15,
    fields_bytes_max: 1 << 17,
};

/// The example of RFC 6455 §1.2.
const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n\r\n";

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn request(head: &str) -> (Intent, Result<Offer, HandshakeError>) {
    let buf = head.as_bytes();
    let parsed = parse_request(buf, &LIMITS).unwrap().unwrap();
    let facts = parsed.check(buf).unwrap();
    (intent(&parsed, buf), check_request(&parsed, &facts, buf))
}

/// What the RFC's request leads to when `from` is replaced by `to`.
#[track_caller]
fn check_changed(from: &str, to: &str, expected: Result<(), HandshakeError>) {
    assert!(REQUEST.contains(from), "{from:?}");
    let (intent, offer) = request(&REQUEST.replace(from, to));
    assert_eq!(intent, Intent::Upgrade, "{to:?}");
    assert_eq!(offer.map(|_| ()), expected, "{to:?}");
}

/// What the RFC's answer with `from` replaced by `to` is taken for.
#[track_caller]
fn check_answered(from: &str, to: &str, expected: Result<Extensions, AnswerError>) {
    assert!(ANSWER.contains(from), "{from:?}");
    let answer = ANSWER.replace(from, to);
    let offer = request(REQUEST).1.unwrap();
    let parsed = parse_response(answer.as_bytes(), &LIMITS).unwrap().unwrap();
    let upgraded = check_answer(&parsed, answer.as_bytes(), &offer, REQUEST.as_bytes());
    assert_eq!(upgraded, expected.map(Upgraded::assumed), "{to:?}");
}

#[test]
fn the_key_of_the_rfc_has_its_answer() {
    let accept = *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_eq!(request(REQUEST).1.unwrap().accept, accept);
}

#[test]
fn only_websocket_alone_asks_for_a_tunnel() {
    for (upgrade, expected) in [
        ("Upgrade: websocket", Intent::Upgrade),
        ("upgrade: ,WebSocket,", Intent::Upgrade),
        ("Upgrade: h2c", Intent::Call),
        ("Upgrade: websocket/13", Intent::Call),
        ("Upgrade: h2c, websocket", Intent::Call),
        ("Upgrade: websocket\r\nUpgrade: h2c", Intent::Call),
        ("Upgrade:", Intent::Call),
        ("X: websocket", Intent::Call),
    ] {
        let (intent, _) = request(&REQUEST.replace("Upgrade: websocket", upgrade));
        assert_eq!(intent, expected, "{upgrade:?}");
    }
}

#[test]
fn requests_are_held_against_the_rfc() {
    let check = check_changed;
    check("GET", "POST", Err(HandshakeError::Method));
    check("GET", "get", Err(HandshakeError::Method));
    check("HTTP/1.1", "HTTP/1.0", Err(HandshakeError::HttpVersion));
    check(
        "Connection: Upgrade",
        "Connection: keep-alive, upgrade",
        Ok(()),
    );
    check(
        "Connection: Upgrade",
        "Connection: close",
        Err(HandshakeError::Connection),
    );
    check(
        "Connection: Upgrade",
        "X: y",
        Err(HandshakeError::Connection),
    );
    check("Version: 13", "Version: 8", Err(HandshakeError::Version));
    check("Version: 13", "Version: 013", Err(HandshakeError::Version));
    check(
        "Version: 13",
        "Version: 13, 8",
        Err(HandshakeError::Version),
    );
    check("Sec-WebSocket-Version", "X", Err(HandshakeError::Version));
    check("Origin: http://example.com", "Content-Length: 0", Ok(()));
    check(
        "Origin: http://example.com",
        "Content-Length: 1",
        Err(HandshakeError::Body),
    );
    check(
        "Origin: http://example.com",
        "Transfer-Encoding: chunked",
        Err(HandshakeError::Body),
    );
}

#[test]
fn keys_are_one_and_of_sixteen_bytes() {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for bad in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZR==", // Stray bits at the end.
        "dGhlIHNhbXBsZSBub25jZWE=", // 17 bytes.
        "dGhlIHNhbXBsZSBub25jZWFi", // 18 bytes.
        "dGhlIHNhbXBsZSBub25j====",
        "dGhlIHNhbXBsZSBub25j ZQ==",
        "dGhlIHNhbXBsZSBub25-ZQ==", // base64url.
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        check_changed(key, bad, Err(HandshakeError::Key));
    }
    check_changed("Sec-WebSocket-Key", "X", Err(HandshakeError::Key));
}

#[test]
fn offers_have_to_be_lists() {
    for (subprotocols, expected) in [
        ("a,, b", Ok(())),
        ("a\r\nSec-WebSocket-Protocol: b", Ok(())),
        ("", Err(HandshakeError::Offer)),
        (",", Err(HandshakeError::Offer)),
        ("a b", Err(HandshakeError::Offer)),
        ("a/b", Err(HandshakeError::Offer)),
        (
            "a\r\nSec-WebSocket-Protocol: \"b\"",
            Err(HandshakeError::Offer),
        ),
    ] {
        check_changed("chat, superchat", subprotocols, expected);
    }
}

#[test]
fn extensions_are_read_by_their_grammar() {
    let check = |value: &str, expected: Result<&[&str], BadExtensions>| {
        let names: Result<Vec<_>, _> = extension_names(value.as_bytes()).collect();
        let expected = expected.map(|names| names.iter().map(|name| name.as_bytes()).collect());
        assert_eq!(names, expected, "{value:?}");
    };
    check("", Ok(&[]));
    check("a", Ok(&["a"]));
    check(" a , ,b,", Ok(&["a", "b"]));
    check("a; b; c=d, e;f=\"g\"", Ok(&["a", "e"]));
    check("a ; b = c ; d=\"\\e\"\t, f", Ok(&["a", "f"]));
    for bad in [
        "a b",
        "a;",
        "a;;b",
        "a; =b",
        "a; b=",
        "a; b=c d",
        "a; b=\"c",
        "a; b=\"\"",
        "a; b=\"c,d\"",
        "a; b=\"c\"d",
        "a; b=\"\\\"",
        "\"a\"",
        "a, (b)",
        "a=b",
    ] {
        check(bad, Err(BadExtensions));
        check_changed(
            "permessage-deflate; client_max_window_bits, x-other",
            bad,
            Err(HandshakeError::Offer),
        );
    }
}

#[test]
fn answers_are_held_against_the_rfc() {
    let check = check_answered;
    check(
        "Upgrade: websocket",
        "upgrade: WebSocket",
        Ok(Extensions::None),
    );
    check("HTTP/1.1", "HTTP/1.0", Err(AnswerError::HttpVersion));
    check(
        "101 Switching Protocols",
        "200 OK",
        Err(AnswerError::Upgrade),
    );
    check(
        "Upgrade: websocket",
        "Upgrade: h2c, websocket",
        Err(AnswerError::Upgrade),
    );
    check("Upgrade: websocket", "X: y", Err(AnswerError::Upgrade));
    check(
        "Connection: Upgrade",
        "Connection: close",
        Err(AnswerError::Connection),
    );
    check("s3pP", "S3pP", Err(AnswerError::Accept));
    check("xOo=", "xOo=, x", Err(AnswerError::Accept));
    check("Sec-WebSocket-Accept", "X", Err(AnswerError::Accept));
    check(
        "xOo=",
        "xOo=\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        Err(AnswerError::Accept),
    );
}

#[test]
fn only_what_was_offered_can_be_chosen() {
    let check =
        |fields: &str, expected| check_answered("xOo=", &format!("xOo=\r\n{fields}"), expected);
    for (subprotocol, expected) in [
        ("superchat", Ok(Extensions::None)),
        ("Chat", Err(AnswerError::Subprotocol)),
        ("chat, superchat", Err(AnswerError::Subprotocol)),
        ("other", Err(AnswerError::Subprotocol)),
        ("", Err(AnswerError::Subprotocol)),
        (
            "chat\r\nSec-WebSocket-Protocol: chat",
            Err(AnswerError::Subprotocol),
        ),
    ] {
        check(&format!("Sec-WebSocket-Protocol: {subprotocol}"), expected);
    }
    for (extensions, expected) in [
        ("permessage-deflate", Ok(Extensions::Deflate)),
        (
            "permessage-deflate; server_max_window_bits=\"10\"",
            Ok(Extensions::Deflate),
        ),
        ("x-other", Ok(Extensions::Unknown)),
        ("permessage-deflate, x-other", Ok(Extensions::Unknown)),
        ("x-third", Err(AnswerError::Extension)),
        ("permessage-deflate, x-third", Err(AnswerError::Extension)),
        ("permessage-deflate;", Err(AnswerError::Extension)),
        ("", Err(AnswerError::Extension)),
        (
            "x-other\r\nSec-WebSocket-Extensions: x-other",
            Err(AnswerError::Extension),
        ),
    ] {
        check(&format!("Sec-WebSocket-Extensions: {extensions}"), expected);
    }
}

proptest! {
    #[test]
    fn no_list_of_extensions_is_too_strange(value in "[ab,;=\"\\\\ \t(]{0,24}") {
        let names: Vec<_> = extension_names(value.as_bytes()).collect();
        let (last, others) = match names.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, &[][..]),
        };
        prop_assert!(others.iter().all(Result::is_ok), "an error is the last");
        if let Some(Ok(name)) = last {
            prop_assert!(is_token(name));
        }
        let request = REQUEST.replace("permessage-deflate; client_max_window_bits, x-other", &value);
        let fields = format!("xOo=\r\nSec-WebSocket-Extensions: {value}");
        fuzz_handshake([request, ANSWER.replace("xOo=", &fields)].concat().as_bytes());
    }
}

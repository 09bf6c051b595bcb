use proptest::prelude::*;

use super::*;
use crate::proto::body::BodyLength;
use crate::proto::fuzz::fuzz_head;

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 64,
    field_bytes_max: 100,
    fields_bytes_max: 250,
};

fn request(head: &str) -> Result<Option<RequestHead>, HeadError> {
    parse_request(head.as_bytes(), &LIMITS)
}

fn facts(head: &str) -> Result<RequestFacts, HeadError> {
    let parsed = request(head)?;
    parsed.unwrap().check(head.as_bytes())
}

fn text(span: Span, head: &str) -> &str {
    str::from_utf8(span.of(head.as_bytes())).unwrap()
}

#[track_caller]
fn refused(head: &str, rule: Malformed) {
    assert_eq!(facts(head), Err(HeadError::Malformed(rule)), "{head:?}");
}

#[track_caller]
fn accepted(head: &str) -> RequestFacts {
    facts(head).unwrap_or_else(|error| panic!("{head:?}: {error:?}"))
}

/// A request with `Host`, and `fields` besides.
fn with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn names_and_values_are_found_in_place() {
    let head = "\r\nGET /hello?a=b HTTP/1.1\r\nHost: a.example\r\nX-Empty:\r\nX-Two: \t b c \t\r\n\r\nmore";
    let parsed = request(head).unwrap().unwrap();
    assert_eq!(text(parsed.method, head), "GET");
    assert_eq!(text(parsed.target, head), "/hello?a=b");
    assert_eq!(parsed.version, Version::Http11);
    assert_eq!(parsed.len, head.len() - "more".len());
    let fields = parsed.fields.iter();
    let fields: Vec<_> = fields
        .map(|field| (text(field.name, head), text(field.value, head)))
        .collect();
    assert_eq!(
        fields,
        [("Host", "a.example"), ("X-Empty", ""), ("X-Two", "b c")]
    );
}

#[test]
fn responses_are_found_in_place() {
    let head = "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nbody";
    let parsed = parse_response(head.as_bytes(), &LIMITS).unwrap().unwrap();
    assert_eq!(parsed.status, 404);
    assert_eq!(text(parsed.reason, head), "Not Found");
    assert_eq!(parsed.len, head.len() - "body".len());
    for without_reason in ["HTTP/1.0 200\r\n\r\n", "HTTP/1.0 200 \r\n\r\n"] {
        let parsed = parse_response(without_reason.as_bytes(), &LIMITS);
        let reason = parsed.unwrap().unwrap().reason;
        assert_eq!(text(reason, without_reason), "");
    }
}

#[test]
fn responses_that_are_none_are_refused() {
    for (head, rule) in [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed::Syntax),
        ("HTTP/1.1 20 OK\r\n\r\n", Malformed::Syntax),
        ("HTTP/1.1 099 OK\r\n\r\n", Malformed::Syntax),
        ("HTTP/2.0 200 OK\r\n\r\n", Malformed::Version),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", Malformed::Version),
        ("HTTP/1.1 200 OK\nA: b\n\n", Malformed::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Malformed::FieldName),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Malformed::Folding),
    ] {
        let parsed = parse_response(head.as_bytes(), &LIMITS);
        assert_eq!(parsed, Err(HeadError::Malformed(rule)), "{head:?}");
    }
}

#[test]
fn request_lines_that_are_none_are_refused() {
    for (line, rule) in [
        ("GET /\r\n", Malformed::Syntax),
        ("GET\r\n", Malformed::Syntax),
        (" GET / HTTP/1.1\r\n", Malformed::Syntax),
        ("GET  / HTTP/1.1\r\n", Malformed::Syntax),
        ("GET /  HTTP/1.1\r\n", Malformed::Syntax),
        ("GET /a b HTTP/1.1\r\n", Malformed::Syntax),
        ("GET / HTTP/1.1 \r\n", Malformed::Syntax),
        ("G@T / HTTP/1.1\r\n", Malformed::Syntax),
        ("GET\t/ HTTP/1.1\r\n", Malformed::ControlCharacter),
        ("GET /\x01 HTTP/1.1\r\n", Malformed::ControlCharacter),
        ("GET /\x7f HTTP/1.1\r\n", Malformed::ControlCharacter),
        ("\x16\x03\x01\x02\x00", Malformed::ControlCharacter),
        ("GET / HTTP/1.2\r\n", Malformed::Version),
        ("GET / HTTP/2.0\r\n", Malformed::Version),
        ("GET / HTTP/1.10\r\n", Malformed::Version),
        ("GET / http/1.1\r\n", Malformed::Version),
        ("GET / HTTP/0.9\r\n", Malformed::Version),
        ("GET / HTTP/1\r\n", Malformed::Version),
        ("GET / HTTP/11\r\n", Malformed::Version),
        ("GET / HTTPS/1.1\r\n", Malformed::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Malformed::Version),
        ("GET /\x0b HTTP/1.1\r\n", Malformed::ControlCharacter),
        ("\0GET / HTTP/1.1\r\n", Malformed::ControlCharacter),
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\n", Malformed::EmptyLines),
        (&"A".repeat(33), Malformed::Syntax),
    ] {
        refused(&format!("{line}Host: a\r\n\r\n"), rule);
    }
}

#[test]
fn broken_lines_are_refused() {
    for (fields, rule) in [
        ("A: b\n", Malformed::BareLineFeed),
        ("A: b\rc\r\n", Malformed::BareCarriageReturn),
        ("A: b\r\r\n", Malformed::BareCarriageReturn),
        ("A: b\0c\r\n", Malformed::ControlCharacter),
        ("A: b\x1bc\r\n", Malformed::ControlCharacter),
        ("A: b\r\n c\r\n", Malformed::Folding),
        ("A: b\r\n\tc\r\n", Malformed::Folding),
        ("A : b\r\n", Malformed::FieldName),
        (": b\r\n", Malformed::FieldName),
        ("A\r\n", Malformed::FieldName),
        ("A b: c\r\n", Malformed::FieldName),
        ("(A): b\r\n", Malformed::FieldName),
    ] {
        refused(&with(fields), rule);
    }
    refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Malformed::Folding);
    refused("GET / HTTP/1.1\nHost: a\n\n", Malformed::BareLineFeed);
}

#[test]
fn limits_hold_before_the_head_has_an_end() {
    let long = |len| "x".repeat(len);
    let start = "GET / HTTP/1.1\r\n";
    for (head, expected) in [
        (format!("GET /{}", long(63)), Ok(None)),
        (format!("GET /{}", long(64)), Err(HeadError::TargetTooLong)),
        (format!("{start}{}", long(100)), Ok(None)),
        (
            format!("{start}{}", long(101)),
            Err(HeadError::FieldTooLong),
        ),
        (
            format!("{start}{0}\r\n{0}\r\n{1}", long(100), long(46)),
            Ok(None),
        ),
        (
            format!("{start}{0}\r\n{0}\r\n{1}", long(100), long(47)),
            Err(HeadError::FieldsTooLong),
        ),
    ] {
        assert_eq!(request(&head), expected, "{head:?}");
    }
}

#[test]
fn fields_are_counted() {
    let roomy = HeadLimits {
        fields_bytes_max: 1 << 20,
        ..LIMITS
    };
    let head = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(count));
    let parsed = parse_request(head(FIELDS_MAX).as_bytes(), &roomy);
    assert_eq!(parsed.unwrap().unwrap().fields.len(), FIELDS_MAX);
    let parsed = parse_request(head(FIELDS_MAX + 1).as_bytes(), &roomy);
    assert_eq!(parsed, Err(HeadError::TooManyFields));
}

#[test]
fn hosts_are_one_and_right() {
    for host in [
        "a",
        "A.b-c_d.example",
        "1.2.3.4",
        "a:80",
        "a:",
        "[::1]",
        "[2001:db8::1]:8443",
        "a%2Db",
        "a~!$&'()*+,;=b",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let found = accepted(&head).host.unwrap();
        assert_eq!(text(found, &head), host);
    }
    for host in [
        "",
        "a b",
        "a/b",
        "a@b",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:000080",
        "a:+80",
        ":80",
        "[::1",
        "::1",
        "[::1]x",
        "[1.2.3.4]",
        "[v1.a]",
        "a\u{e4}",
        "a%2",
        "a%zz",
        "a, b\"",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refused(&head, Malformed::Host);
    }
    refused("GET / HTTP/1.1\r\n\r\n", Malformed::Host);
    refused(
        "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        Malformed::Host,
    );
    refused(
        "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
        Malformed::Host,
    );
    assert_eq!(accepted("GET / HTTP/1.0\r\n\r\n").host, None);
}

#[test]
fn targets_come_apart() {
    use TargetForm::{Absolute, Asterisk, Origin};
    for (line, form, host, path, query) in [
        ("GET /", Origin, "a", "/", None),
        ("GET /b/c?d=e?f", Origin, "a", "/b/c", Some("d=e?f")),
        ("GET //b?", Origin, "a", "//b", Some("")),
        ("GET http://a/c?d", Absolute, "a", "/c", Some("d")),
        ("GET HTTPS://A/", Absolute, "A", "/", None),
        ("GET http://a:80", Absolute, "a:80", "/", None),
        ("GET http://a?c", Absolute, "a", "/", Some("c")),
        ("OPTIONS *", Asterisk, "a", "*", None),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let facts = accepted(&head);
        assert_eq!(facts.form, form, "{line}");
        assert_eq!(facts.host.map(|host| text(host, &head)), Some(host));
        assert_eq!(facts.path_of(head.as_bytes()), path.as_bytes());
        assert_eq!(facts.query.map(|query| text(query, &head)), query);
    }
    for (line, rule) in [
        ("GET *", Malformed::Target),
        ("GET a", Malformed::Target),
        ("GET a:80", Malformed::Target),
        ("GET /a#b", Malformed::Target),
        ("GET ftp://a/", Malformed::Target),
        ("GET http:///", Malformed::Target),
        ("GET http://a@b/", Malformed::Target),
        ("CONNECT a:80", Malformed::Connect),
    ] {
        refused(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), rule);
    }
    refused("GET http://b/ HTTP/1.1\r\n\r\n", Malformed::Host);
    let old = "GET http://b:81/ HTTP/1.0\r\n\r\n";
    assert_eq!(accepted(old).host.map(|host| text(host, old)), Some("b:81"));
}

#[test]
fn bodies_have_one_length() {
    for (fields, body) in [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::Length(0)),
        (
            "content-length: 18446744073709551615\r\n",
            Body::Length(u64::MAX),
        ),
        ("Content-Length: 007\r\n", Body::Length(7)),
        ("Content-Length:\t7 \t\r\n", Body::Length(7)),
        ("Content_Length: 7\r\n", Body::None),
        ("Transfer-Encoding: Chunked\r\n", Body::Chunked),
        ("Transfer-Encoding:\tchunked\t \r\n", Body::Chunked),
        ("transfer-encoding:chunked\r\n", Body::Chunked),
    ] {
        assert_eq!(accepted(&with(fields)).body, body, "{fields:?}");
    }
    for (fields, rule) in [
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            Malformed::ContentLength,
        ),
        ("Content-Length: 1, 1\r\n", Malformed::ContentLength),
        ("Content-Length: 1,\r\n", Malformed::ContentLength),
        (
            "Content-Length: 1\r\ncontent-length: 2\r\n",
            Malformed::ContentLength,
        ),
        ("Content-Length: 1 1\r\n", Malformed::ContentLength),
        ("Content-Length: 1.0\r\n", Malformed::ContentLength),
        ("Content-Length: 1e1\r\n", Malformed::ContentLength),
        ("Content-Length: 1;a\r\n", Malformed::ContentLength),
        ("Content-Length: \"1\"\r\n", Malformed::ContentLength),
        ("Content-Length: 1_0\r\n", Malformed::ContentLength),
        ("Content-Length: \u{661}\r\n", Malformed::ContentLength),
        ("Content-Length: 1\u{a0}\r\n", Malformed::ContentLength),
        (
            "Content-Length: 000000000000000000001\r\n",
            Malformed::ContentLength,
        ),
        ("Content-Length: 1\x0b\r\n", Malformed::ControlCharacter),
        ("Content-Length: 1\r\n 2\r\n", Malformed::Folding),
        ("Content-Length : 1\r\n", Malformed::FieldName),
        ("Content-Length: \r\n", Malformed::ContentLength),
        ("Content-Length: +1\r\n", Malformed::ContentLength),
        ("Content-Length: -1\r\n", Malformed::ContentLength),
        ("Content-Length: 0x1\r\n", Malformed::ContentLength),
        (
            "Content-Length: 18446744073709551616\r\n",
            Malformed::ContentLength,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: identity\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: ,chunked\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked,\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked;q=1\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: \"chunked\"\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\u{a0}\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\x0b\r\n",
            Malformed::ControlCharacter,
        ),
        (
            "Transfer-Encoding:\x0bchunked\r\n",
            Malformed::ControlCharacter,
        ),
        ("Transfer-Encoding : chunked\r\n", Malformed::FieldName),
        ("Transfer-Encoding\t: chunked\r\n", Malformed::FieldName),
        ("Transfer-Encoding:\r\n chunked\r\n", Malformed::Folding),
        ("Transfer-Encoding: \r\n", Malformed::TransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Malformed::TransferEncoding,
        ),
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            Malformed::LengthAndEncoding,
        ),
        (
            "Content-Length: x\r\nTransfer-Encoding: x\r\n",
            Malformed::LengthAndEncoding,
        ),
    ] {
        refused(&with(fields), rule);
    }
    refused(
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Malformed::TransferEncodingInHttp10,
    );
}

#[test]
fn connections_are_kept_as_both_versions_have_it() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: Upgrade , CLOSE\r\n", false),
        ("1.1", "Connection: a\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(accepted(&head).keep_alive, expected, "{head:?}");
    }
}

#[test]
fn lists_are_one_over_all_fields() {
    let head = with("X: a, ,b,\r\nY: c\r\nx:\td ,\"e\"\r\n");
    let parsed = request(&head).unwrap().unwrap();
    let tokens: Vec<_> = parsed.tokens(head.as_bytes(), "x").collect();
    assert_eq!(tokens, [&b"a"[..], b"b", b"d", b"\"e\""]);
}

#[test]
fn answers_have_the_body_that_rfc_9112_gives_them() {
    let check = |status: u16, fields: &str, request_was_head: bool| {
        let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let parsed = parse_response(head.as_bytes(), &LIMITS).unwrap().unwrap();
        parsed.body(head.as_bytes(), request_was_head)
    };
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, fields, request_was_head, expected) in [
        (200, length, false, BodyLength::Length(5)),
        (200, chunked, false, BodyLength::Chunked),
        (200, "", false, BodyLength::UntilClose),
        (200, length, true, BodyLength::None),
        (101, "", false, BodyLength::None),
        (204, length, false, BodyLength::None),
        (304, length, false, BodyLength::None),
    ] {
        assert_eq!(check(status, fields, request_was_head), Ok(expected));
    }
    let both = [length, chunked].concat();
    let error = HeadError::Malformed(Malformed::LengthAndEncoding);
    assert_eq!(check(200, &both, false), Err(error));
    assert_eq!(check(304, &both, true), Err(error));
}

/// Pieces of heads, right and wrong, that meet at random.
fn any_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET",
        "OPTIONS",
        " ",
        "/",
        "*",
        "/a?b",
        "http://a",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/1.1 101 X",
        "\r\n",
        "\r",
        "\n",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "Host: a\r\n",
        "Host",
        ":",
        "\t",
        "\0",
        "Content-Length: 1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "a:\r\n",
    ]);
    let start = prop::sample::select(vec!["", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"]);
    (start, prop::collection::vec(piece, 0..24))
        .prop_map(|(start, pieces)| [start, &pieces.concat()].concat().into_bytes())
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_where_a_head_was_cut(
        cuts in any::<u8>(), small in any::<u8>(), head in any_head(),
    ) {
        fuzz_head(&[&[cuts, small], &head[..]].concat());
    }
}

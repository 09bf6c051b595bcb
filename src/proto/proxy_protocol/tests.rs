#![expect(
    clippy::indexing_slicing,
    reason = "a test that cuts where there is nothing says so by panicking"
)]

use proptest::prelude::*;

use super::*;
use crate::proto::fuzz::fuzz_proxy_protocol;

const FROM: &str = "192.0.2.1:5000";
const TO: &str = "198.51.100.2:443";

fn between(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    })
}

/// The whole of `bytes` is a header, nothing less is one, and what follows does not matter.
#[track_caller]
fn accepted(bytes: &[u8], addresses: Option<Addresses>) {
    let header = ProxyHeader {
        addresses,
        len: bytes.len(),
    };
    let shown = bytes.escape_ascii();
    assert_eq!(decode(bytes), Ok(Some(header)), "{shown}");
    assert_eq!(
        decode(&[bytes, b"GET /"].concat()),
        Ok(Some(header)),
        "{shown}"
    );
    for len in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len]), Ok(None), "{len} bytes of {shown}");
    }
}

#[track_caller]
fn refused(bytes: &[u8], error: ProxyError) {
    assert_eq!(decode(bytes), Err(error), "{}", bytes.escape_ascii());
}

#[test]
fn lines_of_text_name_both_ends() {
    accepted(
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n",
        between(FROM, TO),
    );
    accepted(
        b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
        between("255.255.255.255:65535", "0.0.0.0:0"),
    );
    for source in ["2001:db8::1", "2001:DB8:0:0:0:0:0:1"] {
        let line = format!("PROXY TCP6 {source} ::1 5000 443\r\n");
        accepted(line.as_bytes(), between("[2001:db8::1]:5000", "[::1]:443"));
    }
    // Section 2.1: the longest line.
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {full} {full} 65535 65535\r\n");
    let address = format!("[{full}]:65535");
    accepted(line.as_bytes(), between(&address, &address));
}

#[test]
fn mapped_addresses_are_ipv4_addresses() {
    accepted(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 5000 443\r\n",
        between(FROM, TO),
    );
}

#[test]
fn unknown_protocols_leave_the_connections_own_addresses() {
    accepted(b"PROXY UNKNOWN\r\n", None);
    accepted(b"PROXY UNKNOWN whatever else it says\r\n", None);
    // 107 bytes, the most that a line may have.
    let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(line.len(), TEXT_BYTES_MAX);
    accepted(line.as_bytes(), None);
    let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    refused(line.as_bytes(), ProxyError::TooLong);
    refused(&line.as_bytes()[..TEXT_BYTES_MAX], ProxyError::TooLong);
}

#[test]
fn lines_that_are_none_are_refused() {
    for (line, error) in [
        ("GET / HTTP/1.1\r\n", ProxyError::Signature),
        ("PUT / HTTP/1.1\r\n", ProxyError::Signature),
        ("\x16\x03\x01", ProxyError::Signature),
        (
            "proxy TCP4 192.0.2.1 198.51.100.2 5000 443\r\n",
            ProxyError::Signature,
        ),
        (" PROXY UNKNOWN\r\n", ProxyError::Signature),
        ("PROXY\tUNKNOWN\r\n", ProxyError::Signature),
        ("PROXY\r\n", ProxyError::Signature),
        ("PROXY UNKNOWN\n", ProxyError::Line),
        ("PROXY UNKNOWN a\rb\r\n", ProxyError::Line),
        ("PROXY UNKNOWN a\0b\r\n", ProxyError::Line),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\r\n",
            ProxyError::Line,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\n",
            ProxyError::Line,
        ),
        ("PROXY  UNKNOWN\r\n", ProxyError::Protocol),
        ("PROXY \r\n", ProxyError::Protocol),
        ("PROXY UNKNOWNS\r\n", ProxyError::Protocol),
        (
            "PROXY UDP4 192.0.2.1 198.51.100.2 5000 443\r\n",
            ProxyError::Protocol,
        ),
        (
            "PROXY tcp4 192.0.2.1 198.51.100.2 5000 443\r\n",
            ProxyError::Protocol,
        ),
        ("PROXY TCP4\r\n", ProxyError::Address),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 \r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 1\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4  192.0.2.1 198.51.100.2 5000 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1  198.51.100.2 5000 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.01 198.51.100.2 5000 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2 198.51.100.2 5000 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.256 198.51.100.2 5000 443\r\n",
            ProxyError::Address,
        ),
        ("PROXY TCP4 ::1 ::1 5000 443\r\n", ProxyError::Address),
        (
            "PROXY TCP6 192.0.2.1 198.51.100.2 5000 443\r\n",
            ProxyError::Address,
        ),
        ("PROXY TCP6 [::1] [::1] 5000 443\r\n", ProxyError::Address),
        ("PROXY TCP6 fe80::1%1 ::1 5000 443\r\n", ProxyError::Address),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 05000 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 +5000 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 00 443\r\n",
            ProxyError::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 \r\n",
            ProxyError::Address,
        ),
    ] {
        refused(line.as_bytes(), error);
    }
    refused(b"PROXY UNKNOWN \xff\r\n", ProxyError::Line);
}

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let size = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &size, body].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 0x01, 0xbb];

fn tcp6() -> Vec<u8> {
    let [source, destination] = ["2001:db8::1", "::1"].map(|ip| ip.parse::<Ipv6Addr>().unwrap());
    [
        &source.octets()[..],
        &destination.octets(),
        &[0x13, 0x88, 0x01, 0xbb],
    ]
    .concat()
}

fn vector(kind: u8, value: &[u8]) -> Vec<u8> {
    let size = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &size[..], value].concat()
}

#[test]
fn binary_headers_name_both_ends() {
    accepted(&binary(0x21, 0x11, &TCP4), between(FROM, TO));
    accepted(
        &binary(0x21, 0x21, &tcp6()),
        between("[2001:db8::1]:5000", "[::1]:443"),
    );
}

#[test]
fn binary_headers_may_leave_the_connections_own_addresses() {
    for (command, family, body) in [
        (0x20, 0x00, vec![]),
        // The block of LOCAL is discarded, and its family ignored.
        (0x20, 0x11, TCP4.to_vec()),
        (0x20, 0xff, vec![1, 2, 3]),
        (0x21, 0x00, vec![]),
        (0x21, 0x00, vec![1, 2, 3]),
        (0x21, 0x31, vec![0; 216]),
    ] {
        accepted(&binary(command, family, &body), None);
    }
}

#[test]
fn vectors_are_passed_over() {
    for vectors in [
        vector(0x04, &[]),
        // An endpoint of a private network, as AWS names it.
        vector(0xea, b"\x01vpce-08d2bf15fac5001c9"),
        [
            vector(0x01, b"http/1.1"),
            vector(0x02, b"a.example"),
            vector(0xff, &[0; 300]),
        ]
        .concat(),
    ] {
        let body = [&TCP4[..], &vectors].concat();
        accepted(&binary(0x21, 0x11, &body), between(FROM, TO));
    }
}

#[test]
fn a_checksum_has_to_be_right() {
    assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
    let body = [
        &TCP4[..],
        &vector(TYPE_CRC32C, &[0; 4]),
        &vector(0x04, b"pad"),
    ]
    .concat();
    let blank = binary(0x21, 0x11, &body);
    let sum = !crc32c(u32::MAX, &blank);
    let at = FIXED_BYTES + TCP4.len() + VECTOR_HEAD_BYTES;
    let mut right = blank.clone();
    right[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    accepted(&right, between(FROM, TO));
    refused(&blank, ProxyError::Checksum);
    // All but the vector's type, without which there is no checksum.
    for byte in (FIXED_BYTES..right.len()).filter(|byte| byte + VECTOR_HEAD_BYTES != at) {
        let mut wrong = right.clone();
        wrong[byte] ^= 1;
        assert!(decode(&wrong).is_err(), "byte {byte}");
    }
    for vectors in [
        vector(TYPE_CRC32C, &[0; 3]),
        [vector(TYPE_CRC32C, &[0; 4]), vector(TYPE_CRC32C, &[0; 4])].concat(),
    ] {
        let body = [&TCP4[..], &vectors].concat();
        refused(&binary(0x21, 0x11, &body), ProxyError::Checksum);
    }
}

#[test]
fn binary_headers_that_are_none_are_refused() {
    for (command, family, body, error) in [
        (0x11, 0x11, TCP4.to_vec(), ProxyError::Version),
        (0x31, 0x11, TCP4.to_vec(), ProxyError::Version),
        (0x22, 0x11, TCP4.to_vec(), ProxyError::Command),
        (0x2f, 0x11, TCP4.to_vec(), ProxyError::Command),
        (0x21, 0x12, TCP4.to_vec(), ProxyError::Family),
        (0x21, 0x22, tcp6(), ProxyError::Family),
        (0x21, 0x32, vec![0; 216], ProxyError::Family),
        (0x21, 0x10, TCP4.to_vec(), ProxyError::Family),
        (0x21, 0x01, TCP4.to_vec(), ProxyError::Family),
        (0x21, 0x41, TCP4.to_vec(), ProxyError::Family),
        (0x21, 0x11, TCP4[..11].to_vec(), ProxyError::Length),
        (0x21, 0x21, TCP4.to_vec(), ProxyError::Length),
        (0x21, 0x31, vec![0; 215], ProxyError::Length),
        (0x21, 0x11, [&TCP4[..], &[4]].concat(), ProxyError::Vector),
        (
            0x21,
            0x11,
            [&TCP4[..], &[4, 0]].concat(),
            ProxyError::Vector,
        ),
        (
            0x21,
            0x11,
            [&TCP4[..], &[4, 0, 1]].concat(),
            ProxyError::Vector,
        ),
        (
            0x21,
            0x11,
            vec![0; HEADER_BYTES_MAX - 15],
            ProxyError::TooLong,
        ),
        (
            0x20,
            0x00,
            vec![0; usize::from(u16::MAX)],
            ProxyError::TooLong,
        ),
    ] {
        refused(&binary(command, family, &body), error);
    }
    accepted(&binary(0x20, 0x00, &[0; HEADER_BYTES_MAX - 16]), None);
    for at in 0..SIGNATURE.len() {
        let mut wrong = SIGNATURE.to_vec();
        wrong[at] ^= 0x20;
        refused(&wrong[..=at], ProxyError::Signature);
    }
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(
        source in any::<(Ipv6Addr, u16)>(), destination in any::<(Ipv6Addr, u16)>(), is_text in any::<bool>(),
    ) {
        let header = if is_text {
            let ((from, to), (ports, port)) = ((source.0, destination.0), (source.1, destination.1));
            format!("PROXY TCP6 {from} {to} {ports} {port}\r\n").into_bytes()
        } else {
            let ports = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
            binary(0x21, 0x21, &[&source.0.octets()[..], &destination.0.octets(), &ports].concat())
        };
        let as_given = |(ip, port): (Ipv6Addr, u16)| (IpAddr::V6(ip), port);
        let addresses = Addresses::new(as_given(source), as_given(destination));
        accepted(&header, Some(addresses));
    }

    #[test]
    fn the_result_does_not_depend_on_where_a_line_was_cut(
        line in "PROXY? (TCP4|TCP6|UNKNOWN|TCP)( |  )([0-9:.a-f ]{0,60}|192.0.2.1 192.0.2.2 1 2)\r?\n?.{0,5}",
    ) {
        fuzz_proxy_protocol(line.as_bytes());
    }

    #[test]
    fn the_result_does_not_depend_on_where_a_binary_header_was_cut(
        command in prop::sample::select(vec![0x20, 0x21, 0x22, 0x11]),
        family in prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x31, 0x40]),
        body in prop::collection::vec(any::<u8>(), 0..260),
        cut in 0..300_usize,
    ) {
        let mut header = binary(command, family, &body);
        header.truncate(cut);
        fuzz_proxy_protocol(&header);
    }
}

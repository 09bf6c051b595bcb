//! Whose call it is (spec 2.9).

use std::net::{IpAddr, SocketAddr};

use crate::config::ClientAddress;

/// The client's address by `rule`, or else the peer's (spec U26). Fields of one name count as one list, in order.
pub fn client_address(rule: &ClientAddress, peer: IpAddr, fields: &[(&[u8], &[u8])]) -> IpAddr {
    let named = match rule {
        ClientAddress::Peer => None,
        ClientAddress::ForwardedFor { index } => element(fields, *index),
        ClientAddress::Field(name) => values(fields, name).next().and_then(address),
    };
    named.unwrap_or(peer).to_canonical()
}

fn values<'a>(
    fields: &[(&[u8], &'a [u8])],
    wanted: &str,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
        .map(|(_, value)| *value)
}

fn element(fields: &[(&[u8], &[u8])], index: i32) -> Option<IpAddr> {
    let mut elements =
        values(fields, "X-Forwarded-For").flat_map(|value| value.split(|b| *b == b','));
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    let found = if index < 0 {
        elements.nth_back(distance - 1)
    } else {
        elements.nth(distance)
    };
    address(found?)
}

/// An address, also with the port that some proxies add: `192.0.2.1:80`, `[2001:db8::1]:80`, `[2001:db8::1]`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse()
            .ok()
            .map(IpAddr::V6)
    };
    text.parse()
        .ok()
        .or_else(|| {
            text.parse()
                .ok()
                .map(|with_port: SocketAddr| with_port.ip())
        })
        .or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_counts_from_either_end_and_the_peer_is_the_fallback() {
        let fields: &[(&[u8], &[u8])] = &[
            (b"x-forwarded-for", b"192.0.2.1, 192.0.2.2:80"),
            (b"X-Forwarded-For", b"[2001:db8::1]:9 ,x"),
        ];
        let peer: IpAddr = "198.51.100.9".parse().unwrap();
        for (index, expected) in [
            (0, "192.0.2.1"),
            (1, "192.0.2.2"),
            (2, "2001:db8::1"),
            (-1, "198.51.100.9"),
            (-2, "2001:db8::1"),
            (-4, "192.0.2.1"),
            (-5, "198.51.100.9"),
            (i32::MIN, "198.51.100.9"),
            (i32::MAX, "198.51.100.9"),
        ] {
            let rule = ClientAddress::ForwardedFor { index };
            assert_eq!(
                client_address(&rule, peer, fields).to_string(),
                expected,
                "{index}"
            );
        }
        let rule = ClientAddress::Field("x-forwarded-for".to_owned());
        assert_eq!(
            client_address(&rule, peer, fields),
            peer,
            "a list is no address"
        );
    }
}

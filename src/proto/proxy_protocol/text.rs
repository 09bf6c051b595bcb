//! Version 1 of the PROXY protocol: one line of text (section 2.1).
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::{self, FromStr};

use super::{Addresses, ProxyError, ProxyHeader, TEXT_BYTES_MAX};

const START: &[u8] = b"PROXY ";

pub(super) fn decode(buf: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let known = buf.len().min(START.len());
    if buf.get(..known) != START.get(..known) {
        return Err(ProxyError::Signature);
    }
    let window = buf.get(..TEXT_BYTES_MAX).unwrap_or(buf);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if buf.len() < TEXT_BYTES_MAX {
            Ok(None)
        } else {
            Err(ProxyError::TooLong)
        };
    };
    let line = window.get(START.len()..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(ProxyError::Line)?;
    let line = str::from_utf8(line).map_err(|_| ProxyError::Line)?;
    if line.contains(|c: char| c.is_ascii_control()) {
        return Err(ProxyError::Line);
    }
    Ok(Some(ProxyHeader {
        addresses: addresses(line)?,
        len: end + 1,
    }))
}

/// What stands between `PROXY` and the line's end.
fn addresses(line: &str) -> Result<Option<Addresses>, ProxyError> {
    let (protocol, rest) = line.split_once(' ').unwrap_or((line, ""));
    match protocol {
        "TCP4" => tcp::<Ipv4Addr>(rest).map(Some),
        "TCP6" => tcp::<Ipv6Addr>(rest).map(Some),
        // Whatever else the line says is to be ignored.
        "UNKNOWN" => Ok(None),
        _ => Err(ProxyError::Protocol),
    }
}

fn tcp<Ip: FromStr + Into<IpAddr>>(rest: &str) -> Result<Addresses, ProxyError> {
    let mut words = rest.split(' ');
    let [Some(source), Some(destination), Some(from), Some(to), None] =
        [(); 5].map(|()| words.next())
    else {
        return Err(ProxyError::Address);
    };
    let address = |word: &str| word.parse::<Ip>().map(Into::into).ok();
    let (Some(source), Some(destination)) = (address(source), address(destination)) else {
        return Err(ProxyError::Address);
    };
    let (Some(from), Some(to)) = (port(from), port(to)) else {
        return Err(ProxyError::Address);
    };
    Ok(Addresses::new((source, from), (destination, to)))
}

/// Digits without leading zeros; `u16::from_str` would take a sign as well.
fn port(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| canonical)
}

//! The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before that connection's own bytes.
//!
//! Sections are those of `proxy-protocol.txt`, which HAProxy publishes. The header comes once, at the very start, and
//! whoever may send it decides what the client's address is: a header is right in every byte, or it is none.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Section 2.1: the longest line that version 1 can have, its CRLF included.
pub const TEXT_BYTES_MAX: usize = 107;

/// Section 2 asks senders to stay within 536 bytes, the least that any TCP segment carries. Certificates in the vectors
/// of version 2 make some headers longer; 16 bits of length would allow 64 KiB of them.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Section 2.2: no protocol that could come instead begins with these bytes.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length of the rest.
const FIXED_BYTES: usize = 16;

/// Type and length of a vector (section 2.2.1).
const VECTOR_HEAD_BYTES: usize = 3;
/// PP2_TYPE_CRC32C, the one vector that says something about the header itself.
const TYPE_CRC32C: u8 = 0x03;

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// `None` where the connection's own addresses count: a health check of the sender (LOCAL), or a protocol it has no
    /// addresses for (UNKNOWN, UNSPEC, UNIX).
    pub addresses: Option<Addresses>,
    /// Length of the header; what follows is the connection's own.
    pub len: usize,
}

/// Between whom the connection was made that is forwarded. IPv4 addresses in IPv6 form are given as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Addresses {
    fn new(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let socket = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
        Self {
            source: socket(source),
            destination: socket(destination),
        }
    }
}

/// Why what came is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// It begins like neither version.
    Signature,
    /// Version 1 without a CRLF in 107 bytes, or version 2 beyond `HEADER_BYTES_MAX`.
    TooLong,
    /// A line of version 1 that CRLF does not end, or with a control character.
    Line,
    /// Version 1: no TCP4, TCP6 or UNKNOWN.
    Protocol,
    /// Version 1: not two addresses of the family and two ports, in their only spelling and one blank apart.
    Address,
    /// Version 2 by its signature, but not by its number.
    Version,
    /// Version 2: neither LOCAL nor PROXY.
    Command,
    /// Version 2: a family and transport that no TCP connection has, or that are not assigned.
    Family,
    /// Version 2: less than the addresses of the family take.
    Length,
    /// Version 2: a vector that ends outside the header.
    Vector,
    /// Version 2: the header is not what its CRC-32C was made of.
    Checksum,
}

/// Decodes the header that `buf` begins with; `None` asks for more bytes.
///
/// A prefix gives `None` or the very result of the whole, so that it does not matter how the bytes were cut.
pub fn decode(buf: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    // The first byte tells the versions apart.
    match buf.first() {
        None => Ok(None),
        Some(b'P') => text::decode(buf),
        Some(_) => decode_binary(buf),
    }
}

/// Version 2 (section 2.2).
fn decode_binary(buf: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let known = buf.len().min(SIGNATURE.len());
    if buf.get(..known) != SIGNATURE.get(..known) {
        return Err(ProxyError::Signature);
    }
    let Some((fixed, rest)) = buf.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let size = usize::from(u16::from_be_bytes([high, low]));
    let len = FIXED_BYTES + size;
    let is_proxied = match (version_and_command >> 4, version_and_command & 0xf) {
        (2, 0) => false,
        (2, 1) => true,
        (2, _) => return Err(ProxyError::Command),
        _ => return Err(ProxyError::Version),
    };
    // Section 2.2: with LOCAL the family is ignored, whatever it is.
    let family = if is_proxied {
        Family::of(family).ok_or(ProxyError::Family)?
    } else {
        Family::None
    };
    if len > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    if size < family.bytes() {
        return Err(ProxyError::Length);
    }
    let Some(body) = rest.get(..size) else {
        return Ok(None);
    };
    let header = ProxyHeader {
        addresses: family.addresses(body),
        len,
    };
    // The block of LOCAL is to be discarded, whatever it holds, and in that of UNSPEC vectors may begin anywhere.
    if family != Family::None {
        check_vectors(
            buf.get(..len).unwrap_or_default(),
            FIXED_BYTES + family.bytes(),
        )?;
    }
    Ok(Some(header))
}

/// Section 2.2: family and transport, of which only those of a stream can come over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// UNSPEC: the addresses are to be ignored.
    None,
    Tcp4,
    Tcp6,
    /// A stream that reached the sender by a path, not by an address.
    Unix,
}

impl Family {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            0x00 => Some(Self::None),
            0x11 => Some(Self::Tcp4),
            0x21 => Some(Self::Tcp6),
            0x31 => Some(Self::Unix),
            _ => None,
        }
    }

    /// What source and destination take at the front of the block, ports included.
    fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Tcp4 => 12,
            Self::Tcp6 => 36,
            Self::Unix => 216,
        }
    }

    fn addresses(self, body: &[u8]) -> Option<Addresses> {
        let (source, destination, ports) = match self {
            Self::None | Self::Unix => return None,
            Self::Tcp4 => {
                let (source, rest) = body.split_first_chunk::<4>()?;
                let (destination, ports) = rest.split_first_chunk::<4>()?;
                let [source, destination] = [source, destination].map(|ip| Ipv4Addr::from(*ip));
                (IpAddr::V4(source), IpAddr::V4(destination), ports)
            }
            Self::Tcp6 => {
                let (source, rest) = body.split_first_chunk::<16>()?;
                let (destination, ports) = rest.split_first_chunk::<16>()?;
                let [source, destination] = [source, destination].map(|ip| Ipv6Addr::from(*ip));
                (IpAddr::V6(source), IpAddr::V6(destination), ports)
            }
        };
        let [a, b, c, d] = *ports.first_chunk::<4>()?;
        let source = (source, u16::from_be_bytes([a, b]));
        let destination = (destination, u16::from_be_bytes([c, d]));
        Some(Addresses::new(source, destination))
    }
}

/// Walks the vectors behind the addresses of `header`: none may leave it, and a checksum has to be right (section 2.2.3).
fn check_vectors(header: &[u8], start: usize) -> Result<(), ProxyError> {
    let mut at = start;
    let mut sum_at = None;
    while let Some(vector @ [_, ..]) = header.get(at..) {
        let Some(([kind, high, low], value)) = vector.split_first_chunk::<VECTOR_HEAD_BYTES>()
        else {
            return Err(ProxyError::Vector);
        };
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        if size > value.len() {
            return Err(ProxyError::Vector);
        }
        if *kind == TYPE_CRC32C && (size != 4 || sum_at.replace(at + VECTOR_HEAD_BYTES).is_some()) {
            return Err(ProxyError::Checksum);
        }
        at += VECTOR_HEAD_BYTES + size;
    }
    match sum_at {
        Some(at) if !is_sum_right(header, at) => Err(ProxyError::Checksum),
        Some(_) | None => Ok(()),
    }
}

/// Whether the four bytes at `at` are the checksum of `header` with zeros in their place.
fn is_sum_right(header: &[u8], at: usize) -> bool {
    let Some((before, rest)) = header.split_at_checked(at) else {
        return false;
    };
    let Some((said, after)) = rest.split_first_chunk::<4>() else {
        return false;
    };
    let pieces = [before, &[0; 4], after];
    let sum = pieces.into_iter().fold(u32::MAX, crc32c);
    !sum == u32::from_be_bytes(*said)
}

/// CRC-32C (RFC 9260 appendix A) carried on over `bytes`, bit by bit: a header has some hundred of them and comes once.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            let carry = if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            sum >> 1 ^ carry
        })
    })
}

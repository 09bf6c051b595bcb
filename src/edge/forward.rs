//! The request head as the backend gets it (spec 2.8).
//!
//! It is assembled in one piece: a head is some hundred bytes, whose copy costs less than the kernel's walk over as many
//! pieces as `writev` would have, and TLS needs it in one piece anyway.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io::Write;
use std::str;

use super::Peer;
use super::fields::{Named, TooMany, has_prefix, is_one_of, put};
use super::request::Request;
use crate::catalog::{BackendPath, HttpBackend, Member};
use crate::close::CloseReason;
use crate::config::Scheme;
use crate::proto::handshake::HandshakeError;

/// What a head grows by: the fields that we add, with room for a long `Host`.
const ADDED_BYTES: usize = 512;

/// Fields of the client's that we write ourselves, or that are for the gateway alone (spec U12). An opening handshake has
/// no body, so that a length could only be zero.
const REPLACED: [&[u8]; 8] = [
    b"host",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"x-request-id",
    b"x-stage",
];
const GATEWAY_PREFIX: &[u8] = b"x-apig-";

/// The opening handshake for `member`, from the client's `request` in `buf`.
pub(super) fn request_head(
    request: &Request,
    buf: &[u8],
    peer: &Peer,
    http: &HttpBackend,
    member: &Member,
) -> Result<Vec<u8>, CloseReason> {
    let mut out = Vec::with_capacity(request.head.len + ADDED_BYTES);
    // RFC 6455 §4.1: an opening handshake is a GET; spec 1.6 allows no other method here.
    out.extend_from_slice(b"GET ");
    put_target(&mut out, request, buf, http)?;
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put(&mut out, b"Host", member.authority.as_bytes());
    put_end_to_end(&mut out, request, buf)?;
    put_forwarded(&mut out, request, buf, peer, member);
    put(&mut out, b"X-Request-Id", &request.began.id.hex());
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    Ok(out)
}

fn put_target(
    out: &mut Vec<u8>,
    request: &Request,
    buf: &[u8],
    http: &HttpBackend,
) -> Result<(), CloseReason> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_| CloseReason::BadTarget);
    let path = text(request.facts.path_of(buf))?;
    out.extend_from_slice(match &http.path {
        BackendPath::Same => path.as_bytes(),
        BackendPath::Fixed(fixed) => fixed.as_bytes(),
    });
    if let Some(query) = request.facts.query {
        out.push(b'?');
        out.extend_from_slice(query.of(buf));
    }
    Ok(())
}

fn put_end_to_end(out: &mut Vec<u8>, request: &Request, buf: &[u8]) -> Result<(), CloseReason> {
    let named = Named::new(request.head.tokens(buf, "connection"))
        .map_err(|TooMany| CloseReason::BadHandshake(HandshakeError::Connection))?;
    for field in &request.head.fields {
        let name = field.name.of(buf);
        if !is_ours(name) && !named.is_hop_by_hop(name) {
            put(out, name, field.value.of(buf));
        }
    }
    Ok(())
}

fn is_ours(name: &[u8]) -> bool {
    is_one_of(name, &REPLACED)
        || has_prefix(name, GATEWAY_PREFIX)
        || name.eq_ignore_ascii_case(b"content-length")
}

fn put_forwarded(out: &mut Vec<u8>, request: &Request, buf: &[u8], peer: &Peer, member: &Member) {
    let client = peer.client.ip().to_canonical();
    // Spec U21: appended to what the client sent.
    out.extend_from_slice(b"X-Forwarded-For: ");
    for value in request.head.values(buf, "x-forwarded-for") {
        if !value.is_empty() {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    let (proto, port) = match peer.scheme {
        Scheme::Http => ("http", peer.inbound.port()),
        Scheme::Https => ("https", peer.inbound.port()),
    };
    let written = write!(
        out,
        "{client}\r\nX-Real-IP: {client}\r\nX-Forwarded-Proto: {proto}\r\nX-Forwarded-Port: {port}\r\n"
    );
    debug_assert!(written.is_ok(), "writing to a vector does not fail");
    // Spec U22: the backend learns the name that the client used where it sees another.
    if let Some(host) = request.facts.host.map(|host| host.of(buf))
        && !host.eq_ignore_ascii_case(member.authority.as_bytes())
    {
        put(out, b"X-Forwarded-Host", host);
    }
}

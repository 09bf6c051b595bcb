//! The request head as the backend gets it (spec 2.8).
//!
//! It is assembled in one piece: a head is some hundred bytes, whose copy costs less than the kernel's walk over as many
//! pieces as `writev` would have, and TLS needs it in one piece anyway.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::io::Write;

use super::Peer;
use super::fields::{FRAMING, Named, TooMany, has_prefix, is_one_of, put};
use super::request::Request;
use crate::catalog::{Member, Outgoing};
use crate::close::CloseReason;
use crate::config::{ForwardedFor, Forwarding, HostSent, Scheme};
use crate::proto::handshake::HandshakeError;
use crate::proto::head::{Body, HeadError, Malformed, Version};

/// What a head grows by: the fields that we add, with room for a long `Host`.
const ADDED_BYTES: usize = 512;

/// Fields of the client's that we write ourselves.
const REPLACED: [&[u8]; 9] = [
    b"content-length",
    b"expect",
    b"host",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"x-request-id",
];

/// Fields that are for the gateway alone (spec U12, U24).
const FOR_GATEWAY: [&[u8]; 4] = [b"x-stage", b"x-hw-id", b"x-hw-appkey", b"apikey"];
const GATEWAY_PREFIX: &[u8] = b"x-apig-";

/// Methods whose requests say that they have no body (RFC 9110 §8.6).
const WITH_BODY: [&[u8]; 3] = [b"POST", b"PUT", b"PATCH"];

/// A request on its way to a backend.
#[derive(Clone, Copy)]
pub(super) struct Forwarded<'a> {
    pub(super) request: &'a Request,
    /// What the request's spans refer to.
    pub(super) buf: &'a [u8],
    pub(super) peer: &'a Peer,
    pub(super) rules: Forwarding,
    pub(super) outgoing: &'a Outgoing<'a>,
    /// What the backend is asked with.
    pub(super) method: &'a [u8],
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An opening handshake, which has no body.
    Upgrade,
    Call,
}

/// The head for `member`.
pub(super) fn request_head(
    forwarded: &Forwarded<'_>,
    member: &Member,
) -> Result<Vec<u8>, CloseReason> {
    let Forwarded {
        request, outgoing, ..
    } = forwarded;
    // What parameters were put into must still be one line; whoever put them there should have seen to it.
    // Bytes above 0x7f are let through, as the parser of the client's head does.
    let ends_line = |byte: &u8| byte.is_ascii() && !byte.is_ascii_graphic();
    if outgoing.target.is_empty() || outgoing.target.iter().any(ends_line) {
        return Err(CloseReason::BadParameter);
    }
    let mut out = Vec::with_capacity(request.head.len + outgoing.target.len() + ADDED_BYTES);
    out.extend_from_slice(forwarded.method);
    out.push(b' ');
    out.extend_from_slice(&outgoing.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = host(forwarded, member);
    put(&mut out, b"Host", host);
    put_end_to_end(&mut out, forwarded)?;
    put_set(&mut out, outgoing)?;
    put_forwarded(&mut out, forwarded, host);
    match forwarded.purpose {
        Purpose::Upgrade => {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        }
        Purpose::Call => put_framing(&mut out, forwarded),
    }
    Ok(out)
}

fn is_set(outgoing: &Outgoing<'_>, name: &[u8]) -> bool {
    let is_it = |(set, _): &(String, Vec<u8>)| set.as_bytes().eq_ignore_ascii_case(name);
    outgoing.set.iter().any(is_it)
}

/// A parameter named `Host` before everything else (spec U25).
fn host<'a>(forwarded: &Forwarded<'a>, member: &'a Member) -> &'a [u8] {
    let Forwarded {
        outgoing,
        request,
        buf,
        rules,
        ..
    } = *forwarded;
    let set = outgoing
        .set
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let clients = request.facts.host.map(|host| host.of(buf));
    match (set, rules.host, clients) {
        (Some((_, value)), _, _) => value,
        (None, HostSent::Client, Some(host)) => host,
        (None, HostSent::Backend | HostSent::Client, _) => member.authority.as_bytes(),
    }
}

fn put_end_to_end(out: &mut Vec<u8>, forwarded: &Forwarded<'_>) -> Result<(), CloseReason> {
    let Forwarded {
        request,
        buf,
        rules,
        outgoing,
        ..
    } = *forwarded;
    let named = Named::new(request.head.tokens(buf, "connection")).map_err(|TooMany| {
        match forwarded.purpose {
            Purpose::Upgrade => CloseReason::BadHandshake(HandshakeError::Connection),
            Purpose::Call => CloseReason::BadHead(HeadError::Malformed(Malformed::FieldValue)),
        }
    })?;
    let removed = |name: &[u8]| {
        let is_it = |removed: &String| removed.as_bytes().eq_ignore_ascii_case(name);
        outgoing.removed.iter().any(is_it) || is_set(outgoing, name)
    };
    for field in &request.head.fields {
        let name = field.name.of(buf);
        let is_ours = is_one_of(name, &REPLACED)
            || (rules.strip_gateway_fields
                && (is_one_of(name, &FOR_GATEWAY) || has_prefix(name, GATEWAY_PREFIX)));
        if !is_ours && !named.is_hop_by_hop(name) && !removed(name) {
            put(out, name, field.value.of(buf));
        }
    }
    Ok(())
}

/// What the API's parameters say, but for the framing of the message, which is nobody's parameter.
fn put_set(out: &mut Vec<u8>, outgoing: &Outgoing<'_>) -> Result<(), CloseReason> {
    for (name, value) in &outgoing.set {
        let name = name.as_bytes();
        if name.eq_ignore_ascii_case(b"host") || is_one_of(name, &FRAMING) {
            continue;
        }
        if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(CloseReason::BadParameter);
        }
        put(out, name, value);
    }
    Ok(())
}

fn put_forwarded(out: &mut Vec<u8>, forwarded: &Forwarded<'_>, host: &[u8]) {
    let Forwarded {
        request,
        buf,
        peer,
        outgoing,
        ..
    } = *forwarded;
    let mut add = |name: &str, value: &[u8]| {
        if !is_set(outgoing, name.as_bytes()) {
            put(out, name.as_bytes(), value);
        }
    };
    add("X-Forwarded-For", &forwarded_for(forwarded));
    add("X-Real-IP", request.client.to_string().as_bytes());
    let proto: &[u8] = match peer.scheme {
        Scheme::Http => b"http",
        Scheme::Https => b"https",
    };
    add("X-Forwarded-Proto", proto);
    let port = peer.inbound.port().to_string();
    add("X-Forwarded-Port", port.as_bytes());
    // Spec U22: the backend learns the name that the client used where it sees another.
    if let Some(clients) = request.facts.host.map(|host| host.of(buf))
        && !clients.eq_ignore_ascii_case(host)
    {
        add("X-Forwarded-Host", clients);
    }
    add("X-Request-Id", &request.began.id.hex());
}

/// Spec U21: whoever connected to us, behind what the client says, or the client alone.
fn forwarded_for(forwarded: &Forwarded<'_>) -> Vec<u8> {
    let Forwarded {
        request, buf, peer, ..
    } = *forwarded;
    let mut value = Vec::with_capacity(64);
    let hop = match forwarded.rules.forwarded_for {
        ForwardedFor::Replace => request.client,
        ForwardedFor::Append => {
            let sent = request.head.values(buf, "x-forwarded-for");
            for sent in sent.filter(|sent| !sent.is_empty()) {
                value.extend_from_slice(sent);
                value.extend_from_slice(b", ");
            }
            peer.client.ip().to_canonical()
        }
    };
    let written = write!(value, "{hop}");
    debug_assert!(written.is_ok(), "writing to a vector does not fail");
    value
}

/// One field that says how long the body is, and the end of the head. The chunked coding passes as the client wrote it:
/// it has been read so strictly that the backend can't read it otherwise.
fn put_framing(out: &mut Vec<u8>, forwarded: &Forwarded<'_>) {
    let request = forwarded.request;
    let body = request.facts.body;
    match body {
        Body::Chunked => put(out, b"Transfer-Encoding", b"chunked"),
        Body::Length(length) => put(out, b"Content-Length", length.to_string().as_bytes()),
        Body::None if is_one_of(forwarded.method, &WITH_BODY) => put(out, b"Content-Length", b"0"),
        Body::None => {}
    }
    if expects_continue(request, forwarded.buf) {
        put(out, b"Expect", b"100-continue");
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether the client may wait for a 100 before it sends its body (RFC 9110 §10.1.1). The expectation is passed on:
/// the backend knows better than we whether it wants the body.
pub(super) fn expects_continue(request: &Request, buf: &[u8]) -> bool {
    request.head.version == Version::Http11
        && !request.facts.body.is_empty()
        && request.head.tokens(buf, "expect").next().is_some()
}

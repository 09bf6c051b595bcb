//! What a request head means: target, host, body and persistence (RFC 9112 §3.2, §6, §9.3; spec 2.10).
#![forbid(unsafe_code)]

use std::net::Ipv6Addr;
use std::str;

use super::fields::{self, Framing, at_most_one};
use super::{HeadError, Malformed, RequestHead, Span, Version};

/// What a head that keeps the rules says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// Host and optional port: of the target if that has one, else of the `Host` field, which HTTP/1.0 may leave out.
    pub host: Option<Span>,
    pub form: TargetForm,
    /// Empty for an absolute target that ends with its authority; `path_of` says `/` then.
    pub path: Span,
    /// What follows the first `?`.
    pub query: Option<Span>,
    pub body: Body,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
}

impl RequestFacts {
    /// The path, never empty.
    pub fn path_of<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        match self.path.of(buf) {
            b"" => b"/",
            path => path,
        }
    }
}

/// RFC 9112 §3.2. The fourth, authority-form, belongs to CONNECT alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    Origin,
    Absolute,
    Asterisk,
}

/// The length of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
}

impl Body {
    /// Whether no byte of a body follows the head.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

struct Target {
    form: TargetForm,
    authority: Option<Span>,
    path: Span,
    query: Option<Span>,
}

impl RequestHead {
    /// Checks what a parse alone does not, and says what the head means.
    pub fn check(&self, buf: &[u8]) -> Result<RequestFacts, HeadError> {
        self.facts(buf).map_err(HeadError::Malformed)
    }

    fn facts(&self, buf: &[u8]) -> Result<RequestFacts, Malformed> {
        if self.method.of(buf) == b"CONNECT" {
            return Err(Malformed::Connect);
        }
        let target = self.split_target(buf)?;
        // RFC 9112 §3.2.2: the authority of an absolute target replaces `Host`, which has to be right all the same.
        let host = self.host_field(buf)?;
        let body = match fields::framing(&self.fields, self.version, buf)? {
            Framing::Unsaid => Body::None,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked,
        };
        Ok(RequestFacts {
            host: target.authority.or(host),
            form: target.form,
            path: target.path,
            query: target.query,
            body,
            keep_alive: fields::keep_alive(&self.fields, self.version, buf),
        })
    }

    fn split_target(&self, buf: &[u8]) -> Result<Target, Malformed> {
        let target = self.target.of(buf);
        // A fragment is never sent (RFC 9112 §3.2); readers differ on whether it is part of the path. Bytes above 0x7f
        // are let through: they are wrong too, but common, and mean the same to everybody.
        if target.contains(&b'#') {
            return Err(Malformed::Target);
        }
        if target == b"*" && self.method.of(buf) == b"OPTIONS" {
            return Ok(Target {
                form: TargetForm::Asterisk,
                authority: None,
                path: self.target,
                query: None,
            });
        }
        if target.starts_with(b"/") {
            let (path, query) = split_query(target, buf);
            return Ok(Target {
                form: TargetForm::Origin,
                authority: None,
                path,
                query,
            });
        }
        split_absolute(target, buf)
    }

    fn host_field(&self, buf: &[u8]) -> Result<Option<Span>, Malformed> {
        let host = at_most_one(self.named(buf, "host")).map_err(|_| Malformed::Host)?;
        match host {
            Some(host) if is_authority(host.of(buf)) => Ok(Some(host)),
            None if self.version == Version::Http10 => Ok(None),
            Some(_) | None => Err(Malformed::Host),
        }
    }
}

fn split_absolute(target: &[u8], buf: &[u8]) -> Result<Target, Malformed> {
    let rest = strip_scheme(target).ok_or(Malformed::Target)?;
    let authority_len = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, rest) = rest
        .split_at_checked(authority_len)
        .ok_or(Malformed::Target)?;
    // RFC 9110 §4.2.4: userinfo is an error; its `@` is no character of a host.
    if !is_authority(authority) {
        return Err(Malformed::Target);
    }
    let (path, query) = split_query(rest, buf);
    Ok(Target {
        form: TargetForm::Absolute,
        authority: Some(Span::locate(authority, buf)),
        path,
        query,
    })
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    let strip = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    strip(b"http://").or_else(|| strip(b"https://"))
}

fn split_query(target: &[u8], buf: &[u8]) -> (Span, Option<Span>) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let path = parts.next().unwrap_or_default();
    let query = parts.next().map(|query| Span::locate(query, buf));
    (Span::locate(path, buf), query)
}

/// `uri-host [ ":" port ]` with a host that is not empty (RFC 9110 §4.2.1, §7.2).
fn is_authority(authority: &[u8]) -> bool {
    let (host_is_right, port) = match authority {
        [b'[', rest @ ..] => {
            let mut parts = rest.splitn(2, |byte| *byte == b']');
            let address = str::from_utf8(parts.next().unwrap_or_default());
            let address = address.ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            (address.is_some(), parts.next())
        }
        _ => {
            let name_len = authority.iter().position(|byte| *byte == b':');
            let name_len = name_len.unwrap_or(authority.len());
            let name = authority.get(..name_len).unwrap_or_default();
            (is_registered_name(name), authority.get(name_len..))
        }
    };
    host_is_right && port.is_some_and(is_port)
}

/// RFC 3986 §3.2.2 `reg-name`, which has the IPv4 addresses in it.
fn is_registered_name(mut name: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() => rest,
            [byte, rest @ ..] if b"-._~!$&'()*+,;=".contains(byte) => rest,
            _ => return false,
        };
    }
}

/// Nothing, or a colon and a number that may be left out (RFC 3986 §3.2.3).
fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && str::from_utf8(digits)
                    .is_ok_and(|digits| digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

//! HTTP/1.1 heads, parsed in place: names and values are ranges into the caller's buffer (RFC 9112 §2, §3, §5).
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

mod fields;
mod request;
mod response;
mod seek;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;

pub use fields::is_token;
pub(in crate::proto) use fields::{at_most_one, is_tchar, list, trim};
pub use request::{Body, RequestFacts, TargetForm};
pub use seek::HeadSeeker;

/// Most fields of one head. Browsers send about twenty; the bound keeps the parse on the stack.
pub const FIELDS_MAX: usize = 256;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    pub target_bytes_max: usize,
    /// One field, name and value.
    pub field_bytes_max: usize,
    /// All fields together.
    pub fields_bytes_max: usize,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    TargetTooLong,
    FieldTooLong,
    FieldsTooLong,
    TooManyFields,
    Malformed(Malformed),
}

/// The broken rule of RFC 9112, RFC 9110 or spec 2.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A request line or status line that is none (RFC 9112 §3, §4); a blank inside the target is seen here.
    Syntax,
    /// Not `HTTP/1.0` or `HTTP/1.1` (RFC 9112 §2.3).
    Version,
    /// A CR that no LF follows (RFC 9112 §2.2).
    BareCarriageReturn,
    /// A LF that no CR precedes. RFC 9112 §2.2 lets us take it for a line end, but two readers who differ on that are
    /// how requests are smuggled.
    BareLineFeed,
    /// NUL or another control character (spec 2.10).
    ControlCharacter,
    /// More empty lines before the request line than a sloppy client sends (RFC 9112 §2.2).
    EmptyLines,
    /// A line that continues the field before it (obs-fold, RFC 9112 §5.2).
    Folding,
    /// A field name that is empty, no token, or followed by a blank (RFC 9112 §5.1).
    FieldName,
    FieldValue,
    /// No target form of RFC 9112 §3.2 that this method may have.
    Target,
    /// Method CONNECT (spec 2.10): this is no forward proxy.
    Connect,
    /// None, several, or no valid one (RFC 9112 §3.2).
    Host,
    /// Several, or not a number (RFC 9112 §6.3).
    ContentLength,
    /// A coding other than exactly `chunked` (RFC 9112 §6.1).
    TransferEncoding,
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 §6.1, spec 2.10).
    TransferEncodingInHttp10,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 §6.1, spec 2.10).
    LengthAndEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// A range into the head's buffer. Heads are far below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The bytes this span names in `buf`, the buffer the head was parsed from.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(Range {
            start: self.start as usize,
            end: self.end as usize,
        })
        .unwrap_or_default()
    }

    /// Where `part` lies in `buf`. One that lies elsewhere (httparse names what is absent by a static empty string)
    /// is the empty span.
    fn locate(part: &[u8], buf: &[u8]) -> Self {
        let Some(start) = part.as_ptr().addr().checked_sub(buf.as_ptr().addr()) else {
            return Self::EMPTY;
        };
        if start > buf.len() {
            return Self::EMPTY;
        }
        Self::new(start, start + part.len())
    }

    const EMPTY: Self = Self { start: 0, end: 0 };

    fn new(start: usize, end: usize) -> Self {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::EMPTY,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    pub value: Span,
}

/// A complete request head.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub method: Span,
    pub target: Span,
    pub version: Version,
    pub fields: Vec<Field>,
    /// Length of the head with its final empty line; what follows in the buffer is not part of it.
    pub len: usize,
}

/// A complete response head.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub reason: Span,
    pub fields: Vec<Field>,
    pub len: usize,
}

/// Parses the request head that `buf` begins with; `None` asks for more bytes.
///
/// What a longer buffer gives does not depend on what was asked before: a prefix gives `None` or the very error of the
/// whole. Whoever asks again at each read should keep a `HeadSeeker` and call `resume_request`.
pub fn parse_request(buf: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, HeadError> {
    resume_request(&mut HeadSeeker::request(), buf, limits)
}

/// As `parse_request`, looking only at what `seeker` has not seen of the same, grown buffer.
pub fn resume_request(
    seeker: &mut HeadSeeker,
    buf: &[u8],
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    let Some(len) = seeker.seek(buf, limits)? else {
        return Ok(None);
    };
    parse_complete_request(buf.get(..len).unwrap_or_default()).map(Some)
}

/// Parses the response head that `buf` begins with; `None` asks for more bytes. See `parse_request`.
pub fn parse_response(buf: &[u8], limits: &HeadLimits) -> Result<Option<ResponseHead>, HeadError> {
    resume_response(&mut HeadSeeker::response(), buf, limits)
}

/// As `parse_response`, looking only at what `seeker` has not seen of the same, grown buffer.
pub fn resume_response(
    seeker: &mut HeadSeeker,
    buf: &[u8],
    limits: &HeadLimits,
) -> Result<Option<ResponseHead>, HeadError> {
    let Some(len) = seeker.seek(buf, limits)? else {
        return Ok(None);
    };
    parse_complete_response(buf.get(..len).unwrap_or_default()).map(Some)
}

fn parse_complete_request(head: &[u8]) -> Result<RequestHead, HeadError> {
    let mut storage = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut storage);
    expect_all_of(head, parsed)?;
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(HeadError::Malformed(Malformed::Syntax));
    };
    Ok(RequestHead {
        method: Span::locate(method.as_bytes(), head),
        target: Span::locate(target.as_bytes(), head),
        version: version(request.version)?,
        fields: locate_fields(request.headers, head),
        len: head.len(),
    })
}

fn parse_complete_response(head: &[u8]) -> Result<ResponseHead, HeadError> {
    let mut storage = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        head,
        &mut storage,
    );
    expect_all_of(head, parsed)?;
    let status = response.code.filter(|code| *code >= 100);
    let Some(status) = status else {
        return Err(HeadError::Malformed(Malformed::Syntax));
    };
    Ok(ResponseHead {
        version: version(response.version)?,
        status,
        reason: Span::locate(response.reason.unwrap_or_default().as_bytes(), head),
        fields: locate_fields(response.headers, head),
        len: head.len(),
    })
}

/// The seeker and httparse have to agree on where the head ends; a head on which they could differ is not believed.
fn expect_all_of(head: &[u8], parsed: httparse::Result<usize>) -> Result<(), HeadError> {
    match parsed {
        Ok(httparse::Status::Complete(len)) if len == head.len() => Ok(()),
        Ok(_) => Err(HeadError::Malformed(Malformed::Syntax)),
        Err(error) => Err(refusal(error)),
    }
}

fn refusal(error: httparse::Error) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::TooManyHeaders => return HeadError::TooManyFields,
        httparse::Error::HeaderName => Malformed::FieldName,
        httparse::Error::HeaderValue => Malformed::FieldValue,
        httparse::Error::Version => Malformed::Version,
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            Malformed::Syntax
        }
    })
}

fn version(minor: Option<u8>) -> Result<Version, HeadError> {
    match minor {
        Some(0) => Ok(Version::Http10),
        Some(1) => Ok(Version::Http11),
        _ => Err(HeadError::Malformed(Malformed::Version)),
    }
}

fn locate_fields(headers: &[httparse::Header<'_>], head: &[u8]) -> Vec<Field> {
    let locate = |header: &httparse::Header<'_>| Field {
        name: Span::locate(header.name.as_bytes(), head),
        value: Span::locate(header.value, head),
    };
    headers.iter().map(locate).collect()
}

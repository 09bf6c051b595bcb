//! HTTP/1.1 heads, parsed in place: names and values are ranges into the caller's buffer (RFC 9112 §2, §3, §5).
#![forbid(unsafe_code)]

use std::ops::Range;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
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
    Syntax,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    pub value: Span,
}

/// A complete request head.
#[derive(Debug)]
pub struct RequestHead {
    pub method: Span,
    pub target: Span,
    pub version: Version,
    pub fields: Vec<Field>,
    /// Length of the head with its final empty line; what follows in the buffer is not part of it.
    pub len: usize,
}

/// A complete response head.
#[derive(Debug)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub reason: Span,
    pub fields: Vec<Field>,
    pub len: usize,
}

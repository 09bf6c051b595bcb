//! Looking up fields by name, and taking their values apart (RFC 9110 §5).
#![forbid(unsafe_code)]

use super::{Field, Malformed, RequestHead, ResponseHead, Span, Version};

impl RequestHead {
    /// Where the values of the fields called `name` are, in order; names ignore case.
    pub fn named<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = Span> + 'a {
        named(&self.fields, buf, name)
    }

    /// The values of the fields called `name`, in order.
    pub fn values<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.fields, buf, name)
    }

    /// The elements of the comma-separated lists in the fields called `name`, taken as one list.
    pub fn tokens<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        tokens(&self.fields, buf, name)
    }
}

impl ResponseHead {
    /// Where the values of the fields called `name` are, in order; names ignore case.
    pub fn named<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = Span> + 'a {
        named(&self.fields, buf, name)
    }

    /// The values of the fields called `name`, in order.
    pub fn values<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.fields, buf, name)
    }

    /// The elements of the comma-separated lists in the fields called `name`, taken as one list.
    pub fn tokens<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        tokens(&self.fields, buf, name)
    }
}

/// What the framing fields announce (RFC 9112 §6.2, §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Unsaid,
    Length(u64),
    Chunked,
}

/// Reads `Content-Length` and `Transfer-Encoding` so strictly that no other reader can see another message end.
pub(super) fn framing(
    fields: &[Field],
    version: Version,
    buf: &[u8],
) -> Result<Framing, Malformed> {
    let length = at_most_one(values(fields, buf, "content-length"));
    let coding = at_most_one(values(fields, buf, "transfer-encoding"));
    let coding = coding.map_err(|Several| Malformed::TransferEncoding)?;
    let length = match (length, coding) {
        (Ok(length), None) => length,
        (Err(Several), None) => return Err(Malformed::ContentLength),
        (_, Some(_)) if version == Version::Http10 => {
            return Err(Malformed::TransferEncodingInHttp10);
        }
        (Ok(Some(_)) | Err(Several), Some(_)) => return Err(Malformed::LengthAndEncoding),
        (Ok(None), Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
            return Ok(Framing::Chunked);
        }
        (Ok(None), Some(_)) => return Err(Malformed::TransferEncoding),
    };
    match length.map(decimal) {
        None => Ok(Framing::Unsaid),
        Some(Some(length)) => Ok(Framing::Length(length)),
        Some(None) => Err(Malformed::ContentLength),
    }
}

/// Whether the connection may be used again after this message (RFC 9112 §9.3).
pub(super) fn keep_alive(fields: &[Field], version: Version, buf: &[u8]) -> bool {
    let names = |option: &str| {
        tokens(fields, buf, "connection").any(|token| token.eq_ignore_ascii_case(option.as_bytes()))
    };
    match version {
        _ if names("close") => false,
        Version::Http10 => names("keep-alive"),
        Version::Http11 => true,
    }
}

fn named<'a>(fields: &'a [Field], buf: &'a [u8], name: &'a str) -> impl Iterator<Item = Span> + 'a {
    fields
        .iter()
        .filter(move |field| field.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.value)
}

fn values<'a>(fields: &'a [Field], buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    named(fields, buf, name).map(|value| value.of(buf))
}

fn tokens<'a>(fields: &'a [Field], buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    values(fields, buf, name).flat_map(list)
}

/// The elements of a comma-separated list. RFC 9110 §5.6.1.2: empty ones are passed over.
pub(in crate::proto) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Without the optional whitespace (RFC 9110 §5.6.3) around it.
pub(in crate::proto) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// RFC 9110 §5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_tchar)
}

pub(in crate::proto) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A field that may be there once was there more often.
pub(in crate::proto) struct Several;

pub(in crate::proto) fn at_most_one<T>(
    mut items: impl Iterator<Item = T>,
) -> Result<Option<T>, Several> {
    let first = items.next();
    match items.next() {
        None => Ok(first),
        Some(_) => Err(Several),
    }
}

/// Digits of the largest number that fits. Some readers count zeros in front and give up, others do not.
const DIGITS_MAX: usize = 20;

/// `1*DIGIT` that fits; `str::parse` would take a sign as well.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

//! The fields that let a page read an answer from elsewhere (spec 7.9).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use super::fields::put;
use super::request::Request;
use crate::catalog::{Api, Cors, cors_headers};

/// What a request for `api` is to CORS, if that is on.
pub(super) fn of(api: &Api, request: &Request, buf: &[u8]) -> Option<Cors> {
    let method = str::from_utf8(request.head.method.of(buf)).unwrap_or_default();
    let asks_for_method = || {
        let mut asked = request.head.values(buf, "access-control-request-method");
        asked.next().is_some()
    };
    api.cors
        .then(|| Cors::of(api.method, method, asks_for_method()))
}

/// The fields of an answer that has these of its own.
pub(super) fn put_for<'a>(
    out: &mut Vec<u8>,
    cors: Option<Cors>,
    answered: impl IntoIterator<Item = &'a [u8]>,
) {
    let Some(cors) = cors else { return };
    for (name, value) in cors_headers(cors, answered) {
        put(out, name.as_bytes(), value.as_bytes());
    }
}

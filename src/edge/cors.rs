//! The fields that let a page read an answer from elsewhere (spec 7.9).
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use super::fields::{has_prefix, put};

/// A backend that sends any of these decides by itself.
pub(super) fn is_one(name: &[u8]) -> bool {
    has_prefix(name, b"access-control-")
}

/// For an answer whose backend says nothing about it.
pub(super) fn put_simple(out: &mut Vec<u8>) {
    put(out, b"Access-Control-Allow-Origin", b"*");
}

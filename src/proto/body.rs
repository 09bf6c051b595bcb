//! Message bodies of HTTP/1.1: where one ends (RFC 9112 §6).
#![forbid(unsafe_code)]

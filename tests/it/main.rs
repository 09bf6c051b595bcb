//! The real binary, driven by clients and servers that others wrote, and by bytes that nobody should send.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests and their peers are threads outside the program: they may block, lock and look at the clock"
)]

mod support;

mod admin;
mod call;
mod cli;
mod doctor;
mod faults;
mod handshake;
mod messages;
mod peers;
mod refusals;
mod sandbox;
mod stop;
mod tls;
mod tuning;

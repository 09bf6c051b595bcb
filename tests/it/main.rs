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
mod call_faults;
mod calls;
mod cli;
mod curl;
mod dashboard;
mod diff;
mod doctor;
mod drains;
mod faults;
mod framing;
mod handover;
mod handshake;
mod logs;
mod loopback;
mod messages;
mod metrics;
mod peers;
mod proxy_protocol;
mod refusals;
mod reload;
mod sandbox;
mod socketio;
mod status_page;
mod stop;
mod succession;
mod tables;
mod tls;
mod top;
mod tuning;
mod watch;

//! ringgate: a WebSocket edge proxy on io_uring whose configuration is the API definitions of a cloud gateway.
//!
//! The modules in reading order: what the program is told (`config`, `definition`, both texts read through
//! `document`), what it makes of that (`catalog`),
//! the protocols it speaks (`proto`, `tls`), a connection's life before its 101 (`edge`) and after it (`relay`), what
//! those rest on (`uring`, `buffer`, `timer`, `sys`), what stands beside them (`control`, `observe`), and what helps the
//! operator without serving anything (`call`, `doctor`).

pub mod cli;
mod commands;
pub mod demo;
pub mod explain;
pub mod program;
pub mod reload;
pub mod remote;
pub mod snapshot;
mod top;
pub mod worker;

pub mod config;
pub mod definition;
pub mod document;

pub mod catalog;

pub mod close;
pub mod network;
pub mod proto;
pub mod tls;

pub mod connections;
pub mod edge;
pub mod relay;

pub mod buffer;
mod race;
#[expect(
    unsafe_code,
    reason = "the home of system calls that std and socket2 do not offer"
)]
pub mod sys;
pub mod timer;
#[expect(
    unsafe_code,
    reason = "the home of io_uring: rings, operations and memory shared with the kernel"
)]
pub mod uring;

pub mod control;
pub mod observe;

pub mod call;
pub mod doctor;

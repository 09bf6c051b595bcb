//! The protocols, as pure functions over bytes: no sockets, no clock, no randomness, nothing of the rest of the crate.

pub mod body;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
pub mod head;
pub mod proxy_protocol;

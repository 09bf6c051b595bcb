//! WebSocket frames, walked in place (RFC 6455 §5): counted and checked, never copied, never unmasked.
#![forbid(unsafe_code)]

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A client's frame without mask, or a backend's with one (§5.1).
    Masking,
    ReservedBits,
    ReservedOpcode,
    FragmentedControl,
    ControlTooLong,
    /// A length not in the shortest form, or above 2^63 (§5.2).
    Length,
    /// A continuation without a message, or a new message within one (§5.4).
    Fragmentation,
    /// A Close frame with a body of one byte (§5.5.1).
    CloseBody,
    /// More wire bytes in one message than allowed.
    MessageTooBig,
}

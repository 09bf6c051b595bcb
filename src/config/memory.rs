//! What the configured bounds add up to, said at the start.

use std::fmt;

use super::{AccessFormat, Config, Log};
use crate::document::plural;
use crate::document::quantity::format_size;
use crate::observe::access_log::REQUEST_BYTES_MAX;
use crate::observe::lines::LINE_BYTES;

/// User memory of an open tunnel with TLS on the client's side: the bar that its tests hold.
const TUNNEL_BYTES: u64 = 4608;

/// TLS state and buffers of a connection that has not got its tunnel yet, beside its head.
const HANDSHAKE_BYTES: u64 = 32 << 10;

/// The most user memory that the bounds allow, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    pub cores: u64,
    pub connections: u64,
    /// Provided buffers, and spill, TLS and queued bytes of one relay.
    pub per_relay: u64,
    /// One connection, open and idle.
    pub per_tunnel: u64,
    /// One connection before its 101, with the largest head and early bytes.
    pub per_handshake: u64,
    /// Relays and log queues full, and every connection at its dearest.
    pub total: u64,
}

impl Config {
    /// The bounds for that many workers and connections; `connections` is what `limits.connections_max` came to.
    pub fn memory_bounds(&self, cores: usize, connections: usize) -> MemoryBounds {
        let limits = &self.limits;
        let sum = |parts: &[usize]| {
            parts
                .iter()
                .map(|part| wide(*part))
                .fold(0, u64::saturating_add)
        };
        let per_tunnel = TUNNEL_BYTES + self.log.bytes_of_tunnel();
        let logs = wide(self.log.queue_lines_max).saturating_mul(2 * wide(LINE_BYTES));
        let per_relay = sum(&[limits.relay_buffer_bytes, limits.relay_spill_bytes_max]);
        let head = &limits.head;
        let per_handshake = HANDSHAKE_BYTES
            + sum(&[
                head.target_bytes_max,
                head.fields_bytes_max,
                limits.early_bytes_max,
            ]);
        let (cores, connections) = (wide(cores), wide(connections));
        MemoryBounds {
            cores,
            connections,
            per_relay,
            per_tunnel,
            per_handshake,
            total: cores
                .saturating_mul(per_relay)
                .saturating_add(logs)
                .saturating_add(connections.saturating_mul(per_handshake.max(per_tunnel))),
        }
    }
}

impl Log {
    /// What an open tunnel keeps of its request until its last line.
    fn bytes_of_tunnel(&self) -> u64 {
        match self.access_format {
            AccessFormat::Json => 0,
            AccessFormat::Apig | AccessFormat::ApigJson => wide(REQUEST_BYTES_MAX),
        }
    }
}

fn count(wide: u64) -> usize {
    usize::try_from(wide).unwrap_or(usize::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl fmt::Display for MemoryBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} a relay, {} an idle tunnel, {} a handshake; at most {} MiB for {} on {}",
            format_size(self.per_relay),
            format_size(self.per_tunnel),
            format_size(self.per_handshake),
            self.total >> 20,
            plural(count(self.connections), "connection"),
            plural(count(self.cores), "core"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_sum_of_its_parts() {
        let bounds = Config::base().memory_bounds(2, 1000);
        assert_eq!(bounds.per_relay, 68 << 20);
        assert_eq!(bounds.per_handshake, (32 + 32 + 128 + 16) << 10);
        assert_eq!(
            bounds.total,
            2 * bounds.per_relay + 1000 * bounds.per_handshake + (16 << 20)
        );
        assert_eq!(
            Config::base().memory_bounds(usize::MAX, usize::MAX).total,
            u64::MAX
        );
    }
}

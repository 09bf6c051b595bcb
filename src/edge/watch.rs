//! Looking out for a client that leaves before it has its answer.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use std::time::Duration;

use monoio::time::sleep;

use super::Edge;
use super::pool::Buffer;
use super::stream::{Received, Stream};

/// How often a client that has sent all it may is looked after.
pub(super) const FULL_WATCH: Duration = Duration::from_millis(100);

/// Reads what the client sends early, as much as it may, until it leaves. One that ends its sending direction has left:
/// nothing tells it from one that has closed.
pub(super) async fn watch(edge: &Edge, stream: &Stream, early: &mut Buffer) {
    while early.len() < edge.live().config.limits.early_bytes_max {
        match stream.next(&edge.scratch, early).await {
            Ok(Received::Bytes) => {}
            Ok(Received::End) | Err(_) => return,
        }
    }
    // The rest stays in the kernel, where it holds the client up. No read tells when it leaves, so it is asked after.
    while !stream.peer_has_left() {
        sleep(FULL_WATCH).await;
    }
}

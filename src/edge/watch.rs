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
/// nothing tells it from one that has closed, and a tunnel is nothing to it.
pub(super) async fn watch(edge: &Edge, stream: &Stream, early: &mut Buffer) {
    if collect(edge, stream, early).await != Collected::Full {
        return;
    }
    // The rest stays in the kernel, where it holds the client up. No read tells when it leaves, so it is asked after.
    while !stream.peer_has_left() {
        sleep(FULL_WATCH).await;
    }
}

/// As `watch`, for a client that waits for an answer: it may have ended its sending direction because it has asked all
/// it had to ask (RFC 9293 §3.6). It has left when nothing can be sent to it; one that has closed says so, with a reset,
/// to the first byte that it is sent.
pub(super) async fn watch_asker(edge: &Edge, stream: &Stream, early: &mut Buffer) {
    if collect(edge, stream, early).await == Collected::Broken {
        return;
    }
    while !stream.peer_is_gone() {
        sleep(FULL_WATCH).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collected {
    /// The client has ended its sending direction.
    All,
    Full,
    Broken,
}

async fn collect(edge: &Edge, stream: &Stream, early: &mut Buffer) -> Collected {
    while early.len() < edge.live().config.limits.early_bytes_max {
        match stream.next(&edge.scratch, early).await {
            Ok(Received::Bytes) => {}
            Ok(Received::End) => return Collected::All,
            Err(_) => return Collected::Broken,
        }
    }
    Collected::Full
}

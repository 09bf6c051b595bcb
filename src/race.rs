//! Two things at once, of which the first to end decides.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Which of two futures ended first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First<A, B> {
    Work(A),
    Other(B),
}

/// Runs both until one ends, and drops the other. `work` wins a draw.
pub(crate) async fn race<A, B>(
    work: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> First<A, B> {
    let mut work = pin!(work);
    let mut other = pin!(other);
    poll_fn(|context| {
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(First::Work(output));
        }
        other.as_mut().poll(context).map(First::Other)
    })
    .await
}

/// Lets everything else that is ready, the ring and the timers among it, have its turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

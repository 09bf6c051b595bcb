//! What the supervisor is told: readiness, reloads, the end, a line of status, signs of life (sd_notify(3)). Without one
//! nothing is sent.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use monoio::time::sleep;
use sd_notify::NotifyState;

thread_local! {
    /// What the line of status says while nothing is under way. The control thread alone talks to the supervisor.
    static RESTING: RefCell<String> = const { RefCell::new(String::new()) };
}

pub(super) fn ready(status: &str) {
    RESTING.set(status.to_owned());
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What is under way is over.
pub(super) fn rest() {
    RESTING.with_borrow(|status| tell(&[NotifyState::Status(status)]));
}

/// A reload has begun; `ready` ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        // Without the time the supervisor would take the message for a failure.
        Err(error) => tracing::warn!(%error, "the supervisor is not told of the reload"),
    }
}

pub(super) fn stopping(status: &str) {
    RESTING.set(status.to_owned());
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Gives signs of life at half the interval that the supervisor asked for. Never ends.
pub(super) async fn watchdog() -> Infallible {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        sleep((interval / 2).max(Duration::from_millis(1))).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}

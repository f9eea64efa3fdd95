//! Waiting for a condition, with a bound.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest wait for anything; far more than a busy machine needs.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`WAIT_MAX`].
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(WAIT_MAX, what, look).await
}

/// The same for what takes long by itself.
///
/// # Panics
/// When there is no answer within `most`.
pub async fn eventually_within<T>(most: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + most;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {most:?} for: {what}");
        sleep(POLL).await;
    }
}

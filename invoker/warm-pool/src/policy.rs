//! The two things that can be chosen: how long an idle instance is kept, and which one is given up first.

use std::time::Duration;

use crate::config::IDLE_TIME_MAX;
use crate::history::History;

/// A rule for keeping instances. Which one is the default, and why, is in `docs/adr/0001-warm-pool-policy.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Kept for a fixed time; if there is no room, the one that was used least recently goes.
    FixedTime(Duration),
    /// Kept until there is no room; then the one that was used least recently goes.
    LeastRecentlyUsed,
    /// Kept until there is no room; then the one goes whose return is worth least: uses x time to make it / memory, on
    /// a clock that rises with every instance that is given up, so that what is not used any more ages.
    GreedyDual,
    /// Kept for as long as this version's callers were seen to stay away, or for a fixed time while that is not known;
    /// if there is no room, the one that was used least recently goes.
    Histogram(Duration),
    /// Kept for as long as this version's callers were seen to stay away, or for four hours while that is not known; if
    /// there is no room, the one goes whose return is worth least: how often it is used x time to make it / memory. How
    /// often, is one over the pause before its last call, or over the pause by now if that is longer already: so that what
    /// is not used any more ages, and a burst that is over leaves nothing behind.
    Learned,
}

/// What is known of an idle instance when its turn to go is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// When its last call ended.
    pub(crate) since: Duration,
    /// Where the clock of [`Policy::GreedyDual`] stood then.
    pub(crate) clock: f64,
    /// For how long it was not used by now.
    pub(crate) age: Duration,
    /// For how long nobody had come before its last call.
    pub(crate) pause: Duration,
    /// Calls that it has served.
    pub(crate) uses: u32,
    /// Time that it took to make one, in microseconds.
    pub(crate) cost_us: u64,
    /// Its memory.
    pub(crate) bytes: u64,
}

impl Policy {
    /// How long an idle instance is kept; `None` is for as long as there is room.
    pub(crate) fn idle_time(self, history: &History) -> Option<Duration> {
        match self {
            Self::FixedTime(time) => Some(time),
            Self::LeastRecentlyUsed | Self::GreedyDual => None,
            Self::Histogram(unknown) => Some(history.idle_time().unwrap_or(unknown)),
            Self::Learned => Some(history.idle_time().unwrap_or(IDLE_TIME_MAX)),
        }
    }

    /// Of all candidates the one with the smallest worth goes first.
    pub(crate) fn worth(self, candidate: &Candidate) -> f64 {
        match self {
            Self::FixedTime(_) | Self::LeastRecentlyUsed | Self::Histogram(_) => candidate.since.as_secs_f64(),
            Self::GreedyDual => candidate.clock + f64::from(candidate.uses) * cost_per_byte(candidate),
            Self::Learned => {
                let pause = candidate.age.max(candidate.pause).max(Duration::from_millis(1));
                cost_per_byte(candidate) / pause.as_secs_f64()
            }
        }
    }

    /// Where the clock stands after an instance of that worth has gone.
    pub(crate) fn clock_after(self, clock: f64, worth: f64) -> f64 {
        match self {
            Self::FixedTime(_) | Self::LeastRecentlyUsed | Self::Histogram(_) | Self::Learned => clock,
            Self::GreedyDual => clock.max(worth),
        }
    }
}

fn cost_per_byte(candidate: &Candidate) -> f64 {
    candidate.cost_us.max(1) as f64 / candidate.bytes.max(1) as f64
}

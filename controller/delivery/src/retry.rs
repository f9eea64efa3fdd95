//! What becomes of an event after an attempt.

use serde::{Deserialize, Serialize};

/// Most attempts that may be asked for.
const ATTEMPTS_MAX: u32 = 100;
/// The longest pause that may be asked for, in seconds.
const BACKOFF_SECONDS_MAX: u32 = 24 * 3_600;
/// The longest age that may be asked for, in seconds.
const AGE_SECONDS_MAX: u32 = 14 * 24 * 3_600;
/// The first pause after a fault that is not the function's, in milliseconds. Doubles up to the longest one.
const SPARED_PAUSE_MS: i64 = 1_000;
const SPARED_PAUSE_MS_MAX: i64 = 300_000;
/// An event whose attempts were cut off by the end of the server this often is suspected to be the reason: from then on
/// such an attempt counts like a failed one.
const INTERRUPTIONS_SPARED: u32 = 10;
/// A pause is made longer by up to one part in so many, so that what failed together does not come back together.
const JITTER_PART: i64 = 10;

/// How often and when a failed event is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts that the function may fail before the event is given up, from 1 to 100.
    pub max_attempts: u32,
    /// The pause after the first failure, in seconds; doubles after each further one.
    pub backoff_seconds: u32,
    /// The longest pause, in seconds.
    pub max_backoff_seconds: u32,
    /// The age at which an event is given up even if attempts are left, in seconds, from when it was due first.
    pub max_age_seconds: u32,
}

impl Default for RetryPolicy {
    /// As AWS Lambda: two retries, after one and two minutes; six hours.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_seconds: 60,
            max_backoff_seconds: 3_600,
            max_age_seconds: 6 * 3_600,
        }
    }
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A number is out of its range.
    #[error("{name} must be from {least} to {most}, not {found}")]
    Range {
        /// Which one.
        name: &'static str,
        /// The smallest that is taken.
        least: u32,
        /// The largest that is taken.
        most: u32,
        /// What was asked for.
        found: u32,
    },
    /// The first pause is longer than the longest.
    #[error("backoff_seconds must not be more than max_backoff_seconds")]
    Order,
}

impl RetryPolicy {
    /// Whether its numbers are in their ranges.
    ///
    /// # Errors
    /// Names the first one that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        let ranges = [
            ("max_attempts", self.max_attempts, 1, ATTEMPTS_MAX),
            ("backoff_seconds", self.backoff_seconds, 0, BACKOFF_SECONDS_MAX),
            ("max_backoff_seconds", self.max_backoff_seconds, 0, BACKOFF_SECONDS_MAX),
            ("max_age_seconds", self.max_age_seconds, 1, AGE_SECONDS_MAX),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(PolicyError::Range {
                    name,
                    least,
                    most,
                    found,
                });
            }
        }
        if self.backoff_seconds > self.max_backoff_seconds {
            return Err(PolicyError::Order);
        }
        Ok(())
    }

    /// How long an event may live, in milliseconds.
    #[must_use]
    pub fn max_age_ms(&self) -> i64 {
        i64::from(self.max_age_seconds) * 1_000
    }
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The function failed, trapped, used up its memory or its time.
    Function,
    /// There was no room for it at the moment. Not the function's fault.
    Throttled,
    /// The platform could not run it. Not the function's fault.
    Platform,
    /// The server ended while it ran.
    Interrupted,
    /// It can never succeed: the function is gone, or cannot be given this event.
    Permanent,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The function has done it.
    Succeeded,
    /// It did not, and why.
    Failed(Fault),
    /// Somebody asked to stop it.
    Cancelled,
}

/// What is known of an event before an attempt is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Attempts that were begun, this one included.
    pub attempts: u32,
    /// Earlier ones that count against the policy.
    pub burned: u32,
    /// Earlier ones that the end of the server cut off.
    pub interrupted: u32,
    /// When it is given up, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Succeeded,
    /// Waits for another attempt.
    Retry {
        /// When it is due, in milliseconds since 1970.
        due_ms: i64,
        /// Attempts that count against the policy from now on.
        burned: u32,
    },
    /// All attempts are used up, or none can help.
    Dead,
    /// Its next attempt would come too late.
    Expired,
    /// Stopped by somebody.
    Cancelled,
}

impl RetryPolicy {
    /// Judges an attempt that ended at `now_ms`; `random` spreads the pause.
    #[must_use]
    pub fn next(&self, ending: Ending, history: History, now_ms: i64, random: u64) -> Next {
        let fault = match ending {
            Ending::Succeeded => return Next::Succeeded,
            Ending::Cancelled => return Next::Cancelled,
            Ending::Failed(Fault::Permanent) => return Next::Dead,
            Ending::Failed(fault) => fault,
        };
        let counts = match fault {
            Fault::Function | Fault::Permanent => true,
            Fault::Throttled | Fault::Platform => false,
            Fault::Interrupted => history.interrupted >= INTERRUPTIONS_SPARED,
        };
        let burned = history.burned + u32::from(counts);
        if burned >= self.max_attempts {
            return Next::Dead;
        }
        let pause_ms = match fault {
            _ if counts => self.burned_pause_ms(burned),
            // The server that begins again is the pause. An event that saw more than one end of it waits longer, so that it
            // is not under way again when the next end comes, by whomever.
            Fault::Interrupted if history.interrupted == 0 => 0,
            Fault::Interrupted => spared_pause_ms(history.interrupted),
            _ => spared_pause_ms(history.attempts - history.burned),
        };
        let due_ms = now_ms.saturating_add(jittered(pause_ms, random));
        if due_ms >= history.expires_ms {
            return Next::Expired;
        }
        Next::Retry { due_ms, burned }
    }

    /// The pause after the failure that was the `burned`th, from 1.
    fn burned_pause_ms(&self, burned: u32) -> i64 {
        let doubled = doubled(i64::from(self.backoff_seconds) * 1_000, burned - 1);
        doubled.min(i64::from(self.max_backoff_seconds) * 1_000)
    }
}

/// The pause after the `spared`th attempt that did not count, from 1.
fn spared_pause_ms(spared: u32) -> i64 {
    doubled(SPARED_PAUSE_MS, spared.saturating_sub(1)).min(SPARED_PAUSE_MS_MAX)
}

fn doubled(first_ms: i64, times: u32) -> i64 {
    first_ms.saturating_mul(1_i64.checked_shl(times.min(40)).unwrap_or(i64::MAX))
}

fn jittered(pause_ms: i64, random: u64) -> i64 {
    let most = pause_ms / JITTER_PART;
    let more = random % (most.unsigned_abs() + 1);
    pause_ms + i64::try_from(more).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_132_800_000;

    fn history(attempts: u32, burned: u32) -> History {
        History {
            attempts,
            burned,
            interrupted: 0,
            expires_ms: NOW + 6 * 3_600_000,
        }
    }

    #[test]
    fn the_default_is_lambdas() {
        let policy = RetryPolicy::default();
        let failed = Ending::Failed(Fault::Function);
        let due = |pause_ms, burned| Next::Retry {
            due_ms: NOW + pause_ms,
            burned,
        };
        assert_eq!(policy.next(failed, history(1, 0), NOW, 0), due(60_000, 1));
        assert_eq!(policy.next(failed, history(2, 1), NOW, 0), due(120_000, 2));
        assert_eq!(policy.next(failed, history(3, 2), NOW, 0), Next::Dead);
    }

    #[test]
    fn faults_of_others_do_not_count() {
        let policy = RetryPolicy::default();
        for fault in [Fault::Throttled, Fault::Platform] {
            let next = policy.next(Ending::Failed(fault), history(5, 2), NOW, 0);
            assert_eq!(
                next,
                Next::Retry {
                    due_ms: NOW + 4_000,
                    burned: 2
                }
            );
        }
    }

    #[test]
    fn an_event_that_ends_the_server_again_and_again_is_given_up() {
        let policy = RetryPolicy::default();
        let mut history = history(0, 0);
        for attempt in 1..=20 {
            history.attempts = attempt;
            match policy.next(Ending::Failed(Fault::Interrupted), history, NOW, 7) {
                Next::Retry { due_ms, burned } => {
                    assert_eq!(due_ms == NOW, attempt == 1, "the first one waits for nothing");
                    history.burned = burned;
                    history.interrupted += 1;
                }
                next => {
                    assert_eq!((next, attempt), (Next::Dead, 13));
                    return;
                }
            }
        }
        panic!("it was never given up");
    }

    #[test]
    fn a_retry_that_would_come_too_late_does_not_wait() {
        let policy = RetryPolicy::default();
        let old = History {
            expires_ms: NOW + 60_000,
            ..history(1, 0)
        };
        assert_eq!(policy.next(Ending::Failed(Fault::Function), old, NOW, 0), Next::Expired);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let with = |change: fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            policy.check().map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| {}), Ok(()));
        for (change, named) in [
            (
                (|policy| policy.max_attempts = 0) as fn(&mut RetryPolicy),
                "max_attempts must be from 1 to 100, not 0",
            ),
            (
                |policy| policy.max_attempts = 101,
                "max_attempts must be from 1 to 100, not 101",
            ),
            (
                |policy| policy.backoff_seconds = 86_401,
                "backoff_seconds must be from 0 to 86400, not 86401",
            ),
            (
                |policy| policy.max_age_seconds = 0,
                "max_age_seconds must be from 1 to 1209600, not 0",
            ),
            (
                |policy| policy.max_backoff_seconds = 59,
                "backoff_seconds must not be more than max_backoff_seconds",
            ),
        ] {
            assert_eq!(with(change), Err(named.to_owned()));
        }
    }
}

//! When a version was called: the pauses after which somebody came back.

use std::time::Duration;

use crate::config::{
    IDLE_TIME_MAX, IDLE_TIME_MIN, LEVELS_MAX, PAUSE_MARGIN_TIMES, PAUSE_UNKNOWN, PAUSES_COVERED_PERCENT, PAUSES_MAX,
    PAUSES_MIN,
};

/// Buckets of one doubling: a bucket's end is at most a quarter longer than what is in it.
const BUCKETS_PER_DOUBLING: usize = 4;
/// Eight doublings lead from one minute past four hours.
const BUCKETS: usize = 8 * BUCKETS_PER_DOUBLING;

/// The pauses of one version, whether an instance outlived them or not: so what was given up too early is seen, too.
///
/// With many calls at once there are many pauses at once. Instances are used last-in-first-out, and so are the ends of
/// calls here: a call's pause began with the end that was the latest one not yet followed by a call.
#[derive(Debug, Clone)]
pub(crate) struct History {
    /// Pauses of at least [`IDLE_TIME_MIN`] by length; the last bucket holds those that are too long to wait for.
    pauses: [u16; BUCKETS + 1],
    counted: u32,
    /// Ends of calls that no call has followed yet; the latest last.
    ends: Vec<Duration>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            pauses: [0; BUCKETS + 1],
            counted: 0,
            ends: Vec::new(),
        }
    }

    /// A call begins; after what pause?
    pub(crate) fn begin(&mut self, now: Duration) -> Duration {
        let Some(ended) = self.ends.pop() else {
            return PAUSE_UNKNOWN;
        };
        let pause = now.saturating_sub(ended);
        if pause >= IDLE_TIME_MIN {
            self.count(pause);
        }
        pause
    }

    fn count(&mut self, pause: Duration) {
        self.pauses[bucket_of(pause)] += 1;
        self.counted += 1;
        if self.counted >= PAUSES_MAX {
            self.counted = 0;
            for count in &mut self.pauses {
                *count /= 2;
                self.counted += u32::from(*count);
            }
        }
    }

    /// A call ends.
    pub(crate) fn end(&mut self, now: Duration) {
        if self.ends.len() == LEVELS_MAX {
            self.ends.remove(0);
        }
        self.ends.push(now);
    }

    /// How long an idle instance is worth keeping; `None` while too little is known, or when the pauses that are waited
    /// for are too long.
    pub(crate) fn idle_time(&self) -> Option<Duration> {
        if self.counted < PAUSES_MIN {
            return None;
        }
        let covered = (self.counted * PAUSES_COVERED_PERCENT).div_ceil(100);
        let mut seen = 0;
        let bucket = self.pauses.iter().position(|count| {
            seen += u32::from(*count);
            seen >= covered
        })?;
        (bucket < BUCKETS).then(|| (end_of(bucket) * PAUSE_MARGIN_TIMES).min(IDLE_TIME_MAX))
    }

    /// When a call ended last.
    pub(crate) fn last_end(&self) -> Option<Duration> {
        self.ends.last().copied()
    }
}

fn bucket_of(pause: Duration) -> usize {
    (0..BUCKETS).find(|bucket| pause <= end_of(*bucket)).unwrap_or(BUCKETS)
}

/// The longest pause of a bucket.
fn end_of(bucket: usize) -> Duration {
    let (doublings, quarters) = (bucket / BUCKETS_PER_DOUBLING, bucket % BUCKETS_PER_DOUBLING + 1);
    let base = IDLE_TIME_MIN * (1 << doublings);
    base + base * u32::try_from(quarters).unwrap_or(0) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    /// Calls of no length, so far apart.
    fn history(gaps: impl IntoIterator<Item = Duration>) -> History {
        let mut history = History::new();
        let mut now = Duration::ZERO;
        for gap in gaps {
            history.begin(now);
            history.end(now);
            now += gap;
        }
        history.begin(now);
        history
    }

    #[test]
    fn the_buckets_reach_from_a_minute_past_four_hours() {
        assert!((1..BUCKETS).all(|bucket| end_of(bucket) > end_of(bucket - 1)));
        assert!((1..BUCKETS).all(|bucket| end_of(bucket) <= end_of(bucket - 1) * 5 / 4));
        assert_eq!(bucket_of(IDLE_TIME_MIN), 0);
        assert!(end_of(BUCKETS - 1) >= IDLE_TIME_MAX);
        assert_eq!(bucket_of(minutes(24 * 60)), BUCKETS);
    }

    #[test]
    fn a_regular_caller_is_waited_for_twice_as_long_as_it_takes() {
        for pause in [2, 5, 15, 60] {
            let learned = history([minutes(pause); 20]).idle_time().unwrap();
            assert!(learned >= minutes(pause) * 2, "{learned:?} for {pause} minutes");
            assert!(learned <= minutes(pause) * 5 / 2, "{learned:?} for {pause} minutes");
        }
    }

    #[test]
    fn little_is_not_enough() {
        assert_eq!(history([minutes(5); 7]).idle_time(), None);
        assert!(history([minutes(5); 8]).idle_time().is_some());
    }

    #[test]
    fn short_pauses_say_nothing_about_long_ones() {
        // A thousand calls a second apart, then a pause; and that ten times.
        let busy = std::iter::repeat_n(Duration::from_secs(1), 1_000).chain([minutes(20)]);
        let learned = history((0..10).flat_map(|_| busy.clone())).idle_time().unwrap();
        assert!((minutes(40)..=minutes(50)).contains(&learned), "{learned:?}");
    }

    #[test]
    fn nobody_waits_for_a_day() {
        assert_eq!(history([minutes(24 * 60); 50]).idle_time(), None);
    }

    #[test]
    fn habits_change() {
        let before = std::iter::repeat_n(minutes(60), 200);
        let after = std::iter::repeat_n(minutes(2), 5_000);
        let learned = history(before.chain(after)).idle_time().unwrap();
        assert!(learned < minutes(6), "{learned:?}");
    }

    #[test]
    fn each_of_many_calls_at_once_has_its_own_pause() {
        let mut history = History::new();
        for peak in 0..20 {
            // One caller all the time, and a second one every half hour.
            for minute in 0..30 {
                let now = minutes(peak * 30 + minute);
                history.begin(now);
                if minute == 0 {
                    history.begin(now);
                    history.end(now);
                }
                history.end(now);
            }
        }
        let learned = history.idle_time().unwrap();
        assert!((minutes(60)..=minutes(75)).contains(&learned), "{learned:?}");
    }
}

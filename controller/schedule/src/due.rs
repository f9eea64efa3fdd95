//! What fires when a scheduler looks: usually one tick, and after a time in which nobody looked perhaps many.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::Schedule;

/// A tick that is later than this was missed.
const GRACE: TimeDelta = TimeDelta::seconds(60);
/// Most ticks that fire at once.
pub const TICKS_MAX: usize = 100;
/// How far back missed ticks are looked for first; ten times as far until there are enough.
const LOOK_BACK_FIRST: TimeDelta = TimeDelta::seconds(100);
const LOOK_BACK_FACTOR: i32 = 10;

/// What happens to ticks that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// The last one fires.
    One,
    /// All fire, at most the last [`TICKS_MAX`].
    All,
}

/// Ticks that fire now, and the one after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The first one first.
    pub ticks: Vec<DateTime<Utc>>,
    /// The first tick after now; `None` when there is no more.
    pub next: Option<DateTime<Utc>>,
}

impl Schedule {
    /// What fires at `now`, when `first` was the tick that was waited for.
    #[must_use]
    pub fn due(
        &self,
        first: DateTime<Utc>,
        now: DateTime<Utc>,
        zone: Tz,
        created: DateTime<Utc>,
        missed: Missed,
    ) -> Due {
        let mut ticks = self.last_ticks(first, now, zone, created);
        let in_time = ticks.iter().filter(|tick| now - **tick <= GRACE).count();
        match missed {
            Missed::Skip => drop(ticks.drain(..ticks.len() - in_time)),
            Missed::One if in_time < ticks.len() => drop(ticks.drain(..ticks.len() - in_time - 1)),
            Missed::One | Missed::All => {}
        }
        Due {
            ticks: ticks.into(),
            next: self.next_after(now, zone, created),
        }
    }

    /// The last ticks from `first` to `now`, both included. Looks back step by step, because there may be millions.
    fn last_ticks(
        &self,
        first: DateTime<Utc>,
        now: DateTime<Utc>,
        zone: Tz,
        created: DateTime<Utc>,
    ) -> VecDeque<DateTime<Utc>> {
        let mut look_back = LOOK_BACK_FIRST;
        loop {
            let from = first.max(now - look_back);
            let mut ticks = VecDeque::new();
            // The tick that was waited for is one also if the rule would not say so any more.
            let mut tick = if from == first && first <= now {
                Some(first)
            } else {
                self.next_after(from, zone, created)
            };
            while let Some(at) = tick.filter(|at| *at <= now) {
                if ticks.len() == TICKS_MAX {
                    ticks.pop_front();
                }
                ticks.push_back(at);
                tick = self.next_after(at, zone, created);
            }
            if ticks.len() == TICKS_MAX || from == first {
                return ticks;
            }
            look_back = look_back * LOOK_BACK_FACTOR;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Timelike};
    use proptest::prelude::*;

    use super::*;

    fn at(hour: u32, minute: u32, second: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 21, hour, minute, second).unwrap()
    }

    /// Hour and minute.
    type Clock = (u32, u32);

    fn due(text: &str, first: DateTime<Utc>, now: DateTime<Utc>, missed: Missed) -> (Vec<Clock>, Option<Clock>) {
        let schedule = Schedule::parse(text).unwrap();
        let due = schedule.due(first, now, Tz::UTC, at(0, 0, 0), missed);
        let clock = |tick: DateTime<Utc>| (tick.hour(), tick.minute());
        (due.ticks.into_iter().map(clock).collect(), due.next.map(clock))
    }

    #[test]
    fn a_tick_in_time_fires_whatever_the_policy() {
        for missed in [Missed::Skip, Missed::One, Missed::All] {
            let found = due("*/5 * * * *", at(9, 0, 0), at(9, 0, 30), missed);
            assert_eq!(found, (vec![(9, 0)], Some((9, 5))));
        }
    }

    #[test]
    fn missed_ticks_follow_the_policy() {
        let of = |missed| due("*/5 * * * *", at(9, 0, 0), at(9, 12, 0), missed);
        assert_eq!(of(Missed::Skip), (vec![], Some((9, 15))));
        assert_eq!(of(Missed::One), (vec![(9, 10)], Some((9, 15))));
        assert_eq!(of(Missed::All), (vec![(9, 0), (9, 5), (9, 10)], Some((9, 15))));
        // One of them is in time.
        assert_eq!(
            due("*/5 * * * *", at(9, 0, 0), at(9, 10, 5), Missed::Skip).0,
            vec![(9, 10)]
        );
        assert_eq!(
            due("*/5 * * * *", at(9, 0, 0), at(9, 10, 5), Missed::One).0,
            vec![(9, 5), (9, 10)]
        );
    }

    #[test]
    fn a_moment_that_was_missed_has_no_next() {
        let of = |missed| due("at(2026-11-21T09:00:00)", at(9, 0, 0), at(11, 0, 0), missed);
        assert_eq!(of(Missed::Skip), (vec![], None));
        assert_eq!(of(Missed::One), (vec![(9, 0)], None));
    }

    #[test]
    fn a_year_of_seconds_is_looked_through_at_once() {
        let schedule = Schedule::parse("* * * * * *").unwrap();
        let first = at(9, 0, 0);
        let now = first + TimeDelta::days(365);
        let due = schedule.due(first, now, Tz::Europe__Berlin, first, Missed::All);
        assert_eq!(due.ticks.len(), TICKS_MAX);
        assert_eq!(due.ticks.last(), Some(&now));
        assert_eq!(due.ticks.first(), Some(&(now - TimeDelta::seconds(99))));
    }

    proptest! {
        /// However late a scheduler looks, with `All` it fires every tick once, as one that looks all the time.
        #[test]
        fn nothing_fires_twice_or_never(pauses in prop::collection::vec(1..3_000_i64, 1..40)) {
            let schedule = Schedule::parse("*/7 * * * *").unwrap();
            let zone = Tz::America__New_York;
            // Into the night in which clocks are put back.
            let start = Utc.with_ymd_and_hms(2026, 11, 1, 2, 0, 0).unwrap();
            let (mut now, mut next, mut fired) = (start, schedule.next_after(start, zone, start), Vec::new());
            for pause in pauses {
                now += TimeDelta::seconds(pause);
                if let Some(first) = next.filter(|first| *first <= now) {
                    let due = schedule.due(first, now, zone, start, Missed::All);
                    fired.extend(due.ticks);
                    next = due.next;
                }
            }
            let mut expected = Vec::new();
            let mut tick = schedule.next_after(start, zone, start);
            while let Some(at) = tick.filter(|at| *at <= now) {
                expected.push(at);
                tick = schedule.next_after(at, zone, start);
            }
            prop_assert_eq!(fired, expected);
        }
    }
}

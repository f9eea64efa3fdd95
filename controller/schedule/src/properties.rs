//! The ticks of any crontab line, against a walk through every second that tests each field by itself.

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Timelike, Utc};
use proptest::prelude::*;

use super::*;

/// How far the walk goes.
const HOURS: i64 = 50;

/// One of five fields, as text and as a test.
#[derive(Debug, Clone)]
enum Wish {
    Any,
    Step(u32),
    These(Vec<u32>),
}

impl Wish {
    fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Step(step) => format!("*/{step}"),
            Self::These(values) => values.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        }
    }

    fn holds(&self, value: u32, least: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Step(step) => (value - least).is_multiple_of(*step),
            Self::These(values) => values.contains(&value),
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self, Self::These(_))
    }
}

fn wish(values: std::ops::Range<u32>) -> impl Strategy<Value = Wish> {
    let most = values.end - values.start;
    prop_oneof![
        2 => Just(Wish::Any),
        2 => (1..most).prop_map(Wish::Step),
        3 => prop::collection::vec(values, 1..4).prop_map(Wish::These),
    ]
}

#[derive(Debug, Clone)]
struct Line {
    minute: Wish,
    hour: Wish,
    day_of_month: Wish,
    day_of_week: Wish,
}

impl Line {
    fn text(&self) -> String {
        let [minute, hour, of_month, of_week] =
            [&self.minute, &self.hour, &self.day_of_month, &self.day_of_week].map(Wish::text);
        format!("{minute} {hour} {of_month} * {of_week}")
    }

    fn holds(&self, wall: NaiveDateTime) -> bool {
        let of_month = self.day_of_month.holds(wall.day(), 1);
        let of_week = self.day_of_week.holds(wall.weekday().num_days_from_sunday(), 0);
        let day = if self.day_of_month.is_open() || self.day_of_week.is_open() {
            of_month && of_week
        } else {
            of_month || of_week
        };
        day && wall.second() == 0 && self.minute.holds(wall.minute(), 0) && self.hour.holds(wall.hour(), 0)
    }

    fn is_interval(&self) -> bool {
        self.minute.is_open() || self.hour.is_open()
    }

    /// Every tick of the hours after `start`, found minute by minute.
    fn ticks(&self, start: DateTime<Utc>, zone: Tz) -> Vec<DateTime<Utc>> {
        let wall = |instant: DateTime<Utc>| instant.with_timezone(&zone).naive_local();
        let mut ticks = Vec::new();
        for minute in 1..=HOURS * 60 {
            let now = start + TimeDelta::minutes(minute);
            let (before, shown) = (wall(now - TimeDelta::minutes(1)), wall(now));
            let fires = if self.is_interval() {
                self.holds(shown)
            } else {
                // What was skipped, and not what was shown before.
                let skipped = minutes_between(before, shown).any(|wall| self.holds(wall));
                let shown_before = zone
                    .from_local_datetime(&shown)
                    .earliest()
                    .is_some_and(|first| first < now);
                skipped || (self.holds(shown) && !shown_before)
            };
            if fires {
                ticks.push(now);
            }
        }
        ticks
    }
}

/// The minutes between two that follow each other: none, unless clocks were put forward.
fn minutes_between(before: NaiveDateTime, after: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
    let count = (after - before).num_minutes() - 1;
    (1..=count).map(move |minute| before + TimeDelta::minutes(minute))
}

/// Clocks are changed at night, so fixed times of the night are what is looked for most.
fn hour() -> impl Strategy<Value = Wish> {
    prop_oneof![
        1 => wish(0..24),
        1 => prop::collection::vec(0_u32..4, 1..4).prop_map(Wish::These),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let day = |values| prop_oneof![2 => Just(Wish::Any), 1 => wish(values)];
    (wish(0..60), hour(), day(1..32), day(0..7)).prop_map(|(minute, hour, day_of_month, day_of_week)| Line {
        minute,
        hour,
        day_of_month,
        day_of_week,
    })
}

/// A zone and a day before its clocks are changed, or any day.
fn place() -> impl Strategy<Value = (Tz, DateTime<Utc>)> {
    let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
    let changes = vec![
        (Tz::Europe__Berlin, at("2026-03-28T12:00:00Z")),
        (Tz::Europe__Berlin, at("2026-10-24T12:00:00Z")),
        (Tz::America__New_York, at("2026-03-07T12:00:00Z")),
        (Tz::America__New_York, at("2026-10-31T12:00:00Z")),
        (Tz::Australia__Lord_Howe, at("2026-04-04T00:00:00Z")),
        (Tz::Australia__Lord_Howe, at("2026-10-03T00:00:00Z")),
        (Tz::Africa__Casablanca, at("2026-02-14T12:00:00Z")),
        (Tz::Africa__Casablanca, at("2026-03-21T12:00:00Z")),
        (Tz::Pacific__Apia, at("2011-12-29T12:00:00Z")),
        (Tz::Asia__Seoul, at("2026-02-27T12:00:00Z")),
    ];
    (prop::sample::select(changes), 0_i64..12 * 60)
        .prop_map(|((zone, start), minutes)| (zone, start + TimeDelta::minutes(minutes)))
}

proptest! {
    #[test]
    fn no_tick_is_lost_and_none_is_invented(line in line(), (zone, start) in place()) {
        let Ok(schedule) = Schedule::parse(&line.text()) else {
            // Such as the 31st in no month: never here, because every month is asked for.
            return Err(TestCaseError::fail(line.text()));
        };
        let end = start + TimeDelta::hours(HOURS);
        let mut found = Vec::new();
        let mut last = start;
        while let Some(next) = schedule.next_after(last, zone, start).filter(|next| *next <= end) {
            prop_assert!(next > last, "{next} after {last}");
            found.push(next);
            last = next;
        }
        prop_assert_eq!(found, line.ticks(start, zone), "{} in {}", line.text(), zone);
    }

    #[test]
    fn where_one_asks_from_does_not_matter(line in line(), (zone, start) in place(), later in 1_i64..HOURS * 3_600) {
        let schedule = Schedule::parse(&line.text()).unwrap();
        let asked = start + TimeDelta::seconds(later);
        let mut walked = start;
        while let Some(next) = schedule.next_after(walked, zone, start).filter(|next| *next <= asked) {
            walked = next;
        }
        prop_assert_eq!(
            schedule.next_after(walked, zone, start),
            schedule.next_after(asked, zone, start),
            "{} in {}", line.text(), zone
        );
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-*/,?0-9a-zA-Z#@() ]{0,40}") {
        if let Ok(schedule) = Schedule::parse(&text) {
            let _ = schedule.next_after(DateTime::UNIX_EPOCH, Tz::Europe__Berlin, DateTime::UNIX_EPOCH);
        }
    }
}

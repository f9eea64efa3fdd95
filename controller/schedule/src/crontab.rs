//! A crontab line, by crontab's own rules where the crate `cron` has others: five fields; Sunday is 0 or 7 and not 1; when
//! both days are given, either of them is enough.

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Utc};

use crate::error::ScheduleError;
use crate::field::{DAY_OF_MONTH, DAY_OF_WEEK, Field, HOUR, MINUTE, MONTH, SECOND};

/// A crontab line.
#[derive(Debug, Clone)]
pub(crate) struct Crontab {
    /// One, or two when either of two days is enough.
    lines: Vec<cron::Schedule>,
    is_interval: bool,
}

impl Crontab {
    pub(crate) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => return Err(ScheduleError::Word(word.to_owned())),
            line => line,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, rest) = match fields.as_slice() {
            rest @ [_, _, _, _, _] => ("0", rest),
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            other => return Err(ScheduleError::Fields(other.len())),
        };
        let line = Line {
            second: SECOND.parse(second)?,
            minute: MINUTE.parse(rest[0])?,
            hour: HOUR.parse(rest[1])?,
            day_of_month: DAY_OF_MONTH.parse(rest[2])?,
            month: MONTH.parse(rest[3])?,
            day_of_week: DAY_OF_WEEK.parse(rest[4])?,
        };
        let crontab = Self {
            lines: line.compiled()?,
            is_interval: line.second.is_open || line.minute.is_open || line.hour.is_open,
        };
        let ever = crontab.walls_after(DateTime::UNIX_EPOCH.naive_utc()).next();
        if ever.is_none() {
            return Err(ScheduleError::Never);
        }
        Ok(crontab)
    }

    /// Whether its ticks are those of an interval rather than at fixed times of the day.
    pub(crate) fn is_interval(&self) -> bool {
        self.is_interval
    }

    /// What a clock on the wall shows at its ticks after `wall`, in order and without gaps in the clock's time.
    pub(crate) fn walls_after(&self, wall: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        let mut last = wall;
        std::iter::from_fn(move || {
            // The crate counts in seconds, and a tick within the same second is not after it.
            let next = self
                .lines
                .iter()
                .filter_map(|line| line.after(&Utc.from_utc_datetime(&last)).next())
                .map(|tick| tick.naive_utc())
                .min()?;
            debug_assert!(
                next > last || last - next < TimeDelta::seconds(1),
                "{next} after {last}"
            );
            last = next;
            Some(next)
        })
    }
}

struct Line {
    second: Field,
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

impl Line {
    fn compiled(&self) -> Result<Vec<cron::Schedule>, ScheduleError> {
        let days_of_month = self.day_of_month.listed(|day| day);
        // The crate counts from 1.
        let days_of_week = self.day_of_week.listed(|day| day % 7 + 1);
        let either = !self.day_of_month.is_open && !self.day_of_week.is_open;
        let days = if either {
            vec![(days_of_month.as_str(), "*"), ("*", days_of_week.as_str())]
        } else {
            vec![(days_of_month.as_str(), days_of_week.as_str())]
        };
        days.into_iter().map(|days| self.with_days(days)).collect()
    }

    fn with_days(&self, (of_month, of_week): (&str, &str)) -> Result<cron::Schedule, ScheduleError> {
        let time = [&self.second, &self.minute, &self.hour].map(|field| field.listed(|value| value));
        let months = self.month.listed(|month| month);
        let line = format!("{} {of_month} {months} {of_week}", time.join(" "));
        cron::Schedule::from_str(&line).map_err(|error| ScheduleError::Field {
            field: "date",
            reason: error.to_string(),
        })
    }
}

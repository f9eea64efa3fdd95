//! When a schedule fires.
//!
//! A [`Schedule`] is a crontab line, a rate or a moment. It knows no clock and keeps no state: it is asked which tick comes
//! after an instant, in a time zone. The crate `cron` finds the dates on the wall; around it stand crontab's own rules
//! (`crontab.rs`) and those of clocks that are changed (`zone.rs`):
//!
//! - a tick at a fixed time that is skipped when clocks go forward fires once, at the first instant after the gap;
//! - a tick at a fixed time that comes twice when clocks go back fires once, the first time;
//! - a tick of an interval (the field of seconds, minutes or hours begins with `*`) follows the wall clock: it fires each
//!   time that the clock shows it, which may be twice or not at all.

mod crontab;
mod due;
mod error;
mod field;
mod zone;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
pub use chrono_tz::Tz;

use crate::crontab::Crontab;
pub use crate::due::{Due, Missed, TICKS_MAX};
pub use crate::error::ScheduleError;

/// Longest text of a schedule, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// The shortest and the longest time between two ticks of a rate, in seconds.
const RATE_SECONDS_MIN: i64 = 1;
const RATE_SECONDS_MAX: i64 = 366 * 24 * 3_600;
/// What `at(...)` takes.
const AT_FORMAT: &str = "%Y-%m-%dT%H:%M:%S";

/// When something fires.
#[derive(Debug, Clone)]
pub struct Schedule {
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Crontab(Box<Crontab>),
    Rate(TimeDelta),
    At(NaiveDateTime),
}

impl Schedule {
    /// Reads a schedule: a crontab line of five fields, or of six with seconds first; `@yearly`, `@monthly`, `@weekly`,
    /// `@daily` or `@hourly`; `rate(5 minutes)`; `at(2026-12-31T23:59:00)`.
    ///
    /// # Errors
    /// When it is none of these, or a crontab line that never fires.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ScheduleError::TooLong);
        }
        let text = text.trim();
        let rule = if let Some(rate) = argument(text, "rate") {
            Rule::Rate(rate_of(rate)?)
        } else if let Some(moment) = argument(text, "at") {
            Rule::At(NaiveDateTime::parse_from_str(moment.trim(), AT_FORMAT).map_err(|_| ScheduleError::At)?)
        } else {
            Rule::Crontab(Box::new(Crontab::parse(text)?))
        };
        Ok(Self { rule })
    }

    /// The first tick after `after`, by the clocks of `zone`. Ticks of a rate are counted from `created`. `None` when there
    /// is no more.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz, created: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.rule {
            Rule::Crontab(crontab) if crontab.is_interval() => zone::next_interval(crontab, after, zone),
            Rule::Crontab(crontab) => zone::next_fixed(crontab, after, zone),
            Rule::Rate(every) => next_of_rate(*every, after, created),
            Rule::At(moment) => Some(zone::first_instant(*moment, zone)?).filter(|tick| *tick > after),
        }
    }
}

/// What stands between the brackets of `name(...)`.
fn argument<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?
        .trim_start()
        .strip_prefix('(')?
        .strip_suffix(')')
}

fn rate_of(text: &str) -> Result<TimeDelta, ScheduleError> {
    let (number, unit) = text.trim().split_once(' ').ok_or(ScheduleError::Rate)?;
    let number: i64 = number.parse().map_err(|_| ScheduleError::Rate)?;
    let unit_seconds = match unit.trim() {
        "second" | "seconds" => 1,
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 24 * 3_600,
        _ => return Err(ScheduleError::Rate),
    };
    let seconds = number.checked_mul(unit_seconds).ok_or(ScheduleError::RateRange)?;
    if !(RATE_SECONDS_MIN..=RATE_SECONDS_MAX).contains(&seconds) {
        return Err(ScheduleError::RateRange);
    }
    Ok(TimeDelta::seconds(seconds))
}

fn next_of_rate(every: TimeDelta, after: DateTime<Utc>, created: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if after < created {
        return created.checked_add_signed(every);
    }
    let (passed_ms, every_ms) = ((after - created).num_milliseconds(), every.num_milliseconds());
    let ticks = passed_ms / every_ms + 1;
    created.checked_add_signed(TimeDelta::milliseconds(ticks.checked_mul(every_ms)?))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod table;

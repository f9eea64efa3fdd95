//! One field of a crontab line.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::error::ScheduleError;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What may stand in a field.
pub(crate) struct Sort {
    pub(crate) name: &'static str,
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
    /// The number of the first name.
    first_name: u32,
}

pub(crate) const SECOND: Sort = Sort::numbers("second", 0..=59);
pub(crate) const MINUTE: Sort = Sort::numbers("minute", 0..=59);
pub(crate) const HOUR: Sort = Sort::numbers("hour", 0..=23);
pub(crate) const DAY_OF_MONTH: Sort = Sort::numbers("day of the month", 1..=31);
pub(crate) const MONTH: Sort = Sort {
    names: &MONTHS,
    first_name: 1,
    ..Sort::numbers("month", 1..=12)
};
/// 0 and 7 are both Sunday.
pub(crate) const DAY_OF_WEEK: Sort = Sort {
    names: &DAYS,
    ..Sort::numbers("day of the week", 0..=7)
};

impl Sort {
    const fn numbers(name: &'static str, range: RangeInclusive<u32>) -> Self {
        Self {
            name,
            range,
            names: &[],
            first_name: 0,
        }
    }

    /// Reads a field: numbers, names, ranges, steps and lists of them.
    pub(crate) fn parse(&self, text: &str) -> Result<Field, ScheduleError> {
        let mut values = BTreeSet::new();
        for part in text.split(',') {
            values.extend(self.part(part)?);
        }
        Ok(Field {
            values,
            is_open: text.starts_with(['*', '?']),
        })
    }

    fn part(&self, part: &str) -> Result<impl Iterator<Item = u32>, ScheduleError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (*self.range.start(), *self.range.end()),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None => {
                let first = self.value(range)?;
                (first, if step.is_some() { *self.range.end() } else { first })
            }
        };
        if first > last {
            return Err(self.wrong(format!("{range} ends before it begins; write it as two")));
        }
        Ok((first..=last).step_by(step.unwrap_or(1)))
    }

    fn step(&self, text: &str) -> Result<usize, ScheduleError> {
        let most = self.range.end() - self.range.start() + 1;
        match text.parse::<u32>() {
            Ok(step) if (1..=most).contains(&step) => Ok(step as usize),
            _ => Err(self.wrong(format!("{text} is no step; a step is a number from 1 to {most}"))),
        }
    }

    fn value(&self, text: &str) -> Result<u32, ScheduleError> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.first_name + u32::try_from(at).unwrap_or(0));
        }
        if text.contains(['L', 'W', '#', 'l', 'w']) {
            return Err(self.wrong(format!(
                "{text} is not supported: neither L (the last), W (the nearest weekday) nor # (the nth) is"
            )));
        }
        // A sign would be read, too.
        let number = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let (least, most) = (self.range.start(), self.range.end());
        match number.and_then(|number| number.parse().ok()) {
            Some(number) if self.range.contains(&number) => Ok(number),
            _ => Err(self.wrong(format!("{text:?} is not one of {least} to {most}"))),
        }
    }

    fn wrong(&self, reason: String) -> ScheduleError {
        ScheduleError::Field {
            field: self.name,
            reason,
        }
    }
}

/// A field that was read.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) values: BTreeSet<u32>,
    /// Whether it begins with `*`: then it is no fixed time, and as a day it does not ask for certain days.
    pub(crate) is_open: bool,
}

impl Field {
    /// The field as a list of numbers, each of them changed by `change`.
    pub(crate) fn listed(&self, change: impl Fn(u32) -> u32) -> String {
        let values: BTreeSet<u32> = self.values.iter().map(|value| change(*value)).collect();
        let texts: Vec<String> = values.iter().map(u32::to_string).collect();
        texts.join(",")
    }
}

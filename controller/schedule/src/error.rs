//! Why a text is no schedule.

/// Why a text is no schedule; a sentence for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// More than anybody writes by hand.
    #[error("the schedule is longer than {} characters", crate::TEXT_BYTES_MAX)]
    TooLong,
    /// Neither five nor six fields.
    #[error(
        "the schedule has {0} fields; a crontab line has five (minute, hour, day of the month, month, day of the week), or \
         six with seconds first"
    )]
    Fields(usize),
    /// A field holds what it cannot.
    #[error("the field of the {field} is wrong: {reason}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A word that begins with `@` and is not known.
    #[error("{0} is not known; there are @yearly, @monthly, @weekly, @daily and @hourly")]
    Word(String),
    /// Such as the 30th of February.
    #[error("the schedule never fires: no date is like that")]
    Never,
    /// Not `rate(NUMBER UNIT)`.
    #[error("a rate is written like rate(5 minutes), in seconds, minutes, hours or days")]
    Rate,
    /// Too often or too seldom.
    #[error("a rate is at least one second and at most 366 days")]
    RateRange,
    /// Not a date and a time.
    #[error("a moment is written like at(2026-12-31T23:59:00)")]
    At,
}

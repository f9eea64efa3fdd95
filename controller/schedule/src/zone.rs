//! From what a clock on the wall shows to instants, where clocks are changed.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::crontab::Crontab;

/// The most that clocks are put back by at once.
const PUT_BACK_MAX: TimeDelta = TimeDelta::hours(3);
/// No clock is further from UTC than this.
const OFFSET_MAX: TimeDelta = TimeDelta::hours(15);
/// The most that clocks are put forward by at once: a day, where the date line was moved.
const PUT_FORWARD_MAX: TimeDelta = TimeDelta::hours(25);

/// The next tick of a crontab line that asks for fixed times: each of them once, whatever is done to the clocks.
pub(crate) fn next_fixed(crontab: &Crontab, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    crontab
        .walls_after(wall(after, zone))
        .map_while(|tick| first_instant(tick, zone))
        .find(|instant| *instant > after)
}

/// The next tick of a crontab line that asks for an interval: whenever the clock shows it.
pub(crate) fn next_interval(crontab: &Crontab, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    // If clocks are put back soon, they will show again what they have shown already.
    let put_back = offset(after, zone) - offset(after.checked_add_signed(PUT_BACK_MAX)?, zone);
    let from = wall(after, zone) - put_back.max(TimeDelta::zero());
    let mut best: Option<DateTime<Utc>> = None;
    for tick in crontab.walls_after(from) {
        let instants = instants(tick, zone);
        if let (Some(best), Some(first)) = (best, instants[0])
            && first >= best
        {
            break;
        }
        let next = instants.into_iter().flatten().filter(|instant| *instant > after).min();
        best = best.into_iter().chain(next).min();
        if best.is_some() && put_back <= TimeDelta::zero() {
            break;
        }
    }
    best
}

/// The first instant at which the clock shows `wall`, or, where it never does, the first after that.
pub(crate) fn first_instant(wall: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&wall) {
        MappedLocalTime::Single(instant) | MappedLocalTime::Ambiguous(instant, _) => Some(instant.to_utc()),
        MappedLocalTime::None => end_of_gap(wall, zone),
    }
}

/// The instants at which the clock shows `wall`: none, one or two.
fn instants(wall: NaiveDateTime, zone: Tz) -> [Option<DateTime<Utc>>; 2] {
    match zone.from_local_datetime(&wall) {
        MappedLocalTime::Single(instant) => [Some(instant.to_utc()), None],
        MappedLocalTime::Ambiguous(first, second) => [Some(first.to_utc()), Some(second.to_utc())],
        MappedLocalTime::None => [None, None],
    }
}

/// The first instant at which the clock shows more than `missing`, which it never shows.
fn end_of_gap(missing: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let around = missing.and_utc();
    let mut before = around.checked_sub_signed(OFFSET_MAX)?;
    let mut behind = around.checked_add_signed(OFFSET_MAX + PUT_FORWARD_MAX)?;
    while behind - before > TimeDelta::seconds(1) {
        let middle = before + TimeDelta::seconds((behind - before).num_seconds() / 2);
        if wall(middle, zone) < missing {
            before = middle;
        } else {
            behind = middle;
        }
    }
    Some(behind)
}

fn wall(instant: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    instant.with_timezone(&zone).naive_local()
}

fn offset(instant: DateTime<Utc>, zone: Tz) -> TimeDelta {
    let offset = zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
    TimeDelta::seconds(offset.local_minus_utc().into())
}

//! Hand-made tables: what fires, by the changes of clocks that were announced.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::*;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn ticks(schedule: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(schedule).unwrap();
    let mut last = instant(after);
    let created = last;
    let next = || {
        last = schedule.next_after(last, zone, created)?;
        Some(last.to_rfc3339_opts(SecondsFormat::Secs, true))
    };
    std::iter::from_fn(next).take(count).collect()
}

#[test]
fn plain_lines() {
    let fires = |line: &str, after: &str, expected: &[&str]| {
        assert_eq!(ticks(line, Tz::UTC, after, expected.len()), expected, "{line}");
    };
    fires(
        "0 9 * * *",
        "2026-11-20T08:59:59Z",
        &["2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z"],
    );
    // A tick is after an instant, never at it.
    fires("0 9 * * *", "2026-11-20T09:00:00Z", &["2026-11-21T09:00:00Z"]);
    fires(
        "*/20 * * * *",
        "2026-11-20T09:50:00.5Z",
        &["2026-11-20T10:00:00Z", "2026-11-20T10:20:00Z"],
    );
    fires("30 0 9 * * *", "2026-11-20T09:00:00Z", &["2026-11-20T09:00:30Z"]);
    fires("@hourly", "2026-11-20T09:00:00Z", &["2026-11-20T10:00:00Z"]);
    fires("@monthly", "2026-11-20T09:00:00Z", &["2026-12-01T00:00:00Z"]);
    fires(
        "5/25 3 1 JAN-mar *",
        "2026-01-01T03:30:00Z",
        &["2026-01-01T03:55:00Z", "2026-02-01T03:05:00Z"],
    );
    // The 29th of February.
    fires(
        "0 12 29 2 *",
        "2026-11-20T09:00:00Z",
        &["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"],
    );
}

#[test]
fn sunday_is_0_and_7_and_friday_is_5() {
    // 2026-11-20 is a Friday.
    for sunday in ["0", "7", "SUN", "sun"] {
        let next = ticks(&format!("0 9 * * {sunday}"), Tz::UTC, "2026-11-20T09:00:00Z", 1);
        assert_eq!(next, ["2026-11-22T09:00:00Z"], "{sunday}");
    }
    assert_eq!(
        ticks("0 9 * * 5", Tz::UTC, "2026-11-20T08:00:00Z", 1),
        ["2026-11-20T09:00:00Z"]
    );
    let weekend = ticks("0 9 * * 6-7", Tz::UTC, "2026-11-20T09:00:00Z", 3);
    assert_eq!(
        weekend,
        ["2026-11-21T09:00:00Z", "2026-11-22T09:00:00Z", "2026-11-28T09:00:00Z"]
    );
    let working = ticks("0 9 * * 1-5", Tz::UTC, "2026-11-20T09:00:00Z", 1);
    assert_eq!(working, ["2026-11-23T09:00:00Z"]);
}

#[test]
fn either_of_two_days_is_enough() {
    // Friday the 13th is one of them, not the only one.
    let found = ticks("0 0 13 * FRI", Tz::UTC, "2026-11-07T00:00:00Z", 3);
    assert_eq!(
        found,
        ["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"]
    );
    let found = ticks("0 0 13 * FRI", Tz::UTC, "2026-12-11T12:00:00Z", 1);
    assert_eq!(found, ["2026-12-13T00:00:00Z"]);
    // With a star before it, a field of days does not ask for days.
    let found = ticks("0 0 */10 * FRI", Tz::UTC, "2026-11-20T00:00:00Z", 1);
    assert_eq!(found, ["2026-12-11T00:00:00Z"]);
}

#[test]
fn a_fixed_time_in_a_gap_fires_once_when_the_gap_ends() {
    for (zone, line, after, expected) in [
        // Clocks go from 2:00 to 3:00.
        (
            Tz::Europe__Berlin,
            "30 2 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            Tz::America__New_York,
            "30 2 * * *",
            "2026-03-07T12:00:00Z",
            ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        // By half an hour, from 2:00 to 2:30.
        (
            Tz::Australia__Lord_Howe,
            "15 2 * * *",
            "2026-10-03T12:00:00Z",
            ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        // After Ramadan, from 2:00 to 3:00.
        (
            Tz::Africa__Casablanca,
            "30 2 * * *",
            "2026-03-21T12:00:00Z",
            ["2026-03-22T02:00:00Z", "2026-03-23T01:30:00Z"],
        ),
        // There was no 30 December 2011 in Samoa.
        (
            Tz::Pacific__Apia,
            "0 12 30 12 *",
            "2011-12-29T23:00:00Z",
            ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"],
        ),
        // Two times in one gap are one.
        (
            Tz::Europe__Berlin,
            "0,30 2 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"],
        ),
        // At its very ends.
        (
            Tz::Europe__Berlin,
            "0 2,3 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"],
        ),
    ] {
        assert_eq!(ticks(line, zone, after, 2), expected, "{line} in {zone}");
    }
}

#[test]
fn a_fixed_time_that_comes_twice_fires_the_first_time() {
    for (zone, line, after, expected) in [
        // Clocks go from 3:00 to 2:00.
        (
            Tz::Europe__Berlin,
            "30 2 * * *",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            Tz::America__New_York,
            "30 1 * * *",
            "2026-10-31T12:00:00Z",
            ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        // By half an hour, from 2:00 to 1:30.
        (
            Tz::Australia__Lord_Howe,
            "45 1 * * *",
            "2026-04-04T12:00:00Z",
            ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
        // Before Ramadan, from 3:00 to 2:00.
        (
            Tz::Africa__Casablanca,
            "30 2 * * *",
            "2026-02-14T12:00:00Z",
            ["2026-02-15T01:30:00Z", "2026-02-16T02:30:00Z"],
        ),
        // Also for who asks in between.
        (
            Tz::Europe__Berlin,
            "30 2 * * *",
            "2026-10-25T01:00:00Z",
            ["2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"],
        ),
    ] {
        assert_eq!(ticks(line, zone, after, 2), expected, "{line} in {zone}");
    }
}

#[test]
fn an_interval_follows_the_clock_on_the_wall() {
    // Through the gap: 1:30, then 3:00.
    let found = ticks("*/30 * * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z", 3);
    assert_eq!(
        found,
        ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
    );
    // What the clock does not show does not fire.
    let found = ticks("*/30 2 * * *", Tz::Europe__Berlin, "2026-03-28T12:00:00Z", 1);
    assert_eq!(found, ["2026-03-30T00:00:00Z"]);
    // Through the hour that comes twice, every half an hour.
    let found = ticks("*/30 * * * *", Tz::Europe__Berlin, "2026-10-25T00:00:00Z", 5);
    let expected = ["00:30", "01:00", "01:30", "02:00", "02:30"].map(|time| format!("2026-10-25T{time}:00Z"));
    assert_eq!(found, expected);
    let found = ticks("*/30 2 * * *", Tz::Europe__Berlin, "2026-10-25T00:00:00Z", 4);
    assert_eq!(
        found,
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:00:00Z"
        ]
    );
}

#[test]
fn every_minute_for_a_month_with_a_change_of_clocks() {
    let schedule = Schedule::parse("*/1 * * * *").unwrap();
    for zone in [Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::UTC] {
        let start = instant("2026-10-01T00:00:00Z");
        let mut last = start;
        for minute in 1..=31 * 24 * 60 {
            last = schedule.next_after(last, zone, start).unwrap();
            assert_eq!(last, start + TimeDelta::minutes(minute), "{zone}");
        }
    }
}

#[test]
fn rates_are_counted_from_their_creation() {
    let found = ticks("rate(5 minutes)", Tz::UTC, "2026-11-20T09:03:07Z", 2);
    assert_eq!(found, ["2026-11-20T09:08:07Z", "2026-11-20T09:13:07Z"]);
    let schedule = Schedule::parse("rate( 1 hour )").unwrap();
    let next = schedule.next_after(
        instant("2026-11-20T12:30:00Z"),
        Tz::UTC,
        instant("2026-11-20T09:10:00Z"),
    );
    assert_eq!(next, Some(instant("2026-11-20T13:10:00Z")));
}

#[test]
fn a_moment_comes_once() {
    let found = ticks("at(2026-03-29T02:30:00)", Tz::Europe__Berlin, "2026-01-01T00:00:00Z", 2);
    assert_eq!(found, ["2026-03-29T01:00:00Z"]);
    assert!(ticks("at(2026-03-29T02:30:00)", Tz::Europe__Berlin, "2026-04-01T00:00:00Z", 1).is_empty());
}

#[test]
fn what_is_no_schedule_is_refused_with_a_reason() {
    for (text, expected) in [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 * * * * *", "7 fields"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("60 * * * *", "minute is wrong: \"60\" is not one of 0 to 59"),
        ("* 24 * * *", "hour is wrong"),
        ("* * 0 * *", "day of the month is wrong"),
        ("* * * 13 *", "month is wrong"),
        ("* * * * 8", "day of the week is wrong"),
        ("* * L * *", "neither L"),
        ("* * 15W * *", "neither L"),
        ("* * * * 5#3", "neither L"),
        ("* * * * 5L", "neither L"),
        ("+5 * * * *", "minute is wrong"),
        ("5- * * * *", "minute is wrong"),
        ("5,,6 * * * *", "minute is wrong"),
        ("*/0 * * * *", "no step"),
        ("*/61 * * * *", "no step"),
        ("* 22-2 * * *", "ends before it begins"),
        ("* * * * fri-mon", "ends before it begins"),
        ("@reboot", "@reboot is not known"),
        ("rate(0 minutes)", "at least one second"),
        ("rate(5)", "rate(5 minutes)"),
        ("rate(5 fortnights)", "rate(5 minutes)"),
        ("rate(9223372036854775807 days)", "at least one second"),
        ("at(tomorrow)", "at(2026-12-31T23:59:00)"),
        ("at(2026-02-30T00:00:00)", "at(2026-12-31T23:59:00)"),
    ] {
        let error = Schedule::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let long = "1,".repeat(2_048);
    assert_eq!(Schedule::parse(&long).unwrap_err(), ScheduleError::TooLong);
}

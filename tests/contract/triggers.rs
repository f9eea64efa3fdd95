//! Schedules: one event per tick, whatever the number of schedulers.

use chrono::{DateTime, Datelike, TimeZone, Timelike, Utc};
use mayfly_controller::events::Scheduler;
use mayfly_controller::store::{CronConfig, EventTrigger, MessageSource, Missed, Subscription, TriggerConfig};
use mayfly_invoker_api::EventId;

use crate::bed::{Bed, default, function};
use crate::events::{ONE, TWO, lane};

fn trigger(name: &str, schedule: &str, timezone: &str, created: DateTime<Utc>, next: DateTime<Utc>) -> EventTrigger {
    let last = name.len().to_be_bytes();
    EventTrigger {
        id: EventId::new(created.timestamp_millis().unsigned_abs(), [last[7]; 10]),
        namespace: default(),
        name: name.to_owned(),
        function: function("hello"),
        config: TriggerConfig::Cron(CronConfig {
            schedule: schedule.to_owned(),
            timezone: timezone.to_owned(),
            missed: Missed::All,
            jitter_seconds: 0,
            detail: serde_json::json!({}),
            retry: None,
        }),
        enabled: true,
        created_ms: created.timestamp_millis(),
        next_ms: Some(next.timestamp_millis()),
        last_ms: None,
    }
}

pub(crate) async fn a_trigger_comes_back_as_it_was_made(bed: Bed) {
    let created = Utc.with_ymd_and_hms(2026, 11, 21, 0, 0, 0).unwrap();
    let one = trigger("nightly", "0 3 * * *", "Europe/Berlin", created, created);
    assert!(bed.store.insert_trigger(&one).await.unwrap());
    assert!(!bed.store.insert_trigger(&one).await.unwrap(), "a name is taken once");
    assert_eq!(
        bed.store.trigger(&default(), "nightly").await.unwrap(),
        Some(one.clone())
    );
    assert_eq!(bed.store.next_tick().await.unwrap(), one.next_ms);
    assert!(
        bed.store
            .enable_trigger(&default(), "nightly", false, None)
            .await
            .unwrap()
    );
    assert_eq!(
        bed.store.next_tick().await.unwrap(),
        None,
        "what is off is not waited for"
    );
    assert_eq!(bed.store.due_triggers(i64::MAX, 10).await.unwrap(), []);
    assert_eq!(bed.store.count_triggers(&default()).await.unwrap(), 1);
    assert!(bed.store.delete_trigger(&default(), "nightly").await.unwrap());
    assert!(!bed.store.delete_trigger(&default(), "nightly").await.unwrap());
}

/// Triggers of queues stand beside the others, and are found by their queue.
pub(crate) async fn the_triggers_of_a_queue_are_found(bed: Bed) {
    let created = Utc.with_ymd_and_hms(2026, 11, 21, 0, 0, 0).unwrap();
    let subscription = |queue: &str| Subscription {
        source: MessageSource::Queue(queue.parse().unwrap()),
        filter: Some(serde_json::json!({"body": {"type": ["x\u{0}y"]}})),
        order_key: Some("body.id".to_owned()),
        batch: 50,
        window_ms: 200,
        concurrency: 4,
        bisect: true,
        retry: None,
    };
    let of = |name: &str, queue: &str| EventTrigger {
        config: TriggerConfig::Queue(subscription(queue)),
        next_ms: None,
        ..trigger(name, "@daily", "UTC", created, created)
    };
    let (one, other, third) = (of("one", "orders"), of("other-x", "orders"), of("third-yz", "mail"));
    for trigger in [
        &one,
        &other,
        &third,
        &trigger("hourly-zzz", "@hourly", "UTC", created, created),
    ] {
        assert!(bed.store.insert_trigger(trigger).await.unwrap());
    }
    let orders = "orders".parse().unwrap();
    assert_eq!(
        bed.store.subscribers(&default(), &orders).await.unwrap(),
        [one.clone(), other]
    );
    assert_eq!(bed.store.trigger(&default(), "one").await.unwrap(), Some(one));
    let due = bed.store.due_triggers(i64::MAX, 10).await.unwrap();
    assert_eq!(due.len(), 1, "only the clock is due");
}

/// A month of minutes, with the night in which clocks are put back in New York, and two schedulers that look at arbitrary
/// moments: every minute fires once. A line with fixed times fires once a day, also in that night.
pub(crate) async fn two_schedulers_fire_every_tick_once(bed: Bed) {
    let start = Utc.with_ymd_and_hms(2026, 10, 15, 0, 0, 0).unwrap();
    let first = start + chrono::TimeDelta::minutes(1);
    bed.store
        .insert_trigger(&trigger("minutes", "*/1 * * * *", "America/New_York", start, first))
        .await
        .unwrap();
    let daily_first = Utc.with_ymd_and_hms(2026, 10, 15, 5, 30, 0).unwrap();
    bed.store
        .insert_trigger(&trigger("daily", "30 1 * * *", "America/New_York", start, daily_first))
        .await
        .unwrap();
    let (one, two) = (
        Scheduler::alone(bed.store.clone(), ONE),
        Scheduler::alone(bed.another_store().await, TWO),
    );
    let days = 31;
    let end = start + chrono::TimeDelta::days(days);
    let (mut now, mut step) = (start, 0);
    while now < end {
        // From a second to an hour and a half: sometimes one tick is due, sometimes ninety.
        step += 1;
        now = (now + chrono::TimeDelta::seconds(1 + step * 7_919 % 5_400)).min(end);
        let (one, two) = tokio::join!(
            one.fire_due(now.timestamp_millis()),
            two.fire_due(now.timestamp_millis())
        );
        one.unwrap();
        two.unwrap();
    }
    let (mut minutes, mut daily) = fired(&bed, end.timestamp_millis()).await;
    minutes.sort_unstable();
    let expected: Vec<_> = (1..=days * 24 * 60)
        .map(|minute| start + chrono::TimeDelta::minutes(minute))
        .collect();
    assert_eq!(minutes, expected, "every minute once");
    daily.sort_unstable();
    let expected: Vec<_> = (0..days)
        .map(|day| {
            let date = (start + chrono::TimeDelta::days(day)).date_naive();
            // 1:30 by the clock is 5:30 in summer and, from the first of November on, 6:30; that night it comes twice.
            let hour = if (date.month(), date.day()) > (11, 1) { 6 } else { 5 };
            date.and_hms_opt(hour, 30, 0).unwrap().and_utc()
        })
        .collect();
    assert_eq!(daily, expected, "every day once");
    assert!(minutes.iter().all(|minute| minute.second() == 0));
}

/// The ticks of both triggers that have become events.
async fn fired(bed: &Bed, end_ms: i64) -> (Vec<DateTime<Utc>>, Vec<DateTime<Utc>>) {
    let mut minutes = Vec::new();
    let mut daily = Vec::new();
    let hello = function("hello");
    loop {
        let claimed = bed
            .store
            .claim_events(&lane(&hello), 1_000, end_ms + 1, ONE, None)
            .await
            .unwrap();
        if claimed.is_empty() {
            break;
        }
        for event in claimed {
            let payload: serde_json::Value = serde_json::from_slice(event.payload.as_deref().unwrap()).unwrap();
            assert_eq!(
                (&payload["detail-type"], &payload["source"], &payload["id"]),
                (
                    &"Scheduled Event".into(),
                    &"aws.events".into(),
                    &event.id.to_string().into()
                ),
                "as EventBridge sends it"
            );
            let time: DateTime<Utc> = payload["time"].as_str().unwrap().parse().unwrap();
            match event.trigger.as_deref() {
                Some("minutes") => minutes.push(time),
                Some("daily") => daily.push(time),
                other => panic!("nobody made {other:?}"),
            }
        }
    }
    (minutes, daily)
}

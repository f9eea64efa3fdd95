//! Messages that a function is given several at once, and what it says about some of them.

use std::collections::BTreeSet;
use std::time::Duration;

use mayfly_tests::{Platform, eventually, on_both_databases};
use serde_json::{Value, json};

use super::{create, send, send_all, subscribe};
use crate::events::{in_state, show};

on_both_databases!(
    messages_come_together,
    a_window_waits_for_more,
    no_more_batches_at_once_than_are_allowed,
    only_what_failed_is_tried_again,
    one_poisonous_message_does_not_take_the_others_along,
    without_halves_a_batch_fails_as_one,
    answers_are_understood_or_nothing_is_believed,
    large_messages_make_small_batches,
);

/// The ids of the messages of a batch, in their order.
fn given(event: &Value) -> Vec<String> {
    let records = event["result"]["body"]["event"]["Records"].as_array().expect("a batch");
    let id = |record: &Value| record["messageId"].as_str().expect("an id").to_owned();
    records.iter().map(id).collect()
}

/// The invocations that have done these events.
async fn invocations(platform: &Platform, events: &[String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for id in events {
        let event = in_state(platform, id, "succeeded").await;
        all.insert(
            event["result"]["body"]["invocation_id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    all
}

async fn messages_come_together(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    subscribe(platform, "work", "orders", "on-order", &["--batch", "5", "--disabled"]).await;
    let bodies: Vec<_> = (0..12).map(|n| json!({ "n": n })).collect();
    let events = send_all(platform, "orders", &bodies).await;
    platform.fn_(&["trigger", "enable", "on-order"]).await.ok();
    assert_eq!(invocations(platform, &events).await.len(), 3, "5, 5 and 2");
    let first = show(platform, &events[0]).await;
    assert_eq!(given(&first).len(), 5);
    // One entry in the ledger for each batch.
    let records = platform.invocations("work").await;
    assert_eq!(records.len(), 3);
}

async fn a_window_waits_for_more(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    subscribe(
        platform,
        "work",
        "orders",
        "on-order",
        &["--batch", "3", "--window", "60s"],
    )
    .await;
    let (_, first) = send(platform, "orders", r#"{"n": 1}"#, &[]).await;
    let (_, second) = send(platform, "orders", r#"{"n": 2}"#, &[]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(
        show(platform, &first[0]).await["state"],
        "queued",
        "it waits for a third one"
    );
    let (_, third) = send(platform, "orders", r#"{"n": 3}"#, &[]).await;
    let all = [first, second, third].concat();
    assert_eq!(invocations(platform, &all).await.len(), 1);

    // One that nobody joins does not wait for longer.
    create(platform, "mail", &[]).await;
    subscribe(
        platform,
        "work",
        "mail",
        "on-mail",
        &["--batch", "3", "--window", "400ms"],
    )
    .await;
    let (_, alone) = send(platform, "mail", r#"{"n": 4}"#, &[]).await;
    let event = in_state(platform, &alone[0], "succeeded").await;
    assert_eq!(given(&event).len(), 1);
}

async fn no_more_batches_at_once_than_are_allowed(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    subscribe(
        platform,
        "work",
        "orders",
        "on-order",
        &["--batch", "1", "--concurrency", "2"],
    )
    .await;
    let bodies: Vec<_> = (0..8).map(|n| json!({ "n": n, "ms": 100 })).collect();
    let events = send_all(platform, "orders", &bodies).await;
    for id in &events {
        in_state(platform, id, "succeeded").await;
    }
    let mut edges: Vec<(i64, i64)> = Vec::new();
    for record in platform.invocations("work").await {
        let begin = record["started_at"].as_str().expect("a time").to_owned();
        let begin_ms = millis(&begin);
        let took = record["usage"]["duration_ms"].as_f64().expect("a number");
        #[expect(clippy::cast_possible_truncation, reason = "some milliseconds")]
        edges.extend([(begin_ms, 1), (begin_ms + took as i64, -1)]);
    }
    edges.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in edges {
        now += change;
        most = most.max(now);
    }
    assert_eq!(most, 2, "at once");
}

/// Of a time of this day, as in `2026-11-30T12:34:56.789Z`.
fn millis(text: &str) -> i64 {
    let clock = text.split_once('T').expect("a time").1.trim_end_matches('Z');
    let parts: Vec<i64> = clock
        .split([':', '.'])
        .map(|part| part.parse().expect("a number"))
        .collect();
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1_000 + parts[3]
}

async fn only_what_failed_is_tried_again(platform: &mut Platform) {
    let flags = ["--name", "work", "--max-attempts", "2", "--retry-backoff", "0s"];
    platform.deploy("consume", &flags).await;
    create(platform, "orders", &[]).await;
    subscribe(platform, "work", "orders", "on-order", &["--disabled"]).await;
    let bodies = [json!({"n": 1}), json!({"n": 2, "do": "fail"}), json!({"n": 3})];
    let events = send_all(platform, "orders", &bodies).await;
    platform.fn_(&["trigger", "enable", "on-order"]).await.ok();
    for id in [&events[0], &events[2]] {
        let event = in_state(platform, id, "succeeded").await;
        assert_eq!((&event["attempts"], given(&event).len()), (&json!(1), 3), "{event}");
    }
    let dead = in_state(platform, &events[1], "dead").await;
    assert_eq!((&dead["attempts"], &dead["failures"]), (&json!(2), &json!(2)));
    assert!(
        dead["error_message"]
            .as_str()
            .is_some_and(|text| text.contains("batchItemFailures"))
    );
    assert_eq!(platform.invocations("work").await.len(), 2);
}

async fn one_poisonous_message_does_not_take_the_others_along(platform: &mut Platform) {
    let flags = ["--name", "work", "--max-attempts", "2", "--retry-backoff", "0s"];
    platform.deploy("consume", &flags).await;
    create(platform, "orders", &[]).await;
    subscribe(platform, "work", "orders", "on-order", &["--batch", "20", "--disabled"]).await;
    let mut bodies: Vec<_> = (0..20).map(|n| json!({ "n": n })).collect();
    bodies[13] = json!({"n": 13, "do": "trap"});
    let events = send_all(platform, "orders", &bodies).await;
    platform.fn_(&["trigger", "enable", "on-order"]).await.ok();
    for (n, id) in events.iter().enumerate() {
        if n == 13 {
            let dead = in_state(platform, id, "dead").await;
            assert_eq!(dead["failures"], 2, "only what it did alone counts: {dead}");
        } else {
            let event = in_state(platform, id, "succeeded").await;
            assert_eq!(event["failures"], 0, "{event}");
        }
    }
    let failed = platform.fn_(&["events", "show", &events[0], "--json"]).await.json();
    let attempts = failed["failed_attempts"].as_array().expect("a list");
    assert!(
        !attempts.is_empty(),
        "the attempts that it failed with the others are there"
    );
}

async fn without_halves_a_batch_fails_as_one(platform: &mut Platform) {
    let flags = ["--name", "work", "--max-attempts", "2", "--retry-backoff", "0s"];
    platform.deploy("consume", &flags).await;
    create(platform, "orders", &[]).await;
    subscribe(platform, "work", "orders", "on-order", &["--no-bisect", "--disabled"]).await;
    let events = send_all(
        platform,
        "orders",
        &[json!({"n": 1}), json!({"do": "trap"}), json!({"n": 2})],
    )
    .await;
    platform.fn_(&["trigger", "enable", "on-order"]).await.ok();
    for id in &events {
        let dead = in_state(platform, id, "dead").await;
        assert_eq!((&dead["attempts"], &dead["failures"]), (&json!(2), &json!(2)));
    }
    assert_eq!(platform.invocations("work").await.len(), 2);
}

/// What a function may answer, and whether it has done the message then.
async fn answers_are_understood_or_nothing_is_believed(platform: &mut Platform) {
    platform
        .deploy("consume", &["--name", "work", "--max-attempts", "1"])
        .await;
    create(platform, "orders", &[]).await;
    subscribe(platform, "work", "orders", "on-order", &["--batch", "1"]).await;
    let unknown = "01a2006f-dc9d-70ee-b480-859c00000000";
    let table = [
        (json!(null), "succeeded"),
        (json!({}), "succeeded"),
        (json!("done"), "succeeded"),
        (json!({"batchItemFailures": null}), "succeeded"),
        (json!({"batchItemFailures": []}), "succeeded"),
        (json!({"batchItemFailures": [{"itemIdentifier": unknown}]}), "dead"),
        (json!({"batchItemFailures": [{"itemIdentifier": ""}]}), "dead"),
        (json!({"batchItemFailures": [{"itemIdentifier": null}]}), "dead"),
        (json!({"batchItemFailures": [{"item": "x"}]}), "dead"),
        (json!({"batchItemFailures": ["x"]}), "dead"),
        (json!({"batchItemFailures": {"itemIdentifier": unknown}}), "dead"),
        (json!({"batchItemFailures": 7}), "dead"),
    ];
    let bodies: Vec<_> = table
        .iter()
        .map(|(answer, _)| json!({"do": "answer", "answer": answer}))
        .collect();
    let events = send_all(platform, "orders", &bodies).await;
    for ((answer, state), id) in table.iter().zip(&events) {
        let event = in_state(platform, id, state).await;
        let expected = if *state == "dead" {
            json!("bad_response")
        } else {
            json!(null)
        };
        assert_eq!(event["error_code"], expected, "{answer}: {event}");
    }
}

async fn large_messages_make_small_batches(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    // Two megabytes as they are, twelve when they are written as JSON once more.
    let quotes = "\"".repeat(100 << 10);
    subscribe(
        platform,
        "work",
        "orders",
        "on-order",
        &["--batch", "100", "--disabled"],
    )
    .await;
    let mut events = Vec::new();
    for n in 0..3 {
        let bodies: Vec<_> = (0..10).map(|m| json!({ "n": n * 10 + m, "text": quotes })).collect();
        events.extend(send_all(platform, "orders", &bodies).await);
    }
    platform.fn_(&["trigger", "enable", "on-order"]).await.ok();
    eventually("all are done", async || {
        let shown = platform.fn_(&["queue", "show", "orders", "--json"]).await.json();
        (shown["triggers"][0]["waiting"] == 0).then_some(())
    })
    .await;
    for id in &events {
        let event = in_state(platform, id, "succeeded").await;
        assert_eq!(event["failures"], 0, "that a batch was too large is nobody's fault");
    }
}

//! Events that fail: retries, dead letters, destinations.

use mayfly_tests::{Platform, eventually, on_both_databases};
use serde_json::json;

use crate::events::{hand_in, in_state, show};

on_both_databases!(
    a_failure_is_tried_again_and_becomes_a_dead_letter,
    a_poison_event_does_not_hold_up_others,
    outcomes_go_to_destinations_and_circles_end,
    no_text_of_a_function_hurts_another,
    what_a_deleted_function_left_stays_as_it_is,
);

async fn a_failure_is_tried_again_and_becomes_a_dead_letter(platform: &mut Platform) {
    let flags = ["--name", "work", "--max-attempts", "3", "--retry-backoff", "0s"];
    platform.deploy("misbehave-event", &flags).await;
    let id = hand_in(platform, "work", &json!({"do": "fail"}), &[]).await;
    let event = in_state(platform, &id, "dead").await;
    assert_eq!(
        (&event["attempts"], &event["error_code"]),
        (&json!(3), &json!("function_failed"))
    );
    let attempts = event["failed_attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 3);
    let records = platform.invocations("work").await;
    let numbers: Vec<_> = records.iter().rev().map(|record| record["attempt"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)], "each attempt has its own record");
    assert!(records.iter().all(|record| record["event_id"] == json!(id)));

    let letters = platform.fn_(&["dlq", "list", "work", "--json"]).await.json();
    assert_eq!(letters[0]["id"], json!(id));
    let dry = platform
        .fn_(&["dlq", "redrive", "work", "--all", "--dry-run", "--json"])
        .await
        .json();
    assert_eq!((&dry["ids"], &dry["changed"]), (&json!([id]), &json!(0)));

    // The same version fails again; a version that can do it does not.
    platform.fn_(&["dlq", "redrive", "work", &id]).await.ok();
    eventually("it has failed three times more", async || {
        let event = show(platform, &id).await;
        (event["attempts"] == 6 && event["state"] == "dead").then_some(())
    })
    .await;
    platform.deploy("order-total", &["--name", "work"]).await;
    platform.deploy("hello-http", &["--name", "other"]).await;
    let refused = platform.fn_(&["dlq", "redrive", "work", &id, "--version", "9"]).await;
    refused.failed(1, "invalid_parameter");
    platform
        .fn_(&["dlq", "redrive", "other", &id])
        .await
        .failed(1, "event_not_found");
    platform
        .fn_(&["dlq", "redrive", "work", &id, "--version", "1"])
        .await
        .ok();
    let event = eventually("it has failed on the old version", async || {
        let event = show(platform, &id).await;
        (event["attempts"] == 9 && event["state"] == "dead").then_some(event)
    })
    .await;
    assert_eq!((&event["version"], &event["pinned_version"]), (&json!(1), &json!(1)));
    let purged = platform
        .fn_(&["dlq", "purge", "work", "--all", "--yes", "--json"])
        .await
        .json();
    assert_eq!(purged["changed"], 1);
    platform
        .fn_(&["events", "show", &id])
        .await
        .failed(1, "event_not_found");
}

async fn a_poison_event_does_not_hold_up_others(platform: &mut Platform) {
    let flags = [
        "--name",
        "work",
        "--max-attempts",
        "2",
        "--retry-backoff",
        "0s",
        "--timeout",
        "5s",
    ];
    platform.deploy("misbehave-event", &flags).await;
    let poison = hand_in(platform, "work", &json!({"do": "trap"}), &[]).await;
    let mut good = Vec::new();
    for _ in 0..20 {
        good.push(hand_in(platform, "work", &json!({"do": "log"}), &[]).await);
    }
    for id in &good {
        in_state(platform, id, "succeeded").await;
    }
    in_state(platform, &poison, "dead").await;
    // Mended, it is delivered after all.
    let mended = platform.deploy("order-total", &["--name", "work"]).await;
    assert_eq!(mended["version"], 2);
    let back = platform.deploy("misbehave-event", &["--name", "work"]).await;
    assert_eq!(back["version"], 3);
    let id = hand_in(platform, "work", &json!({"do": "fail"}), &["--max-attempts", "1"]).await;
    in_state(platform, &id, "dead").await;
    platform.deploy("hello-http", &["--name", "work"]).await;
    platform.fn_(&["dlq", "redrive", "work", &id]).await.ok();
    let event = in_state(platform, &id, "succeeded").await;
    assert_eq!((&event["attempts"], &event["version"]), (&json!(2), &json!(4)));
}

async fn outcomes_go_to_destinations_and_circles_end(platform: &mut Platform) {
    let flags = [
        "--name",
        "first",
        "--on-success",
        "function:second",
        "--on-failure",
        "function:second",
    ];
    platform
        .deploy("misbehave-event", &[&flags[..], &["--max-attempts", "1"]].concat())
        .await;
    platform.deploy("hello-http", &["--name", "second"]).await;
    let good = hand_in(platform, "first", &json!({"do": "log"}), &[]).await;
    let bad = hand_in(platform, "first", &json!({"do": "fail"}), &[]).await;
    in_state(platform, &good, "succeeded").await;
    in_state(platform, &bad, "dead").await;
    let told = eventually("both outcomes are told", async || {
        let events = platform.fn_(&["events", "list", "second", "--json"]).await.json();
        let done = events.as_array().is_some_and(|events| events.len() == 2);
        done.then_some(events)
    })
    .await;
    assert!(
        told.as_array().expect("a list").iter().all(|event| event["depth"] == 1),
        "{told}"
    );

    // A circle of one: every success makes another event, until the seventeenth in a row.
    platform
        .deploy("hello-http", &["--name", "circle", "--on-success", "function:circle"])
        .await;
    hand_in(platform, "circle", &json!({}), &[]).await;
    let dead = eventually("the circle has ended", async || {
        let letters = platform.fn_(&["dlq", "list", "circle", "--json"]).await.json();
        letters.as_array().and_then(|letters| letters.first().cloned())
    })
    .await;
    assert_eq!(
        (&dead["depth"], &dead["error_code"]),
        (&json!(17), &json!("recursion_detected"))
    );
    let all = platform.fn_(&["events", "list", "circle", "--json"]).await.json();
    assert_eq!(
        all.as_array().map(Vec::len),
        Some(18),
        "the first, sixteen that followed, and the one that is not run"
    );
    assert_eq!(platform.invocations("circle").await.len(), 17);

    // The same of failures: what is not run tells nobody.
    let flags = [
        "--name",
        "spiral",
        "--on-failure",
        "function:spiral",
        "--max-attempts",
        "1",
    ];
    platform.deploy("misbehave-event", &flags).await;
    hand_in(platform, "spiral", &json!({"do": "fail"}), &[]).await;
    let letters = eventually("the spiral has ended", async || {
        let letters = platform.fn_(&["dlq", "list", "spiral", "--json"]).await.json();
        let ended = letters[0]["error_code"] == "recursion_detected";
        ended.then_some(letters)
    })
    .await;
    assert_eq!(letters.as_array().map(Vec::len), Some(18));
    let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
    assert_eq!((&summary["queued"], &summary["running"]), (&json!(0), &json!(0)));
}

/// Ends of attempts share a transaction, so one that the database refuses must not take the others along.
async fn no_text_of_a_function_hurts_another(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "victim"]).await;
    platform
        .deploy("misbehave-event", &["--name", "evil", "--max-attempts", "1"])
        .await;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        bad.push(hand_in(platform, "evil", &json!({"do": "a\u{0}b"}), &[]).await);
        good.push(hand_in(platform, "victim", &json!({"do": "echo"}), &[]).await);
    }
    for id in &good {
        let event = in_state(platform, id, "succeeded").await;
        assert_eq!(event["result"]["body"], json!({"do": "echo"}), "{event}");
    }
    for id in &bad {
        let event = in_state(platform, id, "dead").await;
        let message = event["error_message"].as_str().expect("a message");
        assert!(message.contains("a\u{fffd}b"), "{message}");
    }
    for function in ["victim", "evil"] {
        assert_eq!(platform.invocations(function).await.len(), 5, "{function}");
    }
}

async fn what_a_deleted_function_left_stays_as_it_is(platform: &mut Platform) {
    platform
        .deploy("misbehave-event", &["--name", "gone", "--max-attempts", "1"])
        .await;
    let id = hand_in(platform, "gone", &json!({"do": "trap"}), &[]).await;
    in_state(platform, &id, "dead").await;
    platform.fn_(&["delete", "gone", "--yes"]).await.ok();
    platform
        .fn_(&["dlq", "redrive", "gone", "--all"])
        .await
        .failed(1, "function_not_found");
    let event = show(platform, &id).await;
    assert_eq!(
        (&event["state"], &event["error_code"], &event["attempts"]),
        (&json!("dead"), &json!("function_trapped"), &json!(1)),
        "its own error is the one that is known: {event}"
    );
}

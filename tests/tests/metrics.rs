//! What the server tells whoever watches it, at `/metrics` of the admin address.

use mayfly_tests::{Platform, eventually, on_both_databases};
use serde_json::json;

use crate::events::{hand_in, in_state};

on_both_databases!(events_are_counted);

/// The value of a number with these labels; 0 where it is not mentioned.
async fn number(platform: &Platform, name: &str) -> f64 {
    let answer = platform.api_get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text"),
        "{}",
        answer.header("content-type")
    );
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

async fn becomes(platform: &Platform, name: &str, wanted: f64) {
    eventually(&format!("{name} is {wanted}"), async || {
        (number(platform, name).await == wanted).then_some(())
    })
    .await;
}

async fn events_are_counted(platform: &mut Platform) {
    platform
        .deploy(
            "misbehave-event",
            &["--name", "work", "--max-attempts", "2", "--retry-backoff", "1s"],
        )
        .await;
    let accepted = r#"mayfly_events_accepted_total{namespace="default",source="direct"}"#;
    assert_eq!(number(platform, accepted).await, 0.0);

    hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1h"]).await;
    becomes(platform, accepted, 1.0).await;
    becomes(platform, r#"mayfly_events_queued{namespace="default"}"#, 1.0).await;

    let poison = hand_in(platform, "work", &json!({"do": "trap"}), &[]).await;
    in_state(platform, &poison, "dead").await;
    let good = hand_in(platform, "work", &json!({"do": "log"}), &[]).await;
    in_state(platform, &good, "succeeded").await;
    for (ending, attempts) in [("retry", 1.0), ("dead", 1.0), ("succeeded", 1.0), ("expired", 0.0)] {
        let name = format!(r#"mayfly_event_attempts_total{{namespace="default",ending="{ending}"}}"#);
        becomes(platform, &name, attempts).await;
    }
    assert_eq!(number(platform, accepted).await, 3.0);
    becomes(platform, r#"mayfly_dead_letters{namespace="default"}"#, 1.0).await;
    becomes(platform, r#"mayfly_events_queued{namespace="default"}"#, 1.0).await;
    becomes(platform, r#"mayfly_events_running{namespace="default"}"#, 0.0).await;
    let bytes = number(platform, r#"mayfly_events_queued_bytes{namespace="default"}"#).await;
    assert_eq!(bytes, r#"{"do":"log"}"#.len() as f64);
}

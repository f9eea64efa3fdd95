//! Triggers that fire by the clock.

use mayfly_tests::{Platform, eventually, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    a_schedule_fires_and_says_when,
    a_trigger_is_turned_off_on_and_fired_by_hand,
    what_never_fires_is_refused,
    a_restart_makes_up_for_what_was_missed,
);

async fn events_of(platform: &Platform, function: &str) -> Vec<Value> {
    let events = platform.fn_(&["events", "list", function, "--json"]).await.json();
    events.as_array().expect("a list").clone()
}

async fn a_schedule_fires_and_says_when(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let args = [
        "trigger",
        "create",
        "cron",
        "work",
        "--schedule",
        "* * * * * *",
        "--timezone",
        "Asia/Seoul",
        "--name",
        "ticker",
        "--data",
        r#"{"do":"this"}"#,
        "--json",
    ];
    let made = platform.fn_(&args).await.json();
    assert_eq!(
        (&made["name"], &made["enabled"], &made["last_fire_at"]),
        (&json!("ticker"), &json!(true), &Value::Null)
    );
    let events = eventually("it has fired three times", async || {
        let events = events_of(platform, "work").await;
        (events.len() >= 3).then_some(events)
    })
    .await;
    assert!(
        events
            .iter()
            .all(|event| event["source"] == "cron" && event["trigger"] == "ticker"),
        "{events:?}"
    );
    let listed = platform.fn_(&["trigger", "list", "--json"]).await.json();
    let (last, next) = (&listed[0]["last_fire_at"], &listed[0]["next_fire_at"]);
    assert!(last.as_str() < next.as_str() && last.is_string(), "{listed}");
    platform.fn_(&["trigger", "delete", "ticker"]).await.ok();
    platform
        .fn_(&["trigger", "show", "ticker"])
        .await
        .failed(1, "trigger_not_found");
}

async fn a_trigger_is_turned_off_on_and_fired_by_hand(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let args = [
        "trigger",
        "create",
        "cron",
        "work",
        "--schedule",
        "0 9 * * *",
        "--disabled",
        "--json",
    ];
    let made = platform.fn_(&args).await.json();
    let name = made["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("work-cron-"), "{made}");
    assert_eq!((&made["enabled"], &made["next_fire_at"]), (&json!(false), &Value::Null));
    let enabled = platform.fn_(&["trigger", "enable", &name, "--json"]).await.json();
    assert!(
        enabled["next_fire_at"]
            .as_str()
            .is_some_and(|next| next.ends_with("T09:00:00.000Z")),
        "{enabled}"
    );
    let disabled = platform.fn_(&["trigger", "disable", &name, "--json"]).await.json();
    assert_eq!(disabled["next_fire_at"], Value::Null);
    let fired = platform.fn_(&["trigger", "fire", &name, "--json"]).await.json();
    let event = eventually("its event has run", async || {
        let id = fired["id"].as_str().expect("an id");
        let event = platform.fn_(&["events", "show", id, "--json"]).await.json();
        (event["attempts"] == 1).then_some(event)
    })
    .await;
    assert_eq!(event["trigger"], json!(name));
    // A function takes its triggers along.
    platform.fn_(&["delete", "work", "--yes"]).await.ok();
    assert_eq!(platform.fn_(&["trigger", "list", "--json"]).await.json(), json!([]));
}

async fn what_never_fires_is_refused(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let create = ["trigger", "create", "cron", "work", "--schedule"];
    let long = "*".repeat(4_096);
    for schedule in [
        "0 0 30 2 *",
        "* * * *",
        "61 * * * *",
        "* * L * *",
        "rate(0 seconds)",
        "rate(1 fortnight)",
        "at(2020-01-01T00:00:00)",
        "at(tomorrow)",
        "@never",
        "",
        long.as_str(),
    ] {
        let done = platform.fn_(&[&create[..], &[schedule]].concat()).await;
        done.failed(1, "invalid_schedule");
    }
    let zone = platform
        .fn_(&[&create[..], &["@daily", "--timezone", "Mars/Olympus"]].concat())
        .await;
    zone.failed(1, "invalid_schedule");
    let name = platform
        .fn_(&[&create[..], &["@daily", "--name", "Not A Name"]].concat())
        .await;
    name.failed(1, "invalid_name");
    let jitter = platform
        .fn_(&[&create[..], &["@daily", "--jitter", "2h"]].concat())
        .await;
    jitter.failed(1, "invalid_parameter");
    let missing = ["trigger", "create", "cron", "nothing", "--schedule", "@daily"];
    platform.fn_(&missing).await.failed(1, "function_not_found");
    assert_eq!(
        platform.fn_(&["trigger", "list", "--json"]).await.json(),
        json!([]),
        "nothing was made"
    );

    let good = [&create[..], &["@daily", "--name", "daily"]].concat();
    platform.fn_(&good).await.ok();
    platform.fn_(&good).await.failed(1, "trigger_exists");
}

async fn a_restart_makes_up_for_what_was_missed(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let create = [
        "trigger",
        "create",
        "cron",
        "work",
        "--schedule",
        "* * * * * *",
        "--name",
    ];
    platform
        .fn_(&[&create[..], &["all", "--missed", "all"]].concat())
        .await
        .ok();
    eventually("it has fired", async || {
        (!events_of(platform, "work").await.is_empty()).then_some(())
    })
    .await;
    platform.kill().await;
    platform.restart().await;
    // Every second since the first has its tick, also those that nobody was there for.
    eventually("ticks are without a gap over the restart", async || {
        let listed = platform
            .fn_(&["events", "list", "work", "--json", "--limit", "10000"])
            .await
            .json();
        (listed.as_array().map_or(0, Vec::len) >= 3).then_some(())
    })
    .await;
    platform.fn_(&["trigger", "disable", "all"]).await.ok();
}

//! Queues: messages sent, received, given to functions in batches, filtered, in order, given up.

mod batches;
mod order;
mod pipeline;
mod refused;

use std::time::Duration;

use mayfly_tests::{Platform, eventually, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

use crate::events::{in_state, show};

on_both_databases!(
    a_message_waits_to_be_received,
    a_message_goes_to_every_trigger_that_wants_it,
    a_function_is_given_what_sqs_would_give,
    every_kind_of_function_takes_messages,
    messages_wait_for_a_trigger_that_is_off_or_not_made_yet,
    what_is_given_up_goes_to_the_dead_letter_queue,
    an_outcome_can_go_to_a_queue,
    a_queue_is_emptied_and_deleted,
    messages_survive_a_kill,
);

/// Makes a queue.
async fn create(platform: &Platform, name: &str, more: &[&str]) {
    platform.fn_(&[&["queue", "create", name], more].concat()).await.ok();
}

/// Makes a trigger of that name for the messages of a queue.
async fn subscribe(platform: &Platform, function: &str, queue: &str, name: &str, more: &[&str]) {
    let args = ["trigger", "create", "queue", function, "--queue", queue, "--name", name];
    platform.fn_(&[&args, more].concat()).await.ok();
}

/// Sends a message; gives its id and those of its events.
async fn send(platform: &Platform, queue: &str, body: &str, more: &[&str]) -> (String, Vec<String>) {
    let sent = platform
        .fn_(&[&["queue", "send", queue, body, "--json"], more].concat())
        .await
        .json();
    let text = |value: &Value| value.as_str().expect("an id").to_owned();
    let events = sent["events"].as_array().expect("a list").iter().map(text).collect();
    (text(&sent["id"]), events)
}

/// Sends many messages in one request; gives the ids of their events.
async fn send_all(platform: &Platform, queue: &str, bodies: &[Value]) -> Vec<String> {
    let messages: Vec<_> = bodies.iter().map(|body| json!({ "body": body.to_string() })).collect();
    let request = platform.api(Method::POST, &format!("/v1/ns/default/queues/{queue}/messages"));
    let answer = request
        .json(&json!({ "messages": messages }))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 202);
    let sent: Value = answer.json().await.expect("JSON");
    let events = sent["messages"].as_array().expect("a list").iter().flat_map(|message| {
        let events = message["events"].as_array().expect("a list").clone();
        events.into_iter().map(|id| id.as_str().expect("an id").to_owned())
    });
    events.collect()
}

async fn queue(platform: &Platform, name: &str) -> Value {
    platform.fn_(&["queue", "show", name, "--json"]).await.json()
}

async fn receive(platform: &Platform, queue: &str, more: &[&str]) -> Vec<Value> {
    let received = platform
        .fn_(&[&["queue", "receive", queue, "--json"], more].concat())
        .await
        .json();
    received.as_array().expect("a list").clone()
}

async fn a_message_waits_to_be_received(platform: &mut Platform) {
    create(platform, "orders", &["--max-receives", "2", "--dead-letter", "lost"]).await;
    create(platform, "lost", &[]).await;
    let done = platform
        .fn_(&["queue", "send", "orders", "not JSON: \u{1F642}\u{1}", "-a", "region=eu"])
        .await;
    assert!(done.stderr.contains("no trigger wants it"), "{}", done.stderr);
    send(platform, "orders", "second", &["--delay", "15m"]).await;
    let shown = queue(platform, "orders").await;
    assert_eq!((&shown["messages"], &shown["received"]), (&json!(2), &json!(0)));

    let kept = receive(platform, "orders", &["--max", "10", "--keep", "--visibility", "0s"]).await;
    assert_eq!(kept.len(), 1, "one is delayed");
    assert_eq!(
        (&kept[0]["body"], &kept[0]["attributes"], &kept[0]["receives"]),
        (&json!("not JSON: \u{1F642}\u{1}"), &json!({"region": "eu"}), &json!(1))
    );
    let printed = platform.fn_(&["queue", "receive", "orders"]).await;
    assert_eq!(
        printed.stdout, "not JSON: \u{1F642}\u{1}\n",
        "as it is, where there is no terminal"
    );
    assert_eq!(
        queue(platform, "orders").await["messages"],
        1,
        "what was printed is deleted"
    );

    // One that nobody deletes goes to the dead letters.
    let (id, _) = send(platform, "orders", "third", &[]).await;
    for _ in 0..2 {
        receive(platform, "orders", &["--keep", "--visibility", "0s"]).await;
    }
    assert_eq!(receive(platform, "orders", &[]).await, [json!(null); 0]);
    assert_eq!(receive(platform, "lost", &[]).await[0]["id"], json!(id));

    // Whoever waits is told at once.
    let waiting = platform.fn_(&["queue", "receive", "lost", "--wait", "20s", "--json"]);
    let sending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        send(platform, "lost", "awaited", &[]).await
    };
    let began = tokio::time::Instant::now();
    let (received, _) = tokio::join!(waiting, sending);
    assert_eq!(received.json()[0]["body"], "awaited");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "it was not waited to the end"
    );
}

async fn a_message_goes_to_every_trigger_that_wants_it(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "all"]).await;
    platform
        .deploy(
            "consume",
            &["--name", "placed", "--max-attempts", "2", "--retry-backoff", "0s"],
        )
        .await;
    create(platform, "shopping", &[]).await;
    subscribe(platform, "all", "shopping", "everything", &[]).await;
    let filter = r#"{"body": {"type": ["OrderPlaced"]}}"#;
    subscribe(platform, "placed", "shopping", "orders", &["--filter", filter]).await;
    let filter = r#"{"attributes": {"region": [{"prefix": "eu-"}]}, "body": {"total": [{"numeric": [">", 100]}]}}"#;
    subscribe(platform, "placed", "shopping", "large-ones", &["--filter", filter]).await;

    let (_, events) = send(platform, "shopping", r#"{"type": "Other", "total": 1000}"#, &[]).await;
    assert_eq!(events.len(), 1);
    let body = r#"{"type": "OrderPlaced", "total": 100.5, "do": "fail-all"}"#;
    let (message, events) = send(platform, "shopping", body, &["-a", "region=eu-1"]).await;
    assert_eq!(events.len(), 3);
    // Each is an event of its own: whatever becomes of one.
    let mut triggers = Vec::new();
    for id in &events {
        let event = show(platform, id).await;
        assert_eq!(event["source"], "queue");
        let name = event["trigger"].as_str().expect("a name").to_owned();
        let attempts = if name == "everything" { 3 } else { 2 };
        if name != "everything" {
            let dead = in_state(platform, id, "dead").await;
            assert_eq!(dead["attempts"], attempts, "{dead}");
        }
        triggers.push(name);
    }
    triggers.sort();
    assert_eq!(triggers, ["everything", "large-ones", "orders"]);
    let shown = queue(platform, "shopping").await;
    assert_eq!(
        shown["messages"], 0,
        "what somebody wants does not wait to be received: {message}"
    );
    assert_eq!(shown["triggers"].as_array().map(Vec::len), Some(3));
}

async fn a_function_is_given_what_sqs_would_give(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    subscribe(
        platform,
        "work",
        "orders",
        "on-order",
        &["--batch", "2", "--order-key", "attributes.customer"],
    )
    .await;
    let (message, events) = send(
        platform,
        "orders",
        r#"{"n": 7}"#,
        &["-a", "customer=Ren\u{e9}", "-a", "x=y=z"],
    )
    .await;
    let event = in_state(platform, &events[0], "succeeded").await;
    assert_eq!(event["order_key"], "Ren\u{e9}");
    let given = &event["result"]["body"]["event"];
    // Lambda's own type reads it.
    let sqs: aws_lambda_events::sqs::SqsEvent = serde_json::from_value(given.clone()).expect("an SqsEvent");
    let [record] = sqs.records.as_slice() else {
        panic!("one message: {given}")
    };
    assert_eq!(record.message_id.as_deref(), Some(message.as_str()));
    assert_eq!(record.body.as_deref(), Some(r#"{"n": 7}"#));
    assert_eq!(record.event_source.as_deref(), Some("aws:sqs"));
    assert_eq!(
        record.event_source_arn.as_deref(),
        Some("arn:mayfly:sqs:local:default:orders")
    );
    assert_eq!(record.attributes["ApproximateReceiveCount"], "1");
    assert_eq!(record.attributes["MessageGroupId"], "Ren\u{e9}");
    assert_eq!(
        record.message_attributes["x"].string_value.as_deref(),
        Some("y=z"),
        "{given}"
    );
    let records = platform.invocations("work").await;
    assert_eq!((records.len(), &records[0]["trigger"]), (1, &json!("queue")));
    assert_eq!(records[0]["event_id"], json!(events[0]));
}

async fn every_kind_of_function_takes_messages(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "web"]).await;
    platform.deploy("word-count", &["--name", "words"]).await;
    create(platform, "texts", &[]).await;
    subscribe(platform, "web", "texts", "web-texts", &[]).await;
    subscribe(platform, "words", "texts", "words-texts", &[]).await;
    let (_, events) = send(platform, "texts", "a b c", &[]).await;
    assert_eq!(events.len(), 2);
    for id in &events {
        let event = in_state(platform, id, "succeeded").await;
        let body = &event["result"]["body"];
        match event["function"].as_str() {
            Some("web") => {
                assert_eq!(
                    (&body["method"], &body["path"]),
                    (&json!("POST"), &json!("/")),
                    "{body}"
                );
                let headers = body["headers"].to_string();
                for told in ["mayfly.queue.messages", "/ns/default/queues/texts", "application/json"] {
                    assert!(headers.contains(told), "{told}: {headers}");
                }
            }
            _ => assert!(!body.is_null(), "a command reads it from its standard input: {event}"),
        }
    }
}

async fn messages_wait_for_a_trigger_that_is_off_or_not_made_yet(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    let (first, events) = send(platform, "orders", r#"{"type": "a"}"#, &[]).await;
    assert_eq!(events, [""; 0]);
    send(platform, "orders", r#"{"type": "b"}"#, &[]).await;
    subscribe(
        platform,
        "work",
        "orders",
        "on-a",
        &["--filter", r#"{"body": {"type": ["a"]}}"#],
    )
    .await;
    let done = eventually("the new trigger takes what waits", async || {
        let records = platform.invocations("work").await;
        (!records.is_empty()).then_some(records)
    })
    .await;
    let event = show(platform, done[0]["event_id"].as_str().expect("an id")).await;
    assert_eq!(
        event["result"]["body"]["event"]["Records"][0]["messageId"],
        json!(first)
    );
    assert_eq!(
        queue(platform, "orders").await["messages"],
        1,
        "the other one still waits"
    );

    platform.fn_(&["trigger", "disable", "on-a"]).await.ok();
    let (_, events) = send(platform, "orders", r#"{"type": "a"}"#, &[]).await;
    eventually("the trigger is off", async || {
        let shown = platform.fn_(&["trigger", "show", "on-a", "--json"]).await.json();
        (shown["waiting"] == 1).then_some(())
    })
    .await;
    let listed = platform.fn_(&["trigger", "list"]).await;
    assert!(listed.stdout.contains("disabled"), "{}", listed.stdout);
    // Long enough for two rounds of whoever looks for what is due.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(show(platform, &events[0]).await["state"], "queued");
    platform.fn_(&["trigger", "enable", "on-a"]).await.ok();
    in_state(platform, &events[0], "succeeded").await;
}

async fn what_is_given_up_goes_to_the_dead_letter_queue(platform: &mut Platform) {
    platform
        .deploy(
            "consume",
            &["--name", "work", "--max-attempts", "2", "--retry-backoff", "0s"],
        )
        .await;
    platform.deploy("consume", &["--name", "undertaker"]).await;
    create(platform, "orders", &["--dead-letter", "failed"]).await;
    create(platform, "failed", &[]).await;
    subscribe(platform, "work", "orders", "on-order", &[]).await;
    let (message, events) = send(platform, "orders", r#"{"do": "fail"}"#, &["-a", "mine=yes"]).await;
    in_state(platform, &events[0], "dead").await;
    let letters = receive(platform, "failed", &["--wait", "10s"]).await;
    assert_eq!(letters[0]["body"], r#"{"do": "fail"}"#);
    let attributes = &letters[0]["attributes"];
    assert_eq!(
        (
            &attributes["mine"],
            &attributes["mayfly-error-code"],
            &attributes["mayfly-attempts"]
        ),
        (&json!("yes"), &json!("function_failed"), &json!("2")),
        "{attributes}"
    );
    assert_eq!(attributes["mayfly-message-id"], json!(message));
    // A function may look after dead letters, too.
    subscribe(platform, "undertaker", "failed", "on-failed", &[]).await;
    send(platform, "orders", r#"{"do": "trap"}"#, &[]).await;
    eventually("the undertaker was called", async || {
        (!platform.invocations("undertaker").await.is_empty()).then_some(())
    })
    .await;
}

async fn an_outcome_can_go_to_a_queue(platform: &mut Platform) {
    create(platform, "done", &[]).await;
    let flags = [
        "--name",
        "work",
        "--on-success",
        "queue:done",
        "--on-failure",
        "queue:nowhere",
        "--max-attempts",
        "1",
    ];
    platform.deploy("misbehave-event", &flags).await;
    let args = |what| ["invoke", "work", "--async", "--json", "--data", what];
    platform.fn_(&args(r#"{"do": "log"}"#)).await.ok();
    let told = receive(platform, "done", &["--wait", "10s"]).await;
    let record: Value = serde_json::from_str(told[0]["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(record["requestContext"]["condition"], "Success");
    assert_eq!(told[0]["attributes"]["type"], "mayfly.event.succeeded");
    // A queue that is not there yet gets its message when it is made.
    let failing = platform.fn_(&args(r#"{"do": "fail"}"#)).await.json();
    in_state(platform, failing["id"].as_str().expect("an id"), "dead").await;
    create(platform, "nowhere", &[]).await;
    let told = receive(platform, "nowhere", &["--wait", "10s"]).await;
    assert_eq!(told[0]["attributes"]["type"], "mayfly.event.failed");
}

async fn a_queue_is_emptied_and_deleted(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    send(platform, "orders", "waits", &[]).await;
    let refused = platform.fn_(&["queue", "delete", "orders"]).await;
    refused.failed(1, "queue_in_use");
    subscribe(
        platform,
        "work",
        "orders",
        "on-order",
        &["--disabled", "--filter", r#"{"body": {"n": [1]}}"#],
    )
    .await;
    let (_, events) = send(platform, "orders", r#"{"n": 1}"#, &[]).await;
    platform
        .fn_(&["queue", "delete", "orders", "--force"])
        .await
        .failed(1, "queue_in_use");
    platform.fn_(&["queue", "purge", "orders"]).await.failed(2, "usage");
    let purged = platform
        .fn_(&["queue", "purge", "orders", "--yes", "--json"])
        .await
        .json();
    assert_eq!(purged, json!({"messages": 1, "events": 1}));
    assert_eq!(show(platform, &events[0]).await["state"], "cancelled");
    platform.fn_(&["trigger", "delete", "on-order"]).await.ok();
    platform.fn_(&["queue", "delete", "orders"]).await.ok();
    platform
        .fn_(&["queue", "show", "orders"])
        .await
        .failed(1, "queue_not_found");
    let listed = platform.fn_(&["queue", "list", "--json"]).await.json();
    assert_eq!(listed, json!([]));
}

async fn messages_survive_a_kill(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    send(platform, "orders", "waits", &[]).await;
    subscribe(
        platform,
        "work",
        "orders",
        "on-order",
        &["--filter", r#"{"body": {"n": [1]}}"#, "--disabled"],
    )
    .await;
    let (_, events) = send(platform, "orders", r#"{"n": 1}"#, &[]).await;
    platform.kill().await;
    platform.restart().await;
    assert_eq!(queue(platform, "orders").await["messages"], 1);
    platform.fn_(&["trigger", "enable", "on-order"]).await.ok();
    in_state(platform, &events[0], "succeeded").await;
    assert_eq!(receive(platform, "orders", &[]).await[0]["body"], "waits");
}

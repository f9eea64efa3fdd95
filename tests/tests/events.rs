//! Asynchronous calls: handed in, waiting, cancelled, repeated with a key, over a kill.

use std::time::Duration;

use mayfly_tests::{Platform, Reply, WAIT_MAX, eventually, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

on_both_databases!(
    a_call_can_be_handed_in,
    a_request_to_the_endpoint_can_be_handed_in,
    an_http_function_is_told_which_event_it_is,
    an_event_waits_for_its_time,
    an_event_can_be_cancelled,
    a_key_stands_for_one_request,
    what_is_wrong_is_refused_and_nothing_is_kept,
    sigterm_waits_for_attempts,
    events_survive_a_kill,
);

/// Hands in an event; gives its id.
pub(super) async fn hand_in(platform: &Platform, function: &str, payload: &Value, more: &[&str]) -> String {
    let payload = payload.to_string();
    let args = [&["invoke", function, "--async", "--json", "--data", &payload], more].concat();
    let accepted = platform.fn_(&args).await.json();
    accepted["id"].as_str().expect("an id").to_owned()
}

pub(super) async fn show(platform: &Platform, id: &str) -> Value {
    platform.fn_(&["events", "show", id, "--json"]).await.json()
}

/// Waits until the event is in that state.
pub(super) async fn in_state(platform: &Platform, id: &str, state: &str) -> Value {
    eventually(&format!("event {id} is {state}"), async || {
        let event = show(platform, id).await;
        (event["state"] == state).then_some(event)
    })
    .await
}

async fn post(platform: &Platform, function: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = platform.api(Method::POST, &format!("/v1/ns/default/functions/{function}/invoke"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_owned()).send().await.expect("the server answers");
    Reply::read(response).await.expect("the answer is complete")
}

async fn a_call_can_be_handed_in(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let answer = post(platform, "work", &[("prefer", "respond-async")], r#"{"do":"context"}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), "respond-async");
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.header("location"), format!("/v1/ns/default/events/{id}"));

    let event = in_state(platform, &id, "succeeded").await;
    let told = &event["result"]["body"];
    assert_eq!((&told["event_id"], &told["attempt"]), (&json!(id), &json!(1)));
    let records = platform.invocations("work").await;
    assert_eq!(records.len(), 1);
    assert_eq!(
        (&records[0]["event_id"], &records[0]["trigger"]),
        (&json!(id), &json!("direct"))
    );
    assert_eq!(records[0]["id"], told["invocation_id"]);
    assert!(records[0]["usage"]["billed_ms"].as_u64() >= Some(1), "{}", records[0]);
    let listed = platform.fn_(&["events", "list", "work", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let waiting = hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1h"]).await;
    assert_eq!(show(platform, &waiting).await["state"], "queued");
    let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
    assert_eq!(
        (&summary["queued"], &summary["running"], &summary["dead_letters"]),
        (&json!(1), &json!(0), &json!(0))
    );
    assert!(summary["oldest_queued_ms"].as_i64() >= Some(0), "{summary}");
}

async fn a_request_to_the_endpoint_can_be_handed_in(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "job"]).await;
    let request = platform
        .request(Method::POST, "/job/echo?a=b")
        .header("prefer", "respond-async");
    let response = request
        .header("x-kept", "yes")
        .body("hello")
        .send()
        .await
        .expect("it answers");
    let answer = Reply::read(response).await.expect("complete");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let event = in_state(platform, &id, "succeeded").await;
    assert_eq!(event["source"], "http");
    // What the guest was given: the same as if it had been called.
    let told = &event["result"]["body"];
    assert_eq!(
        (&told["rawPath"], &told["rawQueryString"]),
        (&json!("/echo"), &json!("a=b"))
    );
    assert_eq!(
        (&told["headers"]["x-kept"], &told["body"]),
        (&json!("yes"), &json!("hello"))
    );
}

async fn an_http_function_is_told_which_event_it_is(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "web"]).await;
    let later = platform
        .request(Method::POST, "/web/headers")
        .header("prefer", "respond-async");
    let response = later.header("mayfly-delay", "10m").send().await.expect("it answers");
    let accepted = Reply::read(response).await.expect("complete");
    let waiting = accepted.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(show(platform, &waiting).await["state"], "queued");

    // What a client says of itself is not believed.
    let request = platform
        .request(Method::PUT, "/web/headers?a=b")
        .header("prefer", "respond-async");
    let response = request.header("mayfly-event-id", "forged").body("hello").send().await;
    let accepted = Reply::read(response.expect("it answers")).await.expect("complete");
    let id = accepted.json()["id"].as_str().expect("an id").to_owned();
    let told = &in_state(platform, &id, "succeeded").await["result"]["body"];
    assert_eq!(
        (&told["method"], &told["path"]),
        (&json!("PUT"), &json!("/headers?a=b"))
    );
    assert_eq!(values(told, "mayfly-event-id"), [id.as_str()], "{told}");
    assert_eq!(values(told, "mayfly-attempt"), ["1"]);

    let schedule = [
        "trigger",
        "create",
        "cron",
        "web",
        "--schedule",
        "0 0 1 1 *",
        "--name",
        "yearly",
    ];
    platform.fn_(&schedule).await.ok();
    let fired = platform.fn_(&["trigger", "fire", "yearly", "--json"]).await.json();
    let id = fired["id"].as_str().expect("an id").to_owned();
    let told = &in_state(platform, &id, "succeeded").await["result"]["body"];
    assert_eq!((&told["method"], &told["path"]), (&json!("POST"), &json!("/")));
    assert_eq!(values(told, "ce-id"), [id.as_str()]);
    assert_eq!(values(told, "ce-type"), ["mayfly.cron.tick"]);
    assert_eq!(values(told, "ce-source"), ["/ns/default/triggers/yearly"]);
    assert_eq!(values(told, "ce-specversion"), ["1.0"]);
}

/// The values of a header that the guest was given.
fn values<'a>(told: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = told["headers"].as_array().expect("a list");
    let of_name = headers.iter().filter(|header| header[0] == name);
    of_name.filter_map(|header| header[1].as_str()).collect()
}

async fn an_event_waits_for_its_time(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let later = hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1h"]).await;
    let soon = hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1s"]).await;
    let event = in_state(platform, &soon, "succeeded").await;
    let ms = |name: &str| {
        let time = event[name].as_str().expect("a time");
        time[17..23].replace('.', "").parse::<i64>().expect("digits")
    };
    let waited = (ms("ended_at") - ms("created_at")).rem_euclid(60_000);
    assert!((1_000..20_000).contains(&waited), "{event}");
    let event = show(platform, &later).await;
    assert_eq!((&event["state"], &event["attempts"]), (&json!("queued"), &json!(0)));
    // At a time that is over, it is due at once.
    let past = hand_in(
        platform,
        "work",
        &json!({"do": "log"}),
        &["--at", "2020-01-01T00:00:00Z"],
    )
    .await;
    in_state(platform, &past, "succeeded").await;
}

async fn an_event_can_be_cancelled(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let waiting = hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1h"]).await;
    let cancelled = platform.fn_(&["events", "cancel", &waiting, "--json"]).await.json();
    assert_eq!(cancelled["state"], "cancelled");
    let running = hand_in(platform, "work", &json!({"do": "sleep", "ms": 20_000}), &[]).await;
    in_state(platform, &running, "leased").await;
    platform.fn_(&["events", "cancel", &running]).await.ok();
    let event = in_state(platform, &running, "cancelled").await;
    assert_eq!(event["error_code"], "cancelled");
    let records = platform.invocations("work").await;
    assert_eq!(records.len(), 1, "what it had used until then is recorded: {records:?}");
    let again = platform.fn_(&["events", "cancel", &running, "--json"]).await.json();
    assert_eq!(again["state"], "cancelled");
    platform
        .fn_(&["events", "cancel", "00000000-0000-7000-8000-000000000000"])
        .await
        .failed(1, "event_not_found");
}

async fn a_key_stands_for_one_request(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let key = |key: &'static str| [("idempotency-key", key)];
    let first = post(platform, "work", &key("one"), r#"{"do":"context"}"#).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let again = post(platform, "work", &key("one"), r#"{"do":"context"}"#).await;
    assert_eq!((again.status, &again.body), (200, &first.body), "the very same answer");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.invocation_id(), first.invocation_id());
    post(platform, "work", &key("one"), r#"{"do":"echo"}"#)
        .await
        .is_problem(409, "idempotency_key_reused");

    // A failure is an answer, too.
    let failed = post(platform, "work", &key("two"), r#"{"do":"fail"}"#).await;
    assert_eq!(failed.status, 500);
    let again = post(platform, "work", &key("two"), r#"{"do":"fail"}"#).await;
    assert_eq!((again.status, &again.body), (500, &failed.body));
    assert_eq!(platform.invocations("work").await.len(), 2, "two requests, two runs");

    // While one is at work, the other is told to wait.
    let slow = r#"{"do":"sleep","ms":1500}"#;
    let three = key("three");
    let (one, other) = tokio::join!(
        post(platform, "work", &three, slow),
        post(platform, "work", &three, slow)
    );
    let (first, second) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!(first.status, 200, "{}", first.text());
    second.is_problem(409, "request_under_way");
    assert_eq!(second.header("retry-after"), "1");

    // The same for events.
    let both = [("idempotency-key", "four"), ("prefer", "respond-async")];
    let first = post(platform, "work", &both, r#"{"do":"log"}"#).await;
    let again = post(platform, "work", &both, r#"{"do":"log"}"#).await;
    assert_eq!((first.status, &first.body), (202, &again.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    post(platform, "work", &key("four"), r#"{"do":"log"}"#)
        .await
        .is_problem(409, "idempotency_key_reused");
    for bad in ["", "a b", &"x".repeat(256)] {
        let answer = post(platform, "work", &[("idempotency-key", bad)], "{}").await;
        answer.is_problem(400, "invalid_parameter");
    }
}

async fn what_is_wrong_is_refused_and_nothing_is_kept(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let later = |name: &'static str, value: &'static str| [("prefer", "respond-async"), (name, value)];
    for headers in [
        later("mayfly-delay", "soon"),
        later("mayfly-delay", "400d"),
        later("mayfly-not-before", "2026-13-01T00:00:00Z"),
        later("mayfly-max-attempts", "0"),
        later("mayfly-max-attempts", "101"),
        later("mayfly-depth", "-1"),
    ] {
        post(platform, "work", &headers, "{}")
            .await
            .is_problem(400, "invalid_parameter");
    }
    let async_only = [("prefer", "respond-async")];
    post(platform, "work", &async_only, "no json")
        .await
        .is_problem(400, "invalid_json");
    post(platform, "nothing", &async_only, "{}")
        .await
        .is_problem(404, "function_not_found");
    let large = "x".repeat((6 << 20) + 1);
    post(platform, "work", &async_only, &large)
        .await
        .is_problem(413, "payload_too_large");
    let none = platform.fn_(&["events", "list", "--json"]).await.json();
    assert_eq!(none, json!([]), "nothing was kept");

    let file = mayfly_tests::guest("misbehave-event");
    let file = file.to_string_lossy();
    for flags in [
        ["--max-attempts", "0"],
        ["--max-attempts", "1000"],
        ["--retry-backoff", "2d"],
        ["--max-event-age", "0s"],
        ["--on-success", "queue:Not A Name"],
        ["--on-success", "topic:orders"],
        ["--on-failure", "function:Not A Name"],
    ] {
        let done = platform
            .fn_(&[&["deploy", &file, "--name", "work"], &flags[..]].concat())
            .await;
        done.failed(1, "invalid_config");
    }
    platform
        .fn_(&["events", "show", "nonsense"])
        .await
        .failed(1, "invalid_parameter");
    let done = platform.fn_(&["invoke", "work", "--delay", "1m"]).await;
    assert!(done.code == 2 && done.stderr.contains("--async"), "{done:?}");
}

async fn sigterm_waits_for_attempts(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let id = hand_in(platform, "work", &json!({"do": "sleep", "ms": 2_000}), &[]).await;
    in_state(platform, &id, "leased").await;
    let waiting = hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1s"]).await;
    platform.terminate();
    assert!(platform.ended().await.success());
    platform.restart().await;
    let event = show(platform, &id).await;
    assert_eq!((&event["state"], &event["attempts"]), (&json!("succeeded"), &json!(1)));
    in_state(platform, &waiting, "succeeded").await;
}

async fn events_survive_a_kill(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "work"]).await;
    let running = hand_in(platform, "work", &json!({"do": "sleep", "ms": 3_000}), &[]).await;
    in_state(platform, &running, "leased").await;
    let waiting = hand_in(platform, "work", &json!({"do": "log"}), &["--delay", "1s"]).await;
    platform.kill().await;
    platform.restart().await;
    in_state(platform, &waiting, "succeeded").await;
    let event = in_state(platform, &running, "succeeded").await;
    assert_eq!(
        (&event["attempts"], &event["failures"]),
        (&json!(2), &json!(0)),
        "the kill was not its fault"
    );
    assert_eq!(event["failed_attempts"][0]["error_code"], "interrupted");
    let records = platform.invocations("work").await;
    let of_event: Vec<_> = records
        .iter()
        .filter(|record| record["event_id"] == json!(running))
        .collect();
    assert_eq!(of_event.len(), 2, "each attempt is in the ledger once: {records:?}");
    assert!(
        Duration::from_secs(15) < WAIT_MAX,
        "a dead process is found out in time even without its successor"
    );
}

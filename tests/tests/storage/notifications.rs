//! Storages elsewhere post what has become of their objects: those that can prove themselves, and each notification once.

use mayfly_tests::{Platform, Reply, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

use super::create;
use crate::rabbitmq::notifications::notification;
use crate::webhooks::received::{now_seconds, signature};

on_both_databases!(
    a_signed_notification_is_done_once,
    minio_shows_its_secret,
    what_does_not_prove_itself_is_refused,
    what_is_no_notification_is_refused,
);

/// A trigger for notifications: where they are posted, and the secret.
async fn trigger(platform: &Platform, name: &str, more: &[&str]) -> (String, String) {
    let args = [
        "trigger",
        "create",
        "storage",
        "f",
        "--webhook",
        "--name",
        name,
        "--json",
    ];
    let made = platform.fn_(&[&args, more].concat()).await.json();
    let text = |field: &str| made[field].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    (text("webhook"), text("webhook_secret"))
}

/// Posts it with these headers, and without a token of the API.
async fn post(platform: &Platform, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
    let mut request = mayfly_tests::http_client().request(Method::POST, format!("{}{path}", platform.admin));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body).send().await.expect("an answer");
    Reply::read(response).await.expect("all of it")
}

async fn post_signed(platform: &Platform, path: &str, secret: &str, id: &str, seconds: u64, body: &str) -> Reply {
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", &seconds.to_string()),
        ("webhook-signature", &signature(secret, id, seconds, body)),
    ];
    post(platform, path, &headers, body.to_owned()).await
}

/// The ids of the events that a notification became.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["events"].as_array().expect("a list").clone()
}

async fn a_signed_notification_is_done_once(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "f"]).await;
    let (path, secret) = trigger(platform, "t", &["--prefix", "raw/"]).await;
    let body = notification("ObjectCreated:Put", "photos", "raw/a.jpg").to_string();
    let first = post_signed(platform, &path, &secret, "one", now_seconds(), &body).await;
    let first = events(&first);
    assert_eq!(first.len(), 1);
    let shown = crate::events::in_state(platform, first[0].as_str().expect("an id"), "succeeded").await;
    let record = &shown["result"]["body"]["event"]["Records"][0];
    assert_eq!(record["eventSource"], "minio:s3", "as it came: {shown}");

    let again = post_signed(platform, &path, &secret, "one", now_seconds(), &body).await;
    assert_eq!(
        events(&again),
        first,
        "a repetition is told what became of the first one"
    );
    let other = notification("ObjectCreated:Put", "photos", "raw/b.jpg").to_string();
    let mixed_up = post_signed(platform, &path, &secret, "one", now_seconds(), &other).await;
    mixed_up.is_problem(409, "idempotency_key_reused");
    let unwanted = notification("ObjectCreated:Put", "photos", "thumbs/b.jpg").to_string();
    let unwanted = post_signed(platform, &path, &secret, "two", now_seconds(), &unwanted).await;
    assert_eq!(events(&unwanted), [Value::Null; 0]);

    // The server that comes after a crash knows it, too.
    platform.kill().await;
    platform.restart().await;
    let again = post_signed(platform, &path, &secret, "one", now_seconds(), &body).await;
    assert_eq!(events(&again), first);
    assert_eq!(platform.invocations("f").await.len(), 1);
}

async fn minio_shows_its_secret(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "f"]).await;
    let (path, secret) = trigger(platform, "t", &["--bucket", "photos", "--events", "removed"]).await;
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = notification("ObjectRemoved:Delete", "photos", "a b.jpg").to_string();
    let first = events(&post(platform, &path, &headers, body.clone()).await);
    assert_eq!(first.len(), 1);
    assert_eq!(events(&post(platform, &path, &headers, body).await), first);
    let elsewhere = notification("ObjectRemoved:Delete", "other", "a b.jpg").to_string();
    assert_eq!(events(&post(platform, &path, &headers, elsewhere).await).len(), 0);
    platform.fn_(&["trigger", "disable", "t"]).await.ok();
    let missed = notification("ObjectRemoved:Delete", "photos", "c.jpg").to_string();
    assert_eq!(events(&post(platform, &path, &headers, missed).await).len(), 0);
    let shown = platform.fn_(&["trigger", "show", "t", "--json"]).await.ok();
    assert!(!shown.contains("whsec_"), "it is told once: {shown}");
}

async fn what_does_not_prove_itself_is_refused(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "f"]).await;
    create(platform, "photos").await;
    super::watch(platform, "f", "photos", "own", &[]).await;
    let (path, secret) = trigger(platform, "t", &[]).await;
    let (_, other) = trigger(platform, "u", &[]).await;
    let body = notification("ObjectCreated:Put", "photos", "a").to_string();
    let now = now_seconds();
    for (secret, seconds) in [(&other, now), (&secret, now - 400), (&secret, now + 400), (&secret, 0)] {
        let reply = post_signed(platform, &path, secret, "one", seconds, &body).await;
        reply.is_problem(401, "unauthorized");
    }
    let signed = signature(&secret, "one", now, &body);
    let seconds = now.to_string();
    let bearers = [
        format!("Bearer {other}"),
        format!("Basic {secret}"),
        secret.clone(),
        "Bearer ".to_owned(),
    ];
    let mut strangers: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("webhook-signature", &signed)],
        vec![("webhook-signature", &signed), ("webhook-id", "one")],
        vec![
            ("webhook-signature", &signed),
            ("webhook-id", "two"),
            ("webhook-timestamp", &seconds),
        ],
        vec![
            ("webhook-signature", &signed),
            ("webhook-id", "one"),
            ("webhook-timestamp", "now"),
        ],
    ];
    strangers.extend(bearers.iter().map(|bearer| vec![("authorization", bearer.as_str())]));
    for headers in &strangers {
        let reply = post(platform, &path, headers, body.clone()).await;
        reply.is_problem(401, "unauthorized");
    }
    let good = [
        ("webhook-signature", signed.as_str()),
        ("webhook-id", "one"),
        ("webhook-timestamp", &seconds),
    ];
    let changed = format!("{body} ");
    post(platform, &path, &good, changed)
        .await
        .is_problem(401, "unauthorized");
    let bearer = format!("Bearer {secret}");
    let known = [("authorization", bearer.as_str())];
    // A trigger that is none, or takes none, looks like one whose secret is not known.
    for name in ["own", "nothing", "No%20Name"] {
        let path = format!("/v1/ns/default/triggers/{name}/notifications");
        post(platform, &path, &known, body.clone())
            .await
            .is_problem(401, "unauthorized");
    }
    assert_eq!(platform.invocations("f").await.len(), 0, "none of it became an event");
    let good = post(platform, &path, &good, body).await;
    assert_eq!(events(&good).len(), 1, "and the door is still open");
}

async fn what_is_no_notification_is_refused(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "f"]).await;
    let (path, secret) = trigger(platform, "t", &[]).await;
    let bearer = format!("Bearer {secret}");
    let known = [("authorization", bearer.as_str())];
    let record = notification("ObjectCreated:Put", "photos", "a")["Records"][0].clone();
    let half = json!({ "Records": [record, {}] }).to_string();
    for text in ["", "x", "[]", "{}", &json!({"Records": [7]}).to_string(), &half] {
        let reply = post(platform, &path, &known, text.to_owned()).await;
        reply.is_problem(400, "invalid_parameter");
    }
    let long = vec![b' '; (1 << 20) + 1];
    post(platform, &path, &known, long)
        .await
        .is_problem(413, "payload_too_large");
    assert_eq!(platform.invocations("f").await.len(), 0, "none of it became an event");
}

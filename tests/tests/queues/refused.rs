//! What is wrong with queues, messages and their triggers is refused, and nothing of it is kept.

use mayfly_tests::{Platform, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

use super::{create, queue, subscribe};

on_both_databases!(
    queues_that_cannot_be,
    messages_that_cannot_be_sent_or_received,
    triggers_that_cannot_be,
);

/// Posts to a path of the namespace; wants that status and that code.
async fn refused(platform: &Platform, path: &str, document: Value, status: u16, code: &str) {
    let request = platform.api(Method::POST, &format!("/v1/ns/default/{path}"));
    let answer = request.json(&document).send().await.expect("an answer");
    let found = answer.status().as_u16();
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (found, problem["code"].as_str()),
        (status, Some(code)),
        "{path} {document:.200}"
    );
}

async fn queues_that_cannot_be(platform: &mut Platform) {
    create(platform, "orders", &[]).await;
    for (document, status, code) in [
        (json!({"name": "orders"}), 409, "queue_exists"),
        (json!({"name": "Not A Name"}), 400, "invalid_name"),
        (json!({"name": "a", "retention_seconds": 59}), 400, "invalid_parameter"),
        (json!({"name": "a", "delay_seconds": 901}), 400, "invalid_parameter"),
        (json!({"name": "a", "dead_letter": "a"}), 400, "invalid_parameter"),
        (json!({"name": "a", "max_receives": 0}), 400, "invalid_parameter"),
        (json!({"name": "a", "colour": "red"}), 400, "invalid_config"),
    ] {
        refused(platform, "queues", document, status, code).await;
    }
    refused(platform, "queues/nothing/purge", json!({}), 404, "queue_not_found").await;
    let listed = platform.fn_(&["queue", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
}

async fn messages_that_cannot_be_sent_or_received(platform: &mut Platform) {
    create(platform, "orders", &[]).await;
    let one = |message: Value| json!({ "messages": [message] });
    let many: Vec<Value> = (0..101).map(|_| json!({"body": "x"})).collect();
    let attributes: serde_json::Map<String, Value> = (0..33).map(|number| (number.to_string(), json!("x"))).collect();
    let long = "x".repeat((256 << 10) + 1);
    for (document, status, code) in [
        (json!({"messages": []}), 400, "invalid_parameter"),
        (json!({"messages": many}), 400, "invalid_parameter"),
        (one(json!({"body": long})), 413, "payload_too_large"),
        (
            one(json!({"body": "x", "attributes": attributes})),
            413,
            "payload_too_large",
        ),
        (
            one(json!({"body": "x", "attributes": {"": "x"}})),
            400,
            "invalid_parameter",
        ),
        (one(json!({"body": {"a": 1}})), 400, "invalid_config"),
        (
            one(json!({"body": "x", "delay_seconds": 901})),
            400,
            "invalid_parameter",
        ),
        (
            json!({"messages": [{"body": "good"}, {"body": "x", "delay_seconds": 901}]}),
            400,
            "invalid_parameter",
        ),
    ] {
        refused(platform, "queues/orders/messages", document, status, code).await;
    }
    for unknown in ["nothing", "No%20Name"] {
        let path = format!("queues/{unknown}/messages");
        refused(platform, &path, one(json!({"body": "x"})), 404, "queue_not_found").await;
    }
    for document in [json!({"max": 0}), json!({"max": 101}), json!({"wait_seconds": 21})] {
        refused(platform, "queues/orders/receive", document, 400, "invalid_parameter").await;
    }
    refused(platform, "queues/nothing/receive", json!({}), 404, "queue_not_found").await;
    let stale = format!("01a2006f-dc9d-70ee-b480-859c00000000.{}", "0".repeat(32));
    for (receipt, status) in [("nonsense", 400), (stale.as_str(), 404)] {
        let path = format!("/v1/ns/default/queues/orders/messages/{receipt}");
        let answer = platform.api(Method::DELETE, &path).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{receipt}");
    }
    let not_text = platform
        .fn_with_input(&["queue", "send", "orders", "-"], &[0xff, 0xfe])
        .await;
    not_text.failed(2, "usage");
    assert_eq!(
        queue(platform, "orders").await["messages"],
        0,
        "nothing of all that was kept"
    );
}

async fn triggers_that_cannot_be(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "work"]).await;
    create(platform, "orders", &[]).await;
    for (more, status, code) in [
        (json!({"queue": "nothing"}), 404, "queue_not_found"),
        (json!({"function": "nothing"}), 404, "function_not_found"),
        (json!({"batch": 0}), 400, "invalid_parameter"),
        (json!({"batch": 1_001}), 400, "invalid_parameter"),
        (json!({"window_ms": 300_001}), 400, "invalid_parameter"),
        (json!({"concurrency": 0}), 400, "invalid_parameter"),
        (json!({"filter": {"type": ["x"]}}), 400, "invalid_parameter"),
        (json!({"filter": {"body": {"type": "x"}}}), 400, "invalid_parameter"),
        (json!({"order_key": "header.x"}), 400, "invalid_parameter"),
        (json!({"retry": {"max_age_seconds": 60}}), 400, "invalid_parameter"),
        (json!({"schedule": "@daily"}), 400, "invalid_config"),
        (json!({"kind": "smoke"}), 400, "invalid_config"),
    ] {
        let mut document = json!({"kind": "queue", "function": "work", "queue": "orders"});
        let fields = document.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        refused(platform, "triggers", document, status, code).await;
    }
    // A trigger of a queue has nothing to fire by hand.
    subscribe(platform, "work", "orders", "on-order", &[]).await;
    platform
        .fn_(&["trigger", "fire", "on-order"])
        .await
        .failed(1, "invalid_parameter");
}

//! Functions that send messages: the example from queue to queue, what they may not do, and circles that end.

use std::collections::BTreeMap;

use mayfly_tests::{Platform, ServeWith, eventually, on_both_databases};
use serde_json::{Value, json};

use super::{create, queue, receive, send, send_all, subscribe};
use crate::events::{in_state, show};

on_both_databases!(
    orders_go_from_queue_to_queue,
    a_function_sends_only_what_it_may,
    what_a_function_sends_is_whole_or_refused,
    messages_sent_together_are_accepted_together,
    a_circle_comes_to_an_end,
);

/// Real orders of three customers, two of which are no orders.
fn orders() -> Vec<Value> {
    let customers = ["ann", "bob", "eve"];
    (1..=30_u64)
        .map(|id| {
            let customer = customers[usize::try_from(id % 3).expect("small")];
            match id {
                7 => json!({ "id": id, "customer": customer }),
                20 => json!({ "id": id, "customer": customer, "lines": [{ "quantity": -1, "unit_price_cents": 5 }] }),
                _ => json!({ "id": id, "customer": customer, "lines": [
                    { "quantity": id, "unit_price_cents": 450 },
                    { "quantity": 1, "unit_price_cents": 10_000 * id },
                ]}),
            }
        })
        .collect()
}

async fn orders_go_from_queue_to_queue(platform: &mut Platform) {
    let flags = [
        "--name",
        "price",
        "--allow-host",
        "queue.mayfly.internal",
        "--max-attempts",
        "2",
        "--retry-backoff",
        "0s",
    ];
    platform.deploy("order-pipeline", &flags).await;
    create(platform, "bad-orders", &[]).await;
    create(platform, "orders", &["--dead-letter", "bad-orders"]).await;
    create(platform, "priced-orders", &[]).await;
    platform.deploy("consume", &["--name", "archive"]).await;
    let large = r#"{"attributes": {"size": ["large"]}}"#;
    subscribe(
        platform,
        "archive",
        "priced-orders",
        "large-orders",
        &["--filter", large, "--batch", "1"],
    )
    .await;
    subscribe(
        platform,
        "price",
        "orders",
        "to-price",
        &["--order-key", "body.customer", "--batch", "4"],
    )
    .await;
    let events = send_all(platform, "orders", &orders()).await;
    assert_eq!(events.len(), 30);
    let priced = all_priced(platform).await;
    for (id, total) in &priced {
        assert_eq!(*total, id * 450 + 10_000 * id, "order {id}");
    }
    for bad in [7, 20] {
        assert!(!priced.contains_key(&bad));
    }
    let letters = eventually("both bad ones are given up", async || {
        let shown = queue(platform, "bad-orders").await;
        (shown["messages"] == 2).then_some(())
    });
    letters.await;
    let letters = receive(platform, "bad-orders", &["--max", "10"]).await;
    assert!(
        letters
            .iter()
            .all(|letter| letter["attributes"]["mayfly-error-code"] == "function_failed")
    );
    let logs = platform.fn_(&["logs", "price"]).await.ok();
    assert!(logs.contains("missing field `lines`"), "{logs}");
}

/// What was priced, by order: small ones wait to be received, large ones went to the archive.
async fn all_priced(platform: &Platform) -> BTreeMap<u64, u64> {
    let mut priced: BTreeMap<u64, u64> = BTreeMap::new();
    eventually("all good orders are priced", async || {
        for message in receive(platform, "priced-orders", &["--max", "100"]).await {
            let order: Value = serde_json::from_str(message["body"].as_str().expect("text")).expect("JSON");
            priced.insert(number(&order["id"]), number(&order["total_cents"]));
        }
        for record in platform.invocations("archive").await {
            let event = show(platform, record["event_id"].as_str().expect("an id")).await;
            let body = &event["result"]["body"]["event"]["Records"][0]["body"];
            let Some(body) = body.as_str() else { continue };
            let order: Value = serde_json::from_str(body).expect("JSON");
            priced.insert(number(&order["id"]), number(&order["total_cents"]));
        }
        (priced.len() == 28).then_some(())
    })
    .await;
    priced
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is a number"))
}

async fn a_function_sends_only_what_it_may(platform: &mut Platform) {
    create(platform, "orders", &[]).await;
    create(platform, "next", &[]).await;
    let flags = ["--name", "silent", "--max-attempts", "1"];
    platform.deploy("consume", &flags).await;
    subscribe(platform, "silent", "orders", "to-silent", &[]).await;
    let (_, events) = send(platform, "orders", r#"{"do": "send", "queue": "next"}"#, &[]).await;
    let dead = in_state(platform, &events[0], "dead").await;
    let why = dead["error_message"].as_str().expect("a reason");
    assert!(
        why.contains("not_sent") && why.contains("--allow-host queue.mayfly.internal"),
        "{why}"
    );
    assert_eq!(queue(platform, "next").await["messages"], 0);

    // Whoever may go anywhere may not go in by that.
    let flags = ["--name", "silent", "--max-attempts", "1", "--allow-host", "*"];
    platform.deploy("consume", &flags).await;
    let (_, events) = send(platform, "orders", r#"{"do": "send", "queue": "next"}"#, &[]).await;
    in_state(platform, &events[0], "dead").await;
    let logs = platform.fn_(&["logs", "silent"]).await.ok();
    assert!(logs.contains("must name it"), "{logs}");
    let (_, events) = send(platform, "orders", r#"{"do": "post", "queue": "next"}"#, &[]).await;
    let dead = in_state(platform, &events[0], "dead").await;
    assert!(
        dead["error_message"]
            .as_str()
            .is_some_and(|why| why.contains("not_sent")),
        "{dead}"
    );
    assert_eq!(queue(platform, "next").await["messages"], 0);
}

async fn what_a_function_sends_is_whole_or_refused(platform: &mut Platform) {
    create(platform, "orders", &[]).await;
    create(platform, "next", &[]).await;
    let flags = ["--name", "sender", "--max-attempts", "1"];
    let more = ["--allow-host", "*.mayfly.internal", "--allow-host", "mayfly.internal"];
    platform.deploy("consume", &[&flags[..], &more].concat()).await;
    subscribe(platform, "sender", "orders", "to-sender", &[]).await;
    for (wish, code) in [
        (json!({"do": "send", "queue": "nothing"}), "queue_not_found"),
        (json!({"do": "send", "queue": "No Name"}), "queue_not_found"),
        (
            json!({"do": "send", "queue": "next", "bytes": (256 << 10) + 1}),
            "payload_too_large",
        ),
        (
            json!({"do": "send", "queue": "next", "bytes": 2 << 20}),
            "payload_too_large",
        ),
        (
            json!({"do": "send", "queue": "next", "delay": 901}),
            "invalid_parameter",
        ),
        (
            json!({"do": "send-all", "queue": "next", "count": 0}),
            "invalid_parameter",
        ),
        (
            json!({"do": "send-all", "queue": "next", "count": 101}),
            "invalid_parameter",
        ),
        (
            json!({"do": "send", "queue": "next", "bytes": 12 << 20}),
            "too much data",
        ),
        (
            json!({"do": "send-all", "queue": "next", "count": 3, "broken": true}),
            "payload_too_large",
        ),
        (json!({"do": "post", "queue": "nothing"}), "404"),
        (json!({"do": "post", "queue": "No%20Name"}), "404"),
        (json!({"do": "post", "queue": "next", "bytes": (256 << 10) + 1}), "413"),
        (json!({"do": "post", "queue": "next", "delay": "901"}), "400"),
        (json!({"do": "post", "queue": "next", "delay": "soon"}), "400"),
        (json!({"do": "get", "uri": "http://queue.mayfly.internal/next"}), "405"),
        (json!({"do": "get", "uri": "http://secrets.mayfly.internal/"}), "404"),
        (json!({"do": "get", "uri": "http://mayfly.internal/"}), "404"),
    ] {
        let (_, events) = send(platform, "orders", &wish.to_string(), &[]).await;
        let dead = in_state(platform, &events[0], "dead").await;
        let why = dead["error_message"].as_str().expect("a reason");
        assert!(why.contains(code), "{wish}: {why}");
    }
    assert_eq!(queue(platform, "next").await["messages"], 0, "nothing of that was sent");
    for how in ["send", "post"] {
        let wish = json!({"do": how, "queue": "next", "bytes": 256 << 10, "attribute": "Ren\u{e9}"});
        let (_, events) = send(platform, "orders", &wish.to_string(), &[]).await;
        in_state(platform, &events[0], "succeeded").await;
        let received = &receive(platform, "next", &[]).await[0];
        let (bytes, attribute) = (received["body"].as_str().map(str::len), &received["attributes"]["mine"]);
        assert_eq!((bytes, attribute), (Some(256 << 10), &json!("Ren\u{e9}")));
    }
    let wish = json!({"do": "send-all", "queue": "next", "count": 100});
    let (_, events) = send(platform, "orders", &wish.to_string(), &[]).await;
    in_state(platform, &events[0], "succeeded").await;
    assert_eq!(queue(platform, "next").await["messages"], 100);
    let first = &receive(platform, "next", &[]).await[0];
    let (body, of) = (&first["body"], &first["attributes"]["Of"]);
    assert_eq!((body, of), (&json!("0"), &json!("send-all")));
}

/// What is accepted only up to a bound is not accepted at all.
async fn messages_sent_together_are_accepted_together(platform: &mut Platform) {
    let serve_with = ServeWith {
        args: vec!["--max-backlog".to_owned(), "70".to_owned()],
        ..ServeWith::default()
    };
    platform.kill().await;
    platform.restart_with(serve_with).await;
    create(platform, "orders", &[]).await;
    create(platform, "next", &[]).await;
    let flags = [
        "--name",
        "sender",
        "--max-attempts",
        "1",
        "--allow-host",
        "queue.mayfly.internal",
    ];
    platform.deploy("consume", &flags).await;
    subscribe(platform, "sender", "orders", "to-sender", &[]).await;
    for (wish, code, sent) in [
        (
            json!({"do": "send-all", "queue": "next", "count": 80}),
            "backlog_full",
            0,
        ),
        (
            json!({"do": "send-all", "queue": "next", "count": 10, "times": 51}),
            "not_sent",
            50,
        ),
    ] {
        let (_, events) = send(platform, "orders", &wish.to_string(), &[]).await;
        let dead = in_state(platform, &events[0], "dead").await;
        let why = dead["error_message"].as_str().expect("a reason");
        assert!(why.contains(code), "{wish}: {why}");
        assert_eq!(queue(platform, "next").await["messages"], sent, "{wish}");
    }
}

/// A function that sends each message on to its own queue.
async fn a_circle_comes_to_an_end(platform: &mut Platform) {
    create(platform, "round", &[]).await;
    let flags = [
        "--name",
        "echo",
        "--max-attempts",
        "1",
        "--allow-host",
        "queue.mayfly.internal",
    ];
    platform.deploy("consume", &flags).await;
    subscribe(platform, "echo", "round", "to-echo", &["--batch", "1"]).await;
    send(
        platform,
        "round",
        r#"{"do": "send", "queue": "round", "on": true}"#,
        &[],
    )
    .await;
    let dead = eventually("the circle is cut", async || {
        let letters = platform.fn_(&["dlq", "list", "echo", "--json"]).await.json();
        letters.as_array().and_then(|letters| letters.first().cloned())
    })
    .await;
    assert!(
        dead["error_message"]
            .as_str()
            .is_some_and(|why| why.contains("recursion_detected")),
        "{dead}"
    );
    assert_eq!(dead["depth"], 16);
    assert_eq!(
        platform.invocations("echo").await.len(),
        17,
        "the first and sixteen more"
    );
}

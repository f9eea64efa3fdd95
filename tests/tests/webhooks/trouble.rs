//! Receivers that fail, lie elsewhere, are gone or stall; addresses that are not open; a server that is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use mayfly_tests::{Answer, Database, Platform, Upstream, eventually};
use serde_json::{Value, json};

use super::received::Received;
use super::{deploy, open_platform, opened, secret, status, telling, told};
use crate::events::{hand_in, in_state, show};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_is_told_again() {
    let platform = open_platform().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let receiver = Upstream::start(move |_| match asked.fetch_add(1, SeqCst) {
        0 => status("500 Internal Server Error"),
        1 => Answer::Bytes(Vec::new()),
        _ => status("202 Accepted"),
    })
    .await;
    deploy(&platform, &format!("http://{}/secret-path", receiver.address), &[]).await;
    let id = hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    let event = told(&platform, "succeeded").await;
    assert_eq!((&event["attempts"], &event["failures"]), (&json!(3), &json!(2)));
    assert_eq!(event["result"]["http_status"], 202);
    let failed = event["failed_attempts"].as_array().expect("a list");
    assert_eq!(failed.len(), 2);
    for (attempt, because) in failed.iter().zip(["answered HTTP 500", "ended the connection"]) {
        assert_eq!(
            (&attempt["error_code"], &attempt["invocation_id"]),
            (&json!("webhook_failed"), &Value::Null)
        );
        assert_eq!(attempt["version"], Value::Null);
        let message = attempt["error_message"].as_str().expect("a message");
        assert!(
            message.contains(because) && !message.contains("secret-path"),
            "{message}"
        );
    }
    let received: Vec<_> = receiver.take_requests().iter().map(|it| Received::of(it)).collect();
    let numbers: Vec<_> = received.iter().map(|it| it.header("mayfly-attempt")).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    assert!(
        received.iter().all(|it| it.header("webhook-id") == event["id"]),
        "one message has one id"
    );
    let secret = secret(&platform).await;
    assert!(received.iter().all(|it| it.signed_by(&secret) == Some(0)));
    let event = show(&platform, &id).await;
    assert_eq!(
        (&event["state"], &event["attempts"]),
        (&json!("succeeded"), &json!(1)),
        "it is not run again"
    );
    assert_eq!(platform.invocations("work").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_open_is_not_connected_to() {
    let platform = Platform::start(Database::Sqlite).await;
    let mut platform = platform.expect("SQLite is always there");
    let receiver = Upstream::start(|_| Answer::ok("reached")).await;
    let port = receiver.address.port();
    let mut letters = Vec::new();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
    ] {
        deploy(&platform, &format!("http://{host}:{port}/"), &[]).await;
        let id = hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
        in_state(&platform, &id, "succeeded").await;
        let event = told(&platform, "dead").await;
        assert_eq!(
            (&event["error_code"], &event["attempts"]),
            (&json!("webhook_prohibited"), &json!(1)),
            "{event}"
        );
        let message = event["error_message"].as_str().expect("a message");
        assert!(message.contains("--allow-private-network"), "{message}");
        letters.push(event["id"].as_str().expect("an id").to_owned());
    }
    assert_eq!(receiver.opened(), 0);
    let listed = platform.fn_(&["dlq", "list", "work", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(letters.len()));

    // Once the operator has opened it, it can be told after all.
    opened(&mut platform).await;
    platform.fn_(&["dlq", "redrive", "work", &letters[0]]).await.ok();
    in_state(&platform, &letters[0], "succeeded").await;
    assert_eq!(receiver.opened(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_led_on() {
    let platform = open_platform().await;
    let elsewhere = Upstream::start(|_| Answer::ok("reached")).await;
    let location = format!("http://{}/", elsewhere.address);
    let receiver = Upstream::start(move |_| {
        let head = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        Answer::Bytes(head.into_bytes())
    })
    .await;
    deploy(
        &platform,
        &format!("http://{}/", receiver.address),
        &["--max-attempts", "2"],
    )
    .await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    let event = told(&platform, "dead").await;
    assert_eq!(
        (&event["error_code"], &event["attempts"]),
        (&json!("webhook_failed"), &json!(2))
    );
    let message = event["error_message"].as_str().expect("a message");
    assert!(message.contains("HTTP 307; redirects are not followed"), "{message}");
    assert_eq!((receiver.opened(), elsewhere.opened()), (2, 0));
}

/// Also what a function has left behind that is no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_can_be_told_once_it_is_back() {
    let platform = open_platform().await;
    let is_back = Arc::new(AtomicUsize::new(0));
    let back = Arc::clone(&is_back);
    let receiver = Upstream::start(move |_| match back.load(SeqCst) {
        0 => status("410 Gone"),
        _ => Answer::ok("back"),
    })
    .await;
    deploy(&platform, &format!("http://{}/", receiver.address), &[]).await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    let event = told(&platform, "dead").await;
    assert_eq!(
        (&event["attempts"], receiver.opened()),
        (&json!(1), 1),
        "it is not asked again"
    );
    platform.fn_(&["delete", "work", "--yes"]).await.ok();
    is_back.store(1, SeqCst);
    platform.fn_(&["dlq", "redrive", "work", "--all"]).await.ok();
    let event = told(&platform, "succeeded").await;
    assert_eq!(
        (&event["attempts"], &event["result"]["body"]),
        (&json!(2), &json!("back"))
    );
    platform
        .fn_(&["dlq", "redrive", "work", "--all"])
        .await
        .failed(1, "function_not_found");
}

/// What was accepted is told, whatever happens to the server and to the function.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_kill_nor_a_deletion_keeps_it_from_being_told() {
    let mut platform = open_platform().await;
    let receiver = Upstream::start(|_| Answer::Held(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())).await;
    deploy(&platform, &format!("http://{}/", receiver.address), &[]).await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    eventually("it is being told", async || (receiver.opened() == 1).then_some(())).await;
    let event = told(&platform, "leased").await;
    platform.fn_(&["delete", "work", "--yes"]).await.ok();
    platform.kill().await;
    receiver.release();
    platform.restart().await;
    let event = in_state(&platform, event["id"].as_str().expect("an id"), "succeeded").await;
    assert_eq!((&event["attempts"], &event["failures"]), (&json!(2), &json!(0)));
    let interrupted = &event["failed_attempts"][0];
    assert_eq!(
        (&interrupted["error_code"], &interrupted["invocation_id"]),
        (&json!("interrupted"), &Value::Null)
    );
    let received: Vec<_> = receiver.take_requests().iter().map(|it| Received::of(it)).collect();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|it| it.header("webhook-id") == event["id"]));
    assert_eq!(
        platform.usage_of("work").await["invocations"],
        1,
        "only the run is in the ledger"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_stalls_or_talks_too_much_holds_nobody() {
    let platform = open_platform().await;
    let receiver = Upstream::start(|request| {
        if request.starts_with("POST /endless ") {
            return Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 64 << 10]);
        }
        Answer::Stall(Vec::new())
    })
    .await;
    deploy(&platform, &format!("http://{}/endless", receiver.address), &[]).await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    let event = told(&platform, "succeeded").await;
    assert_eq!(
        (&event["result"]["bytes"], &event["result"]["body"]),
        (&json!(64 << 10), &Value::Null)
    );
    eventually("the connection is closed", async || {
        (receiver.open() == 0).then_some(())
    })
    .await;

    deploy(
        &platform,
        &format!("http://{}/stall", receiver.address),
        &["--max-attempts", "1"],
    )
    .await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    let stalled = eventually("both are being told", async || {
        let leased: Vec<_> = telling(&platform)
            .await
            .into_iter()
            .filter(|it| it["state"] == "leased")
            .collect();
        (leased.len() == 2 && receiver.open() == 2).then_some(leased)
    })
    .await;
    platform.deploy("misbehave-event", &["--name", "other"]).await;
    let other = hand_in(&platform, "other", &json!({"do": "log"}), &[]).await;
    let other = in_state(&platform, &other, "succeeded").await;
    let [late, cancelled] = [0, 1].map(|index: usize| stalled[index]["id"].as_str().expect("an id"));
    platform.fn_(&["events", "cancel", cancelled]).await.ok();
    in_state(&platform, cancelled, "cancelled").await;
    eventually("its connection is closed", async || {
        (receiver.open() <= 1).then_some(())
    })
    .await;
    let event = in_state(&platform, late, "dead").await;
    assert_eq!(event["error_code"], "webhook_failed");
    let message = event["error_message"].as_str().expect("a message");
    assert!(message.contains("did not answer within 15 s"), "{message}");
    assert!(
        other["ended_at"].as_str() < event["ended_at"].as_str(),
        "nobody waits for it: {other}"
    );
    eventually("all connections are closed", async || {
        (receiver.open() == 0).then_some(())
    })
    .await;
}

/// However long the row of events was that led to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_circle_is_told() {
    let platform = open_platform().await;
    let receiver = Upstream::start(|_| status("204 No Content")).await;
    let url = format!("http://{}/", receiver.address);
    let flags = ["--name", "work", "--on-success", "function:work", "--on-failure", &url];
    platform.deploy("hello-http", &flags).await;
    hand_in(&platform, "work", &json!({}), &[]).await;
    let event = told(&platform, "succeeded").await;
    assert_eq!((&event["depth"], &event["attempts"]), (&json!(18), &json!(1)));
    let received: Vec<_> = receiver.take_requests().iter().map(|it| Received::of(it)).collect();
    assert_eq!(received.len(), 1);
    let document = received[0].document();
    assert_eq!(document["responsePayload"]["code"], "recursion_detected");
    // What was not run is what the receiver may want to run elsewhere.
    assert_eq!(
        document["requestPayload"]["requestContext"]["condition"], "Success",
        "{document}"
    );
    assert!(document["requestPayloadBytes"].as_u64() > Some(0), "{document}");
}

/// What went in is told as it was written, whatever a reader of JSON would make of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_stay_as_they_were_written() {
    const PAYLOAD: &str = r#"{"do":"log", "id":12345678901234567890123, "z":1, "a":1.10, "n":9007199254740993.0}"#;
    let platform = open_platform().await;
    let receiver = Upstream::start(|_| status("204 No Content")).await;
    deploy(&platform, &format!("http://{}/", receiver.address), &[]).await;
    platform
        .fn_(&["invoke", "work", "--async", "--json", "--data", PAYLOAD])
        .await
        .ok();
    told(&platform, "succeeded").await;
    let requests = receiver.take_requests();
    let received = Received::of(&requests[0]);
    let told = format!(r#""requestPayload":{PAYLOAD},"requestPayloadBytes":{}"#, PAYLOAD.len());
    assert!(received.body.contains(&told), "{}", received.body);
}

/// Heads that say only that an answer will come are taken, a few of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_cannot_keep_on_saying_that_it_will_answer() {
    const SOON: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let platform = open_platform().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let receiver = Upstream::start(move |_| {
        let heads = if asked.fetch_add(1, SeqCst) == 0 { 1_000 } else { 3 };
        Answer::Bytes(format!("{}{DONE}", SOON.repeat(heads)).into_bytes())
    })
    .await;
    deploy(&platform, &format!("http://{}/", receiver.address), &[]).await;
    hand_in(&platform, "work", &json!({"do": "log"}), &[]).await;
    let event = told(&platform, "succeeded").await;
    assert_eq!(event["attempts"], 2, "{event}");
    let message = event["failed_attempts"][0]["error_message"]
        .as_str()
        .expect("a message");
    assert!(message.contains("gave no answer that can be read"), "{message}");
}

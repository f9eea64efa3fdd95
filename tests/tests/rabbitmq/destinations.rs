//! Outcomes of events that go to an exchange of RabbitMQ.

use futures_util::future::join_all;
use lapin::message::BasicGetMessage;
use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use mayfly_tests::{Broker, Platform, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use super::{declare, done, is_nowhere_in_the_data, publish, subscribe, trigger, waiting};
use crate::events::{hand_in, in_state};

/// Without anything that would be written otherwise in a URL.
const SECRET: &str = "an0therw0rdthatnobodysees";

pub(super) async fn outcomes_go_to_an_exchange(platform: &Platform, broker: &mut Broker) {
    let done_queue = declare(broker, "done", FieldTable::default()).await;
    let failed_queue = declare(broker, "failed", FieldTable::default()).await;
    let place = |key: &str| format!("{}?routing_key={key}", broker.url());
    let flags = [
        "--name",
        "teller",
        "--max-attempts",
        "1",
        "--on-success",
        &place("done"),
        "--on-failure",
        &place("failed"),
    ];
    platform.deploy("misbehave-event", &flags).await;
    let sent = hand_in(platform, "teller", &json!({"do": "context"}), &[]).await;
    let letter = next(&done_queue, "done").await;
    let record: Value = serde_json::from_slice(&letter.data).expect("a record");
    assert_eq!(record["requestContext"]["condition"], "Success");
    assert_eq!(record["requestContext"]["requestId"], sent);
    assert_eq!(record["requestPayload"], json!({"do": "context"}));
    let properties = &letter.properties;
    assert_eq!(
        properties.kind().as_ref().map(|kind| kind.as_str()),
        Some("mayfly.event.succeeded")
    );
    assert_eq!(
        properties.content_type().as_ref().map(|kind| kind.as_str()),
        Some("application/json")
    );
    assert_eq!(*properties.delivery_mode(), Some(2));
    let headers = properties.headers().clone().unwrap_or_default();
    assert_eq!(headers.inner().get("mayfly-depth"), Some(&AMQPValue::LongLongInt(1)));

    hand_in(platform, "teller", &json!({"do": "fail"}), &[]).await;
    let letter = next(&failed_queue, "failed").await;
    let record: Value = serde_json::from_slice(&letter.data).expect("a record");
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");

    // While the broker is away, outcomes wait.
    broker.kill();
    hand_in(platform, "teller", &json!({"do": "context", "n": 2}), &[]).await;
    published_in_vain(platform, "teller", 1, "no connection to the broker").await;
    broker.start_again().await;
    let done_queue = declare(broker, "done", FieldTable::default()).await;
    loop {
        // A broker that is killed may give again what it has given before.
        let letter = next(&done_queue, "done").await;
        let record: Value = serde_json::from_slice(&letter.data).expect("a record");
        if record["requestPayload"] == json!({"do": "context", "n": 2}) {
            break;
        }
    }
}

async fn next(channel: &Channel, queue: &str) -> BasicGetMessage {
    eventually("a message has come", async || {
        let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await;
        got.expect("an answer")
    })
    .await
}

async fn in_the_state(platform: &Platform, function: &str, state: &str) -> Vec<Value> {
    let args = [
        "events", "list", function, "--state", state, "--limit", "1000", "--json",
    ];
    let listed = platform.fn_(&args).await.json();
    listed.as_array().expect("a list").clone()
}

/// Waits until so many messages about a function were published in vain for that reason; gives their events.
async fn published_in_vain(platform: &Platform, function: &str, count: usize, reason: &str) -> Vec<Value> {
    eventually(&format!("{count} are published in vain: {reason}"), async || {
        let mut events = in_the_state(platform, function, "queued").await;
        events.retain(|event| {
            let said = event["error_message"].as_str().unwrap_or_default();
            event["error_code"] == "publish_failed" && said.contains(reason)
        });
        (events.len() == count).then_some(events)
    })
    .await
}

/// Each place has its own password, and what waits goes with the one that is there when it is its turn.
pub(super) async fn a_password_can_be_mended(platform: &Platform, broker: &Broker) {
    let (mended, failed) = (
        declare(broker, "mended", FieldTable::default()).await,
        declare(broker, "mended-failed", FieldTable::default()).await,
    );
    let wrong = format!("{}?routing_key=mended", broker.url_of("guest", "wrong"));
    let right = format!("{}?routing_key=mended", broker.url());
    let other = format!("{}?routing_key=mended-failed", broker.url());
    let deploy = async |on_success: &str| {
        let flags = [
            "--name",
            "mender",
            "--max-attempts",
            "1",
            "--on-success",
            on_success,
            "--on-failure",
            &other,
        ];
        platform.deploy("misbehave-event", &flags).await;
    };
    deploy(&wrong).await;
    hand_in(platform, "mender", &json!({"do": "context"}), &[]).await;
    hand_in(platform, "mender", &json!({"do": "fail"}), &[]).await;
    next(&failed, "mended-failed").await;
    published_in_vain(platform, "mender", 1, "ACCESS_REFUSED").await;
    // A deployment that says nothing of them leaves each as it is.
    platform
        .deploy("misbehave-event", &["--name", "mender", "--memory", "64"])
        .await;
    hand_in(platform, "mender", &json!({"do": "fail"}), &[]).await;
    next(&failed, "mended-failed").await;
    deploy(&right).await;
    next(&mended, "mended").await;
}

/// An exchange that is not there is one destination's trouble, however often it is tried, and no other's.
pub(super) async fn a_missing_exchange_is_in_nobodys_way(platform: &Platform, broker: &Broker) {
    let channel = declare(broker, "unharmed", FieldTable::default()).await;
    let flags = [
        "--name",
        "harmer",
        "--max-attempts",
        "1",
        "--on-success",
        &format!("{}?routing_key=unharmed&channel_max=4", broker.url()),
        "--on-failure",
        &format!("{}?exchange=not-there&channel_max=4", broker.url()),
    ];
    platform.deploy("misbehave-event", &flags).await;
    for _ in 0..10 {
        hand_in(platform, "harmer", &json!({"do": "fail"}), &[]).await;
    }
    published_in_vain(platform, "harmer", 10, "no exchange 'not-there'").await;
    for _ in 0..10 {
        hand_in(platform, "harmer", &json!({"do": "context"}), &[]).await;
    }
    for _ in 0..10 {
        next(&channel, "unharmed").await;
    }
}

/// Which message of many was returned is known: none is lost for another one.
pub(super) async fn each_outcome_has_its_own_confirmation(platform: &Platform, broker: &Broker) {
    const ROUNDS: usize = 5;
    /// As many of each sort as can be on their way at once.
    const EACH: usize = 4;
    let channel = declare(broker, "mixed", FieldTable::default()).await;
    let place = |key: &str| format!("{}?routing_key={key}", broker.url());
    let flags = [
        "--name",
        "mixer",
        "--max-attempts",
        "1",
        "--on-success",
        &place("mixed"),
        "--on-failure",
        &place("nobody-has-it"),
    ];
    platform.deploy("misbehave-event", &flags).await;
    hand_in(platform, "mixer", &json!({"do": "context"}), &[]).await;
    next(&channel, "mixed").await;
    for round in 1..=ROUNDS {
        // Then all of them reach the broker in one go, which answers them together.
        broker.pause();
        let calls = (0..2 * EACH).map(|n| {
            let wish = if n % 2 == 0 { "context" } else { "fail" };
            let call = platform.api(Method::POST, "/v1/ns/default/functions/mixer/invoke");
            let call = call.header("prefer", "respond-async");
            call.body(json!({"do": wish, "n": n}).to_string()).send()
        });
        for answer in join_all(calls).await {
            assert_eq!(answer.expect("an answer").status(), 202);
        }
        eventually("all are on their way", async || {
            (in_the_state(platform, "mixer", "leased").await.len() == 2 * EACH).then_some(())
        })
        .await;
        broker.resume();
        let events = published_in_vain(platform, "mixer", EACH, "NO_ROUTE").await;
        for event in events {
            let args = ["events", "cancel", event["id"].as_str().expect("an id")];
            platform.fn_(&args).await.ok();
        }
        eventually("all others have succeeded", async || {
            let done = in_the_state(platform, "mixer", "succeeded").await;
            (done.len() == 2 + 2 * EACH * round).then_some(())
        })
        .await;
    }
    assert_eq!(
        waiting(&channel, "mixed").await as usize,
        EACH * ROUNDS,
        "none is missing, none came twice"
    );
}

/// A function that gets its own outcomes back through the broker.
pub(super) async fn a_circle_through_a_broker_ends(platform: &Platform, broker: &Broker) {
    let channel = declare(broker, "circle", FieldTable::default()).await;
    let place = format!("{}?routing_key=circle", broker.url());
    platform
        .deploy("consume", &["--name", "circler", "--on-success", &place])
        .await;
    subscribe(platform, &broker.url(), "circler", "circle", &["--batch", "1"]).await;
    publish(&channel, "circle", br#"{"n": 1}"#, BasicProperties::default()).await;
    let dead = eventually("the circle is cut", async || {
        let letters = platform.fn_(&["dlq", "list", "circler", "--json"]).await.json();
        letters.as_array().and_then(|letters| letters.first().cloned())
    })
    .await;
    assert_eq!(dead["error_code"], "recursion_detected", "{dead}");
    let runs = done(platform, "circler", 17).await;
    let runs = runs.iter().filter(|event| event["source"] == "queue").count();
    assert_eq!((runs, waiting(&channel, "circle").await), (17, 0));
}

/// The password stays as it is when what was shown is deployed again, and is not shown anywhere.
pub(super) async fn a_password_is_kept_and_not_shown(platform: &Platform, broker: &Broker) {
    let url = broker.url_of("somebody", SECRET);
    let place = format!("{url}?exchange=out&routing_key=a");
    let version = async |flags: &[&str]| -> Value {
        let flags = [&["--name", "keeper"], flags].concat();
        platform.deploy("consume", &flags).await;
        let shown = platform.fn_(&["describe", "keeper", "--json"]).await;
        shown.json()["version"].clone()
    };
    assert_eq!(version(&["--on-failure", &place]).await, 1);
    assert_eq!(version(&["--on-failure", &place]).await, 1, "the same again");
    assert_eq!(version(&[]).await, 1, "what the command line sends back");
    let other = format!("{}?exchange=out&routing_key=a", broker.url_of("somebody", "changed"));
    assert_eq!(
        version(&["--on-failure", &other]).await,
        2,
        "another password is a change"
    );
    assert_eq!(version(&["--on-failure", &place]).await, 3);
    let shown = platform.fn_(&["describe", "keeper"]).await.ok();
    assert!(
        shown.contains("somebody:***@") && shown.contains("exchange=out"),
        "{shown}"
    );
    let json = platform.fn_(&["describe", "keeper", "--json"]).await.ok();
    assert!(!json.contains(SECRET) && !shown.contains(SECRET));
    // With the same password elsewhere at the same broker; not at another one.
    let (_, address) = broker
        .url()
        .rsplit_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("an address");
    let moved = format!("amqp://somebody:***@{address}?exchange=in");
    assert_eq!(version(&["--on-success", &moved]).await, 4);
    // Each place keeps its own password, also at one broker.
    let (one, two) = (
        other.replace("exchange=out", "exchange=one"),
        format!("{url}?exchange=two"),
    );
    assert_eq!(version(&["--on-success", &one, "--on-failure", &two]).await, 5);
    assert_eq!(version(&[]).await, 5);
    what_fails_does_not_say_it(platform).await;
    places_that_cannot_be(platform).await;
    assert_eq!(trigger(platform, "circle").await["state"], "connected");
}

/// An outcome that the broker refuses, and all that is said of it.
async fn what_fails_does_not_say_it(platform: &Platform) {
    // No message of a queue, so it fails, and the broker is told in vain.
    let id = hand_in(platform, "keeper", &json!({"no": "message"}), &["--max-attempts", "1"]).await;
    in_state(platform, &id, "dead").await;
    let queued = published_in_vain(platform, "keeper", 1, "ACCESS_REFUSED").await;
    let args = ["events", "show", queued[0]["id"].as_str().expect("an id"), "--json"];
    let shown = platform.fn_(&args).await.ok();
    assert!(shown.contains("ACCESS_REFUSED") && !shown.contains(SECRET), "{shown}");
    let log = std::fs::read_to_string(platform.dir().join("server.log")).expect("the log");
    assert!(!log.contains(SECRET), "{log}");
    is_nowhere_in_the_data(platform, SECRET);
}

async fn places_that_cannot_be(platform: &Platform) {
    let wasm = mayfly_tests::guest("consume");
    let elsewhere = "amqp://somebody:***@127.0.0.1:1/%2f?exchange=in";
    let args = [
        "deploy",
        &wasm.display().to_string(),
        "--name",
        "keeper",
        "--on-success",
        elsewhere,
    ];
    platform.fn_(&args).await.failed(1, "invalid_config");
    for bad in [
        &format!("somebody:{SECRET}@localhost/%2f?exchange=x"),
        &format!("amqp:/somebody:{SECRET}@localhost/%2f?exchange=x"),
        &format!("amqp://somebody:1/{SECRET}@localhost/%2f?exchange=x"),
        "amqp://a:b@localhost/%2f",
        "amqp://a:b@localhost/%2f?exchange=x&key=y",
        "amqp://a:b@[::1]/?exchange=x",
    ] {
        let args = [
            "deploy",
            &wasm.display().to_string(),
            "--name",
            "keeper",
            "--on-success",
            bad,
        ];
        let refused = platform.fn_(&args).await;
        assert!(!refused.stderr.contains(SECRET), "{}", refused.stderr);
        refused.failed(1, "invalid_");
    }
}

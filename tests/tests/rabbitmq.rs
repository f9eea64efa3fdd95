//! RabbitMQ as a source: a real broker, its messages given to functions, what becomes of bad ones, and what is said when it
//! is away.

mod destinations;
pub(crate) mod notifications;
mod odd;
mod raw;
mod restarts;

use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel};
use mayfly_tests::{Broker, Database, Platform, eventually};
use serde_json::{Value, json};

use crate::events::{in_state, show};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    play(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    play(Database::Postgres).await;
}

/// One broker for all stories, because it takes its time to start.
async fn play(database: Database) {
    let Some(mut broker) = Broker::start().await else {
        return;
    };
    let Some(platform) = Platform::start(database).await else {
        return;
    };
    messages_are_given_to_a_function(&platform, &broker).await;
    only_what_is_wanted_is_given_in_order(&platform, &broker).await;
    odd::whatever_bytes_they_are(&platform, &broker).await;
    odd::no_depth_ends_the_server(&platform, &broker).await;
    odd::what_is_too_large_is_rejected(&platform, &broker).await;
    a_trigger_that_is_off_leaves_the_messages(&platform, &broker).await;
    what_is_given_up_goes_to_the_dead_letter_exchange(&platform, &mut broker).await;
    what_is_wrong_is_said_and_mended(&platform, &mut broker).await;
    notifications::objects_elsewhere_fire_a_function(&platform, &broker).await;
    destinations::outcomes_go_to_an_exchange(&platform, &mut broker).await;
    destinations::a_missing_exchange_is_in_nobodys_way(&platform, &broker).await;
    destinations::a_password_can_be_mended(&platform, &broker).await;
    destinations::each_outcome_has_its_own_confirmation(&platform, &broker).await;
    destinations::a_circle_through_a_broker_ends(&platform, &broker).await;
    destinations::a_password_is_kept_and_not_shown(&platform, &broker).await;
    passwords_are_not_shown(&platform, &broker).await;
    what_cannot_be_a_broker_is_refused(&platform).await;
}

/// A durable queue, and a channel that confirms what is sent to it.
async fn declare(broker: &Broker, queue: &str, arguments: FieldTable) -> Channel {
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
        .await
        .expect("a queue");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    channel
}

async fn publish(channel: &Channel, queue: &str, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let confirm = channel
        .basic_publish("".into(), queue.into(), options, body, properties.with_delivery_mode(2))
        .await
        .expect("it is sent");
    assert!(confirm.await.expect("an answer").is_ack(), "the broker has it");
}

/// Messages that wait in a queue of the broker.
async fn waiting(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await;
    found.expect("the queue is there").message_count()
}

async fn subscribe(platform: &Platform, url: &str, function: &str, queue: &str, more: &[&str]) {
    let args = [
        "trigger", "create", "queue", function, "--amqp", url, "--queue", queue, "--name", queue,
    ];
    platform.fn_(&[&args, more].concat()).await.ok();
}

async fn trigger(platform: &Platform, name: &str) -> Value {
    platform.fn_(&["trigger", "show", name, "--json"]).await.json()
}

async fn in_condition(platform: &Platform, name: &str, state: &str) -> Value {
    eventually(&format!("{name} is {state}"), async || {
        let shown = trigger(platform, name).await;
        (shown["state"] == state).then_some(shown)
    })
    .await
}

/// The events of a function that have succeeded, the first one first.
async fn done(platform: &Platform, function: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{function} has done {count} events"), async || {
        let listed = platform
            .fn_(&["events", "list", function, "--state", "succeeded", "--json"])
            .await
            .json();
        let mut events = listed.as_array().expect("a list").clone();
        events.reverse();
        (events.len() >= count).then_some(events)
    })
    .await
}

async fn messages_are_given_to_a_function(platform: &Platform, broker: &Broker) {
    let flags = ["--name", "work", "--max-attempts", "2", "--retry-backoff", "0s"];
    platform.deploy("consume", &flags).await;
    let channel = declare(broker, "orders", FieldTable::default()).await;
    let mut headers = FieldTable::default();
    headers.insert("region".into(), AMQPValue::LongString(LongString::from("eu")));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_message_id("m-1".into())
        .with_content_type("application/json".into());
    publish(&channel, "orders", br#"{"n": 1}"#, properties).await;
    publish(
        &channel,
        "orders",
        br#"{"n": 2, "do": "fail"}"#,
        BasicProperties::default(),
    )
    .await;
    subscribe(
        platform,
        &broker.url(),
        "work",
        "orders",
        &["--batch", "10", "--window", "200ms"],
    )
    .await;
    let events = done(platform, "work", 1).await;
    let event = show(platform, events[0]["id"].as_str().expect("an id")).await;
    let given = &event["result"]["body"]["event"];
    // Lambda's own type reads it.
    let read: aws_lambda_events::rabbitmq::RabbitMqEvent =
        serde_json::from_value(given.clone()).unwrap_or_else(|error| panic!("{error}: {given}"));
    assert_eq!(read.event_source.as_deref(), Some("aws:rmq"));
    let messages = &read.messages_by_queue["orders::/"];
    assert_eq!(messages.len(), 2, "they came together");
    let properties = &messages[0].basic_properties;
    assert_eq!(properties.message_id.as_deref(), Some("m-1"));
    assert_eq!(properties.headers["region"], json!({"bytes": [101, 117]}));
    assert_eq!((properties.delivery_mode, properties.body_size), (2, 8));
    assert_eq!(messages[0].data.as_deref(), Some("eyJuIjogMX0="));
    // The one that the function has not done comes again alone, and is given up.
    let dead = eventually("the other one is given up", async || {
        let letters = platform.fn_(&["dlq", "list", "work", "--json"]).await.json();
        letters.as_array().and_then(|letters| letters.first().cloned())
    })
    .await;
    assert_eq!((&dead["failures"], &dead["source"]), (&json!(2), &json!("queue")));
    assert_eq!(waiting(&channel, "orders").await, 0);
    assert_eq!(in_condition(platform, "orders", "connected").await["waiting"], 0);
}

async fn only_what_is_wanted_is_given_in_order(platform: &Platform, broker: &Broker) {
    platform.deploy("consume", &["--name", "sorter"]).await;
    let channel = declare(broker, "sorted", FieldTable::default()).await;
    for n in 0..12 {
        let kind = if n % 3 == 0 { "Other" } else { "Order" };
        let properties = BasicProperties::default().with_type(kind.into());
        let body = json!({ "n": n, "key": n % 2, "ms": 20 }).to_string();
        publish(&channel, "sorted", body.as_bytes(), properties).await;
    }
    let filter = r#"{"attributes": {"type": ["Order"]}}"#;
    let more = ["--filter", filter, "--order-key", "body.key", "--batch", "1"];
    subscribe(platform, &broker.url(), "sorter", "sorted", &more).await;
    let events = done(platform, "sorter", 8).await;
    assert_eq!(events.len(), 8, "what nobody wants is gone");
    for key in ["0", "1"] {
        let ended = |event: &&Value| event["order_key"] == key;
        let times: Vec<_> = events
            .iter()
            .filter(ended)
            .map(|event| event["ended_at"].as_str())
            .collect();
        assert_eq!(times.len(), 4);
        assert!(times.is_sorted(), "{key}: {times:?}");
    }
    assert_eq!(waiting(&channel, "sorted").await, 0);
}

async fn a_trigger_that_is_off_leaves_the_messages(platform: &Platform, broker: &Broker) {
    platform.deploy("consume", &["--name", "sleeper"]).await;
    let channel = declare(broker, "later", FieldTable::default()).await;
    subscribe(platform, &broker.url(), "sleeper", "later", &["--disabled"]).await;
    publish(&channel, "later", br#"{"n": 1}"#, BasicProperties::default()).await;
    // Longer than whoever looks for triggers waits between two looks.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(waiting(&channel, "later").await, 1);
    assert_eq!(trigger(platform, "later").await["state"], json!(null));
    platform.fn_(&["trigger", "enable", "later"]).await.ok();
    done(platform, "sleeper", 1).await;
    platform.fn_(&["trigger", "disable", "later"]).await.ok();
    eventually("its consumer has ended", async || {
        trigger(platform, "later").await["state"].is_null().then_some(())
    })
    .await;
    publish(&channel, "later", br#"{"n": 2}"#, BasicProperties::default()).await;
    assert_eq!(waiting(&channel, "later").await, 1, "nobody takes it");
}

async fn what_is_given_up_goes_to_the_dead_letter_exchange(platform: &Platform, broker: &mut Broker) {
    let flags = ["--name", "hopeless", "--max-attempts", "2", "--retry-backoff", "0s"];
    platform.deploy("consume", &flags).await;
    let channel = declare(broker, "hopes", FieldTable::default()).await;
    let letters = ["--dead-letter-exchange", "", "--dead-letter-key", "buried"];
    subscribe(platform, &broker.url(), "hopeless", "hopes", &letters).await;
    let mut headers = FieldTable::default();
    headers.insert("region".into(), AMQPValue::LongString("eu".into()));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_message_id("m-7".into());
    publish(&channel, "hopes", br#"{"do": "fail"}"#, properties).await;
    // There is no such queue yet: the broker returns the letter, and it is tried again until there is.
    eventually("the letter was returned", async || {
        let listed = platform
            .fn_(&["events", "list", "hopeless", "--state", "queued", "--json"])
            .await
            .json();
        let events = listed.as_array().expect("a list").clone();
        events
            .iter()
            .any(|event| event["error_code"] == "publish_failed")
            .then_some(())
    })
    .await;
    broker.kill();
    broker.start_again().await;
    let channel = declare(broker, "buried", FieldTable::default()).await;
    let letter = eventually("the letter has come", async || {
        let got = channel
            .basic_get("buried".into(), BasicGetOptions { no_ack: true })
            .await;
        got.expect("an answer")
    })
    .await;
    assert_eq!(letter.data, br#"{"do": "fail"}"#);
    let properties = &letter.properties;
    assert_eq!(properties.message_id().as_ref().map(|id| id.as_str()), Some("m-7"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    let headers = properties.headers().clone().unwrap_or_default();
    let text = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        (text("region"), text("mayfly-attempts")),
        ("eu".to_owned(), "2".to_owned())
    );
    assert_eq!(text("mayfly-error-code"), "function_failed");
    let more = ["--dead-letter-exchange", "", "--dead-letter-key", "hopes"];
    let url = broker.url();
    let args = [
        "trigger", "create", "queue", "hopeless", "--amqp", &url, "--queue", "hopes",
    ];
    platform
        .fn_(&[&args[..], &more].concat())
        .await
        .failed(1, "invalid_parameter");
}

async fn what_is_wrong_is_said_and_mended(platform: &Platform, broker: &mut Broker) {
    platform.deploy("consume", &["--name", "patient"]).await;
    subscribe(platform, &broker.url_of("guest", "wrong"), "patient", "no-login", &[]).await;
    let shown = in_condition(platform, "no-login", "failing").await;
    let reason = shown["state_reason"].as_str().expect("a reason");
    assert!(reason.contains("ACCESS_REFUSED"), "{reason}");
    subscribe(platform, &broker.url(), "patient", "not-there", &[]).await;
    let shown = in_condition(platform, "not-there", "failing").await;
    let reason = shown["state_reason"].as_str().expect("a reason");
    assert!(reason.contains("NOT_FOUND") && reason.contains("not-there"), "{reason}");
    in_condition(platform, "orders", "connected").await;
    let text = platform.fn_(&["trigger", "list"]).await.ok();
    assert!(text.contains("failing") && text.contains("connected"), "{text}");
    // It is tried again: as soon as the queue is there, its messages come.
    let channel = declare(broker, "not-there", FieldTable::default()).await;
    publish(&channel, "not-there", br#"{"n": 1}"#, BasicProperties::default()).await;
    in_condition(platform, "not-there", "connected").await;
    done(platform, "patient", 1).await;

    broker.kill();
    let shown = in_condition(platform, "not-there", "failing").await;
    assert!(
        shown["state_reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "{shown}"
    );
    broker.start_again().await;
    // A broker that is killed may forget a queue that was just made.
    let channel = declare(broker, "not-there", FieldTable::default()).await;
    in_condition(platform, "not-there", "connected").await;
    publish(&channel, "not-there", br#"{"n": 2}"#, BasicProperties::default()).await;
    let events = done(platform, "patient", 2).await;
    in_state(platform, events[1]["id"].as_str().expect("an id"), "succeeded").await;
    // A queue that goes away is told from one that is empty.
    channel
        .queue_delete("not-there".into(), lapin::options::QueueDeleteOptions::default())
        .await
        .expect("it is deleted");
    in_condition(platform, "not-there", "failing").await;
}

async fn passwords_are_not_shown(platform: &Platform, broker: &Broker) {
    let secret = "pa55-w0rd-that-nobody-sees";
    subscribe(
        platform,
        &broker.url_of("somebody", secret),
        "patient",
        "secretive",
        &[],
    )
    .await;
    in_condition(platform, "secretive", "failing").await;
    for args in [
        &["trigger", "show", "secretive", "--json"][..],
        &["trigger", "show", "secretive"],
        &["trigger", "list", "--json"],
    ] {
        let shown = platform.fn_(args).await.ok();
        assert!(!shown.contains(secret) && shown.contains("somebody:***@"), "{shown}");
    }
    let log = std::fs::read_to_string(platform.dir().join("server.log")).expect("the log");
    assert!(!log.contains(secret), "{log}");
    is_nowhere_in_the_data(platform, secret);
}

/// What is encrypted is in no file as it was given.
fn is_nowhere_in_the_data(platform: &Platform, secret: &str) {
    let files = std::fs::read_dir(platform.dir().join("data")).expect("the data directory");
    for entry in files.flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{}", entry.path().display());
    }
}

async fn what_cannot_be_a_broker_is_refused(platform: &Platform) {
    for url in [
        "",
        "http://127.0.0.1",
        "amqp://h:notaport/",
        "127.0.0.1:5672",
        "amqp://user:***@127.0.0.1/%2f",
        "amqp://user:secret@[::1]/%2f",
        &format!("amqp://{}/", "x".repeat(1_100)),
    ] {
        let args = ["trigger", "create", "queue", "work", "--queue", "x", "--amqp", url];
        let refused = platform.fn_(&args).await;
        refused.failed(1, "invalid_parameter");
        assert!(
            !refused.stderr.contains("notaport"),
            "what is wrong may hold the password: {}",
            refused.stderr
        );
    }
    let long = "q".repeat(256);
    for queue in ["", "a\nb", &long] {
        let args = [
            "trigger",
            "create",
            "queue",
            "work",
            "--queue",
            queue,
            "--amqp",
            "amqp://localhost",
        ];
        platform.fn_(&args).await.failed(1, "invalid_parameter");
    }
}

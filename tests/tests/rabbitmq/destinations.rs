//! Outcomes of events that go to an exchange of RabbitMQ.

use lapin::message::BasicGetMessage;
use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use mayfly_tests::{Broker, Platform, eventually};
use serde_json::{Value, json};

use super::{declare, done, publish, subscribe, trigger, waiting};
use crate::events::hand_in;

const SECRET: &str = "an0ther-w0rd-that-nobody-sees";

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
    eventually("the broker was missed", async || {
        let listed = platform
            .fn_(&["events", "list", "teller", "--state", "queued", "--json"])
            .await
            .json();
        let events = listed.as_array().expect("a list").clone();
        events
            .iter()
            .any(|event| event["error_code"] == "publish_failed")
            .then_some(())
    })
    .await;
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
        platform.fn_(&args).await.failed(1, "invalid_");
    }
    for entry in std::fs::read_dir(platform.dir().join("data"))
        .expect("the data directory")
        .flatten()
    {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "{}", entry.path().display());
    }
    assert_eq!(trigger(platform, "circle").await["state"], "connected");
}

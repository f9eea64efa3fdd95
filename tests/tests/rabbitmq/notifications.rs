//! MinIO tells RabbitMQ what has become of its objects, and a storage trigger takes it from there.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use mayfly_tests::{Broker, Platform, eventually};
use serde_json::{Value, json};

use super::{declare, done, in_condition, publish, waiting};
use crate::events::show;

/// As MinIO writes it.
pub(crate) fn notification(name: &str, bucket: &str, key: &str) -> Value {
    json!({
        "EventName": format!("s3:{name}"),
        "Key": format!("{bucket}/{key}"),
        "Records": [{
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": "2026-11-30T10:00:00.000Z",
            "eventName": format!("s3:{name}"),
            "userIdentity": { "principalId": "minio" },
            "requestParameters": { "principalId": "minio", "region": "", "sourceIPAddress": "10.0.0.7" },
            "responseElements": { "x-amz-request-id": "17D2A5C0FFEE", "x-minio-origin-endpoint": "http://10.0.0.7:9000" },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "Config",
                "bucket": { "name": bucket, "ownerIdentity": { "principalId": "minio" }, "arn": format!("arn:aws:s3:::{bucket}") },
                "object": { "key": key.replace('/', "%2F"), "size": 5, "eTag": "5d41402abc4b2a76b9719d911017c592", "sequencer": "17D2A5C0FFEF" },
            },
            "source": { "host": "10.0.0.7", "port": "", "userAgent": "MinIO (linux; amd64)" },
        }],
    })
}

pub(super) async fn objects_elsewhere_fire_a_function(platform: &Platform, broker: &Broker) {
    platform.deploy("consume", &["--name", "watcher"]).await;
    declare(broker, "refused-notifications", FieldTable::default()).await;
    let mut arguments = FieldTable::default();
    for (name, value) in [("exchange", ""), ("routing-key", "refused-notifications")] {
        let value = AMQPValue::LongString(LongString::from(value));
        arguments.insert(format!("x-dead-letter-{name}").into(), value);
    }
    let channel = declare(broker, "minio", arguments).await;
    let url = broker.url();
    let args = [
        "trigger", "create", "storage", "watcher", "--amqp", &url, "--queue", "minio", "--name", "minio",
    ];
    let which = ["--bucket", "photos", "--prefix", "raw/", "--events", "created,removed"];
    platform.fn_(&[&args[..], &which].concat()).await.ok();
    in_condition(platform, "minio", "connected").await;
    let wanted = [
        notification("ObjectCreated:Put", "photos", "raw/a.jpg"),
        notification("ObjectRemoved:Delete", "photos", "raw/a.jpg"),
    ];
    let long = vec![b'['; (1 << 20) + 1];
    let bodies = [
        b"no JSON \xff".to_vec(),
        notification("ObjectCreated:Put", "other", "raw/a.jpg")
            .to_string()
            .into_bytes(),
        wanted[0].to_string().into_bytes(),
        b"{\"Records\": [{}]}".to_vec(),
        notification("ObjectAccessed:Get", "photos", "raw/a.jpg")
            .to_string()
            .into_bytes(),
        vec![],
        notification("ObjectCreated:Put", "photos", "thumbs/a.jpg")
            .to_string()
            .into_bytes(),
        long,
        wanted[1].to_string().into_bytes(),
    ];
    for body in &bodies {
        publish(&channel, "minio", body, BasicProperties::default()).await;
    }
    let events = done(platform, "watcher", 2).await;
    for (event, wanted) in events.iter().zip(&wanted) {
        assert_eq!(event["source"], "storage");
        let shown = show(platform, event["id"].as_str().expect("an id")).await;
        let given = &shown["result"]["body"]["event"];
        assert_eq!(given["Records"], wanted["Records"], "as it came");
        // Lambda's own type reads it.
        let read: Result<aws_lambda_events::s3::S3Event, _> = serde_json::from_value(given.clone());
        read.unwrap_or_else(|error| panic!("{error}: {given}"));
    }
    eventually("what is no notification is rejected", async || {
        (waiting(&channel, "refused-notifications").await == 4).then_some(())
    })
    .await;
    assert_eq!(waiting(&channel, "minio").await, 0);
    let shown = platform.fn_(&["trigger", "show", "minio", "--json"]).await.json();
    assert_eq!(shown["state"], "connected", "{shown}");
    assert!(!shown.to_string().contains("guest:guest"), "{shown}");
    let listed = platform.fn_(&["events", "list", "watcher", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "nothing else became an event");
}

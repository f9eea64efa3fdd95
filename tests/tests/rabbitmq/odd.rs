//! Messages of RabbitMQ that are none of what one would expect.

use lapin::BasicProperties;
use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, FieldTable};
use mayfly_tests::{Broker, Platform, eventually};

use super::{declare, done, publish, raw, subscribe, trigger, waiting};

/// Bodies and headers that are none of what one would expect arrive as they are, and nothing stops.
pub(super) async fn whatever_bytes_they_are(platform: &Platform, broker: &Broker) {
    platform.deploy("consume", &["--name", "eater"]).await;
    let channel = declare(broker, "odd", FieldTable::default()).await;
    let mut deep = FieldTable::default();
    for _ in 0..200 {
        let mut outer = FieldTable::default();
        outer.insert("in".into(), AMQPValue::FieldTable(deep));
        deep = outer;
    }
    let mut headers = FieldTable::default();
    headers.insert("deep".into(), AMQPValue::FieldTable(deep));
    headers.insert(
        "no\ntext\u{0}".into(),
        AMQPValue::LongString(vec![0xff, 0xfe, 0].into()),
    );
    headers.insert("nothing".into(), AMQPValue::Void);
    let odd = BasicProperties::default().with_headers(headers);
    let bodies: [&[u8]; 5] = [b"", &[0xff, 0, 0xfe], b"{\"broken\": ", b"null", &vec![b'x'; 300_000]];
    for body in bodies {
        publish(&channel, "odd", body, odd.clone()).await;
    }
    let properties = BasicProperties::default()
        .with_content_type("application/x-unknown\u{1}".into())
        .with_content_encoding("gzip".into())
        .with_timestamp(u64::MAX)
        .with_expiration("86400000".into())
        .with_priority(255);
    publish(&channel, "odd", b"last", properties).await;
    subscribe(
        platform,
        &broker.url(),
        "eater",
        "odd",
        &[
            "--batch",
            "1",
            "--filter",
            r#"{"body": [{"exists": true}, {"exists": false}]}"#,
        ],
    )
    .await;
    let refused = trigger(platform, "odd").await;
    assert_eq!(refused["queue"], "odd");
    let events = done(platform, "eater", 6).await;
    assert_eq!(events.len(), 6);
    assert_eq!(events[4]["payload_bytes"], 300_000);
    assert_eq!(waiting(&channel, "odd").await, 0);
}

/// Whoever reads headers or bodies step by step, one inside of the other, comes to the end of its stack.
pub(super) async fn no_depth_ends_the_server(platform: &Platform, broker: &Broker) {
    platform.deploy("consume", &["--name", "diver"]).await;
    let channel = declare(broker, "deep", FieldTable::default()).await;
    // As deep as a frame of the broker is long.
    raw::publish(&broker.address(), "deep", &raw::nested_lists(26_000), br#"{"n": 1}"#).await;
    let body = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    publish(&channel, "deep", body.as_bytes(), BasicProperties::default()).await;
    let filter = r#"{"body": [{"exists": true}, {"exists": false}]}"#;
    subscribe(
        platform,
        &broker.url(),
        "diver",
        "deep",
        &["--batch", "1", "--filter", filter],
    )
    .await;
    let events = done(platform, "diver", 1).await;
    assert_eq!(waiting(&channel, "deep").await, 0);
    assert!(!events.is_empty());
    let body = "[".repeat(100_000) + &"]".repeat(100_000);
    platform.fn_(&["queue", "create", "depths"]).await.ok();
    let args = [
        "trigger", "create", "queue", "diver", "--queue", "depths", "--filter", filter,
    ];
    platform.fn_(&args).await.ok();
    platform
        .fn_with_input(&["queue", "send", "depths", "-"], body.as_bytes())
        .await
        .ok();
}

pub(super) async fn what_is_too_large_is_rejected(platform: &Platform, broker: &Broker) {
    platform.deploy("consume", &["--name", "small"]).await;
    let letters = declare(broker, "rejected", FieldTable::default()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert(
        "x-dead-letter-routing-key".into(),
        AMQPValue::LongString("rejected".into()),
    );
    let channel = declare(broker, "sizes", arguments).await;
    publish(
        &channel,
        "sizes",
        &vec![b'x'; (4 << 20) + 1],
        BasicProperties::default(),
    )
    .await;
    publish(&channel, "sizes", br#"{"n": 1}"#, BasicProperties::default()).await;
    publish(&channel, "sizes", &vec![b'y'; 4 << 20], BasicProperties::default()).await;
    subscribe(platform, &broker.url(), "small", "sizes", &[]).await;
    let events = done(platform, "small", 2).await;
    assert_eq!(events.len(), 2, "what follows it is not held up");
    let letter = eventually("the broker has the letter", async || {
        letters
            .basic_get("rejected".into(), BasicGetOptions { no_ack: true })
            .await
            .expect("an answer")
    })
    .await;
    assert_eq!(letter.data.len(), (4 << 20) + 1);
    assert_eq!(waiting(&channel, "sizes").await, 0);
}

//! What holds for everything that strangers send to become events, or to say what became of them.
//!
//! An input is `N` and a notification of another storage. Or it is `D` and a destination. Or `B` and what a function answered
//! to a batch of the messages `a`, `b` and `c`.

use std::collections::HashSet;

use mayfly_invoker_api::EventId;
use serde_json::Value;

use super::batch::named_failures;
use super::destination::Destination;
use crate::clock::Ids;
use crate::storage::notification_events;
use crate::store::{EventTrigger, NewEvent, ObjectChange, StorageSource, StorageWatch, TriggerConfig};

/// Reads one of them.
pub fn sources(input: &[u8]) {
    match input.split_first() {
        Some((b'N', rest)) => notification(rest),
        Some((b'D', rest)) => drop(std::str::from_utf8(rest).map(destination)),
        Some((b'B', rest)) => batch_answer(rest),
        _ => {}
    }
}

/// Each event is one record, as it was written, that the trigger wants; nothing is taken of what is not understood.
fn notification(text: &[u8]) {
    let watch = StorageWatch {
        source: StorageSource::Bucket("photos".parse().expect("a name")),
        other_bucket: None,
        prefix: "a".to_owned(),
        suffix: String::new(),
        changes: vec![ObjectChange::Created],
        retry: None,
    };
    let trigger = EventTrigger {
        id: EventId::from_bytes([1; 16]),
        namespace: "default".parse().expect("a name"),
        name: "t".to_owned(),
        function: "f".parse().expect("a name"),
        config: TriggerConfig::Storage(watch.clone()),
        enabled: true,
        created_ms: 0,
        next_ms: None,
        last_ms: None,
    };
    let ids = Ids::new([7; 6]);
    let Ok(events) = notification_events((&trigger, &watch), text, (1_700_000_000_000, 1_000), &ids) else {
        return;
    };
    // A stricter reader may not take the rest of it.
    let Ok(whole) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let records = whole["Records"].as_array().map_or(0, Vec::len);
    assert!(events.len() <= records);
    for NewEvent { payload, depth, .. } in events {
        let event: Value = serde_json::from_slice(&payload).expect("what is handed on is JSON");
        let [record] = event["Records"].as_array().expect("a list").as_slice() else {
            panic!("one record, not {event}");
        };
        let name = record["eventName"].as_str().expect("it has a name");
        assert!(name.contains("ObjectCreated"), "{name}");
        assert!(
            record["s3"]["bucket"]["name"]
                .as_str()
                .is_some_and(|name| !name.is_empty())
        );
        let key = record["s3"]["object"]["key"].as_str().expect("it has a key");
        assert!(key.starts_with('a') || key.starts_with('%'), "{key}");
        assert_eq!(depth, 0);
        let raw = &payload["{\"Records\":[".len()..payload.len() - "]}".len()];
        assert!(text.windows(raw.len()).any(|part| part == raw), "as it was written");
    }
}

/// What is shown can be read again and means the same place; no password is in it.
fn destination(text: &str) {
    let Ok(read) = text.parse::<Destination>() else { return };
    let shown = read.to_string();
    let again: Destination = shown.parse().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(again.to_string(), shown);
    if let (Destination::Amqp(read), Destination::Amqp(again)) = (read, again) {
        assert_eq!(again.target, read.target);
        assert!(again.broker.is_hidden());
        let address = shown.split('?').next().unwrap_or_default();
        assert_eq!(address.matches(":***@").count(), 1, "{shown}");
    }
}

/// Only messages of the batch have failed, and those that the answer names.
fn batch_answer(body: &[u8]) {
    let ids: HashSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    let Ok(failed) = named_failures(body, &ids) else { return };
    assert!(failed.is_subset(&ids));
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let said = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
    let said = said
        .iter()
        .map(|item| item["itemIdentifier"].as_str().expect("it names one").to_owned());
    assert_eq!(said.collect::<HashSet<_>>(), failed);
}

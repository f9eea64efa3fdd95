//! What other storages say of their objects: notifications as AWS S3 and MinIO send them, and the events they become.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::changes::event_of;
use crate::clock::Ids;
use crate::config::{NOTIFICATION_BYTES_MAX, NOTIFICATION_RECORDS_MAX, OBJECT_KEY_BYTES_MAX};
use crate::events::CloudEvent;
use crate::store::{EventTrigger, NewEvent, ObjectChange, StorageWatch};

/// Name of a bucket elsewhere, in bytes; the oldest ones of AWS are that long.
pub(crate) const OTHER_BUCKET_BYTES_MAX: usize = 255;

/// A notification. Its records are handed on as they are, also what is not known here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    #[serde(borrow)]
    records: Option<Vec<&'a RawValue>>,
    /// Only in the one that AWS sends when notifications are switched on.
    event: Option<String>,
}

/// What is asked of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Named,
    object: Object,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

impl Record {
    /// What has become of the object; `None` if it was only looked at, or something was done that has no name here.
    fn change(&self) -> Option<ObjectChange> {
        // MinIO writes the prefix, AWS does not.
        let name = self.event_name.strip_prefix("s3:").unwrap_or(&self.event_name);
        match name.split_once(':').map_or(name, |(kind, _)| kind) {
            "ObjectCreated" => Some(ObjectChange::Created),
            "ObjectRemoved" | "LifecycleExpiration" => Some(ObjectChange::Removed),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let bucket = &self.s3.bucket.name;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bucket.is_empty() || bucket.len() > OTHER_BUCKET_BYTES_MAX || !bucket.bytes().all(is_plain) {
            return Err("a record names no bucket".to_owned());
        }
        // Each byte of a key may have become three.
        if self.s3.object.key.is_empty() || self.s3.object.key.len() > 3 * OBJECT_KEY_BYTES_MAX {
            return Err(format!(
                "the key of an object has from 1 to {OBJECT_KEY_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }

    /// As the object is called: in a record the key is written as in a form.
    fn key(&self) -> String {
        // What divides a form is nothing special here, whoever has left it as it is.
        let one_field = self.s3.object.key.replace('&', "%26").replace('=', "%3D");
        let parsed = form_urlencoded::parse(one_field.as_bytes()).next();
        parsed.map_or_else(String::new, |(key, _)| key.into_owned())
    }
}

/// A reader of fields would take a list of their values, too; a function that looks for names would find none.
fn has_names(record: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        s3: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        bucket: &'a RawValue,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let is_object = |raw: &RawValue| raw.get().starts_with('{');
    let outer = serde_json::from_str::<Outer<'_>>(record.get());
    let s3 = outer.ok().map(|outer| outer.s3);
    let s3 = s3.filter(|s3| is_object(record) && is_object(s3));
    let inner = s3.and_then(|s3| serde_json::from_str::<Inner<'_>>(s3.get()).ok());
    inner.is_some_and(|inner| is_object(inner.bucket) && is_object(inner.object))
}

/// The events that a notification becomes for a trigger, in the order of its records: one for each that it wants.
///
/// # Errors
/// Says what is wrong, for people; then none of it is taken.
pub(crate) fn notification_events(
    (trigger, watch): (&EventTrigger, &StorageWatch),
    text: &[u8],
    (now_ms, max_age_ms): (i64, i64),
    ids: &Ids,
) -> Result<Vec<NewEvent>, String> {
    if text.len() > NOTIFICATION_BYTES_MAX {
        return Err(format!(
            "it has {} bytes; at most {NOTIFICATION_BYTES_MAX} may be",
            text.len()
        ));
    }
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err("it is no notification of S3 or MinIO, which is an object of JSON".to_owned());
    }
    let notification: Notification<'_> =
        serde_json::from_slice(text).map_err(|error| format!("it is no notification of S3 or MinIO: {error}"))?;
    let records = match (notification.records, notification.event.as_deref()) {
        (Some(records), _) => records,
        (None, Some("s3:TestEvent")) => Vec::new(),
        (None, _) => return Err("it is no notification of S3 or MinIO: there are no Records".to_owned()),
    };
    if records.len() > NOTIFICATION_RECORDS_MAX {
        return Err(format!(
            "it has {} records; at most {NOTIFICATION_RECORDS_MAX} may be",
            records.len()
        ));
    }
    let mut events = Vec::with_capacity(records.len());
    for raw in records {
        let record: Record = serde_json::from_str(raw.get()).map_err(|error| format!("a record is none: {error}"))?;
        record.check()?;
        if !has_names(raw) {
            return Err("a record is none: its fields have no names".to_owned());
        }
        let Some(change) = record.change() else { continue };
        let bucket = &record.s3.bucket.name;
        let is_its_bucket = watch.other_bucket.as_ref().is_none_or(|other| other == bucket);
        if !is_its_bucket || !watch.wants(change, &record.key()) {
            continue;
        }
        let about = CloudEvent {
            r#type: change.event_type().to_owned(),
            source: format!("arn:aws:s3:::{bucket}"),
            time: crate::admin::time(now_ms),
        };
        let payload = Bytes::from(format!("{{\"Records\":[{}]}}", raw.get()));
        let times = (now_ms, max_age_ms);
        events.push(event_of(ids.event(now_ms), trigger, about, payload, times, 0));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use mayfly_invoker_api::EventId;
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{StorageSource, TriggerConfig};

    fn watch(bucket: Option<&str>) -> StorageWatch {
        StorageWatch {
            source: StorageSource::Bucket("photos".parse().unwrap()),
            other_bucket: bucket.map(str::to_owned),
            prefix: "raw/".to_owned(),
            suffix: ".jpg".to_owned(),
            changes: vec![ObjectChange::Created],
            retry: None,
        }
    }

    fn told(watch: &StorageWatch, text: &[u8]) -> Result<Vec<Value>, String> {
        let payload = |event: &NewEvent| serde_json::from_slice(&event.payload).unwrap();
        Ok(events(watch, text)?.iter().map(payload).collect())
    }

    fn events(watch: &StorageWatch, text: &[u8]) -> Result<Vec<NewEvent>, String> {
        let trigger = EventTrigger {
            id: EventId::from_bytes([1; 16]),
            namespace: "default".parse().unwrap(),
            name: "t".to_owned(),
            function: "f".parse().unwrap(),
            config: TriggerConfig::Storage(watch.clone()),
            enabled: true,
            created_ms: 0,
            next_ms: None,
            last_ms: None,
        };
        let ids = Ids::new([7; 6]);
        notification_events((&trigger, watch), text, (1_700_000_000_000, 1_000), &ids)
    }

    fn record(name: &str, bucket: &str, key: &str) -> Value {
        json!({ "eventName": name, "s3": { "bucket": { "name": bucket }, "object": { "key": key } }, "more": [1, {}] })
    }

    #[test]
    fn each_record_that_is_wanted_is_handed_on_as_it_is() {
        let records = [
            record("s3:ObjectCreated:Put", "photos", "raw%2Fa+b%2B%C3%A4.jpg"),
            record("ObjectCreated:CompleteMultipartUpload", "other", "raw/a=b&c.jpg"),
            record("s3:ObjectRemoved:Delete", "photos", "raw/a.jpg"),
            record("s3:ObjectAccessed:Get", "photos", "raw/a.jpg"),
            record("ObjectCreated:Put", "photos", "thumbs/a.jpg"),
            record("ObjectCreated:Put", "photos", "raw/a.png"),
        ];
        let text = serde_json::to_vec(&json!({ "EventName": "x", "Key": "y", "Records": records })).unwrap();
        let whole = |record: &Value| json!({ "Records": [record] });
        let any = told(&watch(None), &text).unwrap();
        assert_eq!(any, [whole(&records[0]), whole(&records[1])]);
        assert_eq!(told(&watch(Some("photos")), &text).unwrap(), [whole(&records[0])]);
        let removed = StorageWatch {
            changes: vec![ObjectChange::Removed],
            ..watch(None)
        };
        assert_eq!(told(&removed, &text).unwrap(), [whole(&records[2])]);
    }

    #[test]
    fn what_is_not_asked_for_may_be_anything() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for more in [r#""\ud83d""#, "1e400", &deep] {
            let record = format!(
                r#"{{"eventName": "ObjectCreated:Put", "more": {more}, "s3": {{"bucket": {{"name": "b"}}, "object": {{"key": "raw/a.jpg"}}}}}}"#
            );
            let text = format!(r#"{{"Records": [{record}], "more": {more}}}"#);
            let events = events(&watch(None), text.as_bytes()).unwrap();
            assert_eq!(events[0].payload, format!(r#"{{"Records":[{record}]}}"#));
        }
    }

    #[test]
    fn what_is_no_notification_is_refused_whole() {
        let test = br#"{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}"#;
        assert_eq!(told(&watch(None), test).unwrap(), [Value::Null; 0]);
        let good = record("ObjectCreated:Put", "photos", "raw/a.jpg");
        let long = "x".repeat(3_073);
        let bad = [
            json!({}),
            json!(7),
            record("ObjectCreated:Put", "", "raw/a.jpg"),
            record("ObjectCreated:Put", "a\nb", "raw/a.jpg"),
            record("ObjectCreated:Put", &"x".repeat(256), "raw/a.jpg"),
            record("ObjectCreated:Put", "photos", ""),
            record("ObjectCreated:Put", "photos", &long),
            json!({ "eventName": 7, "s3": good["s3"] }),
            json!(["ObjectCreated:Put", good["s3"]]),
            json!({ "eventName": "ObjectCreated:Put", "s3": [{ "name": "photos" }, { "key": "raw/a.jpg" }] }),
        ];
        for bad in bad {
            let text = json!({ "Records": [good, bad] }).to_string();
            assert!(told(&watch(None), text.as_bytes()).is_err(), "{bad}");
        }
        let many = json!({ "Records": vec![&good; 1_001] }).to_string();
        let deep = format!("{{\"Records\": [{}]}}", "[".repeat(100_000));
        let large = format!("{{\"Records\": [], \"more\": \"{}\"}}", "x".repeat(1 << 20));
        for text in [
            "",
            "x",
            "[]",
            "{}",
            "{\"Records\": null}",
            "{\"Records\": 7}",
            "[[],null]",
            &many,
            &deep,
            &large,
        ] {
            assert!(told(&watch(None), text.as_bytes()).is_err(), "{text:.80}");
        }
        assert!(told(&watch(None), &[0xff, 0xfe]).is_err());
        assert_eq!(told(&watch(None), br#"{"Records": []}"#).unwrap(), [Value::Null; 0]);
    }
}

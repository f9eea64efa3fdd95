//! Buckets: what clients of S3 find, what changes of objects fire, what functions do with objects, and what a crash leaves.

mod bucket;
mod clients;
mod crash;
mod functions;
mod notifications;
mod refused;

use mayfly_tests::{Platform, eventually, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

on_both_databases!(
    an_object_fires_each_trigger_that_wants_it,
    every_kind_of_function_takes_changes_of_objects,
    a_trigger_that_is_off_misses_what_happens,
);

/// Makes a bucket.
pub(super) async fn create(platform: &Platform, name: &str) {
    platform.fn_(&["bucket", "create", name]).await.ok();
}

/// Makes a trigger of that name for changes in a bucket.
pub(super) async fn watch(platform: &Platform, function: &str, bucket: &str, name: &str, more: &[&str]) {
    let args = [
        "trigger", "create", "storage", function, "--bucket", bucket, "--name", name,
    ];
    platform.fn_(&[&args, more].concat()).await.ok();
}

/// Writes an object through the API.
pub(super) async fn put(platform: &Platform, bucket: &str, key: &str, body: impl Into<reqwest::Body>) -> Value {
    let request = platform.api(Method::PUT, &format!("/v1/ns/default/buckets/{bucket}/object"));
    let answer = request
        .query(&[("key", key)])
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{key:?}");
    answer.json().await.expect("JSON")
}

/// An object's bytes; `None` if it is not there.
pub(super) async fn get(platform: &Platform, bucket: &str, key: &str) -> Option<Vec<u8>> {
    let request = platform.api(Method::GET, &format!("/v1/ns/default/buckets/{bucket}/object"));
    let answer = request.query(&[("key", key)]).send().await.expect("an answer");
    match answer.status().as_u16() {
        200 => Some(answer.bytes().await.expect("all of it").to_vec()),
        404 => None,
        other => panic!("{other} for {key:?}"),
    }
}

/// All keys of a bucket, in order.
pub(super) async fn keys(platform: &Platform, bucket: &str) -> Vec<String> {
    let listed = platform
        .fn_(&["bucket", "ls", bucket, "--recursive", "--json"])
        .await
        .json();
    let objects = listed["objects"].as_array().expect("a list").iter();
    objects
        .map(|object| object["key"].as_str().expect("a key").to_owned())
        .collect()
}

/// What a function was given, one for each of its events that have succeeded, oldest first: as `consume` tells it.
pub(super) async fn given(platform: &Platform, function: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{function} has had {count} events"), async || {
        let listed = platform
            .fn_(&[
                "events",
                "list",
                function,
                "--state",
                "succeeded",
                "--limit",
                "100",
                "--json",
            ])
            .await
            .json();
        let listed = listed.as_array().expect("a list").clone();
        if listed.len() < count {
            return None;
        }
        let mut given = Vec::new();
        for event in listed.iter().rev() {
            let shown = crate::events::show(platform, event["id"].as_str().expect("an id")).await;
            given.push(shown["result"]["body"]["event"]["Records"][0].clone());
        }
        Some(given)
    })
    .await
}

fn said(record: &Value) -> (&str, &str) {
    (
        record["eventName"].as_str().unwrap_or_default(),
        record["s3"]["object"]["key"].as_str().unwrap_or_default(),
    )
}

async fn an_object_fires_each_trigger_that_wants_it(platform: &mut Platform) {
    create(platform, "photos").await;
    create(platform, "other").await;
    for (function, trigger) in [
        ("raw", &["--prefix", "raw/", "--suffix", ".jpg"][..]),
        ("all", &["--events", "created,removed"]),
        ("gone", &["--events", "removed", "--prefix", "raw/"]),
    ] {
        platform.deploy("consume", &["--name", function]).await;
        watch(platform, function, "photos", &format!("to-{function}"), trigger).await;
    }
    let first = put(platform, "photos", "raw/a b+\u{e4}.jpg", "hello").await;
    assert_eq!(
        first["etag"], "5d41402abc4b2a76b9719d911017c592",
        "the MD5, as S3 has it"
    );
    put(platform, "photos", "raw/notes.txt", "no picture").await;
    put(platform, "photos", "thumbs/a.jpg", "elsewhere").await;
    put(platform, "other", "raw/a.jpg", "another bucket").await;
    put(platform, "photos", "raw/a b+\u{e4}.jpg", "").await;
    platform
        .fn_(&["bucket", "rm", "photos", "raw/a b+\u{e4}.jpg"])
        .await
        .ok();
    let again = platform.fn_(&["bucket", "rm", "photos", "raw/a b+\u{e4}.jpg"]).await;
    again.failed(1, "object_not_found");

    let key = "raw%2Fa+b%2B%C3%A4.jpg";
    let raw = given(platform, "raw", 2).await;
    assert_eq!(
        raw.iter().map(said).collect::<Vec<_>>(),
        [("ObjectCreated:Put", key); 2]
    );
    let record = &raw[0];
    assert_eq!(record["eventSource"], "aws:s3");
    assert_eq!(record["s3"]["bucket"]["name"], "photos");
    assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::photos");
    assert_eq!(record["s3"]["configurationId"], "to-raw");
    assert_eq!(record["s3"]["object"]["size"], 5);
    assert_eq!(record["s3"]["object"]["eTag"], first["etag"]);
    assert_eq!(record["s3"]["object"]["urlDecodedKey"], "raw/a b+\u{e4}.jpg");
    assert_eq!(raw[1]["s3"]["object"]["size"], 0, "it was overwritten");
    let sequence = |record: &Value| record["s3"]["object"]["sequencer"].as_str().map(str::to_owned);
    assert!(sequence(&raw[0]) < sequence(&raw[1]));

    let gone = given(platform, "gone", 1).await;
    assert_eq!(
        gone.iter().map(said).collect::<Vec<_>>(),
        [("ObjectRemoved:Delete", key)]
    );
    let all = given(platform, "all", 5).await;
    let all: Vec<_> = all.iter().map(said).collect();
    for expected in [
        ("ObjectCreated:Put", key),
        ("ObjectCreated:Put", "raw%2Fnotes.txt"),
        ("ObjectCreated:Put", "thumbs%2Fa.jpg"),
        ("ObjectRemoved:Delete", key),
    ] {
        assert!(all.contains(&expected), "{expected:?} of {all:?}");
    }
    assert_eq!(all.len(), 5);
    let usage = platform.usage_of("all").await;
    assert_eq!(usage["invocations"], 5);
    let record = &platform.invocations("all").await[0];
    assert_eq!(record["trigger"], "storage");
}

async fn every_kind_of_function_takes_changes_of_objects(platform: &mut Platform) {
    create(platform, "photos").await;
    platform.deploy("word-count", &["--name", "command"]).await;
    platform.deploy("hello-http", &["--name", "http"]).await;
    watch(platform, "command", "photos", "to-command", &[]).await;
    watch(platform, "http", "photos", "to-http", &[]).await;
    put(platform, "photos", "a", "x").await;
    for function in ["command", "http"] {
        let event = eventually("its event has succeeded", async || {
            let listed = platform.fn_(&["events", "list", function, "--json"]).await.json();
            let event = listed.as_array()?.first()?.clone();
            (event["state"] == "succeeded").then_some(event)
        })
        .await;
        assert_eq!(event["trigger"], format!("to-{function}"), "{event}");
    }
}

async fn a_trigger_that_is_off_misses_what_happens(platform: &mut Platform) {
    create(platform, "photos").await;
    platform.deploy("consume", &["--name", "f"]).await;
    watch(platform, "f", "photos", "t", &["--disabled"]).await;
    put(platform, "photos", "a", "x").await;
    platform.fn_(&["trigger", "enable", "t"]).await.ok();
    put(platform, "photos", "b", "x").await;
    platform.fn_(&["trigger", "disable", "t"]).await.ok();
    put(platform, "photos", "c", "x").await;
    let shown = platform.fn_(&["trigger", "show", "t", "--json"]).await.json();
    for (field, value) in [
        ("kind", json!("storage")),
        ("bucket", json!("photos")),
        ("prefix", json!("")),
        ("events", json!(["created"])),
    ] {
        assert_eq!(shown[field], value, "{shown}");
    }
    platform
        .fn_(&["bucket", "delete", "photos"])
        .await
        .failed(1, "bucket_in_use");
    platform.fn_(&["trigger", "delete", "t"]).await.ok();
    let given = given(platform, "f", 1).await;
    assert_eq!(given.iter().map(said).collect::<Vec<_>>(), [("ObjectCreated:Put", "b")]);
}

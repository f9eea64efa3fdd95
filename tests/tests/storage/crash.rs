//! A crash between an object and its event loses nothing and invents nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mayfly_tests::{Platform, eventually, eventually_within, on_both_databases};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{create, keys, watch};

on_both_databases!(objects_and_their_events_survive_kills_together);

/// Clients that write at once.
const CLIENTS: u64 = 16;
/// Objects that are written, unless the environment wants the long form.
const OBJECTS: u64 = 1_500;
const OBJECTS_LONG: u64 = 10_000;

fn objects() -> u64 {
    if std::env::var_os("STORAGE_LONG").is_some() {
        OBJECTS_LONG
    } else {
        OBJECTS
    }
}

#[expect(clippy::print_stdout, reason = "the figures of a long run")]
async fn objects_and_their_events_survive_kills_together(platform: &mut Platform) {
    create(platform, "photos").await;
    platform.deploy("consume", &["--name", "f"]).await;
    watch(platform, "f", "photos", "t", &[]).await;
    let (next, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
    let wanted = objects();
    for kill in [wanted / 3, wanted * 2 / 3, wanted] {
        let writers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let request = || platform.api(Method::PUT, "/v1/ns/default/buckets/photos/object");
                tokio::spawn(write(
                    request().build().expect("a request"),
                    Arc::clone(&next),
                    Arc::clone(&acknowledged),
                    wanted,
                ))
            })
            .collect();
        eventually_within(Duration::from_secs(600), "enough objects are written", async || {
            (acknowledged.lock().await.len() as u64 >= kill).then_some(())
        })
        .await;
        if kill < wanted {
            platform.kill().await;
            platform.restart().await;
        }
        for writer in writers {
            writer.await.expect("a writer ends");
        }
    }
    let durable: BTreeSet<String> = keys(platform, "photos").await.into_iter().collect();
    let acknowledged = acknowledged.lock().await;
    assert!(acknowledged.is_subset(&durable), "an acknowledged object is lost");
    let told = told(platform, durable.len()).await;
    assert_eq!(
        told.iter().collect::<BTreeSet<_>>().len(),
        told.len(),
        "an event is there twice"
    );
    let told: BTreeSet<String> = told.into_iter().collect();
    let (lost, invented): (Vec<_>, Vec<_>) = (durable.difference(&told).collect(), told.difference(&durable).collect());
    assert!(
        lost.is_empty() && invented.is_empty(),
        "lost {lost:?}, invented {invented:?}"
    );
    println!(
        "{} objects acknowledged, {} durable, {} events delivered",
        acknowledged.len(),
        durable.len(),
        told.len()
    );
}

/// Writes objects, each with a key of its own, until enough are acknowledged or the server is gone.
async fn write(
    request: reqwest::Request,
    next: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    wanted: u64,
) {
    let client = mayfly_tests::http_client();
    loop {
        if acknowledged.lock().await.len() as u64 >= wanted {
            return;
        }
        let key = format!("object-{:06}", next.fetch_add(1, Relaxed));
        let mut request = request.try_clone().expect("it has no body yet");
        request.url_mut().set_query(Some(&format!("key={key}")));
        *request.body_mut() = Some(key.repeat(100).into());
        match client.execute(request).await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                acknowledged.lock().await.insert(key);
            }
            Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {}
            // The server has been killed: whether the object is there is what the test is about.
            Ok(answer) => {
                assert!(answer.status().is_server_error(), "{}", answer.status());
                return;
            }
            Err(_) => return,
        }
    }
}

/// The keys of all events that have succeeded; waits until there are so many and nothing is under way.
async fn told(platform: &Platform, count: usize) -> Vec<String> {
    eventually_within(Duration::from_secs(600), "all events have ended", async || {
        let counts = platform.api_get("/v1/ns/default/events/summary").await.json();
        (counts["queued"] == 0 && counts["running"] == 0).then_some(())
    })
    .await;
    let (mut told, mut before) = (Vec::with_capacity(count), String::new());
    loop {
        let page = platform
            .api_get(&format!("/v1/ns/default/events?function=f&limit=1000{before}"))
            .await
            .json();
        let events = page["events"].as_array().expect("a list").clone();
        for event in &events {
            assert_eq!(event["state"], "succeeded", "{event}");
            told.push(key_of(platform, event["id"].as_str().expect("an id")).await);
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return told,
        }
    }
}

async fn key_of(platform: &Platform, id: &str) -> String {
    let event: Value = eventually("the event can be seen", async || {
        let shown = platform.api_get(&format!("/v1/ns/default/events/{id}")).await;
        (shown.status == 200).then(|| shown.json())
    })
    .await;
    let key = &event["result"]["body"]["event"]["Records"][0]["s3"]["object"]["key"];
    key.as_str().unwrap_or_else(|| panic!("{event}")).to_owned()
}

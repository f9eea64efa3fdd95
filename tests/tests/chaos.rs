//! Asynchronous calls while the server is killed again and again, counted by somebody whom the functions call.
//!
//! The short form is a story like the others; `cargo xtask chaos` plays the long one.
#![expect(clippy::print_stdout, reason = "figures for the reader of the run")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use mayfly_tests::{Answer, Database, Platform, ServeWith, Upstream, eventually, http_client};
use reqwest::Client;
use serde_json::{Value, json};

/// Clients that hand in events at once.
const CLIENTS: usize = 16;
/// Of these numbers, every fiftieth is poison: its function fails whenever it runs.
const POISON_EVERY: usize = 50;
/// Every so many events are handed in with an Idempotency-Key, so that the client may repeat what it got no answer for.
const KEYED_EVERY: usize = 2;
const MAX_ATTEMPTS: u64 = 3;

/// How much chaos.
struct Extent {
    events: usize,
    kills: usize,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment says how long the run may take"
)]
fn extent() -> Extent {
    let number = |name: &str, short| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(short)
    };
    Extent {
        events: number("CHAOS_EVENTS", 600),
        kills: number("CHAOS_KILLS", 4),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    play(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    play(Database::Postgres).await;
}

/// Where the server is at the moment.
#[derive(Clone)]
struct Address {
    admin: Arc<RwLock<String>>,
    token: String,
}

/// What the functions have told: (event, attempt) of every run.
#[derive(Default)]
struct Recorder {
    runs: Mutex<Vec<(String, u64)>>,
}

impl Recorder {
    /// Takes `GET /ran/EVENT/ATTEMPT/INVOCATION?n=N`; poison is told to fail.
    fn take(&self, request: &str) -> Answer {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let mut parts = path.split(['/', '?']).skip(2);
        let (event, attempt) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let number = path.rsplit("n=").next().and_then(|n| n.parse::<usize>().ok());
        // A request that was cut off by a kill has told nothing.
        let (Ok(attempt), Some(number)) = (attempt.parse(), number) else {
            return Answer::Bytes(Vec::new());
        };
        self.runs
            .lock()
            .expect("nobody panicked")
            .push((event.to_owned(), attempt));
        if number.is_multiple_of(POISON_EVERY) {
            Answer::Bytes(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec())
        } else {
            Answer::ok("noted")
        }
    }
}

async fn play(database: Database) {
    let Extent { events, kills } = extent();
    let serve_with = ServeWith {
        args: vec!["--allow-private-network".to_owned(), "127.0.0.0/8".to_owned()],
        ..ServeWith::default()
    };
    let Some(mut platform) = Platform::start_with(database, serve_with).await else {
        return;
    };
    let recorder = Arc::new(Recorder::default());
    let upstream = {
        let recorder = Arc::clone(&recorder);
        Upstream::start(move |request| recorder.take(request)).await
    };
    let to = upstream.address.to_string();
    let attempts = MAX_ATTEMPTS.to_string();
    let flags = [
        "--allow-host",
        &to,
        "--max-attempts",
        &attempts,
        "--retry-backoff",
        "0s",
    ];
    platform.deploy("record", &flags).await;

    let address = Address {
        admin: Arc::new(RwLock::new(platform.admin.clone())),
        token: platform.token.clone(),
    };
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(hand_in_all(address.clone(), Arc::clone(&next), events, to.clone())))
        .collect();
    for kill in 1..=kills {
        // At arbitrary moments, while events come: the next kill waits for its share of them.
        let share = events * kill / (kills + 1);
        while next.load(SeqCst) < share {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        platform.kill().await;
        platform.restart().await;
        (*address.admin.write().expect("nobody panicked")).clone_from(&platform.admin);
    }
    let mut accepted = BTreeMap::new();
    for client in clients {
        accepted.extend(client.await.expect("the client did not panic"));
    }
    assert_eq!(accepted.len(), events, "every client got an id for everything");
    judge(&platform, &recorder, &accepted).await;
}

/// Hands in numbers until there are no more; repeats until each is accepted. Gives ids with their numbers.
async fn hand_in_all(address: Address, next: Arc<AtomicUsize>, events: usize, to: String) -> BTreeMap<String, usize> {
    let mut accepted = BTreeMap::new();
    let client = http_client();
    loop {
        let number = next.fetch_add(1, SeqCst);
        if number >= events {
            return accepted;
        }
        let id = loop {
            match hand_in(&client, &address, number, &to).await {
                Some(id) => break id,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        accepted.insert(id, number);
    }
}

/// `None` when there is no answer, or one that says to try again.
async fn hand_in(client: &Client, address: &Address, number: usize, to: &str) -> Option<String> {
    let url = format!(
        "{}/v1/ns/default/functions/record/invoke",
        address.admin.read().expect("nobody panicked")
    );
    let mut request = client
        .post(url)
        .bearer_auth(&address.token)
        .header("prefer", "respond-async");
    if number.is_multiple_of(KEYED_EVERY) {
        request = request.header("idempotency-key", format!("number-{number}"));
    }
    let body = json!({ "to": to, "n": number }).to_string();
    let response = request.body(body).send().await.ok()?;
    match response.status().as_u16() {
        202 => {
            let answer: Value = response.json().await.ok()?;
            Some(answer["id"].as_str().expect("an id").to_owned())
        }
        429 | 500..=599 => None,
        status => panic!("{status}: {:?}", response.text().await),
    }
}

async fn judge(platform: &Platform, recorder: &Recorder, accepted: &BTreeMap<String, usize>) {
    eventually("every event has ended", async || {
        let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
        (summary["queued"] == 0 && summary["running"] == 0).then_some(())
    })
    .await;
    let events = all_events(platform).await;
    // Attempts by event, as the ledger has them: every one once, with its error.
    let mut billed: BTreeMap<String, BTreeMap<u64, Value>> = BTreeMap::new();
    for record in platform.invocations("record").await {
        let attempt = record["attempt"].as_u64().expect("a number");
        let twice = billed
            .entry(text(&record["event_id"]))
            .or_default()
            .insert(attempt, record["error_code"].clone());
        assert_eq!(twice, None, "an attempt is billed twice: {record}");
    }
    for (id, number) in accepted {
        let event = events.get(id).unwrap_or_else(|| panic!("event {id} is lost"));
        let expected = if number.is_multiple_of(POISON_EVERY) {
            "dead"
        } else {
            "succeeded"
        };
        assert_eq!(event["state"], expected, "{event}");
    }
    let runs = recorder.runs.lock().expect("nobody panicked");
    let ran: BTreeSet<(String, u64)> = runs.iter().cloned().collect();
    assert_eq!(ran.len(), runs.len(), "no attempt ran twice");
    for (event, attempt) in &ran {
        let of_event = billed
            .get(event)
            .unwrap_or_else(|| panic!("event {event} ran and is not in the ledger"));
        assert!(
            of_event.contains_key(attempt),
            "attempt {attempt} of {event} ran and is not in the ledger"
        );
    }
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for (id, event) in &events {
        let attempts = event["attempts"].as_u64().expect("a number");
        let of_event = &billed[id];
        let numbers: Vec<u64> = of_event.keys().copied().collect();
        assert_eq!(numbers, (1..=attempts).collect::<Vec<_>>(), "{event}");
        if event["state"] == "succeeded" {
            assert!(ran.contains(&(id.clone(), attempts)), "{id} succeeded and did not run");
            assert_eq!(of_event[&attempts], Value::Null, "{event}");
        }
        for (_, code) in of_event.iter().filter(|(attempt, _)| **attempt < attempts) {
            // An attempt that was followed by another has failed, and the ledger says why.
            *causes.entry(text(code)).or_default() += 1;
        }
    }
    let unknown = events.len() - accepted.len();
    println!(
        "chaos | {} events accepted, {unknown} more accepted without their answer getting through | {} runs recorded outside, \
         {} attempts billed | extra attempts by cause: {causes:?}",
        accepted.len(),
        runs.len(),
        billed.values().map(BTreeMap::len).sum::<usize>(),
    );
}

/// Every event, by its id.
async fn all_events(platform: &Platform) -> BTreeMap<String, Value> {
    let (mut all, mut before) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/v1/ns/default/events?limit=1000{before}");
        let page = platform.api_get(&path).await.json();
        let events = page["events"].as_array().expect("a page has events");
        all.extend(events.iter().map(|event| (text(&event["id"]), event.clone())));
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

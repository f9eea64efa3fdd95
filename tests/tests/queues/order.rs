//! Messages with an order key: in order, whoever works and whatever ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mayfly_tests::{Answer, Database, Platform, ServeWith, Upstream, eventually};
use serde_json::json;

use super::{create, send_all, subscribe};

const KEYS: usize = 1_000;
const PER_KEY: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    order_holds_over_a_crash(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    order_holds_over_a_crash(Database::Postgres).await;
}

/// Eight workers, a thousand keys, a kill in the middle, and some messages that fail twice: for each key, what was first told
/// of a message comes after what was told of the one before it.
async fn order_holds_over_a_crash(database: Database) {
    let serve_with = ServeWith {
        args: vec!["--allow-private-network".to_owned(), "127.0.0.0/8".to_owned()],
        ..ServeWith::default()
    };
    let Some(mut platform) = Platform::start_with(database, serve_with).await else {
        return;
    };
    let told: Arc<Mutex<Vec<usize>>> = Arc::default();
    let upstream = {
        let told = Arc::clone(&told);
        Upstream::start(move |request| take(&mut told.lock().expect("nobody panicked"), request)).await
    };
    let to = upstream.address.to_string();
    let flags = [
        "--name",
        "work",
        "--allow-host",
        &to,
        "--max-attempts",
        "5",
        "--retry-backoff",
        "0s",
    ];
    platform.deploy("consume", &flags).await;
    create(&platform, "orders", &[]).await;
    let more = ["--order-key", "body.key", "--batch", "4", "--concurrency", "8"];
    subscribe(&platform, "work", "orders", "on-order", &more).await;

    // Number n is message n / KEYS of the key n % KEYS.
    let numbers: Vec<usize> = (0..KEYS * PER_KEY).collect();
    let mut events = 0;
    for (request, numbers) in numbers.chunks(100).enumerate() {
        let body = |n: &usize| json!({ "n": n, "key": n % KEYS, "to": to });
        let bodies: Vec<_> = numbers.iter().map(body).collect();
        events += send_all(&platform, "orders", &bodies).await.len();
        if request == 15 {
            platform.kill().await;
            platform.restart().await;
        }
    }
    assert_eq!(events, KEYS * PER_KEY);
    eventually("everything was done", async || {
        let shown = platform.fn_(&["queue", "show", "orders", "--json"]).await.json();
        let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
        (shown["triggers"][0]["waiting"] == 0 && summary["running"] == 0).then_some(())
    })
    .await;

    let told = told.lock().expect("nobody panicked").clone();
    let mut first_told: BTreeMap<usize, usize> = BTreeMap::new();
    for (place, n) in told.iter().enumerate() {
        first_told.entry(*n).or_insert(place);
    }
    assert_eq!(first_told.len(), KEYS * PER_KEY, "each message was told");
    for n in KEYS..KEYS * PER_KEY {
        let last_told = told.iter().rposition(|told| *told == n - KEYS).expect("told");
        assert!(
            last_told < first_told[&n],
            "message {} of key {} was told of before the one before it was done",
            n / KEYS,
            n % KEYS
        );
    }
    let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
    assert_eq!(summary["dead_letters"], 0);
}

/// Of `GET /ran/MESSAGE/ATTEMPT/INVOCATION?n=N`; every fiftieth message is told to fail the first two times.
fn take(told: &mut Vec<usize>, request: &str) -> Answer {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let Some(n) = path.rsplit("n=").next().and_then(|n| n.parse::<usize>().ok()) else {
        // A request that was cut off by the kill has told nothing.
        return Answer::Bytes(Vec::new());
    };
    told.push(n);
    let times = told.iter().filter(|told| **told == n).count();
    if n % 50 == 7 && times < 3 {
        Answer::Bytes(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec())
    } else {
        Answer::ok("noted")
    }
}

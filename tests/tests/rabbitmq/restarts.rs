//! Messages of RabbitMQ while the broker and the server are killed: each has its effect, none is lost, and what happens twice
//! has a reason that is known.
#![expect(clippy::print_stdout, reason = "figures for the reader of the run")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::FieldTable;
use mayfly_tests::{Answer, Broker, Database, Platform, ServeWith, Upstream, eventually_within};
use serde_json::json;

use super::{declare, subscribe, waiting};

/// Of the long form, on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Kills of the server; the broker is killed once, in the middle.
const KILLS: usize = 3;

/// How many messages.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says how long the run may take"
)]
fn messages() -> usize {
    let named = std::env::var("RABBITMQ_MESSAGES").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// One run of one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    event: String,
    invocation: String,
    /// The broker had delivered it before.
    again: bool,
}

#[derive(Default)]
struct Recorder {
    runs: Mutex<BTreeMap<usize, Vec<Run>>>,
}

impl Recorder {
    /// Takes `GET /ran/EVENT/ATTEMPT/INVOCATION?again=BOOL&n=N`.
    fn take(&self, request: &str) -> Answer {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let mut parts = path.split(['/', '?']).skip(2);
        let (event, _, invocation) = (parts.next(), parts.next(), parts.next());
        let number = path.rsplit("n=").next().and_then(|n| n.parse::<usize>().ok());
        let (Some(event), Some(invocation), Some(number)) = (event, invocation, number) else {
            return Answer::Bytes(Vec::new());
        };
        let run = Run {
            event: event.to_owned(),
            invocation: invocation.to_owned(),
            again: path.contains("again=true"),
        };
        self.runs
            .lock()
            .expect("nobody panicked")
            .entry(number)
            .or_default()
            .push(run);
        Answer::ok("noted")
    }

    fn told(&self) -> usize {
        self.runs.lock().expect("nobody panicked").len()
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

async fn play(database: Database) {
    let Some(mut broker) = Broker::start().await else {
        return;
    };
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
    platform
        .deploy("consume", &["--name", "work", "--allow-host", &to])
        .await;
    let all = messages();
    let channel = declare(&broker, "orders", FieldTable::default()).await;
    for numbers in (0..all).collect::<Vec<_>>().chunks(1_000) {
        let mut confirms = Vec::new();
        for n in numbers {
            let body = json!({ "n": n, "to": to }).to_string();
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish("".into(), "orders".into(), options, body.as_bytes(), properties);
            confirms.push(sent.await.expect("it is sent"));
        }
        for confirm in join_all(confirms).await {
            assert!(confirm.expect("an answer").is_ack(), "the broker has it");
        }
    }
    subscribe(
        &platform,
        &broker.url(),
        "work",
        "orders",
        &["--batch", "20", "--concurrency", "16"],
    )
    .await;
    for kill in 1..=KILLS {
        // At arbitrary moments: the next one waits for its share of the messages.
        let share = all * kill / (KILLS + 2);
        eventually_within(RUN_MAX, "its share was done", async || {
            (recorder.told() >= share).then_some(())
        })
        .await;
        if kill == 2 {
            broker.kill();
            broker.start_again().await;
        }
        platform.kill().await;
        platform.restart().await;
    }
    eventually_within(RUN_MAX, "everything was done", async || {
        let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
        let quiet = summary["queued"] == 0 && summary["running"] == 0;
        (quiet && recorder.told() >= all).then_some(())
    })
    .await;
    let channel = declare(&broker, "orders", FieldTable::default()).await;
    assert_eq!(waiting(&channel, "orders").await, 0, "the queue is empty at the end");
    let summary = platform.fn_(&["events", "summary", "--json"]).await.json();
    assert_eq!(summary["dead_letters"], 0);
    judge(&platform, &recorder, all).await;
}

/// Each message ran, and each run beyond the first has a cause that can be seen: its event has an attempt that was cut off,
/// or the broker has delivered the message again.
async fn judge(platform: &Platform, recorder: &Recorder, all: usize) {
    let runs = recorder.runs.lock().expect("nobody panicked").clone();
    assert_eq!(runs.len(), all, "each message has its effect");
    let (mut again, mut repeated) = (0, 0);
    for (n, runs) in &runs {
        let events: BTreeSet<&str> = runs.iter().map(|run| run.event.as_str()).collect();
        let redelivered: BTreeSet<&str> = runs
            .iter()
            .filter(|run| run.again)
            .map(|run| run.event.as_str())
            .collect();
        assert!(
            events.len() - 1 <= redelivered.len(),
            "message {n} came twice for no reason: {runs:?}"
        );
        again += events.len() - 1;
        for id in events {
            let of_it = runs.iter().filter(|run| run.event == id).count();
            if of_it > 1 {
                repeated += of_it - 1;
                let event = crate::events::show(platform, id).await;
                let failed = event["failed_attempts"].as_array().map_or(0, Vec::len);
                assert!(
                    failed >= of_it - 1,
                    "message {n} ran {of_it} times, {failed} attempts say why: {event}"
                );
            }
        }
    }
    println!(
        "rabbitmq | {all} messages, {KILLS} kills of the server, one of the broker | {repeated} runs were repeated after a kill, {again} messages were delivered again by the broker | 0 lost, each repetition with its cause"
    );
}

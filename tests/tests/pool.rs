//! Instances that wait for calls, and calls that wait for instances.

use futures_util::future::join_all;
use mayfly_tests::{Database, Platform, Reply, ServeWith, eventually, guest, on_both_databases};
use serde_json::Value;

on_both_databases!(
    instances_are_there_before_the_first_call,
    what_wears_out_is_made_again,
    another_version_takes_the_place_of_the_one_before,
    no_more_instances_than_asked_for,
    a_full_queue_says_so,
    waiting_is_not_the_functions_time,
    what_cannot_be_is_refused,
);

async fn pool(platform: &Platform, name: &str) -> Value {
    let described = platform.fn_(&["describe", name, "--json"]).await.json();
    described["pool"].clone()
}

async fn eventually_idle(platform: &Platform, name: &str, count: u64) -> Value {
    eventually(&format!("{count} idle instances of {name}"), async || {
        let pool = pool(platform, name).await;
        (pool["idle"] == count && pool["running"] == 0).then_some(pool)
    })
    .await
}

async fn is_warm(platform: &Platform, name: &str) {
    let answer = platform.get(&format!("/{name}/count")).await;
    assert_eq!(
        (answer.status, answer.header("mayfly-start")),
        (200, "warm"),
        "{answer:?}"
    );
    let record = &platform.invocations(name).await[0];
    assert_eq!(record["usage"]["start"], "warm", "{record}");
    assert_eq!(record["usage"]["init_ms"], 0.0, "{record}");
}

async fn instances_are_there_before_the_first_call(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "ready", "--min-warm", "2"])
        .await;
    let pool = eventually_idle(platform, "ready", 2).await;
    assert!(pool["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{pool}");
    assert!(
        pool["code_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000),
        "{pool}"
    );
    assert_eq!(pool["single_use"], false);
    is_warm(platform, "ready").await;
    platform.terminate();
    platform.ended().await;
    platform.restart().await;
    eventually_idle(platform, "ready", 2).await;
    is_warm(platform, "ready").await;
    let described = platform.fn_(&["describe", "ready"]).await.ok();
    assert!(
        described.contains("2 kept warm") && described.contains("2 idle"),
        "{described}"
    );
}

async fn what_wears_out_is_made_again(platform: &mut Platform) {
    let flags = ["--name", "worn", "--min-warm", "1", "--max-requests-per-instance", "1"];
    platform.deploy("misbehave", &flags).await;
    for _ in 0..3 {
        eventually_idle(platform, "worn", 1).await;
        let answer = platform.get("/worn/count").await;
        assert_eq!((answer.text().as_str(), answer.header("mayfly-start")), ("1", "warm"));
    }
    // Also what trapped.
    eventually_idle(platform, "worn", 1).await;
    assert_eq!(platform.get("/worn/trap").await.status, 500);
    eventually_idle(platform, "worn", 1).await;
}

async fn another_version_takes_the_place_of_the_one_before(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "next", "--min-warm", "1"])
        .await;
    eventually_idle(platform, "next", 1).await;
    let deployed = platform
        .deploy("misbehave", &["--name", "next", "--timeout", "5s"])
        .await;
    assert_eq!(deployed["version"], 2, "{deployed}");
    eventually_idle(platform, "next", 1).await;
    is_warm(platform, "next").await;
    platform
        .deploy("misbehave", &["--name", "next", "--min-warm", "0"])
        .await;
    assert_eq!(pool(platform, "next").await["idle"], 0);
}

/// Calls at once, and their answers.
async fn at_once(platform: &Platform, count: usize, path: &str) -> Vec<Reply> {
    join_all((0..count).map(|_| platform.get(path))).await
}

async fn no_more_instances_than_asked_for(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "few", "--max-instances", "3"])
        .await;
    let answers = at_once(platform, 50, "/few/sleep?ms=20").await;
    for answer in &answers {
        assert_eq!((answer.status, answer.text().as_str()), (200, "slept"), "{answer:?}");
    }
    let cold = answers.iter().filter(|answer| answer.header("mayfly-start") == "cold");
    assert!((1..=3).contains(&cold.count()), "each instance is made once");
    eventually_idle(platform, "few", 3).await;
    // The places of calls that end badly are free again, too.
    for path in ["/few/trap", "/few/no-response"] {
        at_once(platform, 12, path).await;
    }
    let answers = at_once(platform, 12, "/few/sleep?ms=1").await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    // A call that shares nothing has its place in the same count.
    let flags = ["--name", "few", "--isolation", "invocation", "--max-instances", "2"];
    platform.deploy("misbehave", &flags).await;
    let answers = at_once(platform, 12, "/few/count").await;
    assert!(answers.iter().all(|answer| answer.text() == "1"), "{answers:?}");
}

async fn a_full_queue_says_so(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "single", "--max-instances", "1"])
        .await;
    let answers = at_once(platform, 150, "/single/sleep?ms=30").await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(
        served.len() >= 100,
        "those that have a place in the queue are served: {}",
        served.len()
    );
    assert!(!refused.is_empty(), "the queue has an end");
    for answer in &refused {
        answer.is_problem(429, "concurrency_limit");
        assert_eq!(answer.header("retry-after"), "1");
    }
    // What was not started costs nothing.
    let path = format!("/v1/ns/default/invocations/{}", refused[0].invocation_id());
    let record = platform.api_get(&path).await.json();
    assert_eq!(record["usage"]["billed_ms"], 0, "{record}");
    assert_eq!(record["usage"]["duration_ms"], 0.0, "{record}");
    // Who waits for longer than the function may take, gives up.
    platform
        .deploy("misbehave", &["--name", "single", "--timeout", "1s"])
        .await;
    let answers = at_once(platform, 4, "/single/sleep?ms=700").await;
    let late = answers.iter().filter(|answer| answer.status == 429).count();
    assert!((1..=2).contains(&late), "{answers:?}");
}

async fn waiting_is_not_the_functions_time(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "patient", "--max-instances", "1"])
        .await;
    let answers = at_once(platform, 3, "/patient/sleep?ms=600").await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    for record in platform.invocations("patient").await {
        let duration = record["usage"]["duration_ms"].as_f64().unwrap_or_default();
        assert!((600.0..1_150.0).contains(&duration), "{record}");
    }
}

async fn what_cannot_be_is_refused(platform: &mut Platform) {
    let (http, command) = (guest("misbehave"), guest("word-count"));
    let (http, command) = (http.to_string_lossy(), command.to_string_lossy());
    for args in [
        &[&*http, "--isolation", "invocation", "--min-warm", "1"][..],
        &[&*http, "--isolation", "key:x-user", "--min-warm", "1"],
        &[&*http, "--min-warm", "101"],
        &[&*http, "--min-warm", "3", "--max-instances", "2"],
        &[&*http, "--max-instances", "0"],
        &[&*http, "--max-instances", "1001"],
        &[&*command, "--min-warm", "1"],
    ] {
        let done = platform.fn_(&[&["deploy", "--name", "never"], args].concat()).await;
        done.failed(1, "invalid_config");
    }
}

/// Only once: nothing here depends on the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_stay_in_their_memory() {
    const FUNCTIONS: usize = 24;
    const MIB_EACH: u64 = 12;
    const BUDGET_MIB: u64 = 96;
    let with = ServeWith {
        args: ["--instance-memory", "96MiB"].map(str::to_owned).to_vec(),
        ..ServeWith::default()
    };
    let platform = Platform::start_with(Database::Sqlite, with).await;
    let platform = platform.expect("SQLite is always there");
    for number in 0..FUNCTIONS {
        platform
            .deploy("misbehave", &["--name", &format!("large-{number}")])
            .await;
    }
    let before = platform.resident_bytes();
    for number in (0..FUNCTIONS).chain(0..FUNCTIONS) {
        let answer = platform.get(&format!("/large-{number}/memory?mib={MIB_EACH}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let grown = platform.resident_bytes().saturating_sub(before) >> 20;
    assert!(
        grown < BUDGET_MIB + 64,
        "{grown} MiB more, where {} MiB would be with all of them",
        FUNCTIONS as u64 * MIB_EACH
    );
    let mut idle = 0;
    let mut resident = 0;
    for number in 0..FUNCTIONS {
        let pool = pool(&platform, &format!("large-{number}")).await;
        idle += pool["idle"].as_u64().unwrap_or_default();
        resident += pool["resident_bytes"].as_u64().unwrap_or_default();
    }
    assert!(
        (2..FUNCTIONS as u64).contains(&idle),
        "{idle} stay, as many as there is room for"
    );
    assert!(resident <= BUDGET_MIB << 20, "{resident} bytes");
}

//! `kill -9` under load: what was deployed is there, and what was answered is in the ledger, once.
#![expect(clippy::print_stdout, reason = "figures for the reader of the run")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mayfly_tests::{Platform, Reply, eventually, on_both_databases};
use reqwest::Method;
use tokio::task::JoinSet;

/// Calls in flight when the process is killed.
const CONNECTIONS: usize = 16;
/// Answers before that.
const ANSWERS_MIN: usize = 400;

on_both_databases!(
    every_answered_call_is_in_the_ledger_once,
    deployments_survive_at_any_moment
);

async fn every_answered_call_is_in_the_ledger_once(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "hello"]).await;
    platform.deploy("misbehave", &["--name", "second"]).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let request = platform.request(Method::GET, "/hello");
        callers.spawn(call_until_broken(request, answered.clone()));
    }
    eventually("enough answers", async || {
        (answered.load(Ordering::SeqCst) >= ANSWERS_MIN).then_some(())
    })
    .await;
    platform.kill().await;
    let received: Vec<String> = callers.join_all().await.into_iter().flatten().collect();

    platform.restart().await;
    let names = function_names(platform).await;
    assert_eq!(names, ["hello", "second"]);
    let mut rows: HashMap<String, usize> = HashMap::new();
    for record in platform.invocations("hello").await {
        *rows
            .entry(record["id"].as_str().expect("an id").to_owned())
            .or_default() += 1;
    }
    for id in &received {
        assert_eq!(
            rows.get(id),
            Some(&1),
            "the answered call {id} must be recorded exactly once"
        );
    }
    let unique: HashSet<_> = received.iter().collect();
    assert_eq!(unique.len(), received.len(), "ids are never used twice");
    let extra = rows.len() - received.len();
    assert!(
        extra <= CONNECTIONS,
        "{extra} records without an answer, {CONNECTIONS} calls were in flight"
    );
    let usage = platform.usage_of("hello").await;
    assert_eq!(
        usage["invocations"],
        rows.len(),
        "usage and records count the same: {usage}"
    );
    println!(
        "{} answers, {extra} more records for calls that were in flight",
        received.len()
    );

    assert_eq!(platform.get("/hello").await.status, 200, "it goes on");
}

/// Gives the ids of the calls whose answer arrived whole.
async fn call_until_broken(request: reqwest::RequestBuilder, answered: Arc<AtomicUsize>) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let request = request.try_clone().expect("a request without a body can be sent again");
        let Ok(response) = request.send().await else { return ids };
        let Ok(reply) = Reply::read(response).await else {
            return ids;
        };
        assert_eq!(reply.status, 200, "{}", reply.text());
        ids.push(reply.invocation_id());
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// A deployment is there whole or not at all, and the same command then completes it. The moments are spread over what a
/// deployment takes; this holds at each of them, so nothing depends on how fast the machine is.
async fn deployments_survive_at_any_moment(platform: &mut Platform) {
    let file = mayfly_tests::guest("misbehave");
    for moment_ms in [0, 15, 30, 60, 120, 240] {
        let name = format!("at-{moment_ms}-ms");
        let deploy = platform
            .fn_command(&["deploy", &file.to_string_lossy(), "--name", &name, "--memory", "64"])
            .spawn();
        let mut deploy = deploy.expect("the binary can be started");
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        platform.kill().await;
        deploy.wait().await.expect("our own child can be waited for");

        platform.restart().await;
        let path = format!("/{name}/count");
        if function_names(platform).await.contains(&name) {
            assert_eq!(platform.get(&path).await.status, 200, "what is there works");
        }
        let deployed = platform.deploy("misbehave", &["--name", &name, "--memory", "64"]).await;
        assert_eq!(deployed["version"], 1, "no half-made version was left: {deployed}");
        assert_eq!(platform.get(&path).await.status, 200);
    }
}

async fn function_names(platform: &Platform) -> Vec<String> {
    let page = platform.api_get("/v1/ns/default/functions").await.json();
    let functions = page["functions"].as_array().expect("a list of functions");
    functions
        .iter()
        .map(|function| function["name"].as_str().expect("a name").to_owned())
        .collect()
}

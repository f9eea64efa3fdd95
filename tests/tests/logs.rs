//! What functions print can be read, soon and in order, and has a bound.

use std::process::Stdio;

use mayfly_tests::{Platform, on_both_databases};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

on_both_databases!(
    printed_lines_are_kept_with_their_invocation,
    following_shows_what_comes_later,
    a_failed_call_keeps_what_it_printed,
    a_flood_is_cut_and_says_so,
);

async fn printed_lines_are_kept_with_their_invocation(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "talker"]).await;
    let first = platform.get("/talker/print?lines=2").await.invocation_id();
    let second = platform.get("/talker/print?lines=1").await.invocation_id();
    let entries = entries(platform, "talker", "").await;
    assert!(text_of(&entries, &first).lines().count() >= 2, "{entries:?}");
    assert!(!text_of(&entries, &second).is_empty(), "{entries:?}");
    let order: Vec<_> = entries
        .iter()
        .map(|entry| entry["invocation_id"].as_str().unwrap_or_default())
        .collect();
    assert!(
        order.is_sorted_by_key(|id| if *id == first { 0 } else { 1 }),
        "oldest first: {order:?}"
    );
    for entry in &entries {
        assert_eq!(entry["version"], 1, "{entry}");
        assert!(
            ["stdout", "stderr"].contains(&entry["stream"].as_str().unwrap_or_default()),
            "{entry}"
        );
        assert!(entry["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{entry}");
    }
    let shown = platform.fn_(&["logs", "talker"]).await.ok();
    assert!(shown.lines().count() >= 3, "{shown}");
    platform.fn_(&["logs", "nobody"]).await.failed(1, "function_not_found");
}

async fn following_shows_what_comes_later(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "talker"]).await;
    let mut following = platform.fn_command(&["logs", "talker", "--follow"]);
    let mut following = following
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary can be started");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    // Calls go on until a line is seen: following begins at some moment after the command was started.
    let seen = async {
        tokio::select! {
            line = lines.next_line() => line.expect("readable").expect("following does not end by itself"),
            () = async { loop { platform.get("/talker/print?lines=1").await; } } => unreachable!("calls have no end"),
        }
    };
    let line = timeout(mayfly_tests::WAIT_MAX, seen).await.expect("a line in time");
    assert!(!line.is_empty());
    following.kill().await.expect("our own child can be killed");

    // The cursor of the API goes on where it ended.
    let page = platform
        .api_get("/v1/ns/default/functions/talker/logs?limit=1000")
        .await
        .json();
    let next = page["next"].as_str().expect("there is always a cursor").to_owned();
    assert!(entries(platform, "talker", &format!("?after={next}")).await.is_empty());
    let id = platform.get("/talker/print?lines=1").await.invocation_id();
    let later = entries(platform, "talker", &format!("?after={next}")).await;
    assert!(
        later.iter().all(|entry| entry["invocation_id"] == id.as_str()) && !later.is_empty(),
        "{later:?}"
    );
}

async fn a_failed_call_keeps_what_it_printed(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "bad"]).await;
    let failed = platform.get("/bad/trap").await;
    let problem = failed.is_problem(500, "function_trapped");
    let id = problem["invocation_id"].as_str().expect("the failed call has an id");
    let entries = entries(platform, "bad", "").await;
    assert!(
        text_of(&entries, id).contains("panicked"),
        "the panic's message is in the log: {entries:?}"
    );
}

async fn a_flood_is_cut_and_says_so(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "flood"]).await;
    let answer = platform.get("/flood/print?lines=100000").await;
    assert_eq!(answer.status, 200, "printing too much is no failure: {}", answer.text());
    // The newest page has the end of what was kept.
    let newest = entries(platform, "flood", "?limit=1000").await;
    let kept = newest
        .iter()
        .map(|entry| entry["text"].as_str().unwrap_or_default().len())
        .sum::<usize>();
    assert!((1..1 << 20).contains(&kept), "{kept} bytes on one page");
    let last = newest.last().expect("not empty")["text"].as_str().unwrap_or_default();
    assert!(
        last.contains("bytes of output were dropped"),
        "it says that something is missing: {last}"
    );
    let shown = platform.fn_(&["logs", "flood", "--limit", "1"]).await.ok();
    assert!(shown.contains("dropped"), "{shown}");
}

async fn entries(platform: &Platform, function: &str, query: &str) -> Vec<Value> {
    let page = platform
        .api_get(&format!("/v1/ns/default/functions/{function}/logs{query}"))
        .await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()["entries"].as_array().expect("a page has entries").clone()
}

fn text_of(entries: &[Value], id: &str) -> String {
    let mine = entries.iter().filter(|entry| entry["invocation_id"] == id);
    mine.filter_map(|entry| entry["text"].as_str())
        .map(|text| format!("{}\n", text.trim_end()))
        .collect()
}

//! An endless loop ends at its deadline, a hundred at once, and nobody else notices.
#![expect(clippy::print_stdout, reason = "figures for the reader of the run")]

use std::time::{Duration, Instant};

use mayfly_tests::{Platform, eventually, on_both_databases};
use tokio::task::JoinSet;

const LOOPS: usize = 100;
const LIMIT: Duration = Duration::from_secs(1);

on_both_databases!(
    a_hundred_endless_loops_end_while_another_function_answers,
    a_waiting_guest_ends_too
);

async fn a_hundred_endless_loops_end_while_another_function_answers(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "loop", "--timeout", "1s"])
        .await;
    platform
        .deploy("hello-http", &["--name", "other", "--timeout", "30s"])
        .await;

    let mut loops = JoinSet::new();
    for _ in 0..LOOPS {
        let request = platform.request(reqwest::Method::GET, "/loop/spin");
        loops.spawn(async move {
            let began = Instant::now();
            let answer = request.send().await.expect("an endless loop is answered");
            let code: serde_json::Value = answer.json().await.expect("with a problem document");
            (code["status"].clone(), code["code"].clone(), began.elapsed())
        });
    }
    let mut overshoot_ms = Vec::new();
    let mut others = 0;
    while !loops.is_empty() {
        tokio::select! {
            ended = loops.join_next() => {
                let (status, code, took) = ended.expect("there are loops left").expect("the call did not panic");
                assert_eq!((status, code), (504.into(), "deadline_exceeded".into()));
                assert!(took >= LIMIT, "cut off before its time: {took:?}");
                overshoot_ms.push((took - LIMIT).as_millis());
            }
            other = platform.get("/other") => {
                assert_eq!(other.status, 200, "{}", other.text());
                others += 1;
            }
        }
    }
    assert!(others > 0, "the other function was never called");
    overshoot_ms.sort_unstable();
    println!(
        "{LOOPS} loops at once: past the deadline p50 {} ms, p99 {} ms, max {} ms; {others} calls of another function",
        overshoot_ms[LOOPS / 2 - 1],
        overshoot_ms[LOOPS * 99 / 100 - 1],
        overshoot_ms[LOOPS - 1]
    );

    let usage = platform.usage_of("loop").await;
    assert_eq!(
        (&usage["invocations"], &usage["errors"]),
        (&LOOPS.into(), &LOOPS.into()),
        "{usage}"
    );
    assert_eq!(platform.get("/other").await.status, 200);
}

/// Epochs stop a guest that computes; one that waits has to be stopped from outside.
async fn a_waiting_guest_ends_too(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "waiter", "--timeout", "300ms"])
        .await;
    platform
        .get("/waiter/sleep?ms=20000")
        .await
        .is_problem(504, "deadline_exceeded");
    let record = eventually("the record of the call", async || {
        platform.invocations("waiter").await.pop()
    })
    .await;
    assert_eq!(record["error_code"], "deadline_exceeded", "{record}");
    assert!(
        record["usage"]["billed_ms"]
            .as_u64()
            .is_some_and(|ms| (300..5_000).contains(&ms)),
        "{record}"
    );
}

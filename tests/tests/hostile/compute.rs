//! G1, G2, G3, G16: guests that use more time than they have.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method};
use tokio::task::JoinSet;

use super::arena::{Arena, billed_ms, times};

/// The limit of the functions here, in milliseconds.
const LIMIT_MS: u64 = 1_000;
/// How much later than that a guest may be stopped.
const LATE_MS_MAX: u64 = 50;
/// The same for one that fills half a GiB at once.
const LATE_BULK_MS_MAX: u64 = 300;
const AT_ONCE: usize = 100;
/// What guests of half a GiB may leave: their slots keep 1 MiB each for the next.
const LEFT_BYTES_MAX: u64 = 64 << 20;

/// G1. An endless loop, a hundred at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_loops() {
    let arena = Arena::with_attacker(&["--timeout", "1s"]).await;
    let (billed, seen_ms) = arena
        .endures("G1", async || {
            let seen_ms = call_at_once(&arena, "/attacker/spin", AT_ONCE).await;
            let billed = billed_at_p99(&arena, "attacker", AT_ONCE).await;
            let late = format!("100 loops were billed {billed:?} ms");
            (billed.1 <= LIMIT_MS + LATE_MS_MAX)
                .then_some((billed, seen_ms))
                .ok_or(late)
        })
        .await;
    Arena::report(
        "G1",
        "100 endless loops at once, time limit 1 s",
        &format!(
            "billed {} to {} ms (p99) to {} ms, seen by the client {seen_ms} ms (p99)",
            billed.0, billed.1, billed.2
        ),
        "504; 1,000 to 1,050 ms",
    );
}

/// G2. Guests that wait: for a timer of an hour, and for a body that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_waits() {
    let arena = Arena::with_attacker(&["--timeout", "500ms"]).await;
    let rounds = times(5);
    let round = async || {
        call_at_once(&arena, "/attacker/sleep?ms=3600000", AT_ONCE).await;
        call_without_body(&arena, AT_ONCE).await;
    };
    // As many as are measured: slots are kept, and how many are in use at once differs from round to round.
    for _ in 0..rounds {
        round().await;
    }
    let before = arena.platform.vitals();
    arena
        .endures("G2", async || {
            for _ in 0..rounds {
                round().await;
            }
            Ok(())
        })
        .await;
    let after = arena.settles("G2", before, before.resident_bytes / 20).await;
    let billed = billed_at_p99(&arena, "attacker", AT_ONCE).await;
    assert!((500..=500 + 2 * LATE_MS_MAX).contains(&billed.1), "billed {billed:?}");
    Arena::report(
        "G2",
        &format!(
            "{} waits for an hour or for a body that never comes, time limit 0.5 s",
            rounds * 2 * AT_ONCE
        ),
        &format!(
            "billed {} to {} ms (p99); held before: {before}, after: {after}",
            billed.0, billed.1
        ),
        "504; memory within 5 %",
    );
}

/// G3. Bulk instructions over half a GiB, between which the clock is looked at and within which it is not. What they have
/// filled is given back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_instructions() {
    let arena = Arena::open().await;
    let before = arena.platform.vitals();
    for name in ["fill-forever", "copy-forever"] {
        arena
            .deploy_wat(name, &["--memory", "512", "--timeout", "1s"])
            .await
            .ok();
        let billed = arena
            .endures("G3", async || {
                call_at_once(&arena, &format!("/{name}"), 3).await;
                let billed = billed_at_p99(&arena, name, 3).await;
                let late = format!("{name} was billed {billed:?} ms");
                (billed.2 <= LIMIT_MS + LATE_BULK_MS_MAX).then_some(billed).ok_or(late)
            })
            .await;
        Arena::report(
            "G3",
            &format!("{name}: 3 at once over 500 MiB, time limit 1 s"),
            &format!("billed {} to {} ms", billed.0, billed.2),
            "504; 1,000 to 1,300 ms",
        );
        let after = arena.settles("G3", before, LEFT_BYTES_MAX).await;
        let held = format!("held before: {before}, after: {after}");
        Arena::report(
            "G3",
            &format!("{name}: what it leaves"),
            &held,
            "64 MiB, 8 descriptors, 8 threads more",
        );
    }
}

/// G3 for those who share its threads: a function that is known to compute for long, too, and only waits now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_instructions_beside_their_like() {
    const WAITS: usize = 5;
    let arena = Arena::with_attacker(&["--timeout", "1s"]).await;
    let flags = ["--memory", "512", "--timeout", "3s"];
    arena.deploy_wat("fill-forever", &flags).await.ok();
    let slowest = arena
        .endures("G3", async || {
            call_at_once(&arena, "/attacker/spin", 1).await;
            let fills = call_at_once(&arena, "/fill-forever", 2);
            tokio::join!(slowest_wait(&arena, WAITS), fills).0
        })
        .await;
    Arena::report(
        "G3",
        &format!("2 fill-forever, and {WAITS} waits of 50 ms by a function that has computed for long before"),
        &format!("the slowest wait took {} ms", slowest.as_millis()),
        "200 within the time limit of 1 s",
    );
}

/// G16. Work after the answer: it is part of the call, so it is billed and ends at the time limit. There is no
/// `task.return` in WASI 0.2; the nearest to it is a guest that goes on after it has finished its body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_after_the_answer() {
    let arena = Arena::with_attacker(&["--timeout", "1s"]).await;
    let (seen, billed) = arena
        .endures("G16", async || {
            let began = Instant::now();
            let answer = arena
                .platform
                .request(Method::GET, "/attacker/answer-then-spin")
                .send()
                .await;
            // What it wrote may have come; that it was complete must not be said.
            let complete = answer.expect("the head comes").bytes().await;
            assert!(
                complete.is_err(),
                "an answer that never ended was passed off as whole: {complete:?}"
            );
            let seen = began.elapsed();
            let record = arena.records("attacker", 1).await.remove(0);
            assert_eq!(record["error_code"], "deadline_exceeded", "{record}");
            let billed = billed_ms(&record);
            assert!(billed >= LIMIT_MS, "{record}");
            let in_time = billed <= LIMIT_MS + LATE_MS_MAX && seen < Duration::from_millis(LIMIT_MS + 4 * LATE_MS_MAX);
            in_time
                .then_some((seen, billed))
                .ok_or(format!("billed {billed} ms, seen {seen:?}"))
        })
        .await;
    Arena::report(
        "G16",
        "an endless loop after the end of the answer, time limit 1 s",
        &format!("billed {billed} ms, connection cut after {} ms", seen.as_millis()),
        "billed 1,000 to 1,050 ms",
    );
}

/// Calls `path` `count` times at once; every call must end with 504, not before its time. Gives the p99 of the time that
/// the client waited, in milliseconds.
async fn call_at_once(arena: &Arena, path: &str, count: usize) -> u128 {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let request = arena.platform.request(Method::GET, path);
        calls.spawn(async move {
            let began = Instant::now();
            let answer = request.send().await.expect("it is answered");
            (answer.status().as_u16(), began.elapsed().as_millis())
        });
    }
    let mut ended = calls.join_all().await;
    ended.sort_unstable_by_key(|(_, ms)| *ms);
    for (status, _) in &ended {
        assert_eq!(*status, 504);
    }
    ended[(count * 99).div_ceil(100) - 1].1
}

/// Waits of 50 ms one after the other: how long the slowest one took, or which one did not end well.
async fn slowest_wait(arena: &Arena, count: usize) -> Result<Duration, String> {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        let wait = arena.platform.request(Method::POST, "/attacker/sleep?ms=50").send();
        let status = wait.await.expect("the server answers").status();
        let took = began.elapsed();
        if status != 200 {
            return Err(format!("a wait of 50 ms ended with {status} after {took:?}"));
        }
        slowest = slowest.max(took);
    }
    Ok(slowest)
}

/// Sends the head of requests and no body.
async fn call_without_body(arena: &Arena, count: usize) {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let never = Body::wrap_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let request = arena.platform.request(Method::POST, "/attacker/echo").body(never);
        calls.spawn(async move { request.send().await });
    }
    for ended in calls.join_all().await {
        // The guest has begun its answer, so that its end can only be a cut.
        let complete = ended.expect("the head comes").bytes().await;
        assert!(complete.is_err(), "{complete:?}");
    }
}

/// What the last `count` calls were billed: the least, p99, and the most, in milliseconds.
async fn billed_at_p99(arena: &Arena, function: &str, count: usize) -> (u64, u64, u64) {
    let mut billed: Vec<_> = arena
        .records(function, count)
        .await
        .iter()
        .take(count)
        .map(billed_ms)
        .collect();
    billed.sort_unstable();
    (billed[0], billed[(count * 99).div_ceil(100) - 1], billed[count - 1])
}

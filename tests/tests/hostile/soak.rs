//! A mixed load for a while: what the server holds must not climb.

use std::time::Duration;

use futures_util::future::join_all;
use mayfly_tests::Vitals;
use reqwest::Method;
use tokio::time::Instant;

use super::arena::Arena;

const MIB: u64 = 1 << 20;
/// Without another wish, in seconds.
const SECONDS: u64 = 20;
/// Callers at once.
const CALLERS: usize = 8;
/// What may come and go with the moment: pages of the allocator and of the database's cache, instances that are warm.
const CLIMB_BYTES_MAX: u64 = 32 * MIB;
/// Part of the time after which what is held should be what will be held.
const WARM_UP: u32 = 4;
/// In the long form one call in so many may be stopped at its time limit, because others need the machine.
const LATE_SHARE: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_load() {
    let arena = Arena::with_attacker(&["--timeout", "1s"]).await;
    arena.platform.deploy("word-count", &["--name", "command"]).await;
    arena.platform.deploy("misbehave-event", &["--name", "event"]).await;
    arena
        .platform
        .deploy("misbehave", &["--name", "fresh", "--isolation", "invocation"])
        .await;
    let time = Duration::from_secs(wished("SOAK_SECONDS", SECONDS));
    // Without the bystander: eight callers who never pause are all that two cores can bear.
    let (calls, late, warm, end) = soak(&arena, time).await;
    arena.is_alive("soak");
    let climbed = end.resident_bytes.saturating_sub(warm.resident_bytes);
    Arena::report(
        "soak",
        &format!(
            "{calls} calls of 4 functions in {} s, an eighth of them end badly, {late} were stopped at their limit",
            time.as_secs()
        ),
        &format!("held after a quarter of the time: {warm}, at the end: {end}"),
        "32 MiB, 8 descriptors, 8 threads more",
    );
    // The short form has the machine to itself.
    let late_max = if time > Duration::from_secs(SECONDS) {
        calls / LATE_SHARE
    } else {
        0
    };
    assert!(late <= late_max, "{late} of {calls} calls were stopped");
    assert!(climbed <= CLIMB_BYTES_MAX, "{} MiB more", climbed / MIB);
    assert!(end.descriptors <= warm.descriptors + 8, "{warm}; {end}");
    assert!(end.threads <= warm.threads + 8, "{warm}; {end}");
}

/// Calls for `time`; gives how many, how many of them were stopped although they should not, and what the server held after
/// a quarter of it and at the end.
async fn soak(arena: &Arena, time: Duration) -> (usize, usize, Vitals, Vitals) {
    let began = Instant::now();
    let pause = Duration::from_millis(wished("SOAK_PAUSE_MS", 0));
    let callers = (0..CALLERS).map(async |caller: usize| {
        let (mut calls, mut late) = (0, 0);
        while began.elapsed() < time {
            late += usize::from(is_late(arena, calls * CALLERS + caller).await);
            calls += 1;
            tokio::time::sleep(pause).await;
        }
        (calls, late)
    });
    let halfway = async {
        tokio::time::sleep(time / WARM_UP).await;
        arena.platform.vitals()
    };
    let (counts, warm) = tokio::join!(join_all(callers), halfway);
    let (calls, late): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
    (calls.iter().sum(), late.iter().sum(), warm, arena.platform.vitals())
}

/// Makes one call of many sorts, and tells whether it was stopped at its time limit although it should end in another way.
async fn is_late(arena: &Arena, number: usize) -> bool {
    let (path, body) = match number % 32 {
        0 => ("/attacker/trap", String::new()),
        1 => ("/attacker/memory?mib=4", String::new()),
        2 => ("/attacker/sleep?ms=3000", String::new()),
        3 => ("/attacker/bomb?what=field-lists&count=1000", String::new()),
        4 => ("/attacker/print?lines=500", String::new()),
        5 => ("/fresh/slow-body?chunks=3&ms=5", String::new()),
        6 => ("/attacker/flood", String::new()),
        7 => ("/nobody", String::new()),
        8..=12 => ("/command", "one two three ".repeat(number % 1000)),
        13..=16 => ("/event/echo", "{}".to_owned()),
        17..=20 => ("/fresh/echo", "x".repeat(50_000)),
        _ => ("/attacker/echo", "y".repeat(number % 5_000)),
    };
    let answer = arena.platform.request(Method::POST, path).body(body).send().await;
    if number % 32 == 6 {
        // Gone before its end, if it was not cut off before its head had left.
        return false;
    }
    let answer = answer.expect("the server answers");
    let status = answer.status().as_u16();
    let wanted: &[u16] = match number % 32 {
        0 | 3 => &[500],
        2 => &[504],
        7 => &[404],
        _ => &[200],
    };
    let late = !wanted.contains(&status);
    assert!(!late || status == 504, "{path}: {status}");
    // An answer that had begun is cut off.
    answer.bytes().await.is_err() || late
}

/// What the environment says about the load: how long it goes on, and how long each caller pauses between two calls.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says how long the run may take"
)]
fn wished(name: &str, usual: u64) -> u64 {
    let wished = std::env::var(name).ok().and_then(|value| value.parse().ok());
    wished.unwrap_or(usual)
}

//! G14, I5: what becomes of an instance after it died, and whom it may serve while it lives.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use mayfly_tests::http_client;
use reqwest::{Client, Method};

use super::arena::{Arena, times};

const AT_ONCE: usize = 16;

/// G14. A trap beside fifteen other calls of the same function. An instance serves one request at a time here, so there
/// is no store in which sixteen requests live together; the nearest is that no other call may break, and that the dead
/// instance is never met again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_among_others() {
    let arena = Arena::with_attacker(&["--isolation", "function"]).await;
    let (died, lived) = arena
        .endures("G14", async || {
            let (mut died, mut lived) = (HashSet::new(), 0);
            for _ in 0..times(10) {
                lived += call_and_trap(&arena, &mut died).await;
            }
            for _ in 0..AT_ONCE {
                let (identity, _) = identity(&arena, "ms=0").await;
                is_not_of_the_dead(&died, &identity);
            }
            Ok((died.len(), lived))
        })
        .await;
    Arena::report(
        "G14",
        &format!("{died} traps, each among {AT_ONCE} calls of one function"),
        &format!("{lived} others complete, 0 dead instances met again"),
        "0",
    );
}

/// Sixteen calls at once, one of which traps and is added to the dead; gives how many lived.
async fn call_and_trap(arena: &Arena, died: &mut HashSet<String>) -> usize {
    let calls = (0..AT_ONCE).map(async |number| {
        let trap = number == 7;
        (trap, identity(arena, &format!("ms=20&trap={}", u8::from(trap))).await)
    });
    let mut lived = 0;
    for (trap, (identity, complete)) in join_all(calls).await {
        assert_eq!(complete, !trap, "the other calls come to their end");
        is_not_of_the_dead(died, &identity);
        lived += usize::from(complete);
        if trap {
            died.insert(identity);
        }
    }
    lived
}

#[track_caller]
fn is_not_of_the_dead(died: &HashSet<String>, identity: &str) {
    assert!(
        !died.contains(identity),
        "an instance that trapped was used again: {identity}"
    );
}

/// The name of the instance that answered, and whether its answer was complete.
async fn identity(arena: &Arena, query: &str) -> (String, bool) {
    let answer = arena
        .platform
        .request(Method::GET, &format!("/attacker/identity?{query}"))
        .send()
        .await;
    let mut answer = answer.expect("the head comes");
    let mut text = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => text.extend_from_slice(&piece),
            ended => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let name = text.split(' ').next().unwrap_or_default().to_owned();
                assert_eq!(name.len(), 16, "{text:?}");
                return (name, ended.is_ok());
            }
        }
    }
}

/// I5. Functions and versions made of one and the same file, called at random: every instance gives the first key that it
/// was ever called with, which must be that of its own function and version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reuse_across_functions_and_versions() {
    const FUNCTIONS: usize = 6;
    const ROUNDS: usize = 4;
    let arena = Arena::open().await;
    let calls_each = times(1_000) / ROUNDS;
    let client = http_client();
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let mut warm = 0;
    for round in 0..ROUNDS {
        for number in 0..FUNCTIONS {
            let env = format!("ROUND={round}");
            arena
                .platform
                .deploy("misbehave", &["--name", &format!("f{number}"), "--env", &env])
                .await;
        }
        let targets: Vec<_> = (0..calls_each).map(|_| random(&mut seed) % FUNCTIONS).collect();
        warm += arena
            .endures("I5", async || {
                let calls = stream::iter(&targets).map(|number| first_key(&client, &arena, *number, round));
                let answers: Vec<_> = calls.buffer_unordered(24).collect().await;
                let mut warm = 0;
                for (wanted, answered, start) in answers {
                    assert_eq!(wanted, answered, "an instance of another function or version answered");
                    warm += usize::from(start == "warm");
                }
                Ok(warm)
            })
            .await;
    }
    assert!(warm > 0, "without reuse this shows nothing");
    Arena::report(
        "I5",
        &format!(
            "{} calls of {FUNCTIONS} functions in {ROUNDS} versions, all of one file",
            calls_each * ROUNDS
        ),
        &format!("0 answers of another's instance; {warm} were of warm ones"),
        "0",
    );
}

async fn first_key(client: &Client, arena: &Arena, number: usize, round: usize) -> (String, String, String) {
    let key = format!("f{number}-{round}");
    let url = format!("{}/f{number}/first-key?key={key}", arena.platform.functions);
    let answer = client.get(url).send().await.expect("the server answers");
    let start = answer.headers()["mayfly-start"].to_str().expect("a word").to_owned();
    (key, answer.text().await.expect("complete"), start)
}

/// Xorshift: the same calls in every run.
fn random(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    usize::try_from(*seed >> 33).expect("31 bits")
}

/// I7. Fresh instances of one image: what each draws first must never be the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn randomness_of_fresh_instances() {
    let arena = Arena::with_attacker(&["--isolation", "invocation"]).await;
    let count = times(1_000);
    let drawn = arena
        .endures("I7", async || {
            let calls = stream::iter(0..count).map(async |_| arena.platform.get("/attacker/random").await);
            let answers: Vec<_> = calls.buffer_unordered(16).collect().await;
            let mut drawn = HashMap::<String, usize>::new();
            for answer in answers {
                assert_eq!(answer.header("mayfly-start"), "cold");
                for word in answer.text().split(' ') {
                    *drawn.entry(word.to_owned()).or_default() += 1;
                }
            }
            Ok(drawn)
        })
        .await;
    let most = drawn.values().max().copied().unwrap_or_default();
    assert_eq!(
        (drawn.len(), most),
        (2 * count, 1),
        "random bytes and seeds of {count} instances"
    );
    Arena::report(
        "I7",
        &format!("first 16 random bytes and first seed of {count} cold starts"),
        &format!("{} values, all of them different", drawn.len()),
        "all different",
    );
}

//! S1: somebody who writes into the folder of native code.

use std::fs;
use std::path::PathBuf;

use mayfly_tests::Platform;

use super::arena::{Arena, times};

/// S1. Flipped bytes, entries that change places, entries that are cut or empty, while the server is down and while it
/// runs: every call is answered by the function that was called, from code that was made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoned_native_code() {
    let mut arena = Arena::with_attacker(&[]).await;
    arena.platform.deploy("order-total", &["--name", "other"]).await;
    answers_right(&arena.platform).await;
    let entries = entries(&arena.platform);
    assert_eq!(entries.len(), 3, "one of each artifact: {entries:?}");
    let whole: Vec<_> = entries.iter().map(|entry| fs::read(entry).expect("readable")).collect();

    // While it runs the code is in memory; what lies on disk is looked at by the next one who has to load it.
    let flips = times(15);
    let mut seed = 1_u64;
    arena
        .endures("S1", async || {
            for _ in 0..10 {
                flip(&entries, &whole, &mut seed);
                answers_right(&arena.platform).await;
            }
            Ok(())
        })
        .await;
    let mut refused = 0;
    for poison in 0..flips + 3 {
        arena.platform.kill().await;
        match poison {
            0 => swap(&entries, &whole),
            1 => entries
                .iter()
                .for_each(|entry| fs::write(entry, b"").expect("writable")),
            2 => entries
                .iter()
                .zip(&whole)
                .for_each(|(entry, whole)| fs::write(entry, &whole[..whole.len() - 1]).expect("writable")),
            _ => flip(&entries, &whole, &mut seed),
        }
        let before = not_authentic(&arena.platform);
        arena.platform.restart().await;
        answers_right(&arena.platform).await;
        let found = not_authentic(&arena.platform) - before;
        assert_eq!(found, entries.len(), "every bad entry was found and made again");
        refused += found;
        for (entry, whole) in entries.iter().zip(&whole) {
            assert_eq!(fs::read(entry).expect("readable").len(), whole.len(), "made again");
        }
    }
    let log = fs::read_to_string(arena.platform.dir().join("server.log")).expect("readable");
    assert!(!log.contains("panicked"), "{log}");
    Arena::report(
        "S1",
        &format!("{flips} flipped bytes in each of 3 entries, swapped, emptied and cut ones"),
        &format!(
            "{refused} of {} refused and made again, all calls answered by their own function",
            3 * (flips + 3)
        ),
        "all",
    );
}

async fn answers_right(platform: &Platform) {
    let bystander = platform.get("/bystander").await;
    assert!(bystander.status == 200 && !bystander.text().is_empty(), "{bystander:?}");
    let attacker = platform.get("/attacker/first-key?key=mine").await;
    assert_eq!(
        (attacker.status, attacker.text().as_str()),
        (200, "mine"),
        "{attacker:?}"
    );
    let order = r#"{"lines":[]}"#;
    platform.direct("other", order).await.is_problem(500, "function_failed");
}

fn entries(platform: &Platform) -> Vec<PathBuf> {
    let files = fs::read_dir(platform.dir().join("data/native")).expect("the folder of native code");
    let mut entries: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    entries.retain(|path| path.extension().is_some_and(|extension| extension == "code"));
    entries.sort();
    entries
}

/// One byte of each entry.
fn flip(entries: &[PathBuf], whole: &[Vec<u8>], seed: &mut u64) {
    for (entry, whole) in entries.iter().zip(whole) {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = usize::try_from(*seed >> 33).expect("31 bits");
        let mut bad = whole.clone();
        let at = random % bad.len();
        bad[at] ^= 1 << (random % 7);
        fs::write(entry, bad).expect("writable");
    }
}

/// Each entry, valid in itself, in the place of the next.
fn swap(entries: &[PathBuf], whole: &[Vec<u8>]) {
    for (number, entry) in entries.iter().enumerate() {
        fs::write(entry, &whole[(number + 1) % whole.len()]).expect("writable");
    }
}

/// Entries that the server has refused so far.
fn not_authentic(platform: &Platform) -> usize {
    let log = fs::read_to_string(platform.dir().join("server.log")).unwrap_or_default();
    log.matches("cache entry is not authentic").count()
}

//! I4: what one tenant's instance left in memory, tables and stack must not be found by the next tenant's.

use futures_util::{StreamExt, stream};
use mayfly_tests::repository;

use super::arena::{Arena, times};

/// Memory of the functions; each instance fills or reads all of it.
const MEMORY_MIB: usize = 16;
const AT_ONCE: usize = 8;

/// I4. The same file is deployed for both tenants, because a slot is given to the same code again by preference, and once
/// more with another name inside, so that slots change between images, too. Native stacks cannot be read by a guest; its
/// own stack, where a compiler keeps it in linear memory, is read with the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn residue_of_others() {
    let arena = Arena::open().await;
    let memory = MEMORY_MIB.to_string();
    let text = std::fs::read_to_string(repository().join("tests/hostile/residue.wat")).expect("readable");
    let same = wat::parse_str(&text).expect("valid text");
    let other = wat::parse_str(text.replace("(i32.const 10000)", "(i32.const 9999)")).expect("valid text");
    for (name, wasm) in [("tenant-a", &same), ("tenant-b", &same), ("tenant-c", &other)] {
        arena.deploy_bytes(name, wasm, &["--memory", &memory]).await.ok();
    }
    // That the counting counts: here the same instance fills and scans.
    let control = hits(&arena, "tenant-a", "both").await;
    assert!(
        control > u64::from(u16::MAX),
        "the scan finds what was filled in: {control}"
    );

    let instances = times(1_000);
    let rounds = 10;
    let found = arena
        .endures("I4", async || {
            let mut found = 0;
            for _ in 0..rounds {
                call(&arena, "tenant-a", "fill", 4 * AT_ONCE).await;
                found += call(&arena, "tenant-b", "scan", instances / rounds / 2).await;
                call(&arena, "tenant-a", "fill", 4 * AT_ONCE).await;
                found += call(&arena, "tenant-c", "scan", instances / rounds / 2).await;
            }
            Ok(found)
        })
        .await;
    assert_eq!(found, 0, "what tenant A left was found");
    Arena::report(
        "I4",
        &format!(
            "{instances} instances of others look through {MEMORY_MIB} MiB and 10,000 elements each after A filled all of its own"
        ),
        &format!("{found} hits (in A's own instance: {control})"),
        "0",
    );
}

/// The sum of what `count` instances found.
async fn call(arena: &Arena, function: &str, wish: &str, count: usize) -> u64 {
    let calls = stream::iter(0..count).map(|_| hits(arena, function, wish));
    calls.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.iter().sum()
}

async fn hits(arena: &Arena, function: &str, wish: &str) -> u64 {
    let answer = arena.platform.direct(function, wish).await;
    assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
    u64::from_str_radix(answer.text().trim(), 16).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

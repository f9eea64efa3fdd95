//! G15, and the same with traps: what thousands of calls that end badly leave behind.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::arena::{Arena, times};
use super::raw::address_of;

const MIB: u64 = 1 << 20;
/// What the second storm may leave that the first has not: a slot that was used keeps up to 1 MiB for its next instance,
/// and one storm has more instances at once than another.
const LEFT_BYTES_MAX: u64 = 64 * MIB;
/// Calls at once, to see that all places for instances are free again; more are refused in any state.
const PLACES: usize = 880;

/// G15. Clients that go away at any moment: before the answer, in the middle of it, in the middle of the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_calls() {
    let arena = Arena::with_attacker(&["--timeout", "20s"]).await;
    let count = times(1_000);
    cancel(&arena, count).await;
    let before = arena.platform.vitals();
    arena
        .endures("G15", async || {
            cancel(&arena, count).await;
            Ok(())
        })
        .await;
    left_behind(
        "G15",
        &arena,
        &format!("{count} calls that were cancelled after 0 to 20 ms"),
        before,
    )
    .await;
}

/// The same with calls that trap, at once, in the middle of an answer, and after they have taken memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trapped_calls() {
    let arena = Arena::with_attacker(&[]).await;
    let count = times(1_000);
    trap(&arena, count).await;
    let before = arena.platform.vitals();
    arena
        .endures("traps", async || {
            trap(&arena, count).await;
            Ok(())
        })
        .await;
    left_behind("traps", &arena, &format!("{count} calls that trapped"), before).await;
}

async fn left_behind(id: &str, arena: &Arena, tried: &str, before: mayfly_tests::Vitals) {
    let after = arena.settles(id, before, LEFT_BYTES_MAX).await;
    // An instance or a permit that leaked would be missing now.
    let calls = (0..PLACES).map(async |_| arena.platform.get("/attacker/sleep?ms=300").await.status);
    let answers = join_all(calls).await;
    let refused = answers.iter().filter(|status| **status != 200).count();
    assert_eq!(refused, 0, "{id}: places are missing");
    Arena::report(
        id,
        tried,
        &format!("held before: {before}, after: {after}; {PLACES} calls at once found a place"),
        "64 MiB, 8 descriptors, 8 threads more; 880 places",
    );
}

async fn cancel(arena: &Arena, count: usize) {
    const REQUESTS: [&str; 7] = [
        "GET /attacker/sleep?ms=15 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /attacker/flood HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /attacker/spin HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /attacker/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nthe beginning",
        "GET /attacker/slow-body?chunks=100&ms=3 HTTP/1.1\r\nhost: x\r\n\r\n",
        // Begins its answer, and does not look whether anybody is there for longer than all of this takes.
        "GET /attacker/slow-body?chunks=2&ms=18000 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /attacker/mem",
    ];
    let address = address_of(&arena.platform.functions);
    let clients = stream::iter(0..count).map(async |number| {
        let mut client = TcpStream::connect(address).await.expect("the server listens");
        client
            .write_all(REQUESTS[number % REQUESTS.len()].as_bytes())
            .await
            .expect("sent");
        // Spread over the whole span, in no order.
        sleep(Duration::from_micros((number as u64 * 7_919) % 20_000)).await;
        if number % 3 == 0 {
            let mut some = [0; 100];
            // It may have answered or not; the client goes away in either case.
            let _ = tokio::time::timeout(Duration::from_millis(2), client.read(&mut some)).await;
        }
    });
    clients.buffer_unordered(16).collect::<Vec<()>>().await;
}

async fn trap(arena: &Arena, count: usize) {
    const PATHS: [&str; 4] = [
        "/attacker/trap",
        "/attacker/panic-after-head",
        "/attacker/identity?trap=1",
        "/attacker/bomb?what=pollables&count=100000",
    ];
    let calls = stream::iter(0..count).map(async |number: usize| {
        let answer = arena
            .platform
            .request(reqwest::Method::GET, PATHS[number % PATHS.len()])
            .send()
            .await;
        // What the guest wrote before it trapped may have come, or nothing of it.
        let Ok(answer) = answer else { return };
        let status = answer.status();
        let complete = answer.bytes().await.is_ok();
        assert!(
            status == 500 || (status == 200 && !complete),
            "a trap passed for an answer: {status}"
        );
    });
    calls.buffer_unordered(16).collect::<Vec<()>>().await;
}

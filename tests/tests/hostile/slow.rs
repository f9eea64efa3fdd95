//! H6: clients that take their time.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::arena::Arena;
use super::raw::address_of;

/// Clients of each sort, if there are descriptors for them here.
const CLIENTS_EACH: u64 = 500;
/// Between two connections of one sort.
const CONNECT_PAUSE: Duration = Duration::from_millis(3);
/// How long the head of a request may take, in seconds; with what a busy machine adds.
const HEAD_SECONDS_MAX: u64 = 10;
const LATE_SECONDS_MAX: u64 = 5;

/// H6. Heads that come byte by byte, connections that say nothing, payloads that trickle, answers that nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients() {
    let arena = Arena::with_attacker(&["--timeout", "10s"]).await;
    arena.platform.deploy("word-count", &["--name", "command"]).await;
    let each = usize::try_from(CLIENTS_EACH.min(getrlimit(Resource::Nofile).current.unwrap_or(CLIENTS_EACH * 5) / 5))
        .expect("some hundreds");
    let address = address_of(&arena.platform.functions).to_owned();
    // The time of a call that is held by its client is its function's time limit: only http functions have begun by then.
    let ((heads, silent), grown) = arena
        .endures("H6", async || {
            let slow = async {
                let heads = join_all(
                    (0..each).map(|number| trickle(&address, number, "GET /attacker/count HTTP/1.1\r\nx: ", "y")),
                );
                let silent = join_all((0..each).map(|number| trickle(&address, number, "", "")));
                let prefaces =
                    join_all((0..each / 2).map(|number| trickle(&address, number, "PRI * HTTP/2.0\r\n\r\n", "")));
                let payloads = join_all((0..200).map(|number| {
                    trickle(
                        &address,
                        number,
                        "POST /command HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n",
                        "z",
                    )
                }));
                let heads = async { (heads.await, silent.await, prefaces.await) };
                // Payloads have half a minute; they are given up here when the others have ended.
                tokio::select! {
                    (heads, silent, prefaces) = heads => (heads, [silent, prefaces].concat()),
                    _ = async { payloads.await; std::future::pending::<()>().await } => unreachable!("it is pending"),
                }
            };
            Ok(arena.growth_during(slow).await)
        })
        .await;
    for (what, times) in [("byte by byte", &heads), ("silent", &silent)] {
        let slowest = times.iter().max().expect("some clients");
        assert!(
            slowest.as_secs() < HEAD_SECONDS_MAX + LATE_SECONDS_MAX,
            "{what}: a connection was held for {slowest:?}"
        );
        Arena::report(
            "H6",
            &format!("{} clients, {what}", times.len()),
            &format!(
                "all closed after {:.1} s at most; the server grew by {} MiB",
                slowest.as_secs_f64(),
                grown >> 20
            ),
            "15 s; 0 ms billed",
        );
    }
    let billed = [arena.records("attacker", 10).await, arena.records("command", 10).await].concat();
    assert!(billed.is_empty(), "nothing was started: {billed:?}");
}

/// Sends the beginning, then one piece every second and never the end; gives the time until the server closed.
async fn trickle(address: &str, number: usize, beginning: &str, piece: &str) -> Duration {
    // One after the other: of a thousand at once the kernel forgets some, and the server never hears of those.
    sleep(CONNECT_PAUSE * u32::try_from(number).expect("some hundreds")).await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let mut sent = stream.write_all(beginning.as_bytes()).await;
    let mut answer = [0; 1024];
    while sent.is_ok() {
        tokio::select! {
            read = stream.read(&mut answer) => match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            },
            () = sleep(Duration::from_secs(1)) => sent = stream.write_all(piece.as_bytes()).await,
        }
        if began.elapsed() > Duration::from_secs(60) {
            break;
        }
    }
    let _ = timeout(Duration::from_millis(10), stream.shutdown()).await;
    began.elapsed()
}

//! Instances that serve again, and those that do not: nobody pays for finding out.

use mayfly_tests::{Database, Platform, Reply, eventually, on_both_databases};
use reqwest::{Body, Method};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

on_both_databases!(
    a_failing_call_does_not_make_a_function_cold,
    streamed_calls_do_not_pile_up_instances,
);

async fn a_failing_call_does_not_make_a_function_cold(platform: &mut Platform) {
    for ending in ["trap", "no-response"] {
        let name = format!("after-{ending}");
        platform.deploy("misbehave", &["--name", &name]).await;
        let count = async || platform.get(&format!("/{name}/count")).await;
        assert_eq!(start_and_count(&count().await), ("cold".to_owned(), 1));
        // The very first reuse fails, and would have failed on a fresh instance, too.
        assert_ne!(platform.get(&format!("/{name}/{ending}")).await.status, 200);
        assert_eq!(start_and_count(&count().await), ("cold".to_owned(), 1));
        assert_eq!(start_and_count(&count().await), ("warm".to_owned(), 2));
        assert_eq!(start_and_count(&count().await), ("warm".to_owned(), 3));
        // The two tries of the failing call are one invocation.
        let records = platform.invocations(&name).await;
        assert_eq!(records.len(), 5, "{records:?}");
    }
}

fn start_and_count(reply: &Reply) -> (String, u32) {
    let count = reply.text().trim().parse().unwrap_or_else(|_| panic!("{reply:?}"));
    (reply.header("mayfly-start").to_owned(), count)
}

async fn streamed_calls_do_not_pile_up_instances(platform: &mut Platform) {
    const CALLS: u64 = 12;
    const MIB_EACH: u64 = 40;
    platform.deploy("misbehave", &["--name", "large"]).await;
    let before = platform.resident_bytes();
    for _ in 0..CALLS {
        // Its length is not known before its end, so it cannot be kept for a second try.
        let pieces = futures_util::stream::iter(["a", "b"].map(Ok::<_, std::io::Error>));
        let path = format!("/large/memory?mib={MIB_EACH}");
        let answer = platform.post(&path, Body::wrap_stream(pieces)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let grown = platform.resident_bytes().saturating_sub(before) >> 20;
    assert!(
        grown < CALLS * MIB_EACH / 2,
        "{grown} MiB more after {CALLS} calls one by one"
    );
}

/// Only once, because the server waits for half a minute before it gives such a client up.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let Some(platform) = Platform::start(Database::Sqlite).await else {
        return;
    };
    platform
        .deploy("misbehave", &["--name", "deaf", "--timeout", "1s"])
        .await;
    let address = platform.functions.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let head = "POST /deaf/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    // Sends for as long as it is let, never reads, and never hangs up.
    let client = tokio::spawn(async move {
        let piece = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while stream.write_all(&piece).await.is_ok() {}
        std::future::pending::<()>().await;
    });
    let record = eventually("a row for a call whose client is still there", async || {
        platform.invocations("deaf").await.pop()
    })
    .await;
    assert!(!client.is_finished());
    assert_eq!(record["status"], "error", "{record}");
    let other = platform.request(Method::GET, "/deaf/count").send().await;
    assert_eq!(other.expect("an answer").status(), 200);
}

//! H5: requests that are just small enough, and just too large.

use std::time::Duration;

use super::arena::Arena;
use super::raw::talk;

const PATIENCE: Duration = Duration::from_secs(3);
/// Header fields of a request at most.
const HEADERS_MAX: usize = 100;
/// Head of a request at most, in bytes; the server may read somewhat more of it than that.
const HEAD_BYTES_MAX: usize = 48 << 10;
const READ_MORE_BYTES_MAX: usize = 48 << 10;
/// Longest address of a request that the parser takes, in bytes.
const ADDRESS_BYTES_MAX: usize = 65_534;
/// Payload of an event function at most, in bytes.
const PAYLOAD_BYTES_MAX: usize = 6 << 20;

/// H5. What is one more than allowed is refused, what is as much as allowed is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversize_requests() {
    let arena = Arena::with_attacker(&[]).await;
    arena.platform.deploy("word-count", &["--name", "command"]).await;
    let lines = arena
        .endures("H5", async || {
            let lines = [headers(&arena).await, heads(&arena).await, addresses(&arena).await];
            Ok([lines.concat(), payloads(&arena).await, own_addresses(&arena).await].concat())
        })
        .await;
    for line in lines {
        let (what, status) = line.rsplit_once(": ").expect("what: status");
        Arena::report("H5", what, status, "n: taken, n + 1: 413, 414 or 431");
    }
}

async fn headers(arena: &Arena) -> Vec<String> {
    let mut lines = Vec::new();
    for (count, status) in [(HEADERS_MAX, 200), (HEADERS_MAX + 1, 431), (10 * HEADERS_MAX, 431)] {
        // One of them is `host`.
        let headers: String = (1..count).map(|number| format!("x-{number}: y\r\n")).collect();
        let request = format!("GET /attacker/count HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        lines.push(check(arena, &format!("{count} headers"), &request, &[status]).await);
    }
    lines
}

async fn heads(arena: &Arena) -> Vec<String> {
    const START: &str = "GET /attacker/count HTTP/1.1\r\nhost: x\r\nx: ";
    let mut lines = Vec::new();
    let sizes = [
        (HEAD_BYTES_MAX, 200),
        (HEAD_BYTES_MAX + READ_MORE_BYTES_MAX, 431),
        (1 << 20, 431),
    ];
    for (bytes, status) in sizes {
        let request = format!("{START}{}\r\n\r\n", "y".repeat(bytes - START.len() - 4));
        lines.push(check(arena, &format!("a head of {bytes} bytes"), &request, &[status]).await);
    }
    lines
}

async fn addresses(arena: &Arena) -> Vec<String> {
    const PATH: (&str, &str) = ("a path", "/attacker/nothing/");
    const QUERY: (&str, &str) = ("a query", "/attacker/count?");
    let mut lines = Vec::new();
    for (bytes, (what, start), statuses) in [
        (16 << 10, QUERY, &[200][..]),
        (40 << 10, QUERY, &[200]),
        (40 << 10, PATH, &[404]),
        (ADDRESS_BYTES_MAX + 1, QUERY, &[414, 431]),
        (ADDRESS_BYTES_MAX + 1, PATH, &[414, 431]),
        (1 << 20, QUERY, &[414, 431]),
        (1 << 20, PATH, &[414, 431]),
    ] {
        let request = format!(
            "GET {start}{} HTTP/1.1\r\nhost: x\r\n\r\n",
            "u".repeat(bytes - start.len())
        );
        lines.push(
            check(
                arena,
                &format!("an address of {bytes} bytes, {what}"),
                &request,
                statuses,
            )
            .await,
        );
    }
    lines
}

async fn payloads(arena: &Arena) -> Vec<String> {
    let mut lines = Vec::new();
    for (bytes, status) in [(PAYLOAD_BYTES_MAX, 200), (PAYLOAD_BYTES_MAX + 1, 413)] {
        let answer = arena.platform.direct("command", &"x".repeat(bytes)).await;
        assert_eq!(answer.status, status, "a payload of {bytes} bytes");
        lines.push(format!("a payload of {bytes} bytes: {status}"));
    }
    lines
}

/// Addresses that a guest makes itself, which go nowhere.
async fn own_addresses(arena: &Arena) -> Vec<String> {
    let mut lines = Vec::new();
    for (bytes, status) in [(1_000, 200), (1 << 20, 200), (30 << 20, 500)] {
        let answer = arena.platform.get(&format!("/attacker/make-url?bytes={bytes}")).await;
        let taken = match answer.status {
            200 => answer.text(),
            _ => "stopped".to_owned(),
        };
        assert_eq!(answer.status, status, "a guest's own address of {bytes} bytes: {taken}");
        lines.push(format!("a guest's own address of {bytes} bytes: {taken}"));
    }
    lines
}

/// Sends a request and checks the status; a refusal ends the connection.
async fn check(arena: &Arena, what: &str, request: &str, statuses: &[u16]) -> String {
    let talk = talk(&arena.platform.functions, request.as_bytes(), PATIENCE).await;
    let shown: String = talk.text.chars().take(300).collect();
    let found = talk.statuses();
    assert!(
        found.len() == 1 && statuses.contains(&found[0]),
        "{what}: wanted {statuses:?}: {shown}"
    );
    assert!(found[0] < 405 || talk.closed, "{what}: {shown}");
    format!("{what}: {}", found[0])
}

//! G12, G13: guests that say more than anybody wants to keep or to read.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::arena::{Arena, billed_ms, times};

const MIB: u64 = 1 << 20;
/// What may be written to disk for the output of one invocation, in bytes: what is kept, and whole pages of the database.
const DISK_BYTES_MAX: u64 = 400 << 10;
/// Output that is kept, in bytes.
const KEPT_BYTES_MAX: u64 = 256 << 10;
/// What the server may need for any of them, in bytes.
const SERVER_BYTES_MAX: u64 = 16 * MIB;

/// G12. Floods of output: in large writes, byte by byte, and of bytes that need more room when they are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_floods() {
    let arena = Arena::with_attacker(&["--timeout", "60s"]).await;
    let small = times(100_000) as u64;
    let large = times(100) as u64 * MIB;
    let floods = [
        ("in writes of 4,096", large, 4096, b'x'),
        ("one by one", small, 1, b'x'),
        ("one by one, as lines", small, 1, b'\n'),
        ("that are no UTF-8", large, 4096, 0xff),
        ("that JSON has to escape", large, 4096, 0x01),
    ];
    let figures = arena
        .endures("G12", async || {
            let mut figures = Vec::new();
            for (what, bytes, piece, byte) in floods {
                let values = flood_log(&arena, what, bytes, piece, byte).await;
                figures.push((format!("{bytes} bytes {what}"), values));
            }
            Ok(figures)
        })
        .await;
    Arena::report_all("G12", &figures, "256 KiB kept, 400 KiB on disk, all counted");
}

async fn flood_log(arena: &Arena, what: &str, bytes: u64, piece: u64, byte: u8) -> String {
    let path = format!("/attacker/bomb?what=log&count={bytes}&piece={piece}&byte={byte}");
    let cursor = end_of_log(arena).await;
    let before = disk_bytes(arena);
    let (answer, grown) = arena.growth_during(arena.platform.get(&path)).await;
    assert_eq!(answer.text(), bytes.to_string(), "{answer:?}");
    arena.records("attacker", 1).await;
    let written = disk_bytes(arena).saturating_sub(before);
    let Kept {
        text_bytes,
        characters,
        dropped,
    } = kept(arena, cursor, byte == b'\n').await;
    // Each character of a flood is one of its bytes, whatever it became.
    assert_eq!(characters + dropped, bytes, "{what}: every byte is kept or counted");
    assert!(text_bytes <= KEPT_BYTES_MAX, "{what}: {text_bytes} bytes kept");
    assert!(written <= DISK_BYTES_MAX, "{what}: {written} bytes on disk");
    assert!(grown <= SERVER_BYTES_MAX, "{what}: {grown} bytes more");
    format!(
        "{} KiB kept, {dropped} bytes said to be dropped, {} KiB on disk, the server grew by {} KiB",
        text_bytes >> 10,
        written >> 10,
        grown >> 10
    )
}

/// G13. An answer without an end, to a client that reads as fast as it can and to one that does not read at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_floods() {
    let arena = Arena::with_attacker(&["--timeout", "2s"]).await;
    arena.platform.get("/attacker/count").await;
    let (read, grown) = arena
        .endures("G13", async || {
            let reading = async {
                let answer = arena.platform.request(Method::GET, "/attacker/flood").send().await;
                let mut pieces = answer.expect("the head comes").bytes_stream();
                let mut read = 0;
                while let Some(Ok(piece)) = pieces.next().await {
                    read += piece.len() as u64;
                }
                read
            };
            Ok(arena.growth_during(reading).await)
        })
        .await;
    let billed = billed_ms(&arena.records("attacker", 1).await[0]);
    assert!(grown <= SERVER_BYTES_MAX, "{grown} bytes more");
    Arena::report(
        "G13",
        "an endless answer, time limit 2 s",
        &format!(
            "cut off after {billed} ms and {} MiB; the server grew by {} KiB",
            read / MIB,
            grown >> 10
        ),
        "the time limit; 16 MiB",
    );

    let (took, grown) = arena
        .endures("G13", async || {
            let deaf = async {
                let address = arena.platform.functions.strip_prefix("http://").expect("plain HTTP");
                let mut clients = Vec::new();
                for _ in 0..50 {
                    let mut client = TcpStream::connect(address).await.expect("the server listens");
                    client
                        .write_all(b"GET /attacker/flood HTTP/1.1\r\nhost: x\r\n\r\n")
                        .await
                        .expect("sent");
                    clients.push(client);
                }
                let began = Instant::now();
                tokio::time::sleep(Duration::from_secs(3)).await;
                drop(clients);
                began.elapsed()
            };
            Ok(arena.growth_during(deaf).await)
        })
        .await;
    // Of each: one piece that the guest writes, one in the channel, one in the connection, and the guest's own pages.
    assert!(grown <= 50 * MIB, "{grown} bytes more");
    Arena::report(
        "G13",
        "50 endless answers to clients that do not read",
        &format!("after {} s the server had grown by {} MiB", took.as_secs(), grown / MIB),
        "50 MiB: 1 MiB each",
    );

    let answer = arena.platform.get("/attacker/bomb?what=appends&count=100000").await;
    let problem = answer.is_problem(500, "function_trapped");
    Arena::report(
        "G13",
        "100,000 headers",
        &problem["detail"].to_string(),
        "32 KiB: a trap",
    );
}

/// Where the output of later calls begins.
async fn end_of_log(arena: &Arena) -> String {
    let page = arena
        .platform
        .api_get("/v1/ns/default/functions/attacker/logs?limit=1")
        .await
        .json();
    page["next"].as_str().expect("there is always a cursor").to_owned()
}

/// What was kept of a flood.
#[derive(Default)]
struct Kept {
    text_bytes: u64,
    characters: u64,
    /// Bytes that the last line says were dropped.
    dropped: u64,
}

/// The output after `cursor`. The API leaves out the line feeds at the ends of lines.
async fn kept(arena: &Arena, mut cursor: String, line_feeds: bool) -> Kept {
    let mut kept = Kept::default();
    loop {
        let path = format!("/v1/ns/default/functions/attacker/logs?limit=1000&after={cursor}");
        let page = arena.platform.api_get(&path).await.json();
        let entries = page["entries"].as_array().expect("a page has entries");
        if entries.is_empty() {
            return kept;
        }
        for entry in entries {
            let text = entry["text"].as_str().expect("a text");
            let marked = text.strip_prefix("[mayfly] ").and_then(|rest| rest.split(' ').next());
            match marked.and_then(|number| number.parse::<u64>().ok()) {
                Some(number) => kept.dropped += number,
                None => {
                    kept.text_bytes += text.len() as u64 + u64::from(line_feeds);
                    kept.characters += text.chars().count() as u64 + u64::from(line_feeds);
                }
            }
        }
        cursor = page["next"].as_str().expect("there is always a cursor").to_owned();
    }
}

/// All that the server keeps on disk.
fn disk_bytes(arena: &Arena) -> u64 {
    let mut bytes = 0;
    let mut open = vec![arena.platform.dir().join("data")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(entry_is) if entry_is.is_dir() => open.push(entry.path()),
                Ok(file) => bytes += file.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

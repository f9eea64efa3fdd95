//! How much one call may send and receive, for how long, and what is left of it afterwards: nothing.

use std::time::{Duration, Instant};

use mayfly_tests::{Answer, Platform, Upstream, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{carry_out, deploy, error_of, fetch, log, open_platform};

const MIB: usize = 1 << 20;
const MS: u64 = 1_000_000;

async fn is_left_alone(upstream: &Upstream) {
    eventually("the connections to end", async || (upstream.open() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_and_not_one_more_in_each_call() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::ok("")).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let plan = json!({ "requests": vec![json!({ "authority": authority }); 53] });
    for call in 1..=3 {
        let results = carry_out(&platform, &plan).await;
        let answered = results.iter().take_while(|result| result["status"] == 200).count();
        let refused = results
            .iter()
            .filter(|it| error_of(it) == "ErrorCode::HttpRequestDenied")
            .count();
        assert_eq!((answered, refused), (50, 3), "call {call}");
        assert_eq!(
            upstream.opened(),
            50 * call,
            "the instance is the same, the count begins anew"
        );
    }
    assert_eq!(
        log(&platform).await.matches("may send 50").count(),
        3,
        "one line in each call"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_connections_at_once_and_the_others_wait() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::Held(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let plan = json!({ "requests": vec![json!({ "authority": authority }); 15], "at_once": true });
    let (results, ()) = tokio::join!(carry_out(&platform, &plan), async {
        eventually("six connections", async || (upstream.opened() == 6).then_some(())).await;
        upstream.release();
    });
    assert!(results.iter().all(|result| result["status"] == 204), "{results:?}");
    assert_eq!((upstream.most_open(), upstream.opened()), (6, 15));

    // Who does not want to wait is told.
    let upstream = Upstream::start(|_| Answer::Stall(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let request = json!({ "authority": authority, "connect_ns": 300 * MS, "between_bytes_ns": 2_000 * MS });
    let results = carry_out(&platform, &json!({ "requests": vec![request; 7], "at_once": true })).await;
    let errors: Vec<_> = results.iter().map(error_of).collect();
    let count = |code: &str| errors.iter().filter(|error| **error == code).count();
    assert_eq!(count("ErrorCode::ConnectionLimitReached"), 1, "{errors:?}");
    assert_eq!(count("connection read timeout"), 6, "{errors:?}");
    assert_eq!(upstream.opened(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_is_the_functions_and_ends_with_it() {
    let platform = open_platform().await;
    let silent = Upstream::start(|_| Answer::Stall(Vec::new())).await;
    let stalls =
        Upstream::start(|_| Answer::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegin".to_vec())).await;
    let closed = Upstream::start(|_| Answer::Bytes(Vec::new())).await;
    let short = Upstream::start(|_| Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegin".to_vec())).await;
    let [silence, stall, close, cut] = [&silent, &stalls, &closed, &short].map(|it| it.address.to_string());
    let nobody = "127.0.0.1:1".to_owned();
    deploy(
        &platform,
        &[&silence, &stall, &close, &cut, &nobody],
        &["--timeout", "10s"],
    )
    .await;
    for (request, error) in [
        (
            json!({ "authority": silence, "first_byte_ns": 100 * MS }),
            "ErrorCode::ConnectionReadTimeout",
        ),
        (
            json!({ "authority": stall, "between_bytes_ns": 100 * MS }),
            "connection read timeout",
        ),
        (json!({ "authority": close }), "ErrorCode::ConnectionTerminated"),
        (json!({ "authority": cut }), "incomplete HTTP response"),
        (json!({ "authority": nobody }), "ErrorCode::ConnectionRefused"),
        (
            json!({ "authority": silence, "first_byte_ns": 0 }),
            "ErrorCode::ConnectionReadTimeout",
        ),
        (
            json!({ "authority": stall, "between_bytes_ns": 0 }),
            "connection read timeout",
        ),
        (
            json!({ "authority": stall, "between_bytes_ns": 1, "first_byte_ns": u64::MAX, "connect_ns": u64::MAX }),
            "connection read timeout",
        ),
    ] {
        let began = Instant::now();
        let result = fetch(&platform, request.clone()).await;
        assert_eq!(error_of(&result), error, "{request}: {result}");
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{request} took {:?}",
            began.elapsed()
        );
    }
    // No time at all to connect: whether that is enough is the machine's business, a panic would be ours.
    let result = fetch(&platform, json!({ "authority": cut, "connect_ns": 0 })).await;
    assert!(
        result["status"] == 200 || error_of(&result).starts_with("ErrorCode::Connection"),
        "{result}"
    );

    deploy(&platform, &[], &["--timeout", "700ms"]).await;
    let plan = json!({ "requests": [{ "authority": silence, "first_byte_ns": u64::MAX }] });
    platform
        .post("/fetch/", plan.to_string())
        .await
        .is_problem(504, "deadline_exceeded");
    for upstream in [&silent, &stalls, &closed, &short] {
        is_left_alone(upstream).await;
    }
}

/// Of the instance that is kept, of a call that was cut off, of a client that went away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_outlives_its_call() {
    let platform = open_platform().await;
    let endless = || Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 64 << 10]);
    let upstream = Upstream::start(move |_| endless()).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let plan = json!({ "requests": vec![json!({ "authority": authority }); 5], "leave": true });
    for call in 1..=2 {
        let answer = platform.post("/fetch/", plan.to_string()).await;
        assert_eq!(answer.header("mayfly-start"), if call == 1 { "cold" } else { "warm" });
        assert_eq!(answer.json(), json!(vec![json!({ "status": 200 }); 5]));
        is_left_alone(&upstream).await;
    }
    let plan = json!({ "requests": [{ "authority": authority }] });
    let request = platform
        .request(reqwest::Method::POST, "/fetch/stream")
        .body(plan.to_string());
    let mut streaming = request.send().await.expect("the server answers");
    assert!(streaming.chunk().await.expect("a stream").is_some());
    assert_eq!(upstream.open(), 1);
    drop(streaming);
    is_left_alone(&upstream).await;
}

/// One answer of a hostile upstream; gives what came of it and how much memory the server took meanwhile.
async fn hostile(platform: &Platform, answer: Answer) -> (Value, u64) {
    let upstream = Upstream::start(move |_| answer.clone()).await;
    let authority = upstream.address.to_string();
    deploy(platform, &[&authority], &[]).await;
    // Once before, so that only what a second call adds is seen.
    fetch(platform, json!({ "authority": authority })).await;
    let before = platform.resident_bytes();
    let result = fetch(platform, json!({ "authority": authority })).await;
    is_left_alone(&upstream).await;
    (result, platform.resident_bytes().saturating_sub(before))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_upstream_meets_bounds() {
    let platform = open_platform().await;
    let fields = |count: usize| "x-filler: 1\r\n".repeat(count);
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n").into_bytes();
    let field_of = |bytes: usize| format!("x-filler: {}\r\n", "x".repeat(bytes));
    let too_much_head = "ErrorCode::HttpResponseHeaderSectionSize(None)";
    let too_much_body = format!("HTTP response body size exceeds limit: {} bytes", 64 * MIB);
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).into_bytes();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for (what, answer, error) in [
        ("as many fields as may be", Answer::Bytes(head(&fields(99))), ""),
        ("one field more", Answer::Bytes(head(&fields(100))), too_much_head),
        ("a large field", Answer::Bytes(head(&field_of(20 << 10))), ""),
        (
            "a field that is too large",
            Answer::Bytes(head(&field_of(40 << 10))),
            too_much_head,
        ),
        (
            "an endless field",
            Answer::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 4096]),
            too_much_head,
        ),
        (
            "endless fields",
            Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), fields(100).into_bytes()),
            too_much_head,
        ),
        (
            "an endless body",
            Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![0; 64 << 10]),
            &too_much_body,
        ),
        (
            "an endless body in chunks",
            Answer::Endless(chunked, chunk),
            &too_much_body,
        ),
        (
            "a protocol of its own",
            Answer::Bytes(b"SSH-2.0-x\r\n\r\n".to_vec()),
            "ErrorCode::HttpProtocolError",
        ),
        (
            "another protocol",
            Answer::Bytes(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_vec()),
            "ErrorCode::HttpUpgradeFailed",
        ),
    ] {
        let (result, taken) = hostile(&platform, answer).await;
        assert_eq!(error_of(&result), error, "{what}");
        assert!(taken < 8 * MIB as u64, "{what} took {taken} bytes");
        if error == too_much_body {
            let came = result["bytes"].as_u64().unwrap_or(0);
            assert!((63 * MIB as u64..=64 * MIB as u64).contains(&came), "{what}: {came}");
        }
    }
    // What is announced to be too long is not even begun.
    let length = 64 * MIB + 1;
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let (result, _) = hostile(&platform, Answer::Stall(announced)).await;
    assert_eq!(
        error_of(&result),
        format!("ErrorCode::HttpResponseBodySize(Some({length}))"),
        "{result}"
    );
    // What is packed stays packed.
    let packed = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nbomb".to_vec();
    let (result, _) = hostile(&platform, Answer::Bytes(packed)).await;
    assert_eq!((&result["body"], error_of(&result)), (&json!("bomb"), ""), "{result}");
    assert!(result["headers"].to_string().contains("gzip"), "{result}");
}

/// Reads requests in chunks and forgets them, so that large ones cost nothing here. Gives its address.
async fn drain() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut end, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
            while !end.ends_with(b"\r\n0\r\n\r\n") {
                let Ok(read @ 1..) = stream.read(&mut buffer).await else {
                    break;
                };
                end.extend(&buffer[..read]);
                end.drain(..end.len().saturating_sub(16));
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
        }
    });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_not_too_large() {
    let platform = open_platform().await;
    let authority = drain().await;
    deploy(&platform, &[&authority], &["--timeout", "60s"]).await;
    let request = |times: usize| {
        let body = "x".repeat(64 << 10);
        json!({ "method": "POST", "authority": authority, "body": body, "body_times": times })
    };
    let most = fetch(&platform, request(1024)).await;
    assert_eq!(most["status"], 204, "{most}");
    let more = fetch(&platform, request(1025)).await;
    let error = format!("ErrorCode::HttpRequestBodySize(Some({}))", 64 * MIB);
    assert_eq!(error_of(&more), error, "{more}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_not_too_long() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::ok("")).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let most = fetch(&platform, json!({ "authority": authority, "path": path(16 << 10) })).await;
    assert_eq!(most["status"], 200, "{most}");
    let more = fetch(
        &platform,
        json!({ "authority": authority, "path": path((16 << 10) + 1) }),
    )
    .await;
    assert_eq!(error_of(&more), "ErrorCode::HttpRequestUriTooLong", "{more}");
    assert_eq!(upstream.opened(), 1);
}

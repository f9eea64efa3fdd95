//! Functions of WASI 0.3, which a server takes when it is told to.
//!
//! Only on SQLite: nothing here depends on the database.

use std::time::{Duration, Instant};

use futures_util::stream;
use mayfly_tests::{Database, Platform, ServeWith};
use reqwest::{Body, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The limit of the functions that misbehave.
const LIMIT: Duration = Duration::from_secs(1);
/// How much later than that they may be stopped, with others at work on this machine.
const LATE_MAX: Duration = Duration::from_secs(2);
const LARGE_BYTES: usize = 10 << 20;

async fn with_preview() -> Platform {
    let serve_with = ServeWith {
        args: vec!["--wasi-0-3".to_owned()],
        ..ServeWith::default()
    };
    let started = Platform::start_with(Database::Sqlite, serve_with).await;
    started.expect("SQLite is always there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_not_told_says_what_to_do() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    let file = mayfly_tests::guest("preview");
    let refused = platform.fn_(&["deploy", &file.to_string_lossy(), "--json"]).await;
    refused.failed(1, "no_usable_export");
    assert!(refused.stderr.contains("--wasi-0-3"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_called_as_others_are() {
    let platform = with_preview().await;
    assert_eq!(platform.deploy("preview", &[]).await["kind"], "http");
    let all_bytes: Vec<u8> = (0..=255).cycle().take(LARGE_BYTES).collect();
    for (method, body) in [("GET", Vec::new()), ("PUT", all_bytes), ("BREW", b"coffee".to_vec())] {
        let request = platform
            .request(method.parse().expect("a method"), "/preview/a%20b?x=1&x=%26")
            .header("x-twice", "1")
            .header("x-twice", "2");
        let answer = request.body(body.clone()).send().await.expect("it answers");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-method"], method);
        assert_eq!(answer.headers()["x-target"], "/a%20b?x=1&x=%26");
        let twice: Vec<_> = answer.headers().get_all("x-twice").iter().collect();
        assert_eq!(twice, ["1", "2"]);
        assert!(answer.bytes().await.expect("it is whole") == body, "{method}");
    }
    // One after the other they share an instance, and guests of 0.2 are beside it.
    let count = async || {
        let answer = platform.get("/preview/count").await;
        assert_eq!(answer.header("mayfly-start"), "warm");
        answer.text().parse::<u32>().expect("a number")
    };
    let first = count().await;
    assert_eq!((count().await, count().await), (first + 1, first + 2));
    platform.deploy("hello-http", &[]).await;
    assert_eq!(platform.get("/hello-http").await.status, 200);
    let records = platform.invocations("preview").await;
    assert_eq!(records.len(), 6, "{records:?}");
    assert!(records.iter().all(|record| record["http_status"] == 200), "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_flows_while_the_request_does() {
    answer_flows("/preview/").await;
}

/// The guest has long ended then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_flows_too() {
    answer_flows("/preview/pass-on").await;
}

async fn answer_flows(path: &str) {
    let platform = with_preview().await;
    platform.deploy("preview", &[]).await;
    let (sender, receiver) = mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let request = platform.request(Method::POST, path).body(Body::wrap_stream(body));
    let mut answer = request.send().await.expect("the head comes before the body is sent");
    for piece in ["one", "two", "three"] {
        sender.send(Ok(piece)).await.expect("the request goes on");
        // Only when it has come back does the next one go.
        assert_eq!(answer.chunk().await.expect("it goes on").expect("a piece"), piece);
    }
    drop(sender);
    assert_eq!(answer.chunk().await.expect("it ends well"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_come_and_go() {
    let platform = with_preview().await;
    platform.deploy("preview", &[]).await;
    let address = platform.functions.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let request = "POST /preview/ HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: x-sum\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 294\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("3\r\nabc\r\n0\r\nx-sum: 294\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_held_as_others_are() {
    let platform = with_preview().await;
    let limit = format!("{}ms", LIMIT.as_millis());
    platform
        .deploy("preview", &["--timeout", &limit, "--memory", "64"])
        .await;
    for (path, status, code) in [
        ("trap", 500, "function_trapped"),
        ("fail", 500, "function_failed"),
        ("hoard", 500, "memory_exceeded"),
        ("sleep", 504, "deadline_exceeded"),
        ("spin", 504, "deadline_exceeded"),
    ] {
        let began = Instant::now();
        let answer = platform.get(&format!("/preview/{path}")).await;
        answer.is_problem(status, code);
        assert!(began.elapsed() < LIMIT + LATE_MAX, "{path}: {:?}", began.elapsed());
        // An instance that ended badly serves nobody else.
        let after = platform.get("/preview/count").await;
        assert_eq!((after.status, after.text().as_str()), (200, "1"), "{path}: {after:?}");
    }
    // What goes on after the answer is part of the call: it is stopped, and the answer does not end well.
    let answer = platform.request(Method::GET, "/preview/spin-after-answer").send().await;
    let answer = answer.expect("there is a head");
    let (status, whole) = (answer.status(), answer.bytes().await);
    assert!(
        status == 504 || whole.is_err(),
        "an answer that never ended was passed off as whole: {whole:?}"
    );
    let records = platform.invocations("preview").await;
    assert_eq!(records[0]["error_code"], "deadline_exceeded", "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_data_is_served_without_the_preview() {
    let mut platform = with_preview().await;
    platform.deploy("preview", &[]).await;
    platform.deploy("hello-http", &[]).await;
    platform.kill().await;
    platform.restart_with(ServeWith::default()).await;
    assert_eq!(platform.get("/hello-http").await.status, 200);
    let answer = platform.get("/preview/").await;
    answer.is_problem(500, "artifact_unavailable");
    assert!(answer.text().contains("--wasi-0-3"), "{answer:?}");
}

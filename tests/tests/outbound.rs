//! Requests that functions send: to hosts on their lists and to nobody else, with bounds, over connections that end with
//! the call. Attacks are in `outbound/attacks.rs`, bounds in `outbound/bounds.rs`.

mod attacks;
mod bounds;
mod tls;

use mayfly_tests::{Answer, Database, Platform, ServeWith, Upstream, guest, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    what_is_allowed_is_a_setting_of_the_version,
    lists_that_could_be_misread_are_refused,
);

/// A server whose operator has opened the addresses of the machine itself, where the tests' upstreams are.
async fn open_platform() -> Platform {
    platform_with(&["--allow-private-network", "127.0.0.0/8"]).await
}

async fn platform_with(args: &[&str]) -> Platform {
    let with = ServeWith {
        args: args.iter().map(|it| (*it).to_owned()).collect(),
        ..ServeWith::default()
    };
    let platform = Platform::start_with(Database::Sqlite, with).await;
    platform.expect("SQLite is always there")
}

/// Deploys the guest that sends requests, which may send them to these hosts.
async fn deploy(platform: &Platform, hosts: &[&str], more: &[&str]) {
    let mut flags = vec!["--name", "fetch"];
    for host in hosts {
        flags.extend(["--allow-host", host]);
    }
    flags.extend(more);
    platform.deploy("fetch", &flags).await;
}

/// Has the guest carry out a plan; gives what came of each request.
async fn carry_out(platform: &Platform, plan: &Value) -> Vec<Value> {
    let answer = platform.post("/fetch/", plan.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().as_array().expect("a list").clone()
}

/// Has the guest send one request.
async fn fetch(platform: &Platform, request: Value) -> Value {
    let mut results = carry_out(platform, &json!({ "requests": [request] })).await;
    results.pop().expect("one result")
}

fn error_of(result: &Value) -> &str {
    result["error"].as_str().unwrap_or_default()
}

/// Everything that the guest's calls have logged.
async fn log(platform: &Platform) -> String {
    platform.fn_(&["logs", "fetch"]).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_calls_a_host_that_it_may_call() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|request| {
        if request.starts_with("GET ") {
            return Answer::ok("hello from upstream");
        }
        let body = r#"{"sum":3}"#;
        let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        Answer::Bytes(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes())
    })
    .await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;

    let answer = fetch(&platform, json!({ "authority": authority, "path": "/a?b=c" })).await;
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(200), &json!("hello from upstream"))
    );
    assert_eq!(answer["error"], Value::Null, "{answer}");
    let sent = upstream.take_requests();
    assert!(sent[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{sent:?}");
    assert!(sent[0].contains(&format!("\r\nhost: {authority}\r\n")), "{sent:?}");

    let post = json!({
        "method": "POST", "authority": authority, "path": "/sums", "body": r#"{"of":[1,2]}"#,
        "headers": [["content-type", "application/json"], ["authorization", "Bearer secret"], ["content-length", "12"]],
    });
    let answer = fetch(&platform, post).await;
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(201), &json!(r#"{"sum":3}"#))
    );
    assert!(answer["headers"].to_string().contains("application/json"), "{answer}");
    let sent = upstream.take_requests();
    assert!(sent[0].ends_with("\r\n\r\n{\"of\":[1,2]}"), "{sent:?}");
    assert!(sent[0].contains("\r\nauthorization: Bearer secret\r\n"), "{sent:?}");

    // Without a length, the body comes in chunks.
    let large = "x".repeat(300_000);
    let answer = fetch(
        &platform,
        json!({ "method": "POST", "authority": authority, "body": large }),
    )
    .await;
    assert_eq!(answer["status"], 201);
    let sent = upstream.take_requests();
    let letters = sent[0]
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.matches('x').count());
    assert_eq!(letters, Some(300_000));
    assert_eq!(log(&platform).await, "", "what is allowed is not worth a line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_streams_through_the_function() {
    const PIECE: &[u8] = b"0123456789abcdef";
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.extend(PIECE.repeat(100_000));
        Answer::Bytes(bytes)
    })
    .await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    let plan = json!({ "requests": [{ "authority": authority }] });
    let answer = platform.post("/fetch/stream", plan.to_string()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == PIECE.repeat(100_000), "{} bytes came", answer.body.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_may_be_called_unless_it_is_said() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::ok("reached")).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[], &[]).await;
    let request = json!({ "authority": authority });
    for result in carry_out(&platform, &json!({ "requests": vec![&request; 20] })).await {
        assert_eq!(error_of(&result), "ErrorCode::HttpRequestDenied", "{result}");
    }
    let logged = log(&platform).await;
    assert_eq!(logged.matches("outbound request to").count(), 1, "{logged}");
    assert!(
        logged.contains(&format!("fn deploy --allow-host {authority}")),
        "{logged}"
    );

    // Another host than the one that is meant, in many ways.
    let port = upstream.address.port();
    let (other, below) = (format!("127.0.0.1:{}", port ^ 1), format!("*.127.0.0.1.example:{port}"));
    deploy(&platform, &["127.0.0.1", "localhost", &other, &below], &[]).await;
    assert_eq!(
        error_of(&fetch(&platform, request.clone()).await),
        "ErrorCode::HttpRequestDenied"
    );
    assert_eq!(upstream.opened(), 0);
    deploy(&platform, &[&authority], &[]).await;
    assert_eq!(fetch(&platform, request.clone()).await["body"], "reached");
    let many: Vec<_> = (1..=30)
        .map(|number| json!({ "authority": format!("host-{number}.example") }))
        .collect();
    carry_out(&platform, &json!({ "requests": many })).await;
    let logged = log(&platform).await;
    assert_eq!(logged.matches(".example:443 refused").count(), 0, "{logged}");
    assert_eq!(
        logged.matches(".example:80 refused").count(),
        8,
        "the lines are bounded: {logged}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anywhere_is_anywhere_public() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::ok("reached")).await;
    let port = upstream.address.port();
    deploy(&platform, &[&format!("*:{port}")], &[]).await;
    let request = json!({ "authority": upstream.address.to_string() });
    let result = fetch(&platform, request.clone()).await;
    assert_eq!(error_of(&result), "ErrorCode::DestinationIpProhibited", "{result}");
    assert_eq!(upstream.opened(), 0);
    assert!(log(&platform).await.contains("--allow-private-network"));
    // By its name it is.
    deploy(&platform, &[&upstream.address.to_string()], &[]).await;
    assert_eq!(fetch(&platform, request).await["body"], "reached");
}

/// A failed reuse is run again on a fresh instance, but not when that would send something twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_not_sent_again() {
    let platform = open_platform().await;
    let upstream = Upstream::start(|_| Answer::ok("once")).await;
    let authority = upstream.address.to_string();
    deploy(&platform, &[&authority], &[]).await;
    assert_eq!(fetch(&platform, json!({ "authority": authority })).await["status"], 200);
    let plan = json!({ "requests": [{ "authority": authority, "method": "POST", "body": "pay" }], "trap": true });
    let failed = platform.post("/fetch/", plan.to_string()).await;
    failed.is_problem(500, "function_trapped");
    assert_eq!(failed.header("mayfly-start"), "warm");
    assert_eq!(upstream.take_requests().len(), 2);
}

async fn what_is_allowed_is_a_setting_of_the_version(platform: &mut Platform) {
    let hosts = async |platform: &Platform| {
        let described = platform.fn_(&["describe", "fetch", "--json"]).await.json();
        described["config"]["allow_hosts"].clone()
    };
    deploy(platform, &[], &[]).await;
    assert_eq!(hosts(platform).await, json!([]));
    deploy(
        platform,
        &["API.Example.com.", "*.example.org:8443", "[::ffff:192.0.2.1]"],
        &[],
    )
    .await;
    let expected = json!(["*.example.org:8443", "192.0.2.1", "api.example.com"]);
    assert_eq!(hosts(platform).await, expected);
    deploy(platform, &[], &["--timeout", "5s"]).await;
    assert_eq!(hosts(platform).await, expected, "it stays when it is not named");
    let same = platform
        .deploy("fetch", &["--name", "fetch", "--allow-host", "api.EXAMPLE.com"])
        .await;
    assert_eq!(same["changed"], false, "{same}");
    let text = platform.fn_(&["describe", "fetch"]).await.ok();
    assert!(
        text.contains("*.example.org:8443") && text.contains("192.0.2.1"),
        "{text}"
    );
    deploy(platform, &["b.example"], &["--no-allow-hosts"]).await;
    assert_eq!(hosts(platform).await, json!(["b.example"]));
    deploy(platform, &[], &["--no-allow-hosts"]).await;
    assert_eq!(hosts(platform).await, json!([]));
    let text = platform.fn_(&["describe", "fetch"]).await.ok();
    assert!(text.contains("no host"), "{text}");
}

async fn lists_that_could_be_misread_are_refused(platform: &mut Platform) {
    let digest = platform.deploy("fetch", &[]).await["digest"].clone();
    let long = format!("{}.example", "a".repeat(250));
    for host in [
        "",
        "https://example.com",
        "example.com/x",
        "user@example.com",
        "example.com:0",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "::1",
        "[fe80::1%eth0]",
        "bücher.example",
        "*example.com",
        "a b",
        "a\nb",
        &long,
    ] {
        let body = json!({ "artifact": digest, "config": { "allow_hosts": [host] } });
        put(platform, &body).await.is_problem(400, "invalid_config");
        let file = guest("fetch");
        let done = platform
            .fn_(&["deploy", &file.to_string_lossy(), "--allow-host", host])
            .await;
        assert_eq!(done.code, 2, "{host}: {done:?}");
    }
    let many: Vec<_> = (0..65).map(|number| format!("host-{number}.example")).collect();
    let body = json!({ "artifact": digest, "config": { "allow_hosts": many } });
    put(platform, &body).await.is_problem(400, "invalid_config");
    let body = json!({ "artifact": digest, "config": { "allow_hosts": many[..64] } });
    assert_eq!(put(platform, &body).await.status, 201);
}

async fn put(platform: &Platform, body: &Value) -> mayfly_tests::Reply {
    let request = platform
        .api(reqwest::Method::PUT, "/v1/ns/default/functions/fetch")
        .json(body);
    let response = request.send().await.expect("the server answers");
    mayfly_tests::Reply::read(response)
        .await
        .expect("the answer is complete")
}

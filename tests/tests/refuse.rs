//! Requests that are refused: what they ask for is not there, not allowed, or too much.

use mayfly_tests::{Platform, WAIT_MAX, http_client, on_both_databases};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

on_both_databases!(
    bad_payloads_are_refused,
    a_refusal_reaches_a_client_that_is_still_sending,
    addresses_that_are_no_function,
    requests_that_no_function_could_be_given,
    an_answer_to_head_has_no_body,
);

async fn bad_payloads_are_refused(platform: &mut Platform) {
    platform.deploy("order-total", &[]).await;
    platform.deploy("word-count", &[]).await;
    platform
        .direct("order-total", "{not json")
        .await
        .is_problem(400, "invalid_json");
    platform.direct("order-total", "").await.is_problem(400, "invalid_json");
    let large = "x".repeat((6 << 20) + 1);
    platform
        .direct("word-count", &large)
        .await
        .is_problem(413, "payload_too_large");
    let answer = platform.post("/order-total", r#"{"lines":[]}"#).await;
    let problem = answer.is_problem(500, "function_failed");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("an order has 1 to")),
        "{problem}"
    );
}

/// Twice the bound: more than the buffers of two sockets hold, so that a server that does not read on cuts it off.
const LARGE_BYTES: usize = 12 << 20;

async fn a_refusal_reaches_a_client_that_is_still_sending(platform: &mut Platform) {
    platform.deploy("order-total", &[]).await;
    let declared = format!("POST /order-total HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE_BYTES}\r\n\r\n");
    let answer = send_all_then_read(platform, &declared, &vec![b'x'; LARGE_BYTES]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let chunked = "POST /order-total HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut body = format!("{LARGE_BYTES:x}\r\n").into_bytes();
    body.resize(body.len() + LARGE_BYTES, b'x');
    body.extend(b"\r\n0\r\n\r\n");
    let answer = send_all_then_read(platform, chunked, &body).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let asks_first = declared.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let answer = send_all_then_read(platform, &asks_first, b"").await;
    assert!(
        answer.starts_with("HTTP/1.1 413 "),
        "it need not send what is refused: {answer}"
    );
}

/// Like the simplest of clients: looks at the answer only when it has sent all.
async fn send_all_then_read(platform: &Platform, head: &str, body: &[u8]) -> String {
    let address = platform.functions.strip_prefix("http://").expect("plain HTTP");
    let talking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer[..read]).into_owned())
    };
    timeout(WAIT_MAX, talking)
        .await
        .expect("an answer in time")
        .expect("the connection holds until the answer is read")
}

async fn addresses_that_are_no_function(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    platform.get("/nobody").await.is_problem(404, "function_not_found");
    platform
        .get("/@nobody/hello-http")
        .await
        .is_problem(404, "function_not_found");
    for path in ["/", "/@default", "/@default/", "//hello-http"] {
        platform.get(path).await.is_problem(404, "route_not_found");
    }
    for path in ["/%2e%2e/x", "/Hello", "/@Default/hello-http"] {
        platform.get(path).await.is_problem(404, "function_not_found");
    }
    platform
        .direct("nobody", "{}")
        .await
        .is_problem(404, "function_not_found");
    // The API does not live on the functions' port.
    assert_eq!(platform.get("/v1/ns/default/functions").await.status, 404);
    assert_eq!(platform.get("/openapi.json").await.status, 404);
}

async fn requests_that_no_function_could_be_given(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "warm"]).await;
    assert_eq!(platform.get("/warm/count").await.text().trim(), "1");
    for (request, status) in [
        ("GET /warm/count HTTP/1.1\r\n\r\n", "400"),
        ("GET /warm/count HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET /warm/count HTTP/1.1\r\nhost: \u{e9}\r\n\r\n", "400"),
        ("CONNECT /warm/count HTTP/1.1\r\nhost: x\r\n\r\n", "4"),
        ("GET /warm/count HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = send_all_then_read(platform, request, b"").await;
        let answered = answer.split(' ').nth(1).unwrap_or_default();
        assert!(answered.starts_with(status), "{request:?}: {answer}");
    }
    // None of them has cost the function its instance, and only the last one was a call.
    let last = platform.get("/warm/count").await;
    assert_eq!((last.text().trim(), last.header("mayfly-start")), ("3", "warm"));
    assert_eq!(platform.usage_of("warm").await["invocations"], 3);
}

async fn an_answer_to_head_has_no_body(platform: &mut Platform) {
    platform.deploy("order-total", &[]).await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build();
    for client in [http_client(), http2.expect("valid settings")] {
        for path in ["/order-total", "/nobody"] {
            let head = client.head(format!("{}{path}", platform.functions)).send().await;
            let head = head.expect("an answer that follows the protocol");
            assert!(head.status().is_client_error() || head.status().is_server_error());
            assert_ne!(head.headers()["content-length"], "0", "what GET would have sent");
            assert_eq!(head.bytes().await.expect("an end"), "");
        }
    }
    assert_eq!(platform.usage_of("order-total").await["bytes_out"], 0);
}

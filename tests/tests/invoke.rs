//! Calling functions: three kinds, over HTTP and directly, whatever they do.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mayfly_tests::{Platform, Reply, on_both_databases};
use reqwest::{Method, Version};
use serde_json::{Value, json};
use tokio::time::timeout;

const ORDER: &str = r#"{"lines":[{"quantity":2,"unit_price_cents":450},{"quantity":1,"unit_price_cents":50}]}"#;

on_both_databases!(
    all_three_kinds_answer_both_ways,
    every_answer_names_its_invocation,
    an_event_function_sees_the_request_as_api_gateway_sends_it,
    an_event_function_answers_as_api_gateway_expects_it,
    a_command_fails_with_its_exit_code,
    the_trace_of_the_caller_is_kept,
    functions_see_what_was_sent,
    bodies_arrive_byte_for_byte,
    bodies_stream_in_both_directions,
    http_2_without_negotiation_works,
    a_trap_hurts_its_own_call_only,
    memory_has_a_limit,
    the_environment_is_the_one_that_was_deployed,
);

async fn all_three_kinds_answer_both_ways(platform: &mut Platform) {
    for name in ["hello-http", "order-total", "word-count", "wasip1-command"] {
        platform.deploy(name, &[]).await;
    }
    let hello = platform.get("/hello-http").await;
    assert_eq!((hello.status, hello.text().as_str()), (200, "Hello, WASI!\n"));
    assert_eq!(platform.direct("hello-http", "").await.text(), "Hello, WASI!\n");

    let total = json!({"net_cents": 950, "tax_cents": 181, "total_cents": 1131});
    assert_eq!(platform.post("/order-total", ORDER).await.json(), total);
    assert_eq!(platform.direct("order-total", ORDER).await.json(), total);

    let count = json!({"lines": 1, "words": 6, "bytes": 18});
    assert_eq!(platform.post("/word-count", "to be or not to be").await.json(), count);
    assert_eq!(platform.direct("word-count", "to be or not to be").await.json(), count);
    assert_eq!(platform.direct("wasip1-command", "one two").await.text(), "ONE TWO");

    let records = platform.invocations("order-total").await;
    let triggers: Vec<_> = records.iter().map(|record| record["trigger"].clone()).collect();
    assert_eq!(triggers, ["direct", "http"], "newest first");
}

async fn every_answer_names_its_invocation(platform: &mut Platform) {
    for name in ["hello-http", "order-total", "word-count"] {
        platform.deploy(name, &[]).await;
        let mut ids = Vec::new();
        let mut starts = Vec::new();
        for _ in 0..4 {
            let answer = platform.post(&format!("/{name}"), ORDER).await;
            ids.push(answer.invocation_id());
            starts.push(answer.header("mayfly-start").to_owned());
        }
        let answer = platform.direct(name, ORDER).await;
        ids.push(answer.invocation_id());
        starts.push(answer.header("mayfly-start").to_owned());
        let recorded: Vec<_> = platform
            .invocations(name)
            .await
            .iter()
            .rev()
            .map(|it| it["id"].clone())
            .collect();
        assert_eq!(ids, recorded);
        assert_eq!(starts[0], "cold");
        // A command ends with its answer, so there is nothing to keep warm.
        let later = if name == "word-count" { "cold" } else { "warm" };
        assert!(starts[1..].iter().all(|start| start == later), "{name}: {starts:?}");
    }
}

async fn an_event_function_sees_the_request_as_api_gateway_sends_it(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "event"]).await;
    let request = platform
        .request(Method::PUT, "/event/echo?x=1&x=2&empty=&space=%20")
        .header("x-one", "1");
    let answer = read(request.header("content-type", "text/plain").body("hello")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let event = answer.json();
    assert_eq!(
        (&event["version"], &event["routeKey"]),
        (&json!("2.0"), &json!("$default")),
        "{event}"
    );
    assert_eq!(
        (&event["rawPath"], &event["rawQueryString"]),
        (&json!("/echo"), &json!("x=1&x=2&empty=&space=%20")),
        "{event}"
    );
    assert_eq!(event["requestContext"]["http"]["method"], "PUT");
    assert_eq!(event["requestContext"]["requestId"], answer.invocation_id().as_str());
    assert_eq!(
        (&event["headers"]["x-one"], &event["body"]),
        (&json!("1"), &json!("hello"))
    );
    assert_eq!(event["isBase64Encoded"], false);

    let binary = platform.request(Method::POST, "/event/echo").body(vec![0_u8, 255, 254]);
    let event = read(binary).await.json();
    assert_eq!(
        (&event["isBase64Encoded"], &event["body"]),
        (&json!(true), &json!("AP/+")),
        "{event}"
    );
}

async fn an_event_function_answers_as_api_gateway_expects_it(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "event"]).await;
    let answer = platform.get("/event/respond").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "short and stout"));
    assert_eq!(
        (answer.header("content-type"), answer.header("x-kettle")),
        ("text/plain", "hot")
    );
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    // Called directly, the answer is what the function said and nothing is read into it.
    let said = platform.direct("event", r#"{"do":"respond"}"#).await;
    assert_eq!((said.status, &said.json()["statusCode"]), (200, &json!(418)));

    let problem = platform.get("/event/fail").await.is_problem(500, "function_failed");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("asked for this error")),
        "{problem}"
    );
    platform.get("/event/trap").await.is_problem(500, "function_trapped");
    assert_eq!(platform.get("/event/respond").await.status, 418, "it goes on");
}

async fn a_command_fails_with_its_exit_code(platform: &mut Platform) {
    platform.deploy("wasip1-command", &["--name", "loud"]).await;
    assert_eq!(platform.direct("loud", "quiet").await.text(), "QUIET");
    let problem = platform.direct("loud", "fail").await.is_problem(500, "function_failed");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("exit code")),
        "{problem}"
    );
    let record = platform.invocations("loud").await.remove(0);
    assert_eq!(
        (&record["status"], &record["error_code"]),
        (&json!("error"), &json!("function_failed"))
    );
}

async fn the_trace_of_the_caller_is_kept(platform: &mut Platform) {
    platform.deploy("misbehave-event", &["--name", "event"]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let called = async |parent: &str| {
        read(
            platform
                .request(Method::GET, "/event/context")
                .header("traceparent", parent),
        )
        .await
    };
    let answer = called(&parent).await;
    let context = answer.json();
    let passed = context["trace_parent"].as_str().unwrap_or_default();
    assert!(passed.starts_with(&format!("00-{trace}-")), "{context}");
    assert_eq!(context["invocation_id"], answer.invocation_id().as_str(), "{context}");
    assert_eq!(
        (&context["namespace"], &context["function"]),
        (&json!("default"), &json!("event"))
    );
    assert_eq!((&context["version"], &context["attempt"]), (&json!(1), &json!(1)));
    assert!(
        context["remaining_ms"]
            .as_u64()
            .is_some_and(|ms| (1..=30_000).contains(&ms)),
        "{context}"
    );
    let record = platform
        .api_get(&format!("/v1/ns/default/invocations/{}", answer.invocation_id()))
        .await
        .json();
    assert_eq!(record["trace_id"], trace);
    assert_eq!(record["event_id"], context["event_id"]);
    // What is not a trace is not passed on.
    let context = called("00-xyz-1-01").await.json();
    assert!(
        !context["trace_parent"].as_str().unwrap_or_default().contains("xyz"),
        "{context}"
    );
}

async fn functions_see_what_was_sent(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "see"]).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = platform.request(
            Method::from_bytes(method.as_bytes()).expect("a method"),
            "/see/headers?a=1&b=%20&a=2",
        );
        let answer = read(
            request
                .header("x-twice", "one")
                .header("x-twice", "two")
                .header("x-empty", ""),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = answer.json();
        assert_eq!(
            (&seen["method"], &seen["path"]),
            (&json!(method), &json!("/headers?a=1&b=%20&a=2")),
            "without the prefix"
        );
        for pair in [["x-twice", "one"], ["x-twice", "two"], ["x-empty", ""]] {
            assert!(pairs(&seen).contains(&json!(pair)), "{pair:?} is missing: {seen}");
        }
        // Headers of the connection are the server's business.
        for name in ["connection", "transfer-encoding", "keep-alive", "upgrade"] {
            assert!(
                !pairs(&seen).iter().any(|pair| pair[0] == name),
                "{name} was passed on: {seen}"
            );
        }
        assert_eq!(
            (&seen["env"], &seen["args"]),
            (&json!({}), &json!(["see"])),
            "nothing of the host's"
        );
    }
    let head = platform.request(Method::HEAD, "/see/headers").send().await;
    let head = head.expect("the server answers");
    assert_eq!(head.status(), 200);
    assert!(head.bytes().await.expect("whole").is_empty());
    assert_eq!(
        platform.get("/@default/see/headers?x").await.json()["path"],
        "/headers?x"
    );
    let (bare, slash) = (platform.get("/see").await, platform.get("/see/").await);
    assert_eq!(
        (bare.status, slash.status),
        (404, 404),
        "the function's own answer to /"
    );
    assert!(!bare.invocation_id().is_empty() && !slash.invocation_id().is_empty());
}

fn pairs(seen: &Value) -> &Vec<Value> {
    seen["headers"].as_array().expect("a list of headers")
}

async fn bodies_arrive_byte_for_byte(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "echo"]).await;
    let pattern: Vec<u8> = (0_u32..3_000_000).flat_map(|number| number.to_le_bytes()).collect();
    for length in [0, 1, 4095, 65_536, 65_537, 1 << 20, pattern.len()] {
        let body = Bytes::copy_from_slice(&pattern[..length]);
        let answer = platform.post("/echo/echo", body.clone()).await;
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert!(answer.body == body, "a body of {length} bytes was changed");
    }
    let row = platform.usage_of("echo").await;
    assert_eq!(row["bytes_in"], row["bytes_out"], "{row}");
}

async fn bodies_stream_in_both_directions(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "echo"]).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
    });
    sender
        .send(Bytes::from_static(b"piece 0"))
        .await
        .expect("the request is open");
    let request = platform
        .request(Method::POST, "/echo/echo")
        .body(reqwest::Body::wrap_stream(body));
    let mut answer = request
        .send()
        .await
        .expect("the head comes before the end of the request")
        .bytes_stream();
    // Every piece comes back before the next one is sent.
    for number in 0..10 {
        let wanted = format!("piece {number}");
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            let piece = timeout(mayfly_tests::WAIT_MAX, answer.next())
                .await
                .expect("not held back");
            got.extend(piece.expect("not the end").expect("unbroken"));
        }
        assert_eq!(String::from_utf8_lossy(&got), wanted);
        if number < 9 {
            sender
                .send(Bytes::from(format!("piece {}", number + 1)))
                .await
                .expect("the request is open");
        }
    }
    drop(sender);
    assert!(answer.next().await.is_none(), "the end of one is the end of the other");

    let slow = platform
        .request(Method::GET, "/echo/slow-body")
        .send()
        .await
        .expect("the server answers");
    let pieces = slow.bytes_stream().collect::<Vec<_>>().await;
    assert!(pieces.len() > 1, "pieces are not collected: {pieces:?}");
}

async fn http_2_without_negotiation_works(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "echo"]).await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .expect("valid settings");
    let url = format!("{}/echo/echo", platform.functions);
    let calls = (0..20).map(|number| {
        let request = client.post(&url).body(format!("call {number}"));
        async move {
            let answer = request.send().await.expect("the server answers");
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_eq!(answer.text().await.expect("whole"), format!("call {number}"));
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(platform.usage_of("echo").await["invocations"], 20);
}

async fn a_trap_hurts_its_own_call_only(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "bad"]).await;
    platform.deploy("hello-http", &["--name", "good"]).await;
    for _ in 0..3 {
        let problem = platform.get("/bad/trap").await.is_problem(500, "function_trapped");
        assert!(problem["invocation_id"].is_string(), "{problem}");
        platform.get("/bad/no-response").await.is_problem(502, "bad_response");
        // It depends on the moment whether the head was on its way already. If so, all that is left is to break the
        // connection: a body that was not finished must not look finished.
        let broken = platform.request(Method::GET, "/bad/panic-after-head").send().await;
        match broken {
            // Broken before the head was sent: nobody takes that for an answer either.
            Err(error) => assert!(!error.is_timeout() && !error.is_connect(), "{error:?}"),
            Ok(broken) if broken.status() == 200 => {
                assert!(broken.bytes().await.is_err(), "the body was not finished");
            }
            Ok(other) => drop(read_response(other).await.is_problem(500, "function_trapped")),
        }
        assert_eq!(platform.get("/good").await.status, 200);
    }
    // A trapped instance is never used again: its counter begins anew.
    assert_eq!(platform.get("/bad/count").await.text().trim(), "1");
    assert_eq!(
        platform.get("/bad/count").await.text().trim(),
        "2",
        "and a good one is kept"
    );
    let failed = platform.fn_(&["invoke", "bad", "--data", "{}"]).await;
    assert!([0, 1].contains(&failed.code), "{failed:?}");
    let statuses: Vec<Value> = platform
        .invocations("bad")
        .await
        .iter()
        .map(|it| it["error_code"].clone())
        .collect();
    assert_eq!(
        statuses.iter().filter(|code| **code == "function_trapped").count(),
        6,
        "{statuses:?}"
    );
}

async fn memory_has_a_limit(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "small", "--memory", "16"])
        .await;
    platform
        .deploy("misbehave", &["--name", "large", "--memory", "256"])
        .await;
    platform
        .get("/small/memory?mib=64")
        .await
        .is_problem(500, "memory_exceeded");
    assert_eq!(
        platform.get("/small/memory?mib=4").await.status,
        200,
        "the next call is a new beginning"
    );
    assert_eq!(platform.get("/large/memory?mib=64").await.status, 200);
    let record = platform.invocations("large").await.remove(0);
    let peak = record["usage"]["memory_peak_bytes"].as_u64().expect("a number");
    assert!((64 << 20..256 << 20).contains(&peak), "{peak}");
}

async fn the_environment_is_the_one_that_was_deployed(platform: &mut Platform) {
    platform
        .deploy(
            "misbehave",
            &["--name", "env", "--env", "COLOUR=dark green", "--env", "EMPTY="],
        )
        .await;
    let seen = platform.get("/env/headers").await.json();
    assert_eq!(
        seen["env"],
        json!({"COLOUR": "dark green", "EMPTY": ""}),
        "nothing of the host's is added"
    );
}

async fn read(request: reqwest::RequestBuilder) -> Reply {
    read_response(request.send().await.expect("the server answers")).await
}

async fn read_response(response: reqwest::Response) -> Reply {
    Reply::read(response).await.expect("the answer is complete")
}

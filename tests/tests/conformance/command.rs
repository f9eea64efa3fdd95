//! What a command promises: its input comes back, and its log says what it was started with. What it is given of an
//! HTTP request is compared with the request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::header::HeaderMap;
use mayfly_tests::{Platform, Reply};
use reqwest::Method;
use serde_json::{Value, json};

use super::http::{every_byte, fields, read, with_trailers};
use super::wire::{Connection, Version};

/// The most that a command may be given, and the most that it may answer.
const PAYLOAD_BYTES_MAX: usize = 6 << 20;

/// The guest is deployed as `/guest`.
pub(super) async fn keeps_the_contract(platform: &Platform, file: &str) {
    let environment = ["--env", "COLOUR=dark green", "--env", "EMPTY="];
    let deployed = platform
        .deploy(file, &[&["--name", "guest"], &environment[..]].concat())
        .await;
    assert_eq!(deployed["kind"], "command", "{deployed}");
    input_comes_back_byte_for_byte(platform).await;
    it_is_started_with_its_name_and_its_environment(platform).await;
    a_request_becomes_an_event(platform).await;
    bodies_of_requests_are_in_the_event(platform).await;
    trailers_end_at_the_platform(platform).await;
    let usage = platform.usage_of("guest").await;
    assert_eq!(usage["errors"], 0, "{usage}");
}

async fn input_comes_back_byte_for_byte(platform: &Platform) {
    for length in [0, 1, 256, 65_537, PAYLOAD_BYTES_MAX] {
        let input = every_byte(length);
        let answer = invoke(platform, input.clone()).await;
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert!(answer.body == input, "an input of {length} bytes was changed");
    }
    let answer = invoke(platform, every_byte(PAYLOAD_BYTES_MAX + 1)).await;
    answer.is_problem(413, "payload_too_large");
    // It says nothing of the sort of its answer, so the platform looks.
    for (input, content_type) in [
        (&b"{\"a\": 1}"[..], "application/json"),
        (b"no document", "text/plain; charset=utf-8"),
        (b"\xff\xfe", "application/octet-stream"),
    ] {
        let answer = invoke(platform, Bytes::from_static(input)).await;
        assert_eq!(answer.header("content-type"), content_type);
    }
}

async fn it_is_started_with_its_name_and_its_environment(platform: &Platform) {
    let id = invoke(platform, Bytes::new()).await.invocation_id();
    let page = platform.api_get("/v1/ns/default/functions/guest/logs?limit=1000").await;
    let page = page.json();
    let entries = page["entries"].as_array().expect("a page has entries");
    let printed: String = entries
        .iter()
        .filter(|entry| entry["invocation_id"] == id.as_str())
        .inspect(|entry| assert_eq!(entry["stream"], "stderr", "{entry}"))
        .filter_map(|entry| entry["text"].as_str())
        .map(|text| format!("{}\n", text.trim_end_matches('\n')))
        .collect();
    assert_eq!(
        printed, "argument guest\nvariable COLOUR=dark green\nvariable EMPTY=\n",
        "nothing of the host's: {entries:?}"
    );
}

async fn a_request_becomes_an_event(platform: &Platform) {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = platform.request(
            Method::from_bytes(method.as_bytes()).expect("a method"),
            "/guest/a%2Fb%20c/%C3%A9?a=1&a=2&b=&c=%26%20",
        );
        let request = request
            .header("echo-many", "first")
            .header("echo-many", "second")
            .header("cookie", "session=1; theme=dark");
        let answer = read(request).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json")
        );
        let event = answer.json();
        let seen = [
            ("/version", json!("2.0")),
            ("/requestContext/http/method", json!(method)),
            ("/rawPath", json!("/a%2Fb%20c/%C3%A9")),
            ("/rawQueryString", json!("a=1&a=2&b=&c=%26%20")),
            ("/queryStringParameters", json!({"a": "1,2", "b": "", "c": "& "})),
            ("/headers/echo-many", json!("first,second")),
            ("/cookies", json!(["session=1", "theme=dark"])),
        ];
        for (pointer, value) in seen {
            assert_eq!(event.pointer(pointer), Some(&value), "{pointer} of {method}: {event}");
        }
    }
    let head = read(platform.request(Method::HEAD, "/guest")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

async fn bodies_of_requests_are_in_the_event(platform: &Platform) {
    for body in [every_byte(256), every_byte(1 << 20), Bytes::from_static(b"plain text")] {
        let event = platform.post("/guest", body.clone()).await.json();
        assert_eq!(body_of(&event), body, "{} bytes", body.len());
    }
    let empty = platform.post("/guest", "").await.json();
    assert_eq!((empty.get("body"), &empty["isBase64Encoded"]), (None, &json!(false)));
    let large = platform.post("/guest", every_byte(PAYLOAD_BYTES_MAX + 1)).await;
    large.is_problem(413, "payload_too_large");
}

/// An event has no place for them.
async fn trailers_end_at_the_platform(platform: &Platform) {
    for version in [Version::Two, Version::One] {
        let (body, trailers) = (every_byte(300), fields(&[("echo-sum", "never seen")]));
        let mut connection = Connection::open(&platform.functions, version).await;
        for _ in 0..2 {
            let outgoing = with_trailers(version, false, &body, &trailers);
            let answer = connection.post("/guest", HeaderMap::new(), true, outgoing).await;
            assert_eq!((answer.status, answer.trailers), (200, None));
            let event: Value = serde_json::from_slice(&answer.body).expect("an event");
            assert_eq!(body_of(&event), body);
            assert!(!event.to_string().contains("never seen"), "{event}");
        }
    }
}

fn body_of(event: &Value) -> Bytes {
    let body = event["body"].as_str().expect("a body").as_bytes();
    if event["isBase64Encoded"] == true {
        BASE64.decode(body).expect("base64").into()
    } else {
        Bytes::copy_from_slice(body)
    }
}

async fn invoke(platform: &Platform, input: Bytes) -> Reply {
    let request = platform.api(Method::POST, "/v1/ns/default/functions/guest/invoke");
    read(request.body(input)).await
}

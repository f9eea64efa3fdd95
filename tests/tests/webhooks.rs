//! Outcomes of events that are told outside: signed, again until they are taken, and to nobody who must not be called.
//! What goes wrong is in `webhooks/trouble.rs`.

pub(super) mod received;
mod trouble;

use mayfly_tests::{Answer, Database, Platform, ServeWith, Upstream, eventually, guest, on_both_databases};
use serde_json::{Value, json};

use self::received::Received;
use crate::events::{hand_in, in_state};

on_both_databases!(
    outcomes_are_told_once_and_signed,
    a_new_secret_signs_beside_the_former_one,
    what_is_no_url_is_refused_and_nothing_is_kept,
);

/// What `fn serve` is told so that it may call this machine.
fn open() -> ServeWith {
    ServeWith {
        args: ["--allow-private-network", "127.0.0.0/8"].map(str::to_owned).into(),
        ..ServeWith::default()
    }
}

/// The same server with open addresses.
async fn opened(platform: &mut Platform) {
    platform.terminate();
    platform.ended().await;
    platform.restart_with(open()).await;
}

async fn open_platform() -> Platform {
    let platform = Platform::start_with(Database::Sqlite, open()).await;
    platform.expect("SQLite is always there")
}

fn status(line: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

/// Deploys a function that does as its events say and tells `url` about them.
pub(super) async fn deploy(platform: &Platform, url: &str, more: &[&str]) {
    let flags = [
        "--name",
        "work",
        "--on-success",
        url,
        "--on-failure",
        url,
        "--retry-backoff",
        "0s",
    ];
    platform.deploy("misbehave-event", &[&flags[..], more].concat()).await;
}

/// The events that tell a webhook, newest first.
async fn telling(platform: &Platform) -> Vec<Value> {
    let events = platform.fn_(&["events", "list", "work", "--json"]).await.json();
    let events = events.as_array().expect("a list").clone();
    events.into_iter().filter(|event| !event["webhook"].is_null()).collect()
}

/// Waits until the one event that tells a webhook is in that state.
pub(super) async fn told(platform: &Platform, state: &str) -> Value {
    let id = eventually("something is told", async || {
        let telling = telling(platform).await;
        telling
            .first()
            .map(|event| event["id"].as_str().expect("an id").to_owned())
    })
    .await;
    in_state(platform, &id, state).await
}

async fn secret(platform: &Platform) -> String {
    platform.fn_(&["webhook", "secret"]).await.ok().trim_end().to_owned()
}

async fn outcomes_are_told_once_and_signed(platform: &mut Platform) {
    opened(platform).await;
    let receiver = Upstream::start(|_| Answer::ok("thank you")).await;
    let url = format!("http://{}/hook?for=orders", receiver.address);
    deploy(platform, &url, &["--max-attempts", "1"]).await;
    let good = hand_in(platform, "work", &json!({"do": "echo"}), &[]).await;
    in_state(platform, &good, "succeeded").await;
    let event = told(platform, "succeeded").await;
    assert_eq!((&event["webhook"], &event["attempts"]), (&json!(url), &json!(1)));
    assert_eq!((&event["depth"], &event["version"]), (&json!(1), &Value::Null));
    assert_eq!(
        (&event["result"]["http_status"], &event["result"]["body"]),
        (&json!(200), &json!("thank you"))
    );

    let requests = receiver.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let received = Received::of(&requests[0]);
    assert!(
        received.head.starts_with("POST /hook?for=orders HTTP/1.1\r\n"),
        "{}",
        received.head
    );
    assert_eq!(received.header("host"), receiver.address.to_string());
    assert_eq!(received.header("content-type"), "application/json");
    for name in ["webhook-id", "ce-id", "mayfly-event-id"] {
        assert_eq!(received.header(name), event["id"], "{name}");
    }
    assert_eq!(received.header("ce-type"), "mayfly.event.succeeded");
    assert_eq!(received.header("ce-source"), "/ns/default/functions/work");
    assert_eq!(received.header("mayfly-attempt"), "1");
    let document = received.document();
    assert_eq!(document["requestContext"]["condition"], "Success");
    assert_eq!(document["requestContext"]["requestId"], json!(good));
    assert_eq!(document["requestPayload"], json!({"do": "echo"}));
    assert_eq!(document["responsePayload"], json!({"do": "echo"}));
    let secret = secret(platform).await;
    assert_eq!(received.signed_by(&secret), Some(0));
    let forged = Received {
        body: received.body.replace("Success", "success"),
        ..received
    };
    assert_eq!(forged.signed_by(&secret), None);

    let bad = hand_in(platform, "work", &json!({"do": "fail"}), &[]).await;
    in_state(platform, &bad, "dead").await;
    let event = told(platform, "succeeded").await;
    let received = Received::of(&receiver.take_requests()[0]);
    assert_eq!(received.header("webhook-id"), event["id"]);
    assert_eq!(received.header("ce-type"), "mayfly.event.failed");
    assert_eq!(received.document()["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(received.signed_by(&secret), Some(0));

    // Telling is no run, is not billed, and is itself told nobody.
    assert_eq!(platform.invocations("work").await.len(), 2);
    let all = platform.fn_(&["events", "list", "work", "--json"]).await.json();
    assert_eq!(all.as_array().map(Vec::len), Some(4), "{all}");
    assert_eq!(receiver.opened(), 2);
    let shown = platform
        .fn_(&["events", "show", event["id"].as_str().expect("an id")])
        .await
        .ok();
    assert!(shown.contains(&url) && shown.contains("webhook"), "{shown}");
    let log = std::fs::read_to_string(platform.dir().join("server.log")).expect("it has a log");
    assert!(
        !log.contains("whsec_") && !log.contains(&secret["whsec_".len()..]),
        "{log}"
    );
}

async fn a_new_secret_signs_beside_the_former_one(platform: &mut Platform) {
    opened(platform).await;
    let receiver = Upstream::start(|_| status("204 No Content")).await;
    deploy(platform, &format!("http://{}/", receiver.address), &[]).await;
    let tell = async |platform: &Platform| {
        hand_in(platform, "work", &json!({"do": "log"}), &[]).await;
        eventually("it is told", async || {
            receiver.take_requests().first().map(|it| Received::of(it))
        })
        .await
    };
    let first = platform.fn_(&["webhook", "secret", "--json"]).await.json();
    assert_eq!(
        (&first["former_until"], &first["namespace"]),
        (&Value::Null, &json!("default"))
    );
    let first = first["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(secret(platform).await, first, "it stays");
    let second = platform.fn_(&["webhook", "rotate-secret", "--json"]).await.json();
    assert!(
        second["former_until"].as_str() > second["rotated_at"].as_str(),
        "{second}"
    );
    let second = second["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(first, second);
    let received = tell(platform).await;
    assert_eq!(
        (received.signed_by(&second), received.signed_by(&first)),
        (Some(0), Some(1))
    );

    let done = platform.fn_(&["webhook", "rotate-secret"]).await;
    assert!(
        done.stderr.contains("the secret before it signs, too, until"),
        "{done:?}"
    );
    let third = done.ok().trim_end().to_owned();
    platform.kill().await;
    platform.restart().await;
    assert_eq!(secret(platform).await, third);
    let received = tell(platform).await;
    let signed = [&third, &second, &first].map(|secret| received.signed_by(secret));
    assert_eq!(signed, [Some(0), Some(1), None], "only the last two sign");
}

async fn what_is_no_url_is_refused_and_nothing_is_kept(platform: &mut Platform) {
    let file = guest("misbehave-event");
    let file = file.to_string_lossy();
    let long = format!("https://example.com/{}", "a".repeat(2_048));
    for (url, because) in [
        ("ftp://example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("example.com/hook", "https://example.com/hook"),
        ("https://", "host"),
        ("https://user:password@example.com/", "user or password"),
        ("https://example.com@127.0.0.1/", "user or password"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com/a b", "hex digits"),
        ("https://example.com/a\r\nx: y", "hex digits"),
        ("https://example.com:0/", "port"),
        ("http://0x7f.1/", "four decimal numbers"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://[fe80::1%25eth0]/", "IPv6"),
        (&long, "2048 bytes"),
    ] {
        for flag in ["--on-success", "--on-failure"] {
            let done = platform.fn_(&["deploy", &file, "--name", "work", flag, url]).await;
            done.failed(1, "invalid_config");
            assert!(done.stderr.contains(because), "{url}: {done:?}");
        }
    }
    assert_eq!(
        platform.fn_(&["list", "--json"]).await.json(),
        json!([]),
        "nothing was kept"
    );
    // What is taken has one spelling, and stays when it is not named.
    deploy(platform, "HTTPS://Hooks.Example.COM:443", &[]).await;
    platform
        .deploy("misbehave-event", &["--name", "work", "--timeout", "5s"])
        .await;
    let config = platform.fn_(&["describe", "work", "--json"]).await.json()["config"].clone();
    assert_eq!(
        (&config["on_success"], &config["timeout_ms"]),
        (&json!("https://hooks.example.com/"), &json!(5_000))
    );
    platform
        .deploy("misbehave-event", &["--name", "work", "--on-success", "none"])
        .await;
    let config = platform.fn_(&["describe", "work", "--json"]).await.json()["config"].clone();
    assert_eq!(config["on_success"], Value::Null);
}

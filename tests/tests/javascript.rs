//! Components made by componentize-js run unmodified, also those that serve one request per instance only.
//!
//! Only on SQLite: nothing here depends on the database, and compiling such a component takes ten seconds and more.

use mayfly_tests::{Database, Platform};

/// More than one instance serves: some engines of this kind are known to fail after so many calls.
const CALLS: usize = 1_050;
/// A body that comes in many pieces.
const LARGE_BYTES: usize = 10 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_event_answers_every_call_in_a_row() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    assert_eq!(platform.deploy("fetch-event", &["--name", "js"]).await["kind"], "http");
    for call in 0..CALLS {
        // With a body: a call that finds out that an instance cannot be reused must arrive whole at the next one.
        let answer = platform.post("/js/hello?x=1", format!("call {call}")).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("fetch-event: POST /hello\ncall {call}"))
        );
        assert_eq!(answer.header("content-type"), "text/plain");
    }
    // Its engine leaks a pollable with every piece of a body.
    let large = "x".repeat(LARGE_BYTES);
    let answer = platform.post("/js/large", large.clone()).await;
    assert!(
        answer.status == 200 && answer.text() == format!("fetch-event: POST /large\n{large}"),
        "{}",
        answer.status
    );
    let row = platform.usage_of("js").await;
    assert_eq!(
        (&row["invocations"], &row["errors"]),
        (&(CALLS + 1).into(), &0.into()),
        "finding out cost nobody a call: {row}"
    );
    let pool = &platform.fn_(&["describe", "js", "--json"]).await.json()["pool"];
    assert_eq!(
        (&pool["single_use"], &pool["idle"]),
        (&true.into(), &0.into()),
        "{pool}"
    );
    let described = platform.fn_(&["describe", "js"]).await.ok();
    assert!(described.contains("serves one call only"), "{described}");
    // What cannot be kept warm is not kept, and works all the same.
    platform
        .deploy("fetch-event", &["--name", "js", "--min-warm", "1"])
        .await;
    let answer = platform.get("/js/hello").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        platform
            .invocations("js")
            .await
            .iter()
            .all(|record| record["http_status"] == 200)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incoming_handler_answers_and_is_reused() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    assert_eq!(
        platform.deploy("incoming-handler", &["--name", "js"]).await["kind"],
        "http"
    );
    for call in 0..CALLS {
        let answer = platform.post("/js/hello", "x".repeat(call)).await;
        assert_eq!(answer.status, 200, "call {call}: {}", answer.text());
        assert!(
            answer.text().starts_with("incoming-handler: POST /hello, request "),
            "{}",
            answer.text()
        );
    }
    let row = platform.usage_of("js").await;
    assert_eq!(
        (&row["invocations"], &row["errors"]),
        (&CALLS.into(), &0.into()),
        "{row}"
    );
    assert!(
        row["cold_starts"].as_u64().is_some_and(|cold| (2..10).contains(&cold)),
        "an instance is reused, and replaced after 1,000 calls or when it has leaked too much: {row}"
    );
}

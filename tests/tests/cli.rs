//! The command line: exit codes that scripts can rely on, one JSON document, errors that say what to do.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use mayfly_tests::{Database, Platform, guest, on_both_databases, run_fn};
use serde_json::{Value, json};

on_both_databases!(
    answers_are_one_json_document,
    invoke_takes_data_from_everywhere,
    a_report_comes_with_the_answer
);

async fn answers_are_one_json_document(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "a"]).await;
    platform.get("/a").await;
    for args in [
        &["list"][..],
        &["describe", "a"],
        &["invocations", "a"],
        &["usage", "--by", "day"],
        &["logs", "a"],
        &["explain"],
    ] {
        let document = platform.fn_(&[args, &["--json"]].concat()).await.json();
        no_key_in_camel_case(&document);
    }
    let described = platform.fn_(&["describe", "a", "--json"]).await.json();
    assert_eq!((&described["name"], &described["kind"]), (&json!("a"), &json!("http")));
    let deleted = platform.fn_(&["delete", "a", "--yes", "--json"]).await.json();
    assert_eq!(deleted["name"], "a");
    // Errors are documents too, where data is not.
    let failed = platform.fn_(&["describe", "a", "--json"]).await;
    failed.failed(1, "function_not_found");
    let error: Value = serde_json::from_str(&failed.stderr).expect("one document");
    assert_eq!(
        (&error["error"]["code"], &error["error"]["exit_code"]),
        (&json!("function_not_found"), &json!(1))
    );
}

async fn invoke_takes_data_from_everywhere(platform: &mut Platform) {
    platform.deploy("order-total", &[]).await;
    let order = r#"{"lines":[{"quantity":2,"unit_price_cents":450},{"quantity":1,"unit_price_cents":50}]}"#;
    let file = platform.dir().join("order.json");
    fs::write(&file, order).expect("the test's folder can be written");
    let at_file = format!("@{}", file.display());
    for (data, input) in [(order, ""), (at_file.as_str(), ""), ("-", order)] {
        let done = platform
            .fn_with_input(&["invoke", "order-total", "--data", data], input.as_bytes())
            .await;
        assert_eq!(done.json()["total_cents"], 1131, "--data {data}");
    }
    platform
        .fn_(&["invoke", "order-total", "--data", "{not json"])
        .await
        .failed(2, "");
    platform
        .fn_(&["invoke", "order-total", "--data", "@no-such-file"])
        .await
        .failed(2, "file_not_found");
    platform
        .fn_(&["invoke", "nobody", "--data", "{}"])
        .await
        .failed(1, "function_not_found");
    let refused = platform
        .fn_(&["invoke", "order-total", "--data", r#"{"lines":[]}"#])
        .await;
    refused.failed(1, "function_failed");
    assert!(
        refused.stderr.contains("an order has 1 to"),
        "the function's own words: {refused:?}"
    );
}

async fn a_report_comes_with_the_answer(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "a"]).await;
    platform.deploy("word-count", &["--name", "b"]).await;
    for (name, response) in [
        ("a", json!("Hello, WASI!\n")),
        ("b", json!({"lines": 1, "words": 1, "bytes": 2})),
    ] {
        let report = platform
            .fn_(&["invoke", name, "--data", "{}", "--report", "--json"])
            .await
            .json();
        assert_eq!(report["status"], "ok", "{report}");
        assert_eq!(report["response"], response, "{report}");
        assert!(
            report["usage"]["billed_ms"].as_u64().is_some_and(|ms| ms > 0),
            "{report}"
        );
    }
    let plain = platform.fn_(&["invoke", "a", "--report"]).await;
    assert!(
        [&plain.stdout, &plain.stderr]
            .into_iter()
            .any(|text| text.contains("Hello, WASI!")),
        "{plain:?}"
    );
}

#[tokio::test]
async fn wrong_use_is_exit_2() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let profile = dir.path().join("profile.toml");
    for args in [
        &[][..],
        &["fly"],
        &["deploy"],
        &["deploy", "a.wasm", "--memory", "lots"],
        &["usage", "--by", "moon"],
        &["invoke", "a", "--data", "{"],
        &["explain", "no_such_code"],
    ] {
        let done = run_fn(&profile, &[], args).await;
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{args:?}: {done:?}");
    }
    let help = run_fn(&profile, &[], &["--help"]).await.ok();
    for command in [
        "serve",
        "deploy",
        "invoke",
        "list",
        "describe",
        "logs",
        "invocations",
        "usage",
        "delete",
        "completions",
    ] {
        assert!(help.contains(command), "{command} is not in the help: {help}");
    }
}

#[tokio::test]
async fn no_server_is_exit_3() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let profile = dir.path().join("profile.toml");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let guest = guest("hello-http");
    let deploy = ["deploy", &guest.to_string_lossy()];
    for args in [&["list"][..], &["usage"], &["invoke", "a"], &["logs", "a"], &deploy] {
        let done = run_fn(&profile, &[("MAYFLY_URL", &url), ("MAYFLY_TOKEN", "mayfly_x")], args).await;
        done.failed(3, "server_unreachable");
        assert!(
            done.stderr.contains(&url) && done.stderr.contains("fn serve"),
            "what to do next: {done:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_exit_4() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    for token in ["mayfly_wrong", "x"] {
        let done = run_fn(&platform.profile(), &[("MAYFLY_TOKEN", token)], &["list"]).await;
        done.failed(4, "unauthorized");
        assert!(done.stderr.contains("MAYFLY_TOKEN"), "what to do next: {done:?}");
    }
    let empty = platform.dir().join("no-profile.toml");
    run_fn(&empty, &[("MAYFLY_URL", &platform.admin)], &["list"])
        .await
        .failed(4, "unauthorized");
    // URL and token override the profile.
    let environment = [
        ("MAYFLY_URL", platform.admin.as_str()),
        ("MAYFLY_TOKEN", platform.token.as_str()),
    ];
    run_fn(&empty, &environment, &["list"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_start_says_why() {
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    let dir = platform.dir().join("second");
    let data = ["--data-dir", &dir.to_string_lossy()].map(str::to_owned);
    let serve = async |more: &[&str]| {
        let data: Vec<_> = data.iter().map(String::as_str).collect();
        platform.serve_again(&[&data, more].concat()).await
    };
    let free = [
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--storage",
        "127.0.0.1:0",
    ];
    let taken = |url: &str| url.trim_start_matches("http://").to_owned();
    for (place, url) in [(1, &platform.functions), (3, &platform.admin), (5, &platform.storage)] {
        let (mut with, address) = (free, taken(url));
        with[place] = &address;
        serve(&with).await.failed(1, "port_in_use");
    }
    serve(&[&free[..], &["--database", "postgres://nobody@127.0.0.1:1/none"]].concat())
        .await
        .failed(1, "database_unavailable");

    // Below a file nobody can make a folder, not even root.
    let file = platform.dir().join("file");
    fs::write(&file, "").expect("the test's folder can be written");
    let below = file.join("data");
    let done = platform
        .serve_again(&[&free[..], &["--data-dir", &below.to_string_lossy()]].concat())
        .await;
    done.failed(1, "data_dir_unwritable");
    assert!(done.stderr.contains("--data-dir"), "what to do next: {done:?}");
    let taken = platform.dir().join("data");
    let done = platform
        .serve_again(&[&free[..], &["--data-dir", &taken.to_string_lossy()]].concat())
        .await;
    done.failed(1, "data_dir_in_use");
}

#[tokio::test]
async fn a_broken_profile_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let profile = dir.path().join("profile.toml");
    fs::write(&profile, "token = mayfly_secret").expect("the test's folder can be written");
    let done = run_fn(&profile, &[], &["list"]).await;
    done.failed(1, "profile_unreadable");
    assert!(
        !done.stderr.contains("mayfly_secret"),
        "a token is never shown: {done:?}"
    );
}

#[tokio::test]
async fn completions_are_there_for_every_shell() {
    let nowhere = Path::new("/nonexistent/profile.toml");
    for shell in ["bash", "zsh", "fish"] {
        let script = run_fn(nowhere, &[], &["completions", shell]).await.ok();
        assert!(script.contains("deploy"), "{shell}: {script}");
    }
}

fn no_key_in_camel_case(document: &Value) {
    match document {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            assert_eq!(key, &key.to_lowercase(), "keys are snake_case");
            // What a function's owner calls an environment variable is the owner's business.
            if key != "env" {
                no_key_in_camel_case(value);
            }
        }),
        Value::Array(items) => items.iter().for_each(no_key_in_camel_case),
        _ => {}
    }
}

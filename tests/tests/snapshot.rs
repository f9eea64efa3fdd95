//! Functions that do their work before they are called: once, at deploy, where that can be.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use mayfly_tests::{Platform, guest_from_wat, on_both_databases};
use serde_json::Value;

on_both_databases!(
    an_init_function_runs_at_deploy_and_not_in_instances,
    without_a_snapshot_every_instance_is_initialised,
    a_host_call_in_the_init_function_is_named,
    what_cannot_be_had_is_refused,
    no_two_cold_starts_have_the_same_random_bytes,
);

/// Steps of 97 on its way to 1.
const STEPS_OF_97: &str = "118";

async fn snapshot(platform: &Platform, name: &str) -> Value {
    platform.fn_(&["describe", name, "--json"]).await.json()["snapshot"].clone()
}

/// Time that the newest instance of a function took to get ready, in milliseconds.
async fn last_init_ms(platform: &Platform, name: &str) -> f64 {
    let records = platform.invocations(name).await;
    records[0]["usage"]["init_ms"].as_f64().expect("a number")
}

#[expect(clippy::print_stderr, reason = "figures for whoever reads the test's output")]
fn report(with_ms: f64, without_ms: f64, saved_us: u64) {
    eprintln!("ready after {with_ms} ms with a snapshot, {without_ms} ms without; {saved_us} us were said to be saved");
}

async fn an_init_function_runs_at_deploy_and_not_in_instances(platform: &mut Platform) {
    let flags = ["--isolation", "invocation"];
    platform
        .deploy("initialised", &[&["--name", "once"], &flags[..]].concat())
        .await;
    platform
        .deploy(
            "initialised",
            &[&["--name", "every-time", "--snapshot", "off"], &flags[..]].concat(),
        )
        .await;
    for name in ["once", "every-time"] {
        for _ in 0..3 {
            assert_eq!(platform.get(&format!("/{name}/97")).await.text(), STEPS_OF_97);
            assert_eq!(platform.get(&format!("/{name}/inits")).await.text(), "1");
        }
    }
    let taken = snapshot(platform, "once").await;
    assert_eq!(taken["taken"], true, "{taken}");
    let saved_us = taken["init_saved_us"].as_u64().expect("a number");
    assert!(saved_us > 0, "{taken}");
    report(
        last_init_ms(platform, "once").await,
        last_init_ms(platform, "every-time").await,
        saved_us,
    );
    // The same after a restart, without compiling or initialising anything again.
    platform.kill().await;
    platform.restart().await;
    assert_eq!(platform.get("/once/97").await.text(), STEPS_OF_97);
    assert_eq!(platform.get("/once/inits").await.text(), "1");
    assert_eq!(snapshot(platform, "once").await, taken);
    let status = platform.fn_(&["status", "--json"]).await.json();
    assert_eq!(status["code"]["compiled"], 0, "{status}");
}

async fn without_a_snapshot_every_instance_is_initialised(platform: &mut Platform) {
    platform
        .deploy("initialised", &["--name", "off", "--snapshot", "off"])
        .await;
    for start in ["cold", "warm", "warm"] {
        let answer = platform.get("/off/inits").await;
        assert_eq!((answer.header("mayfly-start"), answer.text().as_str()), (start, "1"));
    }
    let none = snapshot(platform, "off").await;
    assert_eq!(none["taken"], false, "{none}");
    assert!(
        none["reason"].as_str().is_some_and(|reason| reason.contains("off")),
        "{none}"
    );
    // The mode is part of the version and stays when it is not named.
    platform
        .deploy("initialised", &["--name", "off", "--timeout", "5s"])
        .await;
    assert_eq!(snapshot(platform, "off").await["taken"], false);
    platform
        .deploy("initialised", &["--name", "off", "--snapshot", "auto"])
        .await;
    assert_eq!(snapshot(platform, "off").await["taken"], true);
    assert_eq!(platform.get("/off/inits").await.text(), "1");
    let text = platform.fn_(&["describe", "off"]).await.stdout;
    assert!(text.contains("snapshot") && text.contains("yes: "), "{text}");
}

async fn a_host_call_in_the_init_function_is_named(platform: &mut Platform) {
    let file = guest_from_wat(platform.dir(), "init-clock");
    platform.deploy_file(&file, &[]).await;
    let none = snapshot(platform, "init-clock").await;
    assert_eq!(none["taken"], false, "{none}");
    let reason = none["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("now of wasi:clocks/monotonic-clock@0.2.0"), "{none}");
    // It ends well only when the init function has run in its instance.
    for _ in 0..2 {
        let answer = platform.direct("init-clock", "").await;
        assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
    }
    platform
        .fn_(&["deploy", &file.to_string_lossy(), "--snapshot", "on"])
        .await
        .failed(1, "snapshot_failed");
}

async fn what_cannot_be_had_is_refused(platform: &mut Platform) {
    let file = mayfly_tests::guest("hello-http");
    let file = file.to_string_lossy();
    let refused = platform.fn_(&["deploy", &file, "--snapshot", "on"]).await;
    assert!(refused.stderr.contains("wizer-initialize"), "{refused:?}");
    refused.failed(1, "snapshot_failed");
    platform
        .fn_(&["describe", "hello-http"])
        .await
        .failed(1, "function_not_found");
    assert_eq!(platform.fn_(&["deploy", &file, "--snapshot", "maybe"]).await.code, 2);
    platform.deploy("hello-http", &[]).await;
    let none = snapshot(platform, "hello-http").await;
    assert!(
        none["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("wizer-initialize")),
        "{none}"
    );
}

/// A thousand instances of one snapshot: what is random must not be in it.
async fn no_two_cold_starts_have_the_same_random_bytes(platform: &mut Platform) {
    const STARTS: usize = 1_000;
    const AT_ONCE: usize = 64;
    platform
        .deploy("initialised", &["--name", "dice", "--isolation", "invocation"])
        .await;
    assert_eq!(snapshot(platform, "dice").await["taken"], true);
    let platform = &*platform;
    let thrown: HashSet<String> = stream::iter(0..STARTS)
        .map(async |_| {
            let answer = platform.get("/dice/random").await;
            assert_eq!((answer.status, answer.header("mayfly-start")), (200, "cold"));
            answer.text()
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert_eq!(thrown.len(), STARTS);
    assert!(thrown.iter().all(|bytes| bytes.len() == 32));
}

//! What AWS's own client finds: boto3, in the scenarios of `tests/s3/scenarios.py`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that skips itself says why, and the scenarios tell what they have seen"
)]

use std::path::{Path, PathBuf};

use mayfly_tests::{Platform, on_both_databases, repository};
use serde_json::Value;
use tokio::process::Command;

use super::create;

on_both_databases!(clients_of_s3_find_what_they_expect);

/// A Python with boto3, as `cargo xtask test` makes it; `None` where nobody has.
fn python() -> Option<PathBuf> {
    let python = repository().join("target/tools/python/bin/python");
    if python.exists() {
        return Some(python);
    }
    assert!(
        std::env::var_os("REQUIRE_SERVICES").is_none(),
        "there is no {}: `cargo xtask test` makes it",
        python.display()
    );
    eprintln!("skipped: there is no Python with boto3; `cargo xtask test` makes it");
    None
}

/// Plays all scenarios with a key of the bucket `photos`: whether they hold, and what was said.
async fn play(python: &Path, key: &Value) -> (bool, String, String) {
    let text = |name: &str| key[name].as_str().expect("text").to_owned();
    let done = Command::new(python)
        .arg(repository().join("tests/s3/scenarios.py"))
        .args([
            text("endpoint"),
            "photos".to_owned(),
            text("access_key_id"),
            text("secret_access_key"),
        ])
        .env_clear()
        .output()
        .await
        .expect("Python can be started");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

async fn clients_of_s3_find_what_they_expect(platform: &mut Platform) {
    let Some(python) = python() else { return };
    create(platform, "photos").await;
    let credentials = ["bucket", "credentials", "photos", "--json"];
    let key = platform.fn_(&credentials).await.json();
    let (holds, output, errors) = play(&python, &key).await;
    assert!(holds, "{output}\n{errors}");
    println!("{output}");

    platform.fn_(&[&credentials[..], &["--rotate"]].concat()).await.ok();
    let (holds, output, errors) = play(&python, &key).await;
    let is_unknown = errors.contains("InvalidAccessKeyId");
    assert!(!holds && is_unknown, "the old key opens nothing: {output}\n{errors}");
}

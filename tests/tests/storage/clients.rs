//! What AWS's own client finds: boto3, in the scenarios of `tests/s3/scenarios.py`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that skips itself says why, and the scenarios tell what they have seen"
)]

use std::path::PathBuf;

use mayfly_tests::{Platform, on_both_databases, repository};
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

async fn clients_of_s3_find_what_they_expect(platform: &mut Platform) {
    let Some(python) = python() else { return };
    create(platform, "photos").await;
    let key = platform
        .fn_(&["bucket", "credentials", "photos", "--json"])
        .await
        .json();
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
    let (output, errors) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{output}\n{errors}");
    println!("{output}");
}

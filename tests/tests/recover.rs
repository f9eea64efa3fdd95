//! Files that are lost or damaged: what the server says works, works.

use std::fs;
use std::path::{Path, PathBuf};

use mayfly_tests::{Platform, on_both_databases};

on_both_databases!(
    a_deploy_mends_a_lost_artifact,
    a_deploy_mends_a_damaged_artifact,
    code_is_made_again_whatever_the_time_limit,
);

async fn a_deploy_mends_a_lost_artifact(platform: &mut Platform) {
    mended_after(platform, |file| fs::remove_file(file)).await;
}

async fn a_deploy_mends_a_damaged_artifact(platform: &mut Platform) {
    mended_after(platform, |file| {
        let mut bytes = fs::read(file)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes)
    })
    .await;
}

async fn mended_after(platform: &mut Platform, harm: fn(&Path) -> std::io::Result<()>) {
    platform.deploy("hello-http", &[]).await;
    platform.kill().await;
    empty(&platform.dir().join("data/native"));
    for file in files(&platform.dir().join("data/artifacts")) {
        harm(&file).expect("our own file");
    }
    platform.restart().await;
    let refused = platform.get("/hello-http").await;
    let problem = refused.is_problem(500, "artifact_unavailable");
    assert!(
        problem["hint"].as_str().is_some_and(|hint| hint.contains("deploy")),
        "{problem}"
    );
    platform.deploy("hello-http", &[]).await;
    let mended = platform.get("/hello-http").await;
    assert_eq!((mended.status, mended.text().as_str()), (200, "Hello, WASI!\n"));
}

async fn code_is_made_again_whatever_the_time_limit(platform: &mut Platform) {
    platform.deploy("misbehave", &["--timeout", "100ms"]).await;
    platform.kill().await;
    empty(&platform.dir().join("data/native"));
    platform.restart().await;
    let answer = platform.get("/misbehave/count").await;
    assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
    let records = platform.invocations("misbehave").await;
    let billed = records[0]["usage"]["billed_ms"].as_u64().expect("a number");
    assert!(billed <= 100, "compiling is the platform's: {billed} ms");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.is_file())
        .collect()
}

fn empty(dir: &Path) {
    for file in files(dir) {
        fs::remove_file(file).expect("our own file");
    }
}

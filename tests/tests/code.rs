//! Native code: made once, at deploy, then loaded; never run when it is not what this server has written.

use std::fs;
use std::path::PathBuf;

use mayfly_tests::{Platform, eventually, on_both_databases};
use serde_json::Value;

on_both_databases!(
    after_a_deploy_the_code_is_in_memory,
    a_restart_compiles_nothing,
    a_changed_file_is_never_run,
    files_cannot_take_each_others_place,
    what_other_builds_left_is_removed,
);

async fn counters(platform: &Platform) -> Value {
    platform.fn_(&["status", "--json"]).await.json()["code"].clone()
}

fn code_files(platform: &Platform) -> Vec<PathBuf> {
    let files = fs::read_dir(platform.dir().join("data/native")).expect("the server made it");
    let mut files: Vec<_> = files
        .map(|file| file.expect("readable").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

async fn says_hello(platform: &Platform) {
    let answer = platform.get("/hello-http").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "Hello, WASI!\n"));
}

async fn after_a_deploy_the_code_is_in_memory(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    let deployed = counters(platform).await;
    assert_eq!(deployed["compiled"], 1, "{deployed}");
    assert_eq!(deployed["found"], 0, "{deployed}");
    says_hello(platform).await;
    says_hello(platform).await;
    let called = counters(platform).await;
    assert_eq!(called["found"], 2, "{called}");
    assert_eq!(
        (&called["compiled"], &called["loaded"]),
        (&deployed["compiled"], &deployed["loaded"])
    );
    // Nothing in it depends on what a version is called or may use.
    platform
        .deploy("hello-http", &["--name", "again", "--memory", "64"])
        .await;
    assert_eq!(platform.get("/again").await.status, 200);
    let again = counters(platform).await;
    assert_eq!(
        (&again["compiled"], &again["loaded"]),
        (&called["compiled"], &called["loaded"])
    );
    assert!(platform.fn_(&["status"]).await.stdout.contains("code compiled"));
}

async fn a_restart_compiles_nothing(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    platform.deploy("hello-http", &["--name", "never-called"]).await;
    platform.deploy("misbehave", &[]).await;
    platform.kill().await;
    platform.restart().await;
    says_hello(platform).await;
    // What was not called yet is loaded as well, before anybody waits for it.
    let settled = eventually("the code of both artifacts", async || {
        let counters = counters(platform).await;
        (counters["loaded"] == 2).then_some(counters)
    })
    .await;
    assert_eq!((&settled["compiled"], &settled["rejected"]), (&0.into(), &0.into()));
    assert_eq!(platform.get("/misbehave/count").await.status, 200);
    let called = counters(platform).await;
    assert_eq!(
        (&called["compiled"], &called["loaded"]),
        (&0.into(), &2.into()),
        "{called}"
    );
}

async fn a_changed_file_is_never_run(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    platform.kill().await;
    let [file] = code_files(platform).try_into().expect("one file of code");
    let mut code = fs::read(&file).expect("readable");
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(&file, code).expect("our own file");
    platform.restart().await;
    says_hello(platform).await;
    let counters = counters(platform).await;
    assert_eq!(
        (&counters["rejected"], &counters["compiled"], &counters["loaded"]),
        (&1.into(), &1.into(), &0.into()),
        "{counters}"
    );
}

async fn files_cannot_take_each_others_place(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    platform.deploy("misbehave", &[]).await;
    platform.kill().await;
    let [one, other] = code_files(platform).try_into().expect("two files of code");
    let between = platform.dir().join("between");
    for (from, to) in [(&one, &between), (&other, &one), (&between, &other)] {
        fs::rename(from, to).expect("our own files");
    }
    platform.restart().await;
    says_hello(platform).await;
    assert_eq!(platform.get("/misbehave/count").await.text().trim(), "1");
    let counters = counters(platform).await;
    assert_eq!(
        (&counters["rejected"], &counters["compiled"], &counters["loaded"]),
        (&2.into(), &2.into(), &0.into()),
        "{counters}"
    );
}

async fn what_other_builds_left_is_removed(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    platform.kill().await;
    let ours = code_files(platform);
    let dir = platform.dir().join("data/native");
    for name in ["0123-0000000000000007.code", "0123-0000000000000007.native", "junk"] {
        fs::write(dir.join(name), "x").expect("our own folder");
    }
    fs::write(dir.join("unfinished/7"), "half of it").expect("our own folder");
    platform.restart().await;
    assert!(!dir.join("unfinished/7").exists(), "nobody goes on with it");
    eventually("only our own code", async || {
        (code_files(platform) == ours).then_some(())
    })
    .await;
    says_hello(platform).await;
    assert_eq!(counters(platform).await["compiled"], 0);
}

//! Deploying: what is found out by itself, what is not sent twice, and what is refused without leaving a trace.
#![expect(clippy::print_stdout, reason = "figures for the reader of the run")]

use std::fs;
use std::path::Path;

use mayfly_tests::{CountingProxy, Platform, guest, guest_bytes, guest_from_wat, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

on_both_databases!(
    kinds_are_found_out,
    a_redeploy_sends_almost_nothing,
    another_configuration_is_another_version,
    versions_are_listed_newest_first,
    deleted_functions_are_gone,
    bad_files_are_refused_and_leave_nothing,
    too_large_is_refused_before_it_is_read,
    artifacts_are_checked_against_their_name,
    wrong_configuration_is_refused,
    strangers_cannot_deploy,
);

async fn kinds_are_found_out(platform: &mut Platform) {
    for (name, kind) in [
        ("hello-http", "http"),
        ("order-total", "event"),
        ("word-count", "command"),
        ("wasip1-command", "command"),
    ] {
        let deployed = platform.deploy(name, &[]).await;
        assert_eq!(deployed["kind"], kind, "{deployed}");
        assert_eq!(
            (&deployed["name"], &deployed["namespace"]),
            (&json!(name), &json!("default")),
            "the file's name"
        );
        assert_eq!(deployed["version"], 1);
        assert_eq!(deployed["url"], format!("{}/{name}", platform.functions));
        let digest = deployed["digest"].as_str().expect("a digest");
        assert_eq!((digest.len(), &digest[..7]), (71, "sha256:"));
    }
    let listed = platform.api_get("/v1/ns/default/functions").await.json();
    let kinds: Vec<_> = listed["functions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["kind"].clone())
        .collect();
    assert_eq!(
        kinds,
        ["http", "event", "command", "command"],
        "in the order of their names: {listed}"
    );
}

async fn a_redeploy_sends_almost_nothing(platform: &mut Platform) {
    let proxy = CountingProxy::in_front_of(&platform.admin).await;
    let file = guest("hello-http");
    let args = ["deploy", &file.to_string_lossy(), "--url", &proxy.url];
    let mut deploy = platform.fn_command(&args);
    deploy.env("MAYFLY_TOKEN", &platform.token);
    deploy.output().await.expect("the binary can be started");
    let first_bytes = proxy.take_sent_bytes();
    let file_bytes = fs::metadata(&file).expect("the guest is there").len();
    assert!(
        first_bytes > file_bytes,
        "{first_bytes} bytes were sent for a file of {file_bytes}"
    );

    let mut again = platform.fn_command(&args);
    again.env("MAYFLY_TOKEN", &platform.token);
    let output = again.output().await.expect("the binary can be started");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_lowercase();
    assert!(said.contains("no changes"), "{said}");
    let again_bytes = proxy.take_sent_bytes();
    assert!(
        (1..1024).contains(&again_bytes),
        "{again_bytes} bytes were sent for no change"
    );
    println!("{first_bytes} bytes sent at first, {again_bytes} when nothing had changed");
}

/// A configuration as the API shows it.
fn config(memory_mib: u32, timeout_ms: u64, env: Value) -> Value {
    json!({
        "memory_mib": memory_mib,
        "timeout_ms": timeout_ms,
        "env": env,
        "isolation": "auto",
        "max_requests_per_instance": 1_000,
        "allow_hosts": [],
        "min_warm": 0,
        "max_instances": 1_000,
        "snapshot": "auto",
        "retry": {
            "max_attempts": 3,
            "backoff_seconds": 60,
            "max_backoff_seconds": 3_600,
            "max_age_seconds": 21_600,
        },
        "on_success": null,
        "on_failure": null,
    })
}

async fn another_configuration_is_another_version(platform: &mut Platform) {
    // What is not named stays as the version before had it.
    let steps = [
        (1, &[][..], config(128, 30_000, json!({}))),
        (1, &[], config(128, 30_000, json!({}))),
        (2, &["--memory", "64"], config(64, 30_000, json!({}))),
        (3, &["--timeout", "5s"], config(64, 5_000, json!({}))),
        (
            4,
            &["--env", "A=1", "--env", "B=2"],
            config(64, 5_000, json!({"A": "1", "B": "2"})),
        ),
        (5, &["--unset-env", "A"], config(64, 5_000, json!({"B": "2"}))),
        (
            5,
            &["--memory", "64", "--env", "B=2"],
            config(64, 5_000, json!({"B": "2"})),
        ),
    ];
    for (version, flags, wanted) in steps {
        assert_eq!(
            platform.deploy("hello-http", flags).await["version"],
            version,
            "{flags:?}"
        );
        let function = platform.api_get("/v1/ns/default/functions/hello-http").await.json();
        assert_eq!(function["config"], wanted, "{flags:?}");
    }
    // The API takes a configuration as it is: what is left out is the default.
    let digest = platform.api_get("/v1/ns/default/functions/hello-http").await.json()["digest"].clone();
    let plain = put_function(platform, "hello-http", &json!({"artifact": digest})).await;
    assert_eq!((plain.status, &plain.json()["version"]), (201, &json!(6)));
    assert_eq!(plain.json()["config"], config(128, 30_000, json!({})));
    let again = put_function(platform, "hello-http", &json!({"artifact": digest, "config": {}})).await;
    assert_eq!((again.status, &again.json()["changed"]), (200, &json!(false)));
}

async fn versions_are_listed_newest_first(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "changing"]).await;
    platform.deploy("word-count", &["--name", "changing"]).await;
    let function = platform.api_get("/v1/ns/default/functions/changing").await.json();
    assert_eq!(
        (&function["version"], &function["kind"]),
        (&json!(2), &json!("command"))
    );
    let versions = function["versions"].as_array().expect("versions");
    let numbers: Vec<_> = versions
        .iter()
        .map(|version| (version["version"].clone(), version["kind"].clone()))
        .collect();
    assert_eq!(numbers, [(json!(2), json!("command")), (json!(1), json!("http"))]);
    assert_eq!(versions[1]["size_bytes"], guest_bytes("hello-http").len());
    assert_eq!(
        platform.post("/changing", "one two").await.json()["words"],
        2,
        "the newest version is called"
    );
}

async fn deleted_functions_are_gone(platform: &mut Platform) {
    platform.deploy("hello-http", &[]).await;
    assert_eq!(platform.get("/hello-http").await.status, 200);
    platform.fn_(&["delete", "hello-http", "--yes"]).await.ok();
    platform.get("/hello-http").await.is_problem(404, "function_not_found");
    platform
        .api_get("/v1/ns/default/functions/hello-http")
        .await
        .is_problem(404, "function_not_found");
    platform
        .fn_(&["delete", "hello-http", "--yes"])
        .await
        .failed(1, "function_not_found");
    nothing_is_deployed(platform).await;
    platform.deploy("hello-http", &[]).await;
    assert_eq!(
        platform.get("/hello-http").await.status,
        200,
        "the name can be used again"
    );
}

async fn bad_files_are_refused_and_leave_nothing(platform: &mut Platform) {
    let dir = platform.dir().to_owned();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).expect("the test's folder can be written");
        path
    };
    let whole = guest_bytes("hello-http");
    let cases = [
        (file("text.wasm", b"hello, I am not wasm"), "invalid_wasm", ""),
        (file("empty.wasm", b""), "invalid_wasm", ""),
        (file("truncated.wasm", &whole[..whole.len() / 2]), "invalid_wasm", ""),
        (
            guest_from_wat(&dir, "bad-import"),
            "unsupported_import",
            "acme:db/query",
        ),
        (
            guest_from_wat(&dir, "no-export"),
            "no_usable_export",
            "wasi:http/incoming-handler",
        ),
        (guest_from_wat(&dir, "core-no-export"), "no_usable_export", "add"),
        (
            guest_from_wat(&dir, "hollow-export"),
            "no_usable_export",
            "wasi:http/incoming-handler",
        ),
    ];
    for (path, code, named) in cases {
        let done = platform
            .fn_(&["deploy", &path.to_string_lossy(), "--name", "bad"])
            .await;
        done.failed(1, code);
        assert!(done.stderr.contains(named), "{code} must name {named}: {}", done.stderr);
        nothing_is_left_of(platform, &path).await;
    }
    platform
        .fn_(&["deploy", "no-such-file.wasm"])
        .await
        .failed(2, "file_not_found");

    // A bad file does not hurt what runs under that name.
    platform.deploy("hello-http", &["--name", "bad"]).await;
    platform
        .fn_(&["deploy", &file("text.wasm", b"no").to_string_lossy(), "--name", "bad"])
        .await
        .failed(1, "invalid_wasm");
    assert_eq!(platform.get("/bad").await.status, 200);
}

async fn too_large_is_refused_before_it_is_read(platform: &mut Platform) {
    let path = platform.dir().join("large.wasm");
    // Takes no room on the disk.
    fs::File::create(&path)
        .and_then(|file| file.set_len(65 << 20))
        .expect("the test's folder can be written");
    let done = platform.fn_(&["deploy", &path.to_string_lossy()]).await;
    done.failed(1, "artifact_too_large");
    nothing_is_deployed(platform).await;
    assert_eq!(
        platform.deploy("hello-http", &[]).await["version"],
        1,
        "the server goes on"
    );
}

async fn artifacts_are_checked_against_their_name(platform: &mut Platform) {
    let wrong = format!("/v1/ns/default/artifacts/sha256:{}", "0".repeat(64));
    let upload = platform
        .api(Method::PUT, &wrong)
        .body(guest_bytes("hello-http"))
        .send()
        .await;
    let upload = mayfly_tests::Reply::read(upload.expect("the server answers"))
        .await
        .expect("whole");
    upload.is_problem(400, "digest_mismatch");
    platform.api_get(&wrong).await.is_problem(404, "artifact_missing");

    let body = json!({"artifact": format!("sha256:{}", "0".repeat(64))});
    put_function(platform, "orphan", &body)
        .await
        .is_problem(404, "artifact_missing");
    put_function(platform, "orphan", &json!({"artifact": "md5:123"}))
        .await
        .is_problem(400, "invalid_parameter");
    nothing_is_deployed(platform).await;
}

async fn wrong_configuration_is_refused(platform: &mut Platform) {
    let digest = platform.deploy("hello-http", &[]).await["digest"].clone();
    let configs = [
        json!({"memory_mib": 0}),
        json!({"memory_mib": 1_000_000}),
        json!({"timeout_ms": 0}),
        json!({"timeout_ms": 86_400_000_u64}),
        json!({"env": {"": "x"}}),
        json!({"env": {"A=B": "x"}}),
        json!({"env": {"A": "x\0"}}),
        json!({"env": {"A": "x".repeat(100_000)}}),
    ];
    for config in configs {
        let body = json!({"artifact": digest, "config": config});
        put_function(platform, "bad", &body)
            .await
            .is_problem(400, "invalid_config");
    }
    for name in ["-a", "a-", "A", "a_b", "%00", &"x".repeat(64)] {
        put_function(platform, name, &json!({"artifact": digest}))
            .await
            .is_problem(400, "invalid_name");
    }
    put_function(platform, "bad", &json!({"artifact": digest, "colour": "red"}))
        .await
        .is_problem(400, "invalid_config");
    let listed = platform.api_get("/v1/ns/default/functions").await.json();
    assert_eq!(listed["functions"].as_array().map(Vec::len), Some(1), "{listed}");
    let done = platform
        .fn_(&["deploy", &guest("hello-http").to_string_lossy(), "--name", "Not_A_Name"])
        .await;
    assert!([1, 2].contains(&done.code), "{done:?}");
}

async fn strangers_cannot_deploy(platform: &mut Platform) {
    let mut deploy = platform.fn_command(&["deploy", &guest("hello-http").to_string_lossy()]);
    let output = deploy
        .env("MAYFLY_TOKEN", "mayfly_wrong")
        .output()
        .await
        .expect("the binary can be started");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("unauthorized"),
        "{output:?}"
    );
    nothing_is_deployed(platform).await;
}

async fn put_function(platform: &Platform, name: &str, body: &serde_json::Value) -> mayfly_tests::Reply {
    let request = platform
        .api(Method::PUT, &format!("/v1/ns/default/functions/{name}"))
        .json(body);
    mayfly_tests::Reply::read(request.send().await.expect("the server answers"))
        .await
        .expect("whole")
}

async fn nothing_is_deployed(platform: &Platform) {
    let listed = platform.api_get("/v1/ns/default/functions").await.json();
    assert_eq!(listed, json!({"functions": [], "next": null}));
}

async fn nothing_is_left_of(platform: &Platform, file: &Path) {
    nothing_is_deployed(platform).await;
    let digest = sha256(&fs::read(file).expect("the test wrote it"));
    platform
        .api_get(&format!("/v1/ns/default/artifacts/{digest}"))
        .await
        .is_problem(404, "artifact_missing");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    format!(
        "sha256:{}",
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    )
}

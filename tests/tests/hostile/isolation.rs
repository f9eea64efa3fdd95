//! I1, I2, I3: a guest that looks for what is not its own.

use std::fs;

use futures_util::{StreamExt, stream};

use super::arena::{Arena, times};

/// In the environment of another function; must appear nowhere.
const CANARY: &str = "CANARY-0f4c2d9b71e8";

/// I1 and I3. Everything that can be imported, asked: environment, arguments, folders, files, terminals, sockets. There is
/// no filesystem, so the attacks on one are attempts to open anything at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_others_can_be_seen() {
    let arena = Arena::with_attacker(&["--env", "MINE=mine", "--isolation", "invocation"]).await;
    arena
        .platform
        .deploy(
            "misbehave",
            &["--name", "victim", "--env", &format!("SECRET_A={CANARY}")],
        )
        .await;
    let victim = arena.platform.get("/victim/pry").await;
    assert!(
        victim.text().contains(CANARY),
        "the victim sees its own: {}",
        victim.text()
    );
    let seen = arena
        .endures("I1", async || Ok(arena.platform.get("/attacker/pry").await))
        .await;
    let text = seen.text();
    let seen = seen.json();
    assert_eq!(seen["environment"], serde_json::json!([["MINE", "mine"]]), "{seen}");
    assert_eq!(seen["arguments"], serde_json::json!(["attacker"]), "{seen}");
    for field in ["directories", "opened", "connected"] {
        assert_eq!(seen[field], serde_json::json!([]), "I3: {field} of {seen}");
    }
    assert_eq!(seen["cwd"], serde_json::Value::Null, "{seen}");
    assert_eq!(seen["stdin"], "", "{seen}");
    assert_eq!(seen["terminals"], serde_json::json!([false, false, false]), "{seen}");
    let environment = fs::read(format!("/proc/{}/environ", arena.platform.process_id())).expect("readable");
    let mut host = 0;
    for variable in environment.split(|byte| *byte == 0) {
        let variable = String::from_utf8_lossy(variable);
        let Some((name, value)) = variable.split_once('=') else {
            continue;
        };
        host += 1;
        assert!(
            !text.contains(&format!("\"{name}\"")),
            "the host's {name} is seen: {text}"
        );
        assert!(
            value.len() < 6 || !text.contains(value),
            "the value of the host's {name} is seen: {text}"
        );
    }
    assert!(host > 3, "the host has an environment");
    assert!(!text.contains(CANARY) && !text.contains("SECRET_A"), "{text}");
    Arena::report(
        "I1",
        &format!("{host} variables of the host and a secret of another function"),
        "0 seen",
        "0",
    );
    Arena::report(
        "I3",
        "14 paths opened, listed, linked, renamed, removed, truncated; 6 sockets",
        "0 opened",
        "0",
    );
}

/// I2. Descriptors of the server before and after many calls of all sorts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_descriptor_is_left_behind() {
    let arena = Arena::with_attacker(&[]).await;
    arena.platform.deploy("word-count", &["--name", "command"]).await;
    let call = async |count: usize| {
        let calls = stream::iter(0..count).map(async |number| match number % 4 {
            0 => arena.platform.post("/command", "a b c").await.status,
            1 => arena.platform.get("/attacker/pry").await.status,
            2 => arena.platform.post("/attacker/echo", "x".repeat(10_000)).await.status,
            _ => arena.platform.get("/attacker/count").await.status,
        });
        let statuses: Vec<_> = calls.buffer_unordered(8).collect().await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    };
    call(200).await;
    let before = arena.platform.vitals();
    let count = times(1_000);
    arena
        .endures("I2", async || {
            call(count).await;
            Ok(())
        })
        .await;
    let after = arena.settles("I2", before, 64 << 20).await;
    Arena::report(
        "I2",
        &format!("{count} calls"),
        &format!("before: {before}, after: {after}"),
        "8 descriptors more, which may be connections",
    );
}

//! Which calls may share an instance.

use mayfly_tests::{Platform, Reply, guest, on_both_databases};
use reqwest::Method;

on_both_databases!(
    a_fresh_instance_for_every_invocation,
    callers_with_a_key_share_with_their_own_kind_only,
    an_instance_is_replaced_after_so_many_calls,
    modes_that_do_not_exist_are_refused,
);

/// Deploys the guest that counts its own calls.
async fn deploy(platform: &Platform, name: &str, flags: &[&str]) {
    let flags = [&["--name", name], flags].concat();
    platform.deploy("misbehave", &flags).await;
}

/// What the instance that answered has counted so far.
fn count(reply: &Reply) -> u32 {
    assert_eq!(reply.status, 200, "{reply:?} {}", reply.text());
    let count = reply.text().trim().parse().unwrap_or_else(|_| panic!("{reply:?}"));
    let start = reply.header("mayfly-start");
    assert_eq!(start, if count == 1 { "cold" } else { "warm" }, "{reply:?}");
    count
}

async fn a_fresh_instance_for_every_invocation(platform: &mut Platform) {
    deploy(platform, "fresh", &["--isolation", "invocation"]).await;
    for _ in 0..5 {
        assert_eq!(count(&platform.get("/fresh/count").await), 1);
    }
    // The mode stays when it is not named, and can be changed.
    deploy(platform, "fresh", &["--timeout", "5s"]).await;
    assert_eq!(count(&platform.get("/fresh/count").await), 1);
    assert_eq!(count(&platform.get("/fresh/count").await), 1);
    deploy(platform, "fresh", &["--isolation", "function"]).await;
    for number in 1..=4 {
        assert_eq!(count(&platform.get("/fresh/count").await), number);
    }
    let described = platform.fn_(&["describe", "fresh", "--json"]).await.json();
    assert_eq!(described["config"]["isolation"], "function", "{described}");
}

async fn callers_with_a_key_share_with_their_own_kind_only(platform: &mut Platform) {
    deploy(platform, "keyed", &["--isolation", "key:X-User"]).await;
    let call = async |user: Option<&str>| {
        let request = platform.request(Method::GET, "/keyed/count");
        let request = match user {
            Some(user) => request.header("x-user", user),
            None => request,
        };
        let answer = request.send().await.expect("the server answers");
        count(&Reply::read(answer).await.expect("the answer is complete"))
    };
    assert_eq!(call(Some("a")).await, 1);
    assert_eq!(call(Some("b")).await, 1);
    assert_eq!(call(Some("a")).await, 2);
    assert_eq!(call(None).await, 1);
    assert_eq!(call(None).await, 1);
    assert_eq!(call(Some("")).await, 1);
    assert_eq!(call(Some("b")).await, 2);
    assert_eq!(call(Some("a")).await, 3);
}

async fn an_instance_is_replaced_after_so_many_calls(platform: &mut Platform) {
    deploy(platform, "worn", &["--max-requests-per-instance", "3"]).await;
    for number in [1, 2, 3, 1, 2, 3, 1] {
        assert_eq!(count(&platform.get("/worn/count").await), number);
    }
}

async fn modes_that_do_not_exist_are_refused(platform: &mut Platform) {
    let file = guest("misbehave");
    for mode in ["tenant", "key:", "key:not a header", "Auto"] {
        let done = platform
            .fn_(&["deploy", &file.to_string_lossy(), "--isolation", mode])
            .await;
        assert_eq!(done.code, 2, "{mode}: {done:?}");
        assert!(done.stderr.contains("key:HEADER"), "{mode}: {done:?}");
    }
    for number in ["0", "1000001"] {
        platform
            .fn_(&["deploy", &file.to_string_lossy(), "--max-requests-per-instance", number])
            .await
            .failed(1, "invalid_config");
    }
}

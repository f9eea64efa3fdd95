//! SIGTERM drains: what was accepted is answered whole, what comes after is refused, and all of it is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mayfly_tests::{Platform, Reply, eventually, on_both_databases};
use reqwest::Method;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const CALLERS: usize = 8;
const ANSWERS_MIN: usize = 50;

on_both_databases!(
    a_call_that_streams_in_both_directions_ends_whole,
    no_answer_is_cut_under_load
);

/// The first echoed byte proves that the call was accepted; the rest of it is sent after SIGTERM.
async fn a_call_that_streams_in_both_directions_ends_whole(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "echo"]).await;
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
    });
    sender
        .send(Bytes::from_static(b"before "))
        .await
        .expect("the request is open");
    let request = platform
        .request(Method::POST, "/echo/echo")
        .body(reqwest::Body::wrap_stream(body));
    let response = request
        .send()
        .await
        .expect("the head of the answer comes before the end of the request");
    let id = response.headers()["mayfly-invocation-id"]
        .to_str()
        .expect("an id")
        .to_owned();
    let mut answer = response.bytes_stream();
    let first = answer
        .next()
        .await
        .expect("the first piece comes back at once")
        .expect("unbroken");

    platform.terminate();
    eventually("new calls to be refused", async || {
        let refused = platform.request(Method::GET, "/echo/count").send().await;
        refused.is_err().then_some(())
    })
    .await;
    sender
        .send(Bytes::from_static(b"after"))
        .await
        .expect("the request is still open");
    drop(sender);
    let mut whole = first.to_vec();
    while let Some(piece) = answer.next().await {
        whole.extend(piece.expect("the accepted call is not cut"));
    }
    assert_eq!(String::from_utf8_lossy(&whole), "before after");
    assert!(platform.ended().await.success(), "a drained server ends well");

    platform.restart().await;
    let records = platform.invocations("echo").await;
    let mine = records.iter().find(|record| record["id"] == id.as_str());
    assert_eq!(mine.expect("the last call is recorded")["status"], "ok");
}

async fn no_answer_is_cut_under_load(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "busy"]).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let request = platform.request(Method::GET, "/busy/sleep?ms=20");
        callers.spawn(call_until_refused(request, answered.clone()));
    }
    eventually("enough answers", async || {
        (answered.load(Ordering::SeqCst) >= ANSWERS_MIN).then_some(())
    })
    .await;
    platform.terminate();
    let received: usize = callers.join_all().await.into_iter().sum();
    assert!(platform.ended().await.success(), "a drained server ends well");

    platform.restart().await;
    let records = platform.invocations("busy").await;
    assert!(records.iter().all(|record| record["status"] == "ok"), "no call was cut");
    assert_eq!(records.len(), received, "one record for every answer, and none without");
}

/// Counts answers until the server takes no more calls. Once the head of an answer is there, the rest must follow.
async fn call_until_refused(request: reqwest::RequestBuilder, answered: Arc<AtomicUsize>) -> usize {
    let mut count = 0;
    loop {
        let request = request.try_clone().expect("a request without a body can be sent again");
        let Ok(response) = request.send().await else {
            return count;
        };
        let reply = Reply::read(response)
            .await
            .expect("an answer that has begun is not cut");
        if reply.status != 200 {
            reply.is_problem(503, "shutting_down");
            return count;
        }
        count += 1;
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

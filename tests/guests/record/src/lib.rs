//! Tells somebody outside of the platform which attempt of which event it is, and fails if that somebody says so. So what
//! really ran is known without asking the platform.

use std::time::Duration;

use mayfly_sdk::wstd::http::{Body, Client, Request};
use mayfly_sdk::{Context, Error, handler, wstd};
use serde_json::{Value, json};

handler!(record);

async fn record(event: Value, context: Context) -> Result<Value, Error> {
    let to = event["to"].as_str().unwrap_or_default();
    let Context {
        event_id,
        attempt,
        invocation_id,
        ..
    } = &context;
    let uri = format!("http://{to}/ran/{event_id}/{attempt}/{invocation_id}?n={}", event["n"]);
    let failed = |what: &str, error: &dyn std::fmt::Display| Error::new("not_recorded", format!("{what}: {error}"));
    let request = Request::get(uri)
        .body(Body::empty())
        .map_err(|error| failed("the request", &error))?;
    let answer = Client::new()
        .send(request)
        .await
        .map_err(|error| failed("the recorder", &error))?;
    if !answer.status().is_success() {
        return Err(Error::new(
            "asked_to_fail",
            "the recorder said that this one is to fail",
        ));
    }
    if let Some(ms) = event["ms"].as_u64() {
        wstd::task::sleep(Duration::from_millis(ms).into()).await;
    }
    Ok(json!({ "recorded": attempt }))
}

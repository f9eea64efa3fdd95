//! Takes messages of a queue, or changes of objects. It does what each message says: mostly it is told to somebody outside of
//! the platform. So what really ran, and in which order, is known without asking the platform.

mod objects;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mayfly_sdk::wstd::http::{Body, Client, Request};
use mayfly_sdk::{Context, Error, handler, queue, wstd};
use serde_json::{Value, json};

/// A longer event is not given back.
const SHOWN_BYTES_MAX: usize = 64 << 10;

handler!(consume);

async fn consume(event: Value, context: Context) -> Result<Value, Error> {
    if event["Records"][0]["eventSource"] == "aws:s3" {
        objects::follow(&event).await?;
    }
    let mut failures = Vec::new();
    for message in messages(&event)? {
        let wish: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        if let Some(to) = wish["to"].as_str() {
            tell(to, &message, &wish, &context).await?;
        }
        if let Some(ms) = wish["ms"].as_u64() {
            wstd::task::sleep(Duration::from_millis(ms).into()).await;
        }
        match wish["do"].as_str() {
            Some("fail") => failures.push(json!({ "itemIdentifier": message.id })),
            Some("fail-all") => return Err(Error::new("asked_to_fail", "a message asked for this error")),
            Some("trap") => panic!("a message asked for this trap"),
            Some("answer") => return Ok(wish["answer"].clone()),
            Some("send") => send(&wish).await?,
            Some("send-all") => send_all(&wish).await?,
            Some("post") => post(&wish).await?,
            Some("get") => get(&wish).await?,
            _ => {}
        }
    }
    // What is long is not kept.
    let small = event.to_string().len() < SHOWN_BYTES_MAX;
    Ok(json!({
        "batchItemFailures": failures,
        "event": small.then_some(event),
        "invocation_id": context.invocation_id,
    }))
}

/// Sends a message to the queue `queue`: the wish itself if it is to go `on`, else `bytes` letters.
async fn send(wish: &Value) -> Result<(), Error> {
    let queue = wish["queue"].as_str().unwrap_or_default();
    let mut message = match wish["bytes"].as_u64() {
        Some(bytes) => queue::Message::text("x".repeat(usize::try_from(bytes)?)),
        None => queue::Message::json(wish)?,
    };
    if let Some(value) = wish["attribute"].as_str() {
        message = message.attribute("mine", value);
    }
    if let Some(seconds) = wish["delay"].as_u64() {
        message = message.delay(Duration::from_secs(seconds));
    }
    message.send(queue).await?;
    Ok(())
}

/// Sends `count` messages at once, each a number, `times` times; the last one is longer than may be if it is `broken`.
async fn send_all(wish: &Value) -> Result<(), Error> {
    let count = wish["count"].as_u64().unwrap_or_default();
    for _ in 1..wish["times"].as_u64().unwrap_or(1) {
        queue::Message::text("once more")
            .send(wish["queue"].as_str().unwrap_or_default())
            .await?;
    }
    let mut messages = Vec::new();
    for number in 0..count {
        messages.push(queue::Message::json(&number)?.attribute("Of", "send-all"));
    }
    if wish["broken"] == true {
        messages.push(queue::Message::text("x".repeat(300_000)));
    }
    let sent = queue::send_all(wish["queue"].as_str().unwrap_or_default(), messages).await?;
    assert_eq!(sent.len() as u64, count);
    Ok(())
}

/// Posts a message of `bytes` letters to `queue`, as functions do in languages without a library for it.
async fn post(wish: &Value) -> Result<(), Error> {
    let uri = format!(
        "http://queue.mayfly.internal/{}",
        wish["queue"].as_str().unwrap_or_default()
    );
    let body = "x".repeat(usize::try_from(wish["bytes"].as_u64().unwrap_or_default())?);
    let mut request =
        Request::post(uri).header("mayfly-attribute-mine", wish["attribute"].as_str().unwrap_or_default());
    if let Some(delay) = wish["delay"].as_str() {
        request = request.header("mayfly-delay-seconds", delay);
    }
    let sent = Client::new().send(request.body(Body::from(body))?).await;
    let answer = sent.map_err(|error| Error::new("not_sent", error.to_string()))?;
    match answer.status().as_u16() {
        202 => Ok(()),
        status => Err(Error::new("answered", status.to_string())),
    }
}

/// Fails with the status of `uri`.
async fn get(wish: &Value) -> Result<(), Error> {
    let request = Request::get(wish["uri"].as_str().unwrap_or_default()).body(Body::empty())?;
    let sent = Client::new().send(request).await;
    let answer = sent.map_err(|error| Error::new("not_sent", error.to_string()))?;
    Err(Error::new("answered", answer.status().as_u16().to_string()))
}

struct Message {
    /// What it is called in `batchItemFailures`.
    id: String,
    attempt: String,
    body: Vec<u8>,
    /// The broker had delivered it before.
    again: bool,
}

/// Of an event of SQS or of Amazon MQ.
fn messages(event: &Value) -> Result<Vec<Message>, Error> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(records) = event["Records"].as_array() {
        let message = |record: &Value| Message {
            id: text(&record["messageId"]),
            attempt: text(&record["attributes"]["ApproximateReceiveCount"]),
            body: text(&record["body"]).into_bytes(),
            again: false,
        };
        return Ok(records.iter().map(message).collect());
    }
    let queues = event["rmqMessagesByQueue"].as_object();
    let queues = queues.ok_or_else(|| Error::new("no_messages", "the event is none of a queue"))?;
    let message = |message: &Value| Message {
        id: text(&message["eventId"]),
        attempt: "0".to_owned(),
        body: BASE64.decode(text(&message["data"])).unwrap_or_default(),
        again: message["redelivered"] == true,
    };
    let all = queues.values().filter_map(Value::as_array).flatten();
    Ok(all.map(message).collect())
}

/// `GET /ran/MESSAGE/ATTEMPT/INVOCATION?again=false&n=N`; fails when the answer is no success.
async fn tell(to: &str, message: &Message, wish: &Value, context: &Context) -> Result<(), Error> {
    let Message { id, attempt, again, .. } = message;
    let uri = format!(
        "http://{to}/ran/{id}/{attempt}/{}?again={again}&n={}",
        context.invocation_id, wish["n"]
    );
    let failed = |what: &str, error: &dyn std::fmt::Display| Error::new("not_told", format!("{what}: {error}"));
    let request = Request::get(uri)
        .body(Body::empty())
        .map_err(|error| failed("the request", &error))?;
    let answer = Client::new()
        .send(request)
        .await
        .map_err(|error| failed("the recorder", &error))?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(failed("the recorder", &answer.status()))
    }
}

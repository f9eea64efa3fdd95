//! Does what the event's `do` says or, called over HTTP, what the path says; mostly bad things.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a function prints is its log"
)]

use std::hint::spin_loop;
use std::time::{Duration, SystemTime};

use mayfly_sdk::{Context, Error, handler, wstd};
use serde_json::{Value, json};

handler!(misbehave);

async fn misbehave(event: Value, context: Context) -> Result<Value, Error> {
    let wanted = event["do"]
        .as_str()
        .or_else(|| event["rawPath"].as_str())
        .unwrap_or_default();
    match wanted.trim_start_matches('/') {
        "echo" => Ok(event),
        "context" => describe(&context),
        "fail" => Err(Error::new("asked_to_fail", "the event asked for this error")),
        "log" => {
            println!("a line on standard output");
            eprintln!("a line on standard error");
            Ok(json!("logged"))
        }
        "respond" => Ok(json!({
            "statusCode": 418,
            "headers": {"content-type": "text/plain", "x-kettle": "hot"},
            "cookies": ["a=1", "b=2"],
            "body": "c2hvcnQgYW5kIHN0b3V0",
            "isBase64Encoded": true,
        })),
        "sleep" => {
            let ms = event["ms"].as_u64().unwrap_or(10);
            wstd::task::sleep(Duration::from_millis(ms).into()).await;
            Ok(json!({"slept_ms": ms}))
        }
        "spin" => loop {
            spin_loop();
        },
        "trap" => panic!("the event asked for this trap"),
        unknown => Err(Error::new(
            "unknown_wish",
            format!("there is nothing called '{unknown}' to be done"),
        )),
    }
}

fn describe(context: &Context) -> Result<Value, Error> {
    Ok(json!({
        "invocation_id": context.invocation_id,
        "event_id": context.event_id,
        "attempt": context.attempt,
        "deadline_ms": u64::try_from(context.deadline.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?,
        "remaining_ms": u64::try_from(context.remaining().as_millis())?,
        "namespace": context.namespace,
        "function": context.function,
        "version": context.version,
        "trace_parent": context.trace_parent,
    }))
}

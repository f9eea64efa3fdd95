//! Calling an event guest: `mayfly:function/handler`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mayfly_invoker_api::{Invocation, InvokeError, InvokeErrorKind};

use crate::bindings::GuestContext;
use crate::call::Call;
use crate::config::ANSWER_BYTES_MAX;
use crate::instance::{Guest, Instance, blame};

/// What an event guest is told about its invocation, which has `remaining` time left.
pub(crate) fn context(invocation: &Invocation, remaining: Duration) -> GuestContext {
    let target = &invocation.target;
    GuestContext {
        invocation_id: invocation.id.to_string(),
        event_id: invocation.event_id.clone().unwrap_or_else(|| invocation.id.to_string()),
        attempt: invocation.attempt,
        deadline_ms: unix_ms_in(remaining),
        namespace: target.namespace.to_string(),
        function: target.function.to_string(),
        version: target.version,
        trace_parent: invocation.trace_parent.clone(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "guests compare the deadline with their own wall clock"
)]
fn unix_ms_in(duration: Duration) -> u64 {
    let then = SystemTime::now() + duration;
    then.duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Gives `event` to the guest and returns its answer.
pub(crate) async fn serve(
    mut instance: Instance,
    call: &Call,
    context: Option<&GuestContext>,
    event: &[u8],
) -> Result<Bytes, InvokeError> {
    instance.begin(call);
    let (Guest::Event(handler), Some(context)) = (&instance.guest, context) else {
        return Err(InvokeError::new(
            InvokeErrorKind::Internal,
            "the function is not an event function",
        ));
    };
    let work = handler
        .mayfly_function_handler()
        .call_handle(&mut *instance.store, event, context);
    // Boxed, because it is large and would be moved into each of the futures around it.
    let called = call.metered(Box::pin(work)).await;
    let answer = match called {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(blame(&error, instance.store.data(), call)),
        Err(late) => Err(late),
    };
    instance.end();
    let answer = answer?;
    instance.release(&call.lease);
    match answer {
        Ok(answer) if answer.len() > ANSWER_BYTES_MAX => Err(InvokeError::new(
            InvokeErrorKind::BadResponse,
            format!(
                "the function answered {} bytes; at most {ANSWER_BYTES_MAX} are allowed",
                answer.len()
            ),
        )),
        Ok(answer) => Ok(Bytes::from(answer)),
        Err(error) => Err(InvokeError::new(
            InvokeErrorKind::Failed,
            format!("the function failed with {}: {}", error.code, error.message),
        )),
    }
}

//! Calling an event guest: `mayfly:function/handler`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mayfly_invoker_api::{Invocation, InvokeError, InvokeErrorKind};

use crate::bindings::{GuestContext, HandlerError};
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

async fn call_handle(
    instance: &mut Instance,
    context: Option<&GuestContext>,
    event: &[u8],
) -> wasmtime::Result<Result<Vec<u8>, HandlerError>> {
    let (Guest::Event(handler), Some(context)) = (&instance.guest, context) else {
        return Err(wasmtime::Error::msg("the function is not an event function"));
    };
    let handler = handler.mayfly_function_handler();
    handler.call_handle(&mut *instance.store, event, context).await
}

/// Gives `event` to the guest and returns its answer.
pub(crate) async fn serve(
    mut instance: Instance,
    call: &Call,
    context: Option<&Arc<GuestContext>>,
    event: Bytes,
) -> Result<Bytes, InvokeError> {
    instance.begin(call);
    let context = context.cloned();
    let work = async move {
        let called = call_handle(&mut instance, context.as_deref(), &event).await;
        (instance, called)
    };
    let (mut instance, called) = call.metered(Box::pin(work)).await?;
    let answer = called.map_err(|error| blame(&error, instance.store.data(), call));
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

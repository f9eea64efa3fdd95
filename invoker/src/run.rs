//! One invocation, from the first look at its target to the end of its guest.
//!
//! `run` reads downward: code, then a warm instance if there is one, else a fresh one. Whether a guest can serve twice
//! is found out with a net: as long as it is unproven, the input is kept and a reuse that fails before it has answered
//! is run once more on a fresh instance. Nobody's call pays for finding out, except in time.

use std::sync::Arc;

use mayfly_invoker_api::{Digest, Input, Invocation, InvokeError, InvokeErrorKind, Isolation, Kind, Output, Start};

use crate::bindings::GuestContext;
use crate::call::Call;
use crate::code::{Code, CodeStore, Reuse};
use crate::config::CODE_WAIT_MAX;
use crate::guest::GuestPre;
use crate::instance::{Instance, InstancePool};
use crate::replay::{self, Replayable};
use crate::ticker::Ticker;
use crate::{command, event, http};

/// What all invocations of one process share.
pub(crate) struct Host {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) codes: Arc<CodeStore>,
    pub(crate) pool: Arc<InstancePool>,
    pub(crate) ticker: Ticker,
}

/// Runs `invocation` and says how it went.
pub(crate) async fn run(host: &Host, invocation: Invocation) -> Result<Output, InvokeError> {
    let code = code_of(host, invocation.target.artifact).await?;
    let call = Call::begin(&host.ticker, &invocation);
    let context = event::context(&invocation, call.remaining());
    match (&code.guest, invocation.input) {
        (GuestPre::Command(pre), Input::Payload(stdin)) => {
            call.gauge.set_start(Start::Cold);
            command::run(&host.engine, &host.pool, pre, &call, stdin)
                .await
                .map(Output::Payload)
        }
        (GuestPre::Http(_), input @ Input::Http(_)) | (GuestPre::Event(_), input @ Input::Payload(_)) => {
            run_reusable(host, &code, &call, &context, input).await
        }
        _ => Err(wrong_input(call.target.kind)),
    }
}

/// Getting the code is the platform's work: the function's time has not begun.
async fn code_of(host: &Host, artifact: Digest) -> Result<Arc<Code>, InvokeError> {
    let code = host.codes.get(artifact);
    tokio::time::timeout(CODE_WAIT_MAX, code)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(InvokeError::new(
                InvokeErrorKind::Overloaded,
                "the function's code is still being compiled; try again in a moment",
            ))
        })
}

fn wrong_input(kind: Kind) -> InvokeError {
    tracing::error!(?kind, "an input of the wrong sort was dispatched");
    InvokeError::new(
        InvokeErrorKind::Internal,
        "the request was sent to the wrong kind of function; deploy it again",
    )
}

/// A guest that may serve many invocations with one instance, one after the other.
async fn run_reusable(
    host: &Host,
    code: &Arc<Code>,
    call: &Call,
    context: &GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    let Some(warm) = call.pool_key.as_ref().and_then(|key| host.pool.take(key)) else {
        return run_fresh(host, code, call, context, input).await;
    };
    if call.target.isolation == Isolation::Function {
        return serve(host, warm, call, context, input).await;
    }
    match code.reuse() {
        Reuse::Never => run_fresh(host, code, call, context, input).await,
        Reuse::Proven => serve(host, warm, call, context, input).await,
        Reuse::Unproven => match call.bounded(replay::keep(input)).await? {
            Replayable::Yes { first, again } => match serve(host, warm, call, context, first).await {
                // A reuse that ended well has proven the guest: then the failure is its answer.
                Err(error) if code.reuse() != Reuse::Proven && Reuse::may_be_to_blame_for(error.kind()) => {
                    rerun(host, code, call, context, again).await
                }
                answered => answered,
            },
            Replayable::No(input) => {
                // The fresh one takes its place: with both in the pool it would grow with every such call.
                drop(warm);
                run_fresh(host, code, call, context, input).await
            }
        },
    }
}

/// The second try of a failed reuse. Only if a fresh instance does better was the reuse to blame.
async fn rerun(
    host: &Host,
    code: &Arc<Code>,
    call: &Call,
    context: &GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    call.begin_again();
    let output = run_fresh(host, code, call, context, input).await?;
    code.settle_reuse(Reuse::Never);
    if let Some(key) = &call.pool_key {
        host.pool.forget(key);
    }
    tracing::info!(
        function = %call.target.function, version = call.target.version,
        "a reused instance failed where a fresh one did not: every invocation gets a fresh one from now on"
    );
    Ok(output)
}

async fn run_fresh(
    host: &Host,
    code: &Arc<Code>,
    call: &Call,
    context: &GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    let instance = Instance::create(&host.engine, &host.pool, code, call).await?;
    serve(host, instance, call, context, input).await
}

async fn serve(
    host: &Host,
    instance: Instance,
    call: &Call,
    context: &GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    call.gauge
        .set_start(if instance.is_fresh() { Start::Cold } else { Start::Warm });
    match input {
        Input::Http(request) => http::serve(&host.pool, instance, call, request).await.map(Output::Http),
        Input::Payload(event) => event::serve(&host.pool, instance, call, context, &event)
            .await
            .map(Output::Payload),
    }
}

//! One invocation, from the first look at its target to the end of its guest.
//!
//! `run` reads downward: code, then a lease, with a warm instance if there is one, else a fresh one. Whether a guest can serve twice
//! is found out with a net: as long as it is unproven, the input is kept and a reuse that fails before it has answered
//! is run once more on a fresh instance, unless it has sent requests of its own. Nobody's call pays for finding out,
//! except in time.

use std::sync::Arc;

use mayfly_invoker_api::{
    CodeKey, Gauge, Input, Invocation, InvokeError, InvokeErrorKind, Isolation, Kind, Limits, Output, Start, Target,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::apart::Apart;
use crate::bindings::GuestContext;
use crate::call::{Call, microseconds_since};
use crate::code::{Code, CodeStore, Reuse};
use crate::config::{CODE_WAIT_MAX, WAITING_CALLS_MAX};
use crate::guest::GuestPre;
use crate::instance::{Instance, InstanceLease, InstancePool};
use crate::outbound::Outbound;
use crate::pool::{Refused, Version, Want};
use crate::replay::{self, Replayable};
use crate::ticker::Ticker;
use crate::{command, event, http};

/// What all invocations of one process share.
pub(crate) struct Host {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) codes: Arc<CodeStore>,
    pub(crate) pool: Arc<InstancePool>,
    pub(crate) ticker: Ticker,
    pub(crate) apart: Arc<Apart>,
    pub(crate) outbound: Arc<Outbound>,
    /// Rings when instances may be missing that are wanted warm.
    pub(crate) upkeep: Notify,
}

/// Runs `invocation` and says how it went.
pub(crate) async fn run(host: &Arc<Host>, invocation: Invocation) -> Result<Output, InvokeError> {
    let code = code_of(host, invocation.target.code(), &invocation.gauge).await?;
    let want = want(&code, &invocation);
    let (lease, warm) = lease(host, want, &invocation.target, &invocation.gauge).await?;
    let call = Call::begin(host, &code, &invocation, lease);
    let context =
        matches!(code.guest, GuestPre::Event(_)).then(|| Arc::new(event::context(&invocation, call.remaining())));
    match (&code.guest, invocation.input) {
        (GuestPre::Command(_), Input::Payload(stdin)) => {
            call.gauge.set_start(Start::Cold);
            // Boxed, here and below: what is rare must not make the future of every warm call larger.
            Box::pin(command::run(host, &code, &call, stdin))
                .await
                .map(Output::Payload)
        }
        (GuestPre::Http(_) | GuestPre::HttpPreview(_), input @ Input::Http(_))
        | (GuestPre::Event(_), input @ Input::Payload(_)) => match warm {
            Some(warm) => run_reusing(host, &code, &call, context.as_ref(), warm, input).await,
            None => run_fresh(host, &code, &call, context.as_ref(), input).await,
        },
        _ => Err(wrong_input(call.target.kind)),
    }
}

fn refusal(refused: Refused, limits: &Limits) -> InvokeError {
    let busy = |rest: String| {
        let most = limits.instances_max;
        let message = format!("all instances of the function are busy, as many as it may have ({most}), {rest}");
        InvokeError::new(InvokeErrorKind::ConcurrencyLimit, message)
    };
    match refused {
        Refused::QueueFull => busy(format!("and {WAITING_CALLS_MAX} more calls wait for one already")),
        Refused::WaitedTooLong => busy(format!("and none was free within {} s", limits.timeout.as_secs_f64())),
        Refused::NoRoom => InvokeError::new(
            InvokeErrorKind::Overloaded,
            "the memory for instances is used by calls that run; try again in a moment",
        ),
    }
}

/// The right to an instance, and a warm one if there is one. Waiting for it is not the function's time.
async fn lease(
    host: &Host,
    want: Want,
    target: &Arc<Target>,
    gauge: &Gauge,
) -> Result<(InstanceLease, Option<Instance>), InvokeError> {
    let started = Instant::now();
    let leased = host.pool.lease(target, want).await;
    gauge.add_queue_us(microseconds_since(started));
    leased.map_err(|refused| {
        gauge.finish(0);
        refusal(refused, &target.limits)
    })
}

/// Which instances may serve it.
fn want(code: &Code, invocation: &Invocation) -> Want {
    let bears_it = code.reuse() != Reuse::Never;
    match &invocation.target.isolation {
        _ if matches!(code.guest, GuestPre::Command(_)) => Want::Fresh,
        Isolation::Function => Want::Shared(None),
        Isolation::Auto if bears_it => Want::Shared(None),
        Isolation::Key(_) if bears_it && invocation.partition.is_some() => Want::Shared(invocation.partition),
        Isolation::Auto | Isolation::Key(_) | Isolation::Invocation => Want::Fresh,
    }
}

/// Getting the code is the platform's work: the function's time has not begun.
async fn code_of(host: &Host, key: CodeKey, gauge: &Gauge) -> Result<Arc<Code>, InvokeError> {
    if let Some(code) = host.codes.at_hand(key) {
        return Ok(code);
    }
    let started = Instant::now();
    let loaded = Box::pin(tokio::time::timeout(CODE_WAIT_MAX, host.codes.get(key))).await;
    gauge.add_code_us(microseconds_since(started));
    loaded.unwrap_or_else(|_elapsed| {
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
async fn run_reusing(
    host: &Arc<Host>,
    code: &Arc<Code>,
    call: &Call,
    context: Option<&Arc<GuestContext>>,
    warm: Instance,
    input: Input,
) -> Result<Output, InvokeError> {
    if call.target.isolation == Isolation::Function || warm.is_unused() {
        return serve(warm, Start::Warm, call, context, input).await;
    }
    match code.reuse() {
        Reuse::Never => {
            drop(warm);
            run_fresh(host, code, call, context, input).await
        }
        Reuse::Proven => serve(warm, Start::Warm, call, context, input).await,
        Reuse::Unproven => match call.bounded(replay::keep(input)).await? {
            Replayable::Yes { first, again } => match serve(warm, Start::Warm, call, context, first).await {
                // A reuse that ended well has proven the guest: then the failure is its answer.
                Err(error) if code.reuse() != Reuse::Proven && Reuse::may_be_to_blame_for(error.kind()) => {
                    if call.gauge.outbound_requests() > 0 {
                        // What it sent must not be sent twice; at least nobody else pays for it.
                        code.settle_reuse(Reuse::Never);
                        return Err(error);
                    }
                    Box::pin(rerun(host, code, call, context, again)).await
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
    host: &Arc<Host>,
    code: &Arc<Code>,
    call: &Call,
    context: Option<&Arc<GuestContext>>,
    input: Input,
) -> Result<Output, InvokeError> {
    call.begin_again();
    let output = run_fresh(host, code, call, context, input).await?;
    code.settle_reuse(Reuse::Never);
    let version = Version(Arc::clone(&call.target));
    host.pool.let_go(|other| *other == version);
    tracing::info!(
        function = %call.target.function, version = call.target.version,
        "a reused instance failed where a fresh one did not: every invocation gets a fresh one from now on"
    );
    Ok(output)
}

async fn run_fresh(
    host: &Arc<Host>,
    code: &Arc<Code>,
    call: &Call,
    context: Option<&Arc<GuestContext>>,
    input: Input,
) -> Result<Output, InvokeError> {
    // Before it is made: its start function is the guest's, and may be all that it ever runs.
    call.gauge.set_start(Start::Cold);
    let instance = Box::pin(Instance::create(host, code, call)).await?;
    serve(instance, Start::Cold, call, context, input).await
}

async fn serve(
    instance: Instance,
    start: Start,
    call: &Call,
    context: Option<&Arc<GuestContext>>,
    input: Input,
) -> Result<Output, InvokeError> {
    call.gauge.set_start(start);
    match input {
        Input::Http(request) => http::serve(instance, call, request).await.map(Output::Http),
        Input::Payload(event) => event::serve(instance, call, context, event).await.map(Output::Payload),
    }
}

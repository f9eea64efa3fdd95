//! One invocation, from the first look at its target to the end of its guest.
//!
//! `run` reads downward: code, then a warm instance if there is one, else a fresh one. Whether a guest can serve twice
//! is found out with a net: as long as it is unproven, the input is kept and a reuse that fails before it has answered
//! is run once more on a fresh instance. Nobody's call pays for finding out, except in time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use mayfly_invoker_api::{Gauge, Input, Invocation, InvokeError, InvokeErrorKind, Kind, Output, Start, Target};
use rustix::time::{ClockId, clock_gettime};

use crate::code::{Code, CodeStore, GuestPre, Reuse};
use crate::instance::Instance;
use crate::pool::Pool;
use crate::replay::{self, Replayable};
use crate::ticker::{Running, Ticker};
use crate::{command, event, http};

/// What all invocations of one process share.
pub(crate) struct Host {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) codes: CodeStore,
    pub(crate) pool: Pool,
    pub(crate) ticker: Ticker,
}

/// What stays the same over the whole of one invocation.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) target: Arc<Target>,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) deadline: tokio::time::Instant,
    _stopwatch: Arc<Stopwatch>,
}

/// Writes the duration down when the last holder lets go of it, whatever the reason.
#[derive(Debug)]
struct Stopwatch {
    gauge: Arc<Gauge>,
    started: Instant,
    _clock_ticks: Running,
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.gauge.finish(microseconds_since(self.started));
    }
}

impl Call {
    fn begin(host: &Host, invocation: &Invocation) -> Self {
        let started = Instant::now();
        let gauge = Arc::clone(&invocation.gauge);
        Self {
            target: Arc::clone(&invocation.target),
            gauge: Arc::clone(&gauge),
            deadline: tokio::time::Instant::from_std(started + invocation.target.limits.timeout),
            _stopwatch: Arc::new(Stopwatch {
                gauge,
                started,
                _clock_ticks: host.ticker.enter(),
            }),
        }
    }

    /// Runs `work` until the deadline and counts its processor time.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = T>) -> Result<T, InvokeError> {
        let metered = Metered {
            work,
            gauge: &self.gauge,
        };
        tokio::select! {
            // The clock first: when many guests compute, those that are late must not have another turn each.
            biased;
            () = tokio::time::sleep_until(self.deadline) => Err(self.late()),
            done = metered => Ok(done),
        }
    }

    fn late(&self) -> InvokeError {
        let seconds = self.target.limits.timeout.as_secs_f64();
        InvokeError::new(
            InvokeErrorKind::DeadlineExceeded,
            format!("the function did not end within its time limit of {seconds} s"),
        )
    }
}

pub(crate) fn microseconds_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Runs `invocation` and says how it went.
pub(crate) async fn run(host: &Arc<Host>, invocation: Invocation) -> Result<Output, InvokeError> {
    let call = Call::begin(host, &invocation);
    let code = call.bounded(host.codes.get(call.target.artifact)).await??;
    let context = event::context(&invocation);
    match (&code.guest, invocation.input) {
        (GuestPre::Command(pre), Input::Payload(stdin)) => {
            call.gauge.set_start(Start::Cold);
            command::run(host, pre, &call, stdin).await.map(Output::Payload)
        }
        (GuestPre::Http(_), input @ Input::Http(_)) | (GuestPre::Event(_), input @ Input::Payload(_)) => {
            run_reusable(host, &code, &call, &context, input).await
        }
        _ => Err(wrong_input(call.target.kind)),
    }
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
    host: &Arc<Host>,
    code: &Arc<Code>,
    call: &Call,
    context: &event::GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    let Some(warm) = host.pool.take(&call.target) else {
        return run_fresh(host, code, call, context, input).await;
    };
    match code.reuse() {
        Reuse::Never => run_fresh(host, code, call, context, input).await,
        Reuse::Proven => serve(host, warm, call, context, input).await,
        Reuse::Unproven => match call.bounded(replay::keep(input)).await? {
            Replayable::Yes { first, again } => match serve(host, warm, call, context, first).await {
                Err(error) if may_come_from_reuse(error.kind()) => rerun(host, code, call, context, again).await,
                answered => answered,
            },
            Replayable::No(input) => {
                host.pool.put(warm);
                run_fresh(host, code, call, context, input).await
            }
        },
    }
}

/// A guest that spoils its own state fails in one of these ways; a limit or a deadline has another cause.
fn may_come_from_reuse(kind: InvokeErrorKind) -> bool {
    matches!(
        kind,
        InvokeErrorKind::Trapped | InvokeErrorKind::BadResponse | InvokeErrorKind::Failed
    )
}

/// The second try of a failed reuse. Only if a fresh instance does better was the reuse to blame.
async fn rerun(
    host: &Arc<Host>,
    code: &Arc<Code>,
    call: &Call,
    context: &event::GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    // What the failed try printed would look like the output of this invocation twice.
    drop(call.gauge.take_logs());
    let output = run_fresh(host, code, call, context, input).await?;
    code.set_reuse(Reuse::Never);
    host.pool.forget(&call.target);
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
    context: &event::GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    let instance = Instance::create(host, code, call).await?;
    serve(host, instance, call, context, input).await
}

async fn serve(
    host: &Arc<Host>,
    instance: Instance,
    call: &Call,
    context: &event::GuestContext,
    input: Input,
) -> Result<Output, InvokeError> {
    call.gauge
        .set_start(if instance.is_fresh() { Start::Cold } else { Start::Warm });
    match input {
        Input::Http(request) => http::serve(host, instance, call, request).await.map(Output::Http),
        Input::Payload(event) => event::serve(host, instance, call, context, &event)
            .await
            .map(Output::Payload),
    }
}

pin_project_lite::pin_project! {
    /// Counts the processor time of the thread while `work` is polled.
    struct Metered<'a, F> {
        #[pin]
        work: F,
        gauge: &'a Gauge,
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let before = thread_cpu_ns();
        let polled = this.work.poll(context);
        this.gauge.add_cpu_ns(thread_cpu_ns().saturating_sub(before));
        polled
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

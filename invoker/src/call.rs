//! What holds for the whole of one invocation: its target, its deadline, and the gauge that measures it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use mayfly_invoker_api::{Gauge, Invocation, InvokeError, InvokeErrorKind, Target};
use rustix::time::{ClockId, clock_gettime};

use crate::ticker::{Running, Ticker};

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
    pub(crate) fn begin(ticker: &Ticker, invocation: &Invocation) -> Self {
        let started = Instant::now();
        let gauge = Arc::clone(&invocation.gauge);
        Self {
            target: Arc::clone(&invocation.target),
            gauge: Arc::clone(&gauge),
            deadline: tokio::time::Instant::from_std(started + invocation.target.limits.timeout),
            _stopwatch: Arc::new(Stopwatch {
                gauge,
                started,
                _clock_ticks: ticker.enter(),
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

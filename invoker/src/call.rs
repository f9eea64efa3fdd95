//! What holds for the whole of one invocation: its target, its deadline, and the gauge that measures it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use mayfly_invoker_api::{Gauge, Invocation, InvokeError, InvokeErrorKind, Services, Target};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::apart::Apart;
use crate::code::Code;
use crate::instance::InstanceLease;
use crate::outbound::Outbound;
use crate::run::Host;
use crate::slices::{Manners, Sliced};
use crate::ticker::Running;

/// What stays the same over the whole of one invocation.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) target: Arc<Target>,
    pub(crate) gauge: Arc<Gauge>,
    /// Through what the guest sends requests.
    pub(crate) outbound: Arc<Outbound>,
    /// Who answers those to the platform itself.
    pub(crate) services: Arc<dyn Services>,
    /// How many events led to it.
    pub(crate) depth: u32,
    /// The right to the instance that serves it.
    pub(crate) lease: Arc<InstanceLease>,
    deadline: Instant,
    stopwatch: Arc<Stopwatch>,
    apart: Arc<Apart>,
    manners: Arc<Manners>,
}

/// Writes the duration down when the last holder lets go of it, whatever the reason.
#[derive(Debug)]
struct Stopwatch {
    gauge: Arc<Gauge>,
    started: Instant,
    /// What went before the try that counts, in microseconds.
    not_counted_us: AtomicU64,
    _clock_ticks: Running,
}

impl Stopwatch {
    fn stop(&self) {
        if self.gauge.duration_us().is_none() {
            let not_counted_us = self.not_counted_us.load(Relaxed);
            let all_us = microseconds_since(self.started);
            self.gauge.finish(all_us.saturating_sub(not_counted_us));
        }
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Call {
    pub(crate) fn begin(host: &Host, code: &Code, invocation: &Invocation, lease: InstanceLease) -> Self {
        let started = Instant::now();
        let gauge = Arc::clone(&invocation.gauge);
        Self {
            target: Arc::clone(&invocation.target),
            gauge: Arc::clone(&gauge),
            outbound: Arc::clone(&host.outbound),
            services: Arc::clone(&invocation.services),
            depth: invocation.depth,
            lease: Arc::new(lease),
            deadline: started + invocation.target.limits.timeout,
            stopwatch: Arc::new(Stopwatch {
                gauge,
                started,
                not_counted_us: AtomicU64::new(0),
                _clock_ticks: host.ticker.enter(),
            }),
            apart: Arc::clone(&host.apart),
            manners: Arc::clone(&code.manners),
        }
    }

    /// When the guest has to have ended.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Time that is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The try so far was the platform's: what it used, printed and took is not the function's.
    pub(crate) fn begin_again(&self) {
        self.gauge.forget_try();
        self.stopwatch
            .not_counted_us
            .store(microseconds_since(self.stopwatch.started), Relaxed);
    }

    /// Runs `work`, which is the platform's, until the deadline.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = T>) -> Result<T, InvokeError> {
        let bounded = Bounded {
            work,
            deadline: self.deadline,
            alarm: None,
        };
        bounded.await.ok_or_else(|| self.late())
    }

    /// Runs `work`, which is the guest's, until the deadline and counts its processor time. What it owns is given back when
    /// it is gone, which after the deadline may be a slice later. The caller boxes what is large: it would be moved into
    /// each of the futures around it.
    pub(crate) async fn metered<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Unpin + Send + 'static,
    ) -> Result<T, InvokeError> {
        self.bounded(Sliced::new(work, &self.apart, &self.manners, &self.gauge))
            .await
    }

    fn late(&self) -> InvokeError {
        // The guest may be in a slice still, and hold a part of the call until it gives way.
        self.stopwatch.stop();
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
    /// Ends with `None` at the deadline. Most work is done at its first poll, and then no timer was ever set.
    struct Bounded<F> {
        #[pin]
        work: F,
        deadline: Instant,
        #[pin]
        alarm: Option<Sleep>,
    }
}

impl<F: Future> Future for Bounded<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let mut this = self.project();
        // The clock first: when many guests compute, those that are late must not have another turn each.
        if Instant::now() >= *this.deadline {
            return Poll::Ready(None);
        }
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Some(done));
        }
        if this.alarm.is_none() {
            this.alarm.set(Some(sleep_until(*this.deadline)));
        }
        match this.alarm.as_pin_mut() {
            Some(alarm) => alarm.poll(context).map(|()| None),
            None => Poll::Pending,
        }
    }
}

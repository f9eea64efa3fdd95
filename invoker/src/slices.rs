//! Where guests are run: most beside everybody else's connections, those that compute for long apart.
//!
//! Most calls are over in a fraction of a tick. A hundred that are not would keep the runtime's threads from everybody
//! else's connections, timers and calls. So a guest whose slices are long is moved to threads of its own (`apart.rs`) for the
//! rest of its call, and the next guests of its artifact are there from their first slice. A guest that mostly waits has
//! short slices and stays.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use async_task::Task;
use cpu_time::ThreadTime;
use mayfly_invoker_api::Gauge;

use crate::apart::{Apart, survive};
use crate::config::{EXPECTED_LONG_GUESTS, SHORT_SLICE_NS_MAX};

/// What is known of the guests of one artifact, so that a hundred new ones need not show it again one by one.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    /// How many more guests are expected to compute for long, because one before them did.
    expected_long: AtomicU32,
}

impl Manners {
    fn are_long(&self) -> bool {
        self.expected_long.load(Relaxed) > 0
    }

    fn note_long(&self) {
        self.expected_long.store(EXPECTED_LONG_GUESTS, Relaxed);
    }

    /// A guest has ended that did not compute for long.
    fn forget_one(&self) {
        if self.are_long() {
            let one_less = |left: u32| left.checked_sub(1);
            // Err means that another one has taken the last.
            let _ = self.expected_long.fetch_update(Relaxed, Relaxed, one_less);
        }
    }
}

/// What a guest does, its processor time counted.
struct Watched<F> {
    /// Only the drop takes it.
    work: Option<F>,
    gauge: Arc<Gauge>,
    manners: Arc<Manners>,
    /// Of the latest slices; each counts half of the one after it.
    recent_ns: u64,
    has_begun: bool,
    was_long: bool,
}

impl<F> Watched<F> {
    fn is_long(&self) -> bool {
        self.recent_ns >= SHORT_SLICE_NS_MAX
    }

    fn note(&mut self, used_ns: u64) {
        self.gauge.add_cpu_ns(used_ns);
        self.has_begun = true;
        self.recent_ns = self.recent_ns / 2 + used_ns;
        if self.is_long() {
            self.was_long = true;
            self.manners.note_long();
        }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let before = ThreadTime::now();
        let polled = Pin::new(work).poll(context);
        self.note(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        polled
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        let work = self.work.take();
        survive(|| drop(work));
        if !self.was_long {
            self.manners.forget_one();
        }
    }
}

/// What a guest does, slice by slice, each where it may be run.
pub(crate) struct Sliced<F: Future> {
    apart: Arc<Apart>,
    place: Place<F>,
}

enum Place<F: Future> {
    /// `None` only while it is moved.
    Here(Option<Watched<F>>),
    Apart(Task<F::Output>),
}

impl<F: Future> Sliced<F> {
    pub(crate) fn new(work: F, apart: &Arc<Apart>, manners: &Arc<Manners>, gauge: &Arc<Gauge>) -> Self {
        Self {
            apart: Arc::clone(apart),
            place: Place::Here(Some(Watched {
                work: Some(work),
                gauge: Arc::clone(gauge),
                manners: Arc::clone(manners),
                recent_ns: 0,
                has_begun: false,
                was_long: false,
            })),
        }
    }
}

impl<F> Future for Sliced<F>
where
    F: Future<Output: Send + 'static> + Unpin + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        loop {
            let work = match &mut this.place {
                Place::Apart(task) => return Pin::new(task).poll(context),
                Place::Here(work) => work,
            };
            if let Some(watched) = work
                && (watched.has_begun || !watched.manners.are_long())
            {
                let polled = Pin::new(&mut *watched).poll(context);
                if polled.is_ready() || !watched.is_long() {
                    return polled;
                }
            }
            // `None` after a panic.
            let Some(watched) = work.take() else {
                return Poll::Pending;
            };
            this.place = Place::Apart(this.apart.spawn(watched));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::apart;

    /// A guest that computes in each slice for as long as `slices` says, and tells for each whether it was run apart.
    fn guest(slices: &'static [u64], all: &All) -> impl Future<Output = Vec<bool>> {
        let mut seen = Vec::new();
        let work = poll_fn(move |context| {
            let Some(micros) = slices.get(seen.len()) else {
                return Poll::Ready(std::mem::take(&mut seen));
            };
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(*micros) {}
            seen.push(apart::is_here());
            context.waker().wake_by_ref();
            Poll::Pending
        });
        Sliced::new(work, &all.apart, &all.manners, &Arc::default())
    }

    struct All {
        apart: Arc<Apart>,
        manners: Arc<Manners>,
    }

    impl All {
        fn new() -> Self {
            Self {
                apart: Arc::new(Apart::start().unwrap()),
                manners: Arc::default(),
            }
        }
    }

    const LONG_US: u64 = 2_000;

    #[tokio::test]
    async fn a_guest_with_long_slices_is_moved_and_the_next_ones_begin_apart() {
        let all = All::new();
        assert_eq!(guest(&[1, 1, 1], &all).await, [false; 3]);
        assert_eq!(guest(&[1, LONG_US, 1, 1], &all).await, [false, false, true, true]);
        for _ in 0..EXPECTED_LONG_GUESTS {
            assert_eq!(guest(&[1, 1], &all).await, [true; 2]);
        }
        assert_eq!(guest(&[1, 1], &all).await, [false; 2], "what was known is forgotten");
    }

    #[tokio::test]
    async fn one_that_has_begun_is_judged_by_its_own_slices() {
        let all = All::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let work = Box::pin(async move { receiver.await.is_err() && !apart::is_here() });
        let mut waits = Sliced::new(work, &all.apart, &all.manners, &Arc::default());
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut waits).poll(&mut context).is_pending());
        assert_eq!(guest(&[LONG_US, 1], &all).await, [false, true]);
        drop(sender);
        assert!(waits.await);
    }

    #[tokio::test]
    async fn what_it_holds_is_held_until_it_is_gone() {
        let all = All::new();
        all.manners.note_long();
        let (sender, mut receiver) = tokio::sync::oneshot::channel::<()>();
        let work = Box::pin(async move {
            pending::<()>().await;
            drop(sender);
        });
        let mut waits = Sliced::new(work, &all.apart, &all.manners, &Arc::default());
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut waits).poll(&mut context).is_pending());
        assert!(receiver.try_recv().is_err_and(|error| error == TryRecvError::Empty));
        drop(waits);
        assert!(receiver.await.is_err());
    }
}

//! Guests that compute for long take turns.
//!
//! Most calls are over in a fraction of a tick. A hundred that are not would keep the runtime's threads from everybody
//! else's connections, timers and calls, and one instruction that fills half a GiB keeps a thread for as long as that
//! takes. So a guest whose slices are long computes only while it has one of a few turns, and at least one of the
//! runtime's threads is always left to all the rest: between those that have turns and it, the kernel shares the
//! processors. A guest that mostly waits has short slices and needs no turn.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::block_in_place;
use tokio_util::sync::PollSemaphore;

use crate::config::{EXPECTED_LONG_GUESTS, SHORT_SLICE_NS_MAX, SLICE_NS_MAX};

/// The turns of one process.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    /// One for each processor; they come round in the order in which they are asked for.
    turns: Arc<Semaphore>,
    /// Threads of the runtime that guests may keep for a slice: all but one. To leave a thread costs more than a short
    /// slice does, so a guest that is alone stays where it is.
    threads: Arc<Semaphore>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self::of(available_parallelism().map_or(1, NonZero::get))
    }

    fn of(processors: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(processors)),
            threads: Arc::new(Semaphore::new(processors - 1)),
        }
    }
}

/// What is known of the guests of one artifact, so that a hundred new ones need not show it again one by one.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    /// How many more guests take turns from their first slice on, because one before them had long slices.
    expected_long: AtomicU32,
    /// How many more are kept off the runtime's threads, because one before them had a slice that no clock could end.
    expected_hogs: AtomicU32,
}

impl Manners {
    /// A guest has ended; what it has not done is expected of one guest less.
    fn forget_some(&self, was_long: bool, was_hog: bool) {
        for (expected, happened) in [(&self.expected_long, was_long), (&self.expected_hogs, was_hog)] {
            if !happened && expected.load(Relaxed) > 0 {
                let one_less = |left: u32| left.checked_sub(1);
                // Err means that another one has taken the last.
                let _ = expected.fetch_update(Relaxed, Relaxed, one_less);
            }
        }
    }
}

/// One guest's place among the others.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: PollSemaphore,
    threads: Arc<Semaphore>,
    manners: Arc<Manners>,
    /// Of the latest slices; each counts half of the one after it.
    recent_ns: u64,
    was_long: bool,
    was_hog: bool,
}

impl Turn {
    pub(crate) fn new(turns: &Turns, manners: &Arc<Manners>) -> Self {
        let expected_long = manners.expected_long.load(Relaxed) > 0;
        Self {
            turns: PollSemaphore::new(Arc::clone(&turns.turns)),
            threads: Arc::clone(&turns.threads),
            manners: Arc::clone(manners),
            recent_ns: if expected_long { SHORT_SLICE_NS_MAX } else { 0 },
            was_long: false,
            was_hog: false,
        }
    }

    /// Runs one slice of the guest, at once if its slices are short, else in its turn. `slice` gives the processor time
    /// that it took, in nanoseconds, beside its result.
    pub(crate) fn run<T>(
        &mut self,
        context: &mut Context<'_>,
        slice: impl FnOnce(&mut Context<'_>) -> (Poll<T>, u64),
    ) -> Poll<T> {
        let is_hog = self.was_hog || self.manners.expected_hogs.load(Relaxed) > 0;
        let (polled, used_ns) = if self.recent_ns < SHORT_SLICE_NS_MAX && !is_hog {
            slice(context)
        } else {
            // Nobody closes the semaphore.
            let _turn = ready!(self.turns.poll_acquire(context));
            match self.threads.try_acquire() {
                Ok(_thread) if !is_hog => slice(context),
                _ => block_in_place(|| slice(context)),
            }
        };
        self.note(used_ns);
        polled
    }

    fn note(&mut self, used_ns: u64) {
        self.recent_ns = self.recent_ns / 2 + used_ns;
        if self.recent_ns >= SHORT_SLICE_NS_MAX {
            self.was_long = true;
            self.manners.expected_long.store(EXPECTED_LONG_GUESTS, Relaxed);
        }
        if used_ns > SLICE_NS_MAX {
            self.was_hog = true;
            self.manners.expected_hogs.store(EXPECTED_LONG_GUESTS, Relaxed);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.manners.forget_some(self.was_long, self.was_hog);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_guests_with_long_slices_wait_for_turns() {
        let (turns, manners) = (Turns::of(1), Arc::default());
        let taken = Arc::clone(&turns.turns).acquire_owned().await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut runs = |turn: &mut Turn, used_ns| turn.run(&mut context, |_| (Poll::Ready(()), used_ns)).is_ready();

        let mut short = Turn::new(&turns, &manners);
        assert!((0..100).all(|_| runs(&mut short, SHORT_SLICE_NS_MAX / 4)));
        let mut long = Turn::new(&turns, &manners);
        assert!(runs(&mut long, SHORT_SLICE_NS_MAX), "nobody knows it before");
        assert!(!runs(&mut long, 1));
        let mut next = Turn::new(&turns, &manners);
        assert!(!runs(&mut next, 1), "its like is known");
        assert!(runs(&mut short, 1), "what it has shown itself counts more");

        drop(taken);
        assert!(runs(&mut long, 1) && runs(&mut next, 1));
        for _ in 0..EXPECTED_LONG_GUESTS {
            assert_eq!(Turn::new(&turns, &manners).recent_ns, SHORT_SLICE_NS_MAX);
        }
        assert_eq!(Turn::new(&turns, &manners).recent_ns, 0, "what was known is forgotten");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn guests_that_no_clock_ends_are_kept_apart_until_many_were_not_so() {
        let (turns, manners) = (Turns::of(1), Arc::<Manners>::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut hog = Turn::new(&turns, &manners);
        let ran = hog.run(&mut context, |_| (Poll::Ready(()), SLICE_NS_MAX + 1));
        assert!(ran.is_ready());
        drop(hog);
        let expected = || manners.expected_hogs.load(Relaxed);
        for left in (0..EXPECTED_LONG_GUESTS).rev() {
            let mut next = Turn::new(&turns, &manners);
            assert!(next.run(&mut context, |_| (Poll::Ready(()), 1)).is_ready());
            drop(next);
            assert_eq!(expected(), left);
        }
    }
}

//! Guests that compute for long do so apart, or take turns.
//!
//! Most calls are over in a fraction of a tick. A hundred that are not would keep the runtime's threads from everybody
//! else's connections, timers and calls. So once a guest of an artifact has had long slices, the next ones run on threads of
//! their own (`apart.rs`) from the first; those that are under way already compute only while they have one of a few turns,
//! and at least one of the runtime's threads is always left to all the rest. A guest that mostly waits has short slices.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use crate::apart;
use crate::config::{EXPECTED_LONG_GUESTS, SHORT_SLICE_NS_MAX};

/// The turns of one process.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    /// For a runtime of at least two threads, and as many as processors.
    pub(crate) fn new() -> Self {
        Self::of(available_parallelism().map_or(1, NonZero::get))
    }

    fn of(processors: usize) -> Self {
        Self(Arc::new(Semaphore::new(processors.saturating_sub(1).max(1))))
    }
}

/// What is known of the guests of one artifact, so that a hundred new ones need not show it again one by one.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    /// How many more guests are expected to compute for long, because one before them did.
    expected_long: AtomicU32,
}

impl Manners {
    /// Whether the next guest is to run apart.
    pub(crate) fn are_long(&self) -> bool {
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

/// One guest's place among the others.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: PollSemaphore,
    manners: Arc<Manners>,
    /// Of the latest slices; each counts half of the one after it.
    recent_ns: u64,
    was_long: bool,
}

impl Turn {
    pub(crate) fn new(turns: &Turns, manners: &Arc<Manners>) -> Self {
        Self {
            turns: PollSemaphore::new(Arc::clone(&turns.0)),
            manners: Arc::clone(manners),
            recent_ns: if manners.are_long() { SHORT_SLICE_NS_MAX } else { 0 },
            was_long: false,
        }
    }

    /// Runs one slice of the guest, at once if its slices are short or nobody waits for this thread, else in its turn.
    /// `slice` gives the processor time that it took, in nanoseconds, beside its result.
    pub(crate) fn run<T>(
        &mut self,
        context: &mut Context<'_>,
        slice: impl FnOnce(&mut Context<'_>) -> (Poll<T>, u64),
    ) -> Poll<T> {
        let is_long = self.recent_ns >= SHORT_SLICE_NS_MAX || (self.recent_ns == 0 && self.manners.are_long());
        let (polled, used_ns) = if is_long && !apart::is_here() {
            // Nobody closes the semaphore.
            let _turn = ready!(self.turns.poll_acquire(context));
            slice(context)
        } else {
            slice(context)
        };
        self.note(used_ns);
        polled
    }

    fn note(&mut self, used_ns: u64) {
        // Never 0 after the first slice.
        self.recent_ns = (self.recent_ns / 2 + used_ns).max(1);
        if self.recent_ns >= SHORT_SLICE_NS_MAX {
            self.was_long = true;
            self.manners.note_long();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.was_long {
            self.manners.forget_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn only_guests_with_long_slices_wait_for_turns() {
        let (turns, manners) = (Turns::of(1), Arc::default());
        let taken = Arc::clone(&turns.0).try_acquire_owned().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut runs = |turn: &mut Turn, used_ns| turn.run(&mut context, |_| (Poll::Ready(()), used_ns)).is_ready();

        let (mut short, mut early) = (Turn::new(&turns, &manners), Turn::new(&turns, &manners));
        assert!((0..100).all(|_| runs(&mut short, SHORT_SLICE_NS_MAX / 4)));
        let mut long = Turn::new(&turns, &manners);
        assert!(runs(&mut long, SHORT_SLICE_NS_MAX), "nobody knows it before");
        assert!(!runs(&mut long, 1));
        let mut next = Turn::new(&turns, &manners);
        assert!(!runs(&mut next, 1), "its like is known");
        assert!(
            !runs(&mut early, 1),
            "also to one that was there before and has not run yet"
        );
        assert!(runs(&mut short, 1), "what it has shown itself counts more");

        drop(taken);
        assert!([&mut long, &mut next, &mut early].map(|turn| runs(turn, 1)) == [true; 3]);
    }

    #[test]
    fn guests_are_expected_to_compute_for_long_until_many_did_not() {
        let (turns, manners) = (Turns::of(1), Arc::<Manners>::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut one = |used_ns| {
            let ran = Turn::new(&turns, &manners).run(&mut context, |_| (Poll::Ready(()), used_ns));
            assert!(ran.is_ready());
            manners.are_long()
        };
        assert!(!one(SHORT_SLICE_NS_MAX - 1));
        assert!(one(SHORT_SLICE_NS_MAX));
        for _ in 1..EXPECTED_LONG_GUESTS {
            assert!(one(1));
        }
        assert!(!one(1), "what was known is forgotten");
    }
}

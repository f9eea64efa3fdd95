//! Threads for guests that compute for long, apart from those that serve connections, timers and all other calls.
//!
//! A guest on these threads may take as long as it likes between two moments at which it gives way: one instruction that
//! fills half a GiB keeps a thread for a tenth of a second. There are as many as processors, and never more: the kernel
//! shares the processors between them and the runtime's threads, and guests come round in the order in which they are ready.
//! Only slices are run here. Timers, sockets and time limits stay with the runtime, so that none waits for a guest.

use std::cell::Cell;
use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use async_task::{Builder, Runnable, Task};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

thread_local! {
    static IS_APART: Cell<bool> = const { Cell::new(false) };
}

/// The threads of one process. They end when this is dropped and what was given to them has ended.
#[derive(Debug)]
pub(crate) struct Apart {
    /// Guests that are ready. Bounded by the calls that may run.
    slices: Sender<Runnable>,
    /// What is to be ended. Bounded by the slots of the engine's pool.
    ends: Sender<End>,
    /// How much of it is not done yet.
    ending: AtomicUsize,
}

type End = Box<dyn FnOnce() + Send>;

impl Apart {
    /// Starts the threads. Must be called inside the runtime whose timers and sockets the guests use.
    ///
    /// # Errors
    /// When the machine gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let (slices, ready) = channel();
        let ready = Arc::new(Mutex::new(ready));
        for _ in 0..available_parallelism().map_or(1, NonZero::get) {
            let (ready, runtime) = (Arc::clone(&ready), Handle::current());
            let work = move || run_slices(&ready, &runtime);
            thread::Builder::new().name("guests".to_owned()).spawn(work)?;
        }
        let (ends, wanted) = channel();
        let work = move || run_ends(&wanted);
        thread::Builder::new().name("guest-ends".to_owned()).spawn(work)?;
        Ok(Self {
            slices,
            ends,
            ending: AtomicUsize::new(0),
        })
    }

    /// Runs `work` on these threads. When the task is dropped, `work` is dropped where it would have been run next.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Task<T> {
        let slices = self.slices.clone();
        // Err means that the threads are gone, and with them whoever waits for the work.
        let ready = move |runnable| drop(slices.send(runnable));
        let (runnable, task) = Builder::new().propagate_panic(true).spawn(|()| work, ready);
        runnable.schedule();
        task
    }

    /// Drops `what`, which takes long, behind nothing but its like.
    pub(crate) fn end(self: &Arc<Self>, what: impl Send + 'static) {
        let end = Ending::of(self);
        // Err means that the thread is gone; then it is dropped here.
        drop(self.ends.send(Box::new(move || {
            drop(what);
            drop(end);
        })));
    }

    /// Waits until all is dropped that was to be until now. `false` if there is nothing.
    pub(crate) async fn all_ended(&self) -> bool {
        if self.ending.load(SeqCst) == 0 {
            return false;
        }
        let (sender, done) = oneshot::channel::<()>();
        drop(self.ends.send(Box::new(move || drop(sender))));
        // Err is what is waited for: the other end is dropped.
        let _ = done.await;
        true
    }
}

/// Counts one end, until it is done.
struct Ending(Arc<Apart>);

impl Ending {
    fn of(apart: &Arc<Apart>) -> Self {
        apart.ending.fetch_add(1, SeqCst);
        Self(Arc::clone(apart))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.fetch_sub(1, SeqCst);
    }
}

/// Whether this thread is one of those of guests that compute, so that it may take its time.
pub(crate) fn is_here() -> bool {
    IS_APART.get()
}

fn run_slices(ready: &Mutex<Receiver<Runnable>>, runtime: &Handle) {
    IS_APART.set(true);
    let _context = runtime.enter();
    loop {
        let next = ready.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(runnable) = next else { return };
        // A panic goes to whoever waits for the task.
        runnable.run();
    }
}

fn run_ends(wanted: &Receiver<End>) {
    while let Ok(end) = wanted.recv() {
        survive(end);
    }
}

/// For the end of a guest: its thread would be missing for ever, or the process would end with it.
pub(crate) fn survive(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("the end of a guest failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_run_apart_and_dropped_there_when_nobody_wants_it() {
        let apart = Apart::start().unwrap();
        assert!(apart.spawn(async { is_here() }).await);
        assert!(!is_here());

        struct TellsWhere(Option<oneshot::Sender<bool>>);
        impl Drop for TellsWhere {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(is_here());
            }
        }
        let (sender, dropped) = oneshot::channel();
        let held = TellsWhere(Some(sender));
        let waiting = apart.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(waiting);
        assert!(dropped.await.unwrap());
    }

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as it must be");
        }
    }

    #[tokio::test]
    async fn panics_reach_who_waits_and_no_thread_is_lost() {
        let apart = Arc::new(Apart::start().unwrap());
        assert!(!apart.all_ended().await);
        for _ in 0..20 {
            let work = apart.spawn(async { panic!("as it must be") });
            assert!(tokio::spawn(work).await.unwrap_err().is_panic());
            apart.end(Panics);
        }
        let (sender, dropped) = oneshot::channel::<()>();
        apart.end(sender);
        assert!(dropped.await.is_err() && apart.spawn(async { is_here() }).await);
        while apart.all_ended().await {}
    }
}

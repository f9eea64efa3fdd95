//! Threads for guests that compute for long, apart from those that serve connections, timers and all other calls.
//!
//! A guest on these threads may take as long as it likes between two moments at which it gives way: one instruction that
//! fills half a GiB keeps a thread for a tenth of a second. There are as many as processors, and never more: the kernel
//! shares the processors between them and the rest, and the runtime shares them among the guests.

use std::cell::Cell;
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::config::OUTBOUND_LOOKUPS_MAX;

thread_local! {
    static IS_APART: Cell<bool> = const { Cell::new(false) };
}

/// The threads of one process.
#[derive(Debug)]
pub(crate) struct Apart {
    /// Only the drop takes it.
    runtime: Option<Runtime>,
}

impl Apart {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the machine gives none.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(available_parallelism().map_or(1, NonZero::get))
            .max_blocking_threads(OUTBOUND_LOOKUPS_MAX)
            .thread_name("guests")
            .on_thread_start(|| IS_APART.set(true))
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// With what work is given to them.
    pub(crate) fn handle(&self) -> &Handle {
        let runtime = self.runtime.as_ref();
        runtime.expect("it is there until the end").handle()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last holder may be one of these threads, which cannot wait for itself.
            runtime.shutdown_background();
        }
    }
}

/// Whether this is one of these threads, so that nobody's connection waits for it.
pub(crate) fn is_here() -> bool {
    IS_APART.get()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn its_threads_are_told_from_others_and_it_may_end_on_one_of_them() {
        let apart = Arc::new(Apart::start().unwrap());
        let threads = apart.handle().clone();
        let (sender, receiver) = mpsc::channel();
        threads.spawn(async move {
            sender.send(is_here()).unwrap();
            drop(apart);
            // A panic would end the task before this.
            sender.send(is_here()).unwrap();
        });
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [true, true]);
        assert!(!is_here());
    }
}

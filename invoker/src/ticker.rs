//! The clock that running guests see: at every tick a guest gives way to others and looks at its deadline.
//!
//! The tick is short, because with many guests that compute the next turn of each is as many ticks away. So that an
//! idle server sleeps, the clock stands still while no guest has been running for some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};

use wasmtime::{Engine, EngineWeak};

use crate::config::{EPOCH_TICK, TICKS_UNTIL_IDLE};

/// The ticking thread of one engine. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    ended: AtomicBool,
}

/// A guest is running; the clock ticks while one of these exists.
#[derive(Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, seen) = (engine.weak(), Arc::clone(&shared));
        let ticking = thread::Builder::new()
            .name("epoch-ticker".to_owned())
            .spawn(move || tick(&engine, &seen))?;
        Ok(Self {
            shared,
            thread: ticking.thread().clone(),
        })
    }

    /// Makes sure that the clock ticks.
    pub(crate) fn enter(&self) -> Running {
        self.shared.running.fetch_add(1, SeqCst);
        // Either we see that it is parked, or it sees us before it parks: both sides write first and read then.
        if self.shared.parked.load(SeqCst) {
            self.thread.unpark();
        }
        Running {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, SeqCst);
    }
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    let mut idle_ticks = 0;
    while !shared.ended.load(SeqCst) {
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        thread::sleep(EPOCH_TICK);
        idle_ticks = if shared.running.load(SeqCst) == 0 {
            idle_ticks + 1
        } else {
            0
        };
        if idle_ticks >= TICKS_UNTIL_IDLE {
            shared.parked.store(true, SeqCst);
            if shared.running.load(SeqCst) == 0 && !shared.ended.load(SeqCst) {
                thread::park();
            }
            shared.parked.store(false, SeqCst);
            idle_ticks = 0;
        }
    }
}

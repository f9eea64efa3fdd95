//! One instantiated component in one store.

use std::sync::Arc;

use mayfly_invoker_api::{InvokeError, InvokeErrorKind, Target};
use tokio::time::Instant;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi_http::p2::bindings::Proxy;

use crate::bindings::EventHandler;
use crate::call::{Call, microseconds_since};
use crate::code::{Code, Reuse};
use crate::guest::GuestPre;
use crate::pool::Pool;
use crate::state::{self, State};

/// The warm instances of one process.
pub(crate) type InstancePool = Pool<Instance>;

/// How an instance is called.
pub(crate) enum Guest {
    Http(Proxy),
    Event(EventHandler),
}

/// A guest with its memory. Owned by the invocation that it serves, or by the pool between two of them.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) guest: Guest,
    pub(crate) target: Arc<Target>,
    code: Arc<Code>,
    served: u64,
}

impl Instance {
    /// Makes an instance. If all slots are taken, idle instances are given up for it.
    pub(crate) async fn create(
        engine: &Engine,
        pool: &InstancePool,
        code: &Arc<Code>,
        call: &Call,
    ) -> Result<Self, InvokeError> {
        let started = Instant::now();
        let created = call.metered(Self::instantiate(engine, pool, code, call)).await;
        call.gauge.add_init_us(microseconds_since(started));
        created?
    }

    async fn instantiate(
        engine: &Engine,
        pool: &InstancePool,
        code: &Arc<Code>,
        call: &Call,
    ) -> Result<Self, InvokeError> {
        loop {
            let mut store = state::store(engine, State::new(&call.target));
            store.data_mut().begin(&call.gauge);
            let guest = match &code.guest {
                GuestPre::Http(pre) => pre.instantiate_async(&mut store).await.map(Guest::Http),
                GuestPre::Event(pre) => pre.instantiate_async(&mut store).await.map(Guest::Event),
                GuestPre::Command(_) => Err(wasmtime::Error::msg("a command is run, not kept")),
            };
            match guest {
                Ok(guest) => {
                    let (target, code) = (Arc::clone(&call.target), Arc::clone(code));
                    return Ok(Self {
                        store,
                        guest,
                        target,
                        code,
                        served: 0,
                    });
                }
                Err(error) if error.is::<PoolConcurrencyLimitError>() && pool.give_up_oldest() => {}
                Err(error) => return Err(blame(&error, store.data(), call)),
            }
        }
    }

    /// Whether it has not served anyone yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.served == 0
    }

    /// What the guest prints and uses from now on is this invocation's.
    pub(crate) fn begin(&mut self, call: &Call) {
        self.store.data_mut().begin(&call.gauge);
    }

    /// The guest has ended, in whatever way.
    pub(crate) fn end(&mut self) {
        self.store.data_mut().end();
    }

    /// Gives an instance that has ended well to the pool, and learns from it.
    pub(crate) fn release(mut self, pool: &InstancePool) {
        if let Some(code) = self.on_trial() {
            code.settle_reuse(Reuse::Proven);
        }
        self.served += 1;
        if self.code.reuse() != Reuse::Never {
            let target = Arc::clone(&self.target);
            pool.put(&target, self);
        }
    }

    /// The code of which it is not known yet whether it bears the reuse that is happening now.
    pub(crate) fn on_trial(&self) -> Option<Arc<Code>> {
        (self.served > 0 && self.code.reuse() == Reuse::Unproven).then(|| Arc::clone(&self.code))
    }
}

/// Says in the function's terms why its guest failed. The place of a trap goes to the function's log.
pub(crate) fn blame(error: &wasmtime::Error, state: &State, call: &Call) -> InvokeError {
    if error.is::<PoolConcurrencyLimitError>() {
        return InvokeError::new(
            InvokeErrorKind::Overloaded,
            "all instances of this machine are busy; try again in a moment",
        );
    }
    state.console.note(&format!("{error:?}\n"));
    if state.limiter.refused() {
        let mib = call.target.limits.memory_bytes >> 20;
        return InvokeError::new(
            InvokeErrorKind::MemoryExceeded,
            format!("the function needed more than its memory limit of {mib} MiB"),
        );
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => InvokeError::new(InvokeErrorKind::Trapped, format!("the function trapped: {trap}")),
        None => InvokeError::new(
            InvokeErrorKind::Trapped,
            format!("the function was stopped: {}", error.root_cause()),
        ),
    }
}

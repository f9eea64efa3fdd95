//! One instantiated component in one store.

use std::sync::Arc;

use mayfly_invoker_api::{InvokeError, InvokeErrorKind, Isolation, Target};
use tokio::time::Instant;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi_http::p2::bindings::Proxy;

use crate::bindings::EventHandler;
use crate::call::{Call, microseconds_since};
use crate::code::{Code, Reuse};
use crate::config::LEAK_CHECK_INVOCATIONS;
use crate::guest::GuestPre;
use crate::pool::{Key, Pool};
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
    target: Arc<Target>,
    code: Arc<Code>,
    /// Where it is kept between two invocations, if it is.
    pool_key: Option<Key>,
    served: u32,
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
                    return Ok(Self {
                        store,
                        guest,
                        target: Arc::clone(&call.target),
                        code: Arc::clone(code),
                        pool_key: call.pool_key.clone(),
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
        let worn_out = self.served >= self.target.limits.requests_per_instance_max
            || (self.served.is_multiple_of(LEAK_CHECK_INVOCATIONS) && self.store.data_mut().leaks());
        let bears_it = self.target.isolation == Isolation::Function || self.code.reuse() != Reuse::Never;
        if bears_it
            && !worn_out
            && let Some(key) = self.pool_key.clone()
        {
            pool.put(key, self);
        }
    }

    /// The code of which it is not known yet whether it bears the reuse that is happening now.
    pub(crate) fn on_trial(&self) -> Option<Arc<Code>> {
        let tried = self.served > 0 && self.target.isolation != Isolation::Function;
        (tried && self.code.reuse() == Reuse::Unproven).then(|| Arc::clone(&self.code))
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

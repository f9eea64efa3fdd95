//! One instantiated component in one store.

use std::sync::Arc;

use mayfly_invoker_api::{Gauge, InvokeError, InvokeErrorKind, Isolation, Target};
use tokio::time::Instant;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

use crate::bindings::EventHandler;
use crate::call::{Call, microseconds_since};
use crate::code::{Code, Reuse};
use crate::config::{HOST_BYTES_PER_INSTANCE, LEAK_CHECK_INVOCATIONS};
use crate::guest::GuestPre;
use crate::pool::{Lease, Pool};
use crate::run::Host;
use crate::slices::Sliced;
use crate::state::State;
use crate::store::GuestStore;

/// The warm instances of one process.
pub(crate) type InstancePool = Pool<Instance>;
/// The right to one of them.
pub(crate) type InstanceLease = Lease<Instance>;

/// How an instance is called.
pub(crate) enum Guest {
    Http(Proxy),
    HttpPreview(Service),
    Event(EventHandler),
}

/// A guest with its memory. Owned by the invocation that it serves, or by the pool between two of them.
pub(crate) struct Instance {
    pub(crate) store: GuestStore,
    pub(crate) guest: Guest,
    target: Arc<Target>,
    code: Arc<Code>,
    served: u32,
}

impl Instance {
    /// Makes an instance. If all slots are taken, idle instances are given up for it.
    pub(crate) async fn create(host: &Arc<Host>, code: &Arc<Code>, call: &Call) -> Result<Self, InvokeError> {
        let started = Instant::now();
        let work = Self::make_for(Arc::clone(host), Arc::clone(code), call.clone());
        let created = call.metered(Box::pin(work)).await;
        let init_us = microseconds_since(started);
        call.gauge.add_init_us(init_us);
        let mut instance = created??;
        call.lease.measured(instance.count_bytes(), init_us);
        Ok(instance)
    }

    async fn make_for(host: Arc<Host>, code: Arc<Code>, call: Call) -> Result<Self, InvokeError> {
        loop {
            let begin = |state: &mut State| state.begin(&call);
            let made = Self::instantiate(&host, &code, (&call.target, &call.lease), begin).await;
            let (error, store) = match made {
                Ok(instance) => return Ok(instance),
                Err(failed) => failed,
            };
            if !error.is::<PoolConcurrencyLimitError>() || !make_room(&host).await {
                return Err(blame(&error, store.data(), &call));
            }
        }
    }

    /// Makes an instance before anybody calls.
    pub(crate) async fn create_unused(
        host: &Arc<Host>,
        code: &Arc<Code>,
        target: &Arc<Target>,
        lease: &Arc<InstanceLease>,
    ) -> wasmtime::Result<Self> {
        let started = Instant::now();
        // What it prints and uses before its first call is nobody's.
        let nobody = Arc::new(Gauge::default());
        let work = {
            let (host, code) = (Arc::clone(host), Arc::clone(code));
            let (target, lease, nobody) = (Arc::clone(target), Arc::clone(lease), Arc::clone(&nobody));
            async move {
                let begin = |state: &mut State| state.observe(&nobody);
                Self::instantiate(&host, &code, (&target, &lease), begin).await
            }
        };
        let made = Sliced::new(Box::pin(work), &host.apart, &code.manners, &nobody).await;
        let mut instance = made.map_err(|(error, _)| error)?;
        instance.end();
        lease.measured(instance.count_bytes(), microseconds_since(started));
        Ok(instance)
    }

    async fn instantiate(
        host: &Host,
        code: &Arc<Code>,
        (target, lease): (&Arc<Target>, &Arc<InstanceLease>),
        begin: impl FnOnce(&mut State),
    ) -> Result<Self, (wasmtime::Error, GuestStore)> {
        let mut store = GuestStore::new(host, lease, State::new(target));
        begin(store.data_mut());
        store.data_mut().limiter.watch(host.pool.growth());
        let guest = match &code.guest {
            GuestPre::Http(pre) => pre.instantiate_async(&mut store).await.map(Guest::Http),
            GuestPre::HttpPreview(pre) => pre.instantiate_async(&mut store).await.map(Guest::HttpPreview),
            GuestPre::Event(pre) => pre.instantiate_async(&mut store).await.map(Guest::Event),
            GuestPre::Command(_) => Err(wasmtime::Error::msg("a command is run, not kept")),
        };
        match guest {
            Ok(guest) => Ok(Self {
                store,
                guest,
                target: Arc::clone(target),
                code: Arc::clone(code),
                served: 0,
            }),
            Err(error) => Err((error, store)),
        }
    }

    /// Memory that counts for it in the pool: as large as its guest's memories are, whether they were written or not.
    pub(crate) fn count_bytes(&mut self) -> u64 {
        self.store.data_mut().limiter.count_memory_bytes() + HOST_BYTES_PER_INSTANCE
    }

    /// Whether it has not served anyone yet.
    pub(crate) fn is_unused(&self) -> bool {
        self.served == 0
    }

    /// What the guest prints, uses and sends from now on is this invocation's.
    pub(crate) fn begin(&mut self, call: &Call) {
        self.store.hold(&call.lease);
        self.store.data_mut().begin(call);
    }

    /// Drops it; done when its memory and its place are free.
    pub(crate) async fn gone(self) {
        self.store.gone().await;
    }

    /// The guest has ended, in whatever way.
    pub(crate) fn end(&mut self) {
        self.store.data_mut().end();
    }

    /// Leaves it to others as it is.
    pub(crate) fn put(mut self, lease: &InstanceLease) {
        self.store.let_go();
        let bytes = self.count_bytes();
        lease.put(self, bytes);
    }

    /// Whether what it answers with may come from the host when the guest has long ended: a request's body that is passed
    /// on, in WASI 0.3.
    pub(crate) fn may_pass_on(&self) -> bool {
        matches!(self.guest, Guest::HttpPreview(_))
    }

    /// Leaves an instance that has ended well to others, and learns from it.
    pub(crate) fn release(mut self, lease: &InstanceLease) {
        if let Some(code) = self.on_trial() {
            code.settle_reuse(Reuse::Proven);
        }
        self.served += 1;
        let worn_out = self.served >= self.target.limits.requests_per_instance_max
            || (self.served.is_multiple_of(LEAK_CHECK_INVOCATIONS) && self.store.data_mut().leaks());
        let bears_it = self.target.isolation == Isolation::Function || self.code.reuse() != Reuse::Never;
        if bears_it && !worn_out && lease.is_shared() {
            self.put(lease);
        }
    }

    /// The code of which it is not known yet whether it bears the reuse that is happening now.
    pub(crate) fn on_trial(&self) -> Option<Arc<Code>> {
        let tried = self.served > 0 && self.target.isolation != Isolation::Function;
        (tried && self.code.reuse() == Reuse::Unproven).then(|| Arc::clone(&self.code))
    }
}

/// All slots are taken: gives up the idle instance that is worth least, or waits for those that are being let go of. `false`
/// if there are none.
pub(crate) async fn make_room(host: &Host) -> bool {
    match host.pool.give_up_one() {
        Some(other) => {
            other.gone().await;
            true
        }
        None => host.apart.all_ended().await,
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

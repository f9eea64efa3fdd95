//! The store of one guest: every bound set when it is made, and an end that holds up nobody else.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use wasmtime::Store;

use crate::apart::{self, Apart};
use crate::config::{HANDLES_MAX, HOSTCALL_BYTES_MAX, LARGE_GUEST_BYTES, RESOURCES_MAX};
use crate::instance::InstanceLease;
use crate::run::Host;
use crate::state::State;

/// A store that gives its memory back where no other call waits for it.
pub(crate) struct GuestStore {
    store: Option<Store<State>>,
    /// The right to have it, while a call has: it ends when the memory is free. Declared, so dropped, after the store.
    lease: Option<Arc<InstanceLease>>,
    apart: Arc<Apart>,
}

impl GuestStore {
    /// A store with every bound set.
    pub(crate) fn new(host: &Host, lease: &Arc<InstanceLease>, state: State) -> Self {
        let mut store = Store::new(&host.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(RESOURCES_MAX);
        }
        // A guest that computes gives way to others at every tick; the time limit is looked at there.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Self {
            store: Some(store),
            lease: Some(Arc::clone(lease)),
            apart: Arc::clone(&host.apart),
        }
    }

    /// From now on it is this call's.
    pub(crate) fn hold(&mut self, lease: &Arc<InstanceLease>) {
        self.lease = Some(Arc::clone(lease));
    }

    /// It is nobody's, and waits for the next call.
    pub(crate) fn let_go(&mut self) {
        self.lease = None;
    }

    /// Drops it; done when its memory and its place are free.
    pub(crate) async fn gone(self) {
        let apart = Arc::clone(&self.apart);
        drop(self);
        apart.all_ended().await;
    }
}

/// Only the drop takes the store out.
const HELD: &str = "the store is there until the end";

impl Deref for GuestStore {
    type Target = Store<State>;

    fn deref(&self) -> &Store<State> {
        self.store.as_ref().expect(HELD)
    }
}

impl DerefMut for GuestStore {
    fn deref_mut(&mut self) -> &mut Store<State> {
        self.store.as_mut().expect(HELD)
    }
}

impl Drop for GuestStore {
    /// Hundreds of MiB go back to the kernel in one call of a tenth of a second: not on a thread that others wait for.
    fn drop(&mut self) {
        let takes_long =
            |store: &mut Store<State>| store.data().limiter.memory_bytes() > LARGE_GUEST_BYTES && !apart::is_here();
        if let Some(store) = self.store.take_if(takes_long) {
            self.apart.end((store, self.lease.take()));
        }
    }
}

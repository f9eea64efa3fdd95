//! The store of one guest: every bound set when it is made, and an end that holds up nobody else.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use wasmtime::Store;

use crate::apart::{self, Apart};
use crate::config::{HANDLES_MAX, HOSTCALL_BYTES_MAX, LARGE_GUEST_BYTES, RESOURCES_MAX};
use crate::run::Host;
use crate::state::State;

/// A store that gives its memory back where no other call waits for it.
pub(crate) struct GuestStore {
    store: Option<Store<State>>,
    apart: Arc<Apart>,
}

impl GuestStore {
    /// A store with every bound set.
    pub(crate) fn new(host: &Host, state: State) -> Self {
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
            apart: Arc::clone(&host.apart),
        }
    }

    /// Drops it; done when its memory and its place are free.
    pub(crate) async fn gone(mut self) {
        if let Some(store) = self.store.take_if(|store| takes_long(store)) {
            self.apart.ended(move || drop(store)).await;
        }
    }
}

/// Whether it is better dropped elsewhere: hundreds of MiB go back to the kernel in one call of a tenth of a second.
fn takes_long(store: &Store<State>) -> bool {
    store.data().limiter.memory_bytes() > LARGE_GUEST_BYTES && !apart::is_here()
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
    fn drop(&mut self) {
        if let Some(store) = self.store.take_if(|store| takes_long(store)) {
            self.apart.end(move || drop(store));
        }
    }
}

//! The store of one guest: every bound set when it is made, and an end that holds up nobody else.

use std::ops::{Deref, DerefMut};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use wasmtime::{Engine, Store};

use crate::config::{HANDLES_MAX, HOSTCALL_BYTES_MAX, LARGE_GUEST_BYTES, RESOURCES_MAX};
use crate::state::State;

/// A store that gives its memory back where no other call waits for it.
pub(crate) struct GuestStore(Option<Store<State>>);

impl GuestStore {
    /// A store with every bound set.
    pub(crate) fn new(engine: &Engine, state: State) -> Self {
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(RESOURCES_MAX);
        }
        // A guest that computes gives way to others at every tick; the time limit is looked at there.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Self(Some(store))
    }

    /// Ends the guest; what the host kept for it stays.
    pub(crate) fn into_state(mut self) -> State {
        apart(self.take(), Store::into_data)
    }

    fn take(&mut self) -> Store<State> {
        self.0.take().expect(HELD)
    }
}

/// Only what consumes the whole takes the store out.
const HELD: &str = "the store is there until the end";

impl Deref for GuestStore {
    type Target = Store<State>;

    fn deref(&self) -> &Store<State> {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for GuestStore {
    fn deref_mut(&mut self) -> &mut Store<State> {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for GuestStore {
    fn drop(&mut self) {
        if let Some(store) = self.0.take() {
            apart(store, drop);
        }
    }
}

/// Ends the guest of `store` with `end`. Hundreds of MiB go back to the kernel in one call of a tenth of a second, so a large
/// guest's thread first leaves its other work to another one.
fn apart<T>(store: Store<State>, end: impl FnOnce(Store<State>) -> T) -> T {
    let is_large = store.data().limiter.memory_bytes() > LARGE_GUEST_BYTES;
    let has_others = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_large && has_others {
        block_in_place(|| end(store))
    } else {
        end(store)
    }
}

//! The right to one instance, which frees itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mayfly_invoker_api::Digest;
use mayfly_warm_pool::{Seat, Wanted};

use super::{Pool, Version, Want};

/// Held for as long as there is an instance that is not idle, or one is being made. Dropped, it leaves nothing behind; with
/// [`Lease::put`] the instance stays for others.
pub(crate) struct Lease<T> {
    pool: Arc<Pool<T>>,
    version: Version,
    holder: Holder,
    seat: Mutex<Option<Seat<Digest>>>,
}

/// For whom the instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// For a call that may have such instances.
    Call(Want),
    /// For whoever calls later.
    Nobody,
}

impl<T> std::fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl<T> Lease<T> {
    pub(super) fn new(pool: Arc<Pool<T>>, version: Version, holder: Holder, seat: Seat<Digest>) -> Self {
        Self {
            pool,
            version,
            holder,
            seat: Mutex::new(Some(seat)),
        }
    }

    /// Whether others may have the instance later.
    pub(crate) fn is_shared(&self) -> bool {
        self.holder != Holder::Call(Wanted::Fresh)
    }

    /// Says what a new instance has turned out to need.
    pub(crate) fn measured(&self, bytes: u64, cost_us: u64) {
        let mut given_up = Vec::new();
        let now = self.pool.now();
        if let Some(seat) = self.lock().as_mut() {
            let mut inner = self.pool.lock();
            inner.warm.measured(seat, bytes, cost_us, now, &mut given_up);
        }
    }

    /// Leaves the instance for others; one that was to be fresh is dropped.
    pub(crate) fn put(&self, instance: T, bytes: u64) {
        let Some(seat) = self.lock().take() else { return };
        self.pool
            .end_lease(&self.version, |warm, now, given_up| match self.holder {
                Holder::Nobody => warm.put_unused(seat, instance, now, given_up),
                Holder::Call(_) => warm.put(seat, instance, bytes, now, given_up),
            });
    }

    /// As [`Lease::put`], of an instance that nobody has used meanwhile.
    pub(super) fn put_back(&self, instance: T) {
        let bytes = self.lock().as_ref().map_or(0, Seat::bytes);
        self.put(instance, bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seat<Digest>>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        let Some(seat) = self.lock().take() else { return };
        self.pool.end_lease(&self.version, |warm, now, _| match self.holder {
            Holder::Nobody => warm.leave_unmade(seat),
            Holder::Call(_) => warm.leave(seat, now),
        });
    }
}

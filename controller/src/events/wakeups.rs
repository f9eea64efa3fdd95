//! Which lanes have something due, and when: told by those who know, so that nobody has to look for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::Lane;

/// When the next event of each lane is due, as far as is known here. One entry per lane, however many events.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    due_ms: Mutex<BTreeMap<Lane, i64>>,
    changed: Notify,
}

impl Wakeups {
    /// There is an event of this lane that is due then.
    pub(crate) fn wake(&self, lane: Lane, due_ms: i64) {
        let mut known = self.lock();
        let first = known.entry(lane).or_insert(i64::MAX);
        if due_ms < *first {
            *first = due_ms;
            self.changed.notify_one();
        }
    }

    /// The lanes that have something due at `now_ms`; they are forgotten here.
    pub(super) fn take_due(&self, now_ms: i64) -> Vec<Lane> {
        let mut known = self.lock();
        let due: Vec<Lane> = known
            .iter()
            .filter(|(_, due_ms)| **due_ms <= now_ms)
            .map(|(lane, _)| lane.clone())
            .collect();
        for lane in &due {
            known.remove(lane);
        }
        due
    }

    /// When something is due next, as far as is known.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.lock().values().min().copied()
    }

    /// Waits until something has become known that is due earlier than what was known.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, i64>> {
        self.due_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

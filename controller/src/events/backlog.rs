//! How much waits in each namespace, so that no more is accepted than is allowed.
//!
//! Counted here as events come and go, and set right from the database every now and then: other controllers accept and
//! deliver, too. So the bound may be passed by what they accept between two looks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mayfly_invoker_api::Namespace;

use crate::code::Code;
use crate::problem::Problem;
use crate::store::EventCounts;

/// What waits, by namespace.
#[derive(Debug)]
pub(crate) struct Backlog {
    events_max: u64,
    bytes_max: u64,
    waiting: Mutex<HashMap<Namespace, Waiting>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    events: u64,
    bytes: u64,
}

impl Backlog {
    pub(super) fn new(events_max: u64, bytes_max: u64) -> Self {
        Self {
            events_max,
            bytes_max,
            waiting: Mutex::default(),
        }
    }

    /// Counts what is to be accepted, or says that there is too much.
    pub(super) fn enter(&self, namespace: &Namespace, events: usize, bytes: usize) -> Result<(), Problem> {
        let mut waiting = self.lock();
        let waiting = waiting.entry(namespace.clone()).or_default();
        let bytes = waiting.bytes.saturating_add(bytes as u64);
        if waiting.events.saturating_add(events as u64) > self.events_max || bytes > self.bytes_max {
            return Err(Problem::new(
                Code::BacklogFull,
                format!(
                    "{} events with {} bytes wait in this namespace; at most {} with {} bytes may",
                    waiting.events, waiting.bytes, self.events_max, self.bytes_max
                ),
            ));
        }
        waiting.events += events as u64;
        waiting.bytes = bytes;
        Ok(())
    }

    /// Whether so much could wait at all.
    pub(super) fn can_ever_hold(&self, events: usize, bytes: usize) -> Result<(), String> {
        if events as u64 > self.events_max || bytes as u64 > self.bytes_max {
            return Err(format!(
                "it makes {events} events with {bytes} bytes; at most {} with {} bytes may wait",
                self.events_max, self.bytes_max
            ));
        }
        Ok(())
    }

    /// So much waits no longer.
    pub(super) fn leave(&self, namespace: &Namespace, events: usize, bytes: usize) {
        if let Some(waiting) = self.lock().get_mut(namespace) {
            waiting.events = waiting.events.saturating_sub(events as u64);
            waiting.bytes = waiting.bytes.saturating_sub(bytes as u64);
        }
    }

    /// What the database says.
    pub(super) fn set(&self, counts: &[EventCounts]) {
        let counted = counts.iter().map(|count| {
            let waiting = Waiting {
                events: count.queued,
                bytes: count.queued_bytes,
            };
            (count.namespace.clone(), waiting)
        });
        *self.lock() = counted.collect();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Namespace, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

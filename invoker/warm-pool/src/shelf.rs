//! What the pool knows of one version: its idle instances, and what the next one will need.

use std::time::Duration;

use crate::history::History;
use crate::policy::{Candidate, Policy};

/// The instances of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a call.
    pub idle: u32,
    /// Serving one, or being made.
    pub running: u32,
    /// Memory of both, in bytes.
    pub bytes: u64,
}

/// An instance that waits. The one that was used last is at the end of its shelf.
#[derive(Debug)]
pub(crate) struct Idle<P, T> {
    pub(crate) instance: T,
    /// Whose calls it may serve; `None` if it has not served anyone in particular.
    pub(crate) part: Option<P>,
    pub(crate) since: Duration,
    pub(crate) clock: f64,
    /// For how long nobody had come before its last call.
    pub(crate) pause: Duration,
    pub(crate) uses: u32,
    pub(crate) bytes: u64,
}

/// One version.
#[derive(Debug)]
pub(crate) struct Shelf<K, P, T> {
    pub(crate) key: K,
    /// Instances that are kept although nobody calls.
    pub(crate) min_warm: u32,
    pub(crate) idle: Vec<Idle<P, T>>,
    pub(crate) running: u32,
    pub(crate) running_bytes: u64,
    pub(crate) idle_bytes: u64,
    /// Of the last instance that was measured.
    pub(crate) instance_bytes: u64,
    /// To make an instance, on average.
    pub(crate) cost_us: u64,
    pub(crate) history: History,
    /// Where it stands among the shelves that are not empty.
    pub(crate) stocked_at: Option<usize>,
}

impl<K, P, T> Shelf<K, P, T> {
    pub(crate) fn new(key: K, instance_bytes: u64) -> Self {
        Self {
            key,
            min_warm: 0,
            idle: Vec::new(),
            running: 0,
            running_bytes: 0,
            idle_bytes: 0,
            instance_bytes,
            cost_us: 0,
            history: History::new(),
            stocked_at: None,
        }
    }

    pub(crate) fn alive(&self) -> u32 {
        self.running
            .saturating_add(u32::try_from(self.idle.len()).unwrap_or(u32::MAX))
    }

    /// Whether one more has to go before its owner misses it.
    pub(crate) fn has_more_than_asked_for(&self) -> bool {
        self.alive() > self.min_warm
    }

    /// What the instance is worth that would go first: the one that was used least recently.
    pub(crate) fn worth(&self, policy: Policy, now: Duration) -> Option<f64> {
        let idle = self.idle.first()?;
        Some(policy.worth(&Candidate {
            since: idle.since,
            clock: idle.clock,
            age: now.saturating_sub(idle.since),
            pause: idle.pause,
            uses: idle.uses,
            cost_us: self.cost_us,
            bytes: idle.bytes,
        }))
    }

    /// How many of the idle ones were not used for too long.
    pub(crate) fn expired(&self, policy: Policy, now: Duration) -> usize {
        let Some(idle_time) = policy.idle_time(&self.history) else {
            return 0;
        };
        let late = |idle: &Idle<P, T>| now.saturating_sub(idle.since) >= idle_time;
        let late = self.idle.iter().take_while(|idle| late(idle)).count();
        let spare = self.alive().saturating_sub(self.min_warm);
        late.min(usize::try_from(spare).unwrap_or(usize::MAX))
    }

    /// What one made is averaged into what others took.
    pub(crate) fn note_cost(&mut self, cost_us: u64) {
        self.cost_us = match self.cost_us {
            0 => cost_us,
            before => (before * 7 + cost_us) / 8,
        };
    }
}

//! Changes of one object come one after the other, so that the numbers of their events (`sequencer`) are in the order in
//! which the changes were made. Between servers the database sees to it that they come one after the other, and their
//! clocks order the numbers.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Scope;

/// Keys that share a turn; more make it rarer that two wait for each other without need.
const TURNS: usize = 1_024;

/// Whose turn it is, for all keys.
pub(super) struct Order {
    turns: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// The turn of some keys, until it is dropped.
pub(super) struct Turn {
    _turns: Vec<OwnedMutexGuard<()>>,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            turns: (0..TURNS).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Waits for the turn of these keys.
    pub(super) async fn turn<'a>(&self, scope: &Scope, keys: impl Iterator<Item = &'a str>) -> Turn {
        let place = |key: &str| {
            let hash = self
                .hasher
                .hash_one((scope.namespace.as_str(), scope.bucket.as_str(), key));
            usize::try_from(hash % TURNS as u64).unwrap_or(0)
        };
        // In one order for all, so that no two wait for each other.
        let places: BTreeSet<usize> = keys.map(place).collect();
        let mut turns = Vec::with_capacity(places.len());
        for place in places {
            turns.push(Arc::clone(&self.turns[place]).lock_owned().await);
        }
        Turn { _turns: turns }
    }
}

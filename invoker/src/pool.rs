//! Warm instances, kept for later invocations of the very same thing.
//!
//! The key is (namespace, function, version, artifact, configuration): an instance never serves anything else. The
//! one used last is taken first, so that a function under light load keeps one instance warm and lets the rest go.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mayfly_invoker_api::Target;

use crate::instance::Instance;

/// What must be equal for an instance to be reused.
#[derive(Debug, Clone)]
struct Key(Arc<Target>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        Arc::ptr_eq(a, b)
            || (a.config == b.config
                && a.artifact == b.artifact
                && a.version == b.version
                && a.function == b.function
                && a.namespace == b.namespace)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.namespace.hash(state);
        self.0.function.hash(state);
        self.0.version.hash(state);
    }
}

struct Idle {
    instance: Instance,
    since: Instant,
}

/// The idle instances of one process.
pub(crate) struct Pool {
    idle: Mutex<IdleByKey>,
    idle_max: usize,
    idle_time: Duration,
}

#[derive(Default)]
struct IdleByKey {
    stacks: HashMap<Key, Vec<Idle>>,
    count: usize,
}

impl Pool {
    pub(crate) fn new(idle_max: usize, idle_time: Duration) -> Self {
        Self {
            idle: Mutex::default(),
            idle_max,
            idle_time,
        }
    }

    /// Takes the instance of `target` that was used last.
    pub(crate) fn take(&self, target: &Arc<Target>) -> Option<Instance> {
        let mut idle = self.lock();
        let taken = idle.stacks.get_mut(&Key(Arc::clone(target)))?.pop()?;
        idle.count -= 1;
        Some(taken.instance)
    }

    /// Keeps an instance that has served well. Past the bound the oldest of all goes.
    pub(crate) fn put(&self, instance: Instance) {
        let mut idle = self.lock();
        let given_up = if idle.count >= self.idle_max {
            idle.remove_oldest()
        } else {
            None
        };
        let key = Key(Arc::clone(&instance.target));
        idle.stacks.entry(key).or_default().push(Idle {
            instance,
            since: Instant::now(),
        });
        idle.count += 1;
        drop(idle);
        // Freeing an instance's memory takes longer than all the rest: never under the lock.
        drop(given_up);
    }

    /// Drops all instances of `target`.
    pub(crate) fn forget(&self, target: &Arc<Target>) {
        let mut idle = self.lock();
        let stack = idle.stacks.remove(&Key(Arc::clone(target))).unwrap_or_default();
        idle.count -= stack.len();
        drop(idle);
        drop(stack);
    }

    /// Drops the instance that has been idle for longest; false if there is none.
    pub(crate) fn give_up_oldest(&self) -> bool {
        let oldest = self.lock().remove_oldest();
        oldest.is_some()
    }

    /// Drops what has been idle for too long.
    pub(crate) fn reap(&self) {
        let mut idle = self.lock();
        let mut expired = Vec::new();
        for stack in idle.stacks.values_mut() {
            // The oldest is at the bottom.
            let keep_from = stack.iter().position(|idle| idle.since.elapsed() < self.idle_time);
            expired.extend(stack.drain(..keep_from.unwrap_or(stack.len())));
        }
        idle.stacks.retain(|_, stack| !stack.is_empty());
        idle.count -= expired.len();
        drop(idle);
        drop(expired);
    }

    fn lock(&self) -> MutexGuard<'_, IdleByKey> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleByKey {
    fn remove_oldest(&mut self) -> Option<Idle> {
        let key = self
            .stacks
            .iter()
            .filter_map(|(key, stack)| stack.first().map(|oldest| (key, oldest.since)))
            .min_by_key(|(_, since)| *since)
            .map(|(key, _)| key.clone())?;
        let stack = self.stacks.get_mut(&key)?;
        let oldest = stack.remove(0);
        if stack.is_empty() {
            self.stacks.remove(&key);
        }
        self.count -= 1;
        Some(oldest)
    }
}

//! Warm instances, kept for later invocations of the very same thing.
//!
//! The key is (namespace, function, version, artifact, configuration) and, where the function wants it, a part of its
//! callers: an instance never serves anything else. The one used last is taken first, so that a function under light load
//! keeps one instance warm and lets the rest go.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mayfly_invoker_api::{Digest, Target};

/// What must be equal for an instance to be reused.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) target: Arc<Target>,
    /// Which part of the function's callers.
    pub(crate) partition: Option<Digest>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.target, &other.target);
        let same_target = Arc::ptr_eq(a, b)
            || (a.config == b.config
                && a.artifact == b.artifact
                && a.version == b.version
                && a.function == b.function
                && a.namespace == b.namespace);
        same_target && self.partition == other.partition
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.namespace.hash(state);
        self.target.function.hash(state);
        self.target.version.hash(state);
        self.partition.hash(state);
    }
}

struct Idle<T> {
    instance: T,
    since: Instant,
}

/// The idle instances of one process.
pub(crate) struct Pool<T> {
    idle: Mutex<IdleByKey<T>>,
    idle_max: usize,
    idle_time: Duration,
}

struct IdleByKey<T> {
    stacks: HashMap<Key, Vec<Idle<T>>>,
    count: usize,
}

impl<T> Pool<T> {
    pub(crate) fn new(idle_max: usize, idle_time: Duration) -> Self {
        Self {
            idle: Mutex::new(IdleByKey {
                stacks: HashMap::new(),
                count: 0,
            }),
            idle_max,
            idle_time,
        }
    }

    /// Takes the instance of `key` that was used last.
    pub(crate) fn take(&self, key: &Key) -> Option<T> {
        let mut idle = self.lock();
        let taken = idle.stacks.get_mut(key)?.pop()?;
        idle.count -= 1;
        Some(taken.instance)
    }

    /// Keeps an instance that has served well. Past the bound the oldest of all goes.
    pub(crate) fn put(&self, key: Key, instance: T) {
        let mut idle = self.lock();
        let given_up = if idle.count >= self.idle_max {
            idle.remove_oldest()
        } else {
            None
        };
        idle.stacks.entry(key).or_default().push(Idle {
            instance,
            since: Instant::now(),
        });
        idle.count += 1;
        drop(idle);
        // Freeing an instance's memory takes longer than all the rest: never under the lock.
        drop(given_up);
    }

    /// Drops all instances of `key`.
    pub(crate) fn forget(&self, key: &Key) {
        let mut idle = self.lock();
        let stack = idle.stacks.remove(key).unwrap_or_default();
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

    fn lock(&self) -> MutexGuard<'_, IdleByKey<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> IdleByKey<T> {
    fn remove_oldest(&mut self) -> Option<Idle<T>> {
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

#[cfg(test)]
mod tests {
    use mayfly_invoker_api::{Isolation, Kind, Limits};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn key(change: impl FnOnce(&mut Target)) -> Key {
        let mut target = Target {
            namespace: "default".parse().unwrap(),
            function: "greet".parse().unwrap(),
            version: 1,
            artifact: Digest::from_bytes([1; 32]),
            config: Digest::from_bytes([2; 32]),
            kind: Kind::Http,
            limits: Limits {
                memory_bytes: 1 << 20,
                timeout: LONG,
                requests_per_instance_max: 1,
            },
            isolation: Isolation::Auto,
            env: Vec::new(),
        };
        change(&mut target);
        Key {
            target: Arc::new(target),
            partition: None,
        }
    }

    #[test]
    fn an_instance_serves_nothing_but_its_own_key() {
        let pool = Pool::new(8, LONG);
        pool.put(key(|_| ()), "warm");
        let others = [
            key(|other| other.namespace = "tenant-b".parse().unwrap()),
            key(|other| other.function = "greet-b".parse().unwrap()),
            key(|other| other.version = 2),
            key(|other| other.artifact = Digest::from_bytes([3; 32])),
            key(|other| other.config = Digest::from_bytes([4; 32])),
            Key {
                partition: Some(Digest::from_bytes([5; 32])),
                ..key(|_| ())
            },
        ];
        for other in &others {
            assert_eq!(pool.take(other), None, "{other:?}");
        }
        // A target read anew from the database is another allocation with the same content.
        assert_eq!(pool.take(&key(|_| ())), Some("warm"));
        assert_eq!(pool.take(&key(|_| ())), None);
    }

    #[test]
    fn the_one_used_last_is_taken_first() {
        let (pool, key) = (Pool::new(8, LONG), key(|_| ()));
        pool.put(key.clone(), 1);
        pool.put(key.clone(), 2);
        assert_eq!(pool.take(&key), Some(2));
        assert_eq!(pool.take(&key), Some(1));
    }

    #[test]
    fn past_the_bound_the_oldest_of_all_goes() {
        let pool = Pool::new(2, LONG);
        let (a, b) = (key(|a| a.version = 1), key(|b| b.version = 2));
        pool.put(a.clone(), "oldest");
        pool.put(b.clone(), "second");
        pool.put(b.clone(), "third");
        assert_eq!(pool.take(&a), None);
        assert_eq!(pool.take(&b), Some("third"));
        assert_eq!(pool.take(&b), Some("second"));
        assert!(!pool.give_up_oldest());
    }

    #[test]
    fn idle_instances_are_dropped_and_their_places_are_free_again() {
        let (pool, key) = (Pool::new(1, Duration::ZERO), key(|_| ()));
        let instance = Arc::new(());
        pool.put(key.clone(), Arc::clone(&instance));
        pool.reap();
        assert_eq!(Arc::strong_count(&instance), 1);
        pool.put(key.clone(), Arc::clone(&instance));
        assert!(
            pool.take(&key).is_some(),
            "the bound counts what is there, not what was"
        );
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let pool = Pool::new(8, LONG);
        let (a, b) = (key(|a| a.version = 1), key(|b| b.version = 2));
        pool.put(a.clone(), 1);
        pool.put(a.clone(), 2);
        pool.put(b.clone(), 3);
        pool.forget(&a);
        assert_eq!(pool.take(&a), None);
        assert_eq!(pool.take(&b), Some(3));
    }
}

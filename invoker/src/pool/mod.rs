//! The instances of one process: who may have one, which ones stay warm, and who waits.
//!
//! What stays and what goes is decided by `mayfly-warm-pool`, which knows no clock and no engine. Here are the lock and
//! the clock around it, the [`Lease`] that a call holds while it has an instance, and the queues of those that wait for
//! one. An instance never serves another version or configuration: the [`Version`] is the key.

mod lease;
mod resident;
#[cfg(test)]
mod tests;
mod version;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mayfly_invoker_api::{Digest, PoolState, Target};
use mayfly_warm_pool::{Taken, Wanted, WarmPool};
use tokio::sync::oneshot;

use crate::config::{Bounds, POLICY, REMEMBERED_VERSIONS_MAX, WAITING_CALLS_MAX};

use lease::Holder;
pub(crate) use lease::Lease;
pub(crate) use resident::{Resident, anonymous_bytes};
pub(crate) use version::Version;

/// Which instances a call may have.
pub(crate) type Want = Wanted<Digest>;

/// A lease, and an instance if one was waiting.
pub(crate) type Leased<T> = (Lease<T>, Option<T>);

/// Why a call cannot have an instance. Nothing was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many calls wait as may wait.
    QueueFull,
    /// None was free within the function's time limit.
    WaitedTooLong,
    /// The memory for instances is used by calls that run.
    NoRoom,
}

/// The instances `T` of one process.
///
/// In every method, what is given up is declared before the lock is taken: so it is dropped after the lock is free, because
/// freeing an instance's memory takes longer than all the rest.
pub(crate) struct Pool<T> {
    inner: Mutex<Inner<T>>,
    /// Memory that instances have taken while they run and that is not counted yet, in bytes.
    growth: Arc<AtomicU64>,
    started: Instant,
}

struct Inner<T> {
    warm: WarmPool<Version, Digest, T>,
    /// Calls that wait for an instance. A version is in here only while it has as many as it may have, and all run.
    queues: HashMap<Version, VecDeque<Waiting<T>>>,
    resident: Resident,
}

/// A call that waits. When it gives up, it drops the other end.
struct Waiting<T> {
    want: Want,
    answer: Answer<T>,
}

type Answer<T> = oneshot::Sender<Result<Leased<T>, Refused>>;
/// Who is answered, and with what.
type Granted<T> = (Answer<T>, Result<Leased<T>, Refused>);

enum Asked<T> {
    Answered(Result<Leased<T>, Refused>),
    Queued(oneshot::Receiver<Result<Leased<T>, Refused>>),
}

impl<T> Pool<T> {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let warm = mayfly_warm_pool::Bounds {
            memory_bytes: bounds.instance_memory_bytes,
            idle_instances_max: bounds.idle_instances_max,
            remembered_max: REMEMBERED_VERSIONS_MAX,
        };
        Self {
            inner: Mutex::new(Inner {
                warm: WarmPool::new(POLICY, warm),
                queues: HashMap::new(),
                resident: Resident::new(bounds.instance_memory_bytes),
            }),
            growth: Arc::default(),
            started: Instant::now(),
        }
    }

    /// Where instances that run add up what they take.
    pub(crate) fn growth(&self) -> &Arc<AtomicU64> {
        &self.growth
    }

    /// The right to an instance of `target`, and with it the one that was used last, if one waits. When there may be no
    /// more of them, waits for one in the order of asking, for at most the function's time limit.
    pub(crate) async fn lease(self: &Arc<Self>, target: &Arc<Target>, want: Want) -> Result<Leased<T>, Refused> {
        match self.ask(&Version(Arc::clone(target)), want) {
            Asked::Answered(answer) => answer,
            Asked::Queued(answer) => match tokio::time::timeout(target.limits.timeout, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(Refused::WaitedTooLong),
            },
        }
    }

    fn ask(self: &Arc<Self>, version: &Version, want: Want) -> Asked<T> {
        let mut given_up = Vec::new();
        let now = self.now();
        let mut inner = self.lock();
        let taken = inner
            .warm
            .take(version, version.0.limits.instances_max, want, now, &mut given_up);
        match self.leased(taken, version, want) {
            Some(answer) => Asked::Answered(answer),
            None => inner.queue(version, want),
        }
    }

    /// Makes a lease of what was taken; `None` when there may be no more instances.
    fn leased(
        self: &Arc<Self>,
        taken: Taken<Digest, T>,
        version: &Version,
        want: Want,
    ) -> Option<Result<Leased<T>, Refused>> {
        let lease = |seat| Lease::new(Arc::clone(self), version.clone(), Holder::Call(want), seat);
        match taken {
            Taken::Warm(seat, instance) => Some(Ok((lease(seat), Some(instance)))),
            Taken::Cold(seat) => Some(Ok((lease(seat), None))),
            Taken::NoRoom => Some(Err(Refused::NoRoom)),
            Taken::Full => None,
        }
    }

    /// Leave to make an instance that is wanted warm and missing.
    pub(crate) fn lease_missing(self: &Arc<Self>, version: &Version) -> Option<Lease<T>> {
        let seat = self.lock().warm.take_missing(version)?;
        Some(Lease::new(Arc::clone(self), version.clone(), Holder::Nobody, seat))
    }

    /// Versions of which more instances are wanted warm than there are.
    pub(crate) fn missing(&self) -> Vec<Version> {
        self.lock().warm.missing()
    }

    /// This version is the one that is called from now on, not others of its function.
    pub(crate) fn deployed(&self, version: &Version) {
        let mut given_up = Vec::new();
        let mut inner = self.lock();
        let of_one = |other: &Version| other.is_of_the_function_of(version);
        // Two deployments at once may be told in the wrong order; the numbers of versions only rise.
        if inner
            .warm
            .any(|other| of_one(other) && other.0.version > version.0.version)
        {
            return;
        }
        inner
            .warm
            .let_go(|other| of_one(other) && other != version, &mut given_up);
        inner.warm.keep_warm(version, version.0.limits.warm_min);
    }

    /// Drops all that wait of the versions that `those` names, and makes none of them again.
    pub(crate) fn let_go(&self, those: impl Fn(&Version) -> bool) {
        let mut given_up = Vec::new();
        self.lock().warm.let_go(those, &mut given_up);
    }

    /// Gives up the idle instance that is worth least, if there is one.
    pub(crate) fn give_up_one(&self) -> Option<T> {
        let now = self.now();
        self.lock().warm.give_up_one(now)
    }

    /// Drops what was idle for too long, and what has no room: `resident_bytes` is the memory of all instances that is
    /// really there.
    pub(crate) fn tend(&self, resident_bytes: Option<u64>) {
        let mut given_up = Vec::new();
        let now = self.now();
        let mut inner = self.lock();
        inner.warm.expire(now, &mut given_up);
        let Inner { warm, resident, .. } = &mut *inner;
        let growth = self.growth.load(Relaxed);
        let memory_bytes = resident.budget(warm.used_bytes() + growth, resident_bytes);
        warm.set_memory_bytes(memory_bytes.saturating_sub(growth), now, &mut given_up);
    }

    /// What there is of a version, as far as the pool knows.
    pub(crate) fn state(&self, version: &Version) -> PoolState {
        let inner = self.lock();
        let counts = inner.warm.counts(version);
        let queue = inner.queues.get(version).into_iter().flatten();
        let waiting = queue.filter(|waiting| !waiting.answer.is_closed()).count();
        PoolState {
            idle: counts.idle,
            running: counts.running,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            resident_bytes: inner.resident.of(counts.bytes),
            ..PoolState::default()
        }
    }

    /// What a lease does at its end; then the next one that waits has its turn.
    fn end_lease(
        self: &Arc<Self>,
        version: &Version,
        end: impl FnOnce(&mut WarmPool<Version, Digest, T>, Duration, &mut Vec<T>),
    ) {
        let mut given_up = Vec::new();
        let now = self.now();
        let mut inner = self.lock();
        end(&mut inner.warm, now, &mut given_up);
        let mut granted = Vec::new();
        // Nearly always nobody waits for anything.
        while !inner.queues.is_empty()
            && let Some(next) = self.grant_next(&mut inner, version, now, &mut given_up)
        {
            let refused = next.1.is_err();
            granted.push(next);
            // Nobody will come by for those behind one that is refused.
            if !refused {
                break;
            }
        }
        drop(inner);
        for (answer, leased) in granted {
            if let Err(Ok((lease, Some(instance)))) = answer.send(leased) {
                // It gave up just now: the instance is good for the one behind it.
                lease.put_back(instance);
            }
        }
    }

    /// Gives what has become free to the first who still waits for it.
    fn grant_next(
        self: &Arc<Self>,
        inner: &mut Inner<T>,
        version: &Version,
        now: Duration,
        given_up: &mut Vec<T>,
    ) -> Option<Granted<T>> {
        let Waiting { want, answer } = inner.next_waiting(version)?;
        let taken = inner
            .warm
            .take(version, version.0.limits.instances_max, want, now, given_up);
        match self.leased(taken, version, want) {
            Some(leased) => Some((answer, leased)),
            None => {
                inner
                    .queues
                    .entry(version.clone())
                    .or_default()
                    .push_front(Waiting { want, answer });
                None
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn queue(&mut self, version: &Version, want: Want) -> Asked<T> {
        let queue = self.queues.entry(version.clone()).or_default();
        if queue.len() >= WAITING_CALLS_MAX {
            queue.retain(|waiting| !waiting.answer.is_closed());
        }
        if queue.len() >= WAITING_CALLS_MAX {
            return Asked::Answered(Err(Refused::QueueFull));
        }
        let (answer, queued) = oneshot::channel();
        queue.push_back(Waiting { want, answer });
        Asked::Queued(queued)
    }

    fn next_waiting(&mut self, version: &Version) -> Option<Waiting<T>> {
        let queue = self.queues.get_mut(version)?;
        let next = loop {
            match queue.pop_front() {
                Some(waiting) if waiting.answer.is_closed() => {}
                next => break next,
            }
        };
        if queue.is_empty() {
            self.queues.remove(version);
        }
        next
    }
}

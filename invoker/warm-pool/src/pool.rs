//! All instances of one process: those that wait, here; those that run, by their seats.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::config::{Bounds, PAUSE_UNKNOWN, UNKNOWN_INSTANCE_BYTES};
use crate::policy::Policy;
use crate::shelf::{Counts, Idle, Shelf};

/// The right to one running instance. Not to be copied: it goes back with [`WarmPool::put`] or [`WarmPool::leave`].
#[derive(Debug)]
#[must_use]
pub struct Seat<P> {
    shelf: usize,
    /// Whose calls its instance may serve later.
    wanted: Wanted<P>,
    bytes: u64,
    uses: u32,
    pause: Duration,
}

impl<P> Seat<P> {
    /// What the pool counts for its instance, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Which instances a call may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<P> {
    /// One that has served this part of the callers, or nobody.
    Shared(Option<P>),
    /// One that is made for it.
    Fresh,
}

/// What a call gets.
#[derive(Debug)]
pub enum Taken<P, T> {
    /// An instance that was waiting.
    Warm(Seat<P>, T),
    /// Leave to make one.
    Cold(Seat<P>),
    /// The version has as many instances as it may have, and all of them run.
    Full,
    /// There is no memory for one more, and nothing idle that could go for it.
    NoRoom,
}

/// The instances `T` of versions `K`, whose callers are told apart by `P`. Times are since any fixed moment and never go
/// back. Whatever is given up is returned, so that it can be dropped without holding the pool.
#[derive(Debug)]
pub struct WarmPool<K, P, T> {
    policy: Policy,
    bounds: Bounds,
    by_key: HashMap<K, usize>,
    shelves: Vec<Option<Shelf<K, P, T>>>,
    vacant: Vec<usize>,
    /// Shelves with idle instances.
    stocked: Vec<usize>,
    idle_count: usize,
    idle_bytes: u64,
    running_count: usize,
    running_bytes: u64,
    clock: f64,
}

impl<K: Clone + Eq + Hash, P: PartialEq, T> WarmPool<K, P, T> {
    /// An empty pool.
    #[must_use]
    pub fn new(policy: Policy, bounds: Bounds) -> Self {
        Self {
            policy,
            bounds,
            by_key: HashMap::new(),
            shelves: Vec::new(),
            vacant: Vec::new(),
            stocked: Vec::new(),
            idle_count: 0,
            idle_bytes: 0,
            running_count: 0,
            running_bytes: 0,
            clock: 0.0,
        }
    }

    /// A call has come: an instance for it, the one that was used last. What goes to make room is added to `given_up`.
    pub fn take(
        &mut self,
        key: &K,
        max_instances: u32,
        wanted: Wanted<P>,
        now: Duration,
        given_up: &mut Vec<T>,
    ) -> Taken<P, T> {
        let at = self.shelf_of(key);
        if let Wanted::Shared(part) = &wanted
            && let Some(idle) = self.pop_shared(at, part.as_ref())
        {
            let pause = self.shelf_mut(at).history.begin(now);
            let seat = Seat {
                wanted,
                uses: idle.uses,
                pause,
                ..self.seat(at, idle.bytes)
            };
            return Taken::Warm(seat, idle.instance);
        }
        let shelf = self.shelf(at);
        let mut bytes = shelf.instance_bytes;
        if shelf.alive() >= max_instances {
            // One that waits for somebody else gives way.
            let Some(other) = self.pop_first(at) else {
                return Taken::Full;
            };
            bytes = bytes.max(other.bytes);
            given_up.push(other.instance);
        }
        if !self.make_room(bytes, now, given_up) {
            return Taken::NoRoom;
        }
        let pause = self.shelf_mut(at).history.begin(now);
        let seat = self.seat(at, bytes);
        Taken::Cold(Seat { wanted, pause, ..seat })
    }

    /// Leave to make an instance that its owner wants kept warm and that is missing; `None` when none is missing, or when
    /// something would have to go for it.
    pub fn take_missing(&mut self, key: &K) -> Option<Seat<P>> {
        let at = *self.by_key.get(key)?;
        let shelf = self.shelf(at);
        let missing = shelf.alive() < shelf.min_warm;
        let bytes = shelf.instance_bytes;
        let fits = self.used_bytes().saturating_add(bytes) <= self.bounds.memory_bytes
            && self.idle_count < self.bounds.idle_instances_max;
        (missing && fits).then(|| self.seat(at, bytes))
    }

    /// Says what the instance of `seat` has turned out to need.
    pub fn measured(&mut self, seat: &mut Seat<P>, bytes: u64, cost_us: u64, now: Duration, given_up: &mut Vec<T>) {
        let shelf = self.shelf_mut(seat.shelf);
        shelf.instance_bytes = bytes;
        shelf.note_cost(cost_us);
        shelf.running_bytes = shelf.running_bytes - seat.bytes + bytes;
        self.running_bytes = self.running_bytes - seat.bytes + bytes;
        seat.bytes = bytes;
        self.shrink(now, given_up);
    }

    /// A call has ended and its instance may serve the same part of the callers again; one that was to be fresh is
    /// given up.
    pub fn put(&mut self, seat: Seat<P>, instance: T, bytes: u64, now: Duration, given_up: &mut Vec<T>) {
        self.vacate(&seat);
        let at = seat.shelf;
        self.shelf_mut(at).history.end(now);
        let Wanted::Shared(part) = seat.wanted else {
            return given_up.push(instance);
        };
        let idle = Idle {
            instance,
            part,
            since: now,
            clock: self.clock,
            pause: seat.pause,
            uses: seat.uses.saturating_add(1),
            bytes,
        };
        self.push(at, idle);
        self.shrink(now, given_up);
    }

    /// An instance that was made without a call, by leave of [`WarmPool::take_missing`], is ready.
    pub fn put_unused(&mut self, seat: Seat<P>, instance: T, now: Duration, given_up: &mut Vec<T>) {
        self.vacate(&seat);
        let (at, bytes) = (seat.shelf, seat.bytes);
        let idle = Idle {
            instance,
            part: None,
            since: now,
            clock: self.clock,
            pause: PAUSE_UNKNOWN,
            uses: 1,
            bytes,
        };
        self.push(at, idle);
        self.shrink(now, given_up);
    }

    /// A call has ended and its instance with it.
    pub fn leave(&mut self, seat: Seat<P>, now: Duration) {
        self.shelf_mut(seat.shelf).history.end(now);
        self.vacate(&seat);
    }

    /// An instance that was to be made without a call was not.
    pub fn leave_unmade(&mut self, seat: Seat<P>) {
        self.vacate(&seat);
    }

    /// From now on so many instances of the version are kept although nobody calls.
    pub fn keep_warm(&mut self, key: &K, min_warm: u32) {
        let at = self.shelf_of(key);
        self.shelf_mut(at).min_warm = min_warm;
    }

    /// Whether there is such a version among those that are known.
    pub fn any(&self, such: impl Fn(&K) -> bool) -> bool {
        self.by_key.keys().any(such)
    }

    /// Nothing more is asked for the versions that `those` names: their idle instances are given up.
    pub fn let_go(&mut self, those: impl Fn(&K) -> bool, given_up: &mut Vec<T>) {
        let found: Vec<usize> = self
            .by_key
            .iter()
            .filter(|(key, _)| those(key))
            .map(|(_, at)| *at)
            .collect();
        for at in found {
            self.shelf_mut(at).min_warm = 0;
            while let Some(idle) = self.pop_first(at) {
                given_up.push(idle.instance);
            }
        }
    }

    /// Gives up what was idle for too long.
    pub fn expire(&mut self, now: Duration, given_up: &mut Vec<T>) {
        // Backwards: a shelf that gets empty changes places with one that was looked at.
        for place in (0..self.stocked.len()).rev() {
            let at = self.stocked[place];
            for _ in 0..self.shelf(at).expired(self.policy, now) {
                given_up.extend(self.pop_first(at).map(|idle| idle.instance));
            }
        }
    }

    /// Gives up the one idle instance that is worth least; those that an owner wants kept come last.
    pub fn give_up_one(&mut self, now: Duration) -> Option<T> {
        let victim = self.victim(false, now).or_else(|| self.victim(true, now))?;
        let (at, worth) = victim;
        self.clock = self.policy.clock_after(self.clock, worth);
        self.pop_first(at).map(|idle| idle.instance)
    }

    /// From now on so much memory may be used.
    pub fn set_memory_bytes(&mut self, memory_bytes: u64, now: Duration, given_up: &mut Vec<T>) {
        self.bounds.memory_bytes = memory_bytes;
        self.shrink(now, given_up);
    }

    /// Versions of which an owner wants more kept warm than there are.
    pub fn missing(&self) -> Vec<K> {
        let shelves = self.shelves.iter().flatten();
        let missing = shelves.filter(|shelf| shelf.alive() < shelf.min_warm);
        missing.map(|shelf| shelf.key.clone()).collect()
    }

    /// The instances of one version.
    #[must_use]
    pub fn counts(&self, key: &K) -> Counts {
        let Some(at) = self.by_key.get(key) else {
            return Counts::default();
        };
        let shelf = self.shelf(*at);
        Counts {
            idle: shelf.alive() - shelf.running,
            running: shelf.running,
            bytes: shelf.idle_bytes + shelf.running_bytes,
        }
    }

    /// Instances that run or are being made.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.running_count
    }

    /// Instances that wait for a call.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.idle_count
    }

    /// Memory of all instances, running and idle, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.idle_bytes + self.running_bytes
    }

    fn shelf(&self, at: usize) -> &Shelf<K, P, T> {
        self.shelves[at]
            .as_ref()
            .expect("an index is kept only while its shelf is there")
    }

    fn shelf_mut(&mut self, at: usize) -> &mut Shelf<K, P, T> {
        self.shelves[at]
            .as_mut()
            .expect("an index is kept only while its shelf is there")
    }

    fn shelf_of(&mut self, key: &K) -> usize {
        if let Some(at) = self.by_key.get(key) {
            return *at;
        }
        if self.by_key.len() >= self.bounds.remembered_max {
            self.forget_one();
        }
        let shelf = Some(Shelf::new(key.clone(), UNKNOWN_INSTANCE_BYTES));
        let at = match self.vacant.pop() {
            Some(at) => {
                self.shelves[at] = shelf;
                at
            }
            None => {
                self.shelves.push(shelf);
                self.shelves.len() - 1
            }
        };
        self.by_key.insert(key.clone(), at);
        at
    }

    /// Forgets the version that was called least recently of those that have nothing here and want nothing.
    fn forget_one(&mut self) {
        let shelves = self.shelves.iter().enumerate();
        let free = shelves.filter_map(|(at, shelf)| Some((at, shelf.as_ref()?)));
        let oldest = free
            .filter(|(_, shelf)| shelf.alive() == 0 && shelf.min_warm == 0)
            .min_by_key(|(_, shelf)| shelf.history.last_end());
        if let Some((at, _)) = oldest
            && let Some(shelf) = self.shelves[at].take()
        {
            self.by_key.remove(&shelf.key);
            self.vacant.push(at);
        }
    }

    /// Of an instance about which no more is known.
    fn seat(&mut self, at: usize, bytes: u64) -> Seat<P> {
        let shelf = self.shelf_mut(at);
        shelf.running += 1;
        shelf.running_bytes += bytes;
        self.running_count += 1;
        self.running_bytes += bytes;
        Seat {
            shelf: at,
            wanted: Wanted::Shared(None),
            bytes,
            uses: 0,
            pause: PAUSE_UNKNOWN,
        }
    }

    fn vacate(&mut self, seat: &Seat<P>) {
        let shelf = self.shelf_mut(seat.shelf);
        shelf.running -= 1;
        shelf.running_bytes -= seat.bytes;
        self.running_count -= 1;
        self.running_bytes -= seat.bytes;
    }

    /// The last one that has served `part`, or nobody.
    fn pop_shared(&mut self, at: usize, part: Option<&P>) -> Option<Idle<P, T>> {
        let shelf = self.shelf(at);
        let fits = |idle: &Idle<P, T>| idle.part.is_none() || idle.part.as_ref() == part;
        let place = shelf.idle.iter().rposition(fits)?;
        Some(self.remove(at, place))
    }

    fn pop_first(&mut self, at: usize) -> Option<Idle<P, T>> {
        let stocked = !self.shelf(at).idle.is_empty();
        stocked.then(|| self.remove(at, 0))
    }

    fn remove(&mut self, at: usize, place: usize) -> Idle<P, T> {
        let shelf = self.shelf_mut(at);
        let idle = shelf.idle.remove(place);
        shelf.idle_bytes -= idle.bytes;
        let emptied = if shelf.idle.is_empty() {
            shelf.stocked_at.take()
        } else {
            None
        };
        self.idle_count -= 1;
        self.idle_bytes -= idle.bytes;
        if let Some(place) = emptied {
            self.stocked.swap_remove(place);
            if let Some(moved) = self.stocked.get(place).copied() {
                self.shelf_mut(moved).stocked_at = Some(place);
            }
        }
        idle
    }

    fn push(&mut self, at: usize, idle: Idle<P, T>) {
        let stocked_at = self.stocked.len();
        self.idle_count += 1;
        self.idle_bytes += idle.bytes;
        let shelf = self.shelf_mut(at);
        shelf.instance_bytes = idle.bytes;
        shelf.idle_bytes += idle.bytes;
        shelf.idle.push(idle);
        if shelf.stocked_at.is_none() {
            shelf.stocked_at = Some(stocked_at);
            self.stocked.push(at);
        }
    }

    /// Makes room for a call's new instance. A call that would be the only one is never refused.
    fn make_room(&mut self, bytes: u64, now: Duration, given_up: &mut Vec<T>) -> bool {
        let without_idle = self.running_bytes.saturating_add(bytes);
        if without_idle > self.bounds.memory_bytes && self.running_count > 0 {
            return false;
        }
        while self.used_bytes().saturating_add(bytes) > self.bounds.memory_bytes {
            let Some(instance) = self.give_up_one(now) else { break };
            given_up.push(instance);
        }
        true
    }

    /// Comes back into the bounds.
    fn shrink(&mut self, now: Duration, given_up: &mut Vec<T>) {
        while self.used_bytes() > self.bounds.memory_bytes || self.idle_count > self.bounds.idle_instances_max {
            let Some(instance) = self.give_up_one(now) else { return };
            given_up.push(instance);
        }
    }

    /// Whose instance goes first, and what that is worth. Those that an owner wants kept are left out, or alone looked at.
    fn victim(&self, wanted_kept: bool, now: Duration) -> Option<(usize, f64)> {
        let stocked = self.stocked.iter().map(|at| (*at, self.shelf(*at)));
        let candidates = stocked.filter(|(_, shelf)| shelf.has_more_than_asked_for() != wanted_kept);
        let worths = candidates.filter_map(|(at, shelf)| Some((at, shelf.worth(self.policy, now)?)));
        worths.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }
}

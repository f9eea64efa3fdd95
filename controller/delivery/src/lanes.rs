//! Whose turn it is: deficit round robin over namespaces, plain round robin over the functions of each.
//!
//! A lane is the queue of one function. It is offered when there may be something due in it; the caller looks, takes what
//! it was allowed, and says how much there was. Nobody waits behind a function that is slow: a lane has a limit of its own,
//! a namespace never holds all slots, and what is blocked leaves the ring until something of it ends.

use std::collections::{BTreeMap, VecDeque};

/// Events that a namespace may take in one round while others wait, too.
const QUANTUM: u32 = 16;
/// Of the slots, one part in so many is out of reach for any one namespace, and of those again for any one function.
const RESERVED_PART: u32 = 4;

/// Which queues may have something due, and how many events are under way.
#[derive(Debug)]
pub struct Lanes<N, F> {
    slots: u32,
    in_flight: u32,
    ring: VecDeque<N>,
    namespaces: BTreeMap<N, Tenant<F>>,
}

#[derive(Debug)]
struct Tenant<F> {
    /// Events that it may still take in this round.
    deficit: u32,
    in_flight: u32,
    ring: VecDeque<F>,
    lanes: BTreeMap<F, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    in_flight: u32,
    at_once_max: u32,
    /// There may be something due.
    offered: bool,
    /// Offered and below its limit.
    in_ring: bool,
}

/// The right to take events of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<N, F> {
    /// Whose.
    pub namespace: N,
    /// Of which function.
    pub function: F,
    /// How many at most; at least 1.
    pub count: u32,
}

impl<N: Ord + Clone, F: Ord + Clone> Lanes<N, F> {
    /// No lanes; at most `slots` events under way at once.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            in_flight: 0,
            ring: VecDeque::new(),
            namespaces: BTreeMap::new(),
        }
    }

    /// Events under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Slots that are free.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.slots - self.in_flight
    }

    /// There may be something due for this function, of which at most `at_once_max` events may be under way at once.
    pub fn offer(&mut self, namespace: &N, function: &F, at_once_max: u32) {
        let lane_max = self.lane_max();
        let tenant = self.namespaces.entry(namespace.clone()).or_insert_with(Tenant::new);
        let lane = tenant.lanes.entry(function.clone()).or_default();
        lane.at_once_max = at_once_max.clamp(1, lane_max);
        lane.offered = true;
        if lane.in_flight >= lane.at_once_max {
            // Its limit may have been lowered while it stood in the ring.
            tenant.leave(function);
        }
        tenant.enter(function);
        if tenant.ring.is_empty() {
            self.ring.retain(|name| name != namespace);
        }
        self.enter(namespace);
    }

    /// Who may take something now. Followed by [`Self::took`].
    pub fn turn(&mut self) -> Option<Turn<N, F>> {
        let free = self.free();
        if free == 0 {
            return None;
        }
        let most = self.namespace_max();
        for _ in 0..self.ring.len() {
            let namespace = self.ring.front()?.clone();
            let alone = self.ring.len() == 1;
            let tenant = self.namespaces.get_mut(&namespace)?;
            let left = most.saturating_sub(tenant.in_flight);
            if left == 0 {
                self.ring.rotate_left(1);
                continue;
            }
            if tenant.deficit == 0 {
                tenant.deficit = QUANTUM;
            }
            let share = if alone { free } else { tenant.deficit };
            let function = tenant.ring.front()?.clone();
            let lane = tenant.lanes.get(&function)?;
            let count = share
                .min(free)
                .min(left)
                .min(lane.at_once_max.saturating_sub(lane.in_flight));
            return Some(Turn {
                namespace,
                function,
                count,
            });
        }
        None
    }

    /// `taken` events, or batches of them, of a turn are under way from now on. `more` may be due if all was taken that was
    /// allowed.
    pub fn took(&mut self, turn: &Turn<N, F>, taken: u32, more: bool) {
        let Some(tenant) = self.namespaces.get_mut(&turn.namespace) else {
            return;
        };
        self.in_flight += taken;
        tenant.in_flight += taken;
        tenant.deficit = tenant.deficit.saturating_sub(taken);
        if let Some(lane) = tenant.lanes.get_mut(&turn.function) {
            lane.in_flight += taken;
            lane.offered = more;
        }
        tenant.leave(&turn.function);
        tenant.enter(&turn.function);
        if tenant.ring.is_empty() {
            tenant.deficit = 0;
            self.ring.retain(|name| *name != turn.namespace);
        } else if tenant.deficit == 0 && self.ring.front() == Some(&turn.namespace) {
            self.ring.rotate_left(1);
        }
        self.forget_idle(&turn.namespace, &turn.function);
    }

    /// An event of this function is no longer under way.
    pub fn done(&mut self, namespace: &N, function: &F) {
        let Some(tenant) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let Some(lane) = tenant.lanes.get_mut(function).filter(|lane| lane.in_flight > 0) else {
            return;
        };
        lane.in_flight -= 1;
        tenant.in_flight -= 1;
        self.in_flight -= 1;
        tenant.enter(function);
        self.enter(namespace);
        self.forget_idle(namespace, function);
    }

    /// Slots that one namespace may hold.
    fn namespace_max(&self) -> u32 {
        (self.slots - self.slots / RESERVED_PART).max(1)
    }

    /// Slots that one function may hold, so that another one of its namespace finds one.
    fn lane_max(&self) -> u32 {
        let most = self.namespace_max();
        (most - most / RESERVED_PART).max(1)
    }

    fn enter(&mut self, namespace: &N) {
        let ready = self
            .namespaces
            .get(namespace)
            .is_some_and(|tenant| !tenant.ring.is_empty());
        if ready && !self.ring.contains(namespace) {
            self.ring.push_back(namespace.clone());
        }
    }

    fn forget_idle(&mut self, namespace: &N, function: &F) {
        let Some(tenant) = self.namespaces.get_mut(namespace) else {
            return;
        };
        if tenant
            .lanes
            .get(function)
            .is_some_and(|lane| !lane.offered && lane.in_flight == 0)
        {
            tenant.lanes.remove(function);
        }
        if tenant.lanes.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

impl<F: Ord + Clone> Tenant<F> {
    fn new() -> Self {
        Self {
            deficit: 0,
            in_flight: 0,
            ring: VecDeque::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// Puts a lane at the end of the ring, if there may be something in it and it is below its limit.
    fn enter(&mut self, function: &F) {
        let Some(lane) = self.lanes.get_mut(function) else {
            return;
        };
        if lane.offered && !lane.in_ring && lane.in_flight < lane.at_once_max {
            lane.in_ring = true;
            self.ring.push_back(function.clone());
        }
    }

    fn leave(&mut self, function: &F) {
        let Some(lane) = self.lanes.get_mut(function) else {
            return;
        };
        if lane.in_ring {
            lane.in_ring = false;
            self.ring.retain(|name| name != function);
        }
    }
}

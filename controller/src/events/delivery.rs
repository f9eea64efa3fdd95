//! The one loop that takes due events and has them run.
//!
//! It is told what is due (`wakeups.rs`), asks whose turn it is (`mayfly_delivery::Lanes`), takes as many permits as are
//! free at the gate, and claims as many events. So nothing is claimed that cannot begin at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mayfly_delivery::{Lanes, Turn};
use mayfly_invoker_api::{EventId, FunctionName, Namespace};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::code::Code;
use crate::events::attempt::Runner;
use crate::events::backlog::Backlog;
use crate::events::settling::Settling;
use crate::events::wakeups::{Lane, Wakeups};
use crate::ingress::Route;
use crate::store::ClaimedEvent;

/// While as many run already, claims of fewer than this wait until the last claim is [`CLAIM_PAUSE`] ago: one claim of many
/// events costs as much as one of one.
const SMALL_CLAIM: u32 = 64;
const CLAIM_PAUSE: Duration = Duration::from_millis(5);
/// Pause after a claim that failed, or that found no permit.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The longest sleep: the clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// The events whose attempts run here or wait for their end to be written, and how to stop one.
pub(super) type Running = Arc<Mutex<HashMap<EventId, CancellationToken>>>;

/// What the loop works with.
pub(super) struct Delivery {
    pub(super) runner: Runner,
    pub(super) settling: Settling,
    pub(super) wakeups: Arc<Wakeups>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) running: Running,
    pub(super) owner: [u8; 6],
    pub(super) slots: u32,
}

/// Frees the slot of an attempt when it ends, however it ends.
struct Slot {
    lane: Lane,
    id: EventId,
    running: Running,
    done: mpsc::UnboundedSender<Lane>,
    /// Its end was handed in; whoever writes it says that it does not run any more.
    handed_in: bool,
}

impl Slot {
    /// Frees the slot of an attempt whose end was handed in.
    fn handed_in(mut self) {
        self.handed_in = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.handed_in {
            lock(&self.running).remove(&self.id);
        }
        // The loop may have ended.
        let _ = self.done.send(self.lane.clone());
    }
}

pub(super) fn lock(running: &Running) -> MutexGuard<'_, HashMap<EventId, CancellationToken>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Delivery {
    /// Delivers until `stop`, then waits for what runs.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut lanes: Lanes<Namespace, FunctionName> = Lanes::new(self.slots);
        // Bounded by the slots.
        let (done, mut ended) = mpsc::unbounded_channel();
        let attempts = TaskTracker::new();
        let delivery = Arc::new(self);
        let (mut not_before, mut last_claim) = (Instant::now(), Instant::now());
        loop {
            while let Ok((namespace, function)) = ended.try_recv() {
                lanes.done(&namespace, &function);
            }
            delivery.offer_due(&mut lanes).await;
            if Instant::now() >= not_before {
                not_before = delivery.round(&mut lanes, (&attempts, &done), &mut last_claim).await;
            }
            let wake_at = delivery.wake_at(&mut lanes, not_before);
            tokio::select! {
                () = stop.cancelled() => break,
                () = delivery.wakeups.changed() => {}
                () = tokio::time::sleep_until(wake_at) => {}
                lane = ended.recv() => {
                    if let Some((namespace, function)) = lane {
                        lanes.done(&namespace, &function);
                    }
                }
            }
        }
        attempts.close();
        attempts.wait().await;
    }

    /// Puts what is due into the ring.
    async fn offer_due(&self, lanes: &mut Lanes<Namespace, FunctionName>) {
        for (namespace, function) in self.wakeups.take_due(self.runner.clock.unix_ms()) {
            let at_once_max = self.at_once_max(&namespace, &function).await;
            lanes.offer(&namespace, &function, at_once_max);
        }
    }

    /// Gives everybody a turn until there is nothing more, or no room; says when the next round may begin.
    async fn round(
        self: &Arc<Self>,
        lanes: &mut Lanes<Namespace, FunctionName>,
        (attempts, done): (&TaskTracker, &mpsc::UnboundedSender<Lane>),
        last_claim: &mut Instant,
    ) -> Instant {
        while let Some(turn) = lanes.turn() {
            let is_small = turn.count < SMALL_CLAIM && lanes.in_flight() >= SMALL_CLAIM;
            if is_small && last_claim.elapsed() < CLAIM_PAUSE {
                return *last_claim + CLAIM_PAUSE;
            }
            *last_claim = Instant::now();
            if let Delivered::Blocked = self.deliver(lanes, turn, attempts, done).await {
                return Instant::now() + RETRY_PAUSE;
            }
        }
        Instant::now()
    }

    /// When there is something to do although nobody says so.
    fn wake_at(&self, lanes: &mut Lanes<Namespace, FunctionName>, not_before: Instant) -> Instant {
        let now = Instant::now();
        if lanes.turn().is_some() {
            return not_before.max(now);
        }
        let due_ms = self.wakeups.next_ms();
        let sleep = due_ms.map_or(SLEEP_MAX, |due_ms| {
            let left_ms = due_ms.saturating_sub(self.runner.clock.unix_ms());
            Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(SLEEP_MAX)
        });
        now + sleep
    }

    async fn at_once_max(&self, namespace: &Namespace, function: &FunctionName) -> u32 {
        match self.runner.ingress.routes.of(namespace, function).await {
            Ok(route) => route.target.limits.instances_max,
            Err(_) => self.slots,
        }
    }

    /// Claims what a turn allows, and has it run.
    async fn deliver(
        self: &Arc<Self>,
        lanes: &mut Lanes<Namespace, FunctionName>,
        turn: Turn<Namespace, FunctionName>,
        attempts: &TaskTracker,
        done: &mpsc::UnboundedSender<Lane>,
    ) -> Delivered {
        let route = match self.runner.ingress.routes.of(&turn.namespace, &turn.function).await {
            Ok(route) => Some(route),
            Err(problem) if problem.code == Code::FunctionNotFound => None,
            Err(_) => return Delivered::Blocked,
        };
        let permits = self.runner.ingress.reserve(turn.count);
        let count = u32::try_from(permits.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Delivered::Blocked;
        }
        let turn = Turn { count, ..turn };
        let version = route.as_ref().map(|route| route.target.version);
        let now_ms = self.runner.clock.unix_ms();
        let lane = (&turn.namespace, &turn.function);
        let claimed = match self
            .runner
            .store
            .claim_events(lane, count, now_ms, self.owner, version)
            .await
        {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "events wait for the database");
                return Delivered::Blocked;
            }
        };
        lanes.took(&turn, u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        for (event, permit) in claimed.into_iter().zip(permits) {
            self.start(event, route.clone(), permit, attempts, done);
        }
        Delivered::Some
    }

    fn start(
        self: &Arc<Self>,
        event: ClaimedEvent,
        route: Option<Arc<Route>>,
        permit: OwnedSemaphorePermit,
        attempts: &TaskTracker,
        done: &mpsc::UnboundedSender<Lane>,
    ) {
        self.backlog
            .leave(&event.namespace, event.payload.as_ref().map_or(0, bytes::Bytes::len));
        let cancel = CancellationToken::new();
        lock(&self.running).insert(event.id, cancel.clone());
        let slot = Slot {
            lane: (event.namespace.clone(), event.function.clone()),
            id: event.id,
            running: Arc::clone(&self.running),
            done: done.clone(),
            handed_in: false,
        };
        let delivery = Arc::clone(self);
        attempts.spawn(async move {
            let settlement = delivery.runner.run(&event, route, permit, &cancel).await;
            delivery.settling.settle(settlement).await;
            slot.handed_in();
        });
    }
}

enum Delivered {
    /// Whatever was due of the turn runs.
    Some,
    /// The database or the permits are not there at the moment.
    Blocked,
}

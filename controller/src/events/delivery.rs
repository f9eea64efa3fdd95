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
use crate::events::batch::batches;
use crate::events::settling::Settling;
use crate::events::subscriptions::subscription_of;
use crate::events::wakeups::Wakeups;
use crate::ingress::Route;
use crate::store::{ClaimedEvent, FirstDue, Lane};

/// While as many run already, claims of fewer than this wait until the last claim is [`CLAIM_PAUSE`] ago: one claim of many
/// events costs as much as one of one.
const SMALL_CLAIM: u32 = 64;
const CLAIM_PAUSE: Duration = Duration::from_millis(5);
/// Events of one claim, unless one batch has more.
const CLAIM_MAX: u32 = 2_048;
/// Pause after a claim that failed, or that found no permit.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The longest sleep: the clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// The events whose attempts run here or wait for their end to be written, and how to stop one.
pub(super) type Running = Arc<Mutex<HashMap<EventId, Attempt>>>;

/// An attempt that runs here.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) cancel: CancellationToken,
}

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

/// What the ring calls a lane: the rest of its name beside the namespace.
type Place = (FunctionName, Option<String>);

/// How the events of a lane are taken at the moment.
struct Plan {
    route: Option<Arc<Route>>,
    /// Attempts, or batches, at once.
    at_once_max: u32,
    /// Of a queue trigger.
    batching: Option<Batching>,
}

#[derive(Debug, Clone, Copy)]
struct Batching {
    size: u32,
    window_ms: i64,
    bisect: bool,
    paused: bool,
}

/// Attempts that follow one another under one slot: mostly one. Where messages are large, those that were claimed for one
/// batch may make several.
struct Work {
    lane: Lane,
    route: Option<Arc<Route>>,
    batching: Option<Batching>,
    batches: Vec<Vec<ClaimedEvent>>,
}

/// Frees the slot of some work when it ends, however it ends.
struct Slot {
    lane: Lane,
    events: Vec<(EventId, u32)>,
    running: Running,
    done: mpsc::UnboundedSender<Lane>,
    /// Its end was handed in; whoever writes it says that it does not run any more.
    handed_in: bool,
}

fn place_of(lane: &Lane) -> Place {
    (lane.function.clone(), lane.trigger.clone())
}

fn lane_of(namespace: Namespace, (function, trigger): Place) -> Lane {
    Lane {
        namespace,
        function,
        trigger,
    }
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
            let mut running = lock(&self.running);
            for (id, attempt) in &self.events {
                forget(&mut running, *id, *attempt);
            }
        }
        // The loop may have ended.
        let _ = self.done.send(self.lane.clone());
    }
}

pub(super) fn lock(running: &Running) -> MutexGuard<'_, HashMap<EventId, Attempt>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attempt runs here no longer; the next one of the same event may already.
pub(super) fn forget(running: &mut HashMap<EventId, Attempt>, id: EventId, attempt: u32) {
    if running.get(&id).is_some_and(|running| running.number == attempt) {
        running.remove(&id);
    }
}

impl Delivery {
    /// Delivers until `stop`, then waits for what runs.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut lanes: Lanes<Namespace, Place> = Lanes::new(self.slots);
        // Bounded by the slots.
        let (done, mut ended) = mpsc::unbounded_channel::<Lane>();
        let attempts = TaskTracker::new();
        let delivery = Arc::new(self);
        let stopping = stop.clone();
        let (mut not_before, mut last_claim) = (Instant::now(), Instant::now());
        loop {
            while let Ok(lane) = ended.try_recv() {
                lanes.done(&lane.namespace, &place_of(&lane));
            }
            delivery.offer_due(&mut lanes).await;
            if Instant::now() >= not_before {
                not_before = delivery
                    .round(&mut lanes, (&attempts, &done, &stopping), &mut last_claim)
                    .await;
            }
            let wake_at = delivery.wake_at(&mut lanes, not_before);
            tokio::select! {
                () = stop.cancelled() => break,
                () = delivery.wakeups.changed() => {}
                () = tokio::time::sleep_until(wake_at) => {}
                lane = ended.recv() => {
                    if let Some(lane) = lane {
                        lanes.done(&lane.namespace, &place_of(&lane));
                    }
                }
            }
        }
        attempts.close();
        attempts.wait().await;
    }

    /// Puts what is due into the ring.
    async fn offer_due(&self, lanes: &mut Lanes<Namespace, Place>) {
        let now_ms = self.runner.clock.unix_ms();
        for lane in self.wakeups.take_due(now_ms) {
            let plan = match self.plan(&lane).await {
                Ok(plan) => plan,
                // Whoever goes the rounds says it again.
                Err(Unknown) => continue,
            };
            match plan.batching {
                Some(batching) if batching.paused => {}
                Some(batching) if self.gathers(&lane, batching, now_ms).await => {}
                _ => lanes.offer(&lane.namespace, &place_of(&lane), plan.at_once_max),
            }
        }
    }

    /// Whether the events of a lane wait for more to come along; then it is known when they have waited for long enough.
    async fn gathers(&self, lane: &Lane, batching: Batching, now_ms: i64) -> bool {
        if batching.size < 2 || batching.window_ms == 0 {
            return false;
        }
        match self.runner.store.first_due(lane, batching.size, now_ms).await {
            // What comes again in smaller batches has waited already.
            Ok(FirstDue {
                count,
                due_ms: Some(first_ms),
                batch_max: None,
            }) if count < batching.size && first_ms + batching.window_ms > now_ms => {
                self.wakeups.wake(lane.clone(), first_ms + batching.window_ms);
                true
            }
            // If the database is away, it will be said by whoever claims.
            _ => false,
        }
    }

    /// Gives everybody a turn until there is nothing more, or no room; says when the next round may begin.
    async fn round(
        self: &Arc<Self>,
        lanes: &mut Lanes<Namespace, Place>,
        tasks: Tasks<'_>,
        last_claim: &mut Instant,
    ) -> Instant {
        while let Some(turn) = lanes.turn() {
            let is_small = turn.count < SMALL_CLAIM && lanes.in_flight() >= SMALL_CLAIM;
            if is_small && last_claim.elapsed() < CLAIM_PAUSE {
                return *last_claim + CLAIM_PAUSE;
            }
            *last_claim = Instant::now();
            if let Delivered::Blocked = self.deliver(lanes, turn, tasks).await {
                return Instant::now() + RETRY_PAUSE;
            }
        }
        Instant::now()
    }

    /// When there is something to do although nobody says so.
    fn wake_at(&self, lanes: &mut Lanes<Namespace, Place>, not_before: Instant) -> Instant {
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

    async fn plan(&self, lane: &Lane) -> Result<Plan, Unknown> {
        let route = match self.runner.ingress.routes.of(&lane.namespace, &lane.function).await {
            Ok(route) => Some(route),
            Err(problem) if problem.code == Code::FunctionNotFound => None,
            Err(_) => return Err(Unknown),
        };
        let mut at_once_max = route
            .as_ref()
            .map_or(self.slots, |route| route.target.limits.instances_max);
        let Some(name) = &lane.trigger else {
            return Ok(Plan {
                route,
                at_once_max,
                batching: None,
            });
        };
        let trigger = self.runner.subscriptions.trigger(&lane.namespace, name).await;
        let trigger = trigger.map_err(|_| Unknown)?;
        let subscription = trigger.as_deref().and_then(subscription_of);
        let batching = match (trigger.as_deref(), subscription) {
            (Some(trigger), Some(subscription)) => {
                at_once_max = at_once_max.min(subscription.concurrency);
                Batching {
                    size: subscription.batch,
                    window_ms: i64::from(subscription.window_ms),
                    bisect: subscription.bisect,
                    paused: !trigger.enabled,
                }
            }
            // It was deleted; its events stay.
            _ => Batching {
                size: 1,
                window_ms: 0,
                bisect: false,
                paused: false,
            },
        };
        Ok(Plan {
            route,
            at_once_max,
            batching: Some(batching),
        })
    }

    /// Claims what a turn allows, and has it run.
    async fn deliver(
        self: &Arc<Self>,
        lanes: &mut Lanes<Namespace, Place>,
        turn: Turn<Namespace, Place>,
        tasks: Tasks<'_>,
    ) -> Delivered {
        let lane = lane_of(turn.namespace.clone(), turn.function.clone());
        let Ok(plan) = self.plan(&lane).await else {
            return Delivered::Blocked;
        };
        let (size, paused) = plan
            .batching
            .map_or((1, false), |batching| (batching.size, batching.paused));
        if paused {
            lanes.took(&turn, 0, false);
            return Delivered::Some;
        }
        let mut permits = self.runner.ingress.reserve(turn.count);
        if permits.is_empty() {
            return Delivered::Blocked;
        }
        let count = u32::try_from(permits.len()).unwrap_or(u32::MAX);
        let now_ms = self.runner.clock.unix_ms();
        let Ok(size) = self.batch_size(&lane, size, now_ms).await else {
            return Delivered::Blocked;
        };
        let events_max = count.saturating_mul(size).min(size.max(CLAIM_MAX));
        let version = plan.route.as_ref().map(|route| route.target.version);
        let claimed = self
            .runner
            .store
            .claim_events(&lane, events_max, now_ms, self.owner, version)
            .await;
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "events wait for the database");
                return Delivered::Blocked;
            }
        };
        let more = claimed.len() == events_max as usize;
        let works = works(lane, plan, claimed, permits.len());
        lanes.took(&turn, u32::try_from(works.len()).unwrap_or(u32::MAX), more);
        permits.truncate(works.len());
        for (work, permit) in works.into_iter().zip(permits) {
            self.start(work, permit, tasks);
        }
        Delivered::Some
    }

    /// Messages that can be in one batch now: those that come again in smaller ones must not make more batches than may begin.
    async fn batch_size(&self, lane: &Lane, size: u32, now_ms: i64) -> Result<u32, Unknown> {
        if size < 2 {
            return Ok(size);
        }
        let due = self.runner.store.first_due(lane, size.max(CLAIM_MAX), now_ms).await;
        let least = due.map_err(|_| Unknown)?.batch_max;
        Ok(least.map_or(size, |least| least.min(size)))
    }

    fn start(self: &Arc<Self>, work: Work, permit: OwnedSemaphorePermit, (attempts, done, stop): Tasks<'_>) {
        let cancel = CancellationToken::new();
        let events = || work.batches.iter().flatten();
        let bytes = events().map(|event| usize::try_from(event.payload_bytes).unwrap_or(usize::MAX));
        self.backlog.leave(&work.lane.namespace, events().count(), bytes.sum());
        let events: Vec<(EventId, u32)> = events().map(|event| (event.id, event.attempt)).collect();
        lock(&self.running).extend(events.iter().map(|(id, number)| {
            let attempt = Attempt {
                number: *number,
                cancel: cancel.clone(),
            };
            (*id, attempt)
        }));
        let slot = Slot {
            lane: work.lane.clone(),
            events,
            running: Arc::clone(&self.running),
            done: done.clone(),
            handed_in: false,
        };
        let (delivery, stop) = (Arc::clone(self), stop.clone());
        attempts.spawn(async move {
            delivery.work(work, permit, (cancel, stop)).await;
            slot.handed_in();
        });
    }

    async fn work(
        &self,
        work: Work,
        permit: OwnedSemaphorePermit,
        (cancel, stop): (CancellationToken, CancellationToken),
    ) {
        let Work {
            route,
            batching,
            batches,
            ..
        } = work;
        let mut permit = Some(permit);
        for events in batches {
            let permit = match permit.take() {
                Some(permit) => permit,
                // Nobody who stops the server waits for what has not begun.
                None if stop.is_cancelled() => {
                    let given_back = events.iter().map(|event| self.runner.given_back(event));
                    self.settling.settle(given_back.collect()).await;
                    continue;
                }
                None => self.runner.ingress.wait_for_permit().await,
            };
            let settlements = match (batching, events.as_slice()) {
                (None, [event]) => vec![self.runner.run(event, route.clone(), permit, &cancel).await],
                (batching, events) => {
                    let bisect = batching.is_some_and(|batching| batching.bisect);
                    self.runner.run_batch(events, route.clone(), permit, bisect).await
                }
            };
            self.settling.settle(settlements).await;
        }
    }
}

/// Where attempts run, who is told when one has ended, and when no more begin.
type Tasks<'a> = (&'a TaskTracker, &'a mpsc::UnboundedSender<Lane>, &'a CancellationToken);

/// At most `most` pieces of work, one for each attempt that may begin now.
fn works(lane: Lane, plan: Plan, claimed: Vec<ClaimedEvent>, most: usize) -> Vec<Work> {
    let size = plan.batching.map_or(1, |batching| batching.size);
    let mut works: Vec<Work> = Vec::new();
    for (number, batch) in batches(claimed, size).into_iter().enumerate() {
        match works.get_mut(number % most) {
            Some(work) if number >= most => work.batches.push(batch),
            _ => works.push(Work {
                lane: lane.clone(),
                route: plan.route.clone(),
                batching: plan.batching,
                batches: vec![batch],
            }),
        }
    }
    works
}

enum Delivered {
    /// Whatever was due of the turn runs.
    Some,
    /// The database or the permits are not there at the moment.
    Blocked,
}

/// It cannot be told how a lane is taken, because the database is away.
struct Unknown;

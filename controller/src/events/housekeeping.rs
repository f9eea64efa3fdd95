//! The safety net: says that this process is alive, takes over from those that are not, finds what nobody was told about,
//! and forgets what is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::{TICKS_KEPT, UNDELIVERED_KEPT};
use crate::events::Metrics;
use crate::events::attempt::Runner;
use crate::events::backlog::Backlog;
use crate::events::delivery::{Running, lock};
use crate::events::settling::Settling;
use crate::events::wakeups::Wakeups;
use crate::store::{ClaimedEvent, Store, StoreError};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long a process is believed to be alive after it said so, in milliseconds.
const ALIVE_MS: i64 = 15_000;
/// Rounds between two times that it says so.
const HEARTBEAT_ROUNDS: u32 = 3;
/// After this, an attempt that nobody knows of is not just about to begin, in milliseconds.
const CLAIM_LOST_MS: i64 = 10_000;
/// Events that are taken over in one round.
const ORPHANS_MAX: u32 = 512;
/// Rows that are forgotten in one go.
const FORGOTTEN_MAX: u32 = 1_000;
/// Rounds between two looks for what can be forgotten.
const FORGET_ROUNDS: u32 = 60;
/// Counting the backlog may take one part in so many of the time.
const COUNT_PART: u32 = 50;

/// What the rounds work with.
pub(super) struct Housekeeping {
    pub(super) runner: Runner,
    pub(super) settling: Settling,
    pub(super) wakeups: Arc<Wakeups>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) running: Running,
    pub(super) owner: [u8; 6],
    pub(super) result_kept: Duration,
}

/// Until when a process says that it is alive. On a database of its own, nobody takes over before its end is known.
pub(super) fn alive_until_ms(store: &Store, now_ms: i64) -> i64 {
    if store.is_shared() {
        now_ms.saturating_add(ALIVE_MS)
    } else {
        i64::MAX
    }
}

impl Housekeeping {
    /// Goes its rounds until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (mut round, mut next_count, mut calm) = (0_u32, Instant::now(), 0_u32);
        loop {
            match self.round(round, calm, &mut next_count).await {
                Ok(()) => calm = calm.saturating_add(1),
                Err(error) => {
                    calm = 0;
                    tracing::warn!(%error, "looking after events has to wait");
                }
            }
            round = round.wrapping_add(1);
            if stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none() {
                return;
            }
        }
    }

    /// One round, after `calm` rounds in a row in which the database was there.
    async fn round(&self, round: u32, calm: u32, next_count: &mut Instant) -> Result<(), StoreError> {
        let store = &self.runner.store;
        let now_ms = self.runner.clock.unix_ms();
        let shared_ms = store.shared_time_ms(now_ms).await?;
        // After an outage every process is late with its word, and alive.
        if calm == 0 || round.is_multiple_of(HEARTBEAT_ROUNDS) {
            store.stay_alive(self.owner, alive_until_ms(store, shared_ms)).await?;
        }
        let silent_ms = if calm > 2 * HEARTBEAT_ROUNDS {
            shared_ms
        } else {
            i64::MIN
        };
        self.take_over(silent_ms).await?;
        if round.is_multiple_of(HEARTBEAT_ROUNDS) {
            self.find_lost(now_ms).await?;
        }
        self.cancel().await?;
        for due in store.lanes().await? {
            self.wakeups.wake(due.lane, due.due_ms);
        }
        if Instant::now() >= *next_count {
            let began = Instant::now();
            let counts = store.event_counts().await?;
            self.backlog.set(&counts);
            self.metrics.counted(&counts, now_ms);
            *next_count = Instant::now() + began.elapsed() * COUNT_PART;
        }
        if round.is_multiple_of(FORGET_ROUNDS) {
            self.forget(now_ms, silent_ms).await?;
            self.take_waiting(now_ms).await?;
        }
        Ok(())
    }

    /// Attempts whose process has ended, or has been silent since before then, are over. What they were the end of is
    /// judged like any other attempt.
    async fn take_over(&self, silent_ms: i64) -> Result<(), StoreError> {
        for event in self.runner.store.orphans(silent_ms, ORPHANS_MAX).await? {
            tracing::warn!(event = %event.id, attempt = event.attempt, "the server that ran this attempt has ended: interrupted");
            self.interrupted(&event).await;
        }
        Ok(())
    }

    /// Attempts that the database has begun for this process, which does not know of them: the answer to a claim was lost,
    /// or an attempt has panicked.
    async fn find_lost(&self, now_ms: i64) -> Result<(), StoreError> {
        let before_ms = now_ms.saturating_sub(CLAIM_LOST_MS);
        for event in self.runner.store.held_since(self.owner, before_ms, ORPHANS_MAX).await? {
            let known = lock(&self.running)
                .get(&event.id)
                .is_some_and(|running| running.number == event.attempt);
            if !known {
                tracing::warn!(event = %event.id, attempt = event.attempt, "nobody runs this attempt: interrupted");
                self.interrupted(&event).await;
            }
        }
        Ok(())
    }

    async fn interrupted(&self, event: &ClaimedEvent) {
        let routes = &self.runner.ingress.routes;
        let route = routes.of(&event.namespace, &event.function).await.ok();
        let settlement = self.runner.interrupted(event, route.as_deref()).await;
        self.settling.settle(vec![settlement]).await;
    }

    /// Messages that wait although a trigger wants them by now: whoever was to give them to it has ended before.
    async fn take_waiting(&self, now_ms: i64) -> Result<(), StoreError> {
        for (namespace, queue) in self.runner.store.queues_with_messages().await? {
            match self.runner.subscriptions.take_waiting(&namespace, &queue, now_ms).await {
                Ok(lanes) => lanes
                    .into_iter()
                    .for_each(|(lane, due_ms)| self.wakeups.wake(lane, due_ms)),
                Err(problem) => tracing::debug!(%queue, reason = problem.detail, "messages wait"),
            }
        }
        Ok(())
    }

    /// Stops what runs here and was cancelled through another controller.
    async fn cancel(&self) -> Result<(), StoreError> {
        if lock(&self.running).is_empty() {
            return Ok(());
        }
        for id in self.runner.store.cancellations(self.owner).await? {
            if let Some(attempt) = lock(&self.running).get(&id) {
                attempt.cancel.cancel();
            }
        }
        Ok(())
    }

    async fn forget(&self, now_ms: i64, silent_ms: i64) -> Result<(), StoreError> {
        let ago = |time: Duration| now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let store = &self.runner.store;
        store.forget_dead_owners(silent_ms).await?;
        let (done_ms, undelivered_ms) = (ago(self.result_kept), ago(UNDELIVERED_KEPT));
        while store.forget_events(done_ms, undelivered_ms, FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        while store.forget_messages(now_ms, FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        while store.forget_keys(now_ms, FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        while store.forget_ticks(ago(TICKS_KEPT), FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        Ok(())
    }
}

//! The safety net: says that this process is alive, takes over from those that are not, finds what nobody was told about,
//! and forgets what is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::{TICKS_KEPT, UNDELIVERED_KEPT};
use crate::events::attempt::Runner;
use crate::events::backlog::Backlog;
use crate::events::delivery::{Running, lock};
use crate::events::settling::Settling;
use crate::events::wakeups::Wakeups;
use crate::store::StoreError;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long a process is believed to be alive after it said so, in milliseconds.
pub(super) const ALIVE_MS: i64 = 15_000;
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
    pub(super) running: Running,
    pub(super) owner: [u8; 6],
    pub(super) result_kept: Duration,
}

impl Housekeeping {
    /// Goes its rounds until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (mut round, mut next_count) = (0_u32, Instant::now());
        loop {
            if let Err(error) = self.round(round.is_multiple_of(FORGET_ROUNDS), &mut next_count).await {
                tracing::warn!(%error, "looking after events has to wait");
            }
            round = round.wrapping_add(1);
            if stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none() {
                return;
            }
        }
    }

    async fn round(&self, forget: bool, next_count: &mut Instant) -> Result<(), StoreError> {
        let store = &self.runner.store;
        let now_ms = self.runner.clock.unix_ms();
        store.stay_alive(self.owner, now_ms.saturating_add(ALIVE_MS)).await?;
        self.take_over(now_ms).await?;
        self.cancel().await?;
        for lane in store.lanes().await? {
            self.wakeups.wake(&lane.namespace, &lane.function, lane.due_ms);
        }
        if Instant::now() >= *next_count {
            let began = Instant::now();
            self.backlog.set(&store.backlog().await?);
            *next_count = Instant::now() + began.elapsed() * COUNT_PART;
        }
        if forget {
            self.forget(now_ms).await?;
        }
        Ok(())
    }

    /// Attempts whose process has ended are over. What they were the end of is judged like any other attempt.
    async fn take_over(&self, now_ms: i64) -> Result<(), StoreError> {
        let orphans = self.runner.store.orphans(now_ms, ORPHANS_MAX).await?;
        for event in orphans {
            tracing::warn!(event = %event.id, attempt = event.attempt, "the server that ran this attempt has ended: interrupted");
            let route = self
                .runner
                .ingress
                .routes
                .of(&event.namespace, &event.function)
                .await
                .ok();
            let settlement = self.runner.interrupted(&event, route.as_deref());
            self.settling.settle(settlement).await;
        }
        self.runner.store.forget_dead_owners(now_ms).await
    }

    /// Stops what runs here and was cancelled through another controller.
    async fn cancel(&self) -> Result<(), StoreError> {
        if lock(&self.running).is_empty() {
            return Ok(());
        }
        for id in self.runner.store.cancellations(self.owner).await? {
            if let Some(token) = lock(&self.running).get(&id) {
                token.cancel();
            }
        }
        Ok(())
    }

    async fn forget(&self, now_ms: i64) -> Result<(), StoreError> {
        let ago = |time: Duration| now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let store = &self.runner.store;
        let (done_ms, undelivered_ms) = (ago(self.result_kept), ago(UNDELIVERED_KEPT));
        while store.forget_events(done_ms, undelivered_ms, FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        while store.forget_keys(now_ms, FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        while store.forget_ticks(ago(TICKS_KEPT), FORGOTTEN_MAX).await? == u64::from(FORGOTTEN_MAX) {}
        Ok(())
    }
}

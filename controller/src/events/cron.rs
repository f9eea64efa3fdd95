//! Schedules: the ticks that are due become events, one for each, whatever the number of controllers.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use mayfly_invoker_api::EventId;
use mayfly_schedule::{Due, Missed as MissedTicks, Schedule, Tz};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::admin::time;
use crate::clock::{Clock, Ids};
use crate::events::Metrics;
use crate::events::envelope::{CloudEvent, Envelope};
use crate::events::wakeups::Wakeups;
use crate::ledger::Trigger;
use crate::storage::max_age_ms;
use crate::store::{CronConfig, EventTrigger, Firing, Missed, NewEvent, Store, StoreError, TriggerConfig};

/// Triggers that fire in one transaction.
const BATCH_MAX: u32 = 256;
/// The longest sleep: other controllers make triggers, too, and the clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Pause after the database failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Fires what is due. Any number of them may work on one database.
#[derive(Debug)]
pub struct Scheduler {
    store: Store,
    ids: Arc<Ids>,
    wakeups: Arc<Wakeups>,
    metrics: Arc<Metrics>,
    changed: Notify,
}

/// A schedule and its time zone, as a trigger names them.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    schedule: Schedule,
    zone: Tz,
}

impl Timing {
    /// Reads both.
    ///
    /// # Errors
    /// Says what is wrong, for the client.
    pub(crate) fn parse(schedule: &str, timezone: &str) -> Result<Self, String> {
        let zone = timezone.parse().map_err(|_| {
            format!(
                "there is no time zone '{}'; write one like Europe/Berlin",
                shown(timezone)
            )
        })?;
        let schedule = Schedule::parse(schedule).map_err(|error| error.to_string())?;
        Ok(Self { schedule, zone })
    }

    /// The first tick after `now_ms`, in milliseconds since 1970.
    pub(crate) fn next_ms(&self, now_ms: i64, created_ms: i64) -> Option<i64> {
        let next = self
            .schedule
            .next_after(instant(now_ms), self.zone, instant(created_ms));
        next.map(|tick| tick.timestamp_millis())
    }

    fn due(&self, first_ms: i64, now_ms: i64, created_ms: i64, missed: Missed) -> Due {
        let missed = match missed {
            Missed::Skip => MissedTicks::Skip,
            Missed::One => MissedTicks::One,
            Missed::All => MissedTicks::All,
        };
        let (first, now, created) = (instant(first_ms), instant(now_ms), instant(created_ms));
        self.schedule.due(first, now, self.zone, created, missed)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn instant(unix_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(unix_ms).unwrap_or_default()
}

impl Scheduler {
    pub(super) fn new(store: Store, ids: Arc<Ids>, wakeups: Arc<Wakeups>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            ids,
            wakeups,
            metrics,
            changed: Notify::new(),
        }
    }

    /// A scheduler for a process of that name which delivers nothing: what it fires is in the store.
    #[must_use]
    pub fn alone(store: Store, process: [u8; 6]) -> Self {
        Self::new(
            store,
            Arc::new(Ids::new(process)),
            Arc::default(),
            Arc::new(Metrics::new()),
        )
    }

    /// A trigger was made or changed: it may be the next one.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Fires until `stop`.
    pub(super) async fn run(self: Arc<Self>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        loop {
            let sleep = match self.fire_due(clock.unix_ms()).await {
                Ok(None) => SLEEP_MAX,
                Ok(Some(next_ms)) => {
                    let left_ms = next_ms.saturating_sub(clock.unix_ms());
                    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(SLEEP_MAX)
                }
                Err(error) => {
                    tracing::warn!(%error, "schedules wait for the database");
                    RETRY_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(sleep) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Fires all that is due at `now_ms`; gives when the next trigger is due. Both in milliseconds since 1970.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fire_due(&self, now_ms: i64) -> Result<Option<i64>, StoreError> {
        loop {
            let due = self.store.due_triggers(now_ms, BATCH_MAX).await?;
            if due.is_empty() {
                return self.store.next_tick().await;
            }
            let mut firings = Vec::with_capacity(due.len());
            for trigger in due {
                // Only what follows a clock has a next tick.
                let TriggerConfig::Cron(config) = &trigger.config else {
                    continue;
                };
                let max_age_ms = self.max_age_ms(&trigger).await?;
                firings.push(self.firing(&trigger, config, now_ms, max_age_ms));
            }
            for event in self.store.fire_triggers(&firings).await? {
                self.metrics.accepted_one(&event.namespace, Trigger::Cron);
                self.wakeups.wake(event.lane(), event.due_ms);
            }
        }
    }

    /// The event of a schedule that is fired by hand.
    pub(crate) async fn event_now(
        &self,
        trigger: &EventTrigger,
        config: &CronConfig,
        now_ms: i64,
    ) -> Result<NewEvent, StoreError> {
        let max_age_ms = self.max_age_ms(trigger).await?;
        Ok(self.event(trigger, config, now_ms, (now_ms, now_ms), max_age_ms))
    }

    async fn max_age_ms(&self, trigger: &EventTrigger) -> Result<i64, StoreError> {
        max_age_ms(&self.store, trigger).await
    }

    fn firing(&self, trigger: &EventTrigger, config: &CronConfig, now_ms: i64, max_age_ms: i64) -> Firing {
        let CronConfig { schedule, timezone, .. } = config;
        let due_ms = trigger.next_ms.unwrap_or(now_ms);
        let (ticks, next_ms) = match Timing::parse(schedule, timezone) {
            Ok(timing) => {
                let due = timing.due(due_ms, now_ms, trigger.created_ms, config.missed);
                let ticks = due.ticks.iter().map(|tick| {
                    let tick_ms = tick.timestamp_millis();
                    let jitter_ms = jitter_ms(trigger.id, tick_ms, config.jitter_seconds);
                    let due_ms = now_ms.max(tick_ms.saturating_add(jitter_ms));
                    (
                        tick_ms,
                        self.event(trigger, config, tick_ms, (now_ms, due_ms), max_age_ms),
                    )
                });
                (ticks.collect(), due.next.map(|tick| tick.timestamp_millis()))
            }
            Err(error) => {
                // It was read when it was made, so this is about another version of the program.
                tracing::error!(
                    trigger = trigger.name,
                    error,
                    "a trigger cannot be read and fires no more"
                );
                (Vec::new(), None)
            }
        };
        Firing {
            trigger: trigger.id,
            due_ms,
            next_ms,
            ticks,
        }
    }

    fn event(
        &self,
        trigger: &EventTrigger,
        config: &CronConfig,
        tick_ms: i64,
        (now_ms, due_ms): (i64, i64),
        max_age_ms: i64,
    ) -> NewEvent {
        let id = self.ids.event(now_ms);
        let source = format!("/ns/{}/triggers/{}", trigger.namespace, trigger.name);
        let cloud_event = CloudEvent {
            r#type: "mayfly.cron.tick".to_owned(),
            source,
            time: time(tick_ms),
        };
        NewEvent {
            id,
            namespace: trigger.namespace.clone(),
            function: trigger.function.clone(),
            pinned_version: None,
            source: Trigger::Cron,
            trigger: Some(trigger.name.clone()),
            created_ms: now_ms,
            due_ms,
            expires_ms: due_ms.saturating_add(max_age_ms),
            depth: 0,
            order_key: None,
            envelope: Envelope::of_document(cloud_event, config.retry).to_text(),
            payload: scheduled_event(trigger, config, id, tick_ms),
        }
    }
}

/// The event as AWS EventBridge sends it.
fn scheduled_event(trigger: &EventTrigger, config: &CronConfig, id: EventId, tick_ms: i64) -> Bytes {
    let mut event = EventBridgeEvent::<Value>::default();
    event.version = Some("0".to_owned());
    event.id = Some(id.to_string());
    event.detail_type = "Scheduled Event".to_owned();
    event.source = "aws.events".to_owned();
    event.account = Some(trigger.namespace.to_string());
    event.time = Some(instant(tick_ms));
    event.region = Some("mayfly".to_owned());
    event.resources = Some(vec![format!("mayfly:{}:trigger/{}", trigger.namespace, trigger.name)]);
    event.detail = config.detail.clone();
    Bytes::from(serde_json::to_vec(&event).unwrap_or_default())
}

/// How late a tick is on purpose: the same whoever computes it.
fn jitter_ms(trigger: EventId, tick_ms: i64, jitter_seconds: u32) -> i64 {
    let [.., a, b, c, d, e, f, g, h] = *trigger.as_bytes();
    let id = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let mixed = (id ^ tick_ms.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    i64::try_from(mixed % (u64::from(jitter_seconds) * 1_000 + 1)).unwrap_or(0)
}

//! Triggers, and the ticks of schedules: one event per tick, whatever the number of controllers.

use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{EventId, FunctionName, Namespace};
use serde::{Deserialize, Serialize};

use super::columns::{from_json, json, parsed, stored};
use super::events::{NewEvent, insert_events};
use super::pool::{reading, writing};
use super::{Store, StoreError};

/// What happens to ticks that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    Skip,
    /// The last one fires.
    #[default]
    One,
    /// All fire, at most the last hundred.
    All,
}

/// When a schedule fires and what it gives to the function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronConfig {
    /// As it was written.
    pub schedule: String,
    /// Name in the database of time zones.
    pub timezone: String,
    /// What happens to ticks that nobody was there for.
    pub missed: Missed,
    /// Each tick is late by up to so many seconds, so that not all functions begin at once.
    pub jitter_seconds: u32,
    /// The `detail` of the event.
    pub detail: serde_json::Value,
    /// In place of the function's own.
    pub retry: Option<RetryPolicy>,
}

/// A trigger that fires by the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronTrigger {
    /// Names it for ever; a trigger of the same name that is made later has another one.
    pub id: EventId,
    /// Whose.
    pub namespace: Namespace,
    /// Unique in its namespace.
    pub name: String,
    /// What it fires.
    pub function: FunctionName,
    /// When.
    pub config: CronConfig,
    /// Whether it fires.
    pub enabled: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its next tick, in milliseconds since 1970; `None` when there is none.
    pub next_ms: Option<i64>,
    /// Its last tick that fired, in milliseconds since 1970.
    pub last_ms: Option<i64>,
}

/// What is due of a trigger.
#[derive(Debug, Clone)]
pub struct Firing {
    /// Which trigger.
    pub trigger: EventId,
    /// The tick that was due; if another controller has fired it, nothing happens.
    pub due_ms: i64,
    /// The tick after those that fire now; `None` when there is no more.
    pub next_ms: Option<i64>,
    /// Ticks that fire, and their events.
    pub ticks: Vec<(i64, NewEvent)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    namespace: String,
    name: String,
    function: String,
    config: String,
    enabled: i64,
    created_ms: i64,
    next_ms: Option<i64>,
    last_ms: Option<i64>,
}

macro_rules! select_triggers {
    ($rest:literal) => {
        concat!(
            "SELECT id, namespace, name, function, config, enabled, created_ms, next_ms, last_ms FROM event_trigger ",
            $rest
        )
    };
}

impl Store {
    /// Makes a trigger; `false` when the namespace has one of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_trigger(&self, trigger: &CronTrigger) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO event_trigger \
             (id, namespace, name, function, kind, config, enabled, created_ms, next_ms, last_ms) \
             VALUES ($1, $2, $3, $4, 'cron', $5, $6, $7, $8, $9) ON CONFLICT (namespace, name) DO NOTHING";
        let config = json("configuration of a trigger", &trigger.config)?;
        let made = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(trigger.id.as_bytes().as_slice())
                .bind(trigger.namespace.as_str())
                .bind(&trigger.name)
                .bind(trigger.function.as_str())
                .bind(&config)
                .bind(i64::from(trigger.enabled))
                .bind(trigger.created_ms)
                .bind(trigger.next_ms)
                .bind(trigger.last_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(made > 0)
    }

    /// A trigger of the namespace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trigger(&self, namespace: &Namespace, name: &str) -> Result<Option<CronTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE namespace = $1 AND name = $2");
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(name)
            .fetch_optional(db))?;
        row.map(CronTrigger::try_from).transpose()
    }

    /// Up to `limit` triggers whose names follow `after`, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn triggers(
        &self,
        namespace: &Namespace,
        after: &str,
        limit: u32,
    ) -> Result<Vec<CronTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(CronTrigger::try_from).collect()
    }

    /// How many triggers a namespace has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_triggers(&self, namespace: &Namespace) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM event_trigger WHERE namespace = $1";
        let count: i64 = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(namespace.as_str())
            .fetch_one(db))?;
        stored("count", count)
    }

    /// Turns a trigger on or off; `next_ms` is its next tick from now on. `false` when there is none of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enable_trigger(
        &self,
        namespace: &Namespace,
        name: &str,
        enabled: bool,
        next_ms: Option<i64>,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE event_trigger SET enabled = $3, next_ms = $4 WHERE namespace = $1 AND name = $2";
        let changed = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(namespace.as_str())
                .bind(name)
                .bind(i64::from(enabled))
                .bind(next_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(changed > 0)
    }

    /// Deletes a trigger; `false` when there is none of that name. Events that it has made stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_trigger(&self, namespace: &Namespace, name: &str) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM event_trigger WHERE namespace = $1 AND name = $2";
        let deleted = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(namespace.as_str())
                .bind(name)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(deleted > 0)
    }

    /// Up to `limit` triggers whose next tick is not after `now_ms`, those that are due longest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_triggers(&self, now_ms: i64, limit: u32) -> Result<Vec<CronTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE next_ms IS NOT NULL AND next_ms <= $1 ORDER BY next_ms LIMIT $2");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(now_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(CronTrigger::try_from).collect()
    }

    /// When the next trigger fires, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_tick(&self) -> Result<Option<i64>, StoreError> {
        const SQL: &str = "SELECT MIN(next_ms) FROM event_trigger WHERE next_ms IS NOT NULL";
        let next: Option<i64> = reading!(self, |db| sqlx::query_scalar(SQL).fetch_one(db))?;
        Ok(next)
    }

    /// Fires what is due: events and next ticks in one transaction. Gives the events that are there now; those of ticks
    /// that another controller has fired are not.
    ///
    /// # Errors
    /// When the database fails; then nothing has fired.
    pub async fn fire_triggers(&self, firings: &[Firing]) -> Result<Vec<NewEvent>, StoreError> {
        // The row is the lock: whoever moves it on first has fired.
        const MOVE_ON: &str = "UPDATE event_trigger SET next_ms = $3, last_ms = COALESCE($4, last_ms) \
             WHERE id = $1 AND next_ms = $2";
        const TICK: &str = "INSERT INTO cron_tick (trigger_id, tick_ms, event_id) VALUES ($1, $2, $3) \
             ON CONFLICT (trigger_id, tick_ms) DO NOTHING";
        let fired = writing!(self, |tx| {
            let mut fired: Vec<NewEvent> = Vec::new();
            for firing in firings {
                let moved = sqlx::query(MOVE_ON)
                    .bind(firing.trigger.as_bytes().as_slice())
                    .bind(firing.due_ms)
                    .bind(firing.next_ms)
                    .bind(firing.ticks.last().map(|(tick_ms, _)| *tick_ms))
                    .execute(&mut *tx)
                    .await?;
                if moved.rows_affected() == 0 {
                    continue;
                }
                for (tick_ms, event) in &firing.ticks {
                    let new = sqlx::query(TICK)
                        .bind(firing.trigger.as_bytes().as_slice())
                        .bind(tick_ms)
                        .bind(event.id.as_bytes().as_slice())
                        .execute(&mut *tx)
                        .await?;
                    if new.rows_affected() > 0 {
                        fired.push(event.clone());
                    }
                }
            }
            insert_events!(tx, &fired[..]);
            fired
        });
        Ok(fired)
    }

    /// Forgets up to `limit` ticks before then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_ticks(&self, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM cron_tick WHERE (trigger_id, tick_ms) IN \
             (SELECT trigger_id, tick_ms FROM cron_tick WHERE tick_ms < $1 ORDER BY tick_ms LIMIT $2)";
        let forgotten = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(before_ms)
                .bind(i64::from(limit))
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(forgotten)
    }
}

impl TryFrom<Row> for CronTrigger {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = row.id.as_slice().try_into();
        Ok(Self {
            id: EventId::from_bytes(id.map_err(|_| StoreError::Corrupt("id of a trigger"))?),
            namespace: parsed("namespace", &row.namespace)?,
            name: row.name,
            function: parsed("function name", &row.function)?,
            config: from_json("configuration of a trigger", &row.config)?,
            enabled: row.enabled != 0,
            created_ms: row.created_ms,
            next_ms: row.next_ms,
            last_ms: row.last_ms,
        })
    }
}

//! Triggers, and the ticks of schedules: one event per tick, whatever the number of controllers.

use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{EventId, FunctionName, Namespace, QueueName};
use serde::{Deserialize, Serialize};

use super::columns::{from_json, json, parsed, stored};
use super::events::{NewEvent, insert_events};
use super::pool::{reading, writing};
use super::{Store, StoreError};
use crate::sealing::Sealed;

const CONFIG: &str = "configuration of a trigger";

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

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageSource {
    /// A queue of the trigger's namespace.
    Queue(QueueName),
    /// A queue of a RabbitMQ broker.
    Amqp(AmqpSource),
}

/// A queue of a RabbitMQ broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmqpSource {
    /// Its URL, with user and password.
    pub url: Sealed,
    /// The same as it can be shown.
    pub shown: String,
    /// The queue's name there.
    pub queue: String,
    /// Where messages go whose events are given up.
    #[serde(default)]
    pub dead_letter: Option<AmqpTarget>,
}

/// Where a message is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmqpTarget {
    /// Empty for the default one, which knows queues by their names.
    pub exchange: String,
    /// What the exchange goes by.
    pub routing_key: String,
}

impl AmqpSource {
    /// What its URL is sealed for.
    #[must_use]
    pub fn purpose(namespace: &Namespace, trigger: &str) -> String {
        format!("amqp url of {namespace}/{trigger}")
    }
}

/// Which messages a trigger wants, and how it gives them to the function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Where they come from.
    #[serde(flatten)]
    pub source: MessageSource,
    /// Which messages, as a pattern; all without one.
    pub filter: Option<serde_json::Value>,
    /// Where a message says what it must be in order with, as `body.customer.id` or `attributes.customer`.
    pub order_key: Option<String>,
    /// Messages that are given to the function at once, at most.
    pub batch: u32,
    /// How long the first of them may wait for more, in milliseconds.
    pub window_ms: u32,
    /// Batches that are under way at once, at most.
    pub concurrency: u32,
    /// A batch that failed as a whole comes again in halves.
    pub bisect: bool,
    /// In place of the function's own.
    pub retry: Option<RetryPolicy>,
}

/// What fires, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerConfig {
    /// The clock.
    Cron(CronConfig),
    /// The messages of a queue.
    Queue(Subscription),
}

impl TriggerConfig {
    /// The name used in the API and in the database.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cron(_) => "cron",
            Self::Queue(_) => "queue",
        }
    }

    /// In place of the function's own.
    #[must_use]
    pub fn retry(&self) -> Option<RetryPolicy> {
        match self {
            Self::Cron(config) => config.retry,
            Self::Queue(subscription) => subscription.retry,
        }
    }

    fn to_column(&self) -> Result<String, StoreError> {
        match self {
            Self::Cron(config) => json(CONFIG, config),
            Self::Queue(subscription) => json(CONFIG, subscription),
        }
    }

    fn of_columns(kind: &str, config: &str) -> Result<Self, StoreError> {
        match kind {
            "cron" => from_json(CONFIG, config).map(Self::Cron),
            "queue" => from_json(CONFIG, config).map(Self::Queue),
            _ => Err(StoreError::Corrupt("kind of a trigger")),
        }
    }
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTrigger {
    /// Names it for ever; a trigger of the same name that is made later has another one.
    pub id: EventId,
    /// Whose.
    pub namespace: Namespace,
    /// Unique in its namespace.
    pub name: String,
    /// What it fires.
    pub function: FunctionName,
    /// What by.
    pub config: TriggerConfig,
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
    kind: String,
    config: String,
    enabled: i64,
    created_ms: i64,
    next_ms: Option<i64>,
    last_ms: Option<i64>,
}

macro_rules! select_triggers {
    ($rest:literal) => {
        concat!(
            "SELECT id, namespace, name, function, kind, config, enabled, created_ms, next_ms, last_ms FROM event_trigger ",
            $rest
        )
    };
}

impl Store {
    /// Makes a trigger; `false` when the namespace has one of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_trigger(&self, trigger: &EventTrigger) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO event_trigger \
             (id, namespace, name, function, kind, config, enabled, created_ms, next_ms, last_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (namespace, name) DO NOTHING";
        let config = trigger.config.to_column()?;
        let made = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(trigger.id.as_bytes().as_slice())
                .bind(trigger.namespace.as_str())
                .bind(&trigger.name)
                .bind(trigger.function.as_str())
                .bind(trigger.config.kind())
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
    pub async fn trigger(&self, namespace: &Namespace, name: &str) -> Result<Option<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE namespace = $1 AND name = $2");
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(name)
            .fetch_optional(db))?;
        row.map(EventTrigger::try_from).transpose()
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
    ) -> Result<Vec<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(EventTrigger::try_from).collect()
    }

    /// The triggers that a queue's messages go to, by name; also those that are disabled, for which they wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn subscribers(&self, namespace: &Namespace, queue: &QueueName) -> Result<Vec<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE namespace = $1 AND kind = 'queue' ORDER BY name");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .fetch_all(db))?;
        let mut subscribers = Vec::new();
        for row in rows {
            let trigger = EventTrigger::try_from(row)?;
            let source = match &trigger.config {
                TriggerConfig::Queue(subscription) => Some(&subscription.source),
                TriggerConfig::Cron(_) => None,
            };
            if matches!(source, Some(MessageSource::Queue(name)) if name == queue) {
                subscribers.push(trigger);
            }
        }
        Ok(subscribers)
    }

    /// All triggers that are on and take messages of RabbitMQ.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn amqp_triggers(&self) -> Result<Vec<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE kind = 'queue' AND enabled = 1 ORDER BY namespace, name");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL).fetch_all(db))?;
        let triggers = rows.into_iter().map(EventTrigger::try_from);
        let is_amqp = |trigger: &EventTrigger| {
            matches!(
                &trigger.config,
                TriggerConfig::Queue(Subscription {
                    source: MessageSource::Amqp(_),
                    ..
                })
            )
        };
        triggers
            .filter(|trigger| trigger.as_ref().map_or(true, is_amqp))
            .collect()
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
    pub async fn due_triggers(&self, now_ms: i64, limit: u32) -> Result<Vec<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE next_ms IS NOT NULL AND next_ms <= $1 ORDER BY next_ms LIMIT $2");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(now_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(EventTrigger::try_from).collect()
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

impl TryFrom<Row> for EventTrigger {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = row.id.as_slice().try_into();
        Ok(Self {
            id: EventId::from_bytes(id.map_err(|_| StoreError::Corrupt("id of a trigger"))?),
            namespace: parsed("namespace", &row.namespace)?,
            name: row.name,
            function: parsed("function name", &row.function)?,
            config: TriggerConfig::of_columns(&row.kind, &row.config)?,
            enabled: row.enabled != 0,
            created_ms: row.created_ms,
            next_ms: row.next_ms,
            last_ms: row.last_ms,
        })
    }
}

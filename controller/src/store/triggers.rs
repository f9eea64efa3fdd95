//! Triggers, and the ticks of schedules: one event per tick, whatever the number of controllers.

use mayfly_invoker_api::{BucketName, EventId, FunctionName, Namespace, QueueName};

use super::buckets::bucket_row;
use super::columns::{parsed, stored};
use super::events::{NewEvent, insert_events, shared};
use super::pool::{reading, writing};
use super::trigger_config::{AMQP, MessageSource, StorageSource, StorageWatch, TriggerConfig, source_of_bucket};
use super::{Store, StoreError};

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
             (id, namespace, name, function, kind, config, enabled, created_ms, next_ms, last_ms, source) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (namespace, name) DO NOTHING";
        let config = trigger.config.to_column()?;
        let made = writing!(self, |tx| {
            if let TriggerConfig::Storage(StorageWatch {
                source: StorageSource::Bucket(bucket),
                ..
            }) = &trigger.config
                && !bucket_row!(tx, shared(&tx), trigger.namespace, bucket)
            {
                return Err(StoreError::MissingBucket(bucket.clone()));
            }
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
                .bind(trigger.config.source())
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
        those(rows, |config| match config {
            TriggerConfig::Queue(subscription) => {
                matches!(&subscription.source, MessageSource::Queue(name) if name == queue)
            }
            TriggerConfig::Cron(_) | TriggerConfig::Storage(_) => false,
        })
    }

    /// The triggers that wait for changes of a bucket's objects, by name; also those that are disabled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn watchers(&self, namespace: &Namespace, bucket: &BucketName) -> Result<Vec<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE source = $2 AND namespace = $1 ORDER BY name");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(source_of_bucket(bucket))
            .fetch_all(db))?;
        rows.into_iter().map(EventTrigger::try_from).collect()
    }

    /// All triggers that are on and take messages of RabbitMQ.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn amqp_triggers(&self) -> Result<Vec<EventTrigger>, StoreError> {
        const SQL: &str = select_triggers!("WHERE source = $1 AND enabled = 1 ORDER BY namespace, name");
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(SQL).bind(AMQP).fetch_all(db))?;
        rows.into_iter().map(EventTrigger::try_from).collect()
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

/// The triggers whose configuration is wanted.
fn those(rows: Vec<Row>, is_wanted: impl Fn(&TriggerConfig) -> bool) -> Result<Vec<EventTrigger>, StoreError> {
    let triggers = rows.into_iter().map(EventTrigger::try_from);
    triggers
        .filter(|trigger| trigger.as_ref().map_or(true, |trigger| is_wanted(&trigger.config)))
        .collect()
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

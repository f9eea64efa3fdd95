//! Queues, and the events that came out of them and wait.

use mayfly_invoker_api::{Namespace, QueueName};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::batch::{pieces, values};
use super::columns::{from_json, json, parsed, stored};
use super::events::{Lane, lock_keys_of, release_next};
use super::pool::{reading, writing};
use super::{Store, StoreError};

/// Events that are cancelled in one transaction.
const PURGED_AT_ONCE: u32 = 1_000;

/// How a queue treats its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueConfig {
    /// For how long a message is kept from everybody, in seconds, if it does not say so itself.
    pub delay_seconds: u32,
    /// For how long a message waits until it is forgotten, in seconds.
    pub retention_seconds: u32,
    /// Where messages go that could not be delivered.
    pub dead_letter: Option<QueueName>,
    /// How often a message may be received without being deleted until it goes there.
    pub max_receives: u32,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Whose.
    pub namespace: Namespace,
    /// Unique in its namespace.
    pub name: QueueName,
    /// How it treats its messages.
    pub config: QueueConfig,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
}

#[derive(sqlx::FromRow)]
struct QueueRow {
    namespace: String,
    name: String,
    config: String,
    created_ms: i64,
}

impl Store {
    /// Makes a queue; `false` when the namespace has one of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_queue(&self, queue: &Queue) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO queue (namespace, name, config, created_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (namespace, name) DO NOTHING";
        let config = json("configuration of a queue", &queue.config)?;
        let made = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(queue.namespace.as_str())
                .bind(queue.name.as_str())
                .bind(&config)
                .bind(queue.created_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(made > 0)
    }

    /// A queue of the namespace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queue(&self, namespace: &Namespace, name: &QueueName) -> Result<Option<Queue>, StoreError> {
        const SQL: &str = "SELECT namespace, name, config, created_ms FROM queue WHERE namespace = $1 AND name = $2";
        let row = reading!(self, |db| sqlx::query_as::<_, QueueRow>(SQL)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .fetch_optional(db))?;
        row.map(Queue::try_from).transpose()
    }

    /// Up to `limit` queues whose names follow `after`, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queues(&self, namespace: &Namespace, after: &str, limit: u32) -> Result<Vec<Queue>, StoreError> {
        const SQL: &str = "SELECT namespace, name, config, created_ms FROM queue \
             WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3";
        let rows = reading!(self, |db| sqlx::query_as::<_, QueueRow>(SQL)
            .bind(namespace.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Queue::try_from).collect()
    }

    /// How many queues a namespace has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_queues(&self, namespace: &Namespace) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM queue WHERE namespace = $1";
        let count: i64 = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(namespace.as_str())
            .fetch_one(db))?;
        stored("count", count)
    }

    /// Deletes a queue and the messages that wait in it; `false` when there is none of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_queue(&self, namespace: &Namespace, name: &QueueName) -> Result<bool, StoreError> {
        let deleted = writing!(self, |tx| {
            for sql in [
                "DELETE FROM queue_message WHERE namespace = $1 AND queue = $2",
                "DELETE FROM queue WHERE namespace = $1 AND name = $2",
            ] {
                let deleted = sqlx::query(sql)
                    .bind(namespace.as_str())
                    .bind(name.as_str())
                    .execute(&mut *tx)
                    .await?;
                if sql.contains("FROM queue ") && deleted.rows_affected() == 0 {
                    return Ok(false);
                }
            }
            true
        });
        Ok(deleted)
    }

    /// How many events of a lane wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_waiting(&self, lane: &Lane) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM event WHERE lane = $1 AND state = 'queued'";
        const HELD: &str = "SELECT COUNT(*) FROM event WHERE lane = $1 AND order_key IS NOT NULL AND state = 'held'";
        let lane = lane.to_string();
        let queued: i64 = reading!(self, |db| sqlx::query_scalar(SQL).bind(&lane).fetch_one(db))?;
        let held: i64 = reading!(self, |db| sqlx::query_scalar(HELD).bind(&lane).fetch_one(db))?;
        stored("count", queued + held)
    }

    /// How many events of a lane are due or run, the former counted up to `most`. Those that wait for another attempt, or for
    /// the one before them in their order, are not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_live(&self, lane: &Lane, most: u32, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM event WHERE state = 'leased' AND lane = $1";
        let running: i64 = reading!(self, |db| sqlx::query_scalar(SQL).bind(lane.to_string()).fetch_one(db))?;
        let due = self.first_due(lane, most, now_ms).await?;
        Ok(u64::from(due.count) + stored::<u64>("count", running)?)
    }

    /// Cancels all events of a lane that wait. Gives how many.
    ///
    /// # Errors
    /// When the database fails; some may be cancelled then.
    pub async fn cancel_waiting(&self, lane: &Lane, now_ms: i64) -> Result<u64, StoreError> {
        const HELD: &str = "SELECT id FROM event WHERE lane = $1 AND order_key IS NOT NULL AND state = 'held' \
             AND created_ms <= $3 LIMIT $2";
        const QUEUED: &str = "SELECT id FROM event WHERE lane = $1 AND state = 'queued' AND created_ms <= $3 LIMIT $2";
        let lane = lane.to_string();
        let mut all = 0;
        // Those that are held first: else some of them would have their turn meanwhile.
        for sql in [HELD, QUEUED] {
            loop {
                let ids: Vec<Vec<u8>> = reading!(self, |db| sqlx::query_scalar(sql)
                    .bind(&lane)
                    .bind(i64::from(PURGED_AT_ONCE))
                    .bind(now_ms)
                    .fetch_all(db))?;
                if ids.is_empty() {
                    break;
                }
                all += self.cancel_those_waiting(&ids, now_ms).await?;
            }
        }
        Ok(all)
    }

    async fn cancel_those_waiting(&self, ids: &[Vec<u8>], now_ms: i64) -> Result<u64, StoreError> {
        let cancelled = writing!(self, |tx| {
            lock_keys_of!(tx, ids.to_vec());
            let mut cancelled: Vec<(String, Option<String>)> = Vec::new();
            for piece in pieces(ids) {
                let list = values(&tx, piece.places(), 1);
                // A number is no input of anybody; the places are for the list.
                let sql = format!(
                    "UPDATE event SET state = 'cancelled', ended_ms = {now_ms}, payload = NULL \
                     WHERE state IN ('queued', 'held') AND id IN (VALUES {list}) RETURNING lane, order_key"
                );
                let mut query = sqlx::query_as(AssertSqlSafe(sql));
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_slice());
                }
                cancelled.extend(query.fetch_all(&mut *tx).await?);
                let sql = format!(
                    "DELETE FROM event_body WHERE event_id IN \
                     (SELECT id FROM event WHERE state = 'cancelled' AND id IN (VALUES {list}))"
                );
                let mut query = sqlx::query(AssertSqlSafe(sql));
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_slice());
                }
                query.execute(&mut *tx).await?;
            }
            let count = cancelled.len();
            let keys = cancelled.into_iter().filter_map(|(lane, key)| Some((lane, key?)));
            release_next!(tx, keys.collect());
            count
        });
        Ok(cancelled as u64)
    }
}

impl TryFrom<QueueRow> for Queue {
    type Error = StoreError;

    fn try_from(row: QueueRow) -> Result<Self, StoreError> {
        Ok(Self {
            namespace: parsed("namespace", &row.namespace)?,
            name: parsed("queue name", &row.name)?,
            config: from_json("configuration of a queue", &row.config)?,
            created_ms: row.created_ms,
        })
    }
}

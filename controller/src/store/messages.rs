//! Messages of queues that no trigger has taken.

use std::collections::BTreeMap;

use mayfly_invoker_api::{EventId, Namespace, QueueName};

use super::columns::{from_json, parsed, stored};
use super::events::{NewEvent, insert_events};
use super::pool::{reading, writing};
use super::{Store, StoreError};

/// Columns of a new message.
pub(super) const MESSAGE_COLUMNS: usize = 10;

/// A message that no trigger has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Names it, as it would name an event.
    pub id: EventId,
    /// Whose.
    pub namespace: Namespace,
    /// Where it waits.
    pub queue: QueueName,
    /// What it says of itself.
    pub attributes: BTreeMap<String, String>,
    /// What it says.
    pub body: String,
    /// How many events led to it.
    pub depth: u32,
    /// When it was sent, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it can be received, in milliseconds since 1970.
    pub visible_ms: i64,
    /// When it is forgotten, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// A message that waits, or that somebody has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// As it was sent.
    pub message: NewMessage,
    /// How often it was received.
    pub receives: u32,
}

/// How many messages of a queue wait for somebody to receive them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Messages, whether or not they can be received now.
    pub messages: u64,
    /// Those of them that somebody has received and not deleted yet.
    pub received: u64,
    /// When the first of them was sent, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: Vec<u8>,
    namespace: String,
    queue: String,
    attributes: String,
    body: Vec<u8>,
    depth: i64,
    created_ms: i64,
    visible_ms: i64,
    expires_ms: i64,
    receives: i64,
}

macro_rules! message_columns {
    () => {
        "id, namespace, queue, attributes, body, depth, created_ms, visible_ms, expires_ms, receives"
    };
}

/// As with events (see `claim.rs`), Postgres wants a list that is made once and rows that others look at left out.
macro_rules! receive {
    ($is_one_of:literal, $end:literal) => {
        concat!(
            "UPDATE queue_message SET visible_ms = $5, receives = receives + 1, receipt = $6 WHERE id ",
            $is_one_of,
            "SELECT id FROM queue_message WHERE namespace = $1 AND queue = $2 AND visible_ms <= $4 AND expires_ms > $4 \
             ORDER BY visible_ms, id LIMIT $3",
            $end,
            " RETURNING ",
            message_columns!()
        )
    };
}

/// Puts messages into their queues, inside a transaction.
macro_rules! insert_messages {
    ($tx:ident, $messages:expr) => {
        for piece in $crate::store::batch::pieces($messages) {
            let sql = format!(
                "INSERT INTO queue_message (id, namespace, queue, attributes, body, body_bytes, depth, created_ms, \
                 visible_ms, expires_ms, receives) \
                 SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7, v.column8, \
                 v.column9, v.column10, 0 FROM (VALUES {}) AS v WHERE v.column1 IS NOT NULL",
                $crate::store::batch::values(&$tx, piece.places(), $crate::store::messages::MESSAGE_COLUMNS)
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
            for message in piece.padded() {
                let message: Option<&$crate::store::NewMessage> = message;
                let bytes = message.map(|message| message.body.len() as u64);
                let attributes =
                    message.map(|message| $crate::store::columns::json("attributes of a message", &message.attributes));
                query = query
                    .bind(message.map(|message| message.id.as_bytes().as_slice()))
                    .bind(message.map(|message| message.namespace.as_str()))
                    .bind(message.map(|message| message.queue.as_str()))
                    .bind(attributes.transpose()?)
                    .bind(message.map(|message| message.body.as_bytes()))
                    .bind(
                        bytes
                            .map(|bytes| $crate::store::columns::number("size of a message", bytes))
                            .transpose()?,
                    )
                    .bind(message.map(|message| i64::from(message.depth)))
                    .bind(message.map(|message| message.created_ms))
                    .bind(message.map(|message| message.visible_ms))
                    .bind(message.map(|message| message.expires_ms));
            }
            query.execute(&mut *$tx).await?;
        }
    };
}

pub(super) use insert_messages;

impl Store {
    /// How many messages wait in a queue.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_messages(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        now_ms: i64,
    ) -> Result<MessageCounts, StoreError> {
        const SQL: &str = "SELECT COUNT(*), \
             COALESCE(CAST(SUM(CASE WHEN receipt IS NOT NULL AND visible_ms > $3 THEN 1 ELSE 0 END) AS BIGINT), 0), \
             MIN(created_ms) FROM queue_message WHERE namespace = $1 AND queue = $2";
        let (messages, received, oldest_ms): (i64, i64, Option<i64>) = reading!(self, |db| sqlx::query_as(SQL)
            .bind(namespace.as_str())
            .bind(queue.as_str())
            .bind(now_ms)
            .fetch_one(db))?;
        Ok(MessageCounts {
            messages: stored("count", messages)?,
            received: stored("count", received)?,
            oldest_ms,
        })
    }

    /// Up to `count` messages that can be received, those first that could be first. Nobody else receives them before
    /// `hidden_until_ms`; `receipt` is what they can be deleted with until then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn receive_messages(
        &self,
        (namespace, queue): (&Namespace, &QueueName),
        count: u32,
        now_ms: i64,
        hidden_until_ms: i64,
        receipt: [u8; 16],
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let sql = if self.is_shared() {
            receive!("= ANY (ARRAY(", " FOR UPDATE SKIP LOCKED))")
        } else {
            receive!("IN (", ")")
        };
        let rows: Vec<MessageRow> = writing!(self, |tx| {
            sqlx::query_as(sql)
                .bind(namespace.as_str())
                .bind(queue.as_str())
                .bind(i64::from(count))
                .bind(now_ms)
                .bind(hidden_until_ms)
                .bind(receipt.as_slice())
                .fetch_all(&mut *tx)
                .await?
        });
        let mut messages = rows
            .into_iter()
            .map(StoredMessage::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        messages.sort_by_key(|stored| stored.message.id);
        Ok(messages)
    }

    /// Deletes a message that was received; `false` when it was received again meanwhile, or is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_message(
        &self,
        (namespace, queue): (&Namespace, &QueueName),
        id: EventId,
        receipt: [u8; 16],
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM queue_message WHERE id = $1 AND receipt = $2 AND namespace = $3 AND queue = $4";
        let deleted = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(id.as_bytes().as_slice())
                .bind(receipt.as_slice())
                .bind(namespace.as_str())
                .bind(queue.as_str())
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(deleted > 0)
    }

    /// Moves messages that were received `max_receives` times, and not deleted in time, to another queue. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn move_undeliverable(
        &self,
        (namespace, queue): (&Namespace, &QueueName),
        to: &QueueName,
        max_receives: u32,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE queue_message SET queue = $3, receives = 0, receipt = NULL, visible_ms = $5 \
             WHERE namespace = $1 AND queue = $2 AND receives > 0 AND receives >= $4 AND visible_ms <= $5";
        let moved = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(namespace.as_str())
                .bind(queue.as_str())
                .bind(to.as_str())
                .bind(i64::from(max_receives))
                .bind(now_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(moved)
    }

    /// Up to `limit` messages after `after` that wait and that nobody has received, in the order in which they were sent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_messages(
        &self,
        (namespace, queue): (&Namespace, &QueueName),
        after: Option<EventId>,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            message_columns!(),
            " FROM queue_message WHERE namespace = $1 AND queue = $2 AND id > $3 AND (receipt IS NULL OR visible_ms <= $4) \
             ORDER BY id LIMIT $5"
        );
        let after = after.map_or([0; 16], |id| *id.as_bytes());
        let rows: Vec<MessageRow> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(namespace.as_str())
            .bind(queue.as_str())
            .bind(after.as_slice())
            .bind(now_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(StoredMessage::try_from).collect()
    }

    /// Turns messages into events: those of them that still wait. Gives the events that are there now.
    ///
    /// # Errors
    /// When the database fails; then nothing is changed.
    pub async fn take_messages(
        &self,
        taken: &[(EventId, Vec<NewEvent>)],
        now_ms: i64,
    ) -> Result<Vec<NewEvent>, StoreError> {
        const SQL: &str = "DELETE FROM queue_message WHERE id = $1 AND (receipt IS NULL OR visible_ms <= $2)";
        let events = writing!(self, |tx| {
            let mut events: Vec<NewEvent> = Vec::new();
            for (id, made) in taken {
                let gone = sqlx::query(SQL)
                    .bind(id.as_bytes().as_slice())
                    .bind(now_ms)
                    .execute(&mut *tx)
                    .await?;
                if gone.rows_affected() > 0 {
                    events.extend_from_slice(made);
                }
            }
            insert_events!(tx, &events[..]);
            events
        });
        Ok(events)
    }

    /// The queues in which messages wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queues_with_messages(&self) -> Result<Vec<(Namespace, QueueName)>, StoreError> {
        const SQL: &str = "SELECT DISTINCT namespace, queue FROM queue_message";
        let rows: Vec<(String, String)> = reading!(self, |db| sqlx::query_as(SQL).fetch_all(db))?;
        rows.into_iter()
            .map(|(namespace, queue)| Ok((parsed("namespace", &namespace)?, parsed("queue name", &queue)?)))
            .collect()
    }

    /// Throws away the messages that wait in a queue. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_messages(&self, namespace: &Namespace, queue: &QueueName) -> Result<u64, StoreError> {
        let purged = writing!(self, |tx| {
            sqlx::query("DELETE FROM queue_message WHERE namespace = $1 AND queue = $2")
                .bind(namespace.as_str())
                .bind(queue.as_str())
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(purged)
    }

    /// Forgets up to `limit` messages whose time is over. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_messages(&self, now_ms: i64, limit: u32) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM queue_message WHERE id IN \
             (SELECT id FROM queue_message WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2)";
        let forgotten = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(now_ms)
                .bind(i64::from(limit))
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(forgotten)
    }
}

impl TryFrom<MessageRow> for StoredMessage {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let id = row.id.as_slice().try_into();
        Ok(Self {
            message: NewMessage {
                id: EventId::from_bytes(id.map_err(|_| StoreError::Corrupt("id of a message"))?),
                namespace: parsed("namespace", &row.namespace)?,
                queue: parsed("queue name", &row.queue)?,
                attributes: from_json("attributes of a message", &row.attributes)?,
                body: String::from_utf8(row.body).map_err(|_| StoreError::Corrupt("body of a message"))?,
                depth: stored("depth of a message", row.depth)?,
                created_ms: row.created_ms,
                visible_ms: row.visible_ms,
                expires_ms: row.expires_ms,
            },
            receives: stored("count of receives", row.receives)?,
        })
    }
}

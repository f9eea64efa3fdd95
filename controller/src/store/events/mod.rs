//! Events: accepted, looked at, counted. How they are taken and ended is in `claim.rs` and `settle.rs`.

mod claim;
mod lane;
pub(super) mod new;
pub(super) mod ordered;
mod settle;
mod state;
mod undelivered;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use mayfly_invoker_api::{EventId, FunctionName, Namespace, WebhookUrl};
use sqlx::AssertSqlSafe;

use super::batch::{pieces, values};
use super::columns::{parsed, stored};
use super::messages::{NewMessage, insert_messages};
use super::pool::{reading, writing};
use super::{Store, StoreError};
use crate::events::Envelope;
use crate::ledger::Trigger;

pub use claim::{ClaimedEvent, FirstDue, LaneDue};
pub use lane::Lane;
pub(super) use new::insert_events;
pub use new::{Arrival, NewEvent};
pub(in crate::store) use ordered::{KeyLocks, OrderedKey, lock_keys_of, owned, release_next, shared};
pub use settle::{FailedAttempt, Outcome, Settlement, StoredResult};
pub use state::EventState;
pub use undelivered::Redrive;

/// An event as it can be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Names it.
    pub id: EventId,
    /// Whose.
    pub namespace: Namespace,
    /// What is to be run.
    pub function: FunctionName,
    /// Which version, if not the latest.
    pub pinned_version: Option<u32>,
    /// What made it.
    pub source: Trigger,
    /// The trigger's name, where there is one.
    pub trigger: Option<String>,
    /// Where it is.
    pub state: EventState,
    /// Attempts that were begun.
    pub attempts: u32,
    /// Those of them that count against the retry policy.
    pub burned: u32,
    /// The version of the last attempt.
    pub version: Option<u32>,
    /// It is to be cancelled.
    pub cancel_asked: bool,
    /// When it was accepted, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it is or was due, in milliseconds since 1970.
    pub due_ms: i64,
    /// When it is given up, in milliseconds since 1970.
    pub expires_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
    /// How many events led to this one.
    pub depth: u32,
    /// Of those with the same key, one at a time is run.
    pub order_key: Option<String>,
    /// Size of what the function is given, in bytes.
    pub payload_bytes: u64,
    /// What the function answered.
    pub result: Option<StoredResult>,
    /// Why the last attempt failed: code and sentence.
    pub error: Option<(String, String)>,
    /// Who outside is told, if this is about another event and runs no function.
    pub webhook: Option<WebhookUrl>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    namespace: String,
    function: String,
    pinned_version: Option<i64>,
    source: String,
    trigger_name: Option<String>,
    state: String,
    attempts: i64,
    burned: i64,
    running_version: Option<i64>,
    cancel_asked: i64,
    created_ms: i64,
    due_ms: i64,
    expires_ms: i64,
    ended_ms: Option<i64>,
    depth: i64,
    order_key: Option<String>,
    payload_bytes: i64,
    result_status: Option<i64>,
    result_type: Option<String>,
    result_bytes: Option<i64>,
    result: Option<Vec<u8>>,
    error_code: Option<String>,
    error_message: Option<String>,
    webhook: Option<String>,
}

macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT id, namespace, function, pinned_version, source, trigger_name, state, attempts, burned, \
             running_version, cancel_asked, created_ms, due_ms, expires_ms, ended_ms, depth, order_key, payload_bytes, \
             result_status, result_type, result_bytes, result, error_code, error_message, \
             CASE WHEN envelope LIKE '{\"shape\":\"webhook\"%' THEN envelope END AS webhook FROM event ",
            $rest
        )
    };
}

/// The events of a namespace that have not ended well, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCounts {
    /// Whose.
    pub namespace: Namespace,
    /// Events that wait.
    pub queued: u64,
    /// Their payloads, in bytes.
    pub queued_bytes: u64,
    /// When the first of them was or is due, in milliseconds since 1970.
    pub first_due_ms: Option<i64>,
    /// Events of which an attempt is under way.
    pub running: u64,
    /// Events that were given up and are kept.
    pub undelivered: u64,
}

impl EventCounts {
    fn none_of(namespace: Namespace) -> Self {
        Self {
            namespace,
            queued: 0,
            queued_bytes: 0,
            first_due_ms: None,
            running: 0,
            undelivered: 0,
        }
    }
}

/// Attempts and payloads of events that are gone, inside a transaction.
macro_rules! delete_what_belongs_to {
    ($tx:ident, $ids:expr) => {
        for piece in $crate::store::batch::pieces($ids) {
            for table in ["event_attempt", "event_body"] {
                let list = $crate::store::batch::values(&$tx, piece.places(), 1);
                let sql = format!("DELETE FROM {table} WHERE event_id IN (VALUES {list})");
                let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_slice());
                }
                query.execute(&mut *$tx).await?;
            }
        }
    };
}

use delete_what_belongs_to;

impl Store {
    /// Accepts events, and messages that wait in their queues, all or none. When this returns, they are durable.
    ///
    /// # Errors
    /// When the database fails; then none is there.
    pub async fn accept(&self, events: &[NewEvent], messages: &[NewMessage]) -> Result<(), StoreError> {
        writing!(self, |tx| {
            insert_events!(tx, events);
            insert_messages!(tx, messages);
        });
        Ok(())
    }

    /// One event of the namespace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event(&self, namespace: &Namespace, id: EventId) -> Result<Option<Event>, StoreError> {
        const SQL: &str = select_events!("WHERE id = $1 AND namespace = $2");
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(id.as_bytes().as_slice())
            .bind(namespace.as_str())
            .fetch_optional(db))?;
        row.map(Event::try_from).transpose()
    }

    /// Up to `limit` events of a namespace, newest first: of one function, in one state, older than `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(
        &self,
        namespace: &Namespace,
        function: Option<&FunctionName>,
        state: Option<EventState>,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        const OF_FUNCTION: &str = select_events!(
            "WHERE namespace = $1 AND id < $2 AND ($3 = '' OR state = $3) AND function = $5 ORDER BY id DESC LIMIT $4"
        );
        const OF_ALL: &str = select_events!(
            "WHERE namespace = $1 AND id < $2 AND ($3 = '' OR state = $3) AND $5 = '' ORDER BY id DESC LIMIT $4"
        );
        let before = before.map_or([0xff; 16], |id| *id.as_bytes());
        let sql = if function.is_some() { OF_FUNCTION } else { OF_ALL };
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(sql)
            .bind(namespace.as_str())
            .bind(before.as_slice())
            .bind(state.map_or("", EventState::as_str))
            .bind(i64::from(limit))
            .bind(function.map_or("", FunctionName::as_str))
            .fetch_all(db))?;
        rows.into_iter().map(Event::try_from).collect()
    }

    /// Attempts of an event that did not succeed, the first one first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn failed_attempts(&self, id: EventId) -> Result<Vec<FailedAttempt>, StoreError> {
        const SQL: &str = "SELECT attempt, invocation_id, version, started_ms, ended_ms, error_code, error_message \
             FROM event_attempt WHERE event_id = $1 ORDER BY attempt";
        let rows = reading!(self, |db| sqlx::query_as::<_, settle::AttemptRow>(SQL)
            .bind(id.as_bytes().as_slice())
            .fetch_all(db))?;
        rows.into_iter().map(FailedAttempt::try_from).collect()
    }

    /// Stops an event: one that waits is cancelled, one that runs is marked. Gives its state afterwards.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_event(
        &self,
        namespace: &Namespace,
        id: EventId,
        now_ms: i64,
    ) -> Result<Option<EventState>, StoreError> {
        const WAITING: &str = "UPDATE event SET state = 'cancelled', ended_ms = $3, payload = NULL \
             WHERE id = $1 AND namespace = $2 AND state IN ('queued', 'held') RETURNING lane, order_key";
        const KEY: &str = "SELECT lane, order_key FROM event WHERE id = $1 AND order_key IS NOT NULL";
        const RUNNING: &str = "UPDATE event SET cancel_asked = 1 WHERE id = $1 AND namespace = $2 AND state = 'leased'";
        const STATE: &str = "SELECT state FROM event WHERE id = $1 AND namespace = $2";
        let id = id.as_bytes().as_slice();
        let state: Option<String> = writing!(self, |tx| {
            let keys: Vec<OrderedKey> = sqlx::query_as(KEY).bind(id).fetch_all(&mut *tx).await?;
            tx.lock_keys(keys.iter()).await?;
            let cancelled: Option<(String, Option<String>)> = sqlx::query_as(WAITING)
                .bind(id)
                .bind(namespace.as_str())
                .bind(now_ms)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some((lane, order_key)) = cancelled {
                ordered::release_next!(tx, order_key.map(|key| (lane, key)).into_iter().collect());
                sqlx::query("DELETE FROM event_body WHERE event_id = $1")
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query(RUNNING)
                .bind(id)
                .bind(namespace.as_str())
                .execute(&mut *tx)
                .await?;
            sqlx::query_scalar(STATE)
                .bind(id)
                .bind(namespace.as_str())
                .fetch_optional(&mut *tx)
                .await?
        });
        state.as_deref().map(state_of).transpose()
    }

    /// What waits, runs and was given up, by namespace. Reads all that is queued.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event_counts(&self) -> Result<Vec<EventCounts>, StoreError> {
        // Looks over an index of its own each.
        const SQL: &str = "SELECT namespace, state, COUNT(*), CAST(SUM(payload_bytes) AS BIGINT), MIN(due_ms) \
             FROM event WHERE state = 'queued' GROUP BY namespace, state \
             UNION ALL \
             SELECT namespace, 'held', COUNT(*), CAST(SUM(payload_bytes) AS BIGINT), MIN(due_ms) \
             FROM event WHERE state = 'held' GROUP BY namespace \
             UNION ALL \
             SELECT namespace, 'held', COUNT(*), CAST(SUM(body_bytes) AS BIGINT), NULL FROM queue_message GROUP BY namespace \
             UNION ALL \
             SELECT namespace, 'leased', COUNT(*), 0, NULL FROM event WHERE state = 'leased' GROUP BY namespace \
             UNION ALL \
             SELECT namespace, 'dead', COUNT(*), 0, NULL FROM event WHERE state IN ('dead', 'expired') GROUP BY namespace";
        let rows = reading!(self, |db| sqlx::query_as::<_, (String, String, i64, i64, Option<i64>)>(
            SQL
        )
        .fetch_all(db))?;
        let mut all: BTreeMap<String, EventCounts> = BTreeMap::new();
        for (namespace, state, events, bytes, first_due_ms) in rows {
            let counts = match all.entry(namespace) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(vacant) => {
                    let counts = EventCounts::none_of(parsed("namespace", vacant.key())?);
                    vacant.insert(counts)
                }
            };
            let events = stored("count", events)?;
            match state_of(&state)? {
                state @ (EventState::Queued | EventState::Held) => {
                    counts.queued += events;
                    counts.queued_bytes += stored::<u64>("size of payloads", bytes)?;
                    // What is held waits for another one, not for us.
                    counts.first_due_ms = first_due_ms
                        .filter(|_| state == EventState::Queued)
                        .or(counts.first_due_ms);
                }
                EventState::Leased => counts.running = events,
                _ => counts.undelivered = events,
            }
        }
        Ok(all.into_values().collect())
    }

    /// Forgets up to `limit` events that ended before these times: those that were delivered or cancelled, and those that
    /// were not. Gives how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_events(&self, done_ms: i64, undelivered_ms: i64, limit: u32) -> Result<u64, StoreError> {
        const SELECT: &str = "SELECT id FROM event WHERE ended_ms IS NOT NULL AND ended_ms < $1 \
             AND (state IN ('succeeded', 'cancelled') OR ended_ms < $2) ORDER BY ended_ms LIMIT $3";
        let ids: Vec<Vec<u8>> = reading!(self, |db| sqlx::query_scalar(SELECT)
            .bind(done_ms.max(undelivered_ms))
            .bind(undelivered_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        if ids.is_empty() {
            return Ok(0);
        }
        writing!(self, |tx| {
            let mut gone: Vec<Vec<u8>> = Vec::with_capacity(ids.len());
            for piece in pieces(&ids) {
                // One of them may have been redriven meanwhile.
                let sql = format!(
                    "DELETE FROM event WHERE ended_ms IS NOT NULL AND id IN (VALUES {}) RETURNING id",
                    values(&tx, piece.places(), 1)
                );
                let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_slice());
                }
                gone.extend(query.fetch_all(&mut *tx).await?);
            }
            delete_what_belongs_to!(tx, &gone);
        });
        Ok(ids.len() as u64)
    }
}

fn state_of(name: &str) -> Result<EventState, StoreError> {
    EventState::from_name(name).ok_or(StoreError::Corrupt("state of an event"))
}

/// Out of the envelope of an event.
/// `None` also for one that a newer server has made: the others can be shown all the same.
fn webhook_of(envelope: &str) -> Option<WebhookUrl> {
    let envelope = Envelope::of_text(envelope).ok()?;
    envelope.webhook().map(|(url, _)| url.clone())
}

fn event_id(bytes: &[u8]) -> Result<EventId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("event id"))?;
    Ok(EventId::from_bytes(bytes))
}

fn version_of(number: Option<i64>) -> Result<Option<u32>, StoreError> {
    number.map(|number| stored("number of a version", number)).transpose()
}

impl TryFrom<Row> for Event {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let result = match row.result_bytes {
            Some(bytes) => Some(StoredResult {
                http_status: row.result_status.map(|status| stored("status", status)).transpose()?,
                content_type: row.result_type,
                bytes: stored("size of a result", bytes)?,
                body: row.result.map(Bytes::from),
            }),
            None => None,
        };
        Ok(Self {
            id: event_id(&row.id)?,
            namespace: parsed("namespace", &row.namespace)?,
            function: parsed("function name", &row.function)?,
            pinned_version: version_of(row.pinned_version)?,
            source: Trigger::from_name(&row.source).ok_or(StoreError::Corrupt("source of an event"))?,
            trigger: row.trigger_name,
            state: state_of(&row.state)?,
            attempts: stored("count of attempts", row.attempts)?,
            burned: stored("count of attempts", row.burned)?,
            version: version_of(row.running_version)?,
            cancel_asked: row.cancel_asked != 0,
            created_ms: row.created_ms,
            due_ms: row.due_ms,
            expires_ms: row.expires_ms,
            ended_ms: row.ended_ms,
            depth: stored("depth of an event", row.depth)?,
            order_key: row.order_key,
            payload_bytes: stored("size of a payload", row.payload_bytes)?,
            result,
            error: row.error_code.zip(row.error_message),
            webhook: row.webhook.as_deref().and_then(webhook_of),
        })
    }
}

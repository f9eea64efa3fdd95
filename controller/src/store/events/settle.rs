//! What became of attempts: the event, its entry in the ledger, and what follows from it, in one transaction.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use mayfly_invoker_api::{EventId, InvocationId};
use sqlx::AssertSqlSafe;

use super::ordered::{KeyLocks as _, OrderedKey, release_next};
use super::{Arrival, Lane, NewEvent, event_id, insert_events, version_of};
use crate::ledger::InvocationRecord;
use crate::store::batch::{pieces, values};
use crate::store::columns::{number, stored, stored_id};
use crate::store::invocations::{PackedRecords, insert_blocks};
use crate::store::logs::insert_logs;
use crate::store::messages::{NewMessage, insert_messages};
use crate::store::pool::writing;
use crate::store::{Store, StoreError};

/// Columns of one ending in the statement that writes them.
const COLUMNS: usize = 14;
/// Columns of an attempt that failed.
const ATTEMPT_COLUMNS: usize = 8;

/// What a function answered to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    /// Of an http function.
    pub http_status: Option<u16>,
    /// What the body is.
    pub content_type: Option<String>,
    /// Size of the body, in bytes.
    pub bytes: u64,
    /// The body; `None` when it was too large to be kept.
    pub body: Option<Bytes>,
}

impl StoredResult {
    /// Of an answer without anything in it.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            http_status: None,
            content_type: None,
            bytes: 0,
            body: None,
        }
    }
}

/// What an event is after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Succeeded(StoredResult),
    /// Waits for another attempt.
    Retry {
        /// When it is due, in milliseconds since 1970.
        due_ms: i64,
    },
    /// All attempts are used up.
    Dead,
    /// Too old.
    Expired,
    /// Stopped by somebody.
    Cancelled,
}

impl Outcome {
    fn state(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "succeeded",
            Self::Retry { .. } => "queued",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// What an attempt has led to, in one word.
    pub(crate) fn ending(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            _ => self.state(),
        }
    }

    /// Whether nobody will want the payload any more.
    fn is_done(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Cancelled)
    }
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Which one, from 1.
    pub attempt: u32,
    /// Its entry in the ledger, if the function was started.
    pub invocation_id: Option<InvocationId>,
    /// The version that was to run.
    pub version: Option<u32>,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// Our code.
    pub error_code: String,
    /// A sentence.
    pub error_message: String,
}

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The event.
    pub id: EventId,
    /// Where it waited for its turn.
    pub lane: Lane,
    /// Of those with the same key in their lane, one at a time is run.
    pub order_key: Option<String>,
    /// Which attempt; if it is not the current one any more, nothing is changed.
    pub attempt: u32,
    /// What the event is now.
    pub outcome: Outcome,
    /// Attempts that count against the policy from now on.
    pub burned: u32,
    /// Attempts that were cut off, from now on.
    pub interrupted: u32,
    /// When the attempt ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// With how many others it may be in a batch at most from now on, itself included; `None` for as many as its trigger
    /// says.
    pub batch_max: Option<u32>,
    /// Its payload does not lie in its row.
    pub payload_apart: bool,
    /// The attempt itself, if it did not succeed.
    pub failed: Option<FailedAttempt>,
    /// Its entry in the ledger; `None` if nothing was started. The events of one batch have one together.
    pub record: Option<Arc<InvocationRecord>>,
    /// What follows from it.
    pub follow_ups: Arrival,
}

/// An attempt of an event.
type Key = (EventId, u32);

impl Settlement {
    fn key(&self) -> Key {
        (self.id, self.attempt)
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct AttemptRow {
    attempt: i64,
    invocation_id: Option<Vec<u8>>,
    version: Option<i64>,
    started_ms: i64,
    ended_ms: i64,
    error_code: String,
    error_message: String,
}

impl TryFrom<AttemptRow> for FailedAttempt {
    type Error = StoreError;

    fn try_from(row: AttemptRow) -> Result<Self, StoreError> {
        Ok(Self {
            attempt: stored("number of an attempt", row.attempt)?,
            invocation_id: row.invocation_id.as_deref().map(stored_id).transpose()?,
            version: version_of(row.version)?,
            started_ms: row.started_ms,
            ended_ms: row.ended_ms,
            error_code: row.error_code,
            error_message: row.error_message,
        })
    }
}

fn end_sql(places: &str, returning: &str) -> String {
    format!(
        "UPDATE event SET \
         state = CASE WHEN v.column3 = 'queued' AND event.cancel_asked = 1 THEN 'cancelled' ELSE v.column3 END, \
         ended_ms = CASE WHEN v.column3 = 'queued' AND event.cancel_asked = 0 THEN NULL ELSE v.column7 END, \
         due_ms = v.column4, burned = v.column5, interrupted = v.column6, owner = NULL, result_status = v.column8, \
         result_type = v.column9, result_bytes = v.column10, result = v.column11, error_code = v.column12, \
         error_message = v.column13, batch_max = v.column14, \
         payload = CASE WHEN v.column3 IN ('succeeded', 'cancelled') THEN NULL ELSE payload END \
         FROM (VALUES {places}) AS v \
         WHERE event.id = v.column1 AND event.attempts = v.column2 AND event.state = 'leased' {returning}"
    )
}

macro_rules! insert_attempts {
    ($tx:ident, $failed:expr) => {
        for piece in pieces($failed) {
            let sql = format!(
                "INSERT INTO event_attempt (event_id, attempt, invocation_id, version, started_ms, ended_ms, error_code, \
                 error_message) SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7, v.column8 \
                 FROM (VALUES {}) AS v WHERE v.column1 IS NOT NULL",
                values(&$tx, piece.places(), ATTEMPT_COLUMNS)
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for row in piece.padded() {
                let (id, failed) = row.copied().unzip();
                let failed: Option<&FailedAttempt> = failed;
                let invocation = failed.and_then(|failed| failed.invocation_id);
                query = query
                    .bind(id.as_ref().map(|id: &EventId| id.as_bytes().as_slice()))
                    .bind(failed.map(|failed| i64::from(failed.attempt)))
                    .bind(invocation.map(|id| id.as_bytes().to_vec()))
                    .bind(failed.and_then(|failed| failed.version).map(i64::from))
                    .bind(failed.map(|failed| failed.started_ms))
                    .bind(failed.map(|failed| failed.ended_ms))
                    .bind(failed.map(|failed| failed.error_code.as_str()))
                    .bind(failed.map(|failed| failed.error_message.as_str()));
            }
            query.execute(&mut *$tx).await?;
        }
    };
}

/// What `end_sql` is given of each of `$piece`.
macro_rules! bind_ends {
    ($query:expr, $piece:expr) => {{
        let mut query = $query;
        for settlement in $piece.repeating_the_last() {
            let (due_ms, result) = match &settlement.outcome {
                Outcome::Retry { due_ms } => (*due_ms, None),
                Outcome::Succeeded(result) => (settlement.ended_ms, Some(result)),
                Outcome::Dead | Outcome::Expired | Outcome::Cancelled => (settlement.ended_ms, None),
            };
            let error = settlement.failed.as_ref();
            query = query
                .bind(settlement.id.as_bytes().as_slice())
                .bind(i64::from(settlement.attempt))
                .bind(settlement.outcome.state())
                .bind(due_ms)
                .bind(i64::from(settlement.burned))
                .bind(i64::from(settlement.interrupted))
                .bind(settlement.ended_ms)
                .bind(result.and_then(|result| result.http_status).map(i64::from))
                .bind(result.and_then(|result| result.content_type.as_deref()))
                .bind(
                    result
                        .map(|result| number("size of a result", result.bytes))
                        .transpose()?,
                )
                .bind(result.and_then(|result| result.body.as_deref()))
                .bind(error.map(|failed| failed.error_code.as_str()))
                .bind(error.map(|failed| failed.error_message.as_str()))
                .bind(settlement.batch_max.map(i64::from));
        }
        query
    }};
}

/// What comes with the ends of `$ended`, inside a transaction: failed attempts, follow-ups, the ledger.
macro_rules! write_the_rest {
    ($tx:ident, $ended:expr, $packed:expr) => {
        let mut failed: Vec<(EventId, &FailedAttempt)> = Vec::new();
        let (mut events, mut messages): (Vec<NewEvent>, Vec<NewMessage>) = (Vec::new(), Vec::new());
        let mut bodies: Vec<EventId> = Vec::new();
        let mut keys: BTreeSet<OrderedKey> = BTreeSet::new();
        for ended in $ended {
            failed.extend(ended.failed.as_ref().map(|failed| (ended.id, failed)));
            events.extend_from_slice(&ended.follow_ups.events);
            messages.extend_from_slice(&ended.follow_ups.messages);
            keys.extend(ended.order_key.clone().map(|key| (ended.lane.to_string(), key)));
            if ended.payload_apart && ended.outcome.is_done() {
                bodies.push(ended.id);
            }
        }
        insert_attempts!($tx, &failed);
        insert_events!($tx, &events[..]);
        insert_messages!($tx, &messages[..]);
        // Also where it is to be tried again: it may have been cancelled meanwhile.
        release_next!($tx, keys);
        delete_bodies!($tx, &bodies);
        if let Some(first) = $ended.first() {
            // An attempt is the current one when it ends once, so this names the records for ever.
            let segment = format!("event-{}-{}", first.id, first.attempt);
            let PackedRecords { blocks, logs } = $packed;
            insert_blocks!($tx, &segment, blocks);
            // Last, because it holds the one row that all who insert logs wait for.
            insert_logs!($tx, logs);
        }
    };
}

/// Payloads that nobody will want any more, inside a transaction.
macro_rules! delete_bodies {
    ($tx:ident, $ids:expr) => {
        for piece in pieces($ids) {
            let sql = format!(
                "DELETE FROM event_body WHERE event_id IN (VALUES {})",
                values(&$tx, piece.places(), 1)
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for id in piece.repeating_the_last() {
                query = query.bind(id.as_bytes().as_slice());
            }
            query.execute(&mut *$tx).await?;
        }
    };
}

impl Store {
    /// Ends attempts: all that is said about those that are still the current ones of their events, and nothing about the
    /// others. Gives those others: somebody else has taken them for lost, or they were ended before.
    ///
    /// # Errors
    /// When the database fails; then nothing is changed.
    pub async fn settle_events(&self, settlements: &[Settlement]) -> Result<Vec<EventId>, StoreError> {
        let mut all: HashSet<Key> = HashSet::with_capacity(settlements.len());
        // Whoever takes over from a dead process may do so twice before the first time is written.
        let settlements: Vec<&Settlement> = settlements.iter().filter(|ended| all.insert(ended.key())).collect();
        if self.settle_if_all_are_current(&settlements).await? {
            return Ok(Vec::new());
        }
        let keys = ordered_keys(&settlements);
        let current = writing!(self, |tx| {
            tx.lock_keys(keys.iter()).await?;
            let mut current: HashSet<Key> = HashSet::with_capacity(settlements.len());
            for piece in pieces(&settlements) {
                let sql = end_sql(&values(&tx, piece.places(), COLUMNS), "RETURNING id, attempts");
                let ended: Vec<(Vec<u8>, i64)> = bind_ends!(sqlx::query_as(AssertSqlSafe(sql)), piece)
                    .fetch_all(&mut *tx)
                    .await?;
                for (id, attempt) in &ended {
                    current.insert((event_id(id)?, stored("count of attempts", *attempt)?));
                }
            }
            let ended: Vec<&Settlement> = settlements
                .iter()
                .filter(|ended| current.contains(&ended.key()))
                .copied()
                .collect();
            let packed = packed(&ended)?;
            write_the_rest!(tx, &ended, &packed);
            current
        });
        Ok(all.difference(&current).map(|(id, _)| *id).collect())
    }

    /// The same where all attempts are the current ones, as they mostly are: to ask for each costs as much as to end it. If one
    /// is not, nothing is changed.
    async fn settle_if_all_are_current(&self, settlements: &[&Settlement]) -> Result<bool, StoreError> {
        let (packed, keys) = (packed(settlements)?, ordered_keys(settlements));
        writing!(self, |tx| {
            tx.lock_keys(keys.iter()).await?;
            for piece in pieces(settlements) {
                let sql = end_sql(&values(&tx, piece.places(), COLUMNS), "");
                let ended = bind_ends!(sqlx::query(AssertSqlSafe(sql)), piece)
                    .execute(&mut *tx)
                    .await?;
                if ended.rows_affected() != piece.len() as u64 {
                    return Ok(false);
                }
            }
            write_the_rest!(tx, settlements, &packed);
        });
        Ok(true)
    }
}

/// The keys of what ends and of what follows from it.
fn ordered_keys(settlements: &[&Settlement]) -> BTreeSet<OrderedKey> {
    let ended = settlements
        .iter()
        .filter_map(|ended| Some((ended.lane.to_string(), ended.order_key.clone()?)));
    let followers = settlements
        .iter()
        .flat_map(|ended| &ended.follow_ups.events)
        .filter_map(|event| Some((event.lane().to_string(), event.order_key.clone()?)));
    ended.chain(followers).collect()
}

/// The entries for the ledger, each once.
fn packed(settlements: &[&Settlement]) -> Result<PackedRecords, StoreError> {
    let mut seen: HashSet<InvocationId> = HashSet::new();
    let records: Vec<InvocationRecord> = settlements
        .iter()
        .filter_map(|settlement| settlement.record.as_deref())
        .filter(|record| seen.insert(record.id))
        .cloned()
        .collect();
    PackedRecords::of(&records)
}

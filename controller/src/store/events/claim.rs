//! Which events are due, and the right to run them.
//!
//! A claim counts the attempt before anything runs, so that a payload that ends the process has used one up. Who holds an
//! event is a process, and a process says regularly that it is alive; what a dead one holds is anybody's again.

use bytes::Bytes;
use mayfly_invoker_api::{EventId, FunctionName, Namespace};

use super::{Lane, event_id, version_of};
use crate::ledger::Trigger;
use crate::store::columns::{parsed, stored};
use crate::store::pool::{Pools, reading, writing};
use crate::store::{Store, StoreError};

/// A lane with queued events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneDue {
    /// Which one.
    pub lane: Lane,
    /// When its first event is due, in milliseconds since 1970.
    pub due_ms: i64,
}

/// What is due of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstDue {
    /// Events.
    pub count: u32,
    /// When the first of them was due, in milliseconds since 1970.
    pub due_ms: Option<i64>,
    /// The smallest batch that any of them may be in, if that is said of one.
    pub batch_max: Option<u32>,
}

/// An event whose attempt has begun.
#[derive(Debug, Clone)]
pub struct ClaimedEvent {
    /// Names it.
    pub id: EventId,
    /// Whose.
    pub namespace: Namespace,
    /// What is to be run.
    pub function: FunctionName,
    /// Which version it is bound to, if to one.
    pub pinned_version: Option<u32>,
    /// The version that was meant to run when the attempt began.
    pub version: Option<u32>,
    /// What made it.
    pub source: Trigger,
    /// The trigger's name, where there is one.
    pub trigger: Option<String>,
    /// Attempts that were begun, this one included; its fence.
    pub attempt: u32,
    /// Earlier attempts that count against the policy.
    pub burned: u32,
    /// Earlier attempts that the end of a process cut off.
    pub interrupted: u32,
    /// When it was accepted, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was due, in milliseconds since 1970.
    pub due_ms: i64,
    /// When it is given up, in milliseconds since 1970.
    pub expires_ms: i64,
    /// When the attempt began, in milliseconds since 1970.
    pub leased_ms: i64,
    /// How many events led to this one.
    pub depth: u32,
    /// Of those with the same key in their lane, one at a time is run.
    pub order_key: Option<String>,
    /// With how many others it may be in a batch at most, itself included; `None` for as many as its trigger says.
    pub batch_max: Option<u32>,
    /// Somebody wants it cancelled.
    pub cancel_asked: bool,
    /// How its payload is to be given to a function; JSON.
    pub envelope: String,
    /// What the function is given; `None` if it lies elsewhere, see [`Store::event_payload`].
    pub payload: Option<Bytes>,
    /// Its size, in bytes.
    pub payload_bytes: u64,
}

impl ClaimedEvent {
    /// Where it waited for its turn.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::of(&self.namespace, &self.function, self.source, self.trigger.as_deref())
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Vec<u8>,
    namespace: String,
    function: String,
    pinned_version: Option<i64>,
    running_version: Option<i64>,
    source: String,
    trigger_name: Option<String>,
    attempts: i64,
    burned: i64,
    interrupted: i64,
    created_ms: i64,
    due_ms: i64,
    expires_ms: i64,
    leased_ms: Option<i64>,
    depth: i64,
    order_key: Option<String>,
    batch_max: Option<i64>,
    cancel_asked: i64,
    envelope: String,
    payload: Option<Vec<u8>>,
    payload_bytes: i64,
}

macro_rules! claimed_columns {
    () => {
        "id, namespace, function, pinned_version, running_version, source, trigger_name, attempts, burned, interrupted, \
         created_ms, due_ms, expires_ms, leased_ms, depth, order_key, batch_max, cancel_asked, envelope, payload, \
         payload_bytes"
    };
}

/// `$is_one_of` is what stands between a list and its end. Postgres wants two things that SQLite does not know: a list that
/// is made once, or it would look for new rows for each row; and rows that others look at left out, so that two
/// controllers do not wait for each other.
macro_rules! claim {
    ($is_one_of:literal, $end:literal) => {
        concat!(
            "UPDATE event SET state = 'leased', attempts = attempts + 1, owner = $4, leased_ms = $3, \
             running_version = COALESCE(pinned_version, $5) WHERE state = 'queued' AND id ",
            $is_one_of,
            "SELECT id FROM event WHERE state = 'queued' AND lane = $1 AND due_ms <= $3 ORDER BY due_ms LIMIT $2",
            $end,
            " RETURNING ",
            claimed_columns!()
        )
    };
}

impl Store {
    /// The lanes that have queued events, and when their first one is due. Costs one look per lane.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lanes(&self) -> Result<Vec<LaneDue>, StoreError> {
        // From one lane to the next over the index, however many events each has.
        const SQL: &str = "WITH RECURSIVE lanes (lane) AS (\
             SELECT MIN(lane) FROM event WHERE state = 'queued' \
             UNION ALL \
             SELECT (SELECT MIN(event.lane) FROM event WHERE state = 'queued' AND event.lane > lanes.lane) \
             FROM lanes WHERE lanes.lane IS NOT NULL) \
             SELECT lane, (SELECT MIN(due_ms) FROM event WHERE state = 'queued' AND event.lane = lanes.lane) \
             FROM lanes WHERE lane IS NOT NULL";
        let rows = reading!(self, |db| sqlx::query_as::<_, (String, Option<i64>)>(SQL).fetch_all(db))?;
        let lanes = rows
            .into_iter()
            .filter_map(|(lane, due_ms)| due_ms.map(|due_ms| (lane, due_ms)));
        lanes
            .map(|(lane, due_ms)| {
                let lane = Lane::of_column(&lane)?;
                Ok(LaneDue { lane, due_ms })
            })
            .collect()
    }

    /// What is due of a lane: the first `most` events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_due(&self, lane: &Lane, most: u32, now_ms: i64) -> Result<FirstDue, StoreError> {
        const SQL: &str = "SELECT COUNT(*), MIN(due_ms), MIN(batch_max) FROM (SELECT due_ms, batch_max FROM event \
             WHERE state = 'queued' AND lane = $1 AND due_ms <= $2 ORDER BY due_ms LIMIT $3) AS due";
        let (count, due_ms, batch_max): (i64, Option<i64>, Option<i64>) = reading!(self, |db| sqlx::query_as(SQL)
            .bind(lane.to_string())
            .bind(now_ms)
            .bind(i64::from(most))
            .fetch_one(db))?;
        Ok(FirstDue {
            count: stored("count", count)?,
            due_ms,
            batch_max: batch_max.map(|most| stored("size of a batch", most)).transpose()?,
        })
    }

    /// Begins an attempt of up to `count` due events of a lane, those first that were due first. `version` is the one
    /// that runs those that are not bound to another.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_events(
        &self,
        lane: &Lane,
        count: u32,
        now_ms: i64,
        owner: [u8; 6],
        version: Option<u32>,
    ) -> Result<Vec<ClaimedEvent>, StoreError> {
        let sql = if self.is_shared() {
            claim!("= ANY (ARRAY(", " FOR UPDATE SKIP LOCKED))")
        } else {
            claim!("IN (", ")")
        };
        let rows: Vec<Row> = writing!(self, |tx| {
            sqlx::query_as(sql)
                .bind(lane.to_string())
                .bind(i64::from(count))
                .bind(now_ms)
                .bind(owner.as_slice())
                .bind(version.map(i64::from))
                .fetch_all(&mut *tx)
                .await?
        });
        let mut claimed = rows
            .into_iter()
            .map(ClaimedEvent::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        claimed.sort_by_key(|event| event.due_ms);
        Ok(claimed)
    }

    /// The payload of an event that does not lie in its row.
    ///
    /// # Errors
    /// When the database fails or has none.
    pub async fn event_payload(&self, id: EventId) -> Result<Bytes, StoreError> {
        const SQL: &str = "SELECT bytes FROM event_body WHERE event_id = $1";
        let bytes: Option<Vec<u8>> = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(db))?;
        bytes.map(Bytes::from).ok_or(StoreError::Corrupt("payload of an event"))
    }

    /// Says that the process `owner` is alive until then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stay_alive(&self, owner: [u8; 6], until_ms: i64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO controller (id, alive_until_ms) VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET alive_until_ms = excluded.alive_until_ms";
        writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(owner.as_slice())
                .bind(until_ms)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Says that the process `owner` has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_ended(&self, owner: [u8; 6]) -> Result<(), StoreError> {
        writing!(self, |tx| {
            sqlx::query("DELETE FROM controller WHERE id = $1")
                .bind(owner.as_slice())
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Says that all processes have ended: for a database that only one process uses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all_have_ended(&self) -> Result<(), StoreError> {
        writing!(self, |tx| {
            sqlx::query("DELETE FROM controller").execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Up to `limit` events whose process has not said for long that it is alive.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orphans(&self, now_ms: i64, limit: u32) -> Result<Vec<ClaimedEvent>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            claimed_columns!(),
            " FROM event WHERE state = 'leased' AND owner NOT IN \
             (SELECT id FROM controller WHERE alive_until_ms >= $1) LIMIT $2"
        );
        let rows: Vec<Row> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(now_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(ClaimedEvent::try_from).collect()
    }

    /// Up to `limit` events that `owner` holds since before then, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_since(
        &self,
        owner: [u8; 6],
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<ClaimedEvent>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            claimed_columns!(),
            " FROM event WHERE state = 'leased' AND owner = $1 AND leased_ms < $2 ORDER BY leased_ms LIMIT $3"
        );
        let rows: Vec<Row> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(owner.as_slice())
            .bind(before_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(ClaimedEvent::try_from).collect()
    }

    /// The time by the clock that all processes of one database share, in milliseconds since 1970: the server's; of a
    /// database of one process, that process's own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shared_time_ms(&self, own_ms: i64) -> Result<i64, StoreError> {
        match &self.pools {
            Pools::Sqlite { .. } => Ok(own_ms),
            Pools::Postgres(pool) => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
                Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
            }
        }
    }

    /// Forgets processes that have not said for long that they are alive and hold nothing any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_dead_owners(&self, now_ms: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM controller WHERE alive_until_ms < $1 \
             AND id NOT IN (SELECT owner FROM event WHERE state = 'leased' AND owner IS NOT NULL)";
        writing!(self, |tx| {
            sqlx::query(SQL).bind(now_ms).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// The events that `owner` runs and somebody wants cancelled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancellations(&self, owner: [u8; 6]) -> Result<Vec<EventId>, StoreError> {
        const SQL: &str = "SELECT id FROM event WHERE state = 'leased' AND owner = $1 AND cancel_asked = 1";
        let ids: Vec<Vec<u8>> = reading!(self, |db| sqlx::query_scalar(SQL).bind(owner.as_slice()).fetch_all(db))?;
        ids.iter().map(|id| event_id(id)).collect()
    }
}

impl TryFrom<Row> for ClaimedEvent {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: event_id(&row.id)?,
            namespace: parsed("namespace", &row.namespace)?,
            function: parsed("function name", &row.function)?,
            pinned_version: version_of(row.pinned_version)?,
            version: version_of(row.running_version)?,
            source: Trigger::from_name(&row.source).ok_or(StoreError::Corrupt("source of an event"))?,
            trigger: row.trigger_name,
            attempt: stored("count of attempts", row.attempts)?,
            burned: stored("count of attempts", row.burned)?,
            interrupted: stored("count of attempts", row.interrupted)?,
            created_ms: row.created_ms,
            due_ms: row.due_ms,
            expires_ms: row.expires_ms,
            leased_ms: row.leased_ms.unwrap_or(row.due_ms),
            depth: stored("depth of an event", row.depth)?,
            order_key: row.order_key,
            batch_max: row.batch_max.map(|most| stored("size of a batch", most)).transpose()?,
            cancel_asked: row.cancel_asked != 0,
            envelope: row.envelope,
            payload: row.payload.map(Bytes::from),
            payload_bytes: stored("size of a payload", row.payload_bytes)?,
        })
    }
}

//! Dead letters: events that ended without success, to be looked at, run again, or thrown away.

use mayfly_invoker_api::{EventId, FunctionName, Namespace};
use sqlx::AssertSqlSafe;

use super::ordered::{lock_keys_of, release_next};
use super::{Lane, delete_what_belongs_to, event_id};
use crate::store::batch::{pieces, values_from};
use crate::store::pool::{reading, writing};
use crate::store::{Store, StoreError};

/// How events are run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redrive {
    /// From now on bound to this version; `None` for the latest one.
    pub version: Option<u32>,
    /// When they are due, in milliseconds since 1970.
    pub due_ms: i64,
    /// When they are given up, in milliseconds since 1970.
    pub expires_ms: i64,
}

impl Store {
    /// Up to `limit` ids of dead and expired events of a function, the oldest first, after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undelivered(
        &self,
        namespace: &Namespace,
        function: &FunctionName,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<EventId>, StoreError> {
        const SQL: &str = "SELECT id FROM event WHERE namespace = $1 AND function = $2 \
             AND state IN ('dead', 'expired') AND id > $3 ORDER BY id LIMIT $4";
        let after = after.map_or([0; 16], |id| *id.as_bytes());
        let ids: Vec<Vec<u8>> = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(namespace.as_str())
            .bind(function.as_str())
            .bind(after.as_slice())
            .bind(i64::from(limit))
            .fetch_all(db))?;
        ids.iter().map(|id| event_id(id)).collect()
    }

    /// Puts those of `ids` that are dead or expired back into the queue, with all attempts before them. Gives the lane of each.
    ///
    /// # Errors
    /// When the database fails; then none is.
    pub async fn redrive_events(
        &self,
        namespace: &Namespace,
        ids: &[EventId],
        redrive: Redrive,
    ) -> Result<Vec<Lane>, StoreError> {
        let changed = writing!(self, |tx| {
            lock_keys_of!(tx, ids.iter().map(|id| id.as_bytes().to_vec()).collect::<Vec<_>>());
            let mut changed: Vec<(String, Option<String>)> = Vec::new();
            for piece in pieces(ids) {
                let sql = format!(
                    "UPDATE event SET state = CASE WHEN order_key IS NULL THEN 'queued' ELSE 'held' END, burned = 0, interrupted = 0, ended_ms = NULL, cancel_asked = 0, \
                     due_ms = $1, expires_ms = $2, pinned_version = $3, batch_max = NULL \
                     WHERE namespace = $4 AND state IN ('dead', 'expired') AND id IN (VALUES {}) \
                     RETURNING lane, order_key",
                    values_from(5, piece.places(), 1)
                );
                let mut query = sqlx::query_as(AssertSqlSafe(sql))
                    .bind(redrive.due_ms)
                    .bind(redrive.expires_ms)
                    .bind(redrive.version.map(i64::from))
                    .bind(namespace.as_str());
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_bytes().as_slice());
                }
                changed.extend(query.fetch_all(&mut *tx).await?);
            }
            let keys = changed
                .iter()
                .filter_map(|(lane, key)| Some((lane.clone(), key.clone()?)));
            release_next!(tx, keys.collect());
            changed
        });
        changed.iter().map(|(lane, _)| Lane::of_column(lane)).collect()
    }

    /// Those of `ids` that are to be told to a webhook.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_among(&self, namespace: &Namespace, ids: &[EventId]) -> Result<Vec<EventId>, StoreError> {
        let mut webhooks = Vec::new();
        for id in ids {
            let event = self.event(namespace, *id).await?;
            webhooks.extend(event.filter(|event| event.webhook.is_some()).map(|event| event.id));
        }
        Ok(webhooks)
    }

    /// Throws away those of `ids` that are dead or expired. Gives how many.
    ///
    /// # Errors
    /// When the database fails; then none is.
    pub async fn purge_events(&self, namespace: &Namespace, ids: &[EventId]) -> Result<u64, StoreError> {
        let purged = writing!(self, |tx| {
            let mut purged: Vec<Vec<u8>> = Vec::new();
            for piece in pieces(ids) {
                let sql = format!(
                    "DELETE FROM event WHERE namespace = $1 AND state IN ('dead', 'expired') \
                     AND id IN (VALUES {}) RETURNING id",
                    values_from(2, piece.places(), 1)
                );
                let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(namespace.as_str());
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_bytes().as_slice());
                }
                purged.extend(query.fetch_all(&mut *tx).await?);
            }
            delete_what_belongs_to!(tx, &purged);
            purged.len()
        });
        Ok(purged as u64)
    }
}

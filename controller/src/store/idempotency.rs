//! Requests with an Idempotency-Key: the first one is done, the others get its answer.

use mayfly_invoker_api::Namespace;

use super::columns::stored;
use super::events::{NewEvent, insert_events};
use super::pool::writing;
use super::{Store, StoreError};

/// A key and what it was sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedRequest<'a> {
    /// Whose key.
    pub namespace: &'a Namespace,
    /// As the client wrote it.
    pub key: &'a str,
    /// sha256 of everything that makes two requests the same.
    pub hash: [u8; 32],
    /// When the key is free again, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// An answer as it is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u16,
    /// Header fields; JSON.
    pub head: String,
    /// All of the body.
    pub body: Vec<u8>,
}

/// What is to be done with a request that has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Do it; it is the first one.
    First,
    /// It was done; this was the answer.
    Answered(KeptAnswer),
    /// It is being done at the moment.
    UnderWay,
    /// Another request was made with this key.
    Other,
}

#[derive(sqlx::FromRow)]
struct Row {
    request_hash: Vec<u8>,
    /// Not 0 when the process that makes the answer is alive.
    alive: i64,
    owner: Option<Vec<u8>>,
    status: Option<i64>,
    head: Option<String>,
    body: Option<Vec<u8>>,
}

impl Row {
    /// What it says; `None` when nobody makes the answer any more. `idle` is a process that is known not to.
    fn begun(self, hash: &[u8; 32], idle: Option<[u8; 6]>) -> Result<Option<Begun>, StoreError> {
        let is_idle = idle.is_some_and(|idle| self.owner.as_deref() == Some(idle.as_slice()));
        if self.request_hash != hash {
            return Ok(Some(Begun::Other));
        }
        match (self.status, self.head, self.body) {
            (Some(status), Some(head), Some(body)) => Ok(Some(Begun::Answered(KeptAnswer {
                status: stored("status", status)?,
                head,
                body,
            }))),
            _ if self.alive != 0 && !is_idle => Ok(Some(Begun::UnderWay)),
            // Whoever made the answer has ended before it was made.
            _ => Ok(None),
        }
    }
}

const TAKE: &str = "INSERT INTO idempotency (namespace, idempotency_key, request_hash, owner, status, head, body, expires_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (namespace, idempotency_key) DO UPDATE SET \
     request_hash = excluded.request_hash, owner = excluded.owner, status = excluded.status, head = excluded.head, \
     body = excluded.body, expires_ms = excluded.expires_ms \
     WHERE idempotency.expires_ms <= $9";
const LOOK: &str = "SELECT request_hash, CAST(CASE WHEN EXISTS (SELECT 1 FROM controller \
     WHERE controller.id = idempotency.owner AND alive_until_ms >= $3) THEN 1 ELSE 0 END AS BIGINT) AS alive, owner, status, head, body \
     FROM idempotency WHERE namespace = $1 AND idempotency_key = $2";
const INHERIT: &str = "UPDATE idempotency SET owner = $3, expires_ms = $4 \
     WHERE namespace = $1 AND idempotency_key = $2 AND status IS NULL";

impl Store {
    /// Says what is to be done with a request; [`Begun::First`] is said once, until it is finished or given up, or its
    /// process has ended. `works_on_it`: whether the process `owner` knows that it works on this key; a row of its own that
    /// it knows nothing of was left behind when the answer of the database was lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_keyed(
        &self,
        request: KeyedRequest<'_>,
        (owner, works_on_it): ([u8; 6], bool),
        now_ms: i64,
    ) -> Result<Begun, StoreError> {
        let nothing: Option<&[u8]> = None;
        let begun = writing!(self, |tx| {
            let taken = sqlx::query(TAKE)
                .bind(request.namespace.as_str())
                .bind(request.key)
                .bind(request.hash.as_slice())
                .bind(owner.as_slice())
                .bind(None::<i64>)
                .bind(None::<&str>)
                .bind(nothing)
                .bind(request.expires_ms)
                .bind(now_ms)
                .execute(&mut *tx)
                .await?;
            if taken.rows_affected() > 0 {
                Begun::First
            } else {
                let row: Row = sqlx::query_as(LOOK)
                    .bind(request.namespace.as_str())
                    .bind(request.key)
                    .bind(now_ms)
                    .fetch_one(&mut *tx)
                    .await?;
                match row.begun(&request.hash, (!works_on_it).then_some(owner))? {
                    Some(begun) => begun,
                    None => {
                        sqlx::query(INHERIT)
                            .bind(request.namespace.as_str())
                            .bind(request.key)
                            .bind(owner.as_slice())
                            .bind(request.expires_ms)
                            .execute(&mut *tx)
                            .await?;
                        Begun::First
                    }
                }
            }
        });
        Ok(begun)
    }

    /// Keeps the answer to a request that was the first one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_keyed(
        &self,
        namespace: &Namespace,
        key: &str,
        owner: [u8; 6],
        answer: &KeptAnswer,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE idempotency SET owner = NULL, status = $4, head = $5, body = $6 \
             WHERE namespace = $1 AND idempotency_key = $2 AND owner = $3";
        writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(namespace.as_str())
                .bind(key)
                .bind(owner.as_slice())
                .bind(i64::from(answer.status))
                .bind(&answer.head)
                .bind(&answer.body)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Frees the key of a request that was the first one and was not done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_up_keyed(&self, namespace: &Namespace, key: &str, owner: [u8; 6]) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM idempotency WHERE namespace = $1 AND idempotency_key = $2 AND owner = $3";
        writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(namespace.as_str())
                .bind(key)
                .bind(owner.as_slice())
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Accepts events and keeps the answer that says so, in one transaction; or says what was answered before.
    ///
    /// # Errors
    /// When the database fails; then neither is there.
    pub async fn accept_keyed(
        &self,
        request: KeyedRequest<'_>,
        events: &[NewEvent],
        answer: &KeptAnswer,
        now_ms: i64,
    ) -> Result<Begun, StoreError> {
        let begun = writing!(self, |tx| {
            let taken = sqlx::query(TAKE)
                .bind(request.namespace.as_str())
                .bind(request.key)
                .bind(request.hash.as_slice())
                .bind(None::<&[u8]>)
                .bind(i64::from(answer.status))
                .bind(&answer.head)
                .bind(&answer.body)
                .bind(request.expires_ms)
                .bind(now_ms)
                .execute(&mut *tx)
                .await?;
            if taken.rows_affected() > 0 {
                insert_events!(tx, events);
                Begun::First
            } else {
                let row: Row = sqlx::query_as(LOOK)
                    .bind(request.namespace.as_str())
                    .bind(request.key)
                    .bind(now_ms)
                    .fetch_one(&mut *tx)
                    .await?;
                // A synchronous request that was cut off: whether it was done is not known, so it stays with it.
                row.begun(&request.hash, None)?.unwrap_or(Begun::UnderWay)
            }
        });
        Ok(begun)
    }

    /// Frees up to `limit` keys whose time is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_keys(&self, now_ms: i64, limit: u32) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM idempotency WHERE (namespace, idempotency_key) IN \
             (SELECT namespace, idempotency_key FROM idempotency WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2)";
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

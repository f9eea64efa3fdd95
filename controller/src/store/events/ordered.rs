//! Events with an order key. Of those with one key in one lane, the first is `queued` or `leased` and all others are `held`,
//! so that whoever claims does not have to look for them. Who adds one or ends one has the key's lock until its transaction
//! ends: else an event could be held for one that has just ended.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use sqlx::{Postgres, Sqlite, Transaction};

use super::NewEvent;

/// Tells our locks in a Postgres database from those of others.
const LOCK_CLASS: i32 = 0x6d61_7966;
const OBJECT_LOCK_CLASS: i32 = LOCK_CLASS + 1;

/// An order key in a lane, as the columns have them.
pub(in crate::store) type OrderedKey = (String, String);

/// How a database keeps two transactions from one key.
pub(in crate::store) trait KeyLocks {
    /// The column by which events are in the order in which they came.
    const SEQ: &'static str;

    /// Waits for each of the keys, until the transaction ends. Before any row is changed: else two transactions could wait
    /// for each other.
    async fn lock_keys(&mut self, keys: impl Iterator<Item = &OrderedKey>) -> Result<(), sqlx::Error>;

    /// The same for keys of objects. They are locked before keys of events.
    async fn lock_objects(&mut self, keys: impl Iterator<Item = &OrderedKey>) -> Result<(), sqlx::Error>;

    /// What is written behind a query so that its rows stay until the transaction ends; and so that nobody else can.
    const SHARED: &'static str;
    const OWNED: &'static str;
}

impl KeyLocks for Transaction<'_, Sqlite> {
    const SEQ: &'static str = "rowid";

    /// There is one writer.
    async fn lock_keys(&mut self, _keys: impl Iterator<Item = &OrderedKey>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn lock_objects(&mut self, _keys: impl Iterator<Item = &OrderedKey>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    const SHARED: &'static str = "";
    const OWNED: &'static str = "";
}

impl KeyLocks for Transaction<'_, Postgres> {
    const SEQ: &'static str = "seq";

    async fn lock_keys(&mut self, keys: impl Iterator<Item = &OrderedKey>) -> Result<(), sqlx::Error> {
        // Some keys share a lock, because the server's table of locks has an end.
        let locks = keys.map(|key| lock_of(key) >> 8).collect();
        lock_all(self, LOCK_CLASS, locks).await
    }

    async fn lock_objects(&mut self, keys: impl Iterator<Item = &OrderedKey>) -> Result<(), sqlx::Error> {
        // A transaction has not many of them, so these can be told apart better.
        let locks = keys.map(lock_of).collect();
        lock_all(self, OBJECT_LOCK_CLASS, locks).await
    }

    const SHARED: &'static str = " FOR KEY SHARE";
    const OWNED: &'static str = " FOR UPDATE";
}

async fn lock_all(tx: &mut Transaction<'_, Postgres>, class: i32, locks: BTreeSet<i32>) -> Result<(), sqlx::Error> {
    for lock in locks {
        sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
            .bind(class)
            .bind(lock)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// The same in every process: 16 bits.
fn lock_of((lane, key): &OrderedKey) -> i32 {
    let digest = Sha256::new()
        .chain_update(lane)
        .chain_update([0])
        .chain_update(key)
        .finalize();
    i32::from(u16::from_be_bytes([digest[0], digest[1]]))
}

/// By key, which of `events` have it.
pub(in crate::store) fn by_key(events: &[NewEvent]) -> BTreeMap<OrderedKey, Vec<usize>> {
    let mut keys: BTreeMap<OrderedKey, Vec<usize>> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        if let Some(key) = &event.order_key {
            keys.entry((event.lane().to_string(), key.clone()))
                .or_default()
                .push(place);
        }
    }
    keys
}

/// Which of the new `$events` have to wait for another one, inside a transaction.
macro_rules! held_among {
    ($tx:ident, $events:expr) => {{
        use $crate::store::events::ordered::KeyLocks as _;
        const ANY: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM event \
             WHERE lane = $1 AND order_key = $2 AND state IN ('queued', 'leased', 'held') LIMIT 1) AS others";
        let keys = $crate::store::events::ordered::by_key($events);
        $tx.lock_keys(keys.keys()).await?;
        let mut held = std::collections::HashSet::<usize>::new();
        for ((lane, key), places) in &keys {
            let others: i64 = sqlx::query_scalar(ANY)
                .bind(lane)
                .bind(key)
                .fetch_one(&mut *$tx)
                .await?;
            held.extend(places.iter().skip(usize::from(others == 0)));
        }
        held
    }};
}

/// Lets the first event that is held go on, of each of the `$keys` of which none is queued or leased any more, inside a
/// transaction.
macro_rules! release_next {
    ($tx:ident, $keys:expr) => {{
        use $crate::store::events::ordered::KeyLocks as _;
        let keys: std::collections::BTreeSet<$crate::store::events::ordered::OrderedKey> = $keys;
        $tx.lock_keys(keys.iter()).await?;
        for (lane, key) in &keys {
            let sql = $crate::store::events::ordered::release_sql(&$tx);
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(lane)
                .bind(key)
                .execute(&mut *$tx)
                .await?;
        }
    }};
}

/// Locks the keys of the events with these `$ids`, inside a transaction.
macro_rules! lock_keys_of {
    ($tx:ident, $ids:expr) => {{
        use $crate::store::events::ordered::KeyLocks as _;
        let ids: Vec<Vec<u8>> = $ids;
        let mut keys: Vec<$crate::store::events::ordered::OrderedKey> = Vec::new();
        for piece in $crate::store::batch::pieces(&ids) {
            let sql = format!(
                "SELECT lane, order_key FROM event WHERE order_key IS NOT NULL AND id IN (VALUES {})",
                $crate::store::batch::values(&$tx, piece.places(), 1)
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql));
            for id in piece.repeating_the_last() {
                query = query.bind(id.as_slice());
            }
            keys.extend(query.fetch_all(&mut *$tx).await?);
        }
        $tx.lock_keys(keys.iter()).await?;
    }};
}

pub(in crate::store) use {held_among, lock_keys_of, release_next};

/// [`KeyLocks::SHARED`] of the database of a statement.
pub(in crate::store) fn shared<Of: KeyLocks>(_statement_of: &Of) -> &'static str {
    Of::SHARED
}

/// [`KeyLocks::OWNED`] of the database of a statement.
pub(in crate::store) fn owned<Of: KeyLocks>(_statement_of: &Of) -> &'static str {
    Of::OWNED
}

pub(in crate::store) fn release_sql<Of: KeyLocks>(_statement_of: &Of) -> String {
    format!(
        "UPDATE event SET state = 'queued' WHERE state = 'held' AND id = (SELECT id FROM event \
         WHERE lane = $1 AND order_key = $2 AND state = 'held' ORDER BY {} LIMIT 1) \
         AND NOT EXISTS (SELECT 1 FROM event WHERE lane = $1 AND order_key = $2 AND state IN ('queued', 'leased'))",
        Of::SEQ
    )
}

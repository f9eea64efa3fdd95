//! Objects in buckets: what each is made of, and the events of a change, in one transaction with it.

use std::collections::BTreeMap;

use mayfly_invoker_api::{BucketName, Namespace};
use serde::{Deserialize, Serialize};

use super::blobs::{Blob, ContentId, NewBlob, insert_blobs, is_gone};
use super::columns::{from_json, stored};
use super::events::{KeyLocks, NewEvent, OrderedKey, insert_events};
use super::pool::{reading, writing};
use super::{Store, StoreError};

pub(super) const META: &str = "description of an object";

/// Where an object lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPath {
    /// Whose.
    pub namespace: Namespace,
    /// In which bucket.
    pub bucket: BucketName,
    /// Its name there: any text of up to 1,024 bytes.
    pub key: String,
}

/// What an object says of itself beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// Headers that are given back with it, by their names.
    pub headers: BTreeMap<String, String>,
    /// What its owner has noted about it.
    pub user: BTreeMap<String, String>,
    /// Checksums of all its bytes that were proven when it came: base64, by algorithm.
    pub checksums: BTreeMap<String, String>,
}

/// An object, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// What it is made of.
    pub content: ContentId,
    /// Its size.
    pub bytes: u64,
    /// Tells its bytes from others, as S3 does.
    pub etag: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
    /// What it says of itself.
    pub meta: ObjectMeta,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name in the bucket.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Tells its bytes from others.
    pub etag: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// What must hold of the object that is there, so that another one comes in its place or it is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// There is one with this etag.
    Etag(String),
}

impl Condition {
    pub(super) fn holds(&self, etag: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => etag.is_none(),
            Self::Present => etag.is_some(),
            Self::Etag(wanted) => etag == Some(wanted),
        }
    }
}

/// What became of a wish to change an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is as it was asked for, and durable.
    Done,
    /// There is no such bucket.
    NoBucket,
    /// What should have held does not.
    ConditionFailed,
}

/// A key to be deleted, and the events that follow if there was an object.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Which object.
    pub key: String,
    /// What must hold.
    pub condition: Condition,
    /// What follows.
    pub events: Vec<NewEvent>,
}

#[derive(sqlx::FromRow)]
struct ObjectRow {
    content: Vec<u8>,
    bytes: i64,
    etag: String,
    modified_ms: i64,
    meta: String,
}

#[derive(sqlx::FromRow)]
struct ListedRow {
    key: Vec<u8>,
    bytes: i64,
    etag: String,
    modified_ms: i64,
}

impl ObjectPath {
    /// Who changes an object has this until its transaction ends.
    pub(super) fn lock(&self) -> OrderedKey {
        lock_of(&self.namespace, &self.bucket, &self.key)
    }
}

fn lock_of(namespace: &Namespace, bucket: &BucketName, key: &str) -> OrderedKey {
    (format!("bucket {namespace}/{bucket}"), key.to_owned())
}

/// The content and the etag of the object that is there, inside a transaction.
macro_rules! current_object {
    ($tx:ident, $namespace:expr, $bucket:expr, $key:expr) => {
        sqlx::query_as::<_, (Vec<u8>, String)>(
            "SELECT content, etag FROM object WHERE namespace = $1 AND bucket = $2 AND key = $3",
        )
        .bind($namespace.as_str())
        .bind($bucket.as_str())
        .bind($key.as_bytes())
        .fetch_optional(&mut *$tx)
        .await?
    };
}

/// Puts an object in the place of the `$current` one, inside a transaction that has its lock. `false` without the bucket.
macro_rules! replace_object {
    ($tx:ident, $path:expr, $object:expr, $current:expr) => {{
        const PUT: &str = "INSERT INTO object (namespace, bucket, key, content, bytes, etag, modified_ms, meta) \
             SELECT namespace, name, $3, $4, $5, $6, $7, $8 FROM bucket WHERE namespace = $1 AND name = $2 \
             ON CONFLICT (namespace, bucket, key) DO UPDATE SET content = excluded.content, bytes = excluded.bytes, \
             etag = excluded.etag, modified_ms = excluded.modified_ms, meta = excluded.meta";
        let object: &$crate::store::StoredObject = $object;
        let put = sqlx::query(PUT)
            .bind($path.namespace.as_str())
            .bind($path.bucket.as_str())
            .bind($path.key.as_bytes())
            .bind(object.content.as_bytes().as_slice())
            .bind($crate::store::columns::number("size of an object", object.bytes)?)
            .bind(&object.etag)
            .bind(object.modified_ms)
            .bind($crate::store::columns::json(
                $crate::store::objects::META,
                &object.meta,
            )?)
            .execute(&mut *$tx)
            .await?;
        let current: Option<(Vec<u8>, String)> = $current;
        if let Some((content, _)) = current {
            $crate::store::blobs::is_gone!($tx, content, object.modified_ms);
        }
        put.rows_affected() > 0
    }};
}

pub(super) use {current_object, replace_object};

impl Store {
    /// Puts an object into its bucket, with the events that follow: all of it or nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_object(
        &self,
        path: &ObjectPath,
        object: &StoredObject,
        blobs: &[Blob],
        condition: &Condition,
        events: &[NewEvent],
    ) -> Result<Changed, StoreError> {
        let put = self.put_into_bucket(path, object, blobs, condition, events).await;
        match put {
            // The bucket was deleted meanwhile.
            Err(StoreError::Refused(_)) => Ok(Changed::NoBucket),
            ended => ended,
        }
    }

    async fn put_into_bucket(
        &self,
        path: &ObjectPath,
        object: &StoredObject,
        blobs: &[Blob],
        condition: &Condition,
        events: &[NewEvent],
    ) -> Result<Changed, StoreError> {
        let new_blobs: Vec<NewBlob<'_>> = blobs
            .iter()
            .zip(1..)
            .map(|(blob, number)| NewBlob {
                id: blob.id,
                content: object.content,
                number,
                bytes: blob.bytes,
                etag: &object.etag,
                written_ms: object.modified_ms,
            })
            .collect();
        writing!(self, |tx| {
            tx.lock_objects([&path.lock()].into_iter()).await?;
            let current = current_object!(tx, path.namespace, path.bucket, path.key);
            if !condition.holds(current.as_ref().map(|(_, etag)| etag.as_str())) {
                return Ok(Changed::ConditionFailed);
            }
            if !replace_object!(tx, path, object, current) {
                return Ok(Changed::NoBucket);
            }
            insert_blobs!(tx, &new_blobs[..]);
            insert_events!(tx, events);
        });
        Ok(Changed::Done)
    }

    /// The object at that place.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn object(&self, path: &ObjectPath) -> Result<Option<StoredObject>, StoreError> {
        const SQL: &str = "SELECT content, bytes, etag, modified_ms, meta FROM object \
             WHERE namespace = $1 AND bucket = $2 AND key = $3";
        let row = reading!(self, |db| sqlx::query_as::<_, ObjectRow>(SQL)
            .bind(path.namespace.as_str())
            .bind(path.bucket.as_str())
            .bind(path.key.as_bytes())
            .fetch_optional(db))?;
        row.map(StoredObject::try_from).transpose()
    }

    /// Deletes objects, with the events that follow: all of it or nothing. Gives what became of each: whether there was
    /// one, or that its condition did not hold.
    ///
    /// # Errors
    /// When the database fails; then nothing is changed.
    pub async fn delete_objects(
        &self,
        namespace: &Namespace,
        bucket: &BucketName,
        removals: &[Removal],
        now_ms: i64,
    ) -> Result<Vec<Result<bool, Changed>>, StoreError> {
        const DELETE: &str = "DELETE FROM object WHERE namespace = $1 AND bucket = $2 AND key = $3";
        let locks: Vec<OrderedKey> = removals
            .iter()
            .map(|removal| lock_of(namespace, bucket, &removal.key))
            .collect();
        let ended = writing!(self, |tx| {
            tx.lock_objects(locks.iter()).await?;
            let (mut ended, mut events) = (Vec::with_capacity(removals.len()), Vec::new());
            for removal in removals {
                let current = current_object!(tx, namespace, bucket, removal.key);
                if !removal.condition.holds(current.as_ref().map(|(_, etag)| etag.as_str())) {
                    ended.push(Err(Changed::ConditionFailed));
                    continue;
                }
                let was_there = current.is_some();
                if let Some((content, _)) = current {
                    sqlx::query(DELETE)
                        .bind(namespace.as_str())
                        .bind(bucket.as_str())
                        .bind(removal.key.as_bytes())
                        .execute(&mut *tx)
                        .await?;
                    is_gone!(tx, content, now_ms);
                    events.extend_from_slice(&removal.events);
                }
                ended.push(Ok(was_there));
            }
            insert_events!(tx, &events[..]);
            ended
        });
        Ok(ended)
    }

    /// Up to `limit` objects whose keys, as bytes, are from `from` on and before `before`, in that order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_objects(
        &self,
        namespace: &Namespace,
        bucket: &BucketName,
        from: &[u8],
        before: &[u8],
        limit: u32,
    ) -> Result<Vec<ListedObject>, StoreError> {
        const SQL: &str = "SELECT key, bytes, etag, modified_ms FROM object \
             WHERE namespace = $1 AND bucket = $2 AND key >= $3 AND key < $4 ORDER BY key LIMIT $5";
        let rows = reading!(self, |db| sqlx::query_as::<_, ListedRow>(SQL)
            .bind(namespace.as_str())
            .bind(bucket.as_str())
            .bind(from)
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(ListedObject::try_from).collect()
    }
}

/// The key out of a column.
pub(super) fn key_of(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| StoreError::Corrupt("key of an object"))
}

impl TryFrom<ObjectRow> for StoredObject {
    type Error = StoreError;

    fn try_from(row: ObjectRow) -> Result<Self, StoreError> {
        Ok(Self {
            content: ContentId::of_column(&row.content)?,
            bytes: stored("size of an object", row.bytes)?,
            etag: row.etag,
            modified_ms: row.modified_ms,
            meta: from_json(META, &row.meta)?,
        })
    }
}

impl TryFrom<ListedRow> for ListedObject {
    type Error = StoreError;

    fn try_from(row: ListedRow) -> Result<Self, StoreError> {
        Ok(Self {
            key: key_of(row.key)?,
            bytes: stored("size of an object", row.bytes)?,
            etag: row.etag,
            modified_ms: row.modified_ms,
        })
    }
}

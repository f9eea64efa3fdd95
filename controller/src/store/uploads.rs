//! Objects that come in parts: S3's multipart uploads.

use mayfly_invoker_api::{BucketName, Namespace};
use sqlx::AssertSqlSafe;

use super::batch::{pieces, values_from};
use super::blobs::{BlobId, ContentId, NewBlob, insert_blobs, is_gone};
use super::columns::{from_json, json, parsed, stored};
use super::events::{KeyLocks, NewEvent, insert_events, shared};
use super::objects::{
    Changed, Condition, META, ObjectMeta, ObjectPath, StoredObject, current_object, key_of, replace_object,
};
use super::pool::{reading, writing};
use super::{Store, StoreError};

/// An object that comes in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Names it; what the object will be made of.
    pub id: ContentId,
    /// Where the object will lie.
    pub path: ObjectPath,
    /// What it will say of itself.
    pub meta: ObjectMeta,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
}

/// An upload in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// Names it.
    pub id: ContentId,
    /// The key that its object will have.
    pub key: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Its file.
    pub blob: BlobId,
    /// From 1 on.
    pub number: u32,
    /// Its size.
    pub bytes: u64,
    /// MD5 of its bytes, in hex digits.
    pub etag: String,
    /// When it came, in milliseconds since 1970.
    pub written_ms: i64,
}

/// What became of the wish to complete an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The object is there.
    Done,
    /// There is no such upload any more.
    NoUpload,
    /// One of the parts was sent again meanwhile.
    PartsChanged,
    /// What should have held of the object before does not.
    ConditionFailed,
}

#[derive(sqlx::FromRow)]
struct PartRow {
    id: Vec<u8>,
    number: i64,
    bytes: i64,
    etag: String,
    written_ms: i64,
}

impl Store {
    /// Begins an upload; `false` when there is no such bucket.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_upload(&self, upload: &Upload) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO upload (id, namespace, bucket, key, meta, created_ms) \
             SELECT $1, namespace, name, $4, $5, $6 FROM bucket WHERE namespace = $2 AND name = $3";
        match self.begin_in_bucket(SQL, upload).await {
            // The bucket was deleted meanwhile.
            Err(StoreError::Refused(_)) => Ok(false),
            begun => begun,
        }
    }

    async fn begin_in_bucket(&self, sql: &'static str, upload: &Upload) -> Result<bool, StoreError> {
        let meta = json(META, &upload.meta)?;
        let begun = writing!(self, |tx| {
            sqlx::query(sql)
                .bind(upload.id.as_bytes().as_slice())
                .bind(upload.path.namespace.as_str())
                .bind(upload.path.bucket.as_str())
                .bind(upload.path.key.as_bytes())
                .bind(&meta)
                .bind(upload.created_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(begun > 0)
    }

    /// An upload to that place; `None` when it has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn upload(&self, path: &ObjectPath, id: ContentId) -> Result<Option<Upload>, StoreError> {
        const SQL: &str = "SELECT meta, created_ms FROM upload \
             WHERE id = $1 AND namespace = $2 AND bucket = $3 AND key = $4";
        let row: Option<(String, i64)> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(id.as_bytes().as_slice())
            .bind(path.namespace.as_str())
            .bind(path.bucket.as_str())
            .bind(path.key.as_bytes())
            .fetch_optional(db))?;
        row.map(|(meta, created_ms)| {
            Ok(Upload {
                id,
                path: path.clone(),
                meta: from_json(META, &meta)?,
                created_ms,
            })
        })
        .transpose()
    }

    /// How many uploads to a bucket have not ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_uploads(&self, namespace: &Namespace, bucket: &BucketName) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM upload WHERE namespace = $1 AND bucket = $2";
        let count: i64 = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(namespace.as_str())
            .bind(bucket.as_str())
            .fetch_one(db))?;
        stored("count", count)
    }

    /// Up to `limit` uploads to a bucket whose key and id follow `after`, in that order; keys are from `from` on and before
    /// `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn uploads(
        &self,
        namespace: &Namespace,
        bucket: &BucketName,
        after: (&[u8], ContentId),
        (from, before): (&[u8], &[u8]),
        limit: u32,
    ) -> Result<Vec<ListedUpload>, StoreError> {
        const SQL: &str = "SELECT id, key, created_ms FROM upload WHERE namespace = $1 AND bucket = $2 \
             AND (key, id) > ($3, $4) AND key >= $6 AND key < $7 ORDER BY key, id LIMIT $5";
        let rows: Vec<(Vec<u8>, Vec<u8>, i64)> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(namespace.as_str())
            .bind(bucket.as_str())
            .bind(after.0)
            .bind(after.1.as_bytes().as_slice())
            .bind(i64::from(limit))
            .bind(from)
            .bind(before)
            .fetch_all(db))?;
        rows.into_iter()
            .map(|(id, key, created_ms)| {
                Ok(ListedUpload {
                    id: ContentId::of_column(&id)?,
                    key: key_of(key)?,
                    created_ms,
                })
            })
            .collect()
    }

    /// Keeps a part, in place of one with the same number; `false` when the upload has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_part(&self, path: &ObjectPath, upload: ContentId, part: &StoredPart) -> Result<bool, StoreError> {
        const REPLACED: &str = "UPDATE blob SET gone_ms = $3 WHERE content = $1 AND number = $2 AND gone_ms IS NULL";
        let new_blob = NewBlob {
            id: part.blob,
            content: upload,
            number: part.number,
            bytes: part.bytes,
            etag: &part.etag,
            written_ms: part.written_ms,
        };
        writing!(self, |tx| {
            // Parts of one number come one after the other, and others beside each other.
            let lock = (format!("upload {upload}"), part.number.to_string());
            tx.lock_objects([&lock].into_iter()).await?;
            // Else a part could come to an object that is complete.
            let sql = format!(
                "SELECT 1 FROM upload WHERE id = $1 AND namespace = $2 AND bucket = $3 AND key = $4{}",
                shared(&tx)
            );
            let there = sqlx::query(AssertSqlSafe(sql))
                .bind(upload.as_bytes().as_slice())
                .bind(path.namespace.as_str())
                .bind(path.bucket.as_str())
                .bind(path.key.as_bytes())
                .fetch_optional(&mut *tx)
                .await?;
            if there.is_none() {
                return Ok(false);
            }
            sqlx::query(REPLACED)
                .bind(upload.as_bytes().as_slice())
                .bind(i64::from(part.number))
                .bind(part.written_ms)
                .execute(&mut *tx)
                .await?;
            insert_blobs!(tx, &[new_blob]);
        });
        Ok(true)
    }

    /// Up to `limit` parts of an upload whose numbers follow `after`, by number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn parts(&self, upload: ContentId, after: u32, limit: u32) -> Result<Vec<StoredPart>, StoreError> {
        const SQL: &str = "SELECT id, number, bytes, etag, written_ms FROM blob \
             WHERE content = $1 AND gone_ms IS NULL AND number > $2 ORDER BY number LIMIT $3";
        let rows = reading!(self, |db| sqlx::query_as::<_, PartRow>(SQL)
            .bind(upload.as_bytes().as_slice())
            .bind(i64::from(after))
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(StoredPart::try_from).collect()
    }

    /// Makes the object of these parts, in the order of their numbers, with the events that follow: all of it or nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn complete_upload(
        &self,
        path: &ObjectPath,
        object: &StoredObject,
        parts: &[StoredPart],
        condition: &Condition,
        events: &[NewEvent],
    ) -> Result<Completion, StoreError> {
        const END: &str = "DELETE FROM upload WHERE id = $1 AND namespace = $2 AND bucket = $3 AND key = $4";
        const PARTS: &str = "SELECT id FROM blob WHERE content = $1 AND gone_ms IS NULL";
        let upload = object.content.as_bytes().as_slice();
        let changed = writing!(self, |tx| {
            tx.lock_objects([&path.lock()].into_iter()).await?;
            let ended = sqlx::query(END)
                .bind(upload)
                .bind(path.namespace.as_str())
                .bind(path.bucket.as_str())
                .bind(path.key.as_bytes())
                .execute(&mut *tx)
                .await?;
            if ended.rows_affected() == 0 {
                return Ok(Completion::NoUpload);
            }
            let mut unused: std::collections::BTreeSet<Vec<u8>> = sqlx::query_scalar(PARTS)
                .bind(upload)
                .fetch_all(&mut *tx)
                .await?
                .into_iter()
                .collect();
            if !parts.iter().all(|part| unused.remove(part.blob.as_bytes().as_slice())) {
                return Ok(Completion::PartsChanged);
            }
            let unused: Vec<Vec<u8>> = unused.into_iter().collect();
            for piece in pieces(&unused) {
                let list = values_from(2, piece.places(), 1);
                let sql = format!("UPDATE blob SET gone_ms = $1 WHERE id IN (VALUES {list})");
                let mut query = sqlx::query(AssertSqlSafe(sql)).bind(object.modified_ms);
                for blob in piece.repeating_the_last() {
                    query = query.bind(blob.as_slice());
                }
                query.execute(&mut *tx).await?;
            }
            let current = current_object!(tx, path.namespace, path.bucket, path.key);
            if !condition.holds(current.as_ref().map(|(_, etag)| etag.as_str())) {
                return Ok(Completion::ConditionFailed);
            }
            let put = replace_object!(tx, path, object, current);
            insert_events!(tx, events);
            if put { Changed::Done } else { Changed::NoBucket }
        });
        Ok(match changed {
            Changed::Done => Completion::Done,
            // An upload has a bucket.
            Changed::NoBucket | Changed::ConditionFailed => Completion::NoUpload,
        })
    }

    /// Gives an upload up; `false` when it has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn abort_upload(&self, path: &ObjectPath, id: ContentId, now_ms: i64) -> Result<bool, StoreError> {
        const END: &str = "DELETE FROM upload WHERE id = $1 AND namespace = $2 AND bucket = $3 AND key = $4";
        let ended = writing!(self, |tx| {
            tx.lock_objects([&path.lock()].into_iter()).await?;
            let ended = sqlx::query(END)
                .bind(id.as_bytes().as_slice())
                .bind(path.namespace.as_str())
                .bind(path.bucket.as_str())
                .bind(path.key.as_bytes())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if ended > 0 {
                is_gone!(tx, id.as_bytes(), now_ms);
            }
            ended
        });
        Ok(ended > 0)
    }

    /// Up to `limit` uploads that began before then, wherever they go.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn old_uploads(&self, before_ms: i64, limit: u32) -> Result<Vec<Upload>, StoreError> {
        const SQL: &str = "SELECT id, namespace, bucket, key, meta, created_ms FROM upload \
             WHERE created_ms < $1 ORDER BY created_ms LIMIT $2";
        let rows = reading!(self, |db| sqlx::query_as::<_, UploadRow>(SQL)
            .bind(before_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Upload::try_from).collect()
    }
}

#[derive(sqlx::FromRow)]
struct UploadRow {
    id: Vec<u8>,
    namespace: String,
    bucket: String,
    key: Vec<u8>,
    meta: String,
    created_ms: i64,
}

impl TryFrom<UploadRow> for Upload {
    type Error = StoreError;

    fn try_from(row: UploadRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: ContentId::of_column(&row.id)?,
            path: ObjectPath {
                namespace: parsed("namespace", &row.namespace)?,
                bucket: parsed("bucket name", &row.bucket)?,
                key: key_of(row.key)?,
            },
            meta: from_json(META, &row.meta)?,
            created_ms: row.created_ms,
        })
    }
}

impl TryFrom<PartRow> for StoredPart {
    type Error = StoreError;

    fn try_from(row: PartRow) -> Result<Self, StoreError> {
        Ok(Self {
            blob: BlobId::of_column(&row.id)?,
            number: stored("number of a part", row.number)?,
            bytes: stored("size of a part", row.bytes)?,
            etag: row.etag,
            written_ms: row.written_ms,
        })
    }
}

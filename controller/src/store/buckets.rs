//! Buckets, and the keys that open them for clients of S3.

use mayfly_invoker_api::{BucketName, Namespace};

use super::columns::{parsed, stored};
use super::events::{owned, shared};
use super::pool::{reading, writing};
use super::trigger_config::source_of_bucket;
use super::{Store, StoreError};
use crate::sealing::Sealed;

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Whose.
    pub namespace: Namespace,
    /// Unique in its namespace.
    pub name: BucketName,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
}

/// What a client of S3 signs its requests to one bucket with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketKey {
    /// Names it; unique.
    pub access_key: String,
    /// Whose.
    pub namespace: Namespace,
    /// What it opens.
    pub bucket: BucketName,
    /// What is signed with.
    pub secret: Sealed,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
}

/// What became of the wish to delete a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketDeletion {
    /// It is gone.
    Deleted,
    /// There is none of that name.
    Missing,
    /// There are objects or unfinished uploads in it, or a trigger waits for its changes.
    InUse,
}

#[derive(sqlx::FromRow)]
struct BucketRow {
    namespace: String,
    name: String,
    created_ms: i64,
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    access_key: String,
    namespace: String,
    bucket: String,
    secret: String,
    created_ms: i64,
}

/// Finds a bucket's row and locks it as `$how` says, inside a transaction; whether it is there.
macro_rules! bucket_row {
    ($tx:ident, $how:expr, $namespace:expr, $name:expr) => {{
        let sql = format!("SELECT 1 FROM bucket WHERE namespace = $1 AND name = $2{}", $how);
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind($namespace.as_str())
            .bind($name.as_str())
            .fetch_optional(&mut *$tx)
            .await?
            .is_some()
    }};
}

pub(super) use bucket_row;

impl Store {
    /// Makes a bucket; `false` when the namespace has one of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_bucket(&self, bucket: &Bucket) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO bucket (namespace, name, created_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (namespace, name) DO NOTHING";
        let made = writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(bucket.namespace.as_str())
                .bind(bucket.name.as_str())
                .bind(bucket.created_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(made > 0)
    }

    /// A bucket of the namespace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bucket(&self, namespace: &Namespace, name: &BucketName) -> Result<Option<Bucket>, StoreError> {
        const SQL: &str = "SELECT namespace, name, created_ms FROM bucket WHERE namespace = $1 AND name = $2";
        let row = reading!(self, |db| sqlx::query_as::<_, BucketRow>(SQL)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .fetch_optional(db))?;
        row.map(Bucket::try_from).transpose()
    }

    /// Up to `limit` buckets whose names follow `after`, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn buckets(&self, namespace: &Namespace, after: &str, limit: u32) -> Result<Vec<Bucket>, StoreError> {
        const SQL: &str = "SELECT namespace, name, created_ms FROM bucket \
             WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3";
        let rows = reading!(self, |db| sqlx::query_as::<_, BucketRow>(SQL)
            .bind(namespace.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(Bucket::try_from).collect()
    }

    /// How many buckets a namespace has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_buckets(&self, namespace: &Namespace) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM bucket WHERE namespace = $1";
        let count: i64 = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(namespace.as_str())
            .fetch_one(db))?;
        stored("count", count)
    }

    /// How many objects a bucket has, and their bytes together.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn measure_bucket(&self, namespace: &Namespace, name: &BucketName) -> Result<(u64, u64), StoreError> {
        const SQL: &str = "SELECT COUNT(*), COALESCE(CAST(SUM(bytes) AS BIGINT), 0) FROM object \
             WHERE namespace = $1 AND bucket = $2";
        let (objects, bytes): (i64, i64) = reading!(self, |db| sqlx::query_as(SQL)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .fetch_one(db))?;
        Ok((stored("count", objects)?, stored("size of a bucket", bytes)?))
    }

    /// Deletes a bucket in which nothing is, and the key to it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_bucket(&self, namespace: &Namespace, name: &BucketName) -> Result<BucketDeletion, StoreError> {
        match self.delete_if_empty(namespace, name).await {
            // An object has come in the meantime.
            Err(StoreError::Refused(_)) => Ok(BucketDeletion::InUse),
            ended => ended,
        }
    }

    async fn delete_if_empty(&self, namespace: &Namespace, name: &BucketName) -> Result<BucketDeletion, StoreError> {
        const USED: &str = "SELECT 1 FROM object WHERE namespace = $1 AND bucket = $2 \
             UNION ALL SELECT 1 FROM upload WHERE namespace = $1 AND bucket = $2 \
             UNION ALL SELECT 1 FROM event_trigger WHERE source = $3 AND namespace = $1 LIMIT 1";
        const DELETE: &str = "DELETE FROM bucket WHERE namespace = $1 AND name = $2";
        let deleted = writing!(self, |tx| {
            // Whoever makes a trigger, an object or a key comes before this or after it.
            if !bucket_row!(tx, owned(&tx), namespace, name) {
                return Ok(BucketDeletion::Missing);
            }
            let used = sqlx::query(USED)
                .bind(namespace.as_str())
                .bind(name.as_str())
                .bind(source_of_bucket(name))
                .fetch_optional(&mut *tx)
                .await?;
            if used.is_some() {
                return Ok(BucketDeletion::InUse);
            }
            sqlx::query(DELETE)
                .bind(namespace.as_str())
                .bind(name.as_str())
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(if deleted == 0 {
            BucketDeletion::Missing
        } else {
            BucketDeletion::Deleted
        })
    }

    /// The key to a bucket.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bucket_key(
        &self,
        namespace: &Namespace,
        bucket: &BucketName,
    ) -> Result<Option<BucketKey>, StoreError> {
        const SQL: &str = "SELECT access_key, namespace, bucket, secret, created_ms FROM bucket_key \
             WHERE namespace = $1 AND bucket = $2";
        let row = reading!(self, |db| sqlx::query_as::<_, KeyRow>(SQL)
            .bind(namespace.as_str())
            .bind(bucket.as_str())
            .fetch_optional(db))?;
        row.map(BucketKey::try_from).transpose()
    }

    /// The key of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_named(&self, access_key: &str) -> Result<Option<BucketKey>, StoreError> {
        const SQL: &str =
            "SELECT access_key, namespace, bucket, secret, created_ms FROM bucket_key WHERE access_key = $1";
        let row = reading!(self, |db| sqlx::query_as::<_, KeyRow>(SQL)
            .bind(access_key)
            .fetch_optional(db))?;
        row.map(BucketKey::try_from).transpose()
    }

    /// Makes the key to a bucket; with `in_place` of the one that is there, else that one stays. Gives the key that holds
    /// from now on; `None` when there is no such bucket.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_bucket_key(&self, key: &BucketKey, in_place: bool) -> Result<Option<BucketKey>, StoreError> {
        const DELETE: &str = "DELETE FROM bucket_key WHERE namespace = $1 AND bucket = $2";
        const INSERT: &str = "INSERT INTO bucket_key (access_key, namespace, bucket, secret, created_ms) \
             SELECT $1, namespace, name, $4, $5 FROM bucket WHERE namespace = $2 AND name = $3 \
             ON CONFLICT (namespace, bucket) DO NOTHING";
        const SELECT: &str = "SELECT access_key, namespace, bucket, secret, created_ms FROM bucket_key \
             WHERE namespace = $1 AND bucket = $2";
        let row: Option<KeyRow> = writing!(self, |tx| {
            if !bucket_row!(tx, shared(&tx), key.namespace, key.bucket) {
                return Ok(None);
            }
            if in_place {
                sqlx::query(DELETE)
                    .bind(key.namespace.as_str())
                    .bind(key.bucket.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::query(INSERT)
                .bind(&key.access_key)
                .bind(key.namespace.as_str())
                .bind(key.bucket.as_str())
                .bind(key.secret.as_str())
                .bind(key.created_ms)
                .execute(&mut *tx)
                .await?;
            sqlx::query_as(SELECT)
                .bind(key.namespace.as_str())
                .bind(key.bucket.as_str())
                .fetch_optional(&mut *tx)
                .await?
        });
        row.map(BucketKey::try_from).transpose()
    }
}

impl TryFrom<BucketRow> for Bucket {
    type Error = StoreError;

    fn try_from(row: BucketRow) -> Result<Self, StoreError> {
        Ok(Self {
            namespace: parsed("namespace", &row.namespace)?,
            name: parsed("bucket name", &row.name)?,
            created_ms: row.created_ms,
        })
    }
}

impl TryFrom<KeyRow> for BucketKey {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            access_key: row.access_key,
            namespace: parsed("namespace", &row.namespace)?,
            bucket: parsed("bucket name", &row.bucket)?,
            secret: Sealed::of_column(row.secret),
            created_ms: row.created_ms,
        })
    }
}

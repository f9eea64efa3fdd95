//! Files that objects are made of. Each has a row before it belongs to anything; one without is what a write left that was
//! cut off.

use std::collections::HashSet;
use std::fmt;

use sqlx::AssertSqlSafe;

use super::batch::{pieces, values, values_from};
use super::columns::stored;
use super::pool::{reading, writing};
use super::{Store, StoreError};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps the 16 bytes of an id.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            pub(super) fn of_column(bytes: &[u8]) -> Result<Self, StoreError> {
                bytes.try_into().map(Self).map_err(|_| StoreError::Corrupt($what))
            }
        }

        /// 32 lowercase hex digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::str::FromStr for $name {
            type Err = StoreError;

            fn from_str(text: &str) -> Result<Self, StoreError> {
                let digits = Some(text).filter(|text| text.len() == 32 && text.bytes().all(is_lower_hex));
                let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
                number.map(|number| Self(number.to_be_bytes())).ok_or(StoreError::Corrupt($what))
            }
        }
    };
}

id_type!(
    /// Names a file.
    BlobId,
    "id of a blob"
);
id_type!(
    /// Names what an object is made of, one file or several; while it still comes, it is the id of the upload.
    ContentId,
    "id of a content"
);

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Names it.
    pub id: BlobId,
    /// Its size.
    pub bytes: u64,
}

/// A file that is to belong to a content.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewBlob<'a> {
    pub(super) id: BlobId,
    pub(super) content: ContentId,
    pub(super) number: u32,
    pub(super) bytes: u64,
    pub(super) etag: &'a str,
    pub(super) written_ms: i64,
}

/// What a row of [`insert_blobs!`] has.
pub(super) const BLOB_COLUMNS: usize = 6;

/// Puts blobs' rows into the table, inside a transaction.
macro_rules! insert_blobs {
    ($tx:ident, $blobs:expr) => {
        for piece in $crate::store::batch::pieces($blobs) {
            let sql = format!(
                "INSERT INTO blob (id, content, number, bytes, etag, written_ms) \
                 SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6 FROM (VALUES {}) AS v \
                 WHERE v.column1 IS NOT NULL",
                $crate::store::batch::values(&$tx, piece.places(), $crate::store::blobs::BLOB_COLUMNS)
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
            for blob in piece.padded() {
                let blob: Option<&$crate::store::blobs::NewBlob<'_>> = blob;
                let bytes = blob.map(|blob| $crate::store::columns::number("size of a blob", blob.bytes));
                query = query
                    .bind(blob.map(|blob| blob.id.as_bytes().as_slice()))
                    .bind(blob.map(|blob| blob.content.as_bytes().as_slice()))
                    .bind(blob.map(|blob| i64::from(blob.number)))
                    .bind(bytes.transpose()?)
                    .bind(blob.map(|blob| blob.etag))
                    .bind(blob.map(|blob| blob.written_ms));
            }
            query.execute(&mut *$tx).await?;
        }
    };
}

/// Nothing is made of a content any more, inside a transaction.
macro_rules! is_gone {
    ($tx:ident, $content:expr, $now_ms:expr) => {
        sqlx::query("UPDATE blob SET gone_ms = $2 WHERE content = $1 AND gone_ms IS NULL")
            .bind(&$content[..])
            .bind($now_ms)
            .execute(&mut *$tx)
            .await?
    };
}

pub(super) use {insert_blobs, is_gone};

impl BlobId {
    /// When it was made, in milliseconds since 1970: ids begin with it.
    #[must_use]
    pub fn made_ms(&self) -> i64 {
        self.0[..6].iter().fold(0, |ms, byte| ms << 8 | i64::from(*byte))
    }
}

impl Store {
    /// The files of a content, in their order. None when another one has come in its place meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn blobs_of(&self, content: ContentId) -> Result<Vec<Blob>, StoreError> {
        const SQL: &str = "SELECT id, bytes FROM blob WHERE content = $1 AND gone_ms IS NULL ORDER BY number";
        let rows: Vec<(Vec<u8>, i64)> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(content.as_bytes().as_slice())
            .fetch_all(db))?;
        rows.into_iter()
            .map(|(id, bytes)| {
                Ok(Blob {
                    id: BlobId::of_column(&id)?,
                    bytes: stored("size of a blob", bytes)?,
                })
            })
            .collect()
    }

    /// Up to `limit` files of which nothing has been made since `before_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn gone_blobs(&self, before_ms: i64, limit: u32) -> Result<Vec<BlobId>, StoreError> {
        const SQL: &str =
            "SELECT id FROM blob WHERE gone_ms IS NOT NULL AND gone_ms < $1 ORDER BY gone_ms, id LIMIT $2";
        let ids: Vec<Vec<u8>> = reading!(self, |db| sqlx::query_scalar(SQL)
            .bind(before_ms)
            .bind(i64::from(limit))
            .fetch_all(db))?;
        ids.iter().map(|id| BlobId::of_column(id)).collect()
    }

    /// Their files are gone, too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_blobs(&self, ids: &[BlobId]) -> Result<(), StoreError> {
        writing!(self, |tx| {
            for piece in pieces(ids) {
                let list = values(&tx, piece.places(), 1);
                let sql = format!("DELETE FROM blob WHERE gone_ms IS NOT NULL AND id IN (VALUES {list})");
                let mut query = sqlx::query(AssertSqlSafe(sql));
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_bytes().as_slice());
                }
                query.execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Those of them that have a row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_blobs(&self, ids: &[BlobId]) -> Result<HashSet<BlobId>, StoreError> {
        let mut known = HashSet::new();
        for piece in pieces(ids) {
            let list = values_from(1, piece.places(), 1);
            let sql = format!("SELECT id FROM blob WHERE id IN (VALUES {list})");
            let found: Vec<Vec<u8>> = reading!(self, |db| {
                let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
                for id in piece.repeating_the_last() {
                    query = query.bind(id.as_bytes().as_slice());
                }
                query.fetch_all(db)
            })?;
            for id in found {
                known.insert(BlobId::of_column(&id)?);
            }
        }
        Ok(known)
    }
}

//! Which artifacts a namespace has. The bytes themselves are elsewhere.

use mayfly_invoker_api::{Digest, Kind, Namespace};

use super::columns::{number, parsed, stored};
use super::pool::{reading, writing};
use super::{Store, StoreError};

/// An artifact that was checked and compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artifact {
    /// sha256 of the wasm bytes.
    pub digest: Digest,
    /// How its function is called.
    pub kind: Kind,
    /// Size of the wasm, in bytes.
    pub size_bytes: u64,
    /// Size of the native code that was made of it, in bytes.
    pub code_bytes: u64,
    /// When the namespace got it, in milliseconds since 1970.
    pub created_at_ms: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    digest: String,
    kind: String,
    size_bytes: i64,
    code_bytes: i64,
    created_at_ms: i64,
}

impl Store {
    /// The artifact, if the namespace has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifact(&self, namespace: &Namespace, digest: Digest) -> Result<Option<Artifact>, StoreError> {
        const SQL: &str = "SELECT digest, kind, size_bytes, code_bytes, created_at_ms FROM artifact \
             WHERE namespace = $1 AND digest = $2";
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(namespace.as_str())
            .bind(digest.to_string())
            .fetch_optional(db))?;
        row.map(Artifact::try_from).transpose()
    }

    /// Gives the namespace an artifact; nothing changes when it has it already.
    ///
    /// # Errors
    /// [`StoreError::MissingNamespace`], or when the database fails.
    pub async fn insert_artifact(&self, namespace: &Namespace, artifact: &Artifact) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO artifact (namespace, digest, kind, size_bytes, code_bytes, created_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (namespace, digest) DO NOTHING";
        let size_bytes = number("size of an artifact", artifact.size_bytes)?;
        let code_bytes = number("size of native code", artifact.code_bytes)?;
        let missing_namespace = |error: sqlx::Error| match error.as_database_error() {
            Some(answer) if answer.is_foreign_key_violation() => StoreError::MissingNamespace(namespace.clone()),
            _ => error.into(),
        };
        writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(namespace.as_str())
                .bind(artifact.digest.to_string())
                .bind(artifact.kind.as_str())
                .bind(size_bytes)
                .bind(code_bytes)
                .bind(artifact.created_at_ms)
                .execute(&mut *tx)
                .await
                .map_err(missing_namespace)?;
        });
        Ok(())
    }
}

impl TryFrom<Row> for Artifact {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            digest: parsed("digest of an artifact", &row.digest)?,
            kind: Kind::from_name(&row.kind).ok_or(StoreError::Corrupt("kind of an artifact"))?,
            size_bytes: stored("size of an artifact", row.size_bytes)?,
            code_bytes: stored("size of native code", row.code_bytes)?,
            created_at_ms: row.created_at_ms,
        })
    }
}

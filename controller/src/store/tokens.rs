//! Who may call the admin API, and the namespaces that there are.

use mayfly_invoker_api::Namespace;

use super::pool::{reading, writing};
use super::{Store, StoreError};

impl Store {
    /// Lets the token with this sha256 in; nothing changes when it is known already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_token(&self, hash: [u8; 32], name: &str, now_ms: i64) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO token (hash, name, created_at_ms) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING";
        writing!(self, |tx| {
            sqlx::query(SQL)
                .bind(hash.as_slice())
                .bind(name)
                .bind(now_ms)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Whether the token with this sha256 is let in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_exists(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM token WHERE hash = $1";
        let found: i64 = reading!(self, |db| sqlx::query_scalar(sql).bind(hash.as_slice()).fetch_one(db))?;
        Ok(found > 0)
    }

    /// Whether the namespace exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn namespace_exists(&self, namespace: &Namespace) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM namespace WHERE name = $1";
        let found: i64 = reading!(self, |db| sqlx::query_scalar(sql)
            .bind(namespace.as_str())
            .fetch_one(db))?;
        Ok(found > 0)
    }
}

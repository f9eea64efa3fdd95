//! What the webhooks of a namespace are signed with. They lie there as they are, because signing needs them.

use mayfly_invoker_api::Namespace;

use super::pool::{reading, writing};
use super::{Store, StoreError};
use crate::events::{SigningSecret, SigningSecrets};

#[derive(sqlx::FromRow)]
struct Row {
    secret: Vec<u8>,
    former: Option<Vec<u8>>,
    rotated_ms: i64,
}

const SELECT: &str = "SELECT secret, former, rotated_ms FROM webhook_secret WHERE namespace = $1";

impl Store {
    /// The secrets of a namespace, if it has any yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signing_secrets(&self, namespace: &Namespace) -> Result<Option<SigningSecrets>, StoreError> {
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SELECT)
            .bind(namespace.as_str())
            .fetch_optional(db))?;
        row.map(SigningSecrets::try_from).transpose()
    }

    /// Gives a namespace without a secret this one. Gives what it has then: whoever came first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_signing(
        &self,
        namespace: &Namespace,
        fresh: &SigningSecret,
        now_ms: i64,
    ) -> Result<SigningSecrets, StoreError> {
        const INSERT: &str = "INSERT INTO webhook_secret (namespace, secret, former, rotated_ms) \
             VALUES ($1, $2, NULL, $3) ON CONFLICT (namespace) DO NOTHING";
        let row: Row = writing!(self, |tx| {
            sqlx::query(INSERT)
                .bind(namespace.as_str())
                .bind(fresh.as_bytes().as_slice())
                .bind(now_ms)
                .execute(&mut *tx)
                .await?;
            sqlx::query_as(SELECT)
                .bind(namespace.as_str())
                .fetch_one(&mut *tx)
                .await?
        });
        row.try_into()
    }

    /// Puts a new secret in the place of the current one, which becomes the former one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rotate_signing_secret(
        &self,
        namespace: &Namespace,
        fresh: &SigningSecret,
        now_ms: i64,
    ) -> Result<SigningSecrets, StoreError> {
        const SQL: &str = "INSERT INTO webhook_secret (namespace, secret, former, rotated_ms) \
             VALUES ($1, $2, NULL, $3) ON CONFLICT (namespace) DO UPDATE SET former = webhook_secret.secret, \
             secret = excluded.secret, rotated_ms = excluded.rotated_ms RETURNING secret, former, rotated_ms";
        let row: Row = writing!(self, |tx| {
            sqlx::query_as(SQL)
                .bind(namespace.as_str())
                .bind(fresh.as_bytes().as_slice())
                .bind(now_ms)
                .fetch_one(&mut *tx)
                .await?
        });
        row.try_into()
    }
}

fn secret(bytes: &[u8]) -> Result<SigningSecret, StoreError> {
    bytes
        .try_into()
        .map(SigningSecret::from_bytes)
        .map_err(|_| StoreError::Corrupt("webhook secret"))
}

impl TryFrom<Row> for SigningSecrets {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            current: secret(&row.secret)?,
            former: row.former.as_deref().map(secret).transpose()?,
            rotated_ms: row.rotated_ms,
        })
    }
}

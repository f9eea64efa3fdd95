//! Which database this is.

use super::pool::writing;
use super::{Store, StoreError};

impl Store {
    /// Names this database, for ever: `fresh` if it has no name yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn installation(&self, fresh: &str) -> Result<String, StoreError> {
        const NAME: &str = "INSERT INTO installation (only_row, id) VALUES (1, $1) ON CONFLICT (only_row) DO NOTHING";
        let id = writing!(self, |tx| {
            sqlx::query(NAME).bind(fresh).execute(&mut *tx).await?;
            sqlx::query_scalar("SELECT id FROM installation")
                .fetch_one(&mut *tx)
                .await?
        });
        Ok(id)
    }
}

//! The open database, and how one method body serves two of them.
//!
//! [`reading!`] and [`writing!`] stamp their body once per pool type; sqlx then knows the database in each copy. This
//! replaces a second implementation by hand, which would drift from the first, and `sqlx::Any`, which loses types.

use std::fmt;
use std::path::PathBuf;

use sqlx::{PgPool, SqlitePool};

use super::{StoreError, postgres, sqlite};

/// Which database holds the state.
#[derive(Clone)]
pub enum Database {
    /// A file of this machine, for one controller. Its folder must exist.
    Sqlite {
        /// The file; made when it is missing.
        path: PathBuf,
    },
    /// A server, for any number of controllers.
    Postgres {
        /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`
        url: String,
    },
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => f.debug_struct("Sqlite").field("path", path).finish(),
            // The URL holds a password.
            Self::Postgres { .. } => f.debug_struct("Postgres").finish_non_exhaustive(),
        }
    }
}

/// All state that outlives the process. A clone is cheap and means the same store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) pools: Pools,
}

#[derive(Debug, Clone)]
pub(super) enum Pools {
    Sqlite {
        /// One connection: SQLite lets one writer in at a time, and waiting in our queue is fair, its own is not.
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

/// Awaits a query on a connection for reading.
macro_rules! reading {
    ($store:expr, |$db:ident| $query:expr) => {
        match &$store.pools {
            $crate::store::pool::Pools::Sqlite { readers: $db, .. } => $query.await,
            $crate::store::pool::Pools::Postgres($db) => $query.await,
        }
    };
}

/// Runs a block in a transaction: commits when the block ends, rolls back when it leaves by `?` or is cancelled.
macro_rules! writing {
    ($store:expr, |$tx:ident| $body:block) => {
        match &$store.pools {
            $crate::store::pool::Pools::Sqlite { writer, .. } => {
                // IMMEDIATE: a transaction that begins as a reader fails when it turns into a writer too late.
                let mut $tx = writer.begin_with("BEGIN IMMEDIATE").await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
            $crate::store::pool::Pools::Postgres(pool) => {
                let mut $tx = pool.begin().await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
        }
    };
}

pub(super) use {reading, writing};

impl Store {
    /// Connects and brings the tables up to date.
    ///
    /// # Errors
    /// When the database does not answer, is too old, or was made by a newer version of the program.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let pools = match database {
            Database::Sqlite { path } => {
                let (writer, readers) = sqlite::open(path).await?;
                Pools::Sqlite { writer, readers }
            }
            Database::Postgres { url } => Pools::Postgres(postgres::open(url).await?),
        };
        Ok(Self { pools })
    }

    /// Whether other controllers may write to the same database.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let _: i32 = reading!(self, |db| sqlx::query_scalar("SELECT 1").fetch_one(db))?;
        Ok(())
    }

    /// Closes all connections once they are idle; calls made afterwards fail.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                // Last, because the last connection folds the write-ahead log into the file.
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

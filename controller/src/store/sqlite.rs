//! How SQLite is opened.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlitePool};

use super::StoreError;
use super::batch::STATEMENTS_KEPT;

const READERS_MAX: u32 = 4;
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows that SQLite's thread may be ahead of who reads them: as many as a claim of events gives. With fewer, the two wait for
/// each other in turns.
const ROW_BUFFER_ROWS: usize = 512;
/// The first version without the fault that loses committed data when a write-ahead log is reset.
const VERSION_MIN: [u32; 3] = [3, 51, 3];

/// The pool of the one writer, and the pool of readers.
pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    // `mmap_size` stays 0: mapped files and write-ahead logs together have corrupted databases.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROW_BUFFER_ROWS)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .foreign_keys(true);
    // A connection to a file does not age. But a full disk ends a transaction by itself, and then the connection goes on
    // counting it as open: such a one is replaced, or nothing could ever be written again.
    let pool = SqlitePoolOptions::new()
        .after_release(|connection, _| {
            Box::pin(async move {
                // A roll-back may be under way; this waits for it.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None);
    let writer = pool
        .clone()
        .max_connections(1)
        .connect_with(options.clone().create_if_missing(true))
        .await?;
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&writer).await?;
    check_version(found)?;
    sqlx::migrate!("./migrations/sqlite").run(&writer).await?;
    let readers = pool
        .max_connections(READERS_MAX)
        .connect_with(options.pragma("query_only", "1"))
        .await?;
    Ok((writer, readers))
}

fn check_version(found: String) -> Result<(), StoreError> {
    let numbers: Option<Vec<u32>> = found.split('.').map(|part| part.parse().ok()).collect();
    match numbers {
        Some(numbers) if numbers.as_slice() >= VERSION_MIN.as_slice() => Ok(()),
        _ => Err(StoreError::TooOldSqlite { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::{StoreError, check_version};

    #[test]
    fn versions_with_the_log_reset_fault_are_refused() {
        for good in ["3.51.3", "3.51.10", "3.52.0", "4.0.0"] {
            assert!(check_version(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["3.51.2", "3.9.99", "3.51", "", "unknown"] {
            let refused = check_version(bad.to_owned());
            assert!(
                matches!(refused, Err(StoreError::TooOldSqlite { found }) if found == bad),
                "{bad}"
            );
        }
    }
}

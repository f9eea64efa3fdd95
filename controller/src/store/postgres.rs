//! How Postgres is opened.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};

use super::StoreError;
use super::batch::STATEMENTS_KEPT;

const CONNECTIONS_MAX: u32 = 10;
/// How long a caller waits for a free connection, and how long the first one may take.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of one statement, and longest pause inside a transaction, after which the server gives up on us.
const SERVER_TIMEOUTS_MS: [(&str, &str); 2] = [
    ("statement_timeout", "30000"),
    ("idle_in_transaction_session_timeout", "30000"),
];

pub(super) async fn open(url: &str) -> Result<PgPool, StoreError> {
    let options: PgConnectOptions = url.parse()?;
    let options = options
        .application_name("mayfly")
        .options(SERVER_TIMEOUTS_MS)
        .statement_cache_capacity(STATEMENTS_KEPT);
    // The pool tries a refused connection again until its time is up, and then no longer knows why it failed. One
    // connection of our own fails at once and says why.
    match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(connection) => connection?.close().await?,
        Err(_) => {
            return Err(StoreError::Unavailable(
                format!("no answer within {ACQUIRE_TIMEOUT:?}").into(),
            ));
        }
    }
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?;
    sqlx::migrate!("./migrations/postgres").run(&pool).await?;
    Ok(pool)
}

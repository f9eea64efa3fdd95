//! Which database the server under test keeps its state in.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// The choice that a test makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file in the data directory.
    Sqlite,
    /// A new database on the server that `TEST_POSTGRES_URL` names.
    Postgres,
}

/// A Postgres database that lives as long as this value.
#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    server_url: String,
    name: String,
}

impl PostgresDatabase {
    /// `None` when there is no Postgres here and nobody requires one.
    pub(crate) async fn create() -> Option<Self> {
        let Some(server_url) = environment("TEST_POSTGRES_URL") else {
            assert!(
                environment("REQUIRE_SERVICES").is_none(),
                "REQUIRE_SERVICES is set but TEST_POSTGRES_URL is not; run `cargo xtask test`"
            );
            return None;
        };
        let name = unique_name();
        execute(&server_url, format!("CREATE DATABASE {name}"))
            .await
            .expect("TEST_POSTGRES_URL lets us make databases");
        Some(Self { server_url, name })
    }

    /// The address to give to `fn serve --database`.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self
            .server_url
            .rsplit_once('/')
            .expect("TEST_POSTGRES_URL ends with /DATABASE");
        format!("{server}/{}", self.name)
    }
}

impl Drop for PostgresDatabase {
    /// On a thread of its own: a destructor cannot wait inside of the test's runtime.
    fn drop(&mut self) {
        let (server_url, sql) = (
            self.server_url.clone(),
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        let drop_it = move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(execute(&server_url, sql))?)
        };
        if !matches!(std::thread::spawn(drop_it).join(), Ok(Ok(()))) {
            eprintln!("the database {} could not be dropped", self.name);
        }
    }
}

async fn execute(server_url: &str, sql: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(server_url).await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await
}

/// Unique over the processes and the runs that share one server.
fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("mayfly_test_{}_{}_{number}", std::process::id(), started_ns())
}

#[expect(clippy::disallowed_methods, reason = "only makes a name unique")]
fn started_ns() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

#[expect(clippy::disallowed_methods, reason = "the environment says which services there are")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

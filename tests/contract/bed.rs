//! An empty database for each test, and things to put into it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use mayfly_controller::ledger::{InvocationRecord, Ledger, LedgerLimits, Trigger};
use mayfly_controller::store::{Artifact, Database, FunctionConfig, Store, StoreError, UsageBy};
use mayfly_invoker_api::{Digest, FunctionName, InvocationId, Kind, LogEntry, LogStream, Logs, Namespace, Start};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

/// 2026-11-20T00:00:00Z, in milliseconds since 1970.
pub(crate) const DAY_MS: i64 = 1_795_132_800_000;

/// What a test is given.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) database: Database,
    pub(crate) dir: TempDir,
}

impl Bed {
    async fn make(database: impl FnOnce(&TempDir) -> Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = database(&dir);
        let store = Store::open(&database).await.unwrap();
        Self { store, database, dir }
    }

    /// What another controller would hold.
    pub(crate) async fn another_store(&self) -> Store {
        Store::open(&self.database).await.unwrap()
    }

    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::open(&self.spool_dir(), self.store.clone(), LedgerLimits::default()).unwrap()
    }

    /// Inserts records under a name that was never used.
    pub(crate) async fn insert(&self, records: &[InvocationRecord]) -> Result<(), StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let segment = format!("segment-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.store.insert_records(&segment, records).await
    }

    /// Fails unless the ledger holds exactly these, each once and unchanged.
    pub(crate) async fn assert_stored(&self, records: &[InvocationRecord]) {
        let rows = self
            .store
            .usage(&default(), UsageBy::Function, None, None)
            .await
            .unwrap();
        let invocations: u64 = rows.iter().map(|row| row.invocations).sum();
        assert_eq!(invocations, records.len() as u64, "rows in the database");
        for record in records {
            let found = self.store.invocation(&record.namespace, record.id).await.unwrap();
            assert_eq!(found.as_ref(), Some(record));
        }
    }
}

pub(crate) async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(test: fn(Bed) -> F) {
    let bed = Bed::make(|dir| Database::Sqlite {
        path: dir.path().join("mayfly.db"),
    })
    .await;
    assert!(!bed.store.is_shared());
    test(bed).await;
}

pub(crate) async fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: fn(Bed) -> F) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(server) = postgres_url() else { return };
    let name = format!(
        "mayfly_contract_{}_{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    execute(&server, &format!("CREATE DATABASE {name}")).await;
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    // On a task of its own, so that the database is dropped even when the test panics.
    let result = tokio::spawn(async move {
        let bed = Bed::make(|_| Database::Postgres { url }).await;
        assert!(bed.store.is_shared());
        test(bed).await;
    })
    .await;
    execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    result.unwrap();
}

/// Runs a statement on the server, outside of any store.
pub(crate) async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the one place that knows how tests are configured"
)]
fn postgres_url() -> Option<String> {
    let url = std::env::var("TEST_POSTGRES_URL").ok();
    if url.is_none() {
        assert!(
            std::env::var("REQUIRE_SERVICES").as_deref() != Ok("1"),
            "REQUIRE_SERVICES=1 wants TEST_POSTGRES_URL, such as postgres://postgres@127.0.0.1:5432/postgres"
        );
        eprintln!("skipped: TEST_POSTGRES_URL is not set");
    }
    url
}

pub(crate) fn default() -> Namespace {
    Namespace::default_namespace()
}

pub(crate) fn namespace(name: &str) -> Namespace {
    name.parse().unwrap()
}

pub(crate) fn function(name: &str) -> FunctionName {
    name.parse().unwrap()
}

pub(crate) fn digest(seed: u8) -> Digest {
    Digest::from_bytes([seed; 32])
}

pub(crate) fn artifact(seed: u8) -> Artifact {
    Artifact {
        digest: digest(seed),
        kind: Kind::Event,
        size_bytes: 1_000,
        code_bytes: 5_000,
        created_at_ms: 7,
    }
}

pub(crate) fn config(memory_mib: u32) -> FunctionConfig {
    FunctionConfig {
        memory_mib,
        ..FunctionConfig::default()
    }
}

/// Ids in the order of `number`.
pub(crate) fn id(number: u64) -> InvocationId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    InvocationId::new(DAY_MS.unsigned_abs() + number, random)
}

/// A plain, successful invocation of version 1 of `hello`.
pub(crate) fn record(number: u64) -> InvocationRecord {
    InvocationRecord {
        id: id(number),
        namespace: default(),
        function: function("hello"),
        version: 1,
        trigger: Trigger::Http,
        event_id: Some(format!("event-{number}")),
        attempt: 1,
        error: None,
        http_status: Some(200),
        started_at_ms: DAY_MS + i64::try_from(number).unwrap(),
        trace_id: None,
        start: Some(Start::Warm),
        duration_us: 1_234,
        billed_ms: 2,
        queue_us: 3,
        code_us: 4,
        init_us: 0,
        cpu_us: 900,
        memory_mib: 128,
        memory_peak_bytes: 1_179_648,
        bytes_in: 10,
        bytes_out: 20,
        logs: Logs::default(),
    }
}

/// The same, with one printed line per text.
pub(crate) fn printing(number: u64, texts: &[&str]) -> InvocationRecord {
    let entry = |(offset_ms, text): (u64, &&str)| LogEntry {
        offset_ms,
        stream: LogStream::Stdout,
        text: (*text).into(),
    };
    let entries = (0..).zip(texts).map(entry).collect();
    InvocationRecord {
        logs: Logs {
            entries,
            dropped_bytes: 0,
        },
        ..record(number)
    }
}

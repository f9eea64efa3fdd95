//! Inserts events into a new SQLite file as fast as one loop can, `BATCH` in each transaction, each durable before the next
//! begins: what accepting events is measured against. The rows and the table are those of the server, indexes included.
//! `bare-inserts FILE ROWS BATCH BYTES` prints rows per second.
#![expect(clippy::print_stdout, reason = "its answer")]

use std::time::Instant;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// What the server keeps of a request with a small JSON body, beside that.
const ENVELOPE: &str = r#"{"shape":"request","method":"POST","uri":"/","headers":[["host","127.0.0.1:8080"],["content-type","application/json"],["prefer","respond-async"],["content-length","22"],["x-forwarded-prefix","/hello"],["x-forwarded-for","127.0.0.1"]],"peer":"127.0.0.1"}"#;
const COLUMNS: usize = 13;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let file = args.next().context("FILE ROWS BATCH BYTES")?;
    let mut number = || {
        args.next()
            .and_then(|text| text.parse::<usize>().ok())
            .context("FILE ROWS BATCH BYTES")
    };
    let (rows, batch, bytes) = (number()?, number()?, number()?);
    let mut connection = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::migrate!("../../controller/migrations/sqlite")
        .run(&mut connection)
        .await?;
    let row = format!("({})", vec!["?"; COLUMNS].join(","));
    let sql = format!(
        "INSERT INTO event (id, namespace, function, pinned_version, source, trigger_name, state, attempts, burned, \
         interrupted, cancel_asked, created_ms, due_ms, expires_ms, depth, envelope, payload, payload_bytes) \
         SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, 'queued', 0, 0, 0, 0, v.column7, \
         v.column8, v.column9, v.column10, v.column11, v.column12, v.column13 FROM (VALUES {}) AS v",
        vec![row.as_str(); batch].join(",")
    );
    let payload = vec![b'x'; bytes];
    let began = Instant::now();
    let mut done = 0_u64;
    while done < rows as u64 {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut query = sqlx::query(AssertSqlSafe(sql.as_str()));
        for row in 0..batch as u64 {
            // In the order of time, as the ids of events are.
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(done + row).to_be_bytes());
            query = query
                .bind(id.to_vec())
                .bind("default")
                .bind("hello")
                .bind(None::<i64>)
                .bind("http")
                .bind(None::<&str>)
                .bind(1_i64)
                .bind(1_i64)
                .bind(1_i64)
                .bind(0_i64)
                .bind(ENVELOPE)
                .bind(payload.as_slice())
                .bind(1_i64);
        }
        query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        done += batch as u64;
    }
    println!("{:.0}", done as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

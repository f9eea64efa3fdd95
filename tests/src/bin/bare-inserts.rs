//! Inserts rows into a new SQLite file as fast as one loop can, `BATCH` in each transaction, each durable before the next
//! begins: what accepting events is measured against. `bare-inserts FILE ROWS BATCH BYTES` prints rows per second.
#![expect(clippy::print_stdout, reason = "its answer")]

use std::time::Instant;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

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
    sqlx::query("CREATE TABLE event (id BLOB PRIMARY KEY, due_ms INTEGER NOT NULL, payload BLOB NOT NULL) STRICT")
        .execute(&mut connection)
        .await?;
    let values: Vec<_> = (0..batch)
        .map(|row| format!("(${}, ${}, ${})", row * 3 + 1, row * 3 + 2, row * 3 + 3))
        .collect();
    let sql = format!("INSERT INTO event (id, due_ms, payload) VALUES {}", values.join(","));
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
            query = query.bind(id.to_vec()).bind(1_i64).bind(payload.as_slice());
        }
        query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        done += batch as u64;
    }
    println!("{:.0}", done as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

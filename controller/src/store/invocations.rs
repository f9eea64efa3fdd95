//! The ledger's rows: written in batches, read one by one or in pages.

use mayfly_invoker_api::{FunctionName, InvocationId, Logs, Namespace, Start};
use sqlx::QueryBuilder;

use super::columns::{from_json, json, number, parsed, stored, stored_id};
use super::logs::{LogRow, insert_logs};
use super::pool::{reading, writing};
use super::{Store, StoreError};
use crate::ledger::{InvocationRecord, RecordedError, Trigger};

/// Rows of one INSERT statement. 21 values each stay far below the 32766 that SQLite takes.
const STATEMENT_ROWS_MAX: usize = 256;

/// A row of `usage`, for writing and, with the columns of `usage_error`, for reading.
#[derive(sqlx::FromRow)]
struct Row {
    invocation_id: Vec<u8>,
    namespace: String,
    function: String,
    version: i64,
    trigger: String,
    event_id: Vec<u8>,
    attempt: i64,
    failed: i16,
    http_status: Option<i64>,
    started_at_ms: i64,
    trace_id: Option<String>,
    start: Option<String>,
    duration_us: i64,
    billed_ms: i64,
    init_us: i64,
    cpu_us: i64,
    memory_mib: i64,
    /// `memory_mib * billed_ms`, multiplied here because SQLite would silently go on with a float when it overflows.
    mib_ms: i64,
    memory_peak_bytes: i64,
    bytes_in: i64,
    bytes_out: i64,
    error_code: Option<String>,
    error_message: Option<String>,
}

macro_rules! select_records {
    ($($rest:literal)+) => {
        concat!(
            "SELECT u.invocation_id, u.namespace, u.function, u.version, u.trigger, u.event_id, u.attempt, u.failed, \
             u.http_status, u.started_at_ms, u.trace_id, u.start, u.duration_us, u.billed_ms, u.init_us, u.cpu_us, \
             u.memory_mib, u.mib_ms, u.memory_peak_bytes, u.bytes_in, u.bytes_out, \
             e.code AS error_code, e.message AS error_message \
             FROM usage u LEFT JOIN usage_error e ON e.invocation_id = u.invocation_id ",
            $($rest),+
        )
    };
}

macro_rules! select_page {
    ($and:literal) => {
        select_records!(
            "WHERE u.namespace = $1 AND u.function = $2 AND u.invocation_id < $3 " $and
            "ORDER BY u.invocation_id DESC LIMIT $4"
        )
    };
}

impl Store {
    /// Adds records to the ledger, all or none; a record that is there already stays as it is.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] when a number cannot be stored, or when the database fails.
    pub async fn insert_records(&self, records: &[InvocationRecord]) -> Result<(), StoreError> {
        const USAGE: &str = "INSERT INTO usage (invocation_id, namespace, function, version, trigger, event_id, \
             attempt, failed, http_status, started_at_ms, trace_id, start, duration_us, billed_ms, init_us, cpu_us, \
             memory_mib, mib_ms, memory_peak_bytes, bytes_in, bytes_out) ";
        const ERROR: &str = "INSERT INTO usage_error (invocation_id, code, message) ";
        const IF_ABSENT: &str = " ON CONFLICT (invocation_id) DO NOTHING";
        let rows = records.iter().map(Row::new).collect::<Result<Vec<_>, _>>()?;
        let errors: Vec<_> = rows.iter().filter_map(Row::error).collect();
        let logs = LogRow::of(records)?;
        if rows.is_empty() {
            return Ok(());
        }
        writing!(self, |tx| {
            for rows in rows.chunks(STATEMENT_ROWS_MAX) {
                let mut insert = QueryBuilder::new(USAGE);
                insert.push_values(rows, |mut values, row| {
                    values
                        .push_bind(&row.invocation_id)
                        .push_bind(&row.namespace)
                        .push_bind(&row.function);
                    values
                        .push_bind(row.version)
                        .push_bind(&row.trigger)
                        .push_bind(&row.event_id);
                    values
                        .push_bind(row.attempt)
                        .push_bind(row.failed)
                        .push_bind(row.http_status);
                    values
                        .push_bind(row.started_at_ms)
                        .push_bind(&row.trace_id)
                        .push_bind(&row.start);
                    values
                        .push_bind(row.duration_us)
                        .push_bind(row.billed_ms)
                        .push_bind(row.init_us);
                    values
                        .push_bind(row.cpu_us)
                        .push_bind(row.memory_mib)
                        .push_bind(row.mib_ms);
                    values
                        .push_bind(row.memory_peak_bytes)
                        .push_bind(row.bytes_in)
                        .push_bind(row.bytes_out);
                });
                // Only the full statement comes again and is worth being prepared.
                let again = rows.len() == STATEMENT_ROWS_MAX;
                insert
                    .push(IF_ABSENT)
                    .build()
                    .persistent(again)
                    .execute(&mut *tx)
                    .await?;
            }
            for errors in errors.chunks(STATEMENT_ROWS_MAX) {
                let mut insert = QueryBuilder::new(ERROR);
                insert.push_values(errors, |mut values, (id, code, message)| {
                    values.push_bind(*id).push_bind(*code).push_bind(*message);
                });
                insert
                    .push(IF_ABSENT)
                    .build()
                    .persistent(false)
                    .execute(&mut *tx)
                    .await?;
            }
            // Last, because it holds the one row that all who insert logs wait for.
            insert_logs!(tx, logs);
        });
        Ok(())
    }

    /// One invocation of the namespace with all that it printed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invocation(
        &self,
        namespace: &Namespace,
        id: InvocationId,
    ) -> Result<Option<InvocationRecord>, StoreError> {
        const SQL: &str = select_records!("WHERE u.invocation_id = $1 AND u.namespace = $2");
        let row = reading!(self, |db| sqlx::query_as::<_, Row>(SQL)
            .bind(id.as_bytes().as_slice())
            .bind(namespace.as_str())
            .fetch_optional(db))?;
        let Some(row) = row else { return Ok(None) };
        let logs = self.logs_of(id).await?;
        Ok(Some(InvocationRecord {
            logs,
            ..row.try_into()?
        }))
    }

    /// Up to `limit` invocations of a function that are older than `before`, newest first, without what they printed.
    /// `failed` picks those that failed, or those that did not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invocations(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        before: Option<InvocationId>,
        failed: Option<bool>,
        limit: u32,
    ) -> Result<Vec<InvocationRecord>, StoreError> {
        // Three texts, because a database uses its index of the failed ones only when it sees the 1.
        let sql = match failed {
            None => select_page!(""),
            Some(true) => select_page!("AND u.failed = 1 "),
            Some(false) => select_page!("AND u.failed = 0 "),
        };
        // Ids are UUIDs of version 7, so none is as large as this one.
        let before = before.unwrap_or(InvocationId::from_bytes([0xff; 16]));
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(sql)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .bind(before.as_bytes().as_slice())
            .bind(i64::from(limit))
            .fetch_all(db))?;
        rows.into_iter().map(InvocationRecord::try_from).collect()
    }
}

impl Row {
    fn new(record: &InvocationRecord) -> Result<Self, StoreError> {
        let error = record.error.as_ref();
        let mib_ms = u64::from(record.memory_mib).checked_mul(record.billed_ms);
        Ok(Self {
            invocation_id: record.id.as_bytes().to_vec(),
            namespace: record.namespace.as_str().to_owned(),
            function: record.function.as_str().to_owned(),
            version: record.version.into(),
            trigger: record.trigger.as_str().to_owned(),
            event_id: record.event_id.clone().into_bytes(),
            attempt: record.attempt.into(),
            failed: i16::from(error.is_some()),
            http_status: record.http_status.map(i64::from),
            started_at_ms: record.started_at_ms,
            trace_id: record.trace_id.clone(),
            start: record.start.map(|start| start_name(start).to_owned()),
            duration_us: number("duration", record.duration_us)?,
            billed_ms: number("billed time", record.billed_ms)?,
            init_us: number("init time", record.init_us)?,
            cpu_us: number("processor time", record.cpu_us)?,
            memory_mib: record.memory_mib.into(),
            mib_ms: number("memory over time", mib_ms.unwrap_or(u64::MAX))?,
            memory_peak_bytes: number("peak memory", record.memory_peak_bytes)?,
            bytes_in: number("size of the request", record.bytes_in)?,
            bytes_out: number("size of the response", record.bytes_out)?,
            error_code: error.map(|error| error.code.clone()),
            error_message: error.map(|error| json("error message", &error.message)).transpose()?,
        })
    }

    /// The row of `usage_error`: id, code, message.
    fn error(&self) -> Option<(&[u8], &str, &str)> {
        Some((
            &self.invocation_id,
            self.error_code.as_deref()?,
            self.error_message.as_deref()?,
        ))
    }
}

impl TryFrom<Row> for InvocationRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let error = match (row.error_code, row.error_message) {
            (Some(code), Some(message)) => Some(RecordedError {
                code,
                message: from_json("error message", &message)?,
            }),
            _ => None,
        };
        Ok(Self {
            id: stored_id(&row.invocation_id)?,
            namespace: parsed("namespace", &row.namespace)?,
            function: parsed("function name", &row.function)?,
            version: stored("number of a version", row.version)?,
            trigger: Trigger::from_name(&row.trigger).ok_or(StoreError::Corrupt("trigger"))?,
            event_id: String::from_utf8(row.event_id).map_err(|_| StoreError::Corrupt("event id"))?,
            attempt: stored("attempt", row.attempt)?,
            error,
            http_status: row
                .http_status
                .map(|status| stored("HTTP status", status))
                .transpose()?,
            started_at_ms: row.started_at_ms,
            trace_id: row.trace_id,
            start: row
                .start
                .map(|name| start_of(&name).ok_or(StoreError::Corrupt("start")))
                .transpose()?,
            duration_us: stored("duration", row.duration_us)?,
            billed_ms: stored("billed time", row.billed_ms)?,
            init_us: stored("init time", row.init_us)?,
            cpu_us: stored("processor time", row.cpu_us)?,
            memory_mib: stored("memory limit", row.memory_mib)?,
            memory_peak_bytes: stored("peak memory", row.memory_peak_bytes)?,
            bytes_in: stored("size of the request", row.bytes_in)?,
            bytes_out: stored("size of the response", row.bytes_out)?,
            logs: Logs::default(),
        })
    }
}

fn start_name(start: Start) -> &'static str {
    match start {
        Start::Cold => "cold",
        Start::Warm => "warm",
    }
}

fn start_of(name: &str) -> Option<Start> {
    [Start::Cold, Start::Warm]
        .into_iter()
        .find(|start| start_name(*start) == name)
}

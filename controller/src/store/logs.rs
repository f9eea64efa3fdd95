//! What functions printed: one row per invocation that printed something, read as one stream per function.
//!
//! The stream is ordered by `seq`. A reader who follows it would miss a row that appears behind its cursor, so the order
//! of the numbers must be the order in which rows become visible. An identity column of Postgres does not promise that:
//! numbers are handed out before the commit, and a later number may be committed first. Here a transaction reserves its
//! numbers by changing the one row of `log_position`; the next one waits for that row until the first has committed.

use std::fmt;
use std::str::FromStr;

use mayfly_invoker_api::{FunctionName, InvocationId, LogEntry, LogStream, Logs, Namespace};

use super::columns::{from_json, json, number, stored, stored_id};
use super::pool::reading;
use super::{Store, StoreError};
use crate::ledger::InvocationRecord;

/// JSON of entries that is read for one page; a single row is read whatever its size.
const PAGE_BYTES_MAX: i64 = 8 << 20;

/// One piece of output in a function's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// Which invocation wrote it.
    pub invocation_id: InvocationId,
    /// Number of the version that ran.
    pub version: u32,
    /// Standard output or standard error.
    pub stream: LogStream,
    /// The text.
    pub text: String,
    /// Bytes that the invocation wrote after this line and that were not kept; 0 but for its last line.
    pub dropped_bytes: u64,
}

/// A part of a function's stream, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The lines.
    pub entries: Vec<LogLine>,
    /// Where to go on reading, now or when there is more.
    pub next: LogCursor,
}

/// A place in a function's stream. Its text means nothing to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCursor {
    /// All rows up to this one are read.
    seq: i64,
    /// So are this many entries of the row with the next number.
    entries: usize,
}

/// The text is not a cursor that was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log cursor is not valid; use the 'next' of an earlier answer, or none")]
pub struct InvalidCursor;

/// A row of `log` for writing.
pub(super) struct LogRow {
    pub(super) namespace: String,
    pub(super) function: String,
    pub(super) invocation_id: Vec<u8>,
    pub(super) version: i64,
    pub(super) started_at_ms: i64,
    pub(super) dropped_bytes: i64,
    pub(super) entry_count: i64,
    pub(super) entries_bytes: i64,
    pub(super) entries: String,
}

#[derive(sqlx::FromRow)]
struct StoredRow {
    seq: i64,
    invocation_id: Vec<u8>,
    version: i64,
    started_at_ms: i64,
    dropped_bytes: i64,
    entries: String,
}

/// What a page is planned with: the sizes of a row without its text.
#[derive(sqlx::FromRow)]
struct Size {
    seq: i64,
    entry_count: i64,
    entries_bytes: i64,
}

/// Inserts [`LogRow`]s in the transaction `$tx`.
macro_rules! insert_logs {
    ($tx:ident, $logs:expr) => {
        if !$logs.is_empty() {
            let count = $crate::store::columns::number("count of logs", $logs.len() as u64)?;
            let last: i64 = sqlx::query_scalar("UPDATE log_position SET last_seq = last_seq + $1 RETURNING last_seq")
                .bind(count)
                .fetch_one(&mut *$tx)
                .await?;
            for (row, seq) in $logs.iter().zip(last - count + 1..) {
                sqlx::query(
                    "INSERT INTO log (namespace, function, seq, invocation_id, version, started_at_ms, \
                     dropped_bytes, entry_count, entries_bytes, entries) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (invocation_id) DO NOTHING",
                )
                .bind(&row.namespace)
                .bind(&row.function)
                .bind(seq)
                .bind(&row.invocation_id)
                .bind(row.version)
                .bind(row.started_at_ms)
                .bind(row.dropped_bytes)
                .bind(row.entry_count)
                .bind(row.entries_bytes)
                .bind(&row.entries)
                .execute(&mut *$tx)
                .await?;
            }
        }
    };
}
pub(super) use insert_logs;

impl Store {
    /// Up to `limit` lines of a function's output that follow `after`; the newest ones without it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logs(
        &self,
        namespace: &Namespace,
        name: &FunctionName,
        after: Option<LogCursor>,
        limit: u32,
    ) -> Result<LogPage, StoreError> {
        const FOLLOWING: &str = "SELECT seq, entry_count, entries_bytes FROM log \
             WHERE namespace = $1 AND function = $2 AND seq > $3 ORDER BY seq LIMIT $4";
        const NEWEST: &str = "SELECT seq, entry_count, entries_bytes FROM log \
             WHERE namespace = $1 AND function = $2 AND seq > $3 ORDER BY seq DESC LIMIT $4";
        const ROWS: &str = "SELECT seq, invocation_id, version, started_at_ms, dropped_bytes, entries FROM log \
             WHERE namespace = $1 AND function = $2 AND seq BETWEEN $3 AND $4 ORDER BY seq";
        let limit = limit as usize;
        let from = after.unwrap_or(LogCursor { seq: 0, entries: 0 });
        // A row may hold no entry at all, and the first one may be read to its end already.
        let rows_max = number("limit", limit as u64 + 1)?;
        let sql = if after.is_some() { FOLLOWING } else { NEWEST };
        let sizes = reading!(self, |db| sqlx::query_as::<_, Size>(sql)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .bind(from.seq)
            .bind(rows_max)
            .fetch_all(db))?;
        let Some((first, last)) = planned(&sizes, limit.saturating_add(from.entries)) else {
            return Ok(LogPage {
                entries: Vec::new(),
                next: from,
            });
        };
        let rows = reading!(self, |db| sqlx::query_as::<_, StoredRow>(ROWS)
            .bind(namespace.as_str())
            .bind(name.as_str())
            .bind(first)
            .bind(last)
            .fetch_all(db))?;
        match after {
            Some(after) => following(rows, after, limit),
            None => newest(rows, limit),
        }
    }

    /// All that one invocation printed.
    pub(super) async fn logs_of(&self, id: InvocationId) -> Result<Logs, StoreError> {
        const SQL: &str = "SELECT entries, dropped_bytes FROM log WHERE invocation_id = $1";
        let row: Option<(String, i64)> = reading!(self, |db| sqlx::query_as(SQL)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(db))?;
        let Some((entries, dropped_bytes)) = row else {
            return Ok(Logs::default());
        };
        Ok(Logs {
            entries: from_json("log", &entries)?,
            dropped_bytes: stored("count of dropped bytes", dropped_bytes)?,
        })
    }
}

/// The lowest and the highest number of the rows, taken in their order, that make up a page of `entries_max`.
fn planned(sizes: &[Size], entries_max: usize) -> Option<(i64, i64)> {
    let entries_max = i64::try_from(entries_max).unwrap_or(i64::MAX);
    let (mut entries, mut bytes) = (0_i64, 0_i64);
    let mut range: Option<(i64, i64)> = None;
    for size in sizes {
        bytes = bytes.saturating_add(size.entries_bytes);
        if range.is_some() && (entries >= entries_max || bytes > PAGE_BYTES_MAX) {
            break;
        }
        entries = entries.saturating_add(size.entry_count);
        let (first, last) = range.unwrap_or((size.seq, size.seq));
        range = Some((first.min(size.seq), last.max(size.seq)));
    }
    range
}

/// The first `limit` lines behind `after`.
fn following(rows: Vec<StoredRow>, after: LogCursor, limit: usize) -> Result<LogPage, StoreError> {
    let mut page = LogPage {
        entries: Vec::new(),
        next: after,
    };
    for row in rows {
        let seq = row.seq;
        let mut lines = row.lines()?;
        let skipped = if seq == after.seq + 1 {
            after.entries.min(lines.len())
        } else {
            0
        };
        lines.drain(..skipped);
        let room = limit - page.entries.len();
        if lines.len() > room {
            lines.truncate(room);
            page.entries.append(&mut lines);
            page.next = LogCursor {
                seq: seq - 1,
                entries: skipped + room,
            };
            return Ok(page);
        }
        page.entries.append(&mut lines);
        page.next = LogCursor { seq, entries: 0 };
    }
    Ok(page)
}

/// The last `limit` lines.
fn newest(rows: Vec<StoredRow>, limit: usize) -> Result<LogPage, StoreError> {
    let mut page = LogPage {
        entries: Vec::new(),
        next: LogCursor { seq: 0, entries: 0 },
    };
    for row in rows {
        page.next.seq = row.seq;
        page.entries.append(&mut row.lines()?);
    }
    let older = page.entries.len().saturating_sub(limit);
    page.entries.drain(..older);
    Ok(page)
}

impl StoredRow {
    fn lines(self) -> Result<Vec<LogLine>, StoreError> {
        let invocation_id = stored_id(&self.invocation_id)?;
        let version = stored("number of a version", self.version)?;
        let entries: Vec<LogEntry> = from_json("log", &self.entries)?;
        let mut lines: Vec<_> = entries
            .into_iter()
            .map(|entry| LogLine {
                at_ms: self.started_at_ms.saturating_add_unsigned(entry.offset_ms),
                invocation_id,
                version,
                stream: entry.stream,
                text: entry.text,
                dropped_bytes: 0,
            })
            .collect();
        if let Some(line) = lines.last_mut() {
            line.dropped_bytes = stored("count of dropped bytes", self.dropped_bytes)?;
        }
        Ok(lines)
    }
}

impl LogRow {
    /// The rows of those records that have logs.
    pub(super) fn of(records: &[InvocationRecord]) -> Result<Vec<Self>, StoreError> {
        records
            .iter()
            .filter(|record| !record.logs.is_empty())
            .map(Self::new)
            .collect()
    }

    fn new(record: &InvocationRecord) -> Result<Self, StoreError> {
        let entries = json("log", &record.logs.entries)?;
        Ok(Self {
            namespace: record.namespace.as_str().to_owned(),
            function: record.function.as_str().to_owned(),
            invocation_id: record.id.as_bytes().to_vec(),
            version: record.version.into(),
            started_at_ms: record.started_at_ms,
            dropped_bytes: number("count of dropped bytes", record.logs.dropped_bytes)?,
            entry_count: number("count of log entries", record.logs.entries.len() as u64)?,
            entries_bytes: number("size of a log", entries.len() as u64)?,
            entries,
        })
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.entries)
    }
}

impl FromStr for LogCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (seq, entries) = text.split_once('.').ok_or(InvalidCursor)?;
        let cursor = Self {
            seq: seq.parse().map_err(|_| InvalidCursor)?,
            entries: entries.parse().map_err(|_| InvalidCursor)?,
        };
        if (0..i64::MAX).contains(&cursor.seq) {
            Ok(cursor)
        } else {
            Err(InvalidCursor)
        }
    }
}

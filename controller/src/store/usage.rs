//! Sums over the ledger.

use std::collections::BTreeMap;

use chrono::DateTime;
use mayfly_invoker_api::Namespace;

use super::blocks::{MINUTE_MS, Sums, unpack};
use super::columns::stored;
use super::pool::reading;
use super::{Store, StoreError};

/// Rows of one answer. A cut answer would be a wrong bill, so more is an error.
const ROWS_MAX: usize = 100_000;
const DAY_MS: i64 = 86_400_000;

/// What usage is summed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// One row per function.
    Function,
    /// One row per version of a function.
    Version,
    /// One row per day (UTC) of the whole namespace.
    Day,
}

/// What a function, a version or a namespace consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The function; `None` in rows by day.
    pub function: Option<String>,
    /// The version, in rows by version.
    pub version: Option<u32>,
    /// `YYYY-MM-DD` in UTC, in rows by day.
    pub day: Option<String>,
    /// How many invocations.
    pub invocations: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many of them had to make an instance.
    pub cold_starts: u64,
    /// Sum of billed time, in milliseconds.
    pub billed_ms: u64,
    /// Sum of memory limit times billed time, in MiB times milliseconds.
    pub mib_ms: u64,
    /// Sum of bytes of request bodies.
    pub bytes_in: u64,
    /// Sum of bytes of response bodies.
    pub bytes_out: u64,
}

/// Sums of blocks that have the same keys.
#[derive(sqlx::FromRow)]
struct Row {
    function: String,
    version: i64,
    day: i64,
    #[sqlx(flatten)]
    sums: Sums,
}

/// A block of which only a part is in the range.
#[derive(sqlx::FromRow)]
struct Packed {
    function: String,
    version: i64,
    format: i64,
    records: Vec<u8>,
}

/// The casts bring Postgres' exact sums back to BIGINT; a sum that does not fit is an error in both databases.
macro_rules! select_sums {
    ($keys:literal, $group:literal) => {
        concat!(
            "SELECT ",
            $keys,
            ", CAST(SUM(invocations) AS BIGINT) AS invocations, \
             CAST(SUM(failed) AS BIGINT) AS failed, \
             CAST(SUM(cold_starts) AS BIGINT) AS cold_starts, \
             CAST(SUM(billed_ms) AS BIGINT) AS billed_ms, \
             CAST(SUM(mib_ms) AS BIGINT) AS mib_ms, \
             CAST(SUM(bytes_in) AS BIGINT) AS bytes_in, \
             CAST(SUM(bytes_out) AS BIGINT) AS bytes_out \
             FROM usage_block WHERE namespace = $1 AND first_started_ms >= $2 AND last_started_ms < $3 \
             GROUP BY ",
            $group,
            " ORDER BY ",
            $group,
            " LIMIT $4"
        )
    };
}

/// What rows are told apart by: function, version, day; what does not matter is empty or 0.
type Keys = (String, i64, i64);

impl UsageBy {
    fn sql(self) -> &'static str {
        match self {
            Self::Function => {
                select_sums!(
                    "function, CAST(0 AS BIGINT) AS version, CAST(0 AS BIGINT) AS day",
                    "function"
                )
            }
            Self::Version => select_sums!("function, version, CAST(0 AS BIGINT) AS day", "function, version"),
            Self::Day => select_sums!(
                "'' AS function, CAST(0 AS BIGINT) AS version, first_started_ms / 86400000 AS day",
                "first_started_ms / 86400000"
            ),
        }
    }

    fn keys(self, function: &str, version: i64, started_at_ms: i64) -> Keys {
        match self {
            Self::Function => (function.to_owned(), 0, 0),
            Self::Version => (function.to_owned(), version, 0),
            // As both databases divide.
            Self::Day => (String::new(), 0, started_at_ms / DAY_MS),
        }
    }
}

impl Store {
    /// Sums what the namespace consumed in invocations that started from `from_ms` on and before `to_ms`, both in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::TooManyRows`], [`StoreError::OutOfRange`] when a sum does not fit 63 bits, or when the database
    /// fails.
    pub async fn usage(
        &self,
        namespace: &Namespace,
        by: UsageBy,
        from_ms: Option<i64>,
        to_ms: Option<i64>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let (from_ms, to_ms) = (from_ms.unwrap_or(i64::MIN), to_ms.unwrap_or(i64::MAX));
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(by.sql())
            .bind(namespace.as_str())
            .bind(from_ms)
            .bind(to_ms)
            .bind(i64::try_from(ROWS_MAX).unwrap_or(i64::MAX).saturating_add(1))
            .fetch_all(db))?;
        let mut sums: BTreeMap<Keys, Sums> = BTreeMap::new();
        for row in rows {
            sums.insert((row.function, row.version, row.day), row.sums);
        }
        for block in self.cut_blocks(namespace, from_ms, to_ms).await? {
            for record in unpack(block.format, &block.records)? {
                let started = record.started_at_ms;
                if (from_ms..to_ms).contains(&started) {
                    let row = sums
                        .entry(by.keys(&block.function, block.version, started))
                        .or_default();
                    *row = row.plus(Sums::of(&record)?).ok_or(StoreError::OutOfRange("sum"))?;
                }
            }
        }
        if sums.len() > ROWS_MAX {
            return Err(StoreError::TooManyRows(ROWS_MAX));
        }
        sums.into_iter()
            .map(|(keys, sums)| usage_row(by, keys, &sums))
            .collect()
    }

    /// The blocks that a bound of the range cuts in two: of one minute each, so they are few.
    async fn cut_blocks(&self, namespace: &Namespace, from_ms: i64, to_ms: i64) -> Result<Vec<Packed>, StoreError> {
        const SQL: &str = "SELECT function, version, format, records FROM usage_block WHERE namespace = $1 AND \
             ((first_started_ms > $2 AND first_started_ms < $3 AND last_started_ms >= $3) OR \
             (first_started_ms > $4 AND first_started_ms < $5 AND last_started_ms >= $5))";
        let blocks = reading!(self, |db| sqlx::query_as::<_, Packed>(SQL)
            .bind(namespace.as_str())
            .bind(from_ms.saturating_sub(MINUTE_MS))
            .bind(from_ms)
            .bind(to_ms.saturating_sub(MINUTE_MS))
            .bind(to_ms)
            .fetch_all(db))?;
        Ok(blocks)
    }
}

fn usage_row(by: UsageBy, (function, version, day): Keys, sums: &Sums) -> Result<UsageRow, StoreError> {
    let (function, version, day) = match by {
        UsageBy::Function => (Some(function), None, None),
        UsageBy::Version => (Some(function), Some(stored("number of a version", version)?), None),
        UsageBy::Day => (None, None, Some(day_name(day)?)),
    };
    Ok(UsageRow {
        function,
        version,
        day,
        invocations: stored("count", sums.invocations)?,
        errors: stored("count", sums.failed)?,
        cold_starts: stored("count", sums.cold_starts)?,
        billed_ms: stored("billed time", sums.billed_ms)?,
        mib_ms: stored("memory over time", sums.mib_ms)?,
        bytes_in: stored("size of the request", sums.bytes_in)?,
        bytes_out: stored("size of the response", sums.bytes_out)?,
    })
}

fn day_name(day: i64) -> Result<String, StoreError> {
    let start = day.checked_mul(DAY_MS).and_then(DateTime::from_timestamp_millis);
    Ok(start.ok_or(StoreError::Corrupt("start time"))?.date_naive().to_string())
}

//! Sums over the ledger.

use chrono::DateTime;
use mayfly_invoker_api::Namespace;

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

#[derive(sqlx::FromRow)]
struct Row {
    function: String,
    version: i64,
    day: i64,
    invocations: i64,
    errors: i64,
    cold_starts: i64,
    billed_ms: i64,
    mib_ms: i64,
    bytes_in: i64,
    bytes_out: i64,
}

/// The casts bring Postgres' exact sums back to BIGINT; a sum that does not fit is an error in both databases.
macro_rules! select_sums {
    ($keys:literal, $group:literal) => {
        concat!(
            "SELECT ",
            $keys,
            ", COUNT(*) AS invocations, \
             CAST(SUM(failed) AS BIGINT) AS errors, \
             CAST(SUM(CASE WHEN start = 'cold' THEN 1 ELSE 0 END) AS BIGINT) AS cold_starts, \
             CAST(SUM(billed_ms) AS BIGINT) AS billed_ms, \
             CAST(SUM(mib_ms) AS BIGINT) AS mib_ms, \
             CAST(SUM(bytes_in) AS BIGINT) AS bytes_in, \
             CAST(SUM(bytes_out) AS BIGINT) AS bytes_out \
             FROM usage WHERE namespace = $1 AND started_at_ms >= $2 AND started_at_ms < $3 \
             GROUP BY ",
            $group,
            " ORDER BY ",
            $group,
            " LIMIT $4"
        )
    };
}

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
                "'' AS function, CAST(0 AS BIGINT) AS version, started_at_ms / 86400000 AS day",
                "started_at_ms / 86400000"
            ),
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
        let rows = reading!(self, |db| sqlx::query_as::<_, Row>(by.sql())
            .bind(namespace.as_str())
            .bind(from_ms.unwrap_or(i64::MIN))
            .bind(to_ms.unwrap_or(i64::MAX))
            .bind(i64::try_from(ROWS_MAX).unwrap_or(i64::MAX).saturating_add(1))
            .fetch_all(db))?;
        if rows.len() > ROWS_MAX {
            return Err(StoreError::TooManyRows(ROWS_MAX));
        }
        rows.into_iter().map(|row| row.sums(by)).collect()
    }
}

impl Row {
    fn sums(self, by: UsageBy) -> Result<UsageRow, StoreError> {
        let (function, version, day) = match by {
            UsageBy::Function => (Some(self.function), None, None),
            UsageBy::Version => (
                Some(self.function),
                Some(stored("number of a version", self.version)?),
                None,
            ),
            UsageBy::Day => (None, None, Some(day_name(self.day)?)),
        };
        Ok(UsageRow {
            function,
            version,
            day,
            invocations: stored("count", self.invocations)?,
            errors: stored("count", self.errors)?,
            cold_starts: stored("count", self.cold_starts)?,
            billed_ms: stored("billed time", self.billed_ms)?,
            mib_ms: stored("memory over time", self.mib_ms)?,
            bytes_in: stored("size of the request", self.bytes_in)?,
            bytes_out: stored("size of the response", self.bytes_out)?,
        })
    }
}

fn day_name(day: i64) -> Result<String, StoreError> {
    let start = day.checked_mul(DAY_MS).and_then(DateTime::from_timestamp_millis);
    Ok(start.ok_or(StoreError::Corrupt("start time"))?.date_naive().to_string())
}

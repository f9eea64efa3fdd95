//! `GET /v1/ns/{ns}/usage`: what a namespace has used.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, Params, invalid_parameter, time};
use crate::admin::invocations::flush;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{UsageBy, UsageRow};

/// How invocations are put together.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    #[default]
    Function,
    Version,
    Day,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    #[serde(default)]
    by: By,
    /// First moment that counts: RFC 3339, or a UTC day as YYYY-MM-DD.
    from: Option<String>,
    /// First moment that no longer counts: RFC 3339, or a UTC day as YYYY-MM-DD.
    to: Option<String>,
}

/// The sum over one group of invocations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageRowView {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// UTC, YYYY-MM-DD.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    invocations: u64,
    errors: u64,
    cold_starts: u64,
    billed_ms: u64,
    /// Memory limit in GiB times billed seconds.
    gb_seconds: f64,
    bytes_in: u64,
    bytes_out: u64,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    rows: Vec<UsageRowView>,
    /// First moment that counts, RFC 3339; null: from the beginning.
    from: Option<String>,
    /// First moment that no longer counts, RFC 3339; null: until now.
    to: Option<String>,
}

impl From<UsageRow> for UsageRowView {
    fn from(row: UsageRow) -> Self {
        Self {
            gb_seconds: gb_seconds(row.mib_ms),
            function: row.function,
            version: row.version,
            day: row.day,
            invocations: row.invocations,
            errors: row.errors,
            cold_starts: row.cold_starts,
            billed_ms: row.billed_ms,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people; the ledger keeps whole MiB and milliseconds"
)]
fn gb_seconds(mib_ms: u64) -> f64 {
    mib_ms as f64 / (1_024.0 * 1_000.0)
}

/// Sums up the usage of a namespace. Whatever was answered before this request is in it.
#[utoipa::path(get, path = "/v1/ns/{ns}/usage",
    operation_id = "get_usage", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), Query),
    responses((status = 200, body = Usage), (status = 400, body = ProblemDocument)))]
pub(super) async fn get(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
    Params(query): Params<Query>,
) -> Result<Json<Usage>, Problem> {
    let from_ms = query.from.as_deref().map(|text| moment("from", text)).transpose()?;
    let to_ms = query.to.as_deref().map(|text| moment("to", text)).transpose()?;
    if let (Some(from), Some(to)) = (from_ms, to_ms)
        && from > to
    {
        return Err(invalid_parameter("from must not be after to"));
    }
    let by = match query.by {
        By::Function => UsageBy::Function,
        By::Version => UsageBy::Version,
        By::Day => UsageBy::Day,
    };
    flush(&admin).await?;
    let rows = admin.parts.store.usage(&namespace, by, from_ms, to_ms).await?;
    Ok(Json(Usage {
        rows: rows.into_iter().map(UsageRowView::from).collect(),
        from: from_ms.map(time),
        to: to_ms.map(time),
    }))
}

fn moment(name: &str, text: &str) -> Result<i64, Problem> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let day = text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    day.map(|midnight| midnight.and_utc().timestamp_millis())
        .ok_or_else(|| {
            invalid_parameter(format!(
                "{name} must be like 2026-11-20 or 2026-11-20T09:30:00Z, not {text:?}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_days_or_times() {
        assert_eq!(moment("from", "1970-01-02").unwrap(), 86_400_000);
        assert_eq!(moment("from", "1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert!(moment("from", "yesterday").is_err());
        assert!(moment("from", "1970-02-30").is_err());
    }
}

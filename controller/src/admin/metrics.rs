//! `GET /metrics`

use axum::extract::State;
use http::header::{CONTENT_TYPE, HeaderName};

use crate::admin::Admin;
use crate::code::Code;
use crate::problem::Problem;

/// What scrapers of the format ask for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Numbers for whoever watches the server, in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics",
    operation_id = "get_metrics", security(("bearer" = [])),
    responses((status = 200, description = "All numbers", body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn get(State(admin): State<Admin>) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let text = admin
        .events
        .metrics
        .text()
        .map_err(|error| Problem::new(Code::Internal, format!("the numbers cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}
